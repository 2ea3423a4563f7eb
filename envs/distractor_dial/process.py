"""The process behind the distractor dial: positions on a grid times phases of a distractor, and pictures of both.

State number ``cell * PHASES + phase``; cells are numbered row by row, and the goal is the last, lower right.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from bisimgym.envs.checks import fraction, integer
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.nav2d.layouts import neighbors, places

#: Phases of the distractor.
PHASES = 8
SIZE_RANGE = range(3, 13)
#: The action that leaves the agent where it is, after the four moves of Nav2D.
STAY = 4
#: Pixels along each side of a cell.
CELL = 2
_AGENT, _GOAL = (255, 0, 0), (0, 255, 0)


@dataclass(frozen=True)
class Dials:
    """What kind of distractor it is, and how much it counts. The arguments are those of :class:`DistractorDialEnv`.

    Raises:
        ValueError: for values out of range.
    """

    controllable: bool = False
    predictable: bool = True
    correlation: float = 0.0
    size: int = 5

    def __post_init__(self) -> None:
        for name in ("controllable", "predictable"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        fraction("correlation", self.correlation)
        integer("size", self.size, SIZE_RANGE[0], SIZE_RANGE[-1])

    @property
    def num_states(self) -> int:
        return self.size**2 * PHASES

    @property
    def weight(self) -> float:
        """The share of the rewards that is the distractor's, with which its correlation is the one asked for.

        Goal and light are independent over all states taken alike, so that with weight w the correlation of the light
        with the reward is ``w s / sqrt(w^2 s^2 + (1 - w)^2 g^2)``; s = 1/2 and g are their standard deviations.
        """
        share = 1 / self.size**2
        light, goal = 0.5, np.sqrt(share * (1 - share))
        of_light, of_goal = self.correlation * goal, np.sqrt(1 - self.correlation**2) * light
        return float(of_light / (of_light + of_goal))


def is_lit(phase: np.ndarray) -> np.ndarray:
    """Return ``bool[N]``: half of the phases, 0, 1, 4 and 5, so that those with opposite stripes behave alike."""
    return phase % 4 < 2


def reward_of(dials: Dials, cell: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return ``float64[N]``: what acting in these states earns, whatever the action."""
    at_goal = cell == dials.size**2 - 1
    return (1 - dials.weight) * at_goal + dials.weight * is_lit(phase)


def next_cell(size: int, cell: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return ``int64[N]``: where actions lead; a move off the grid changes nothing."""
    return np.where(action == STAY, cell, neighbors(size)[cell, np.minimum(action, STAY - 1)])


def moves_on(dials: Dials, action: np.ndarray) -> np.ndarray:
    """Return ``bool[N]``: whether the distractor moves on."""
    return action == STAY if dials.controllable else np.ones(np.shape(action), dtype=bool)


@functools.cache
def dial_mdp(dials: Dials) -> FiniteMDP:
    """Return all states as a :class:`FiniteMDP` without an end; next states if the distractor is predictable.

    States are named ``"(row, column) phase"``.
    """
    cell, phase = np.divmod(np.arange(dials.num_states), PHASES)
    actions = range(STAY + 1)
    reward = np.repeat(reward_of(dials, cell, phase)[:, None], len(actions), axis=1)
    cells = np.stack([next_cell(dials.size, cell, np.full_like(cell, a)) for a in actions], axis=1)
    moving = moves_on(dials, np.arange(len(actions)))
    if dials.predictable:
        transition = cells * PHASES + (phase[:, None] + moving) % PHASES
    else:
        transition = np.zeros((*cells.shape, dials.num_states))
        for a, moved in enumerate(moving):
            to = np.arange(PHASES) if moved else phase[:, None]  # any phase, or the same
            next_states = cells[:, a, None] * PHASES + to
            np.put_along_axis(transition[:, a], next_states, 1 / next_states.shape[1], axis=1)
    names = tuple(f"{tuple(places(dials.size)[c].tolist())} {p}" for c, p in zip(cell, phase, strict=True))
    return FiniteMDP(transition, reward, np.zeros(len(cell), dtype=bool), names)


@functools.cache
def pictures(size: int, strength: float) -> np.ndarray:
    """Return the pictures of all states, ``uint8[S, 2 * size, 2 * size, 3]``.

    Diagonal stripes move by a pixel with each phase; over them lie the goal, green, and the agent, red.
    """
    side = size * CELL
    across = np.add.outer(np.arange(side), np.arange(side))
    stripes = (across + np.arange(PHASES)[:, None, None]) % PHASES < PHASES // 2
    ground = (stripes[..., None] * np.rint(255 * strength)).astype(np.uint8)
    cells = np.tile(np.repeat(ground, 3, axis=-1), (size**2, 1, 1, 1, 1)).reshape(size**2, PHASES, side, side, 3)
    for cell, (row, column) in enumerate((places(size) * CELL).tolist()):
        cells[:, :, -CELL:, -CELL:] = _GOAL
        cells[cell, :, row : row + CELL, column : column + CELL] = _AGENT
    table = cells.reshape(-1, side, side, 3)
    table.flags.writeable = False
    return table


@functools.cache
def oracle(dials: Dials, steps: int) -> np.ndarray:
    """Return ``int64[steps, S]``: the best action with 1, 2, ... steps left, the lowest of equally good ones."""
    mdp = dial_mdp(dials)
    values, policy = np.zeros(mdp.num_states), np.empty((steps, mdp.num_states), dtype=np.int64)
    for left in range(steps):
        quality = mdp.reward + mdp.next_values(values)
        values = quality.max(axis=1)
        policy[left] = (quality >= values[:, None] - 1e-9).argmax(axis=1)
    policy.flags.writeable = False
    return policy


@functools.cache
def returns(dials: Dials, episode_length: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected returns of the oracle and of random actions by start state, ``float64[S]`` each.

    Args:
        episode_length: what the oracle plays for.
        limit: steps that are played, at most as many.
    """
    mdp, policy = dial_mdp(dials), oracle(dials, episode_length)
    values, rows = np.zeros(mdp.num_states), np.arange(mdp.num_states)
    for step in reversed(range(limit)):
        values = (mdp.reward + mdp.next_values(values))[rows, policy[episode_length - step - 1]]
    return values, mdp.policy_returns(np.full(mdp.reward.shape, 1 / mdp.num_actions), limit)
