"""Environments of dm_control with distractions, and what they do."""

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("dm_control")

import bisimgym  # noqa: E402, F401
from bisimgym.envs.distracting_control import DistractingControlEnv  # noqa: E402

SIX = [
    ("ball_in_cup", "catch"),
    ("cartpole", "swingup"),
    ("cheetah", "run"),
    ("finger", "spin"),
    ("reacher", "easy"),
    ("walker", "walk"),
]


six_tasks = pytest.mark.parametrize(("domain", "task"), SIX)


def make(domain="cartpole", task="swingup", **arguments):
    return DistractingControlEnv(domain, task, **{"size": 16, "action_repeat": 4, **arguments})


def actions_of(env, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def rollout(env, steps, seed=5):
    """Return observations, rewards, states of the physics and infos of one episode."""
    observation, info = env.reset(seed=seed)
    observations, rewards, infos = [observation], [], [info]
    states = [env.environment.physics.get_state()]
    for action in actions_of(env, steps):
        observation, reward, _, _, info = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
        states.append(env.environment.physics.get_state())
    return np.array(observations), np.array(rewards), np.array(states), infos


def last_frame(observation):
    return observation[..., -3:]
