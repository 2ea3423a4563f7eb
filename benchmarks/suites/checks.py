"""Checks that suites share: of what agents return, of settings and of outcomes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from bisimgym.envs.checks import real_array


def discrete_actions(returned: Any, rows: int, count: int) -> np.ndarray:
    """Return what an agent's ``predict`` returned as ``int64[rows]``.

    Raises:
        ValueError: for another shape, for what is no integer, or for an action out of range.
    """
    action = np.asarray(returned)
    expected = f"predict() must return one action per row, integers from 0 to {count - 1} of shape {(rows,)}"
    if action.shape != (rows,):
        raise ValueError(f"{expected}, got shape {action.shape}")
    if not np.issubdtype(action.dtype, np.integer):
        raise ValueError(f"{expected}, got {action.dtype}")
    wrong = action[(action < 0) | (action >= count)]
    if len(wrong):
        raise ValueError(f"{expected}, got {wrong[0]}")
    return action.astype(np.int64)


def continuous_actions(returned: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return what an agent's ``predict`` returned as ``float32`` of a shape.

    Raises:
        ValueError: for another shape, or for what is not finite.
    """
    action = real_array("what predict() returned", returned).astype(np.float32)
    if action.shape != shape:
        raise ValueError(f"predict() must return finite actions of shape {shape}, got shape {action.shape}")
    if not np.isfinite(action).all():
        raise ValueError(f"predict() must return finite actions of shape {shape}, got NaN or infinity")
    return action


def check_least(settings: Mapping[str, Any], **least: int) -> None:
    """Raise ``ValueError`` for a setting, where there is one of that name, below its least value."""
    for name, value in least.items():
        if settings.get(name, value) < value:
            raise ValueError(f"{name} must be at least {value}, got {settings[name]}")


def check_columns(task: str, outcomes: Mapping[str, list], columns: Collection[str], rows: int) -> None:
    """Raise ``ValueError`` unless outcomes are just these columns, each with so many rows."""
    if set(outcomes) != set(columns) or any(len(column) != rows for column in outcomes.values()):
        raise ValueError(f"outcomes of {task} are {rows} entries of each of {sorted(columns)}")
