"""Task grids of the jumping task: which (obstacle position, floor height) pairs train, validate and test.

Source: Agarwal et al. (2021), "Contrastive Behavioral Similarity Embeddings for Generalization in Reinforcement
Learning", section 5 and Figure 3, and the sampling of the authors' released training code.
"""

from __future__ import annotations

import numpy as np

from bisimgym.envs.checks import choice, integer

OBSTACLE_POSITIONS = range(20, 46)
FLOOR_HEIGHTS = range(10, 21)
GRIDS = ("wide", "narrow", "random", "all")
SPLITS = ("train", "validation", "test", "all")

#: (obstacle position, floor height), in pixels.
Task = tuple[int, int]

ALL_TASKS: tuple[Task, ...] = tuple((p, f) for p in OBSTACLE_POSITIONS for f in FLOOR_HEIGHTS)
_WIDE = tuple((p, f) for p in (20, 25, 30, 35, 40, 45) for f in (10, 15, 20))
_NARROW = tuple((p, f) for p in (28, 30, 32, 34, 36, 38) for f in (13, 15, 17))
_RANDOM_TASKS = 18


def training_tasks(grid: str, grid_seed: int | None = None) -> tuple[Task, ...]:
    """Return the training tasks of a grid, in order.

    Args:
        grid: "wide", "narrow" (18 tasks each), "random" (18 draws with replacement, so tasks can repeat) or "all"
            (every one of the 286 tasks).
        grid_seed: seed of the random grid, 0 to 2**32 - 1 (default 1; the paper's runs use 1 to 100).

    Raises:
        ValueError: for an unknown grid, or a ``grid_seed`` that is out of range or given to another grid.
    """
    choice("grid", grid, GRIDS)
    if grid != "random" and grid_seed is not None:
        raise ValueError(f"grid_seed={grid_seed} has no meaning for grid={grid!r}: it seeds grid='random' only")
    if grid == "random":
        seed = 1 if grid_seed is None else integer("grid_seed", grid_seed, 0, 2**32 - 1)
        # The paper's grids come from the legacy generator; a new Generator would draw other tasks.
        legacy = np.random.RandomState(seed)
        positions = legacy.choice(np.array(OBSTACLE_POSITIONS), size=_RANDOM_TASKS)
        heights = legacy.choice(np.array(FLOOR_HEIGHTS), size=_RANDOM_TASKS)
        return tuple((int(p), int(f)) for p, f in zip(positions, heights, strict=True))
    return {"wide": _WIDE, "narrow": _NARROW, "all": ALL_TASKS}[grid]


def split_tasks(grid: str, split: str, grid_seed: int | None = None) -> tuple[Task, ...]:
    """Return the tasks of one split of a grid.

    ``train``: :func:`training_tasks`. ``validation``: the unseen tasks that differ from a training task by one pixel
    in exactly one of the two coordinates (54 on the wide grid). ``test``: every task that is not a training task,
    validation tasks included (268 on the wide and narrow grids), as in the paper's tables. ``all``: all 286.

    Raises:
        ValueError: for unknown names, and for a split without tasks (``grid="all"`` leaves nothing to test).
    """
    choice("split", split, SPLITS)
    train = training_tasks(grid, grid_seed)
    if split == "train":
        return train
    if split == "all":
        return ALL_TASKS
    tasks = tuple(task for task in ALL_TASKS if task not in train)
    if split == "validation":
        neighbors = {(p + dp, f + df) for p, f in train for dp, df in ((1, 0), (-1, 0), (0, 1), (0, -1))}
        tasks = tuple(task for task in tasks if task in neighbors)
    if not tasks:
        raise ValueError(f"split={split!r} of grid={grid!r} holds no tasks: every task is a training task")
    return tasks
