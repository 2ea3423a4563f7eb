"""Commands for those who join the leaderboard: ``bisimgym submit`` and ``bisimgym plug``."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.output import printable

app = typer.Typer(
    name="submit", help="Make and check submissions to the leaderboard.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="submission.json and episodes.jsonl, and no more.")],
    out: Annotated[
        Path | None, typer.Option(help="Also write it as run folders here, as keepers of a leaderboard do.")
    ] = None,
) -> None:
    """Say all that is wrong with a submission, one line each; nothing in it is loaded, unpacked, fetched or run."""
    from bisimgym.benchmarks.submissions.checking import Refused, read_submission, summary_lines
    from bisimgym.benchmarks.submissions.packing import take_in

    try:
        submission = read_submission(folder)
    except Refused as refused:
        for problem in refused.problems:
            print(f"error: {printable(problem)}", file=sys.stderr)
        raise typer.Exit(2) from None
    console = Console(highlight=False, soft_wrap=True)
    for line in summary_lines(submission):
        console.print(line, markup=False)
    if out is not None:
        console.print(f"{len(take_in(submission, out))} run folders in {out}", markup=False)


@app.command()
def pack(
    runs: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders that `bisimgym evaluate` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the submission: missing or empty.")],
    authors: Annotated[str, typer.Option(help="Whose agent it is.")],
    description: Annotated[str, typer.Option(help="What the agent is (default: what its runs say).")] = "",
) -> None:
    """Make a submission of the results of one agent on one suite, and check it."""
    from bisimgym.benchmarks.running.run_folder import find_runs
    from bisimgym.benchmarks.submissions import packing

    packing.pack(find_runs(runs), out, authors, description)
    try:
        check(out)
    except typer.Exit:
        packing.remove(out)  # or the corrected command would find it in its way
        raise


@app.command()
def schema() -> None:
    """Print the JSON schema of both files, for every suite."""
    from bisimgym.benchmarks.submissions.model import schema_text

    print(schema_text(), end="")


def plug(
    agent: Annotated[str, typer.Argument(metavar="SPEC", help="An agent as in `evaluate --agent`.")],
    budget: Annotated[
        int, typer.Option(help="Environment steps that it learns for first; it then plays one task of each suite.")
    ] = 0,
    seconds: Annotated[float, typer.Option(help="Time after which no further task is tried.")] = 50,
) -> None:
    """Try an outside agent on every task of every suite for a few steps, and say what does not fit."""
    from bisimgym.benchmarks.plugging import try_everywhere

    if budget < 0 or not seconds > 0:
        raise UserError(f"--budget must not be negative and --seconds must be above 0, got {budget} and {seconds:g}")
    console = Console(highlight=False, soft_wrap=True)
    fits = False
    for trial in try_everywhere(agent, budget, seconds):
        fits |= trial.fits
        console.print(printable(str(trial)), markup=False)
    if not fits:
        raise UserError(f"agent {agent!r} fits no suite")


def repro(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run: .../seed-1.")],
    agent: Annotated[str | None, typer.Option(help="The agent, of an outside agent's run.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Note the outcome in the folder: leaderboards then show the run as re-run.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="Compare the score alone, to this much; 0: all numbers, exactly.")
    ] = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Run a run again and compare all of its numbers. Exit code 1 if any differs."""
    from bisimgym.benchmarks.agents import closing_agent, resolve_agent
    from bisimgym.benchmarks.running import reproducing
    from bisimgym.benchmarks.running.bars import single_bar
    from bisimgym.benchmarks.running.machine import chosen_device
    from bisimgym.benchmarks.running.run_folder import read_run

    if not 0 <= tolerance < math.inf:
        raise UserError(f"--tolerance must not be negative, got {tolerance:g}")
    before = read_run(run.absolute())  # the agent's module may change the folder
    made = None if agent is None else resolve_agent(agent)
    with closing_agent(made) as resolved, single_bar(str(before.spec.folder)) as show:
        found = reproducing.reproduce(before, chosen_device(device), resolved, show, tolerance)
    console = Console(highlight=False, soft_wrap=True)
    for name, (then, now) in found.numbers.items():
        console.print(f"{name}: {then} then, {now} now", markup=False)
    for difference in found.differences:
        console.print(f"differs: {difference}", markup=False)
    for name, there, here in found.elsewhere if not found.same else ():
        console.print(f"{name} was {there}, and is {here}", markup=False)
    if record:
        reproducing.record(before, found)
    said = f"the same score to {tolerance:g}" if tolerance else "the same numbers"
    console.print(said if found.same else f"not {said}")
    raise typer.Exit(0 if found.same else 1)
