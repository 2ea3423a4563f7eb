"""What the dynamics of array tasks are written with, so that the same lines step arrays of numpy and tensors of torch.

They use operators, indexing, and functions that ``numpy`` and ``torch`` share in name and meaning; :func:`namespace`
says which of the two. torch is never imported here: where there is a tensor, it has been.
"""

from __future__ import annotations

import sys
import weakref
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np

#: Constant tables on devices, by table and device.
_TABLES: dict[tuple[int, Any], Any] = {}


def namespace(array: Any) -> Any:
    """Return the module of an array's functions, numpy or torch."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def cast(array: Any, dtype: str) -> Any:
    """Return an array of another type, by its name, such as ``"float32"``."""
    if isinstance(array, np.ndarray):
        return array.astype(getattr(np, dtype))
    return array.to(getattr(namespace(array), dtype))


def as_type_of(array: Any, values: Any) -> Any:
    """Return values that can be written into an array: numpy casts when it writes, torch has to be told."""
    return values if isinstance(array, np.ndarray) else values.to(array.dtype)


def row_numbers(array: Any) -> Any:
    """Return ``int64[N]``, 0 to N - 1, for an array of N rows, where it is."""
    if isinstance(array, np.ndarray):
        return np.arange(len(array))
    return namespace(array).arange(len(array), device=array.device)


def copied(array: Any) -> Any:
    """Return an array in memory of its own."""
    return array.copy() if isinstance(array, np.ndarray) else array.clone()


def like(table: Any, array: Any) -> Any:
    """Return a constant table, or a dataclass of them, where an array is: as it is, or copied to its device once."""
    if isinstance(array, np.ndarray):
        return table
    if not isinstance(table, np.ndarray):
        return SimpleNamespace(**{part.name: like(getattr(table, part.name), array) for part in fields(table)})
    key = id(table), array.device
    if key not in _TABLES:
        _TABLES[key] = namespace(array).from_numpy(np.array(table)).to(array.device)
        weakref.finalize(table, _TABLES.pop, key, None)
    return _TABLES[key]
