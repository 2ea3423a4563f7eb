"""Metrics of deterministic processes: pairs of states move to pairs of states."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse.linalg import LinearOperator, bicgstab
from tqdm import tqdm

from bisimgym.baselines.metrics.operators import Operator, next_distances

_MAX_ROUNDS = 10_000
_SWEEPS_BETWEEN = 12
_KRYLOV_STEPS = 50


def chain_distances(operator: Operator, tolerance: float, bar: tqdm) -> np.ndarray:
    """Return the metric where every state has one successor.

    The successor of a row is solved before the row, so that every shared suffix is worked out once; this is exact but
    for rounding. Only rows on cycles are infinite sums, cut where the rest is below ``tolerance``.
    """
    to_x, to_y = operator.next_states
    rows_of, columns_to = to_x[:, 0], to_y[:, 0]
    distance = np.empty(operator.shape)
    cycles, levels = _cycles_and_levels(rows_of)
    bar.total = len(rows_of)
    for cycle in cycles:
        distance[cycle] = _cycle_distances(operator, cycle, columns_to, tolerance)
        bar.update(len(cycle))
    size = len(operator.row_blocks()[0])
    for level in levels:
        for start in range(0, len(level), size):
            rows = level[start : start + size]
            block = next_distances(distance, to_x, to_y, 0, rows)
            block *= operator.discount
            block += operator.cost(0, rows)
            distance[rows] = block
        bar.update(len(level))
    if operator.symmetric:
        _make_symmetric(distance, operator.row_blocks())
    return distance


def _make_symmetric(distance: np.ndarray, blocks: list[np.ndarray]) -> None:
    """Replace distances by their means with the transposed ones, which rounding tells apart, in place."""
    for rows in blocks:
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        mean = (distance[part, part.start :] + distance[part.start :, part].T) / 2
        distance[part, part.start :], distance[part.start :, part] = mean, mean.T


def _cycles_and_levels(successor: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the cycles (states in the order they are visited), and the other states by their distance to a cycle."""
    far, steps = successor, 1
    while steps < len(successor):  # after that many steps every state is on a cycle
        far, steps = far[far], 2 * steps
    on_cycle = np.unique(far)
    cycles, seen = [], np.zeros(len(successor), dtype=bool)
    for start in on_cycle:
        cycle = []
        state = int(start)
        while not seen[state]:
            seen[state] = True
            cycle.append(state)
            state = int(successor[state])
        if cycle:
            cycles.append(np.array(cycle))
    order = np.argsort(successor, kind="stable")
    first = np.searchsorted(successor[order], np.arange(len(successor) + 1))
    levels, level = [], on_cycle
    while len(level):
        before = np.concatenate([order[first[s] : first[s + 1]] for s in level])
        level = before[~seen[before]]
        seen[level] = True
        if len(level):
            levels.append(level)
    return cycles, levels


def _cycle_distances(operator: Operator, cycle: np.ndarray, columns_to: np.ndarray, tolerance: float) -> np.ndarray:
    """Return ``float64[L, Sy]`` for the rows of one cycle, by doubling the number of steps that are summed."""
    distance = operator.cost(0, cycle)
    steps, weight = 1, operator.discount
    while weight * operator.largest_distance() > tolerance:
        distance = distance + weight * np.roll(distance, -steps, axis=0)[:, columns_to]
        columns_to = columns_to[columns_to]
        steps, weight = 2 * steps, weight * weight
    return distance


def largest_over_actions(operator: Operator, tolerance: float, bar: tqdm) -> np.ndarray:
    """Return the metric with the maximum over actions, by modified policy iteration on pairs of states.

    The pair's "policy" is the action at which the maximum is attained. Under a fixed one each pair has one successor,
    and what the distances lack is the discounted sum of residuals along its path, which doubling the number of steps
    adds up in a few passes. Between such evaluations some sweeps of value iteration carry changes on; they go through
    the states in turn forwards and backwards and use the values they have just found (Gauss-Seidel), which is a
    contraction by the discount with the same fixed point.
    """
    pairs = _PackedPairs(operator)
    distance = np.zeros(operator.shape)
    note, forwards = "", True
    for _ in range(_MAX_ROUNDS):
        bar.total = bar.n + (_SWEEPS_BETWEEN + 1) * len(distance)
        bar.set_postfix_str(note, refresh=False)
        for _ in range(_SWEEPS_BETWEEN):
            change = pairs.sweep(distance, forwards, bar)
            forwards = not forwards
            if operator.bound_of(change) <= tolerance:
                return distance
        cost, successor = pairs.greedy(distance, bar)
        values = pairs.pack(distance)
        sums = cost + operator.discount * values.take(successor) - values
        bound = operator.bound_of(float(np.abs(sums).max()))
        note, weight = f"error at most {bound:.1e}", operator.discount
        while weight * bound > tolerance / 4:
            sums = sums + weight * sums.take(successor)
            successor = successor.take(successor)
            weight *= weight
        pairs.unpack(values + sums, distance)
    raise ArithmeticError(f"{operator.name}: no convergence in {_MAX_ROUNDS} rounds, error at most {bound:.1e}")


