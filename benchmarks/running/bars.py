"""Progress of runs: a bar for each, or for those trained together, and one for all; lines where there is no screen."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bisimgym.benchmarks.running import estimate, executors, runner
from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites.base import Spec


def run_with_bars(
    out: Path, specs: Sequence[Spec], device: str, jobs: int, threads: int, executor: str = "process"
) -> tuple[list[RunResult], list[Exception]]:
    """Do all runs and return the results and the errors. A SIGTERM acts as Ctrl-C: workers end with their parent.

    Runs go in ``jobs`` worker processes side by side, or in this process if that is 1; with another ``executor``, on a
    cluster: "ray", or Slurm by "submitit". Each has so many torch threads.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: list[RunResult] = []
    failures: list[Exception] = []
    names = [runner.describe(spec) for spec in specs]
    together = runner.together(specs, jobs if executor == "process" else 1)
    with _Bars(names, estimate.counted(len(names)), together) as bars:
        if executor == "ray":
            finished = executors.run_on_ray(out, specs, device, threads)
        elif executor == "submitit":
            finished = executors.run_on_submitit(out, specs, device, threads, jobs)
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


@contextlib.contextmanager
def single_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show how one piece of work goes: give what is done, and of how much, to the function that this yields."""
    with _Bars([title], "") as bars:
        yield lambda done, total: bars.on_progress(0, min(done, total), total)


#: Seconds between two lines about the same work, where bars have no place.
_PAUSE = 15.0


class _Bars(Progress):
    def __init__(self, names: Sequence[str], whole: str, together: Sequence[Sequence[int]] = ()):
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
        self.names = names
        #: The run whose bar shows a run: the first of those that are trained together.
        self.shown = {place: places[0] for places in together for place in places}
        self.titles = {places[0]: f"{names[places[0]]} and {len(places) - 1} more" for places in together if places[1:]}
        self.whole = self.add_task(whole, total=len(names), visible=len(names) > 1)
        self.bars: dict[int, Any] = {}
        self.ended: set[int] = set()
        self.start_time = time.monotonic()
        self.first: dict[int, tuple[float, int]] = {}
        self.last_line: dict[int, float] = {}

    def on_progress(self, index: int, done: int, total: int) -> None:
        index = self.shown.get(index, index)
        if index in self.ended:  # late: worker processes report through a queue
            return
        title = self.titles.get(index, self.names[index])
        # A log file gets lines instead. A run that is resumed is timed from where it goes on.
        now = time.monotonic()
        began, skipped = self.first.setdefault(index, (now, done))
        if self.disable and now - self.last_line.setdefault(index, now) >= _PAUSE:
            self.last_line[index] = now
            self._say(f"{title}: {timing(done, total, now - began, skipped)}")
        if index not in self.bars:
            self.bars[index] = self.add_task(title, total=total)
        self.update(self.bars[index], completed=done, total=total)

    def end(self, index: int, result: RunResult | Exception) -> None:
        self.ended.add(index)
        if self.disable and not isinstance(result, Exception):
            passed = timing(len(self.ended), len(self.names), time.monotonic() - self.start_time)
            self._say(f"{self.names[index]}: {result.score:.3f}; of all runs {passed}")
        if index in self.bars:
            self.remove_task(self.bars.pop(index))
        self.advance(self.whole)

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def timing(done: int, total: int, seconds: float, skipped: int = 0) -> str:
    """Return how far work is and when it will be done, such as ``30/120 in 0:00:31, about 0:01:33 left``.

    Args:
        done: of ``total`` steps, ``skipped`` of which were not done in these ``seconds``.
    """
    text = f"{done}/{total} in {estimate.clock(seconds)}"
    if not skipped < done < total:
        return text
    return f"{text}, about {estimate.clock(seconds / (done - skipped) * (total - done))} left"
