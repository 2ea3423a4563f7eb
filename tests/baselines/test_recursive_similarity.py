"""What recursive similarity adds to its loss: tandem steps, stochastic transitions, actions that are numbers."""

import copy

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scipy.stats import norm, wasserstein_distance

from bisimgym.baselines.core.extractors import ImageExtractor, MLPExtractor
from bisimgym.baselines.losses.distances import gaussian_w1, l1_distance
from bisimgym.baselines.offline import OfflineRepresentation
from bisimgym.baselines.recursive_similarity import RecursiveSimilarity, interaction_loss, recursive_similarity_loss
from bisimgym.baselines.transitions import Transitions, read_rows


def data(action_space, steps=40, seed=0):
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(steps, 3)).astype(np.float32)
    if isinstance(action_space, spaces.Discrete):
        action = rng.integers(action_space.n, size=steps)
        push = action.astype(float)
    else:
        action = rng.uniform(-1, 1, size=(steps, 2)).astype(np.float32)
        push = action.sum(axis=1)
    next_state = state + 0.1 * push[:, None].astype(np.float32)
    return Transitions(state, action, np.zeros(steps), next_state, np.zeros(steps, bool))


def learner(action_space=spaces.Discrete(4), tandem=True, metric=RecursiveSimilarity, **settings):  # noqa: B008
    return OfflineRepresentation(
        spaces.Box(-9, 9, (3,), np.float32),
        action_space,
        metric,
        metric_settings=settings,
        metric_weight=1.0,
        norm="none",
        features_dim=8,
        extractor_class=MLPExtractor,
        learning_rate=1e-3,
        model_weight_decay=0.0,
        tandem=tandem,
        device="cpu",
    )


def test_w1_of_gaussians_is_that_of_their_quantiles():
    mean, std, other_mean, other_std = th.tensor([[0.3, -1.0], [0.5, 2.0], [0.1, 4.0], [1.5, 2.0]]).double()
    levels = (np.arange(20_000) + 0.5) / 20_000
    exact = sum(
        wasserstein_distance(norm(m, s).ppf(levels), norm(n, t).ppf(levels))
        for m, s, n, t in zip(*(x.tolist() for x in (mean, std, other_mean, other_std)), strict=True)
    )
    assert gaussian_w1(mean, std, other_mean, other_std).item() == pytest.approx(exact, abs=1e-3)


def test_w1_of_point_masses_and_of_equal_widths_is_the_l1_distance_with_finite_gradients():
    mean = th.randn(5, 4, requires_grad=True)
    other, width = th.randn(5, 4), th.full((5, 4), 0.7)
    for std in (th.zeros(5, 4), width):
        distance = gaussian_w1(mean, std, other, std)
        assert th.allclose(distance, l1_distance(mean, other), atol=1e-6)
        assert th.isfinite(th.autograd.grad(distance.sum(), mean)[0]).all()


def test_stochastic_targets_are_those_of_gaussians():
    generator = th.Generator().manual_seed(0)
    z, base = th.rand(6, 5, generator=generator), th.rand(6, 3, generator=generator)
    mean, std = th.rand(4, 6, 5, generator=generator), th.rand(4, 6, 5, generator=generator)
    target = recursive_similarity_loss(z, base, mean, None, 0.9, next_target_std=std).target
    i, j = 1, 4
    expected = 0.1 * (base[i] - base[j]).abs().sum() + 0.9 * np.mean(
        [gaussian_w1(mean[a, i], std[a, i], mean[a, j], std[a, j]).item() for a in range(4)]
    )
    assert target.view(6, 6)[i, j].item() == pytest.approx(expected.item(), rel=1e-5)
    still = recursive_similarity_loss(z, base, mean, None, 0.9, next_target_std=th.zeros_like(std)).target
    assert th.allclose(still, recursive_similarity_loss(z, base, mean, None, 0.9).target, atol=1e-5)


def test_actions_that_are_numbers_are_predicted_by_their_value():
    predicted, action, z = th.zeros(3, 2), th.full((3, 2), 2.0), th.ones(3, 4)
    assert interaction_loss(predicted, action, z, z, 0.25).item() == pytest.approx(0.25 * 4)
    with pytest.raises(ValueError, match="action must be"):
        interaction_loss(predicted, action[:, :1], z, z)


