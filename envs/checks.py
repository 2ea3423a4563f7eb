"""Checks of arguments. Each returns the value or raises ``ValueError`` with name, range and value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

#: Numbers of an action may leave the space by this much, as rounding in a policy does, and are clipped.
ACTION_ROUNDING = 1e-6
#: Rows of probabilities may miss one by this much, and are divided by their sums. Rounding exact ones to float16, the
#: coarsest type of numpy, moves a sum by up to 2^-11 = 4.9e-4; rows that miss one by more were not meant to sum to it.
SUM_TOLERANCE = 1e-3


def integer(name: str, value: Any, low: int, high: int | None = None, hint: str = "") -> int:
    """Return an integer (numpy's too, no bool) from ``low`` to ``high`` as an ``int``.

    Args:
        hint: text after the range in the message.
    """
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer {allowed}{hint}, got {value!r}")
    return int(value)


def number(name: str, value: Any, low: float, high: float, hint: str = "") -> float:
    """Return an integer or float (numpy's too, no bool) in [low, high] as a ``float``."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}]{hint}, got {value!r}")
    return float(value)


def fraction(name: str, value: Any, hint: str = "") -> float:
    """Return a number in [0, 1] as a ``float``."""
    return number(name, value, 0, 1, hint)


def choice(name: str, value: Any, choices: Iterable[str], hint: str = "") -> str:
    """Return one of some strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {list(choices)}{hint}, got {value!r}")
    return value


def real_array(name: str, value: Any) -> np.ndarray:
    """Return real numbers of any type, or lists of them, as a fresh ``float64`` array."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biufO":
            raise TypeError(f"{array.dtype} is no real type")
        if array.dtype.kind == "O" and not all(map(_is_real, array.ravel())):
            raise TypeError("not all are numbers")
        if np.ma.is_masked(value):
            raise TypeError("some are masked: give .filled(...)")
        return np.array(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of real numbers, got {type(value).__name__} ({error})") from None


def _is_real(entry: Any) -> bool:
    entry = entry.item() if isinstance(entry, np.ndarray) and entry.ndim == 0 else entry
    return isinstance(entry, (Real, np.bool_))


def probabilities(name: str, value: Any) -> np.ndarray:
    """Return distributions along the last axis, ``float[..., n]`` of any type, as fresh ``float64`` that sums to one.

    Every place that takes probabilities takes them through this function. A row of another type than ``float64`` sums
    to one in that type only: a third in ``float32`` is not a third. Values of a process amplify what is missing by up
    to 1 / (1 - discount)^2, so rows are divided by their sums in ``float64``.

    Raises:
        ValueError: for entries that are negative or not finite, and rows whose sums miss one by more than
            :data:`SUM_TOLERANCE`.
    """
    array = real_array(name, value)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"{name} must be probabilities, float[..., n] with n >= 1, got shape {array.shape}")
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise ValueError(f"{name} must be probabilities, got {first_bad(array, bad)}")
    total = array.sum(axis=-1)
    bad = np.abs(total - 1) > SUM_TOLERANCE
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        row = f"{name}{list(where)}" if where else "it"
        raise ValueError(
            f"{name}: every row must sum to one within {SUM_TOLERANCE:g}, but {row} sums to {total[where]:.9g}: divide "
            "rows by their sums"
        )
    # What sums to one but for the last bits stays as it is, so that checking a result again changes nothing.
    total = np.where(np.abs(total - 1) <= 4 * np.finfo(np.float64).eps, 1.0, total)
    return array / total[..., None]


def first_bad(array: np.ndarray, bad: np.ndarray) -> str:
    """Return the first value where ``bad``, of the same shape, is true, with its place, for a message."""
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"{array[where]} at {list(where)}"


def reset_options(options: Any) -> dict[str, Any]:
    """Return the options of ``reset`` as a dictionary, empty for None."""
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise ValueError(
            f"options of reset must be a dictionary from names to values, or None, got {options!r}: write "
            'reset(options={"name": value})'
        )
    return dict(options)


def vector_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Return the seeds of sub-environments: ``seed + i`` of one integer, or one entry for each.

    Raises:
        ValueError: for anything else, another number of them, and negative ones.
    """
    if seed is None or isinstance(seed, (int, np.integer)):
        first = None if seed is None else integer("seed", seed, 0)
        return [None if first is None else first + i for i in range(num_envs)]
    if not isinstance(seed, (list, tuple, np.ndarray)) or len(seed) != num_envs:
        raise ValueError(
            f"seed must be an integer of at least 0 or have one for each sub-environment ({num_envs}), got {seed!r}"
        )
    return [None if entry is None else integer("an entry of seed", entry, 0) for entry in seed]


def taken_action(action: Any, space: gym.Space) -> np.ndarray:
    """Return an action of a ``Discrete``, ``MultiDiscrete`` or ``Box`` space as an array of the space's shape.

    Any real type is taken, and lists, if the values lie in the space: ``2.0`` is the action 2. One environment and
    many take actions through this function.

    Returns:
        ``int64`` for finite spaces. For a ``Box`` the array as it is if it is one of the space; else ``float64``,
        clipped to the bounds.

    Raises:
        ValueError: for values, shapes and types that are not in the space.
    """
    finite = isinstance(space, (spaces.Discrete, spaces.MultiDiscrete))
    if isinstance(action, (np.ndarray, int, np.integer)) and space.contains(action):
        return np.asarray(action, dtype=np.int64) if finite else np.asarray(action)
    low: Any
    high: Any
    if isinstance(space, spaces.Box):
        low, high, slack = space.low.astype(np.float64), space.high.astype(np.float64), ACTION_ROUNDING
    else:
        count = space.n if isinstance(space, spaces.Discrete) else space.nvec  # type: ignore[attr-defined]
        low, slack = space.start, 0.0  # type: ignore[attr-defined]
        high = low + count - 1
    try:
        values = real_array("action", action)
    except ValueError:
        values = np.full((), np.nan)
    if values.shape != space.shape or not ((values >= low - slack) & (values <= high + slack)).all():
        raise ValueError(f"action {action!r} is not in {space}")
    if not finite:
        return np.clip(values, low, high)
    if (values != np.rint(values)).any():
        raise ValueError(f"action {action!r} is not in {space}")
    return values.astype(np.int64)
