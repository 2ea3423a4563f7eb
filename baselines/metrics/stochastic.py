"""Metrics of processes whose next states are distributions, with the cheapest couplings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from scipy import sparse
from scipy.sparse import linalg
from tqdm import tqdm

from bisimgym.baselines.metrics.couplings import PIVOTS_PER_CELL, Couplings
from bisimgym.baselines.metrics.distributions import slices
from bisimgym.baselines.metrics.operators import Operator

#: Rounds of new couplings; each is a contraction by the discount at least, and few are needed.
_MAX_ROUNDS = 1000
#: Rounds of new actions with given couplings. Values rise in each, so that none comes twice; few are needed.
_MAX_CHOICES = 100
#: Sweeps to start from, at most.
_START_SWEEPS = 20
#: Steps of a Krylov method, and pairs up to which a linear system is solved by elimination.
_KRYLOV_STEPS, _DENSE_PAIRS = 200, 1500


def cheapest_coupling_distances(operator: Operator, tolerance: float, bar: tqdm, workers: int) -> np.ndarray:
    """Return the metric with the cheapest couplings, by strategy iteration.

    With couplings held fixed the recursion needs no optimal transport and is solved by itself; new couplings are then
    found for its solution. Each round lowers the distances (Hoffman and Karp 1966: the couplings are the strategy of
    the player who minimizes, the actions that of the one who maximizes), and few are needed. Where an upper bound shows
    that an action is not the maximum of a pair, it is left out; it comes in when the bound no longer does, for good, so
    that the argument holds for the actions that are in. The end is certified by one application of the whole operator.
    """
    pairs = operator.pairs()
    values, note = pairs.drawn_independently(), ""
    left, swept, patience = 1 - operator.discount, 0, 1
    for _ in range(_MAX_ROUNDS):
        improved, slack = pairs.improve(values, workers, bar, note)
        residual = float(np.abs(improved - values).max()) + operator.discount * slack
        bound = operator.bound_of(residual)
        note = f"error at most {bound:.1e}"
        if bound <= tolerance:
            return pairs.square(improved)
        # Rounds may cycle if values are further off those of the couplings than a round gains. Where rounding alone
        # puts them off so far, plain applications settle what couplings differ by, more and more of them.
        if residual <= operator.bound_of(0.0) and swept < patience:
            values, swept = improved, swept + 1
        else:
            values = pairs.solve(improved, left / 4 * max(left * residual, tolerance))
            swept, patience = 0, patience * (2 if swept else 1)
    raise ArithmeticError(f"{operator.name}: no convergence in {_MAX_ROUNDS} rounds, error at most {bound:.1e}")


class Pairs:
    """The pairs that are solved for: i < j of one process and, for all i = j, one at distance 0; or all of two.

    Attributes:
        rows, columns: ``int64[P]``, the states of the pairs.
        number: P, and one more where a pair stands for equal states, which is the last.
        couplings: of each action, or of each pair of actions: see ``Operator.coupled_actions``.
        cost: ``float64[len(couplings), number]``, local distances.
    """

    def __init__(self, operator: Operator, pivots_per_cell: int = PIVOTS_PER_CELL) -> None:
        self.operator = operator
        shape = operator.shape
        self.half = operator.symmetric
        rows, columns = np.triu_indices(shape[0], 1) if self.half else np.indices(shape).reshape(2, -1)
        self.rows, self.columns = rows, columns
        self.number = len(rows) + self.half
        x, y = operator.distributions
        self.couplings = [
            Couplings(x, y, actions, rows, columns, self.number_of, self.number, pivots_per_cell)
            for actions in operator.coupled_actions
        ]
        self.cost = np.stack([self._costs(number) for number in range(len(self.couplings))])

    def number_of(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the numbers of pairs of states."""
        if not self.half:
            return x * self.operator.shape[1] + y
        low, high = np.minimum(x, y), np.maximum(x, y)
        number = low * self.operator.shape[0] - low * (low + 1) // 2 + high - low - 1
        return np.where(low == high, self.number - 1, number)

    def square(self, values: np.ndarray) -> np.ndarray:
        """Return ``float64[Sx, Sy]``: values of pairs as distances."""
        distance = np.zeros(self.operator.shape)
        distance[self.rows, self.columns] = values[: len(self.rows)]
        return distance + distance.T if self.half else distance

    def values(self, distance: np.ndarray) -> np.ndarray:
        """Return the distances ``float64[Sx, Sy]`` of pairs, the inverse of :meth:`square`."""
        values = distance[self.rows, self.columns]
        return np.append(values, 0.0) if self.half else values

    def drawn_independently(self) -> np.ndarray:
        """Return values near those with independent next states, to start from; they need no transport.

        Plain sweeps, each followed by the constant that the mean of its changes comes to in the end. They go on while
        what is no constant shrinks.
        """
        values, before = self.cost.max(axis=0), np.inf
        for _ in range(_START_SWEEPS):
            change = self._reduced(self.cost + self.operator.discount * self._independent(values)) - values
            mean = float(change[: len(self.rows)].mean()) if len(self.rows) else 0.0
            spread = float(np.abs(change[: len(self.rows)] - mean).max(initial=0.0))
            if spread > before / 2:
                break
            values = np.maximum(values + change + self.operator.discount / (1 - self.operator.discount) * mean, 0)
            values[len(self.rows) :] = 0
            before = spread
        return values

    def improve(self, values: np.ndarray, workers: int, bar: tqdm, note: str = "") -> tuple[np.ndarray, float]:
        """Make couplings cheapest for ``values``; return one application of the recursion, and what it may miss.

        What it misses, for rounding, is in the expectation of next states.
        """
        distance = self.square(values)
        every = np.ones(len(self.rows), dtype=bool)
        if self.operator.weights is not None or len(self.couplings) == 1:
            slack = self._update(distance, [every] * len(self.couplings), workers, bar, note)
            return self._reduced(self.terms(values)), slack
        # The action with the largest upper bound first; of the others, those whose bounds are above what it comes to.
        upper = self.terms(values)
        unknown = ~np.stack([couplings.known for couplings in self.couplings])
        if unknown.any():
            independent = self.cost + self.operator.discount * self._independent(values)
            upper[:, : len(self.rows)] = np.where(unknown, independent[:, : len(self.rows)], upper[:, : len(self.rows)])
        upper = upper[:, : len(self.rows)]
        likely = upper.argmax(axis=0) == np.arange(len(upper))[:, None]
        slack = self._update(distance, likely, workers, bar, note)
        terms = self.terms(values)[:, : len(self.rows)]
        possible = ~likely & (upper > np.where(likely, terms, -np.inf).max(axis=0))
        slack = max(slack, self._update(distance, possible, workers, bar, note))
        improved = np.where(likely | possible, self.terms(values)[:, : len(self.rows)], -np.inf).max(axis=0)
        return (np.append(improved, 0.0) if self.half else improved), slack

    def _update(self, distance: np.ndarray, wanted: Sequence[np.ndarray], workers: int, bar: tqdm, note: str) -> float:
        jobs = [job for c, pairs in zip(self.couplings, wanted, strict=True) for job in c.update(distance, pairs)]
        return run(jobs, workers, bar, note)

    def _independent(self, values: np.ndarray) -> np.ndarray:
        """Return ``float64[A, number]``: the expected values of next states that are drawn independently."""
        x, y = self.operator.distributions
        distance = self.square(values)
        expected = np.empty_like(self.cost)
        for row, (action_x, action_y) in zip(expected, self.operator.coupled_actions, strict=True):
            right = np.ascontiguousarray((y.of_action(action_y) @ distance.T).T)
            row[:] = self.values(x.of_action(action_x) @ right)
        return expected

    def transported(self, distance: np.ndarray) -> np.ndarray:
        """Return ``float64[A, Sx, Sy]``: the Wasserstein-1 distances of next states under any distances."""
        every = np.ones(len(self.rows), dtype=bool)
        self._update(distance, [every] * len(self.couplings), 1, tqdm(disable=True), "")
        actions = self.operator.coupled_actions
        result = np.zeros((len(actions), *self.operator.shape))
        for (action_x, action_y), square, couplings in zip(actions, result, self.couplings, strict=True):
            values = couplings.matrix() @ self.values(distance)
            square[self.rows, self.columns] = values
            if self.half:
                result[actions.index((action_y, action_x)), self.columns, self.rows] = values
        return result

    def solve(self, values: np.ndarray, goal: float) -> np.ndarray:
        """Return the fixed point with the couplings at hand: one application changes it by at most ``goal``.

        Policy iteration (Howard 1960): actions are chosen for the values, and the values are those of the actions.
        What rounding leaves, or a Krylov method, plain applications iterate away: more and more of them, so that they
        come to an end by themselves.
        """
        sweeps, choice = 1, None
        for _ in range(_MAX_CHOICES):
            for _ in range(sweeps):
                options = self._options(values)
                improved = options.max(axis=0) if self.operator.weights is None else self.operator.weights @ options
                if np.abs(improved - values).max() <= goal:
                    return improved
                values = improved
            previous, choice = choice, options.argmax(axis=0)
            if previous is not None and np.array_equal(choice, previous):
                sweeps *= 2
            values = self._evaluated(values, choice)
        return values

    def terms(self, values: np.ndarray) -> np.ndarray:
        """Return ``float64[A, number]``: what each action comes to with the couplings at hand."""
        terms = self.cost.copy()
        for term, couplings in zip(terms, self.couplings, strict=True):
            term[: len(self.rows)] += self.operator.discount * (couplings.matrix() @ values)
        return terms

    def _options(self, values: np.ndarray) -> np.ndarray:
        """Return ``float64[A, number]``: what the player who maximizes chooses from, with the couplings at hand."""
        terms = self.terms(values)
        for term, couplings in zip(terms, self.couplings, strict=True):
            term[: len(self.rows)][~couplings.known] = -np.inf
        return terms

    def _problems(self, choice: np.ndarray) -> np.ndarray:
        """Return the numbers of the couplings that chosen options go by."""
        return choice

    def _reduced(self, terms: np.ndarray) -> np.ndarray:
        return terms.max(axis=0) if self.operator.weights is None else self.operator.weights @ terms

    def _costs(self, number: int) -> np.ndarray:
        blocks = [self.operator.cost(number, rows) for rows in self.operator.row_blocks()]
        costs = np.concatenate(blocks)[self.rows, self.columns]
        return np.append(costs, 0.0) if self.half else costs

    def _evaluated(self, values: np.ndarray, choice: np.ndarray) -> np.ndarray:
        """Return the values of chosen actions ``int64[number]``, near ``values`` if a Krylov method does not end."""
        if self.operator.weights is None:
            choice = self._problems(choice)
            chosen, right = self._chosen(choice), self.cost[choice, np.arange(self.number)]
        else:
            weighted = zip(self.operator.weights, self.couplings, strict=True)
            chosen, right = sum(weight * c.matrix() for weight, c in weighted), self.operator.weights @ self.cost
            chosen.resize((self.number, self.number))
        discount = self.operator.discount
        if self.number <= _DENSE_PAIRS:
            return np.linalg.solve(np.eye(self.number) - discount * chosen.toarray(), right)
        # Solving for the correction loses no digits to the size of the values.
        missing = right + discount * (chosen @ values) - values
        system = linalg.LinearOperator(chosen.shape, lambda v: v - discount * (chosen @ v), dtype=np.float64)
        correction, _ = linalg.bicgstab(system, missing, rtol=1e-8, atol=0.0, maxiter=_KRYLOV_STEPS)
        if not np.isfinite(correction).all():
            return values
        better = values + correction
        left = right + discount * (chosen @ better) - better
        return better if np.abs(left).max() < np.abs(missing).max() else values

    def _chosen(self, choice: np.ndarray) -> sparse.csr_array:
        """Return the couplings of one action per pair, as a matrix between pairs."""
        choice = choice[: len(self.rows)]
        size = np.empty(len(choice), dtype=np.int64)
        for action, couplings in enumerate(self.couplings):
            at = (choice == action).nonzero()[0]
            size[at] = couplings.first[at + 1] - couplings.first[at]
        first = np.concatenate([[0], np.cumsum(size)])
        index = np.int32 if max(self.number, first[-1]) < 2**31 else np.int64
        first, to, mass = first.astype(index), np.empty(first[-1], dtype=index), np.empty(first[-1])
        for action, couplings in enumerate(self.couplings):
            at = (choice == action).nonzero()[0]
            target, source = slices(first[at], size[at]), slices(couplings.first[at], size[at])
            to[target], mass[target] = couplings.to[source], couplings.mass[source]
        if self.half:
            first = np.append(first, first[-1])
        return sparse.csr_array((mass, to, first), shape=(self.number, self.number))


class Task(Protocol):
    """Work on some pairs."""

    def __len__(self) -> int: ...

    def run(self) -> float: ...


def run(jobs: Sequence[Task], workers: int, bar: tqdm, note: str = "") -> float:
    """Do the jobs, in threads if asked, and return the largest of what they return."""
    bar.total = bar.n + sum(len(job) for job in jobs)
    bar.set_postfix_str(note, refresh=False)
    results: Iterable[float]
    if workers == 1 or len(jobs) == 1:
        results = (job.run() for job in jobs)
    else:
        from joblib import Parallel, delayed

        calls: list[tuple[Callable, tuple, dict]] = [delayed(job.run)() for job in jobs]
        results = Parallel(n_jobs=workers, require="sharedmem", return_as="generator")(calls)
    slack = 0.0
    for job, missed in zip(jobs, results, strict=True):
        slack = max(slack, missed)
        bar.update(len(job))
    return slack
