"""Data sets of Nav2D in a form of their own: layouts and cells; images are drawn when they are asked for.

A million transitions take some tens of megabytes, where their images would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bisimgym.envs.nav2d.env import PRESENT, Nav2DEnv, Nav2DState


class CompactForm:
    """How :mod:`bisimgym.wrappers.offline` keeps episodes of Nav2D, its corridor and its goal variant.

    The columns: ``cell``, ``int16`` of every observation, where the agent is, cells numbered row by row; of every
    episode ``obstacles``, ``uint8[ceil(size**2 / 8)]``, the bits of the grid (:func:`numpy.packbits`), and ``goal``,
    ``int16``, a cell.

    Args:
        env: whose observations are drawn.
    """

    name = "compact"
    blind_arguments: Mapping[str, Any] = {}
    display_arguments = frozenset({"goal_visible"})

    def __init__(self, env: Nav2DEnv):
        self._task = env.task

    def record(self, envs: Any, observations: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"cell": envs.unwrapped.state.cell[rows].astype(np.int16)}

    def record_starts(self, envs: Any, observations: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        state: Nav2DState = envs.unwrapped.state
        obstacles = np.packbits(state.obstacles[rows] > 0, axis=1)
        return {"obstacles": obstacles, "goal": state.goal[rows].astype(np.int16)}

    def draw(self, episodes: Any, rows: np.ndarray, episode: np.ndarray) -> Any:
        packed = episodes.per_episode["obstacles"][episode]
        grid = np.unpackbits(packed, axis=1, count=self._task.size**2) * np.uint8(PRESENT)
        cell, goal = (
            column.astype(np.int64)
            for column in (episodes.observations["cell"][rows], episodes.per_episode["goal"][episode])
        )
        zeros = np.zeros_like(cell)
        return self._task.observe(Nav2DState(grid, grid, zeros, goal, cell, zeros))
