"""Learners take environments of tensors, and learn from them what they learn from numpy's."""

import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.mico import MICoDQN, MICoSAC
from bisimgym.envs.torch_vector import TorchVectorEnv
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv
from bisimgym.wrappers.torch_vec_env import TorchSB3VecEnv

SETTINGS = {"learning_starts": 24, "batch_size": 8, "seed": 0, "device": "cpu", "replay_device": "device"}
GRID = {"size": 6, "num_obstacles": 2, "min_goal_distance": 3, "max_episode_steps": 9}
TASKS = {
    "nav2d": (MICoDQN, "CnnPolicy", "Nav2D-v0", GRID),
    "goals": (MICoDQN, "MultiInputPolicy", "Nav2DGoal-v0", GRID),
    "signals": (MICoDQN, "MlpPolicy", "MarkovSignal-v0", {"episode_length": 10}),
    "lqr": (MICoSAC, "MlpPolicy", "LQRDistractors-v0", {"num_distractors": 20, "horizon": 10}),
}


def learned(name, tensors, **settings):
    learner, policy, env_id, arguments = TASKS[name]
    made = gym.make_vec(f"bisimgym/{env_id}", num_envs=4, **arguments)
    envs = TorchSB3VecEnv(TorchVectorEnv(made, "cpu")) if tensors else SB3VecEnv(made)
    model = learner(policy, envs, buffer_size=80, **{**SETTINGS, **settings})
    return model.learn(120)


@pytest.mark.parametrize("name", TASKS)
def test_replays_hold_what_those_of_numpy_hold(name):
    """Actions by chance: until learning starts they do not depend on what networks round."""
    here, there = (learned(name, tensors, learning_starts=1000).replay_buffer for tensors in (False, True))
    assert here.size() == there.size() == 20
    steps, envs = (part.ravel() for part in th.meshgrid(th.arange(20), th.arange(4), indexing="ij"))
    for field, mine, theirs in zip(
        ("observations", "actions", "next_observations", "dones", "rewards"),
        there.sample_at(steps, envs)[:5],
        here.sample_at(steps, envs)[:5],
        strict=True,
    ):
        parts = [(mine[key], theirs[key]) for key in theirs] if isinstance(theirs, dict) else [(mine, theirs)]
        for a, b in parts:
            assert a.dtype == b.dtype, field
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-6, err_msg=field)


@pytest.mark.parametrize("name", TASKS)
def test_learners_train_and_record_episodes(name):
    model = learned(name, True)
    assert model._n_updates > 0
    assert len(model.ep_info_buffer) > 3
    lengths = [info["l"] for info in model.ep_info_buffer]
    assert all(1 <= length <= 10 for length in lengths)
    if name == "nav2d":
        assert all(info["r"] in (-info["l"], 1 - info["l"]) for info in model.ep_info_buffer)


def test_what_numpy_draws_or_holds_is_refused():
    from stable_baselines3.common.noise import NormalActionNoise

    with pytest.raises(ValueError, match='need a replay on the device: set replay_device="device"'):
        learned("lqr", True, replay_device="cpu")
    with pytest.raises(ValueError, match="without action_noise"):
        learned("lqr", True, action_noise=NormalActionNoise(np.zeros(20), np.ones(20)))
    with pytest.raises(ValueError, match="got SyncVectorEnv: use SB3VecEnv"):
        TorchSB3VecEnv(gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync"))


def test_the_page_of_devices_runs(capsys):
    page = Path(__file__).parents[2] / "docs" / "device.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    exec(compile("\n".join(blocks), "device.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "Tensor"
