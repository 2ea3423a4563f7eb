"""Metrics of processes whose next states are distributions, drawn independently."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from bisimgym.baselines.metrics.operators import Operator

_MAX_ROUNDS = 1000


def independent_distances(operator: Operator, tolerance: float, bar: tqdm) -> np.ndarray:
    """Return the metric with independent next states and one action: ``d = C + discount P d Q'``.

    Smith's doubling for this Stein equation: each round doubles the number of steps whose costs are summed. What
    rounding does to the products is found by applying the operator, and iterated away.
    """
    distance = operator.cost(0, np.arange(operator.shape[0]))
    left, right = (part.of_action(0).toarray() for part in operator.distributions)
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
