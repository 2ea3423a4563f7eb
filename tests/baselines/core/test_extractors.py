import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO

import bisimgym  # noqa: F401
from bisimgym.baselines.core.extractors import (
    DictExtractor,
    GoalPlaneExtractor,
    ImageExtractor,
    MLPExtractor,
)
from bisimgym.baselines.core.latents import LatentBatch, effective_rank
from bisimgym.baselines.pse.augmentation import random_shift


def pictures(*shape):
    return spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "architecture", "count"),
    [
        ((3, 20, 20), "auto", 128),
        ((2, 60, 60), "auto", 256),
        ((9, 84, 84), "auto", 39_200),
        ((3, 7, 9), "auto", 128),
        ((3, 84, 84), "coordconv", 128),
        ((3, 8, 8), "minatar", 16 * 6 * 6),
    ],
)
def test_pictures_of_any_size(shape, architecture, count):
    without = ImageExtractor(pictures(*shape), None, "none", architecture)
    assert without.features_dim == count
    extractor = ImageExtractor(pictures(*shape), 50, "layer", architecture)
    z = extractor(th.rand(4, *shape))
    assert z.shape == (4, 50)
    th.testing.assert_close(z.mean(dim=1), th.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(3, 20, 20), (2, 60, 60), (9, 84, 84)])
def test_convolutions_see_channels_last(shape):
    """With channels first, an update takes a quarter to a half more time: one layer is enough to lose the layout."""
    extractor = ImageExtractor(pictures(*shape))
    layouts = []

    def look(module, inputs, output):
        layouts.extend(x.is_contiguous(memory_format=th.channels_last) for x in (inputs[0], output))

    for layer in extractor.modules():
        if isinstance(layer, th.nn.Conv2d):
            layer.register_forward_hook(look)
    extractor(th.rand(4, *shape))
    assert len(layouts) >= 6
    assert all(layouts)


@pytest.mark.parametrize("norm", ["layer", "l2", "none"])
def test_norms(norm):
    extractor = MLPExtractor(spaces.Box(-1, 1, (7,)), 12, norm=norm)
    z = extractor(100 * th.randn(5, 7))
    assert z.shape == (5, 12)
    lengths = z.norm(dim=1)
    if norm == "l2":
        th.testing.assert_close(lengths, th.ones(5))
    elif norm == "layer":
        th.testing.assert_close(lengths, th.full((5,), 12**0.5), rtol=1e-3, atol=0)
    else:
        assert lengths.std() > 0
    zero = MLPExtractor(spaces.Box(-1, 1, (7,)), 12, norm=norm)
    for parameter in zero.net[-1].parameters():
        parameter.data.zero_()
    zero(th.randn(5, 7)).sum().backward()
    assert all(p.grad is None or th.isfinite(p.grad).all() for p in zero.parameters())


def test_dictionaries_mix_pictures_and_vectors():
    space = spaces.Dict(picture=pictures(3, 20, 20), goal=spaces.Box(0, 1, (2,)))
    extractor = DictExtractor(space)
    a = {"picture": th.rand(2, 3, 20, 20), "goal": th.rand(2, 2)}
    z = extractor(a)
    assert z.shape == (2, 50)
    for key in a:
        assert not th.allclose(z, extractor({**a, key: a[key] + 0.5})), key


def test_the_goal_is_a_channel_of_the_picture():
    space = gym.make("bisimgym/Nav2DGoal-v0", size=8, num_obstacles=3, min_goal_distance=3).observation_space
    space = spaces.Dict({**space.spaces, "observation": pictures(2, 8, 8)})
    extractor = GoalPlaneExtractor(space, 50, architecture="minatar")
    picture = th.rand(2, 2, 8, 8)
    goal = th.tensor([[1.0, 6.0], [7.0, 0.0]])
    z = extractor({"observation": picture, "desired_goal": goal, "achieved_goal": th.zeros(2, 2)})
    plane = th.zeros(2, 1, 8, 8)
    plane[0, 0, 1, 6] = plane[1, 0, 7, 0] = 1
    th.testing.assert_close(z, extractor.image(th.cat([picture, plane], dim=1)))
    assert GoalPlaneExtractor(space, None, architecture="minatar").features_dim == 16 * 6 * 6


