"""What a plan would take, from the seconds that committed runs took, and the bound above which it wants a yes."""

from __future__ import annotations

import datetime
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running.reading import run_folders
from bisimgym.benchmarks.running.run_folder import COMMITTED, RunFolder, find_runs, is_finished, read_record, read_run
from bisimgym.benchmarks.suites.base import Spec

#: A plan of more runs, or one that is estimated to take longer, in seconds, is started with ``--yes`` only.
MOST_RUNS, MOST_SECONDS = 50, 2 * 3600

#: Seconds of runs by (task, method, preset), where None stands for any.
Times = Mapping[tuple[str | None, str | None, str], Sequence[float]]


def committed_times(suite: str) -> Times:
    """Return the training seconds of the suite's committed runs."""
    times = defaultdict(list)
    for run in find_runs([COMMITTED / suite]) if (COMMITTED / suite).is_dir() else []:
        seconds = run.result.get("train_seconds")
        if seconds is not None:
            for task, method in _kinds(run.spec.task, run.spec.method):
                times[task, method, run.spec.preset].append(seconds)
    return times


def times_here(out: Path, suite: str) -> Times:
    """Return the seconds of a suite's runs in a folder; those of unfinished ones are judged by their checkpoints."""
    times = defaultdict(list)
    for path in run_folders(out / suite) if (out / suite).is_dir() else []:
        spec = read_record(path / "run.json")[1]
        seconds = read_run(path).result.get("train_seconds") if is_finished(path) else _judged(path, spec)
        if seconds:
            for task, method in _kinds(spec.task, spec.method):
                times[task, method, spec.preset].append(seconds)
    return times


def _judged(path: Path, spec: Spec) -> float | None:
    """Return the seconds that all of an unfinished run takes if it goes on as it did up to its last checkpoint."""
    marks = RunFolder(path.parents[len(spec.folder.parts) - 1], spec).marks()
    last = marks[max(marks)] if marks else {}
    if not last.get("x") or not last.get("seconds") or not last.get("total"):
        return None
    return last["seconds"] / last["x"] * last["total"]


def seconds_of(spec: Spec, times: Times) -> float:
    """Return the estimated seconds of a run: the median of the runs that are most like it.

    These are, of the same preset, runs of the same task and method, else of the same method, else of the same task,
    else all. NaN if there is none.
    """
    for task, method in _kinds(spec.task, spec.method):
        if times.get((task, method, spec.preset)):
            return statistics.median(times[task, method, spec.preset])
    return math.nan


def _kinds(task: str, method: str) -> list[tuple[str | None, str | None]]:
    return [(task, method), (None, method), (task, None), (None, None)]


class Estimate:
    """Runs of a plan that are still to do, and the seconds they would take.

    Args:
        specs: the plan.
        out: where finished runs are skipped.
        times: what runs took elsewhere.
        jobs: runs side by side.
        judged_by: where the times are from, for people.
    """

    def __init__(self, specs: Sequence[Spec], out: Path, times: Times, jobs: int, judged_by: str = "committed runs"):
        self.specs = specs
        self.jobs, self.judged_by = jobs, judged_by
        self.to_do = [spec for spec in specs if not is_finished(out / spec.folder)]
        self._seconds = {spec.folder: seconds_of(spec, times) for spec in specs}
        known = [s for spec in self.to_do if not math.isnan(s := self._seconds[spec.folder])]
        self.unknown = len(self.to_do) - len(known)
        # Side by side, but never shorter than the longest of them.
        self.seconds = max(sum(known) / jobs, max(known, default=0.0))

    def __str__(self) -> str:
        finished = len(self.specs) - len(self.to_do)
        text = counted(len(self.to_do)) + (f" ({finished} more are finished)" if finished else "")
        if len(self.to_do) == self.unknown:
            return f"{text}, of unknown length" if self.to_do else text
        beside = f"{self.jobs} side by side" if self.jobs > 1 else "one after the other"
        more = f", and {counted(self.unknown)} of unknown length" if self.unknown else ""
        return f"{text}, about {duration(self.seconds)} {beside}{more}, judged by {self.judged_by}"

    def check(self) -> None:
        """Raise ``UserError`` for a plan above the bounds."""
        if len(self.to_do) > MOST_RUNS or self.seconds > MOST_SECONDS:
            raise UserError(
                f"this is {self}: more than {MOST_RUNS} runs or {duration(MOST_SECONDS)}; start it with --yes, look at "
                "it with --dry-run, or choose with --task, --method, --seeds, --seed or --preset"
            )

    def show(self, console: Console) -> None:
        """Print the plan, a row for each task and method, and its sum."""
        table = Table("task", "method", "seeds", "to do", "each", box=None, pad_edge=False, header_style="bold")
        rows: dict[tuple[str, str], list[Spec]] = defaultdict(list)
        for spec in self.specs:
            rows[spec.task, spec.method_folder].append(spec)
        to_do = {spec.folder for spec in self.to_do}
        for (task, method), specs in rows.items():
            each = self._seconds[specs[0].folder]
            shown = "unknown" if math.isnan(each) else duration(each)
            seeds = ", ".join(str(spec.seed) for spec in specs)
            table.add_row(task, method, seeds, str(sum(spec.folder in to_do for spec in specs)), shown)
        console.print(table)
        console.print(f"{self}.", highlight=False)


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``45 s``, ``12 min``, ``2 h 5 min``, ``3 days 4 h``."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "day" if days == 1 else "days"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def clock(seconds: float) -> str:
    """Return seconds as ``h:mm:ss``."""
    return str(datetime.timedelta(seconds=round(seconds)))


def counted(runs: int) -> str:
    """Return ``1 run``, ``2 runs``."""
    return "1 run" if runs == 1 else f"{runs} runs"
