"""DrQ with policy similarity embeddings: pairs of episodes, the loss as a loop, and what it trains."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th

from bisimgym.baselines.drq_pse import DrQPSESAC, collect_pairs
from bisimgym.baselines.pse.losses import anchored_contrastive_loss

SMALL = {
    "buffer_size": 50,
    "batch_size": 4,
    "learning_starts": 4,
    "features_dim": 8,
    "policy_kwargs": {"net_arch": [8], "features_extractor_kwargs": {"channels": 4}},
    "device": "cpu",
    "seed": 0,
}


class Scene(gym.Env):
    """A bright row that actions move, before a background that only its color tells from others."""

    action_space = gym.spaces.Box(-1, 1, (2,))
    observation_space = gym.spaces.Box(0, 255, (20, 20, 3), np.uint8)

    def __init__(self, color=0, slope=1.0):
        self.color, self.slope = color, slope

    def _picture(self):
        picture = np.full((20, 20, 3), self.color, np.uint8)
        picture[int(self.place) % 20, :, 0] = 255
        return picture

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.uniform(5, 15), 0
        return self._picture(), {}

    def step(self, action):
        self.place += self.slope * float(action[0])
        self.steps += 1
        return self._picture(), self.place, False, self.steps == 6, {}


@pytest.fixture(scope="module")
def pairs():
    first = DrQPSESAC("PixelPolicy", Scene(), **SMALL)
    first.actor.mu.weight.data *= 50  # actions that differ
    return collect_pairs(first, Scene(20), Scene(200), 2, seed=3)


@pytest.fixture
def model(pairs):
    return DrQPSESAC("PixelPolicy", Scene(), pairs=pairs, pse_anchors=4, pse_dim=5, **SMALL).learn(6)


def test_pairs_show_the_same_states_before_two_backgrounds(pairs):
    for pair in pairs:
        one, two = pair.observations
        assert pair.observations.shape == (2, 6, 20, 20, 3)
        assert (one != two).any()
        np.testing.assert_array_equal(one == 255, two == 255)  # the row
        assert not np.diag(pair.distance).any()
        # The recursion of the paper's code: an episode that has run out stays at its last state.
        expected = np.zeros((7, 7))
        for i in reversed(range(6)):
            for j in reversed(range(6)):
                cost = sum(abs(pair.actions[i, k] - pair.actions[j, k]) / 2 for k in range(2))
                ahead = 0 if i == j == 5 else expected[min(i + 1, 5), min(j + 1, 5)]
                expected[i, j] = cost + 0.99 * ahead
        np.testing.assert_allclose(pair.distance, expected[:6, :6])
    assert (pairs[0].observations != pairs[1].observations).any()
    assert pairs[0].distance.max() > 0.01


def test_environments_that_differ_in_more_are_refused():
    agent = DrQPSESAC("PixelPolicy", Scene(), **SMALL)
    with pytest.raises(ValueError, match="rewards of the two environments differ from step 0 on with seed 1"):
        collect_pairs(agent, Scene(), Scene(slope=2.0), 1, seed=1)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        collect_pairs(agent, Scene(), Scene(), 0)


def test_the_loss_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    anchors, others = rng.standard_normal((3, 5)), rng.standard_normal((4, 5))
    distance, temperature, beta = rng.uniform(0, 0.3, (3, 4)), 0.5, 0.1
    losses = []
    for i in range(3):
        similarity = np.exp(-distance[i] / beta)
        nearest = int(np.argmin(distance[i]))
        scores = [np.exp(anchors[i] @ o / np.linalg.norm(anchors[i]) / np.linalg.norm(o) / temperature) for o in others]
        positive = similarity[nearest] * scores[nearest]
        negative = sum((1 - similarity[j]) * scores[j] for j in range(4) if j != nearest)
        losses.append(-np.log(positive / (positive + negative)))
    tensors = [th.as_tensor(x, dtype=th.float32) for x in (anchors, others, distance)]
    found = anchored_contrastive_loss(*tensors, temperature, beta)
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-5)
    with pytest.raises(ValueError, match=r"distance must be float\[3, 4\], got shape \(4, 3\)"):
        anchored_contrastive_loss(tensors[0], tensors[1], tensors[2].T)
    with pytest.raises(ValueError, match="beta must be positive, got 0"):
        anchored_contrastive_loss(*tensors, beta=0)


def test_it_trains_the_actors_path_and_nothing_else(model):
    named = dict(model.policy.named_parameters())
    named |= {f"projection.{name}": p for name, p in model.projection.named_parameters()}
    trainable = {name: p for name, p in named.items() if p.requires_grad}
    gradients = th.autograd.grad(model.pse_loss(), list(trainable.values()), allow_unused=True)
    trained = {
        ".".join(name.split(".")[:2])
        for name, gradient in zip(trainable, gradients, strict=True)
        if gradient is not None and gradient.any()
    }
    path = {"encoder.convolutions", "actor_head.0", "actor_head.1", "actor.latent_pi", "projection.0"}
    assert trained == path
    stepped = {id(p) for group in model.pse_optimizer.param_groups for p in group["params"]}
    assert stepped == {id(p) for name, p in trainable.items() if ".".join(name.split(".")[:2]) in path}


def test_every_update_aligns(model):
    for optimizer in (model.critic.optimizer, model.actor.optimizer):
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    before = model.policy.encoder.convolutions[0].weight.clone()
    losses = model.update(model.replay_buffer.sample(4), 1)  # the actor is left out of this one
    assert losses["pse_loss"] > 0
    assert "actor_loss" not in losses
    assert not th.equal(before, model.policy.encoder.convolutions[0].weight)
    plain = DrQPSESAC("PixelPolicy", Scene(), **SMALL).learn(6)
    assert "pse_loss" not in plain.update(model.replay_buffer.sample(4), 1)


def test_an_episode_is_shifted_as_a_whole(model):
    episode = th.rand(1, 3, 20, 20).expand(5, 3, 20, 20)
    shifted = model._shifted(episode, model.augmentation_stream.on(model.device))
    assert th.equal(shifted, shifted[:1].expand_as(shifted))
    assert not th.equal(shifted, model._shifted(episode, model.augmentation_stream.on(model.device)))


def test_it_is_saved_without_its_pairs(model, pairs, tmp_path):
    model.save(tmp_path / "model")
    loaded = DrQPSESAC.load(tmp_path / "model", env=Scene(), device="cpu")
    images = th.rand(2, 3, 20, 20)
    assert th.equal(loaded.projected(images), model.projected(images))
    assert loaded.pse_optimizer.state_dict()["state"].keys() == model.pse_optimizer.state_dict()["state"].keys()
    assert loaded.further_steps() == {}
    loaded.align(pairs)
    assert loaded.further_steps()["pse_loss"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": []}, "pairs must be at least one pair of episodes, got none"),
        ({"pse_beta": 0.0}, "pse_beta must be positive, got 0.0"),
        ({"pse_anchors": 0}, "pse_anchors must be an integer of at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DrQPSESAC("PixelPolicy", Scene(), **{**SMALL, **settings})


def test_only_the_policy_for_pixels_has_what_it_aligns():
    with pytest.raises(ValueError, match='PSE aligns the hidden layers of "PixelPolicy", got EncoderCnnPolicy'):
        DrQPSESAC("CnnPolicy", Scene(), **{**SMALL, "policy_kwargs": {}})
