"""The pictures of the lqr suite: which runs they show, and that they are drawn."""

from pathlib import Path

import lqr_pictures
import pytest
from PIL import Image

from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("lqr")


def a_run(method, seed, score, train_error=0.001, task="500", preset="paper", **variant):
    spec = make_spec(SUITE, task, method, preset, seed, variant)
    return RunResult(Path(), spec, score, {"train_error": train_error}, {}, [], {}, {})


@pytest.fixture
def runs():
    sgd = {"optimizer": "sgd", "learning_rate": 0.01, "iterations": 20_000}
    return [
        *(a_run("overparametrized", seed, 25.0 + seed) for seed in (1, 2, 3)),
        a_run("psm", 1, 0.02),
        a_run("psm", 2, 0.04, 0.0),
        a_run("psm", 1, 0.03, task="1000"),
        a_run("l1", 1, 28.1, 28.0),
        a_run("l1", 1, 30.0, 2.0, l1_coefficient=0.1),
        a_run("psm", 1, 8.0, psm_coefficient=1000.0),
        a_run("psm", 1, 26.0, psm_coefficient=10.0, **sgd),
        # Others, which do not belong here.
        a_run("psm", 3, 1.0, preset="short"),
        a_run("psm", 3, 1.0, width=10),
        a_run("oracle", 1, 0.0),
    ]


def test_bars_are_of_standard_methods(runs):
    assert lqr_pictures.by_method(runs) == {
        ("500", "overparametrized"): [26.0, 27.0, 28.0],
        ("500", "psm"): [0.02, 0.04],
        ("1000", "psm"): [0.03],
        ("500", "l1"): [28.1],
    }


def test_coefficients_differ_and_nothing_else(runs):
    def scores(method, optimizer):
        found = lqr_pictures.by_coefficient(runs, method, optimizer)
        return {coefficient: [run.score for run in of] for coefficient, of in found.items()}

    assert scores("psm", "adam") == {1e3: [8.0], 1e5: [0.02, 0.04]}
    assert scores("psm", "sgd") == {10.0: [26.0]}
    assert scores("l1", "adam") == {0.1: [30.0], 10.0: [28.1]}


def test_the_pictures(runs, tmp_path):
    lqr_pictures.draw_methods(lqr_pictures.by_method(runs), tmp_path / "new" / "methods.png")
    lqr_pictures.draw_coefficients(runs, tmp_path / "new" / "coefficients.png")
    for name in ("methods.png", "coefficients.png"):
        with Image.open(tmp_path / "new" / name) as image, Image.open(lqr_pictures.FOLDER / name) as committed:
            assert min(image.size) > 400
            assert committed.size == image.size
