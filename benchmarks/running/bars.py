"""Progress of runs: a bar for each and one for all; lines where output is no terminal."""

from __future__ import annotations

import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bisimgym.benchmarks.running import executors, runner
from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites.base import Spec


def run_with_bars(
    out: Path, specs: Sequence[Spec], device: str, jobs: int, threads: int, on_ray: bool
) -> tuple[list[RunResult], list[Exception]]:
    """Do all runs and return the results and the errors. A SIGTERM acts as Ctrl-C: workers end with their parent.

    Runs go in ``jobs`` worker processes side by side, or in this process if that is 1; or on a Ray cluster. Each has so
    many torch threads.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: list[RunResult] = []
    failures: list[Exception] = []
    with _Bars(specs) as bars:
        if on_ray:
            finished = executors.run_on_ray(out, specs, device, threads)
        elif jobs == 1:
            finished = executors.run_here(out, specs, device, threads, bars.on_progress)
        else:
            finished = executors.run_in_processes(out, specs, device, threads, jobs, bars.on_progress)
        for index, result in finished:
            bars.end(index, result)
            if isinstance(result, Exception):
                failures.append(result)
            else:
                results.append(result)
    return results, failures


class _Bars(Progress):
    def __init__(self, specs: Sequence[Spec]):
        console = Console(stderr=True)
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.names = [runner.describe(spec) for spec in specs]
        self.whole = self.add_task(f"{len(specs)} runs", total=len(specs))
        self.bars: dict[int, Any] = {}
        self.ended: set[int] = set()
        self.last_line: dict[int, float] = defaultdict(time.monotonic)

    def on_progress(self, index: int, done: int, total: int) -> None:
        if index in self.ended:  # late: worker processes report through a queue
            return
        # A log file, where bars have no place, gets a line of each run every half a minute.
        if self.disable and time.monotonic() - self.last_line[index] > 30:
            self.last_line[index] = time.monotonic()
            print(f"{self.names[index]}: {done}/{total}", file=sys.stderr, flush=True)
        if index not in self.bars:
            self.bars[index] = self.add_task(self.names[index], total=total)
        self.update(self.bars[index], completed=done, total=total)

    def end(self, index: int, result: RunResult | Exception) -> None:
        self.ended.add(index)
        if self.disable and not isinstance(result, Exception):
            print(f"{self.names[index]}: {result.score:.3f}", file=sys.stderr, flush=True)
        if index in self.bars:
            self.remove_task(self.bars.pop(index))
        self.advance(self.whole)
