"""When training is to stop, for a process and its workers: what ``run --minutes`` sets."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bisimgym.benchmarks.errors import UserError

#: Of commands that stopped because time was up.
EXIT_CODE = 3

_moment = math.inf


class OutOfTime(UserError):
    """The time that was given is over. What was done is kept, and the same command goes on."""


@contextmanager
def in_minutes(minutes: float | None) -> Iterator[None]:
    """Stop training inside the block after so many minutes; None is never.

    Raises:
        UserError: for a number that is not positive.
    """
    if minutes is not None and not minutes > 0:
        raise UserError(f"--minutes must be positive, got {minutes:g}")
    stop_at(math.inf if minutes is None else time.time() + 60 * minutes)
    try:
        yield
    finally:
        stop_at(math.inf)


def stop_at(moment: float) -> None:
    """Set the moment, in seconds of ``time.time()``; infinity is never."""
    global _moment
    _moment = moment


def moment() -> float:
    """Return the moment, for worker processes."""
    return _moment


def is_over() -> bool:
    """Return whether the moment has passed."""
    return time.time() >= _moment


def check(what: str) -> None:
    """Raise :class:`OutOfTime` if the moment has passed.

    Args:
        what: that stops, for the message.
    """
    if is_over():
        raise OutOfTime(f"{what}: time is up; what was done is kept, give the same command again to go on")
