"""``bisimgym plan``: the papers' runs in order of worth, and one command that goes on with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


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
    from bisimgym.benchmarks.errors import UserError
    from bisimgym.benchmarks.running import deadline, estimate, machine, paper_plan
    from bisimgym.benchmarks.running.bars import run_with_bars
    from bisimgym.benchmarks.running.run_folder import make_folder

    for option, value in (("--jobs", jobs), ("--threads", threads)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1, got {value}")
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
