"""Distances by values alone: what every metric that bounds differences of values is no smaller than."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import linalg

from bisimgym.baselines.metrics import checks
from bisimgym.baselines.metrics.distributions import Distributions
from bisimgym.baselines.metrics.processes import as_distributions, under_policy

#: Rounds of policy iteration; each improves a value, and few are needed.
_MAX_ROUNDS = 1000


def value_difference(
    transition: ArrayLike, reward: ArrayLike, discount: float, policies: ArrayLike | None = None
) -> np.ndarray:
    """Return the value-difference metric, ``float64[S, S]``: ``|V*(s) - V*(t)|``.

    With policies, the largest difference of their values, ``max_k |V_k(s) - V_k(t)|``. These are the least distances
    that bound such differences: bisimulation is no smaller than the first, on-policy bisimulation and MICo of a policy
    no smaller than the second with that policy.

    Source: Le Lan, Bellemare and Castro (2021), "Metrics and continuity in reinforcement learning", the metrics of
    optimal values and of the values of all policies; here of the given ones.

    Args:
        transition: ``float[S, A, S]`` probabilities, ``int[S, A]`` next states, or sparse.
        reward: ``float[S, A]`` expected rewards.
        discount: in [0, 1).
        policies: ``float[K, S, A]`` or ``float[S, A]`` action probabilities.

    Raises:
        ValueError: for bad shapes, probabilities, rewards or discount.
    """
    moves = as_distributions(checks.next_states_or_distributions(transition))
    rewards, discount = checks.rewards(reward, *moves.shape), checks.discount_factor(discount)
    if policies is None:
        values = [optimal_values(moves, rewards, discount)]
    else:
        given = np.asarray(policies)
        given = given[None] if given.ndim == 2 else given
        if given.ndim != 3 or not len(given):
            raise ValueError(f"policies must be float[K, {len(moves)}, {moves.num_actions}], got shape {given.shape}")
        named = enumerate(given)
        checked = [checks.action_probabilities(p, *moves.shape, name=f"policies[{k}]") for k, p in named]
        values = [policy_values(moves, rewards, discount, policy) for policy in checked]
    result = np.zeros((len(moves), len(moves)))
    for value in values:
        np.maximum(result, np.abs(value[:, None] - value), out=result)
    return result


def policy_values(moves: Distributions, reward: np.ndarray, discount: float, policy: np.ndarray) -> np.ndarray:
    """Return ``float64[S]``, by a sparse linear system."""
    chain = as_distributions(under_policy(moves, policy)).matrix()
    system = sparse.eye_array(len(moves), format="csc") - discount * chain.tocsc()
    return linalg.spsolve(system, (policy * reward).sum(axis=1))


def optimal_values(moves: Distributions, reward: np.ndarray, discount: float) -> np.ndarray:
    """Return ``float64[S]``, by policy iteration (Howard 1960)."""
    best = reward.argmax(axis=1)
    for _ in range(_MAX_ROUNDS):
        values = policy_values(moves, reward, discount, np.eye(moves.num_actions)[best])
        quality = reward + discount * (moves.matrix() @ values).reshape(moves.shape)
        gain = quality.max(axis=1) - quality[np.arange(len(best)), best]
        # Rounding must not change actions for ever: what it may make of equal values counts as none.
        better = gain > 1e-13 * max(float(np.abs(values).max()), float(np.abs(reward).max()))
        if not better.any():
            return values
        best = np.where(better, quality.argmax(axis=1), best)
    raise ArithmeticError(f"policy iteration did not end in {_MAX_ROUNDS} rounds")
