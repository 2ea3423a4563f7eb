"""Tables in Markdown."""

import re

import numpy as np
import pytest

from bisimgym.benchmarks.measures.aggregates import interquartile_mean, mean, stratified_bootstrap
from bisimgym.benchmarks.report import tables
from bisimgym.benchmarks.report.summary import summarize
from bisimgym.benchmarks.running.run_folder import RunFolder, find_runs
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Outcome, Spec, make_spec
from bisimgym.benchmarks.suites.markov.suite import TEST_SEQUENCES

SUITE = load_suite("markov")


def rows(out, *runs):
    """Rows of finished runs ``(spec, accuracy, measures)``."""
    for spec, accuracy, measures in runs:
        folder = RunFolder(out, spec)
        folder.path.mkdir(parents=True)
        folder.start({})
        outcomes = {"accuracy": [accuracy] * TEST_SEQUENCES}
        folder.finish(Outcome(accuracy, measures, outcomes), False, {})
    return summarize(find_runs([out]))


def spec(method, seed, task="uniform", **variant):
    return make_spec(SUITE, task, method, "short", seed, variant)


def lines_of(text):
    return [re.split(r" *\| *", line)[1:-1] for line in text.splitlines() if line.startswith("|")]


def test_measures_stand_side_by_side(tmp_path):
    found = rows(
        tmp_path,
        (spec("nld-underdamped", 1), 0.9, {"l1_order2": 0.1, "wells": 3.0}),
        (spec("nld-underdamped", 2), 0.8, {"l1_order2": 0.3, "wells": 3.0}),
        (spec("nld-overdamped", 1), 0.7, {"l1_order2": 0.2, "failed": 1.0}),
        (spec("nld-overdamped", 1, **{"model.substeps": 2}), 0.6, {"l1_order2": 0.05}),
        (spec("k-means", 1), 0.5, {"l1_encoded": 0.1}),  # a reference does not train
        (Spec("markov", SUITE.version, "uniform", "nsde", EXTERNAL, 1, {}, {}), 0.5, {"l1_encoded": 0.1}),
    )
    text = tables.measures_table(found)
    assert "**uniform, short**" in text
    assert lines_of(text) == [
        ["measure", "nld-overdamped (1)", "nld-overdamped@model.substeps=2 (1)", "nld-underdamped (2)"],
        ["---", "---:", "---:", "---:"],
        ["wells", "", "", "3 ± 0"],
        ["failed", "100.0", "", ""],
        [
            "l1 order2",
            "0.200 (paper: 0.040 ± 0.013)",
            "0.050",
            f"0.200 ± {np.std([0.1, 0.3], ddof=1):.3f} (paper: 0.021 ± 0.004)",
        ],
    ]


def test_tasks_have_tables_of_their_own(tmp_path):
    found = rows(
        tmp_path,
        (spec("nsde", 1, "skewed"), 0.9, {"wells": 3.0}),
        (spec("nsde", 1, "uniform"), 0.8, {"wells": 2.0}),
    )
    assert re.findall(r"\*\*(.*)\*\*", tables.measures_table(found)) == ["uniform, short", "skewed, short"]


def test_intervals_are_of_the_mean_over_seeds(tmp_path):
    values = [0.1, 0.2, 0.3, 0.4, 0.95]  # skewed: the interquartile mean is another number
    (row,) = rows(tmp_path, *((spec("nsde", i + 1), value, {}) for i, value in enumerate(values)))
    scores = np.array(values)[:, None]
    assert row.mean == pytest.approx(np.mean(values))
    assert row.interquartile_mean == pytest.approx(0.3)
    assert row.interval == stratified_bootstrap(scores, mean, np.random.default_rng(0))
    assert row.interval != stratified_bootstrap(scores, interquartile_mean, np.random.default_rng(0))
