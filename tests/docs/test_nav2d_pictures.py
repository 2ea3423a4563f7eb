"""The learning curves of the nav2d suite: which runs they show, and that they are drawn."""

from pathlib import Path

import nav2d_pictures
import numpy as np
import pytest
from PIL import Image

from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("nav2d")


def a_run(method, seed, *values, task="epsilon-0.5", preset="short", **variant):
    spec = make_spec(SUITE, task, method, preset, seed, variant)
    curve = [{"transitions": 10 * i, "final": value, "score": value / 2} for i, value in enumerate(values, 1)]
    return RunResult(Path(), spec, values[-1], {}, {}, curve, {}, {})


RUNS = [
    a_run("phi", 1, 0.25, 0.5),
    a_run("phi", 2, 0.75, 1.0),
    a_run("phi", 3, 0.5, 0.75),
    a_run("phi", 1, 0.0, 1.0, task="epsilon-1"),
    # Others, which do not belong here.
    a_run("phi", 4, 0.0, 0.0, preset="smoke"),
    a_run("phi", 4, 0.0, 0.0, base_weight=1.0),
]


def test_curves_are_of_one_preset_without_variants():
    found = nav2d_pictures.curves(RUNS, "short")
    assert set(found) == {("phi", "epsilon-0.5"), ("phi", "epsilon-1")}
    assert found["phi", "epsilon-0.5"]["transitions"].tolist() == [10, 20]
    assert found["phi", "epsilon-0.5"]["score"].tolist() == [[0.125, 0.25], [0.375, 0.5], [0.25, 0.375]]


def test_the_table_has_intervals_from_three_seeds_on():
    table = nav2d_pictures.table_of_curves(nav2d_pictures.curves(RUNS, "short"), (10, 20))
    half = 4.3027 * 12.5 / 3**0.5  # Student's t of two degrees of freedom, seeds with a deviation of 12.5
    assert table.splitlines()[2:] == [
        f"| epsilon-0.5 | phi | 3* | 25.0 [0.0, {25 + half:.1f}] | 37.5 [{37.5 - half:.1f}, {37.5 + half:.1f}] |",
        "| epsilon-1 | phi | 1* | 0.0 | 50.0 |",
    ]


def test_the_picture(tmp_path):
    nav2d_pictures.draw(nav2d_pictures.curves(RUNS, "short"), tmp_path / "new" / "success.png")
    with Image.open(tmp_path / "new" / "success.png") as image:
        assert image.size == (1100, 462)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_a_preset_without_runs_is_named():
    with pytest.raises(SystemExit, match="'papr'"):
        nav2d_pictures.main(["--preset", "papr"])
