"""Metrics between the states of two trajectories, exactly and at once.

Along a deterministic trajectory every state has one successor, so the fixed point of a behavioral metric is a sum of
discounted costs along a pair of suffixes, and one backward sweep computes it.
"""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.envs.checks import real_array


def trajectory_similarity(cost: ArrayLike, discount: float) -> np.ndarray:
    """Return the distances between the states of two trajectories, ``float64[..., n, m]``.

    Solves ``d[i, j] = cost[i, j] + discount * d[min(i + 1, n - 1), min(j + 1, m - 1)]``: a trajectory that has run out
    stays at its last state. The last pair does not bootstrap on itself, ``d[n - 1, m - 1] = cost[n - 1, m - 1]``.

    Source: Agarwal et al. (2021), Equation D.2 and appendix J.1. With :func:`policy_cost` it is the policy similarity
    metric (PSM), with :func:`reward_cost` the pi*-bisimulation metric.

    Args:
        cost: ``[..., n, m]``, non-negative local distances; leading axes are a batch of trajectory pairs.
        discount: in [0, 1].

    Raises:
        ValueError: if a shape or value is out of range.
    """
    cost = real_array("cost", cost)
    if cost.ndim < 2 or 0 in cost.shape[-2:]:
        raise ValueError(f"cost must be [..., n, m] with n, m >= 1, got shape {cost.shape}")
    if not (np.isfinite(cost).all() and (cost >= 0).all()):
        raise ValueError("cost must be finite and non-negative")
    if not isinstance(discount, Real) or not 0 <= float(discount) <= 1:
        raise ValueError(f"discount must be in [0, 1], got {discount}")
    distance = cost.copy()
    rows, columns = cost.shape[-2:]
    for j in range(columns - 2, -1, -1):
        distance[..., -1, j] += discount * distance[..., -1, j + 1]
    for i in range(rows - 2, -1, -1):
        distance[..., i, :-1] += discount * distance[..., i + 1, 1:]
        distance[..., i, -1] += discount * distance[..., i + 1, -1]
    return distance


def policy_cost(actions_x: ArrayLike, actions_y: ArrayLike) -> np.ndarray:
    """Return ``float64[..., n, m]``: 1 where two deterministic policies act differently (total variation), else 0.

    Args:
        actions_x: ``int[..., n]``.
        actions_y: ``int[..., m]``.
    """
    actions_x, actions_y = np.asarray(actions_x), np.asarray(actions_y)
    for actions in (actions_x, actions_y):
        if actions.ndim < 1 or not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(
                f"actions must be int[..., n], got {actions.dtype} of shape {actions.shape}: of a policy's "
                "probabilities, give argmax(axis=-1)"
            )
    return (actions_x[..., :, None] != actions_y[..., None, :]).astype(np.float64)


def reward_cost(rewards_x: ArrayLike, rewards_y: ArrayLike) -> np.ndarray:
    """Return ``float64[..., n, m]``: the absolute differences of rewards ``[..., n]`` and ``[..., m]``.

    Raises:
        ValueError: for single numbers, and for what is not finite.
    """
    rewards_x, rewards_y = real_array("rewards_x", rewards_x), real_array("rewards_y", rewards_y)
    for name, rewards in (("rewards_x", rewards_x), ("rewards_y", rewards_y)):
        if rewards.ndim < 1 or not np.isfinite(rewards).all():
            raise ValueError(f"{name} must be finite float[..., n], got shape {rewards.shape}")
    return np.abs(rewards_x[..., :, None] - rewards_y[..., None, :])
