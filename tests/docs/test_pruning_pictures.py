"""The pictures of the pruning suite: which runs they show, and that they are drawn."""

from pathlib import Path

import pruning_pictures
from PIL import Image

from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("pruning")


def a_run(method, score, seed=1, task="digits-0.5", preset="short", **variant):
    spec = make_spec(SUITE, task, method, preset, seed, variant)
    return RunResult(Path(), spec, score, {"macs": 0.25, "parameters": 0.5}, {}, [], {}, {})


RUNS = [
    *(a_run("both", 0.95 + seed / 100, seed) for seed in (1, 2)),
    a_run("both", 0.9, trust=0.25),
    a_run("runtime", 0.98),
    a_run("static", 0.97),
    a_run("uniform", 0.96, task="digits-0.7"),
    # Others, which do not belong to R.
    a_run("separate", 0.5),
    a_run("both", 0.5, rounds=3),
    a_run("both", 0.5, preset="smoke"),
]


def test_agents_by_their_part():
    found = {trust: [run.score for run in of] for trust, of in pruning_pictures.by_trust(RUNS).items()}
    assert found == {0.0: [0.97], 0.25: [0.9], 0.5: [0.96, 0.97], 1.0: [0.98]}


def test_the_pictures(tmp_path):
    pruning_pictures.draw_budgets(RUNS, tmp_path / "new" / "budgets.png")
    pruning_pictures.draw_trust(pruning_pictures.by_trust(RUNS), tmp_path / "new" / "trust.png")
    for name in ("budgets.png", "trust.png"):
        with Image.open(tmp_path / "new" / name) as image, Image.open(pruning_pictures.FOLDER / name) as committed:
            assert min(image.size) > 350
            assert committed.size == image.size
