"""A progress bar that keeps quiet unless the work is long."""

from __future__ import annotations

import time
from types import TracebackType

from tqdm import tqdm

SECONDS_BEFORE_BAR = 2.0


class Progress:
    """A context whose bar appears on stderr once the work has taken two seconds, and is gone when it ends.

    Args:
        title: what is being done.
        shown: False keeps it quiet.
    """

    def __init__(self, title: str, shown: bool = True) -> None:
        self._title, self._shown = title, shown
        self._bar: tqdm | None = None
        self._begin = time.monotonic()
        self._total, self._done, self._note = 0, 0, ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def start(self, total: int, note: str = "") -> None:
        """Begin a pass of ``total`` steps, with a note that stands beside the bar."""
        self._total, self._done, self._note = total, 0, note
        if self._bar is not None:
            self._bar.initial = 0
            self._bar.reset(total=total)
            self._bar.set_postfix_str(note)

    def advance(self, steps: int) -> None:
        """Tell that some more steps are done."""
        self._done += steps
        if self._bar is not None:
            self._bar.update(steps)
        elif self._shown and time.monotonic() - self._begin > SECONDS_BEFORE_BAR:
            self._bar = tqdm(desc=self._title, total=self._total, initial=self._done, leave=False)
            self._bar.set_postfix_str(self._note)
