"""How much memory there is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Return the bytes of memory that can be used without swapping, as far as system and container tell."""
    free = [_system()]
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        free.append(int((_CGROUP / "memory.max").read_text()) - int((_CGROUP / "memory.current").read_text()))
    return max(0, min(free))


def _system() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**63 - 1  # nothing is known: let the allocation itself fail


def require(size: int, what: str) -> None:
    """Raise ``MemoryError`` if ``size`` bytes are not free."""
    if size > free_memory():
        raise MemoryError(f"{what} needs {in_units(size)}, and {in_units(free_memory())} are free: take fewer states")


def in_units(size: float) -> str:
    """Return a number of bytes for people."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 2**10:.1f} KiB"
