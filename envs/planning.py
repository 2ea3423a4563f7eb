"""Values of finite processes by linear systems, which take no longer near discount 1."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

_EPS = float(np.finfo(np.float64).eps)


def policy_values(matrix: sparse.csr_array, reward: np.ndarray, discount: float, policy: np.ndarray) -> np.ndarray:
    """Return the values of a policy, ``float64[S]``.

    Args:
        matrix: ``[S * A, S]``, probabilities of next states; row ``s * A + a`` is of (s, a).
        reward: ``float64[S, A]``.
        discount: in [0, 1).
        policy: ``float64[S, A]``.
    """
    states, actions = reward.shape
    first = np.arange(states + 1) * actions
    taken = sparse.csr_array((policy.ravel(), np.arange(policy.size), first), shape=(states, policy.size))
    system = sparse.eye_array(states, format="csc") - discount * (taken @ matrix).tocsc()
    return linalg.spsolve(system, (policy * reward).sum(axis=1))


def optimal_values(matrix: sparse.csr_array, reward: np.ndarray, discount: float) -> np.ndarray:
    """Return the optimal values, ``float64[S]``, by policy iteration (Howard 1960); arguments as above."""
    rows, actions = np.arange(len(reward)), np.eye(reward.shape[1])
    best = reward.argmax(axis=1)
    values = policy_values(matrix, reward, discount, actions[best])
    while True:
        quality = reward + discount * (matrix @ values).reshape(reward.shape)
        better = quality.max(axis=1) - quality[rows, best] > 4 * _EPS * np.abs(quality).max()
        if not better.any():
            return values
        best = np.where(better, quality.argmax(axis=1), best)
        improved = policy_values(matrix, reward, discount, actions[best])
        # No policy comes twice while values rise. Where rounding has told equal actions apart, they no longer do.
        if improved.sum() <= values.sum():
            return np.maximum(values, improved)
        values = improved
