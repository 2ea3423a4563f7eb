"""The picture of the dials: which runs it shows, and that it is drawn."""

from pathlib import Path

import dial_pictures
from PIL import Image

from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("fidelity")


def a_run(method, place, seed=1, task="dial-relevant", preset="short", **variant):
    spec = make_spec(SUITE, task, method, preset, seed, variant)
    shares = {"state_nearest": place, "distractor_nearest": 0.5, "lit_nearest": 0.25}
    return RunResult(Path(), spec, 0.5, shares, {}, [], {}, {})


RUNS = [
    *(a_run("simsr", seed / 10, seed) for seed in (2, 1)),
    a_run("mico", 0.9),
    # Others.
    a_run("mico", 0.0, task="dial-irrelevant"),
    a_run("mico", 0.0, preset="smoke"),
    a_run("mico", 0.0, metric_weight=0.1),
]


def test_shares_are_those_of_the_standard_runs_seed_by_seed():
    found = dial_pictures.kept(RUNS, "dial-relevant")
    assert list(found) == ["mico", "simsr"]
    assert found["simsr"] == {
        "state_nearest": [0.1, 0.2],
        "distractor_nearest": [0.5, 0.5],
        "lit_nearest": [0.25, 0.25],
    }


def test_the_picture(tmp_path):
    shares = {task: dial_pictures.kept(RUNS, task) for task in dial_pictures.DIALS}
    dial_pictures.draw_kept(shares, tmp_path / "new" / "dials.png")
    with (
        Image.open(tmp_path / "new" / "dials.png") as image,
        Image.open(dial_pictures.FOLDER / "dials.png") as committed,
    ):
        assert image.size == committed.size == (1100, 640)
