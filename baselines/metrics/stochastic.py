"""Metrics of processes whose next states are distributions."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import linalg
from tqdm import tqdm

from bisimgym.baselines.metrics import transport
from bisimgym.baselines.metrics.operators import Operator

_MAX_ROUNDS = 1000
#: Sweeps before the rest is solved for, and pairs up to which that is by elimination.
_SWEEPS, _DENSE_PAIRS = 200, 600


def independent_distances(operator: Operator, tolerance: float, bar: tqdm) -> np.ndarray:
    """Return the metric with independent next states and one action: ``d = C + discount P d Q'``.

    Smith's doubling for this Stein equation: each round doubles the number of steps whose costs are summed. What
    rounding does to the products is found by applying the operator, and iterated away.
    """
    distance = operator.cost(0, np.arange(operator.shape[0]))
    left, right = operator.successors_x[:, 0], operator.successors_y[:, 0]
    weight = operator.discount
    while weight * operator.largest_distance() > tolerance / 4:
        distance = distance + weight * (left @ distance @ right.T)
        left, right = left @ left, right @ right
        weight *= weight
        bar.update()
    for _ in range(_MAX_ROUNDS):
        improved = operator(distance)
        if operator.symmetric:
            improved = (improved + improved.T) / 2
        bound = operator.bound_of(float(np.abs(improved - distance).max()))
        if bound <= tolerance:
            return improved
        distance = improved
    raise ArithmeticError(f"{operator.name}: rounding leaves an error of {bound:.1e}, more than the tolerance")


def cheapest_coupling_distances(operator: Operator, tolerance: float, bar: tqdm, workers: int) -> np.ndarray:
    """Return the metric with the cheapest couplings, by strategy iteration.

    With couplings held fixed the recursion needs no optimal transport and is solved by itself; new couplings are then
    found for its solution. Each round lowers the distances (Hoffman and Karp 1966: the couplings are the strategy of
    the player who minimizes, the actions that of the one who maximizes), and few are needed. The end is certified by
    one application of the whole operator.
    """
    pairs = _Pairs(operator)
    couplings = [
        transport.Couplings(operator.successors_x[:, a], operator.successors_y[:, a], pairs.rows, pairs.columns)
        for a in range(operator.num_actions)
    ]
    cost = np.stack([pairs.costs(a) for a in range(operator.num_actions)])
    fixed = [pairs.matrix(c.fixed) for c in couplings]
    values, note = cost.max(axis=0), ""
    for _ in range(_MAX_ROUNDS):
        distance = pairs.square(values)
        found = _solve_all(couplings, distance, workers, bar, note)
        matrices = [f + pairs.matrix(e) for f, e in zip(fixed, found, strict=True)]
        improved = pairs.apply(values, matrices, cost)
        residual = float(np.abs(improved - values).max())
        bound = operator.bound_of(residual)
        note = f"error at most {bound:.1e}"
        if bound <= tolerance:
            return pairs.square(improved)
        goal = max(residual / 100, tolerance * (1 - operator.discount) / 4)
        values = pairs.solve(improved, matrices, cost, goal)
    raise ArithmeticError(f"{operator.name}: no convergence in {_MAX_ROUNDS} rounds, error at most {bound:.1e}")


class _Pairs:
    """The pairs that are solved for: i < j of one process, or all pairs of two."""

    rows: np.ndarray
    columns: np.ndarray

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        shape = operator.shape
        self.half = operator.symmetric
        self.rows, self.columns = np.triu_indices(shape[0], 1) if self.half else np.indices(shape).reshape(2, -1)
        self.number = len(self.rows)

    def costs(self, action: int) -> np.ndarray:
        parts = [self.operator.cost(action, rows) for rows in self.operator.row_blocks()]
        return np.concatenate(parts)[self.rows, self.columns]

    def square(self, values: np.ndarray) -> np.ndarray:
        distance = np.zeros(self.operator.shape)
        distance[self.rows, self.columns] = values
        return distance + distance.T if self.half else distance

    def matrix(self, entries: transport.Entries) -> sparse.csr_array:
        """Return coupled mass as a matrix from pairs to pairs; equal next states are at distance zero."""
        x, y, pair, mass = entries.x, entries.y, entries.pair, entries.mass
        if self.half:
            different = x != y
            low, high = np.minimum(x, y)[different], np.maximum(x, y)[different]
            pair, mass = pair[different], mass[different]
            column = low * self.operator.shape[0] - low * (low + 1) // 2 + high - low - 1
        else:
            column = x * self.operator.shape[1] + y
        return sparse.csr_array((mass, (pair, column)), shape=(self.number, self.number))

    def apply(self, values: np.ndarray, matrices: list[sparse.csr_array], cost: np.ndarray) -> np.ndarray:
        """Return one application of the recursion with given couplings."""
        terms = cost + self.operator.discount * np.stack([m @ values for m in matrices])
        return terms.max(axis=0) if self.operator.weights is None else self.operator.weights @ terms

    def solve(self, values: np.ndarray, matrices: list[sparse.csr_array], cost: np.ndarray, goal: float) -> np.ndarray:
        """Iterate with given couplings until one application changes no value by more than ``goal``.

        Near a discount of 1 that takes up to millions of sweeps. So what is left after some of them is solved for: the
        values of the actions that are largest now, by policy iteration. Each time twice as many sweeps follow, so that
        they come to an end by themselves where rounding spoils the solution.
        """
        sweeps = _SWEEPS
        while True:
            for _ in range(sweeps):
                improved = self.apply(values, matrices, cost)
                if np.abs(improved - values).max() <= goal:
                    return improved
                values = improved
            values = self.evaluated(values, matrices, cost)
            sweeps *= 2

    def evaluated(self, values: np.ndarray, matrices: list[sparse.csr_array], cost: np.ndarray) -> np.ndarray:
        """Return the values of the actions that are largest for ``values``, or these if no solution is found."""
        discount, weights = self.operator.discount, self.operator.weights
        if weights is None:
            best = (cost + discount * np.stack([m @ values for m in matrices])).argmax(axis=0)
            shares = np.arange(len(matrices))[:, None] == best
        else:
            shares = np.broadcast_to(np.asarray(weights)[:, None], cost.shape)
        chosen = sum(sparse.diags_array(share.astype(float)) @ m for share, m in zip(shares, matrices, strict=True))
        system = sparse.eye_array(self.number, format="csr") - discount * chosen
        right = (shares * cost).sum(axis=0)
        if self.number <= _DENSE_PAIRS:
            return np.linalg.solve(system.toarray(), right)
        solution, failed = linalg.bicgstab(system, right, x0=values, rtol=1e-12, atol=0.0, maxiter=_SWEEPS)
        return values if failed or not np.isfinite(solution).all() else solution


def _solve_all(
    couplings: list[transport.Couplings], distance: np.ndarray, workers: int, bar: tqdm, note: str
) -> list[transport.Entries]:
    """Return the cheapest couplings under ``distance``, per action, on several cores if asked."""
    jobs = [(c, pairs) for c in couplings for pairs in c.jobs()]
    bar.total = bar.n + sum(len(pairs) for _, pairs in jobs)
    bar.set_postfix_str(note, refresh=False)
    if workers == 1 or len(jobs) == 1:
        solved = (c.solve(distance, pairs) for c, pairs in jobs)
    else:
        from joblib import Parallel, delayed

        calls = (delayed(c.solve)(distance, pairs, True) for c, pairs in jobs)
        solved = Parallel(n_jobs=workers, return_as="generator")(calls)
    found: dict[int, list[transport.Entries]] = {id(c): [] for c in couplings}
    nothing = np.zeros(0, dtype=np.int64)
    for (c, pairs), entries in zip(jobs, solved, strict=True):
        found[id(c)].append(entries)
        bar.update(len(pairs))
    return [
        transport.joined(found[id(c)] or [transport.Entries(nothing, nothing, nothing, np.zeros(0))]) for c in couplings
    ]