def test_in_tandem_the_base_is_trained_before_its_distances_are_taken():
    """One update by hand: interaction and next model first, targets from what they have become, then the encoder."""
    model = learner(interaction_rate=10.0)
    batch_data = data(spaces.Discrete(4), steps=16)
    by_hand = copy.deepcopy(model)
    model.fit(batch_data, 1, batch_size=16)

    metric = by_hand.representation.metric
    rows = by_hand.rng.integers(16, size=16)
    batch = by_hand._batch(*read_rows(batch_data, by_hand.encoders.obs_to_tensor, rows))
    fast = [*metric.base_encoder.parameters(), *metric.inverse.parameters(), *metric.forward_model.parameters()]
    slow = list(metric.next_model.parameters())
    losses = metric.own_losses(batch)
    own = th.optim.Adam([{"params": fast, "lr": 1e-2}, {"params": slow, "lr": 1e-3}])
    sum(losses.values()).backward()
    own.step()
    encoder = by_hand.encoders.encoder
    optimizer = th.optim.Adam(encoder.parameters(), lr=1e-3)
    with th.no_grad():
        base, next_z = metric.base_encoder(batch.observations), metric.next_model.each_action(batch.target_z)
    recursive_similarity_loss(encoder(batch.observations), base, next_z, None, 0.99).loss.backward()
    optimizer.step()

    both = (model.encoders.encoder, encoder, 1e-7), (model.representation.metric, metric, 1e-6)
    for ours, theirs, tolerance in both:
        expected, compared = dict(theirs.named_parameters()), 0
        for name, parameter in ours.named_parameters():
            # Adam's first step has the length of the rate, however small the gradient: where that is rounding, so is
            # the step.
            clear = expected[name].grad.abs() > 1e-5
            assert th.allclose(parameter[clear], expected[name][clear], atol=tolerance), name
            compared += int(clear.sum())
        assert compared > 1000


def test_all_at_once_differs_from_tandem():
    one, other = learner(tandem=True), learner(tandem=False)
    for model in (one, other):
        model.fit(data(spaces.Discrete(4)), 3, batch_size=16)
    assert not th.equal(*(next(model.encoders.encoder.parameters()) for model in (one, other)))


@pytest.mark.parametrize("transition", ["deterministic", "gaussian"])
@pytest.mark.parametrize("action_space", [spaces.Discrete(4), spaces.Box(-1, 1, (2,), np.float32)], ids=["4", "box"])
def test_every_kind_of_process_is_learned_and_a_file_goes_on(tmp_path, action_space, transition):
    transitions = data(action_space)
    model = learner(action_space, transition=transition)
    first = model.fit(transitions, 5, batch_size=16)
    assert set(first) == {"metric_loss", "interaction_loss", "next_model_loss"}
    model.save(tmp_path / "phi.zip")
    again = OfflineRepresentation.load(tmp_path / "phi.zip", "cpu")
    assert model.fit(transitions, 5, batch_size=16) == again.fit(transitions, 5, batch_size=16)
    last = model.fit(transitions, 150, batch_size=16)
    assert last["interaction_loss"] < first["interaction_loss"]
    assert last["next_model_loss"] < first["next_model_loss"]


def test_the_encoder_is_the_paper_s():
    space = spaces.Box(0, 255, (3, 20, 20), np.uint8)
    encoder = ImageExtractor(space, None, "none", "coordconv", signed=True)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 211_744
    images = th.rand(5, 3, 20, 20)
    z = encoder(images)
    assert z.shape == (5, 128)
    assert (z >= 0).all()
    unsigned = ImageExtractor(space, None, "none", "coordconv")
    unsigned.load_state_dict(encoder.state_dict())
    assert th.allclose(z, unsigned(2 * images - 1))


@pytest.mark.parametrize(
    "settings", [{"transition": "normal"}, {"sampled_actions": 0}, {"interaction_rate": 0.0}, {"reduction": "sum"}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        RecursiveSimilarity(**settings)
