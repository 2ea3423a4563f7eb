"""Layouts of Nav2D: random obstacles, a start and a goal that can be reached, and shortest paths. Many at once.

Cells are numbered row by row, ``row * size + column``; row 0 is the top.

Source: Black, Chuck and Niekum, "Learning Interaction-Based Representations for Reinforcement Learning Using Recursive
State Similarity Metrics", section V-A, and the authors' code for what the paper leaves out (number and shape of the
obstacles, smallest distance, solvability).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bisimgym.envs.checks import integer
from bisimgym.envs.seeds import uniforms

#: Row and column steps of the actions: down, right, up, left.
MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))
#: Distance of cells from which the goal cannot be reached.
UNREACHABLE = np.iinfo(np.int16).max
SIZE_RANGE = range(4, 61)
_MOST_DRAWS = 10_000
_TRIES = 12
_TRIAL_LAYOUTS, _FEWEST_SOLVABLE = 400, 4


@dataclass(frozen=True)
class LayoutRules:
    """How layouts are drawn.

    Attributes:
        size: cells along each side, 4 to 60.
        num_obstacles: square blocks, which may overlap.
        obstacle_size: cells along each side of a block. A block with center (r, c) covers the rows ``r - side // 2`` to
            ``r - side // 2 + side - 1`` and columns likewise, cut at the border.
        min_goal_distance: least L1 distance from start to goal.
        corridor: whether the grid is the corridor of the paper's Figure 5: the two rows below the middle are free,
            between two walls, and the agent starts in the lower one, right of the middle.
    """

    size: int = 20
    num_obstacles: int = 15
    obstacle_size: int = 2
    min_goal_distance: int = 10
    corridor: bool = False


@dataclass(frozen=True)
class Layouts:
    """M layouts.

    Attributes:
        obstacles: ``uint8[M, size * size]``, 255 on obstacles and 0 on free cells.
        start, goal: ``int64[M]`` cells.
        distance: ``int16[M, size * size]``: steps to the goal, ``UNREACHABLE`` where there is no way.
    """

    obstacles: np.ndarray
    start: np.ndarray
    goal: np.ndarray
    distance: np.ndarray


def check_rules(rules: LayoutRules) -> None:
    """Raise ``ValueError`` for rules out of range, or under which hardly any layout can be solved."""
    size = integer("size", rules.size, SIZE_RANGE[0], SIZE_RANGE[-1])
    integer("num_obstacles", rules.num_obstacles, 0, size**2)
    integer("obstacle_size", rules.obstacle_size, 1, size)
    integer("min_goal_distance", rules.min_goal_distance, 1, 2 * size - 2)
    solvable = _solvable_of_trial(rules)
    if solvable < _FEWEST_SOLVABLE:
        raise ValueError(
            f"num_obstacles={rules.num_obstacles} blocks of obstacle_size={rules.obstacle_size} on a grid of "
            f"size={rules.size} leave a way to a goal at min_goal_distance={rules.min_goal_distance} in only "
            f"{solvable} of {_TRIAL_LAYOUTS} random layouts: use fewer or smaller obstacles, or a smaller distance"
        )


@functools.cache
def _solvable_of_trial(rules: LayoutRules) -> int:
    seeds = np.arange(_TRIAL_LAYOUTS, dtype=np.uint64)
    return int(attempt(rules, seeds, 0)[1].sum())


def draw_layouts(rules: LayoutRules, seeds: np.ndarray) -> Layouts:
    """Return a layout for each seed, ``uint64[M]``.

    Obstacles, start (uniform over free cells) and goal (uniform over free cells far enough from the start) are drawn
    again, all together, until a path joins start and goal. In the corridor the goal is uniform over the far cells that
    can be reached, so that nothing needs to be drawn again.
    """
    layouts, good = attempt(rules, seeds, 0)
    rows = np.flatnonzero(~good)
    draw = 0
    while len(rows):
        draw += 1
        if draw == _MOST_DRAWS:
            raise RuntimeError(f"no layout that can be solved in {_MOST_DRAWS} draws under {rules}")
        again, good = attempt(rules, seeds[rows], draw)
        for field in dataclasses.fields(Layouts):
            getattr(layouts, field.name)[rows[good]] = getattr(again, field.name)[good]
        rows = rows[~good]
    return layouts


def attempt(rules: LayoutRules, seeds: np.ndarray, draw: int) -> tuple[Layouts, np.ndarray]:
    """Return draw number ``draw`` of each seed, and ``bool[M]``: whether it can be solved."""
    size, blocks = rules.size, rules.num_obstacles
    tries = _TRIES + 1
    numbers = 2 * blocks + 2 * tries
    random = uniforms(seeds, numbers, first=draw * numbers)
    obstacles = place_blocks(rules, (random[:, : 2 * blocks] * size).astype(np.int64))
    if rules.corridor:
        _dig_corridor(obstacles, size)
    free = ~obstacles.reshape(len(seeds), -1)
    far = _far_cells(size, rules.min_goal_distance)
    if rules.corridor:
        start = np.full(len(seeds), (size // 2 + 1) * size + size // 2)
        corridor = np.zeros((size, size), dtype=bool)
        corridor[size // 2 : size // 2 + 2] = True
        allowed = far[start] & corridor.ravel()
    else:
        start = _choose(free, random[:, 2 * blocks : -tries])
        allowed = far[start]
        allowed &= free
    goal = _choose(allowed, random[:, -tries:])
    distance = distances_to(free.reshape(-1, size, size), goal)
    solvable = allowed.any(axis=1) & (distance[np.arange(len(seeds)), start] < UNREACHABLE)
    return Layouts(obstacles.reshape(len(seeds), -1) * np.uint8(255), start, goal, distance), solvable


def place_blocks(rules: LayoutRules, centers: np.ndarray) -> np.ndarray:
    """Return ``bool[M, size, size]``: the blocks around ``int64[M, 2 * blocks]`` centers (row and column in turn)."""
    size, side = rules.size, rules.obstacle_size
    wide = size + side  # blocks may stick out
    grid = np.zeros((len(centers), wide, wide), dtype=bool)
    layout = np.arange(len(centers))[:, None] * (wide * wide)
    corner = layout + centers[:, ::2] * wide + centers[:, 1::2]  # the corner is side // 2 up and left of the center
    flat = grid.reshape(-1)
    for row in range(side):
        for column in range(side):
            flat[corner + (row * wide + column)] = True
    above = side // 2
    return np.ascontiguousarray(grid[:, above : above + size, above : above + size])


def _dig_corridor(obstacles: np.ndarray, size: int) -> None:
    middle = size // 2
    obstacles[:, middle : middle + 2] = False
    obstacles[:, [middle - 1, middle + 2]] = True


@functools.cache
def _far_cells(size: int, distance: int) -> np.ndarray:
    """Return ``bool[size**2, size**2]``: which cells are at least so far apart (L1)."""
    row, column = np.divmod(np.arange(size * size), size)
    return np.abs(row[:, None] - row) + np.abs(column[:, None] - column) >= distance


def _choose(allowed: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Return ``int64[M]``: a uniformly chosen True of each row of ``bool[M, K]`` (0 where there is none).

    The first of several uniform cells that is allowed; in the rare rows where none is, the cell that a last number, not
    used otherwise, picks by counting.
    """
    cells = (random[:, :-1] * allowed.shape[1]).astype(np.int64)
    hit = np.take_along_axis(allowed, cells, axis=1)
    rows = np.arange(len(allowed))
    chosen = cells[rows, hit.argmax(axis=1)]
    missed = np.flatnonzero(~hit.any(axis=1))
    if len(missed):
        count = np.cumsum(allowed[missed], axis=1)
        rank = (random[missed, -1] * count[:, -1]).astype(np.int64)
        chosen[missed] = np.minimum((count <= rank[:, None]).sum(axis=1), allowed.shape[1] - 1)
    return chosen


