"""The forward pass as an environment: both agents, budgets, oracles, and what bad input is told."""

import subprocess
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pruning_network
import pytest
import torch as th

import bisimgym  # noqa: F401
from bisimgym.envs.channel_pruning import GatedNetwork, load_network, save_network
from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.budgets import budget_reward
from bisimgym.envs.channel_pruning.datasets import digits
from bisimgym.envs.channel_pruning.fitting import fit, random_ratios, scored
from bisimgym.envs.channel_pruning.stored import stored_network

ENV_ID = "bisimgym/ChannelPruning-v0"


def played(ratios, images=range(6), **arguments):
    """Return the environments, their rewards of every step, and the last infos, for one plan."""
    envs = gym.make_vec(ENV_ID, num_envs=len(images), autoreset_mode="Disabled", **arguments)
    envs.reset(options={"image": list(images)})
    rewards = []
    for ratio in ratios:
        action = envs.unwrapped.task.action(np.full(len(images), ratio))
        _, reward, terminated, _, infos = envs.step(action)
        rewards.append(reward)
    assert terminated.all()
    return envs, np.array(rewards), infos


def test_an_episode_is_the_networks_forward_pass():
    _, rewards, infos = played([1, 1, 1, 1])
    data = digits("train")
    with th.no_grad():
        logits, kept = stored_network("digits-4")(th.from_numpy(data.images[:6]))
        loss = th.nn.functional.cross_entropy(logits, th.from_numpy(data.labels[:6]), reduction="none")
    np.testing.assert_allclose(infos["loss"], loss, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(infos["correct"], logits.argmax(dim=1).numpy() == data.labels[:6])
    np.testing.assert_array_equal(infos["kept"], kept)
    np.testing.assert_array_equal(infos["macs"], 1)
    assert (rewards[:3] == 0).all()


def test_the_reward_by_hand():
    envs, rewards, infos = played([0.75, 0.5, 0.5, 0.25])
    backbone, scale = BACKBONES["digits-4"], envs.unwrapped.task.loss_scale
    assert infos["kept"].tolist() == [[12, 8, 16, 8]] * 6
    macs = backbone.fraction("macs", [12, 8, 16, 8])
    np.testing.assert_allclose(infos["macs"], macs)
    expected = -infos["loss"] / scale + budget_reward("macs", macs, backbone.cap("macs", 0.5))
    np.testing.assert_allclose(rewards[-1], expected)


def test_the_static_agent_is_paid_for_parameters_that_can_be_removed():
    _, _, alone = played([0.5] * 4, agent="static")
    np.testing.assert_allclose(alone["parameters"], BACKBONES["digits-4"].cap("parameters", 0.5))
    _, _, half = played([0.5] * 4, agent="static", trust=0.5, partner=1.0)
    assert half["kept"].tolist() == [[12, 12, 24, 24]] * 6
    np.testing.assert_allclose(half["parameters"], BACKBONES["digits-4"].fraction("parameters", [12, 12, 24, 24]))
    _, _, runtime = played([0.5] * 4, agent="runtime")
    np.testing.assert_array_equal(runtime["parameters"], 1)


def test_what_the_static_agent_sees_does_not_depend_on_the_picture():
    envs = gym.make_vec(ENV_ID, num_envs=4, agent="static")
    observation, _ = envs.reset(seed=0)
    for _ in range(4):
        assert (observation == observation[0]).all()
        observation, *_ = envs.step(np.full((4, 1), 0.3, np.float32))
    runtime, _ = gym.make_vec(ENV_ID, num_envs=4).reset(seed=0)
    assert len(np.unique(runtime, axis=0)) == 4


class Half:
    """A partner that notes what it sees."""

    def __init__(self):
        self.seen = []

    def predict(self, observation, deterministic=False):
        self.seen.append(observation)
        return np.full((len(observation), 1), (0.5 - 0.1) / 0.9 * 2 - 1), None


def test_partners_are_ratios_plans_or_policies():
    partner = Half()
    found = [played([0.5] * 4, trust=0.5, partner=given)[2]["loss"] for given in (0.5, [0.5, 0.5, 0.5, 0.5], partner)]
    np.testing.assert_allclose(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2])
    assert {seen.shape[1] for seen in partner.seen} == {8}  # the static agent's observations


def test_sub_environments_that_are_reset_alone_go_on_alone():
    envs = gym.make_vec(ENV_ID, num_envs=3, autoreset_mode="Disabled")
    envs.reset(options={"image": 5})
    action = envs.unwrapped.task.action(np.full(3, 0.5))
    envs.step(action)
    envs.reset(options={"reset_mask": np.array([False, True, False]), "image": 5})
    for _ in range(3):
        *_, terminated, _, infos = envs.step(action)
    assert terminated.tolist() == [True, False, True]
    envs.reset(options={"reset_mask": np.array([True, False, True]), "image": 5})
    *_, terminated, _, later = envs.step(action)
    assert terminated.tolist() == [False, True, False]
    np.testing.assert_array_equal(later["loss"][1], infos["loss"][0])


