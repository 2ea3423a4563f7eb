import math

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn

from bisimgym.baselines.auxiliary_tasks import contrastive_loss, spread_loss
from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC
from bisimgym.baselines.learners import AUXILIARY_TASKS, METRIC_LOSSES, loss_class
from bisimgym.baselines.offline import OfflineRepresentation
from bisimgym.baselines.transitions import Transitions

ACTIONS = spaces.Discrete(3)
OBSERVATIONS = spaces.Box(-1, 1, (4,), np.float32)


def walk(count=512, seed=0, ends=0.0):
    """A position, moved by the action in a ring of eight places and shown as two numbers; two numbers of noise."""
    rng = np.random.default_rng(seed)
    place, action = rng.integers(8, size=count), rng.integers(3, size=count)
    after = (place + action - 1) % 8

    def shown(place):
        angle = 2 * np.pi * place / 8
        return np.column_stack([np.cos(angle), np.sin(angle), rng.uniform(-1, 1, (count, 2))]).astype(np.float32)

    return Transitions(shown(place), action, (after == 0).astype(float), shown(after), rng.random(count) < ends), place


def trained(metric, updates=300, features_dim=8, count=512, **settings):
    learner = OfflineRepresentation(
        OBSERVATIONS,
        ACTIONS,
        metric,
        metric_weight=1.0,
        norm="none",
        features_dim=features_dim,
        extractor_kwargs={"hidden": (32,)},
        discount=0.8,
        seed=1,
        device="cpu",
        **settings,
    )
    data, _ = walk(count)
    first = learner.fit(data, 1)["metric_loss"]
    last = np.mean([learner.fit(data, updates // 10)["metric_loss"] for _ in range(10)][-3:])
    return learner, first, last


def explained(z, target):
    """The share of a target's variance, ``float[N]``, that a linear readout of embeddings explains."""
    x = np.column_stack([z, np.ones(len(z))])
    left = target - x @ np.linalg.lstsq(x, target, rcond=None)[0]
    return 1 - left.var() / target.var()


@pytest.mark.parametrize("name", AUXILIARY_TASKS)
def test_tasks_train_an_encoder_offline(name):
    learner, first, last = trained(name, updates=100)
    if name != "value":  # whose targets grow with the values
        assert last < first
    data, _ = walk(seed=2)
    z = learner.embed(data.observations)
    np.testing.assert_allclose(learner.distance(z[:5], z[5:10]), np.linalg.norm(z[:5] - z[5:10], axis=1), rtol=1e-5)


def test_what_embeddings_keep():
    data, _ = walk(seed=2)
    where, noise = data.observations[:, 0], data.observations[:, 2]
    kept = {}
    for name in ("inverse-dynamics", "reconstruction"):
        z = trained(name)[0].embed(data.observations)
        kept[name] = (explained(z, where), explained(z, noise))
    assert min(kept["inverse-dynamics"][0], *kept["reconstruction"]) > 0.9  # an autoencoder keeps noise too
    assert kept["inverse-dynamics"][1] < kept["reconstruction"][1] - 0.05  # no action moves it


def test_the_variational_form_keeps_embeddings_near_the_prior():
    plain, _, _ = trained("reconstruction")
    variational, _, _ = trained("reconstruction", metric_settings={"kl_weight": 10.0})
    data, _ = walk(seed=2)
    z, other = variational.embed(data.observations), plain.embed(data.observations)
    assert np.square(z).mean() < 0.2 * np.square(other).mean()


def test_values_of_one_number_are_those_of_the_policy():
    learner, _, _ = trained("value", 1000, features_dim=1, count=8192, learning_rate=3e-3)
    data, place = walk(8192)
    after = (place + data.actions - 1) % 8
    values = np.zeros(8)
    for _ in range(200):
        values = np.array([(data.rewards + 0.8 * values[after])[place == p].mean() for p in range(8)])
    found = learner.embed(data.observations)[:, 0]
    means = np.array([found[place == p].mean() for p in range(8)])
    np.testing.assert_allclose(means, values, atol=0.12)


def test_episodes_that_end_have_no_value_behind_them():
    learner = OfflineRepresentation(
        OBSERVATIONS,
        ACTIONS,
        "value",
        metric_weight=1.0,
        norm="none",
        features_dim=1,
        encoder_tau=1.0,
        seed=1,
        device="cpu",
    )
    data, _ = walk(ends=1.0)
    z = learner.embed(data.observations)[:, 0]
    rows = np.arange(len(z))
    loss = learner.fit(data, 1, batch_size=512)["metric_loss"]
    rows = np.random.Generator(np.random.MT19937(1)).integers(512, size=512)  # as the learner drew
    assert loss == pytest.approx(0.5 * np.square(z[rows] - data.rewards[rows]).mean(), rel=1e-4)


def test_contrast_by_hand():
    query, key = th.tensor([[1.0, 0.0], [0.0, 2.0]]), th.tensor([[3.0, 0.0], [1.0, 1.0]])
    scores = [[3.0, 1.0], [0.0, 2.0]]
    expected = np.mean([-row[i] + math.log(sum(map(math.exp, row))) for i, row in enumerate(scores)])
    assert contrastive_loss(query, key).item() == pytest.approx(expected)
    assert contrastive_loss(query, key, 1e-3).item() == pytest.approx(0, abs=1e-6)


def test_spread_by_hand():
    z = th.tensor([[0.0, 3.0], [1.0, -3.0], [2.0, 0.0]], dtype=th.float64)
    lacking = max(0, 1 - math.sqrt(1 + 1e-4)) / 2
    covariance = -1.5
    assert spread_loss(z, 0.1).item() == pytest.approx(lacking + 0.1 * 2 * covariance**2 / 2)
    assert spread_loss(th.zeros(4, 3)).item() == pytest.approx(1 - 1e-2)


def test_a_joint_embedding_does_not_collapse():
    learner, _, _ = trained("joint-embedding")
    spread = learner.embed(walk(seed=2)[0].observations).std(axis=0)
    assert spread.min() > 0.5


def test_learners_take_them_as_they_take_metrics():
    model = MetricSAC("MlpPolicy", gym.make("Pendulum-v1"), metric="inverse-dynamics", learning_starts=20, seed=1)
    model.learn(30)
    model = MetricDQN("MlpPolicy", gym.make("CartPole-v1"), metric="temporal-contrast", learning_starts=20, seed=1)
    model.learn(30)
    assert loss_class("mico") is METRIC_LOSSES["mico"]
    assert loss_class("nothing") is None


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("interaction", {"inverse_weight": 2}),
        ("reconstruction", {"kl_weight": -1}),
        ("joint-embedding", {"covariance_weight": -1}),
    ],
)
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        loss_class(name)(**settings)


def test_a_loss_without_pairs_is_a_tensor():
    class Wrong(METRIC_LOSSES["mico"]):
        def forward(self, batch, permutation, model, generator):
            return nn.Identity(), {}

    learner = OfflineRepresentation(OBSERVATIONS, ACTIONS, Wrong, seed=1, device="cpu")
    with pytest.raises(TypeError, match="or a tensor, where no pairs are compared"):
        learner.fit(walk()[0], 1)
