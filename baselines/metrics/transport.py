"""Couplings of the next-state distributions of many pairs of states.

Only pairs of proper distributions need optimal transport, solved exactly by the network simplex of POT (Python Optimal
Transport). A point mass has one coupling with any distribution, known beforehand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

#: Transport problems that are handed over at a time.
_CHUNK_ENTRIES = 2**20


def wasserstein(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> float:
    """Return the Wasserstein-1 distance of distributions ``float64[N]`` and ``float64[M]`` under ``float64[N, M]``.

    Raises:
        ValueError: if a distribution is not one or the shapes do not fit.
    """
    x, y, cost = (np.ascontiguousarray(a, dtype=np.float64) for a in (x, y, cost))
    if x.ndim != 1 or y.ndim != 1 or cost.shape != (len(x), len(y)):
        raise ValueError(f"expected x[N], y[M], cost[N, M]; got shapes {x.shape}, {y.shape}, {cost.shape}")
    for name, distribution in (("x", x), ("y", y)):
        if not (distribution >= 0).all() or abs(distribution.sum() - 1) > 1e-8:
            raise ValueError(
                f"{name} must be a distribution: non-negative, with sum 1; its sum is {distribution.sum()}"
            )
    return float((_plan(x / x.sum(), y / y.sum(), cost) * cost).sum())


def _plan(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return the cheapest coupling."""
    import ot  # imports torch where that is installed: only those who need it wait for it

    plan, log = ot.emd(x, y, cost, numItermax=10_000_000, log=True, center_dual=False, check_marginals=False)
    if log["result_code"] != 1:
        raise ArithmeticError(f"optimal transport failed: {log['warning']}")
    return plan


@dataclass(frozen=True)
class Supports:
    """The distributions ``[S]`` of one action, by the states they can reach.

    Attributes:
        states: ``int64[S, B]``, padded with the first.
        mass: ``float64[S, B]``, padded with zeros.
        size: ``int64[S]``.
    """

    states: np.ndarray
    mass: np.ndarray
    size: np.ndarray


def supports(distributions: np.ndarray) -> Supports:
    """Return the supports of ``float64[S, S]``."""
    positive = distributions > 0
    size = positive.sum(axis=1)
    width = int(size.max())
    states = np.argsort(~positive, axis=1, kind="stable")[:, :width]
    inside = np.arange(width) < size[:, None]
    mass = np.where(inside, np.take_along_axis(distributions, states, axis=1), 0)
    return Supports(np.where(inside, states, states[:, :1]), mass, size)


@dataclass(frozen=True)
class Entries:
    """Coupled mass: ``pair`` (a number of a pair of states), next states ``x`` and ``y``, and ``mass``; all ``[K]``."""

    pair: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mass: np.ndarray


def joined(parts: list[Entries]) -> Entries:
    return Entries(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("pair", "x", "y", "mass")))


def product_couplings(x: Supports, y: Supports, rows: np.ndarray, columns: np.ndarray, pairs: np.ndarray) -> Entries:
    """Return the independent couplings of the pairs (rows, columns), numbered ``pairs``."""
    shape = (len(pairs), x.states.shape[1], y.states.shape[1])
    mass = x.mass[rows][:, :, None] * y.mass[columns][:, None, :]
    keep = mass > 0
    return Entries(
        np.broadcast_to(pairs[:, None, None], shape)[keep],
        np.broadcast_to(x.states[rows][:, :, None], shape)[keep],
        np.broadcast_to(y.states[columns][:, None, :], shape)[keep],
        mass[keep],
    )


