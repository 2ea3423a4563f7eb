"""What the lqr suite trains and scores on: systems that differ in their distractors, and agents that play them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.checks import continuous_actions
from bisimgym.envs.lqr import LQRSystem, lqr_system
from bisimgym.envs.lqr.env import LQRState, LQRTask
from bisimgym.envs.lqr.system import DYNAMICS_SCALE, STATE_DIM

#: Rows of outcomes: the two systems that are learned from, and the one that is not.
TRAINED = (True, True, False)


@dataclass(frozen=True)
class Protocol:
    """Sizes of what outside agents learn from and are scored on.

    Attributes:
        num_envs: environments that an agent learns from, half of them with each of the two training distractors.
        horizon: steps per episode.
        bases: orthonormal bases of the state space that an agent's episodes start along; each gives 20 episodes.
    """

    num_envs: int = 16
    horizon: int = 100
    bases: int = 5


PROTOCOL = Protocol()


def env_arguments(task: str, seed: int) -> list[dict[str, Any]]:
    """Return the arguments of ``bisimgym/LQRDistractors-v0`` for the two systems to learn from and the unseen one."""
    return [
        {"num_distractors": int(task), "system_seed": seed, "distractor_seed": 3 * seed + i}
        for i in range(len(TRAINED))
    ]


def systems(task: str, seed: int, entries: str = "uniform") -> list[LQRSystem]:
    """Return the two systems to learn from and the unseen one: their Wd differ, all else they share."""
    return [lqr_system(**arguments, entries=entries) for arguments in env_arguments(task, seed)]


def oracle_cost() -> float:
    """Return the least cost of any policy, 27.399, the same for all these systems.

    With A'A = c^2 I and B = Q = R = I, the solution of the Riccati equation is p I with p^2 - c^2 p - 1 = 0.
    """
    half = DYNAMICS_SCALE**2 / 2
    return STATE_DIM * (half + math.hypot(half, 1.0))


def no_force_error() -> float:
    """Return the cost of no force at all above the least cost, 28.157: the sum of 20 c^2k over all steps k, less it."""
    return STATE_DIM / (1 - DYNAMICS_SCALE**2) - oracle_cost()


def training_envs(task: str, seed: int, protocol: Protocol = PROTOCOL) -> Any:
    """Return environments of the two systems to learn from, in turn."""
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    of_training = env_arguments(task, seed)[: sum(TRAINED)]
    makers = [
        partial(
            gym.make,
            "bisimgym/LQRDistractors-v0",
            horizon=protocol.horizon,
            **of_training[i % len(of_training)],
        )
        for i in range(protocol.num_envs)
    ]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def played_cost(agent: Any, arguments: Mapping[str, Any], protocol: Protocol) -> float:
    """Return the mean cost of an agent's episodes in the environment of these arguments.

    Episodes start at sqrt(20) times the vectors of orthonormal bases. So they are as far from rest as s ~ N(0, I) is on
    average, and for linear agents that stay inside the box of actions the mean cost is the expected one, without noise.

    Raises:
        ValueError: for actions of another shape, or that are not finite.
    """
    task = LQRTask(**arguments, horizon=protocol.horizon, entries="uniform")
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.standard_normal((STATE_DIM, STATE_DIM)))[0] for _ in range(protocol.bases)]
    start = np.sqrt(STATE_DIM) * np.concatenate(bases)
    none = np.zeros(len(start))
    current = LQRState(start, start, np.zeros_like(start), none.astype(np.int64), none)
    state, episode_start = None, np.ones(len(start), dtype=bool)
    for _ in range(protocol.horizon):
        observation = task.observe(current)
        action, state = agent.predict(observation, state=state, episode_start=episode_start, deterministic=True)
        force = continuous_actions(action, (len(start), *task.action_space.shape))
        current = task.transition(current, np.clip(force, task.action_space.low, task.action_space.high))[0]
        episode_start = np.zeros(len(start), dtype=bool)
    return float(current.cost.mean())
