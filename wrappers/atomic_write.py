"""Files that a kill at any moment leaves whole: the old one or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; when the block ends, that file replaces ``path`` at once.

    If the block raises, ``path`` stays as it was. The temporary name is hidden and keeps the suffix, by which some
    libraries choose the format. The folder must exist.

    Example:
        >>> with atomic_write("notes.txt") as temporary:
        ...     _ = temporary.write_text("whole or not at all")
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
