"""Stored transitions as arrays, and the checks that they fit a learner."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from bisimgym.baselines.core.actions import action_dim


class Transitions(NamedTuple):
    """N transitions as arrays, in any order.

    Attributes:
        observations, next_observations: ``[N, *shape]`` as the environment gives them, or dictionaries of such arrays.
            What follows the last step of an episode is that episode's end, not the next one's start.
        actions: ``float[N, A]``, or ``int[N]`` of a finite action space.
        rewards: ``float[N]``.
        dones: ``bool[N]``, whether the process ended; not where a time limit cut it off.
    """

    observations: Any
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: Any
    dones: np.ndarray


def count_of(data: Transitions) -> int:
    """Return the number of transitions, or raise ``ValueError`` where arrays differ in length."""
    arrays: list[np.ndarray] = []
    for part in data:
        arrays += part.values() if isinstance(part, dict) else [part]
    lengths = sorted({len(array) for array in arrays})
    if len(lengths) != 1 or lengths[0] == 0:
        raise ValueError(f"transitions must be arrays of one length of at least 1, got lengths {lengths}")
    return lengths[0]


def check_actions(actions: np.ndarray, space: spaces.Space) -> None:
    """Raise ``ValueError`` for actions, ``[N, ...]``, that are not of a space."""
    array = np.asarray(actions)
    width = int(np.prod(array.shape[1:]))
    if width != (1 if isinstance(space, spaces.Discrete) else action_dim(space)):
        raise ValueError(f"actions must be those of {space}, got {array.dtype}{list(array.shape)}")
    if isinstance(space, spaces.Discrete) and not ((array >= 0) & (array < space.n) & (array == np.rint(array))).all():
        raise ValueError(f"actions must be integers from 0 to {space.n - 1}, got {array.min()} to {array.max()}")
    if isinstance(space, spaces.Box) and not np.isfinite(array).all():
        raise ValueError(f"actions must be finite numbers of {space}")
