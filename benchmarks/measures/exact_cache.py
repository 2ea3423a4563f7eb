"""Exact metrics that were solved before, kept in the user's cache folder: solving takes up to minutes, reading none."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bisimgym.envs.files import atomic_write, open_regular


def cache_folder() -> Path:
    """Return ``$BISIMGYM_CACHE``, or ``bisimgym`` in the user's cache folder (``$XDG_CACHE_HOME``, ``~/.cache``)."""
    if chosen := os.environ.get("BISIMGYM_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bisimgym"


def digest(*parts: str | float | np.ndarray) -> str:
    """Return a digest of numbers, names and arrays, their types and shapes included."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            found.update(repr(part).encode())
        found.update(b"|")
    return found.hexdigest()


def solved_once(key: str, states: int, solve: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the distances ``float64[states, states]`` that ``solve()`` returns, from the cache if they are there.

    They are kept under ``key``, a :func:`digest`.

    A damaged file is solved again and replaced. Where nothing can be written, a warning says so.
    """
    file = cache_folder() / f"{key}.npz"
    try:
        with os.fdopen(open_regular(file), "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            metric = archive["metric"]
            if metric.shape == (states, states) and metric.dtype == np.float64 and np.isfinite(metric).all():
                return metric
    except Exception:  # whatever damage makes zlib, zipfile and numpy raise; it is solved again
        pass
    metric = solve()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as temporary, open(temporary, "wb") as target:
            np.savez_compressed(target, metric=metric)
    except OSError as error:
        warnings.warn(f"exact metrics are not kept ({error}): set BISIMGYM_CACHE to a folder", RuntimeWarning, 2)
    return metric
