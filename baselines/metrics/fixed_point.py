"""Solving a metric's recursion: checks of tolerance and memory, and the way that suits the process."""

from __future__ import annotations

from numbers import Real
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from bisimgym.baselines.metrics import deterministic, independent, stochastic, sweeps
from bisimgym.baselines.metrics.memory import free_memory, in_units
from bisimgym.baselines.metrics.operators import Operator


class Solver(TypedDict, total=False):
    """How a metric is solved: keyword arguments that every metric takes.

    Attributes:
        tolerance: the returned distances are at most this far from the metric, in the maximum norm (default 1e-6).
        rows: ``int[R]``, the states whose distances are wanted (default: all). Only what they reach is solved for.
        columns: ``int[C]``, the states that they are wanted to (default: all).
        workers: threads that share optimal transport, -1 for all cores (default 1).
        progress: whether to show a bar on stderr for work of more than two seconds (default True).
        memory_limit: bytes that may be used (default: what the machine has free). Where couplings of all pairs do not
            fit, sweeps that keep a tree of each serve for up to 24 next states on both sides together.
    """

    tolerance: float
    rows: ArrayLike | None
    columns: ArrayLike | None
    workers: int
    progress: bool
    memory_limit: int | None


def solve(
    operator: Operator,
    *,
    tolerance: float = 1e-6,
    rows: ArrayLike | None = None,
    columns: ArrayLike | None = None,
    workers: int = 1,
    progress: bool = True,
    memory_limit: int | None = None,
) -> np.ndarray:
    """Return the fixed point of a metric's recursion, ``float64[R, C]``, to a certified tolerance.

    For arguments see :class:`Solver`.

    Raises:
        ValueError: for a tolerance that rounding does not allow to certify, or other bad values.
        MemoryError: if the work does not fit in memory; it is not begun then.
    """
    if not isinstance(operator, Operator):
        raise TypeError(f"solve takes the operator of a metric, such as bisimulation_operator(...), got {operator!r}")
    if not isinstance(tolerance, Real) or not 0 < float(tolerance) < np.inf:
        raise ValueError(f"tolerance must be positive and finite, got {tolerance!r}")
    if memory_limit is not None and (not isinstance(memory_limit, Real) or not float(memory_limit) > 0):
        raise ValueError(f"memory_limit must be a positive number of bytes or None, got {memory_limit!r}")
    smallest = 8 * operator.bound_of(0.0)
    if tolerance < smallest:
        raise ValueError(
            f"tolerance={tolerance:g} is out of reach: distances here go up to {operator.largest_distance():.3g}, and "
            f"float64 certifies no better than {1.05 * smallest:.1e}; use a tolerance of at least that, or a lower "
            "discount"
        )
    if not isinstance(workers, (int, np.integer)) or workers == 0 or workers < -1:
        raise ValueError(f"workers must be a positive number of threads or -1 for all cores, got {workers!r}")
    wanted_x = _states(rows, operator.shape[0], "rows")
    wanted_y = _states(columns, operator.shape[1], "columns")
    small, at_x, at_y = operator.reduced(wanted_x, wanted_y)
    whole = np.array_equal(at_x, np.arange(small.shape[0])) and np.array_equal(at_y, np.arange(small.shape[1]))
    result_bytes = 0 if whole else 8 * len(at_x) * len(at_y)
    limit = free_memory() if memory_limit is None else memory_limit
    needed: float = memory_needed(small) + result_bytes
    keeps_couplings = needed <= limit
    if not keeps_couplings:
        needed = min(needed, sweeps.memory_needed(small) + result_bytes)
    if needed > limit:
        raise MemoryError(
            f"{operator.name} between {len(at_x)} and {len(at_y)} states (solved for {small.shape[0]} and "
            f"{small.shape[1]}) needs about {in_units(needed)}, and {in_units(limit)} "
            f"{'are free' if memory_limit is None else 'is the limit'}: ask for fewer states, with rows and columns"
        )
    title = f"{operator.name} {small.shape[0]} x {small.shape[1]} ({in_units(needed)})"
    with tqdm(desc=title, disable=not progress, delay=2, leave=False) as bar:
        if keeps_couplings:
            distance = _solve(small, tolerance, workers, bar)
        else:
            distance = sweeps.swept_distances(small, tolerance, bar, workers)
    if whole:
        return distance
    result = np.empty((len(at_x), len(at_y)))
    size = max(1, small.block_bytes // (8 * small.shape[1]))
    for start in range(0, len(at_x), size):
        distance[at_x[start : start + size]].take(at_y, axis=1, out=result[start : start + size], mode="clip")
    return result


def _states(wanted: ArrayLike | None, states: int, name: str) -> np.ndarray:
    if wanted is None:
        return np.arange(states)
    wanted = np.asarray(wanted)
    if wanted.ndim != 1 or not len(wanted) or not np.issubdtype(wanted.dtype, np.integer):
        raise ValueError(f"{name} must be int[K], numbers of states, got {wanted.dtype} of shape {wanted.shape}")
    if wanted.min() < 0 or wanted.max() >= states:
        bad = int(wanted.min() if wanted.min() < 0 else wanted.max())
        raise ValueError(f"{name} must be from 0 to {states - 1}, got {bad}")
    return wanted.astype(np.int64)


def _solve(operator: Operator, tolerance: float, workers: int, bar: tqdm) -> np.ndarray:
    if operator.deterministic and not operator.matches_actions:
        if operator.num_actions == 1:
            return deterministic.chain_distances(operator, tolerance, bar)
        if operator.weights is None:
            return deterministic.largest_over_actions(operator, tolerance, bar)
        return deterministic.weighted_over_actions(operator, tolerance, bar)
    if operator.independent:
        return independent.independent_distances(operator, tolerance, bar)
    return stochastic.cheapest_coupling_distances(operator, tolerance, bar, workers)


def memory_needed(operator: Operator) -> int:
    """Return about how many bytes solving takes, the result included, where all couplings are kept."""
    pairs = operator.shape[0] * operator.shape[1]
    if operator.deterministic and not operator.matches_actions:
        arrays = 2 if operator.num_actions == 1 else 8 if operator.weights is None else 16
        return 8 * pairs * arrays
    x, y = operator.distributions
    if operator.independent:
        return 8 * (3 * pairs + 3 * operator.shape[0] ** 2 + 3 * operator.shape[1] ** 2)
    if operator.symmetric:
        pairs //= 2
    entries = 0.0
    for action_x, action_y in operator.coupled_actions:
        entries += (x.support(action_x)[1].mean() + y.support(action_y)[1].mean() - 1) * pairs
    # A coupled mass has a place in the couplings (12 bytes), an edge of a tree, and a place in the matrix of the best
    # actions.
    return int((12 + 2 + 12) * entries + 8 * (8 + 4 * len(operator.coupled_actions)) * pairs)
