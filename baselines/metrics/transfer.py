"""Acting in one process as an expert does in another, by way of a distance between their states."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks
from bisimgym.envs.checks import real_array


def transferred_policy(distance: ArrayLike, policy: ArrayLike, tolerance: float = 0.0) -> np.ndarray:
    """Return ``float64[Sy, A]``: in each state of y, the policy of the nearest state of x.

    Source: the transfer of Theorem 1 in Agarwal et al. (2021). If ``distance`` is the policy similarity metric of
    optimal policies, the total variation to the optimal policy, summed along what the transferred policy does from a
    state y with discount g, is at most ``(1 + g) / (1 - g)`` times the distance from y to its nearest state.

    Args:
        distance: ``float[Sx, Sy]``.
        policy: ``float[Sx, A]``.
        tolerance: distances that differ by no more than this count as equally near; the first such state is taken.
            Give twice the tolerance of the distances, so that rounding does not decide.

    Raises:
        ValueError: for wrong shapes, distances that are not finite, or a negative tolerance.
    """
    distance = real_array("distance", distance)
    if distance.ndim != 2 or 0 in distance.shape or not np.isfinite(distance).all():
        raise ValueError(f"distance must be finite float[Sx, Sy], got shape {distance.shape}")
    if np.ndim(policy) != 2:
        raise ValueError(f"policy must be float[{len(distance)}, A], got shape {np.shape(policy)}")
    policy = checks.action_probabilities(policy, len(distance), np.shape(policy)[1])
    if not isinstance(tolerance, Real) or not 0 <= float(tolerance) < np.inf:
        raise ValueError(f"tolerance must not be negative, got {tolerance}")
    return policy[(distance <= distance.min(axis=0) + tolerance).argmax(axis=0)]
