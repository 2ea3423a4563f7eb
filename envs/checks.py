"""Checks of arguments. Each returns the value or raises ``ValueError`` with name, range and value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


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