def test_the_enumerated_plan_of_the_static_agent_is_the_best_on_the_grid():
    arguments = {"agent": "static", "density": 0.7, "minimum_ratio": 0.5}
    envs, rewards, _ = played([0.5] * 4, range(128), **arguments)
    best = envs.unwrapped.task.best_plan()
    of_best = envs.unwrapped.optimal_return().mean()
    np.testing.assert_allclose(played(best, range(128), **arguments)[1][-1].mean(), of_best)
    assert of_best >= rewards[-1].mean()
    assert of_best > played([1, 0.5, 0.75, 0.5], range(128), **arguments)[1][-1].mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "alexnet"}, "backbone must be one of .*'digits-4'.*got 'alexnet'"),
        ({"backbone": "m-cifarnet"}, "no weights of backbone 'm-cifarnet' come with the package: train one and give"),
        ({"agent": "both"}, "agent must be one of"),
        ({"density": 0.2, "minimum_ratio": 0.3}, "density 0.2 cannot be met: no layer goes below minimum_ratio 0.3"),
        ({"density": 1.2}, r"density must be a number in \[0.05, 1\], got 1.2"),
        ({"minimum_ratio": 0.0}, r"minimum_ratio must be a number in \[0.01, 1\] .*got 0.0"),
        ({"trust": 0.5}, "trust must be None .*without a partner"),
        ({"partner": 0.5}, "trust must be None .*without a partner, .*partner=0.5"),
        (
            {"trust": 0.5, "partner": 0.0},
            r"partner must be None, a ratio in \(0, 1\], 4 of them, or an object .*got 0.0",
        ),
        ({"trust": 0.5, "partner": [0.5, 0.5]}, "partner must be None"),
        ({"network": GatedNetwork(BACKBONES["m-cifarnet"])}, r"sees pictures of \(3, 32, 32\), and data 'digits' has"),
        ({"data": "nowhere"}, "data must be 'digits' or a folder"),
    ],
)
def test_bad_arguments_are_one_error_each(arguments, message):
    with pytest.raises(ValueError, match=message):
        gym.make(ENV_ID, **arguments)


def test_bad_options_are_one_error_each():
    env = gym.make(ENV_ID)
    with pytest.raises(ValueError, match="unknown reset options .*'picture'"):
        env.reset(options={"picture": 1})
    with pytest.raises(ValueError, match=r"options\['image'\] must be an integer from 0 to 1296, got 1297"):
        env.reset(options={"image": 1297})


def test_networks_with_too_many_plans_have_no_oracle():
    network = GatedNetwork(BACKBONES["digits-4"])
    env = gym.make(ENV_ID, network=network).unwrapped
    env.reset(seed=0)
    env.task.num_layers = 8
    with pytest.raises(ValueError, match="no oracle: 4 ratios in 8 layers are 65536 plans, and 1000 can be enumerated"):
        env.optimal_return()


def test_training_improves_a_network_and_its_file_is_read_again(tmp_path, capsys):
    pruning_network.main([str(tmp_path / "net.npz")], epochs=(1, 0, 0))
    assert "of the test digits" in capsys.readouterr().out
    network = load_network(tmp_path / "net.npz", BACKBONES["digits-4"])
    data = digits("train")
    data = replace(data, images=data.images[:256], labels=data.labels[:256])
    before = scored(network, data)["loss"].mean()
    fit(network, data, 2, 0, random_ratios)
    assert scored(network, data)["loss"].mean() < before
    save_network(network, tmp_path / "net.npz")
    env = gym.make(ENV_ID, network=tmp_path / "net.npz")
    assert env.reset(seed=0)[0].shape == (71,)
    with pytest.raises(ValueError, match="net.npz holds no network with these layers"):
        load_network(tmp_path / "net.npz", BACKBONES["m-cifarnet"])
    (tmp_path / "net.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="net.npz holds no network with these layers"):
        load_network(tmp_path / "net.npz", BACKBONES["digits-4"])


def test_saving_a_network_replaces_networks_and_nothing_else(tmp_path):
    network = GatedNetwork(BACKBONES["digits-4"])
    mine = tmp_path / "mine.npz"
    np.savez(mine, x=np.zeros(3))
    before = mine.read_bytes()
    with pytest.raises(FileExistsError, match=r"mine.npz is there and not a network that bisimgym wrote"):
        save_network(network, tmp_path / "mine")
    assert mine.read_bytes() == before
    (tmp_path / "link.npz").symlink_to("kept.npz")
    for name in ("kept.npz", "kept", "link"):
        save_network(network, tmp_path / name)
        load_network(tmp_path / "kept.npz", BACKBONES["digits-4"])
    assert (tmp_path / "link.npz").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.npz", "link.npz", "mine.npz"]


@pytest.mark.parametrize("missing", ["torch", "sklearn"])
def test_the_environment_names_its_extra(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import bisimgym.envs.channel_pruning"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert last.endswith(f'environments of channel pruning need {missing}: pip install "bisimgym[pruning]"')
