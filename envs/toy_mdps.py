"""Small finite processes of the literature, on which metrics have known values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bisimgym.envs.checks import integer
from bisimgym.envs.finite_mdp import FiniteMDP

#: Two rooms of 3 x 5 cells that mirror each other, with a door between them and a goal in the far corner of each: 31
#: free cells.
MIRRORED_ROOMS = (
    "#############",
    "#G    #    G#",
    "#           #",
    "#     #     #",
    "#############",
)
#: Row and column steps of the four actions of a grid world.
MOVES = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def cake_processes(reward_x: float, reward_y: float) -> tuple[FiniteMDP, FiniteMDP]:
    """Return two processes that ask for the same behavior and reward it differently.

    In both, action 0 in the first state and action 1 in the second lead to the cake; each earns the process's reward.
    Everything else earns nothing and ends without cake. With discount g, bisimulation puts ``(1 + g) |rx - ry|``
    between the two first states and ``max((1 + g) ry, rx)`` between x's second and y's first, so that for ``rx`` much
    larger than ``ry`` it matches states that ask for different actions; the policy similarity metric of the optimal
    policies puts 0 between the first and at least 1 between the others.

    Source: after Agarwal et al. (2021), Figure D.1.

    Raises:
        ValueError: for rewards that are not positive.
    """
    if not (0 < reward_x < np.inf and 0 < reward_y < np.inf):
        raise ValueError(f"rewards must be positive, got {reward_x} and {reward_y}")
    return _cake("x", reward_x), _cake("y", reward_y)


def _cake(name: str, reward: float) -> FiniteMDP:
    _, second, cake, no_cake = range(4)
    return FiniteMDP(
        transition=np.array([[second, no_cake], [no_cake, cake], [cake, cake], [no_cake, no_cake]]),
        reward=np.array([[reward, 0], [0, reward], [0, 0], [0, 0]], dtype=np.float64),
        terminal=np.array([False, False, True, True]),
        state_names=(f"{name}0", f"{name}1", "cake", "no cake"),
    )


def grid_world(
    layout: Sequence[str] = MIRRORED_ROOMS,
    slip: float = 0.0,
    goal_reward: float = 1.0,
    wall_reward: float = -1.0,
) -> FiniteMDP:
    """Return a grid world: four moves, a reward for entering a goal and another for running into a wall.

    Goals are terminal. States are the free cells row by row, named ``"(row, column)"``.

    Source: the setting of Castro (2020), section 6 (31 cells, four deterministic moves, absorbing goals worth +1,
    walls -1). The paper shows its rooms as an image; the layout of :data:`MIRRORED_ROOMS` is ours.

    Args:
        layout: rows of equal length: ``#`` wall, space free, ``G`` goal. Beyond the border is wall.
        slip: probability in [0, 1) that the move is one of the four at random instead of the chosen one.
        goal_reward, wall_reward: finite.

    Raises:
        ValueError: for a layout with other characters, of unequal rows or without free cells, or a bad ``slip``.
    """
    if not layout or len({len(row) for row in layout}) != 1 or {*"".join(layout)} - {*"# G"}:
        raise ValueError(f"layout must be rows of equal length of '#', ' ' and 'G', got {list(layout)!r}")
    if not 0 <= slip < 1:
        raise ValueError(f"slip must be a probability in [0, 1), got {slip}")
    cells = {
        (i, j): n for n, (i, j) in enumerate((i, j) for i, r in enumerate(layout) for j, c in enumerate(r) if c != "#")
    }
    if not cells:
        raise ValueError(f"layout must have a free cell, got {list(layout)!r}")
    target = np.array([[cells.get((i + di, j + dj), n) for di, dj in MOVES.values()] for (i, j), n in cells.items()])
    goal = np.array([layout[i][j] == "G" for i, j in cells])
    bumped = target == np.arange(len(cells))[:, None]
    reward = np.where(bumped, float(wall_reward), np.where(goal[target], float(goal_reward), 0.0))
    target[goal] = goal.nonzero()[0][:, None]
    reward[goal] = 0
    names = tuple(f"({i}, {j})" for i, j in cells)
    if slip == 0:
        return FiniteMDP(target, reward, goal, names)
    chosen = (1 - slip) * np.eye(4) + slip / 4
    probabilities = np.zeros((len(cells), 4, len(cells)))
    for move in range(4):
        np.add.at(probabilities, (np.arange(len(cells))[:, None], np.arange(4), target[:, [move]]), chosen[:, move])
    probabilities[goal] = np.eye(len(cells))[goal][:, None]  # exactly, whatever the sum of shares rounds to
    return FiniteMDP(probabilities, reward @ chosen.T, goal, names)


def garnet(
    num_states: int, num_actions: int, branching: int, rng: np.random.Generator, num_terminal: int = 0
) -> FiniteMDP:
    """Return a random process: each state and action leads to ``branching`` random states and earns a reward in [0, 1).

    Next states are drawn without replacement, their probabilities by cutting [0, 1] at uniform points, rewards
    uniformly. ``branching=1`` gives a deterministic process, as next states.

    Source: Archibald, McKinnon and Thomas (1995); Bhatnagar et al. (2009), section 7 ("generic average-reward
    non-stationary environment test-bench").

    Args:
        num_states, num_actions: at least 1.
        branching: 1 to ``num_states``.
        rng: where draws come from.
        num_terminal: how many of the states (the last ones) are terminal.

    Raises:
        ValueError: for numbers out of range.
    """
    integer("num_states", num_states, 1)
    integer("num_actions", num_actions, 1)
    integer("branching", branching, 1, num_states, ", the number of states")
    integer("num_terminal", num_terminal, 0, num_states, ", the number of states")
    shape = (num_states, num_actions)
    reward = rng.random(shape)
    terminal = np.arange(num_states) >= num_states - num_terminal
    reward[terminal] = 0
    names = tuple(str(i) for i in range(num_states))
    if branching == 1:
        target = rng.integers(num_states, size=shape)
        target[terminal] = terminal.nonzero()[0][:, None]
        return FiniteMDP(target, reward, terminal, names)
    target = rng.permuted(np.broadcast_to(np.arange(num_states), (*shape, num_states)), axis=2)[..., :branching]
    cuts = np.sort(rng.random((*shape, branching - 1)), axis=2)
    shares = np.diff(cuts, axis=2, prepend=0.0, append=1.0)
    probabilities = np.zeros((*shape, num_states))
    np.put_along_axis(probabilities, target, shares, axis=2)
    probabilities[terminal] = np.eye(num_states)[terminal][:, None]
    return FiniteMDP(probabilities, reward, terminal, names)
