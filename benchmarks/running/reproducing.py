"""Runs a run again and compares; the record of it is what the badge "re-run" of a leaderboard rests on."""

from __future__ import annotations

import os

from bisimgym.benchmarks.running import reading
from bisimgym.benchmarks.running.run_folder import RunResult

#: In the folder of a run: how it was run again. Submissions hold no such file.
RECORD = "repro.json"


def is_reproduced(run: RunResult) -> bool:
    """Return whether the folder of a run records that this very result was come to again.

    Raises:
        UserError: for a record that cannot be read.
    """
    path = run.path / RECORD
    if not os.path.lexists(path):
        return False
    record = reading.read_json(path)
    return record.get("digest") == run.result["digest"] and record.get("same") is True
