"""Networks with residual blocks and depthwise convolutions as environments, and the folders that they are pruned on."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from PIL import Image

import bisimgym  # noqa: F401
from bisimgym.envs.channel_pruning import GatedNetwork
from bisimgym.envs.channel_pruning.backbones import residual_blocks, separable
from bisimgym.envs.channel_pruning.budgets import Backbone, ConvLayer
from bisimgym.envs.channel_pruning.datasets import LabeledImages
from bisimgym.envs.channel_pruning.fitting import scored
from bisimgym.envs.channel_pruning.masks import trade_off_keep
from bisimgym.envs.channel_pruning.states import permanent_counts

ENV_ID = "bisimgym/ChannelPruning-v0"
RESIDUAL = Backbone(
    (3, 16, 16), (ConvLayer(3, 4, 2, 3, 7, pool=True), *residual_blocks(4, 4, 1, 1), *residual_blocks(4, 6, 2, 1)), 3
)
SEPARABLE = Backbone((3, 16, 16), separable((4, 6, 8), (1, 2)), 3)


def images_of(count=5):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, 3, 16, 16)).astype(np.float32)
    return LabeledImages(images, np.arange(count) % 3, np.zeros((count, 16, 16, 3), np.uint8))


def network_of(backbone):
    th.manual_seed(0)
    network = GatedNetwork(backbone)
    for latent in network.latents:
        th.nn.init.normal_(latent)
    network.release_static(images_of().images, images_of().labels)
    return network.eval()


@pytest.mark.parametrize("backbone", [RESIDUAL, SEPARABLE])
@pytest.mark.parametrize("agent", ["runtime", "static"])
def test_an_episode_is_the_networks_forward_pass(backbone, agent):
    network, data = network_of(backbone), images_of()
    envs = gym.make_vec(
        ENV_ID, num_envs=5, autoreset_mode="Disabled", agent=agent, data=data, network=network, ranking="static"
    )
    envs.reset(options={"image": np.arange(5)})
    plan = np.linspace(0.4, 0.9, len(backbone.layers))

    def rule(layer, _, runtime, static):
        ratio = th.full((len(runtime),), plan[layer], dtype=th.float64)
        of_runtime, of_static = (ratio, th.ones_like(ratio)) if agent == "runtime" else (th.ones_like(ratio), ratio)
        return trade_off_keep(static.expand_as(runtime), static, of_runtime, of_static, float(agent == "runtime"))

    for ratio in plan:
        *_, infos = envs.step(envs.unwrapped.task.action(np.full(5, ratio)))
    found = scored(network, data, rule)
    np.testing.assert_allclose(infos["loss"], found["loss"], rtol=1e-4)
    np.testing.assert_array_equal(infos["kept"], found["kept"])
    np.testing.assert_allclose(infos["macs"], backbone.fraction("macs", found["kept"], found["read"]))
    if agent == "static":
        left = permanent_counts(backbone, plan, 0.0)
        np.testing.assert_allclose(infos["parameters"], backbone.fraction("parameters", left))
        for group in backbone.groups():
            assert len(set(left[list(group)])) == 1


def test_a_folder_of_images_is_pruned_on(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("n01", "n02"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(256, size=(24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / name / f"{i}.png")
    network = GatedNetwork(SEPARABLE)
    env = gym.make(ENV_ID, backbone="mobilenet-v1", data=str(tmp_path), network=network, render_mode="rgb_array")
    env.reset(seed=0)
    for _ in SEPARABLE.layers:
        *_, terminated, _, info = env.step(np.zeros(1, np.float32))
    assert terminated
    assert info["loss"] > 0
    assert env.render().shape == (260, 420, 3)
    with pytest.raises(ValueError, match="val is not there: data must be 'digits' or a folder"):
        gym.make(ENV_ID, backbone="mobilenet-v1", data=str(tmp_path), network=network, split="test")
    fewer = GatedNetwork(Backbone((3, 16, 16), separable((4, 6, 8), (1, 2)), classes=1))
    with pytest.raises(ValueError, match=r"has class 1, and the network knows 1 classes"):
        gym.make(ENV_ID, backbone="mobilenet-v1", data=str(tmp_path), network=fewer)
