"""Methods over all tasks of a suite: which count, on which scale, and what is marked."""

import numpy as np
import pytest

from bisimgym.benchmarks.report import across
from bisimgym.benchmarks.report.across import across_tasks, normalized
from bisimgym.benchmarks.report.leaderboard import charts
from bisimgym.benchmarks.report.summary import summarize
from bisimgym.benchmarks.suites import SUITES, load_suite

SUITE = load_suite("jumping")


@pytest.fixture
def rows(fake_run, tmp_path):
    """Two methods on two tasks, three and five seeds; a third one on one task; a task of a single seed."""
    runs = [
        fake_run(tmp_path, method, task=task, seed=seed, solved=solved)
        for method, solved, seeds in (("pse", 0.9, 5), ("dropout-l2", 0.2, 3))
        for task in ("wide", "narrow")
        for seed in range(1, seeds + 1)
    ]
    runs += [fake_run(tmp_path, "randconv", seed=seed, solved=1.0) for seed in (1, 2, 3)]
    runs.append(fake_run(tmp_path, "pse", task="random", solved=0.1))
    return summarize(runs)


def test_the_methods_of_all_tasks_are_compared(rows):
    first, second = across_tasks(SUITE, rows)
    assert (first.row.method, second.row.method) == ("pse", "dropout-l2")
    assert first.tasks == ["wide", "narrow"]
    assert (first.seeds, second.seeds) == ([1, 2, 3, 4, 5], [1, 2, 3])
    assert not first.few
    assert second.few
    assert first.iqm == pytest.approx(0.9, abs=0.03)
    assert first.iqm_interval[0] <= first.iqm <= first.iqm_interval[1]
    assert second.gap == pytest.approx(0.8, abs=0.03)
    assert first.beaten == [None, (0.0, (0.0, 0.0))]
    assert second.beaten == [(1.0, (1.0, 1.0)), None]
    assert across.told_apart(second.beaten[0])
    assert first.profile[0] == 1
    assert first.profile[-1] == 0
    assert across.texts(second)[1] == "3*"


def test_tasks_are_those_of_the_largest_table(fake_run, tmp_path):
    where = {"pse": "wide narrow random", "dropout-l2": "wide narrow random", "randconv": "wide narrow"}
    where |= {"randconv-pse": "wide narrow", "randconv-bisim": "colors"}
    runs = [
        fake_run(tmp_path, method, task=task, seed=seed)
        for method, tasks in where.items()
        for task in tasks.split()
        for seed in (1, 2, 3)
    ]
    found = across_tasks(SUITE, summarize(runs))
    assert {entry.row.method for entry in found} == {
        "pse",
        "dropout-l2",
        "randconv",
        "randconv-pse",
    }  # 4 x 2, not 2 x 3
    assert found[0].tasks == ["wide", "narrow"]
    fewer = [run for run in runs if run.spec.method != "randconv-pse" and run.spec.method != "randconv"]
    assert across_tasks(SUITE, summarize(fewer))[0].tasks == ["wide", "narrow", "random"]


def test_without_two_such_tasks_or_methods_there_is_nothing(rows):
    assert across_tasks(SUITE, [row for row in rows if row.task == "wide"]) == []
    assert across_tasks(SUITE, [row for row in rows if row.method == "pse"]) == []
    assert across.markdown(SUITE, []) == ""


def test_tables_and_charts_show_it(rows):
    text = across.markdown(SUITE, rows)
    assert text.startswith("**wide, narrow; smoke**")
    assert "fewer than 5 seeds" in text
    chart = charts.profiles(across_tasks(SUITE, rows))
    assert len(chart.series) == 2
    assert chart.series[0].lines[0].startswith(f"{charts.LEFT},{charts.TOP}")


@pytest.mark.parametrize("name", SUITES)
def test_anchors_are_what_a_blind_agent_and_the_best_come_to(name):
    suite = load_suite(name)
    for task in suite.tasks:
        nothing, optimum = suite.anchors(task)
        assert (nothing > optimum) == suite.lower_is_better
        np.testing.assert_allclose(normalized(suite, task, [nothing, optimum]), [0, 1])


def test_anchors_of_lqr_are_the_costs_of_committed_references():
    suite = load_suite("lqr")
    assert suite.anchors("500") == pytest.approx((28.156507958104864, 0.0))
