"""Runs of the jumping suite as leaderboards show them, hostile ones among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bisimgym.benchmarks.report.leaderboard import build_site
from bisimgym.benchmarks.report.summary import Row, summarize
from bisimgym.benchmarks.running.run_folder import RunFolder, RunResult, find_runs
from bisimgym.benchmarks.suites import jumping, load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Outcome, Spec, make_spec
from bisimgym.benchmarks.suites.replays import Episode, Replay, write_replay

SUITE = load_suite("jumping")


HOSTILE = '<img src=x onerror="window.hacked=1">'


FORMULA = "=HYPERLINK(0)"


MACHINE = {"device": "cpu", "precision": "bfloat16", "threads": 2}


#: An agent that walks to the right, and one that stands still.
REPLAY = Replay(
    6,
    4,
    (1, 2),
    ("right", "wait"),
    [
        Episode("the first", True, [("wall", 0, 3, 6, 1), ("goal", 5, 1, 1, 2)], [(x, 1) for x in range(6)], [0] * 5),
        Episode(f"the second {HOSTILE}</script>", False, [("red", 0, 0, 1, 1)], [(2, 2)] * 3, [1] * 2),
    ],
)


def write_run(out: Path, spec: Spec, solves: float, **run: object) -> None:
    """Write a finished run that solves about a fraction of the tasks."""
    count = 286 * (2 if spec.task == "colors" else 1)
    solved = np.random.default_rng([spec.seed, count]).random(count) < solves
    columns = jumping.columns(spec.task, spec.seed, solved)
    if spec.method == "randconv-pse":
        columns["paper_rule_solved"] = (4 * solved + 1).tolist()
    scores = jumping.scores(columns)
    score = scores.pop("score")
    folder = RunFolder(out, spec)
    folder.path.mkdir(parents=True)
    folder.start({"versions": {"python": "3.11.0"}, **run})
    if spec.method == "randconv-pse":
        write_replay(REPLAY, folder.pictures)
    if spec.preset != EXTERNAL:
        for part in (1, 2, 3):
            folder.log({"updates": 500 * part, "score": score * part / 3, "seconds": 1.5 * part})
    folder.finish(
        Outcome(score, scores, columns),
        False,
        {"updates": 1500, "train_seconds": 75.0, "peak_memory": 3 * 2**29, "finished": "2025-01-02T03:04:05+00:00"},
    )


def outside(task: str, name: str) -> Spec:
    return Spec("jumping", SUITE.version, task, name, EXTERNAL, 1, {}, {"budget": 0})


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunResult]:
    out = tmp_path_factory.mktemp("runs")
    for seed, solves in ((1, 0.2), (2, 0.9), (3, 0.7)):
        write_run(out, make_spec(SUITE, "wide", "randconv-pse", "paper", seed), solves, machine=MACHINE)
    for seed in (1, 2):
        write_run(out, make_spec(SUITE, "wide", "pse", "paper", seed), 0.3, machine=MACHINE)
        write_run(out, make_spec(SUITE, "random", "randconv-pse", "paper", seed), 0.8)
        write_run(out, make_spec(SUITE, "colors", "pse", "paper", seed), 0.4)
    write_run(out, make_spec(SUITE, "wide", "dropout-l2", "paper", 1), 0.1)
    write_run(out, make_spec(SUITE, "wide", "pse", "smoke", 1), 0.95)
    write_run(out, make_spec(SUITE, "wide", "pse", "paper", 1, {"alignment.weight": 7.0}), 0.5)
    write_run(out, outside("wide", "hostile"), 0.4, description=f"<script>window.hacked=2</script>{HOSTILE}")
    write_run(out, outside("wide", "other"), 0.3)
    write_run(out, outside("wide", "randconv-psm-l2"), 0.2)  # takes the name of a method
    return find_runs([out])


@pytest.fixture(scope="session")
def site(runs: list[RunResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(runs, tmp_path_factory.mktemp("built") / "site").parent


def pick(runs: list[RunResult], task: str, method: str, preset: str = "paper") -> Row:
    rows = [row for row in summarize(runs) if (row.task, row.method, row.preset) == (task, method, preset)]
    assert len(rows) == 1
    return rows[0]
