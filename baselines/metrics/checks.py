"""What every metric checks of its input, with messages that name the value, the range and the fix."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.envs.checks import first_bad, probabilities


def discount_factor(discount: Any) -> float:
    """Return the discount as a float in [0, 1)."""
    if not isinstance(discount, Real) or not 0 <= float(discount) < 1:
        raise ValueError(f"discount must be in [0, 1), got {discount!r}: the metric is a fixed point only below 1")
    return float(discount)


def next_states_or_distributions(transition: ArrayLike, name: str = "transition") -> np.ndarray:
    """Return ``int64[S, A]`` next states if the process is deterministic, else ``float64[S, A, S]``.

    Probabilities that are all 0 or 1 count as deterministic.
    """
    transition = np.asarray(transition)
    if np.issubdtype(transition.dtype, np.integer) and transition.ndim == 2:
        states = len(transition)
        if 0 in transition.shape:
            raise ValueError(f"{name} must have states and actions, got shape {transition.shape}")
        if transition.min() < 0 or transition.max() >= states:
            bad = int(transition.min() if transition.min() < 0 else transition.max())
            raise ValueError(f"{name}: next states must be from 0 to {states - 1}, got {bad}")
        return transition.astype(np.int64)
    if transition.ndim != 3 or transition.shape[0] != transition.shape[2] or 0 in transition.shape:
        raise ValueError(
            f"{name} must be float[S, A, S] probabilities or int[S, A] next states, got {transition.dtype} of shape "
            f"{transition.shape}"
        )
    distributions = probabilities(name, transition)
    if ((distributions == 0) | (distributions == 1)).all():
        return distributions.argmax(axis=2).astype(np.int64)
    return distributions


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
    reward = np.asarray(reward, dtype=np.float64)
    if reward.shape != (states, actions):
        raise ValueError(f"{name} must be float[{states}, {actions}] as transition has, got shape {reward.shape}")
    if not np.isfinite(reward).all():
        raise ValueError(f"{name} must be finite, got {first_bad(reward, ~np.isfinite(reward))}")
    return reward


def costs(cost: ArrayLike, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return non-negative costs of a given shape as float64."""
    cost = np.asarray(cost, dtype=np.float64)
    if cost.shape != shape:
        raise ValueError(f"{name} must be float{list(shape)}, got shape {cost.shape}")
    bad = ~(np.isfinite(cost) & (cost >= 0))
    if bad.any():
        raise ValueError(f"{name} must be finite and non-negative, got {first_bad(cost, bad)}")
    return cost