def test_stable_baselines3_takes_them():
    env = gym.make("bisimgym/Nav2D-v0", size=10, num_obstacles=3, min_goal_distance=3)
    model = PPO("CnnPolicy", env, n_steps=16, batch_size=16, policy_kwargs={"features_extractor_class": ImageExtractor})
    before = {name: value.clone() for name, value in model.policy.features_extractor.named_parameters()}
    model.learn(32)
    assert isinstance(model.policy.features_extractor, ImageExtractor)
    assert any(not th.equal(before[n], p) for n, p in model.policy.features_extractor.named_parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageExtractor(spaces.Box(-1, 1, (4,))), "needs images"),
        (lambda: ImageExtractor(pictures(3, 20, 20), architecture="resnet"), "architecture must be one of"),
        (lambda: ImageExtractor(pictures(3, 16, 16), architecture="sac-ae"), "at least 20 pixels"),
        (lambda: ImageExtractor(pictures(3, 3, 3)), "at least 4 x 4"),
        (lambda: MLPExtractor(spaces.Box(-1, 1, (4,)), norm="batch"), "norm must be one of"),
        (lambda: GoalPlaneExtractor(spaces.Dict(observation=pictures(2, 8, 8))), "row and column"),
        (
            lambda: GoalPlaneExtractor(
                spaces.Dict(observation=pictures(2, 8, 8), desired_goal=spaces.Box(0, 8, (2,), np.int64))
            ),
            "row and column",
        ),
    ],
)
def test_wrong_arguments_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_random_shift():
    rng = th.Generator().manual_seed(0)
    images = th.rand(64, 4, 9, 11)
    shifted = random_shift(images, rng, pad=2)
    assert shifted.shape == images.shape
    padded = th.nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    offsets = set()
    for before, after in zip(padded, shifted, strict=True):
        matches = [
            (dy, dx) for dy in range(5) for dx in range(5) if th.equal(before[:, dy : dy + 9, dx : dx + 11], after)
        ]
        assert len(matches) == 1  # all channels alike
        offsets.add(matches[0])
    assert len(offsets) > 15
    th.testing.assert_close(random_shift(images, rng, pad=0), images)
    with pytest.raises(ValueError, match="pad must be at least 0"):
        random_shift(images, rng, pad=-1)


def test_effective_rank_of_known_spectra():
    basis = th.linalg.qr(th.randn(40, 40, generator=th.Generator().manual_seed(0)))[0]
    basis = basis - basis.mean(dim=0)
    line = th.arange(40.0)[:, None] * th.ones(1, 6)
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-4)
    assert effective_rank(basis) > 35
    assert th.isfinite(effective_rank(th.zeros(5, 3)))


def test_embeddings_are_computed_once_and_when_asked_for():
    calls = []

    def encode(observations, target=False):
        calls.append((observations, target))
        return th.ones(2, 3, requires_grad=not target)

    batch = LatentBatch("now", "next", th.zeros(2, 1), th.zeros(2), th.zeros(2), 0.9, encode)
    assert not calls
    assert batch.z is batch.z
    assert batch.z.requires_grad
    assert not batch.next_target_z.requires_grad
    assert batch.next_target_z is batch.next_target_z
    assert calls == [("now", False), ("next", True)]
    with pytest.raises(ValueError, match="two augmented views"):
        _ = batch.second_view


def test_the_strided_net_of_wide_images():
    wide = spaces.Box(0, 255, (9, 84, 420), np.uint8)
    net = ImageExtractor(wide, features_dim=100, architecture="strided")
    assert net.linear.in_features == 64 * 100  # as published: 4 x 25 places of 64 channels
    assert ImageExtractor(wide, architecture="strided", channels=8).linear.in_features == 8 * 100
    assert ImageExtractor(wide, architecture="sac-ae").convolutions[0].out_channels == 32
    with pytest.raises(ValueError, match="32 x 96 pixels are too small for architecture 'strided'"):
        ImageExtractor(spaces.Box(0, 255, (9, 32, 96), np.uint8), architecture="strided")


def test_the_compact_net_of_small_images():
    small = spaces.Box(0, 255, (9, 24, 24), np.uint8)
    net = ImageExtractor(small, architecture="compact")
    shapes = [layer.weight.shape for layer in net.convolutions if isinstance(layer, th.nn.Conv2d)]
    assert shapes == [(32, 9, 4, 4), (64, 32, 4, 4)]
    assert net.linear.in_features == 64 * 6 * 6  # 24 -> 12 -> 6
    assert ImageExtractor(small, architecture="compact", channels=4).linear.in_features == 8 * 6 * 6
    with pytest.raises(ValueError, match="2 x 2 pixels are too small for architecture 'compact'"):
        ImageExtractor(spaces.Box(0, 255, (9, 2, 2), np.uint8), architecture="compact")
