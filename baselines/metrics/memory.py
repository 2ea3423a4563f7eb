"""How much memory there is."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Return the bytes of memory that can be used without swapping, within the limit of a container if there is one."""
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        free = min(free, int((_CGROUP / "memory.max").read_text()) - int((_CGROUP / "memory.current").read_text()))
    return max(0, free)


def in_units(size: float) -> str:
    """Return a number of bytes for people."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 2**10:.1f} KiB"
