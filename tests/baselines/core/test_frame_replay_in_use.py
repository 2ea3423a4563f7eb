"""Agents learn the same from a frame replay, which takes less memory."""

import warnings

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch as th
from gymnasium import spaces
from replays import ACTION, IMAGE, STORAGES, assert_equal, both, nav2d_goals, roll_out, sample
from stable_baselines3 import DQN, SAC, HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecTransposeImage

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.core.frame_replay import FrameReplayBuffer, HerFrameReplayBuffer, sample_as_on_host
from bisimgym.baselines.core.placement import free_gpu_memory
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv


def parameters(model):
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def assert_same_parameters(one, other):
    assert one.keys() == other.keys()
    assert all(th.equal(one[name], other[name]) for name in one)


DQN_SETTINGS = {
    "buffer_size": 150,  # wraps around
    "learning_starts": 60,
    "batch_size": 16,
    "train_freq": 4,
    "target_update_interval": 50,
    "policy_kwargs": {"net_arch": [16]},
    "seed": 0,
    "device": "cpu",
}


@pytest.mark.parametrize("storage_device", STORAGES)
@pytest.mark.parametrize(
    ("env_id", "n_envs", "stack"),
    [("bisimgym/JumpingTask-v0", 1, 2), ("bisimgym/JumpingTask-v0", 3, 1), ("bisimgym/Nav2D-v0", 2, 1)],
)
def test_dqn_learns_the_same_parameters(env_id, n_envs, stack, storage_device, monkeypatch):
    if storage_device == "device":  # from the same places: its own stream draws others
        monkeypatch.setattr(FrameReplayBuffer, "sample", sample_as_on_host)

    def learned(**replay):
        envs = SB3VecEnv(gym.make_vec(env_id, num_envs=n_envs))
        model = DQN("MlpPolicy", envs, **DQN_SETTINGS, **replay)
        model.learn(300)
        model.learn(100)  # environments start again in the middle of episodes
        return parameters(model)

    arguments = {"frame_stack": stack, "storage_device": storage_device}
    ours = learned(replay_buffer_class=FrameReplayBuffer, replay_buffer_kwargs=arguments)
    assert_same_parameters(ours, learned())


class FlattenDict(BaseFeaturesExtractor):
    """All entries in one vector: SB3's own network for images needs 36 x 36 pixels."""

    def __init__(self, space):
        super().__init__(space, sum(spaces.flatdim(part) for part in space.values()))

    def forward(self, observations):
        return th.cat([value.flatten(1) for value in observations.values()], dim=1)


@pytest.mark.parametrize("storage_device", STORAGES)
def test_dqn_with_hindsight_learns_the_same_parameters(storage_device):
    def learned(replay_class, **arguments):
        model = DQN(
            "MultiInputPolicy",
            nav2d_goals(2),
            **DQN_SETTINGS | {"policy_kwargs": {"net_arch": [16], "features_extractor_class": FlattenDict}},
            replay_buffer_class=replay_class,
            replay_buffer_kwargs={"goal_selection_strategy": "final", "n_sampled_goal": 1, **arguments},
        )
        return parameters(model.learn(400))

    assert_same_parameters(learned(HerFrameReplayBuffer, storage_device=storage_device), learned(HerReplayBuffer))


def test_sac_learns_the_same_parameters():
    def learned(**replay):
        common = {"batch_size": 16, "train_freq": 4, "policy_kwargs": {"net_arch": [16]}, "seed": 0, "device": "cpu"}
        model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=250, learning_starts=150, **common, **replay)
        return parameters(model.learn(450))

    assert_same_parameters(learned(replay_buffer_class=FrameReplayBuffer), learned())


@pytest.mark.parametrize("storage_device", STORAGES)
def test_a_saved_replay_goes_on(tmp_path, storage_device):
    replay = {"replay_buffer_class": FrameReplayBuffer, "replay_buffer_kwargs": {"storage_device": storage_device}}
    envs = SB3VecEnv(gym.make_vec("bisimgym/JumpingTask-v0", num_envs=2))
    model = DQN("MlpPolicy", envs, **DQN_SETTINGS, **replay).learn(200)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = []
    for _ in range(2):
        envs = SB3VecEnv(gym.make_vec("bisimgym/JumpingTask-v0", num_envs=2))
        again = DQN.load(tmp_path / "model", envs, device="cpu")
        again.load_replay_buffer(tmp_path / "replay")
        assert again.replay_buffer.size() == model.replay_buffer.size() == 75
        assert_equal(sample(again.replay_buffer, 0), sample(model.replay_buffer, 0))
        again.set_random_seed(1)
        loaded.append(parameters(again.learn(100, reset_num_timesteps=False)))
    assert_same_parameters(*loaded)


@pytest.mark.parametrize(
    ("env_id", "arguments", "most"),
    [
        ("bisimgym/Nav2D-v0", {}, 0.55),
        ("bisimgym/Nav2DGoal-v0", {}, 0.55),
        ("bisimgym/JumpingTask-v0", {}, 0.55),
        ("bisimgym/JumpingTask-v0", {"frame_stack": 2}, 0.30),
    ],
)
def test_an_image_transition_takes_little_memory(env_id, arguments, most):
    env = VecTransposeImage(SB3VecEnv(gym.make_vec(env_id, num_envs=4)))
    ours, theirs = both(2_000, env.observation_space, env.num_envs, **arguments)
    ends = sum(int(done.sum()) for done in roll_out(env, 1_100, theirs, ours))
    assert ends > 50
    assert_equal(sample(ours, 0, 256), sample(theirs, 0, 256))
    held = list(vars(theirs).values())
    for entry in (theirs.observations, theirs.next_observations):
        held += entry.values() if isinstance(entry, dict) else []
    assert sum(ours.memory) <= most * sum(array.nbytes for array in held if isinstance(array, np.ndarray))


@pytest.mark.parametrize("storage_device", STORAGES)
@pytest.mark.parametrize("stack", [1, 3])
def test_a_replay_that_does_not_fit_is_refused(monkeypatch, stack, storage_device):
    def available(num_bytes):
        memory = psutil.virtual_memory()._replace(available=num_bytes)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    arguments = {"device": "cpu", "storage_device": storage_device, "frame_stack": stack}
    # A row for each step, rows for the ends of 201 episodes, and row numbers.
    need = (10_000 + stack + 201 * stack) * 75 // stack + 10_000 * 4 * (stack + 1)
    if storage_device == "device":  # row numbers, actions, rewards and flags are there too
        need += 10_000 * (4 * (stack + 1) + 8 + 3 * 4)
    available(need - 1)
    with pytest.raises(MemoryError, match=r"10000 transitions needs .* of host memory, but .* are available: set buf"):
        FrameReplayBuffer(10_000, IMAGE, ACTION, **arguments)
    available(need)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # SB3's buffer would not fit, and its warning does not appear
        FrameReplayBuffer(10_000, IMAGE, ACTION, **arguments)
    with pytest.warns(UserWarning, match="enough memory"):
        ReplayBuffer(10_000, IMAGE, ACTION, "cpu")


def test_memory_of_a_gpu_counts_what_torch_keeps_for_reuse(monkeypatch):
    monkeypatch.setattr(th.cuda, "mem_get_info", lambda device: (1_000_000, 9_000_000))
    monkeypatch.setattr(th.cuda, "memory_reserved", lambda device: 500_000)
    monkeypatch.setattr(th.cuda, "memory_allocated", lambda device: 300_000)
    assert free_gpu_memory("cuda:0") == 1_200_000
