"""What rows took: training, time, memory, and on which machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bisimgym.benchmarks.report.leaderboard.views import machine_text, train_seconds
from bisimgym.benchmarks.report.summary import Row
from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites.base import Suite


@dataclass(frozen=True)
class Budget:
    """What the runs of a row took; None where nothing is recorded.

    Attributes:
        row: whose.
        amount: of what the suite's curves count, mean over runs; of an outside agent, the steps that it could learn
            from.
        updates: of the networks, where the suite counts something else, mean over runs.
        seconds: of training, mean over runs.
        memory: the most bytes that a run's process held.
        machines: processor, device, precision and threads, each kind once.
    """

    row: Row
    amount: float | None
    updates: float | None
    seconds: float | None
    memory: int | None
    machines: Sequence[str]


def budget(suite: Suite, row: Row) -> Budget:
    """Return what a row took."""

    def mean(values: Sequence[Any]) -> float | None:
        numbers = [value for value in values if isinstance(value, int | float)]
        return fmean(numbers) if numbers else None

    amounts = [run.spec.settings.get("budget") if row.outside else run.result.get(suite.x_name) for run in row.runs]
    counted = suite.x_name != "updates"
    updates = [run.curve[-1].get("updates") if counted and run.curve else None for run in row.runs]
    memory = [run.result["peak_memory"] for run in row.runs if "peak_memory" in run.result]
    return Budget(
        row,
        mean(amounts),
        mean(updates),
        mean([train_seconds(run) for run in row.runs]),
        max(memory, default=None),
        list(dict.fromkeys(text for run in row.runs if (text := _machine(run)))),
    )


def total_seconds(rows: Sequence[Row]) -> float:
    """Return the seconds of training of all runs of rows that say."""
    return sum(seconds for row in rows for run in row.runs if (seconds := train_seconds(run)) is not None)


def size_text(count: int) -> str:
    """Return bytes as people say them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _machine(run: RunResult) -> str:
    machine = run.run.get("machine")
    if not isinstance(machine, dict):
        return ""
    host = [str(machine[name]) for name in ("processor",) if machine.get(name)]
    cores = [f"{machine['cores']} cores"] if machine.get("cores") else []
    return ", ".join([*host, *cores, machine_text(run)]).rstrip(", ")