def distances_to(free: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return ``int16[M, size * size]``: steps to the goal along free cells, ``UNREACHABLE`` where there is no way.

    Breadth first, a row of cells in one integer and all layouts at once. The number of a wave is written into the
    cells it reaches bit by bit, so that few planes have to be unpacked at the end.

    Args:
        free: ``bool[M, size, size]``.
        goal: ``int64[M]`` cells.
    """
    layouts, size = free.shape[:2]
    word: Any = np.uint32 if size <= 32 else np.uint64
    wide = np.zeros((layouts, size, 8 * np.dtype(word).itemsize), dtype=bool)
    wide[:, :, :size] = free
    # Rows of cells first: slices of them are then contiguous over layouts.
    open_cells = np.packbits(wide, axis=2, bitorder="little").view(word)[:, :, 0].T.copy()
    one = word(1)
    padded = np.zeros((size + 2, layouts), dtype=word)  # a row of walls above and below
    wave, above, below = padded[1:-1], padded[:-2], padded[2:]
    row, column = np.divmod(goal, size)
    wave[row, np.arange(layouts)] = one << column.astype(word)
    open_cells &= ~wave
    reached, shifted = np.empty_like(open_cells), np.empty_like(open_cells)
    planes: list[np.ndarray] = []
    number = 0
    while True:
        number += 1
        np.left_shift(wave, one, out=reached)
        np.right_shift(wave, one, out=shifted)
        reached |= shifted
        reached |= above
        reached |= below
        reached &= open_cells
        if not reached.any():
            break
        open_cells ^= reached
        while number >> len(planes):
            planes.append(np.zeros_like(open_cells))
        for bit, plane in enumerate(planes):
            if number >> bit & 1:
                plane |= reached
        wave[:] = reached
    distance = np.zeros((layouts, size, size), dtype=np.int16)
    for bit, plane in enumerate(planes):
        distance += _unpacked(plane, size) * np.int16(1 << bit)
    distance[_unpacked(open_cells, size).astype(bool) | ~free] = UNREACHABLE
    return distance.reshape(layouts, -1)


def _unpacked(rows: np.ndarray, size: int) -> np.ndarray:
    """Return ``uint8[M, size, size]`` zeros and ones from unsigned ``[size, M]`` rows of bits."""
    cells = np.ascontiguousarray(rows.T).view(np.uint8).reshape(rows.shape[1], size, rows.itemsize)
    return np.unpackbits(cells, axis=2, bitorder="little", count=size)


@functools.cache
def neighbors(size: int) -> np.ndarray:
    """Return ``int64[size * size, 4]``: the cell that each action leads to on an empty grid within its border."""
    row, column = np.divmod(np.arange(size * size), size)
    rows = np.stack([np.clip(row + dr, 0, size - 1) for dr, _ in MOVES], axis=1)
    columns = np.stack([np.clip(column + dc, 0, size - 1) for _, dc in MOVES], axis=1)
    table = rows * size + columns
    table.flags.writeable = False
    return table


@functools.cache
def places(size: int) -> np.ndarray:
    """Return ``int64[size * size, 2]``: row and column of each cell."""
    table = np.stack(np.divmod(np.arange(size * size), size), axis=1)
    table.flags.writeable = False
    return table


def destinations(obstacles: np.ndarray, cell: np.ndarray, size: int) -> np.ndarray:
    """Return ``int[N, K, 4]``: where each action leads from ``int[N, K]`` (or ``[1, K]``) cells of N layouts."""
    wanted = neighbors(size)[cell]
    blocked = obstacles[np.arange(len(obstacles))[:, None, None], wanted] != 0
    return np.where(blocked, cell[..., None], wanted)


def free_moves(obstacles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the free cells of obstacles ``bool[size * size]``, ``int64[S]``, and where each action leads from them.

    The latter are places in the former, ``int64[S, 4]``.
    """
    free = np.flatnonzero(~obstacles)
    return free, np.searchsorted(free, destinations(obstacles[None], free[None], math.isqrt(len(obstacles)))[0])
