"""The lock of a run's folder: two processes must not write one run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import reading

try:
    import fcntl
except ImportError:  # Windows has no such locks; runs of one folder must then not overlap
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def held(lock: Path, run: Path) -> Iterator[None]:
    """Hold a file, which is made and removed. It falls with the process that holds it.

    Raises:
        UserError: if another process holds it, which is then that of ``run``; or if it cannot be made.
    """
    with _locked(lock, run):
        try:
            yield
        finally:  # while it is held: nobody's file is removed but this one
            with contextlib.suppress(FileNotFoundError, PermissionError):  # Windows removes no file that is open
                lock.unlink()


def _locked(lock: Path, run: Path) -> IO[str]:
    while True:
        try:
            file = os.fdopen(reading.open_regular(lock, os.O_RDWR | os.O_CREAT), "w")
        except OSError as error:
            raise UserError(f"cannot lock {lock}: {error.strerror or error}; choose another --out") from None
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UserError(f"another process is running {run}: wait for it, or use another --out") from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):
                return file
        file.close()  # it was removed by who held it, between opening and locking: others lock another file by now
