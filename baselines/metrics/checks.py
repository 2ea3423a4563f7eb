"""What every metric checks of its input, with messages that name the value, the range and the fix."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from bisimgym.baselines.metrics.distributions import Distributions
from bisimgym.envs.checks import SUM_TOLERANCE, first_bad, probabilities, real_array


def discount_factor(discount: Any) -> float:
    """Return the discount as a float in [0, 1)."""
    if not isinstance(discount, Real) or not 0 <= float(discount) < 1:
        raise ValueError(f"discount must be in [0, 1), got {discount!r}: the metric is a fixed point only below 1")
    return float(discount)


def next_states_or_distributions(transition: Any, name: str = "transition") -> np.ndarray | Distributions:
    """Return ``int64[S, A]`` next states if the process is deterministic, else its distributions.

    Probabilities that are all 0 or 1 count as deterministic.

    Args:
        transition: ``float[S, A, S]``, ``int[S, A]``, ``scipy.sparse`` probabilities (one ``[S, S]`` per action, or
            stacked: ``[S * A, S]`` with row ``s * A + a`` for state s and action a), or what this function returned.
    """
    if isinstance(transition, Distributions):
        return transition
    if sparse.issparse(transition) or _is_sparse_sequence(transition):
        parts = transition if isinstance(transition, (list, tuple)) else [transition]
        if kinds := [str(part.dtype) for part in parts if part.dtype.kind not in "biuf"]:
            raise ValueError(f"{name} must be real numbers, got {kinds[0]}")
        distributions = _sparse_distributions(transition, name)
    else:
        transition = np.asarray(transition)
        if np.issubdtype(transition.dtype, np.integer) and transition.ndim == 2:
            return _next_states(transition, name)
        if transition.ndim != 3 or transition.shape[0] != transition.shape[2] or 0 in transition.shape:
            raise ValueError(
                f"{name} must be float[S, A, S] probabilities, int[S, A] next states, or scipy.sparse probabilities "
                f"([S, S] per action, or stacked [S * A, S]), got {transition.dtype} of shape {transition.shape}"
            )
        states, actions = transition.shape[:2]
        rows = probabilities(name, transition).reshape(states * actions, states)
        distributions = Distributions.of_matrix(sparse.csr_array(rows), actions)
    next_states = distributions.next_states()
    return distributions if next_states is None else next_states


def _next_states(transition: np.ndarray, name: str) -> np.ndarray:
    states = len(transition)
    if 0 in transition.shape:
        raise ValueError(f"{name} must have states and actions, got shape {transition.shape}")
    if transition.min() < 0 or transition.max() >= states:
        bad = int(transition.min() if transition.min() < 0 else transition.max())
        raise ValueError(f"{name}: next states must be from 0 to {states - 1}, got {bad}")
    return transition.astype(np.int64)


def _is_sparse_sequence(transition: Any) -> bool:
    return isinstance(transition, (list, tuple)) and len(transition) > 0 and all(sparse.issparse(m) for m in transition)


def _sparse_distributions(transition: Any, name: str) -> Distributions:
    if not isinstance(transition, (list, tuple)):
        rows, states = transition.shape if transition.ndim == 2 else (0, 0)
        if not states or not rows or rows % states:
            raise ValueError(
                f"{name}: stacked sparse probabilities must be [S * A, S], row s * A + a for state s and action a, got "
                f"shape {transition.shape}"
            )
        stacked, actions = sparse.csr_array(transition, dtype=np.float64, copy=True), rows // states
    else:
        actions, states = len(transition), transition[0].shape[0]
        for action, part in enumerate(transition):
            if part.shape != (states, states) or not states:
                raise ValueError(
                    f"{name}: sparse probabilities must be [S, S] for each action, all of one S, got shape "
                    f"{part.shape} for action {action}"
                )
        whole = sparse.vstack([sparse.csr_array(part, dtype=np.float64) for part in transition], format="csr")
        stacked = whole[np.arange(states * actions).reshape(actions, states).T.ravel()]
    stacked.sum_duplicates()
    bad = ~(np.isfinite(stacked.data) & (stacked.data >= 0))
    if bad.any():
        entry = int(bad.argmax())
        row = int(np.searchsorted(stacked.indptr, entry, side="right")) - 1
        raise ValueError(
            f"{name} must be probabilities, got {stacked.data[entry]} at state {row // actions}, action "
            f"{row % actions}, next state {stacked.indices[entry]}"
        )
    total = stacked.sum(axis=1)
    wrong = np.abs(total - 1) > SUM_TOLERANCE
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{name}: every row must sum to one within {SUM_TOLERANCE:g}, but state {row // actions} and action "
            f"{row % actions} sum to {total[row]:.9g}: divide rows by their sums"
        )
    total = np.where(np.abs(total - 1) <= 4 * np.finfo(np.float64).eps, 1.0, total)
    stacked.data /= np.repeat(total, np.diff(stacked.indptr))
    return Distributions.of_matrix(stacked, actions)


def action_probabilities(policy: ArrayLike, states: int, actions: int, name: str = "policy") -> np.ndarray:
    """Return a policy as ``float64[S, A]``."""
    policy = np.asarray(policy)
    if policy.shape != (states, actions):
        raise ValueError(
            f"{name} must be float[{states}, {actions}], a probability for each action in each state, got shape "
            f"{policy.shape}"
        )
    return probabilities(name, policy)


def rewards(reward: ArrayLike, states: int, actions: int, name: str = "reward") -> np.ndarray:
    """Return rewards as ``float64[S, A]``."""
    reward = real_array(name, reward)
    if reward.shape != (states, actions):
        raise ValueError(f"{name} must be float[{states}, {actions}] as transition has, got shape {reward.shape}")
    if not np.isfinite(reward).all():
        raise ValueError(f"{name} must be finite, got {first_bad(reward, ~np.isfinite(reward))}")
    return reward


def costs(cost: ArrayLike, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return non-negative costs of a given shape as float64."""
    cost = real_array(name, cost)
    if cost.shape != shape:
        raise ValueError(f"{name} must be float{list(shape)}, got shape {cost.shape}")
    bad = ~(np.isfinite(cost) & (cost >= 0))
    if bad.any():
        raise ValueError(f"{name} must be finite and non-negative, got {first_bad(cost, bad)}")
    return cost
