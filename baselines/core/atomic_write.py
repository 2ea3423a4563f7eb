"""Kept for its importers: see :mod:`bisimgym.wrappers.atomic_write`."""

from bisimgym.wrappers.atomic_write import atomic_write

__all__ = ["atomic_write"]
