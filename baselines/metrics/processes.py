"""Checked arrays of one or two processes, in one form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks


def two_transitions(transition: ArrayLike, other: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the transitions of both processes (of the first twice, if there is no other) in the same form.

    Both are ``int64[S, A]`` next states if both processes are deterministic, else ``float64[S, A, S]``.

    Raises:
        ValueError: for bad transitions, or different numbers of actions.
    """
    x = checks.next_states_or_distributions(transition)
    if other is None:
        return x, x
    y = checks.next_states_or_distributions(other, "the other transition")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"both processes must have the same actions, got {x.shape[1]} and {y.shape[1]}")
    return same_form(x, y)


def same_form(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if x.ndim == y.ndim:
        return x, y
    return (_dense(x), y) if x.ndim == 2 else (x, _dense(y))


def _dense(next_states: np.ndarray) -> np.ndarray:
    states, actions = next_states.shape
    probabilities = np.zeros((states, actions, states))
    np.put_along_axis(probabilities, next_states[:, :, None], 1.0, axis=2)
    return probabilities


def under_policy(transition: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """Return the transitions that a policy ``float64[S, A]`` makes, with one action.

    ``int64[S, 1]`` if each state has one successor, else ``float64[S, 1, S]``.
    """
    if transition.ndim == 3:
        return checks.next_states_or_distributions(np.einsum("sa,sat->st", policy, transition)[:, None])
    chosen = policy.argmax(axis=1)
    taken = policy > 0
    rows = np.arange(len(policy))
    if not (taken & (transition != transition[rows, chosen][:, None])).any():
        return transition[rows, chosen][:, None]
    probabilities = np.zeros((len(policy), 1, len(policy)))
    for action in range(transition.shape[1]):
        probabilities[rows, 0, transition[:, action]] += policy[:, action]
    return probabilities


def policies(x: np.ndarray, y: np.ndarray, policy: ArrayLike, other: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the checked policies of both processes, whose transitions are ``x`` and ``y``."""
    policy_x = checks.action_probabilities(policy, len(x), x.shape[1])
    if other is None:
        return policy_x, policy_x
    return policy_x, checks.action_probabilities(other, len(y), y.shape[1], "the other policy")


def rewards(x: np.ndarray, y: np.ndarray, reward: ArrayLike, other: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the checked rewards of both processes, whose transitions are ``x`` and ``y``."""
    reward_x = checks.rewards(reward, len(x), x.shape[1])
    if other is None:
        return reward_x, reward_x
    return reward_x, checks.rewards(other, len(y), y.shape[1], "the other reward")


def parts(other: tuple | None, number: int, names: str) -> tuple:
    """Return the arrays of the other process, or as many times None.

    Raises:
        ValueError: if they are not as many as the metric takes.
    """
    if other is None:
        return (None,) * number
    if not isinstance(other, (tuple, list)) or len(other) != number:
        given = f"{len(other)} of them" if isinstance(other, (tuple, list)) else type(other).__name__
        raise ValueError(f"other must be the same arrays of a second process, ({names}); got {given}")
    for part, name in zip(other, names.split(", "), strict=True):
        if part is None and name != "coordinates":
            raise ValueError(f"other must be the same arrays of a second process, ({names}); its {name} is None")
    return tuple(other)
