"""Metrics with the cheapest couplings, where those of all pairs would not fit in memory: sweeps, block after block.

Only a tree of each transport problem is kept, two bytes an edge. Costs and potentials are made when a block of pairs
needs them; pairs of a block share rows of distances, which stay in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from bisimgym.baselines.metrics import simplex, transport
from bisimgym.baselines.metrics.couplings import IN_STEP, LARGEST_IN_STEP, PIVOTS_PER_CELL
from bisimgym.baselines.metrics.operators import Operator
from bisimgym.baselines.metrics.stochastic import Task, run

#: Sweeps with independent draws to start from, those with given couplings between two that look for new ones, and all.
_START_SWEEPS, _GIVEN_SWEEPS, _MAX_ROUNDS = 4, 50, 10_000


def memory_needed(operator: Operator) -> float:
    """Return about how many bytes this way takes, the result included; infinity where it does not serve."""
    if operator.matches_actions or operator.deterministic or operator.independent:
        return np.inf
    x, y = operator.distributions
    edges = int(np.diff(x.first).max() + np.diff(y.first).max()) - 1
    if edges >= LARGEST_IN_STEP:
        return np.inf
    pairs = operator.shape[0] * operator.shape[1]
    return 16.0 * pairs + (2 * edges * operator.num_actions + 1) * (pairs // 2 if operator.symmetric else pairs)


def swept_distances(operator: Operator, tolerance: float, bar: tqdm, workers: int) -> np.ndarray:
    """Return the metric with the cheapest couplings, by modified policy iteration on pairs of states.

    Sweeps with given actions and couplings come between those that look for new ones (Puterman and Shin 1978), the last
    of which certifies the result. No linear system is solved: only what all distances lack in common is added at once,
    so that the number of sweeps hangs on how fast the process forgets where it was.
    """
    pairs, constant = _Pairs(operator), _Constant(operator.discount)
    independent, distance, note = replace(operator, independent=True), np.zeros(operator.shape), ""
    for _ in range(_START_SWEEPS):
        improved = independent(distance)
        pairs.clear_equal(improved)
        distance, _ = pairs.carried_on(distance, improved, constant)
    for _ in range(_MAX_ROUNDS):
        improved, slack = pairs.sweep(distance, True, workers, bar, note)
        residual = pairs.largest_change(distance, improved)
        bound = operator.bound_of(residual + operator.discount * slack)
        if bound <= tolerance:
            return improved
        note = f"error at most {bound:.1e}"
        constant.at_last = np.inf
        goal = max(residual / 50, tolerance * (1 - operator.discount) / 4)
        for _ in range(_GIVEN_SWEEPS):
            distance, residual = pairs.carried_on(distance, improved, constant)
            if residual <= goal or pairs.alone:
                break
            improved, _ = pairs.sweep(distance, False, workers, bar, note)
    raise ArithmeticError(f"{operator.name}: no convergence in {_MAX_ROUNDS} rounds, error at most {bound:.1e}")


class _Constant:
    """What changes that are nearly the same for all pairs come to in the end.

    A constant shrinks by the discount in each sweep, or faster where equal states are met, which are no longer apart:
    how fast is seen from the sweep before.

    Attributes:
        before: the mean change of the sweep before, and how far distances were moved on average after it.
        at_last: the largest change when something was added last; infinity under new couplings.
        rest, pause: how many sweeps nothing is added, now and after the next time that adding gains nothing.
    """

    def __init__(self, discount: float) -> None:
        self.discount, self.before = discount, (0.0, 0.0)
        self.at_last, self.rest, self.pause = np.inf, 0, 1

    def after(self, mean: float, largest: float) -> float:
        """Return what to add, given the mean and the largest change of a sweep."""
        (last_mean, moved), shift = self.before, 0.0
        rate = min(max(1 - (last_mean - mean) / moved, 0.0), self.discount) if moved else 0.0
        self.rest -= 1
        if self.rest < 0 and rate and abs(mean) >= largest / 2:
            if largest < self.at_last:
                shift, self.at_last = rate / (1 - rate) * mean, largest
            else:  # the last one gained nothing: plain sweeps get on by themselves
                self.pause *= 2
                self.at_last, self.rest = np.inf, self.pause
        self.before = mean, mean + shift
        return shift


class _Pairs:
    """Pairs of states in one row after the other: those above the diagonal if distances are symmetric.

    Attributes:
        trees: for each action ``uint8[2, K, P]``, see :mod:`simplex`; 0 where there is none yet.
        choice: ``uint[P]``, the action at which the maximum was attained.
        alone: whether new couplings of some pairs could not be kept; those at hand are no guide then.
        supports: for each action where the next states of rows and of columns are, see ``Distributions.support``.
    """

    def __init__(self, operator: Operator) -> None:
        self.operator, (self.x, self.y) = operator, operator.distributions
        rows, columns = operator.shape
        #: Where rows end.
        self.ends = np.cumsum(columns - (np.arange(1, rows + 1) if operator.symmetric else 0 * np.arange(rows)))
        edges = np.diff(self.x.first).max() + np.diff(self.y.first).max() - 1
        self.trees = [np.zeros((2, edges, self.ends[-1]), np.uint8) for _ in range(operator.num_actions)]
        self.choice = np.zeros(self.ends[-1], np.min_scalar_type(operator.num_actions))
        self.alone = False
        self.supports = [(self.x.support(action), self.y.support(action)) for action in range(operator.num_actions)]

    def clear_equal(self, distance: np.ndarray) -> None:
        if self.operator.symmetric:
            np.fill_diagonal(distance, 0)

    def largest_change(self, before: np.ndarray, after: np.ndarray) -> float:
        return max(float(np.abs(after[rows] - before[rows]).max()) for rows in self.operator.row_blocks())

    def carried_on(self, before: np.ndarray, after: np.ndarray, constant: _Constant) -> tuple[np.ndarray, float]:
        """Return ``after``, changed in place by what is common to all changes, and the largest change before that."""
        largest, total = self.largest_change(before, after), float(after.sum() - before.sum())
        shift = constant.after(total / max(after.size - self.operator.symmetric * len(after), 1), largest)
        if shift:
            after += shift
            np.maximum(after, 0, out=after)
            self.clear_equal(after)
        return after, largest

    def sweep(self, distance: np.ndarray, new: bool, workers: int, bar: tqdm, note: str) -> tuple[np.ndarray, float]:
        """Return one application of the recursion, and what rounding may have added to it.

        With ``new`` couplings are made cheapest, else only those of the actions at hand are looked at.
        """
        result, self.alone = np.zeros(self.operator.shape), self.alone and not new
        starts = range(0, int(self.ends[-1]), IN_STEP)
        jobs: list[Task] = [_Job(self, distance, result, start, new) for start in starts]
        return result, run(jobs, workers, bar, note)


@dataclass(frozen=True)
class _Job:
    """Some pairs that one worker does, from ``start`` on."""

    pairs: _Pairs
    distance: np.ndarray
    result: np.ndarray
    start: int
    new: bool

    def __len__(self) -> int:
        return min(IN_STEP, len(self.pairs.choice) - self.start)

    def run(self) -> float:
        """Write one application of the recursion to ``result``, and return what rounding may have added."""
        block = _Block(self.pairs, self.distance, slice(self.start, self.start + len(self)))
        self.result[block.rows, block.columns] = values = block.applied(self.new)
        if self.pairs.operator.symmetric:
            self.result[block.columns, block.rows] = values
        if block.alone:
            self.pairs.alone = True
        return block.slack


class _Block:
    """The transport problems of pairs that are done in one go."""

    def __init__(self, pairs: _Pairs, distance: np.ndarray, place: slice) -> None:
        self.operator, self.supports, self.x, self.y = pairs.operator, pairs.supports, pairs.x, pairs.y
        self.distance, self.slack, self.alone = distance, 0.0, False
        self.choice, self.trees = pairs.choice[place], [trees[..., place] for trees in pairs.trees]
        numbers = np.arange(place.start, place.stop)
        self.rows = np.searchsorted(pairs.ends, numbers, side="right")
        self.columns = numbers - pairs.ends[self.rows] + distance.shape[1]

    def applied(self, new: bool) -> np.ndarray:
        """Return one application of the recursion, with new couplings or those at hand."""
        actions, every, choice = range(self.operator.num_actions), np.arange(len(self.rows)), self.choice
        if self.operator.weights is not None:
            return self.operator.weights @ np.array([self._terms(action, every, new) for action in actions])
        if new:  # the action with the largest upper bound first
            upper = np.array([self._terms(action, every, False) for action in actions])
            choice[:] = upper.argmax(axis=0)
        result, likely = np.empty(len(every)), choice.copy()
        for action in actions:
            chosen = (likely == action).nonzero()[0]
            result[chosen] = self._terms(action, chosen, new)
        for action in actions if new else ():  # others if their bounds exceed what it comes to
            possible = ((likely != action) & (upper[action] > result)).nonzero()[0]
            terms = self._terms(action, possible, True)
            choice[possible[terms > result[possible]]] = action
            result[possible] = np.maximum(result[possible], terms)
        return result

    def _terms(self, action: int, which: np.ndarray, new: bool) -> np.ndarray:
        """Return the terms of some pairs under an action.

        They are those of the cheapest couplings if ``new``, which are kept; else of the couplings at hand, or of
        independent draws where there is none.
        """
        if not len(which):
            return np.empty(0)
        operator, x, y = self.operator, self.x, self.y
        rows, columns = self.rows[which], self.columns[which]
        result = operator.cost(action, np.arange(rows[0], rows[-1] + 1))[rows - rows[0], columns]
        (first_x, size_x), (first_y, size_y) = self.supports[action]
        shapes = size_x[rows] * LARGEST_IN_STEP + size_y[columns]
        for shape in shapes[:1] if (shapes == shapes[0]).all() else np.unique(shapes):
            at, n, m = (shapes == shape).nonzero()[0], *divmod(int(shape), LARGEST_IN_STEP)
            at_x = first_x[rows[at]] + np.arange(n)[:, None]
            at_y = first_y[columns[at]] + np.arange(m)[:, None]
            trees, mass_x, mass_y = self.trees[action][:, : n + m - 1, which[at]], x.mass[at_x], y.mass[at_y]
            cost = self.distance.take(x.states[at_x][:, None] * self.distance.shape[1] + y.states[at_y])
            unknown = trees[0, 0] == trees[1, 0]
            if new:
                values = self._cheapest(trees, unknown, mass_x, mass_y, cost)
                self.trees[action][:, : n + m - 1, which[at]] = trees
            else:
                values = simplex.values(trees, mass_x, mass_y, cost)
                if unknown.any():
                    values = np.where(unknown, np.einsum("ip,ijp,jp->p", mass_x, cost, mass_y), values)
            result[at] += operator.discount * values
        return result

    def _cheapest(
        self, trees: np.ndarray, unknown: np.ndarray, x: np.ndarray, y: np.ndarray, cost: np.ndarray
    ) -> np.ndarray:
        """Return the costs of the cheapest couplings, whose trees take the place of those given."""
        trees[..., unknown] = simplex.greedy_trees(x[:, unknown], y[:, unknown], cost[..., unknown])
        values, _, unfinished = simplex.optimize(trees, x, y, cost, PIVOTS_PER_CELL * len(x) * len(y))
        self.alone |= len(unfinished) > 0
        for p in unfinished:
            alone = np.ascontiguousarray(cost[..., p])
            values[p] = (transport.plan(x[:, p].copy(), y[:, p].copy(), alone) * alone).sum()
        self.slack = max(self.slack, simplex.ROUNDING * float(cost.max()))
        return values
