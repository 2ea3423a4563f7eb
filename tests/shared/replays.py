"""Replays of this package beside those of SB3."""

import copy

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.preprocessing import get_obs_shape
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.core.frame_replay import (
    DictFrameReplayBuffer,
    FrameReplayBuffer,
    sample_as_on_host,
)

IMAGE = spaces.Box(0, 255, (3, 5, 5), np.uint8)


ACTION = spaces.Discrete(4)


STORAGES = ("cpu", "device")


def episodes(space, n_envs, steps, rng, *, stack=1, axis=0, padding="repeat", end=0.2, outside_reset=0.0):
    """Yield arguments of ``add``: made-up episodes of each environment, ended by termination or a time limit."""
    shape, dtype = list(get_obs_shape(space)), np.dtype(space.dtype)
    shape[axis] //= stack

    def frame():
        if dtype.kind == "f":
            return rng.normal(size=shape).astype(dtype)
        return rng.integers(0, 2 if isinstance(space, spaces.MultiBinary) else 5, shape, dtype=dtype)

    def first():
        frames = [frame() for _ in range(stack)]
        if padding == "repeat":
            frames = [frames[-1]] * stack
        if padding == "zeros":
            frames[:-1] = [np.zeros_like(frames[0])] * (stack - 1)
        return frames

    histories = [first() for _ in range(n_envs)]

    def observations(of):
        return np.stack([np.concatenate(history, axis) for history in of])

    for _ in range(steps):
        next_histories = [[*history[1:], frame()] for history in histories]
        done = rng.random(n_envs) < end
        limit = done & (rng.random(n_envs) < 0.5)
        infos = [{"TimeLimit.truncated": bool(t)} for t in limit]
        actions, rewards = rng.integers(0, 4, n_envs), rng.normal(size=n_envs)
        yield observations(histories), observations(next_histories), actions, rewards, done, infos
        resets = done | (rng.random(n_envs) < outside_reset)
        histories = [first() if reset else h for h, reset in zip(next_histories, resets, strict=True)]


def dict_episodes(space, n_envs, steps, rng, **how):
    parts = {key: episodes(part, n_envs, steps, rng, **how) for key, part in space.spaces.items()}
    for rows in zip(*parts.values(), strict=True):
        now, after = ({key: row[i] for key, row in zip(parts, rows, strict=True)} for i in (0, 1))
        yield now, after, *rows[0][2:]


def both(buffer_size, space, n_envs=1, **arguments):
    """Return our buffer, made with these arguments, and SB3's."""
    is_dict = isinstance(space, spaces.Dict)
    ours = DictFrameReplayBuffer if is_dict else FrameReplayBuffer
    theirs = DictReplayBuffer if is_dict else ReplayBuffer
    return (
        ours(buffer_size, space, ACTION, device="cpu", n_envs=n_envs, **arguments),
        theirs(buffer_size, space, ACTION, "cpu", n_envs),
    )


def add_to_both(ours, theirs, transitions):
    """Add transitions to two buffers, compare a sample after each, and return how often the ring was full."""
    full = 0
    for step, transition in enumerate(transitions):
        for buffer in (theirs, ours):
            buffer.add(*copy.deepcopy(transition))
        assert ours.size() == theirs.size()
        assert_equal(sample(ours, step), sample(theirs, step))
        full += ours.full
    return full


def sample(buffer, seed, batch_size=64, env=None):
    """Sample a buffer at the places that SB3 draws; one on the device draws others."""
    np.random.seed(seed)  # noqa: NPY002  (the stream that SB3 samples from)
    return sample_as_on_host(buffer, batch_size, env)


def assert_equal(ours, theirs):
    for name, mine, expected in zip(ours._fields, ours, theirs, strict=True):
        pairs = [(mine, expected)]
        if isinstance(expected, dict):
            assert list(mine) == list(expected)
            pairs = [(mine[key], expected[key]) for key in expected]
        for a, b in pairs:
            if b is None:  # discounts, which only n-step buffers fill
                assert a is None
                continue
            assert a.dtype == b.dtype, name
            assert a.shape == b.shape, name
            assert a.numpy().tobytes() == b.numpy().tobytes(), name


MIXED = spaces.Dict(
    image=spaces.Box(0, 255, (6, 8, 8), np.uint8),
    place=spaces.Box(0, 9, (2,), np.int64),
    task=spaces.Discrete(5),
    signal=spaces.Box(-1, 1, (40,), np.float32),
)


def nav2d_goals(n_envs, **task):
    task = {"size": 6, "num_obstacles": 2, "min_goal_distance": 1, "max_episode_steps": 12, **task}
    return VecTransposeImage(DummyVecEnv([lambda: gym.make("bisimgym/Nav2DGoal-v0", **task)] * n_envs))


def roll_out(env, steps, *buffers, seed=0):
    """Fill buffers with random steps as SB3's algorithms do; yield after each."""
    rng = np.random.default_rng(seed)
    env.seed(seed)
    now = env.reset()
    for _ in range(steps):
        action = rng.integers(0, env.action_space.n, env.num_envs)
        env.step_async(action)
        arrived, reward, done, infos = env.step_wait()
        after = copy.deepcopy(arrived)
        for i in np.flatnonzero(done):
            last = infos[i]["terminal_observation"]
            if isinstance(after, dict):
                for key in after:
                    after[key][i] = last[key]
            else:
                after[i] = last
        for buffer in buffers:
            buffer.add(copy.deepcopy(now), copy.deepcopy(after), action, reward, done, infos)
        now = arrived
        yield done
