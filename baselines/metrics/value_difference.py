"""Distances by values alone: what every metric that bounds differences of values is no smaller than."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks
from bisimgym.baselines.metrics.processes import as_distributions
from bisimgym.envs.planning import optimal_values, policy_values


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
        ValueError: for bad shapes, probabilities, rewards or discount, and values that overflow.
    """
    moves = as_distributions(checks.next_states_or_distributions(transition))
    rewards, discount = checks.rewards(reward, *moves.shape), checks.discount_factor(discount)
    with np.errstate(over="ignore"):
        spread = np.ptp(rewards)
        if not np.isfinite(spread / (1 - discount)):
            raise ValueError(f"rewards from {rewards.min():g} to {rewards.max():g} are too large: values overflow")
    rewards = rewards - (rewards.min() + spread / 2)  # changes no difference, and loses no digits to a constant
    matrix = moves.matrix()
    if policies is None:
        values = [optimal_values(matrix, rewards, discount)]
    else:
        given = np.asarray(policies)
        given = given[None] if given.ndim == 2 else given
        if given.ndim != 3 or not len(given):
            raise ValueError(f"policies must be float[K, {len(moves)}, {moves.num_actions}], got shape {given.shape}")
        named = enumerate(given)
        checked = [checks.action_probabilities(p, *moves.shape, name=f"policies[{k}]") for k, p in named]
        values = [policy_values(matrix, rewards, discount, policy) for policy in checked]
    result = np.zeros((len(moves), len(moves)))
    for value in values:
        np.maximum(result, np.abs(value[:, None] - value), out=result)
    return result