def optimal_couplings(
    distance: np.ndarray, x: Supports, y: Supports, rows: np.ndarray, columns: np.ndarray, pairs: np.ndarray
) -> Entries:
    """Return the cheapest couplings of the pairs (rows, columns), numbered ``pairs``, under ``float64[Sx, Sy]``."""
    parts = []
    for i, j, pair in zip(rows, columns, pairs, strict=True):
        n, m = x.size[i], y.size[j]
        states_x, states_y = x.states[i, :n], y.states[j, :m]
        plan = _plan(x.mass[i, :n], y.mass[j, :m], distance[states_x[:, None], states_y])
        at_x, at_y = plan.nonzero()
        parts.append(Entries(np.full(len(at_x), pair), states_x[at_x], states_y[at_y], plan[at_x, at_y]))
    return joined(parts)


def _in_worker(*arguments) -> Entries:
    # POT looks for array libraries when it is imported; a worker needs none of them.
    for name in ("PYTORCH", "JAX", "TENSORFLOW", "CUPY"):
        os.environ.setdefault(f"POT_BACKEND_DISABLE_{name}", "1")
    return optimal_couplings(*arguments)


class Couplings:
    """The cheapest couplings of the next states of many pairs, for one action; found anew for new distances.

    Args:
        distributions_x: ``float64[Sx, Sx]``, the action's transition probabilities.
        distributions_y: ``float64[Sy, Sy]``.
        rows, columns: the pairs of states, ``int64[P]``.
    """

    def __init__(
        self, distributions_x: np.ndarray, distributions_y: np.ndarray, rows: np.ndarray, columns: np.ndarray
    ) -> None:
        self.x, self.y = supports(distributions_x), supports(distributions_y)
        self.rows, self.columns = rows, columns
        single = np.minimum(self.x.size[rows], self.y.size[columns]) == 1
        pairs = np.arange(len(rows))
        width = max(self.x.states.shape[1], self.y.states.shape[1])
        self.fixed = [
            product_couplings(self.x, self.y, rows[some], columns[some], some) for some in _chunks(pairs[single], width)
        ]
        self.open = pairs[~single]

    def jobs(self) -> Iterator[np.ndarray]:
        """Return the pairs that need transport, in pieces."""
        return _chunks(self.open, self.x.states.shape[1] * self.y.states.shape[1])

    def solve(self, distance: np.ndarray, pairs: np.ndarray, in_worker: bool = False) -> Entries:
        """Return the cheapest couplings of some of the open pairs."""
        solver = _in_worker if in_worker else optimal_couplings
        return solver(distance, self.x, self.y, self.rows[pairs], self.columns[pairs], pairs)


def _chunks(pairs: np.ndarray, entries_per_pair: int) -> Iterator[np.ndarray]:
    size = min(max(1, _CHUNK_ENTRIES // entries_per_pair), 2000)
    return (pairs[start : start + size] for start in range(0, len(pairs), size))


def cheapest_couplings(
    distance: np.ndarray, successors_x: np.ndarray, successors_y: np.ndarray, symmetric: bool
) -> list[np.ndarray]:
    """Return the Wasserstein-1 distances of all pairs' next states, one ``float64[Sx, Sy]`` per action.

    With ``symmetric`` (x and y are one process, ``distance`` is symmetric, with zeros on the diagonal) pairs are solved
    once, in one order.
    """
    shape = (len(successors_x), len(successors_y))
    rows, columns = np.triu_indices(shape[0], 1) if symmetric else np.indices(shape).reshape(2, -1)
    result = []
    for action in range(successors_x.shape[1]):
        couplings = Couplings(successors_x[:, action], successors_y[:, action], rows, columns)
        values = np.zeros(shape)
        for entries in [*couplings.fixed, *(couplings.solve(distance, pairs) for pairs in couplings.jobs())]:
            values[rows, columns] += expectations(entries, distance, len(rows))
        result.append(values + values.T if symmetric else values)
    return result


def expectations(entries: Entries, distance: np.ndarray, num_pairs: int) -> np.ndarray:
    """Return ``float64[num_pairs]``: the expected distances of coupled next states."""
    return np.bincount(entries.pair, entries.mass * distance[entries.x, entries.y], minlength=num_pairs)
