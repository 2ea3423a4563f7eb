"""Metrics of processes whose next states are distributions, drawn independently."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from bisimgym.baselines.metrics.operators import Operator

_MAX_ROUNDS = 1000


def independent_distances(operator: Operator, tolerance: float, bar: tqdm) -> np.ndarray:
    """Return the metric with independent next states and one action: ``d = C + discount P d Q'``.

    What rounding does to the sum is found by applying the operator, and the same sum of that is added; what it leaves
    is iterated away.
    """
    distance = _summed(operator, operator.cost(0, np.arange(operator.shape[0])), tolerance, bar)
    least = np.inf
    for _ in range(_MAX_ROUNDS):
        improved = operator(distance)
        if operator.symmetric:
            improved = (improved + improved.T) / 2
        missing = improved - distance
        bound = operator.bound_of(float(np.abs(missing).max()))
        if bound <= tolerance:
            return improved
        helps, least = bound < least / 2, min(least, bound)
        distance = distance + _summed(operator, missing, tolerance, bar) if helps else improved
    raise ArithmeticError(f"{operator.name}: rounding leaves an error of {bound:.1e}, more than the tolerance")


def _summed(operator: Operator, costs: np.ndarray, tolerance: float, bar: tqdm) -> np.ndarray:
    """Return the discounted costs ``float64[Sx, Sy]`` of pairs that go on independently.

    Smith's doubling for this Stein equation: each round doubles the number of steps whose costs are summed.
    """
    left, right = (part.of_action(0).toarray() for part in operator.distributions)
    weight, largest = operator.discount, float(np.abs(costs).max()) / (1 - operator.discount)
    while weight * largest > tolerance / 4:
        costs = costs + weight * (left @ costs @ right.T)
        left, right = (_rows_of_one(part @ part) for part in (left, right))
        weight *= weight
        bar.update()
    return costs


def _rows_of_one(matrix: np.ndarray) -> np.ndarray:
    """Return probabilities whose rows sum to one again: squaring would double what rounding adds, round by round."""
    return matrix / matrix.sum(axis=1, keepdims=True)
