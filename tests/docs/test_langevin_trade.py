"""The picture and the tables of what the weight of the path divergence trades."""

from pathlib import Path

import langevin_trade
import pytest
from PIL import Image

from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("markov")


def a_run(task, method, seed, accuracy, error, preset="short", **variant):
    spec = make_spec(SUITE, task, method, preset, seed, variant)
    scores = {"sampled": accuracy, **dict.fromkeys(langevin_trade.ERRORS, error)}
    outcomes = {"sampled_accuracy": [accuracy - 0.01, accuracy + 0.01]}
    if variant:  # of 200 frames as well, as results have them today
        outcomes["sampled_accuracy_200"] = [accuracy - 0.02, accuracy]
    return RunResult(Path(), spec, accuracy + 0.02, scores, outcomes, [], {}, {})


@pytest.fixture
def runs():
    return [
        a_run("uniform", "nld-overdamped", 1, 0.93, 0.2),
        a_run("uniform", "nld-overdamped", 2, 0.95, 0.3),
        a_run("uniform", "nld-overdamped", 2, 0.90, 0.1, path_weight=2),
        a_run("skewed", "nld-underdamped", 1, 0.91, 0.1, path_weight=2),  # without a standard run beside it
        # Others, which do not belong here.
        a_run("uniform", "nld-overdamped", 3, 0.5, 0.1, preset="smoke"),
        a_run("uniform", "nld-overdamped", 3, 0.5, 0.1, **{"model.substeps": 2}),
    ]


def test_runs_of_one_seed_are_compared(runs):
    assert len(langevin_trade.by_weight(runs)) == 4
    lines = langevin_trade.pair_table(runs).splitlines()
    assert len(lines) == 3
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:6] == ["uniform", "nld-overdamped", "2", "1 → 2", "97.0 → 92.0", "95.0 → 90.0"]
    assert cells[6:] == ["0.300 → 0.100"] * 3


def test_standard_deviation_over_sequences(runs):
    table = langevin_trade.sequence_table(runs).splitlines()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    # Accuracies of two sequences that are two points apart: 1.4; of the two models: 93 and 95.
    assert lines[2:] == [
        ["uniform", "nld-overdamped", "1", "2", "94.0 ± 1.4", "1.4 ± 0.0", "", "", "92.6 ± 0.6", "1.6 ± 0.2"],
        ["uniform", "nld-overdamped", "2", "1", "90.0", "1.4", "89.0", "1.4", "92.6 ± 0.6", "1.6 ± 0.2"],
        ["skewed", "nld-underdamped", "2", "1", "91.0", "1.4", "90.0", "1.4", "85.3 ± 1.1", "4.2 ± 0.3"],
    ]


def test_the_picture(runs, tmp_path):
    langevin_trade.draw(runs, tmp_path / "new" / "trade.png")
    with Image.open(tmp_path / "new" / "trade.png") as image:
        assert min(image.size) > 400
    with Image.open(Path(__file__).parents[2] / "docs" / "langevin" / "trade.png") as committed:
        assert committed.size == (1210, 484)
