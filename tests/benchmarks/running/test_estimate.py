"""What a plan would take, and the bound above which it wants a yes."""

import math

import pytest

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.running import estimate, runner
from bisimgym.benchmarks.running.run_folder import COMMITTED
from bisimgym.benchmarks.suites import load_suite

SUITE = load_suite("jumping")


def plan(tasks=("wide",), methods=("pse",), seeds=(1, 2, 3), preset="short"):
    return runner.plan(SUITE, tasks, methods, seeds, preset, {})


def test_a_run_takes_the_median_of_those_most_like_it():
    times = {
        ("wide", "pse", "short"): [10, 90, 20],
        (None, "pse", "short"): [30],
        ("wide", None, "short"): [40, 60],
        (None, None, "short"): [70],
    }
    seconds = [
        estimate.seconds_of(plan([task], [method])[0], times)
        for task, method in [("wide", "pse"), ("narrow", "pse"), ("wide", "dropout-l2"), ("narrow", "dropout-l2")]
    ]
    assert seconds == [20, 30, 50, 70]
    assert math.isnan(estimate.seconds_of(plan(preset="paper")[0], times))


def test_times_are_those_of_the_committed_runs():
    times = estimate.committed_times("jumping")
    files = list((COMMITTED / "jumping/wide/randconv-pse/short").glob("*/result.json"))
    assert files
    same_kind = (COMMITTED / "jumping/wide").glob("randconv-pse*/short/*/result.json")
    assert len(times["wide", "randconv-pse", "short"]) == len(list(same_kind))  # variants take as long
    assert all(seconds > 1 for seconds in times["wide", "randconv-pse", "short"])


def test_runs_go_side_by_side_and_finished_ones_take_no_time(tmp_path, fake_run):
    times = {("wide", "pse", "short"): [600.0]}
    assert estimate.Estimate(plan(), tmp_path, times, jobs=1).seconds == 1800
    two = estimate.Estimate(plan(), tmp_path, times, jobs=2)
    assert two.seconds == 900
    assert str(two) == "3 runs, about 15 min 2 side by side, judged by committed runs"
    assert estimate.Estimate(plan(), tmp_path, times, jobs=3).seconds == 600
    assert estimate.Estimate(plan(seeds=[1]), tmp_path, times, jobs=3).seconds == 600
    fake_run(tmp_path, seed=2, preset="short")
    left = estimate.Estimate(plan(), tmp_path, times, jobs=1)
    assert left.seconds == 1200
    assert str(left).startswith("2 runs (1 more are finished), about 20 min one after the other")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (45, "45 s"), (89, "1 min"), (3600, "1 h"), (7500, "2 h 5 min"), (273600, "3 days 4 h")],
)
def test_durations(seconds, text):
    assert estimate.duration(seconds) == text


class TestCommand:
    def test_defaults_that_start_very_many_runs_want_a_yes(self, tmp_path, error_of):
        line = error_of("run", "noisy-states", "--out", tmp_path / "runs")
        suite = load_suite("noisy-states")
        count = len(suite.tasks) * len(suite.methods) * 5
        assert line.startswith(f"error: this is {count} runs, about ")
        assert "more than 50 runs or 2 h; start it with --yes" in line
        assert not (tmp_path / "runs").exists()

    def test_few_runs_that_take_long_want_one_too(self, tmp_path, error_of):
        few = ["run", "noisy-states", "--task", "cartpole-swingup-noise", "--method", "self-prediction"]
        assert "5 runs, about" in error_of(*few, "--preset", "paper", "--jobs", "1", "--out", tmp_path)

    def test_yes_and_plans_below_the_bound_start(self, tmp_path, monkeypatch):
        started = []

        def start(out, specs, *_, **__):
            started.append(len(specs))
            return [], []

        monkeypatch.setattr("bisimgym.benchmarks.running.bars.run_with_bars", start)
        assert main(["run", "markov", "--seeds", "10", "--yes", "--out", str(tmp_path)]) == 0
        assert main(["run", "markov", "--seeds", "2", "--out", str(tmp_path)]) == 0
        methods, tasks = len(load_suite("markov").methods), len(load_suite("markov").tasks)
        assert started == [methods * tasks * 10, methods * tasks * 2]

    def test_a_dry_run_shows_the_plan_and_writes_nothing(self, tmp_path, capsys):
        arguments = ["run", "jumping", "--task", "wide", "--method", "pse", "--seed", "7", "--seed", "9", "--dry-run"]
        assert main([*arguments, "--jobs", "1", "--out", str(tmp_path / "runs")]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].split()[:5] == ["wide", "pse", "7,", "9", "2"]
        assert lines[2].startswith("2 runs, about ")
        assert max(map(len, lines)) <= 80
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize("suite", ["jumping", "lqr", "markov"])
    def test_every_suite_has_an_estimate_of_its_standard_preset(self, suite, tmp_path):
        chosen = load_suite(suite)
        specs = runner.plan(chosen, [], [], [1], "short", {})
        assert estimate.Estimate(specs, tmp_path, estimate.committed_times(suite), 1).unknown == 0

    def test_only_chosen_seeds_are_run_and_the_page_is_built(self, tmp_path, capsys, smoke, fake_run):
        arguments = [*smoke[:-6], "--jobs", "1", "--threads", "1", "--method", "dropout-l2"]
        out, site = tmp_path / "runs", tmp_path / "site"
        fake_run(out, "dropout-l2", seed=6)
        assert main([*arguments, "--seed", "6", "--out", str(out), "--site", str(site)]) == 0
        printed = capsys.readouterr().out
        assert [path.name for path in out.glob("jumping/wide/dropout-l2/smoke/*")] == ["seed-6"]
        assert (site / "index.html").is_file()
        assert "index.html" in printed
        assert "Build the page" not in printed
