"""Checked arrays of one or two processes, in one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks
from bisimgym.baselines.metrics.distributions import Distributions, block_sums

#: ``int64[S, A]`` next states, or distributions.
Transitions = np.ndarray | Distributions


@dataclass(frozen=True)
class FiniteProcess(Protocol):
    """What a process is made of, such as :class:`bisimgym.envs.finite_mdp.FiniteMDP`; made again of other arrays."""

    transition: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    state_names: tuple[str, ...]
    offsets: tuple[int, ...]


Process = TypeVar("Process", bound=FiniteProcess)


def two_transitions(transition: Any, other: Any) -> tuple[Transitions, Transitions]:
    """Return the transitions of both processes (of the first twice, if there is no other) in the same form.

    Both are ``int64[S, A]`` next states if both processes are deterministic, else distributions.

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


def same_form(x: Transitions, y: Transitions) -> tuple[Transitions, Transitions]:
    if isinstance(x, Distributions) == isinstance(y, Distributions):
        return x, y
    return as_distributions(x), as_distributions(y)


def as_distributions(transition: Transitions) -> Distributions:
    return transition if isinstance(transition, Distributions) else Distributions.of_next_states(transition)


def under_policy(transition: Transitions, policy: np.ndarray) -> Transitions:
    """Return the transitions that a policy ``float64[S, A]`` makes, with one action.

    ``int64[S, 1]`` if each state has one successor, else distributions.
    """
    distributions = as_distributions(transition)
    states, actions = distributions.shape
    rows = np.repeat(np.repeat(np.arange(states), actions), np.diff(distributions.first))
    share = np.repeat(policy.ravel(), np.diff(distributions.first))
    taken = share > 0
    at, to, mass = block_sums(rows[taken], distributions.states[taken], (share * distributions.mass)[taken])
    total = np.bincount(at, mass, minlength=states)
    first = np.concatenate([[0], np.cumsum(np.bincount(at, minlength=states))])
    mixed = Distributions(first, to, mass / total[at], 1)
    next_states = mixed.next_states()
    return mixed if next_states is None else next_states


def policies(
    x: Transitions, y: Transitions, policy: ArrayLike, other: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the checked policies of both processes, whose transitions are ``x`` and ``y``."""
    policy_x = checks.action_probabilities(policy, len(x), x.shape[1])
    if other is None:
        return policy_x, policy_x
    return policy_x, checks.action_probabilities(other, len(y), y.shape[1], "the other policy")


def rewards(
    x: Transitions, y: Transitions, reward: ArrayLike, other: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
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
