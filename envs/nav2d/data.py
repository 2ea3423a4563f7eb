"""Epsilon-greedy data of Nav2D, in a form of its own: layouts and cells; images are built when they are asked for.

A million transitions take some tens of megabytes, where their images would take gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bisimgym.envs.array_task import put, select
from bisimgym.envs.batched_vector import BatchedVectorEnv
from bisimgym.envs.checks import fraction, integer
from bisimgym.envs.nav2d import env as nav2d
from bisimgym.envs.nav2d.layouts import LayoutRules


@dataclass(frozen=True)
class Nav2DTransitions:
    """T transitions of E whole episodes, each episode in order of time.

    Attributes:
        size: cells along each side of the grid.
        obstacles: ``uint8[E, ceil(size**2 / 8)]``, bits of each episode's grid (:func:`numpy.packbits`).
        goal: ``int16[E]`` cells, numbered row by row.
        episode: ``int32[T]``.
        cell, next_cell: ``int16[T]``, where the agent was and is.
        action: ``int8[T]``.
        terminated, truncated: ``bool[T]``. The reward follows: 0 if terminated, else -1.
    """

    size: int
    obstacles: np.ndarray
    goal: np.ndarray
    episode: np.ndarray
    cell: np.ndarray
    next_cell: np.ndarray
    action: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.cell)

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    @property
    def reward(self) -> np.ndarray:
        """``float32[T]``."""
        return np.where(self.terminated, nav2d.GOAL_REWARD, nav2d.STEP_REWARD).astype(np.float32)

    def observations(self, rows: np.ndarray, goal_visible: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the images before and after some transitions, ``uint8[K, size, size, 3]`` each.

        Args:
            rows: ``int[K]``, numbers of transitions.
            goal_visible: whether channel 2 shows the goal; the paper's data hide it.
        """
        rows = np.asarray(rows)
        episode = self.episode[rows]
        grid = np.unpackbits(self.obstacles[episode], axis=1, count=self.size**2) * np.uint8(nav2d.PRESENT)
        goal = self.goal[episode].astype(np.int64)
        zeros = np.zeros_like(goal)
        images = [
            nav2d.observe(
                nav2d.Nav2DState(grid, grid, zeros, goal, cells[rows].astype(np.int64), zeros), self.size, goal_visible
            )
            for cells in (self.cell, self.next_cell)
        ]
        return images[0], images[1]


def collect_nav2d(
    num_transitions: int,
    epsilon: float,
    seed: int = 0,
    num_streams: int = 1024,
    max_episode_steps: int = 50,
    rules: LayoutRules | None = None,
) -> Nav2DTransitions:
    """Return transitions of a policy that acts at random with probability ``epsilon`` and optimally otherwise.

    Several streams of episodes run side by side. Each ends with the first whole episode that fills its share, so that
    there are somewhat more transitions than asked for and every episode is complete. Stream i draws the layouts of an
    environment that was reset with ``seed + i``; exploration draws from a generator of its own.

    Source: Black, Chuck and Niekum, section V-A and the authors' collection script (16 streams there). Random actions
    are uniform over all four. The optimal action is the lowest-numbered one that leads nearer to the goal, which is
    what re-planning with the authors' A* comes to.

    Args:
        num_transitions: at least 1.
        epsilon: in [0, 1].
        seed: of the first stream.
        num_streams: at least 1.
        max_episode_steps: time limit.
        rules: of layouts (default: those of ``bisimgym/Nav2D-v0``).

    Raises:
        ValueError: for a number out of range.
    """
    rules = rules or LayoutRules()
    integer("num_transitions", num_transitions, 1)
    integer("num_streams", num_streams, 1)
    integer("max_episode_steps", max_episode_steps, 1)
    fraction("epsilon", epsilon)
    streams = min(num_streams, num_transitions)
    share = -(-num_transitions // streams)
    envs = BatchedVectorEnv(nav2d.Nav2DTask(rules, goal_visible=False), streams)
    explore = np.random.default_rng([seed, 1])
    envs.reset(seed=seed)
    state, active = envs.state, np.arange(streams)
    episodes = [(_packed(state.obstacles), state.goal.astype(np.int16), active)]
    serial, count = np.arange(streams), streams  # the numbers of the current episodes, and of episodes so far
    filled = np.zeros(streams, dtype=np.int64)
    rows: list[tuple[np.ndarray, ...]] = []
    while len(active):
        random = explore.random((2, len(active)))
        best = nav2d.optimal_action(state, rules.size)
        action = np.where(random[0] < epsilon, (random[1] * 4).astype(np.int64), best)
        next_state, _, reached = nav2d.transition(state, action, rules.size)
        truncated = (next_state.step >= max_episode_steps) & ~reached
        cells = state.cell.astype(np.int16), next_state.cell.astype(np.int16)
        rows.append((serial.astype(np.int32), *cells, action.astype(np.int8), reached, truncated))
        filled[active] += 1
        state, ended = next_state, reached | truncated
        if ended.any():
            full = ended & (filled[active] >= share)
            again = np.flatnonzero(ended & ~full)
            if len(again):
                started = envs.new_episodes(active[again], {})
                episodes.append((_packed(started.obstacles), started.goal.astype(np.int16), active[again]))
                serial[again] = np.arange(count, count + len(again))
                count += len(again)
                state = put(state, again, started)
            if full.any():
                state, serial, active = select(state, ~full), serial[~full], active[~full]
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    obstacles, goal, stream = (np.concatenate(column) for column in zip(*episodes, strict=True))
    # Episodes stream by stream; within each, rows are in order of time already.
    rank = np.empty(len(stream), dtype=np.int32)
    rank[np.argsort(stream, kind="stable")] = np.arange(len(stream))
    episode = rank[columns[0]]
    order = np.argsort(episode, kind="stable")
    inverse = np.argsort(rank)
    return Nav2DTransitions(
        rules.size, obstacles[inverse], goal[inverse], episode[order], *(column[order] for column in columns[1:])
    )


def _packed(obstacles: np.ndarray) -> np.ndarray:
    return np.packbits(obstacles > 0, axis=1)
