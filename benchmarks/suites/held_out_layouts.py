"""Layouts of Nav2D that no run learns from, always the same, which suites score agents on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from bisimgym.benchmarks.suites.checks import discrete_actions

#: How many.
LAYOUTS = 200


def held_out_seeds(count: int) -> list[int]:
    """Return the seeds of the first layouts that agents are scored on."""
    return [1_000_000 + i for i in range(count)]


def solved_layouts(agent: Any, layout: Mapping[str, Any], count: int = LAYOUTS) -> np.ndarray:
    """Return in which of the first layouts, always the same, an agent reaches the goal in time, ``bool[count]``.

    Args:
        agent: follows the agent protocol; sees what ``Nav2DGoal`` shows.
        layout: arguments of the environment.
        count: of layouts.
    """
    envs: Any = gym.make_vec("bisimgym/Nav2DGoal-v0", num_envs=count, **layout)
    observation, _ = envs.reset(seed=held_out_seeds(count))
    playing, solved = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    state, episode_start = None, np.ones(count, dtype=bool)
    while playing.any():  # environments that are done start over, and no longer count
        action, state = agent.predict(observation, state=state, episode_start=episode_start, deterministic=True)
        action = discrete_actions(action, count, int(envs.single_action_space.n))
        observation, _, terminated, truncated, _ = envs.step(action)
        solved |= playing & terminated
        playing &= ~(terminated | truncated)
        episode_start = terminated | truncated
    return solved
