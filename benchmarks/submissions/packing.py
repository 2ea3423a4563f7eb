"""Makes submissions of run folders, and run folders of submissions."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import schema
from bisimgym.benchmarks.running.run_folder import RunFolder, RunResult, find_runs, make_folder, write_json
from bisimgym.benchmarks.submissions import model
from bisimgym.benchmarks.submissions.checking import Submission, is_submission, read_submission
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Outcome
from bisimgym.envs.files import atomic_write


def pack(runs: Sequence[RunResult], out: Path, authors: str, description: str) -> None:
    """Write the results of one outside agent on one suite as a submission, which is not yet checked.

    Args:
        runs: as ``find_runs`` returns them; those of methods of the suites are left out.
        out: a folder that is missing or empty.
        authors: whose agent it is.
        description: what the agent is; empty: what the first run says.

    Raises:
        UserError: if there are no runs of one agent, suite and budget, or ``out`` holds anything.
    """
    runs = [run for run in runs if run.spec.preset == EXTERNAL]
    kinds = sorted({(run.spec.suite, run.spec.method, run.spec.settings.get("budget")) for run in runs}, key=str)
    if len(kinds) != 1:
        found = "; ".join(f"{suite} {agent} with budget {budget}" for suite, agent, budget in kinds) or "none"
        raise UserError(f"a submission is of one agent, suite and budget that `bisimgym evaluate` ran, found {found}")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: choose another --out")
    ((suite_name, agent, budget),) = kinds
    suite = load_suite(suite_name)
    means = {task: [run.score for run in runs if run.spec.task == task] for task in suite.open_tasks}
    shared = {name: runs[0].run.get(name) for name in ("versions", "machine") if runs[0].run.get(name)}
    made_in = {env_id: value for run in runs for env_id, value in run.run.get("environments", {}).items()}
    claim = {
        "format": model.FORMAT,
        "suite": suite_name,
        "suite_version": suite.version,
        "agent": agent,
        "description": description or str(runs[0].run.get("description", "")),
        "authors": authors,
        "budget": budget,
        "environments": made_in,
        "seeds": sorted({run.spec.seed for run in runs}),
        "runs": [_claim(run) for run in runs],
        "means": {task: sum(scores) / len(scores) for task, scores in means.items() if scores},
        **shared,
    }
    make_folder(out)
    with atomic_write(out / model.EPISODES) as temporary:
        temporary.write_text("".join(_lines(runs)), encoding="utf-8")
    write_json(out / model.DESCRIPTION, claim)


def remove(out: Path) -> None:
    """Remove what :func:`pack` wrote."""
    for name in (model.EPISODES, model.DESCRIPTION):
        (out / name).unlink(missing_ok=True)


def _claim(run: RunResult) -> dict[str, Any]:
    """Return what a run claims: of its further scores those that follow from its episodes."""
    follows = load_suite(run.spec.suite).rescore(run.spec.task, run.spec.seed, run.outcomes)
    scores = {name: value for name, value in run.scores.items() if name in follows}
    return {"task": run.spec.task, "seed": run.spec.seed, "score": run.score, "scores": scores}


def _lines(runs: Sequence[RunResult]) -> Iterator[str]:
    for run in runs:
        for episode, values in enumerate(zip(*run.outcomes.values(), strict=True)):
            row = {"task": run.spec.task, "seed": run.spec.seed, "episode": episode}
            yield json.dumps(row | dict(zip(run.outcomes, values, strict=True)), allow_nan=False) + "\n"


@contextlib.contextmanager
def find_results(folders: Sequence[Path]) -> Iterator[list[RunResult]]:
    """Hold the results of run folders, as ``find_runs`` returns them, and of submissions.

    Raises:
        UserError: for what ``find_runs`` or ``read_submission`` refuse.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found = []
        for number, folder in enumerate(folders):
            if is_submission(folder):
                take_in(read_submission(folder), Path(scratch, str(number)))
                folder = Path(scratch, str(number))
            found.append(folder)
        yield find_runs(found)


def take_in(submission: Submission, out: Path) -> list[RunResult]:
    """Write a submission as run folders, sealed, and return their results as read again.

    Raises:
        UserError: if ``out`` cannot be written, or holds such a run.
    """
    stated, results = submission.description, []
    folders = {key: RunFolder(out, submission.spec(*key)) for key in submission.outcomes}
    for folder in folders.values():  # before any is written
        _check_new(folder)
    for (task, seed), outcomes in submission.outcomes.items():
        folder, scores = folders[task, seed], submission.scores[task, seed]
        with folder.lock():
            _check_new(folder)  # no other process has come first
            folder.start(
                {
                    "versions": stated.get("versions", {}),
                    "machine": stated.get("machine", {}),
                    "environments": schema.environments(submission.suite, task),
                    "description": stated["description"],
                    "authors": stated["authors"],
                }
            )
            outcome = Outcome.of(scores, outcomes)
            results.append(folder.finish(outcome, submission.suite.lower_is_better, {}))
    return results


def _check_new(folder: RunFolder) -> None:
    if os.path.lexists(folder.path / "run.json"):
        raise UserError(f"{folder.path} holds a run already: choose another --out, or move that folder away")
