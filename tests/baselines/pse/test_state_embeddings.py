import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from bisimgym.baselines.offline import OfflineRepresentation
from bisimgym.baselines.pse.losses import contrastive_metric_loss, coupling
from bisimgym.baselines.pse.state_embeddings import StateEmbeddings
from bisimgym.baselines.transitions import Transitions

#: Six states in three pairs that behave alike.
DISTANCES = 1.0 - (np.arange(6)[:, None] // 2 == np.arange(6) // 2)


class _Batch:
    def __init__(self, observations, z):
        self.observations, self.z = observations, z


def test_the_loss_is_that_of_the_two_halves_and_knows_what_it_was_given():
    rng = np.random.default_rng(0)
    states = th.from_numpy(rng.standard_normal((6, 3, 4)).astype(np.float32))
    loss = StateEmbeddings(states, DISTANCES, temperature=0.7, beta=0.1)
    rows = np.array([4, 0, 1, 5, 2])
    z = th.from_numpy(rng.standard_normal((7, 8)).astype(np.float32)).requires_grad_()
    shown = th.cat([states[rows[:3]], th.zeros(2, 3, 4), states[rows[3:]]])  # two are unknown
    found, others = loss(_Batch(shown, z), None, None, None)
    known = z[[0, 1, 2, 5, 6]]
    apart = th.from_numpy(DISTANCES.astype(np.float32))[rows[:2]][:, rows[2:]]
    expected = contrastive_metric_loss(known[:2], known[2:], coupling(apart, 0.1), 0.7)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert others == {}
    found.backward()
    assert (z.grad.abs().sum(dim=1) > 0).tolist() == [True, True, True, False, False, True, True]
    nothing, _ = loss(_Batch(th.zeros(7, 3, 4), z), None, None, None)
    assert nothing.item() == 0


def test_distances_may_be_those_of_points():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.standard_normal((60, 3)) + 50] * 2).astype(np.float32)  # each of two states
    states, z = (th.from_numpy(rng.standard_normal((120, 8)).astype(np.float32)) for _ in range(2))
    apart = np.linalg.norm(points[:, None].astype(float) - points, axis=2)
    found = [
        StateEmbeddings(states, given, are_points=given is points)(_Batch(states, z), None, None, None)[0]
        for given in (points, apart)
    ]
    assert found[0].item() == pytest.approx(found[1].item(), rel=1e-4)


def test_observations_that_hardly_differ_are_told_apart():
    states = th.eye(6) * 1e-5
    loss = StateEmbeddings(states, DISTANCES)
    z = th.from_numpy(np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)).requires_grad_()
    loss(_Batch(states, z), None, None, None)[0].backward()
    assert (z.grad.abs().sum(dim=1) > 0).all()
    assert loss(_Batch(states + 1e-5, z), None, None, None)[0].item() == 0


def test_states_that_behave_alike_come_together(tmp_path):
    states = np.eye(6, dtype=np.float32)
    data = Transitions(states, np.zeros(6, dtype=np.int64), np.zeros(6), states, np.zeros(6, dtype=bool))
    learner = OfflineRepresentation(
        spaces.Box(0, 1, (6,), np.float32),
        spaces.Discrete(2),
        StateEmbeddings(th.from_numpy(states), DISTANCES),
        norm="none",
        features_dim=8,
        seed=0,
        device="cpu",
    )
    learner.fit(data, 300, batch_size=64)
    z = learner.embed(states)
    rows, columns = np.triu_indices(6, 1)
    learned, alike = learner.distance(z[rows], z[columns]), DISTANCES[rows, columns] == 0
    assert learned[alike].max() < 0.1 < learned[~alike].min()
    learner.save(tmp_path / "model.zip")
    assert np.array_equal(OfflineRepresentation.load(tmp_path / "model.zip", "cpu").embed(states), z)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"beta": -1.0}, "beta must be positive, got -1.0"),
        ({"distances": DISTANCES[:5]}, r"distances must be float\[6, 6\], got shape \(5, 6\)"),
        ({"distances": DISTANCES[:5], "are_points": True}, r"points must be float\[6, K\], got shape \(5, 6\)"),
        ({"observations": th.zeros(6, 2)}, "observations must differ"),
    ],
)
def test_what_cannot_be_learned_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        StateEmbeddings(**{"observations": th.eye(6), "distances": DISTANCES, **settings})
