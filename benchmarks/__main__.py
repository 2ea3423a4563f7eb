"""The entry point of the ``bisimgym`` command: says what to install where the parts it needs are missing."""

from __future__ import annotations

import os
import sys
import threading

#: Seconds that a thread gets to end after the command.
_PATIENCE = 5.0


def main() -> int:
    try:
        from bisimgym.benchmarks.cli import main as command
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("bisimgym"):
            raise
        print(f'error: the command needs {error.name}: pip install "bisimgym[bench]"', file=sys.stderr)
        return 2
    return _ended(command())


def _ended(code: int) -> int:
    """Return the exit code; where an agent has left threads that do not end, leave with it at once: all is written."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    for thread in others:
        thread.join(_PATIENCE)
    if any(thread.is_alive() for thread in others):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
