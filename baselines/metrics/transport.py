"""Couplings of the next-state distributions of many pairs of states.

Only pairs of proper distributions need optimal transport, solved exactly by the network simplex of POT (Python Optimal
Transport). A point mass has one coupling with any distribution, known beforehand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bisimgym.envs.checks import probabilities
from bisimgym.envs.extras import require

_PAIRS_PER_JOB = 2000


def wasserstein(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> float:
    """Return the Wasserstein-1 distance of distributions ``float64[N]`` and ``float64[M]`` under ``float64[N, M]``.

    Raises:
        ValueError: if a distribution is not one or the shapes do not fit.
    """
    x, y, cost = np.asarray(x), np.asarray(y), np.ascontiguousarray(cost, dtype=np.float64)
    if x.ndim != 1 or y.ndim != 1 or cost.shape != (len(x), len(y)):
        raise ValueError(f"expected x[N], y[M], cost[N, M]; got shapes {x.shape}, {y.shape}, {cost.shape}")
    if not np.isfinite(cost).all():
        raise ValueError("cost must be finite")
    return float((_plan(probabilities("x", x), probabilities("y", y), cost) * cost).sum())


def _plan(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return the cheapest coupling."""
    require("optimal transport solvers", "metrics", "ot")
    import ot  # imports torch where that is installed: only those who need it wait for it

    plan, log = ot.emd(x, y, cost, numItermax=10_000_000, log=True, center_dual=False, check_marginals=False)
    if log["result_code"] != 1:
        raise ArithmeticError(f"optimal transport failed: {log['warning']}")
    return plan


@dataclass(frozen=True)
class Supports:
    """The distributions ``[S]`` of one action, by the states they can reach: entry k of state s is at first[s] + k.

    Attributes:
        states: ``int64[K]``.
        mass: ``float64[K]``.
        first: ``int64[S]``.
        size: ``int64[S]``.
    """

    states: np.ndarray
    mass: np.ndarray
    first: np.ndarray
    size: np.ndarray

    def of(self, state: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the states and the masses of one distribution."""
        part = slice(self.first[state], self.first[state] + self.size[state])
        return self.states[part], self.mass[part]


def supports(distributions: np.ndarray) -> Supports:
    """Return the supports of ``float64[S, S]``."""
    rows, states = distributions.nonzero()
    size = np.bincount(rows, minlength=len(distributions))
    return Supports(states, distributions[rows, states], np.cumsum(size) - size, size)


@dataclass(frozen=True)
class Entries:
    """Coupled mass: ``pair`` (a number of a pair of states), next states ``x`` and ``y``, and ``mass``; all ``[K]``."""

    pair: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mass: np.ndarray


def joined(parts: list[Entries]) -> Entries:
    return Entries(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("pair", "x", "y", "mass")))


def point_couplings(points: Supports, others: Supports, at: np.ndarray, of: np.ndarray, pairs: np.ndarray) -> Entries:
    """Return the couplings of the point masses ``at`` with the distributions ``of``, for pairs numbered ``pairs``.

    ``x`` of the result are the states of the point masses.
    """
    size = others.size[of]
    which = np.repeat(np.arange(len(pairs)), size)
    inside = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
    entry = others.first[of][which] + inside
    return Entries(pairs[which], points.states[points.first[at]][which], others.states[entry], others.mass[entry])


def optimal_couplings(
    distance: np.ndarray, x: Supports, y: Supports, rows: np.ndarray, columns: np.ndarray, pairs: np.ndarray
) -> Entries:
    """Return the cheapest couplings of the pairs (rows, columns), numbered ``pairs``, under ``float64[Sx, Sy]``."""
    parts = []
    for i, j, pair in zip(rows, columns, pairs, strict=True):
        (states_x, mass_x), (states_y, mass_y) = x.of(i), y.of(j)
        plan = _plan(mass_x, mass_y, distance[states_x[:, None], states_y])
        at_x, at_y = plan.nonzero()
        parts.append(Entries(np.full(len(at_x), pair), states_x[at_x], states_y[at_y], plan[at_x, at_y]))
    return joined(parts)


def _in_worker(*arguments) -> Entries:
    # POT looks for array libraries when it is imported; a worker needs none of them.
    for name in ("PYTORCH", "JAX", "TENSORFLOW", "CUPY"):
        os.environ.setdefault(f"POT_BACKEND_DISABLE_{name}", "1")
    return optimal_couplings(*arguments)


class Couplings:
    """The cheapest couplings of the next states of many pairs, for one action, under any distances.

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
        pairs = np.arange(len(rows))
        to_point = self.y.size[columns] == 1
        from_point = ~to_point & (self.x.size[rows] == 1)
        ahead = point_couplings(self.y, self.x, columns[to_point], rows[to_point], pairs[to_point])
        back = point_couplings(self.x, self.y, rows[from_point], columns[from_point], pairs[from_point])
        #: The couplings that are known beforehand.
        self.fixed = joined([Entries(ahead.pair, ahead.y, ahead.x, ahead.mass), back])
        self.open = pairs[~(to_point | from_point)]

    def jobs(self) -> Iterator[np.ndarray]:
        """Return the pairs that need transport, in pieces."""
        return (self.open[start : start + _PAIRS_PER_JOB] for start in range(0, len(self.open), _PAIRS_PER_JOB))

    def solve(self, distance: np.ndarray, pairs: np.ndarray, in_worker: bool = False) -> Entries:
        """Return the cheapest couplings of some of the open pairs."""
        solver = _in_worker if in_worker else optimal_couplings
        return solver(distance, self.x, self.y, self.rows[pairs], self.columns[pairs], pairs)


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
        entries = joined([couplings.fixed, *(couplings.solve(distance, pairs) for pairs in couplings.jobs())])
        values[rows, columns] = expectations(entries, distance, len(rows))
        result.append(values + values.T if symmetric else values)
    return result


def expectations(entries: Entries, distance: np.ndarray, num_pairs: int) -> np.ndarray:
    """Return ``float64[num_pairs]``: the expected distances of coupled next states."""
    return np.bincount(entries.pair, entries.mass * distance[entries.x, entries.y], minlength=num_pairs)
