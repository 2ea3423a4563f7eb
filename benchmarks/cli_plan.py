"""Which runs the options of ``bisimgym run`` mean; and ``bisimgym plan``: the papers' runs in order of worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.names import shortened
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import Spec

#: Of one command: specs of all are made before it asks whether to start them.
MOST_SEEDS = 10_000


def plan(
    minutes: Annotated[
        float | None, typer.Option(help="Go on with the plan for so long (default: only show it).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[int | None, typer.Option(help="Runs side by side (default: one per core; one on a GPU).")] = None,
    threads: Annotated[int | None, typer.Option(help="Torch threads of each run (default: cores / jobs).")] = None,
) -> None:
    """Show the papers' runs of full size, in order of worth, and go on with them for some minutes.

    Finished runs are skipped. Those under way stop where training goes on from, so that pieces of ten minutes add up:
    give the same command again. Times are judged by finished and unfinished runs in the folder, which are of this
    machine, and else by committed runs, which are of a processor.
    """
    from bisimgym.benchmarks.cli import planned_by
    from bisimgym.benchmarks.running import deadline, estimate, machine, paper_plan
    from bisimgym.benchmarks.running.bars import run_with_bars
    from bisimgym.benchmarks.running.run_folder import make_folder

    for option, value in (("--jobs", jobs), ("--threads", threads)):
        if value is not None and not 1 <= value <= machine.MOST_THREADS:
            raise UserError(f"{option} must be from 1 to {machine.MOST_THREADS}, got {value}")
    device = machine.chosen_device(device)
    jobs = jobs or (1 if device == "cuda" else machine.cores())
    console = Console(highlight=False, soft_wrap=True)
    todo = paper_plan.look(planned_by, out, jobs)
    for number, left in enumerate(todo, start=1):
        what = str(left.expected) if left.expected.to_do else f"{estimate.counted(len(left.specs))}, all finished"
        console.print(f"{number:2}. {left.step.paper}, {left.step.label} ({left.step.why}): {what}", markup=False)
    if minutes is None:
        return
    make_folder(out)
    code = 0
    with deadline.in_minutes(minutes):
        for left in todo:
            if not left.expected.to_do:
                continue
            console.print(f"{left.step.paper}, {left.step.label}: {left.expected}")
            side = min(jobs, len(left.specs))
            own_threads = threads or max(machine.cores() // side, 1)
            _, failures = run_with_bars(out, left.specs, device, side, own_threads)
            for failure in failures:
                if not isinstance(failure, deadline.OutOfTime):
                    console.print(f"error: {failure}", style="red", markup=False)
                    code = 1
            if any(isinstance(failure, deadline.OutOfTime) for failure in failures):
                console.print("time is up: give the same command again to go on")
                raise typer.Exit(code or deadline.EXIT_CODE)
    raise typer.Exit(code)


def planned(
    suite: str,
    task: list[str] | None,
    method: list[str] | None,
    seeds: Sequence[int],
    preset: str | None,
    set_: list[str] | None,
    paper: str | None,
    table: str | None,
    **_: Any,
) -> Sequence[Spec]:
    """Return the specs that the options of ``run`` mean; those that say how to run are not looked at."""
    from bisimgym.benchmarks.running import runner

    if bool(suite) == bool(paper) or bool(paper) != bool(table):
        raise UserError("give a SUITE, or --paper and --table (see `bisimgym papers`)")
    if paper and table:
        suite, task, method = _of_table(paper, table, task, method)
    preset = preset or ("paper" if paper else "short")
    return runner.plan(load_suite(suite), task or [], method or [], seeds, preset, _settings(set_ or []))


def _of_table(
    paper: str, table: str, task: list[str] | None, method: list[str] | None
) -> tuple[str, list[str], list[str]]:
    """Return suite, tasks and methods of a paper's table; those that are named narrow it."""
    from bisimgym.benchmarks.report import papers

    item = papers.find_item(paper, table)
    found = papers.cells(paper, item)
    return item.suite, task or [of for of, _, _ in found], method or [of for _, of, _ in found]


def chosen_seeds(count: int | None, chosen: list[int] | None) -> Sequence[int]:
    """Return the seeds that --seeds and --seed mean."""
    if count is not None and chosen:
        raise UserError("--seeds N takes seeds 1 to N and --seed one of your choice: give one of the two")
    if count is not None and not 1 <= count <= MOST_SEEDS:
        raise UserError(f"--seeds must be from 1 to {MOST_SEEDS:,}, got {count}")
    return chosen or range(1, (count or 5) + 1)  # seeds count from 1, as those of the papers do


def _settings(pairs: list[str]) -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set takes KEY=VALUE, got {pair!r}")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError:
            settings[key] = value
        except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
            raise UserError(f"--set {key} takes a number, a text or true and false, got {shortened(value)}") from error
    return settings