class _PackedPairs:
    """Pairs of states as one axis: row by row, from the first column on that a symmetric metric needs."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        rows, columns = operator.shape
        self.blocks = operator.row_blocks()
        self.first_column = np.zeros(rows, dtype=np.int64)
        if operator.symmetric:
            for block in self.blocks:
                self.first_column[block] = block[0]
        ends = np.cumsum(columns - self.first_column)
        self.size = int(ends[-1])
        # The pair (i, j) is at offset[i] + j.
        self.offset = ends - columns

    def _place(self, block: np.ndarray) -> tuple[slice, int]:
        """Return where a block of rows is packed, and its first column."""
        first = int(self.first_column[block[0]])
        return slice(int(self.offset[block[0]]) + first, int(self.offset[block[-1]]) + self.operator.shape[1]), first

    def pack(self, distance: np.ndarray) -> np.ndarray:
        values = np.empty(self.size)
        for block in self.blocks:
            place, first = self._place(block)
            values[place].reshape(len(block), -1)[:] = distance[block[0] : block[-1] + 1, first:]
        return values

    def unpack(self, values: np.ndarray, distance: np.ndarray) -> None:
        """Write packed values into ``distance``."""
        for block in self.blocks:
            place, first = self._place(block)
            self._write(distance, block, first, values[place].reshape(len(block), -1))

    def _write(self, distance: np.ndarray, block: np.ndarray, first: int, values: np.ndarray) -> None:
        distance[block[0] : block[-1] + 1, first:] = values
        if self.operator.symmetric:
            distance[first:, block[0] : block[-1] + 1] = values.T

    def sweep(self, distance: np.ndarray, forwards: bool, bar: tqdm) -> float:
        """Apply the operator to ``distance``, in place and block by block, and return the largest change."""
        change = 0.0
        for block in self.blocks if forwards else reversed(self.blocks):
            first = int(self.first_column[block[0]])
            terms = self._terms(distance, block, first)
            best, _ = next(terms)
            for value, _ in terms:
                np.maximum(best, value, out=best)
            change = max(change, float(np.abs(best - distance[block[0] : block[-1] + 1, first:]).max()))
            self._write(distance, block, first, best)
            bar.update(len(block))
        return change

    def greedy(self, distance: np.ndarray, bar: tqdm) -> tuple[np.ndarray, np.ndarray]:
        """Return packed ``[size]``: the cost and the successor pair of the action that attains the maximum."""
        costs, successors = np.empty(self.size), np.empty(self.size, dtype=np.int64)
        to_x, to_y = self.operator.next_states
        actions = self.operator.num_actions
        for block in self.blocks:
            place, first = self._place(block)
            for number, (value, cost) in enumerate(self._terms(distance, block, first)):
                if number == 0:
                    best, best_cost, action = value, cost, np.zeros(value.shape, dtype=np.int64)
                    continue
                better = value > best
                np.copyto(best, value, where=better)
                np.copyto(best_cost, cost, where=better)
                np.copyto(action, number, where=better)
            x = to_x.take(action + block[:, None] * actions)
            y = to_y.take(action + np.arange(first, len(to_y)) * actions)
            if self.operator.symmetric:
                x, y = np.minimum(x, y), np.maximum(x, y)
            costs[place].reshape(x.shape)[:] = best_cost
            successors[place].reshape(x.shape)[:] = self.offset.take(x) + y
            bar.update(len(block))
        return costs, successors

    def _terms(self, distance: np.ndarray, rows: np.ndarray, first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield each action's term of the operator and its cost, for ``rows`` and the columns from ``first``."""
        operator = self.operator
        to_x, to_y = operator.next_states
        for action in range(operator.num_actions):
            value = distance[to_x[rows, action]].take(to_y[first:, action], axis=1)
            value *= operator.discount
            cost = operator.cost(action, rows, first)
            value += cost
            yield value, cost


def weighted_over_actions(operator: Operator, tolerance: float, bar: tqdm) -> np.ndarray:
    """Return the metric with weights over actions: a linear system, solved by BiCGSTAB, certified by its residual."""
    constant = operator(np.zeros(operator.shape))
    size = constant.size

    def residual_map(flat: np.ndarray) -> np.ndarray:
        distance = flat.reshape(operator.shape)
        return (distance - (operator(distance) - constant)).ravel()

    system = LinearOperator((size, size), matvec=residual_map, dtype=np.float64)
    distance = constant / (1 - operator.discount)
    plain = 2
    for _ in range(_MAX_ROUNDS):
        improved = operator(distance)
        bound = operator.bound_of(float(np.abs(improved - distance).max()))
        if bound <= tolerance:
            return np.maximum(improved, 0, out=improved)  # the metric is not negative, an approximation can be
        bar.total = bar.n + _KRYLOV_STEPS
        bar.set_postfix_str(f"error at most {bound:.1e}", refresh=False)
        # Plain applications between attempts contract, whatever the Krylov method makes of the rest. Where it fails,
        # as on permutations, there are more and more of them.
        distance = improved
        for _ in range(plain):
            distance = operator(distance)
        correction, _ = bicgstab(
            system,
            (operator(distance) - distance).ravel(),
            rtol=1e-6,
            atol=0,
            maxiter=_KRYLOV_STEPS,
            callback=lambda _: bar.update(),
        )
        candidate = distance + correction.reshape(operator.shape)
        if np.isfinite(candidate).all() and _residual(operator, candidate) < _residual(operator, distance):
            distance, plain = candidate, 2
        else:
            plain *= 4
    raise ArithmeticError(f"{operator.name}: no convergence in {_MAX_ROUNDS} rounds, error at most {bound:.1e}")


def _residual(operator: Operator, distance: np.ndarray) -> float:
    return float(np.abs(operator(distance) - distance).max())
