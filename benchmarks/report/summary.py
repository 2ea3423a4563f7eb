"""Runs to rows: what tables and pages show."""

from __future__ import annotations

import statistics as _statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bisimgym.benchmarks.measures import aggregates as statistics
from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import Published, Suite


@dataclass(frozen=True)
class Row:
    """One method on one task under one preset.

    Attributes:
        runs: in order of their seeds.
        mean, interquartile_mean: of the scores.
        interval: 95 % bootstrap interval of the mean, None for a single run.
        std: over seeds, None for a single run.
        measures: mean of each further score over the runs that have it.
        published: the published numbers of this task and method, by measure ("score" is the headline).
    """

    suite: str
    task: str
    method: str
    preset: str
    runs: Sequence[RunResult]
    mean: float
    interquartile_mean: float
    interval: tuple[float, float] | None
    std: float | None
    measures: Mapping[str, float]
    published: Mapping[str, Published]


def summarize(runs: Sequence[RunResult]) -> list[Row]:
    """Return one row per (suite, task, method, preset): in the suite's order of tasks, best score first."""
    groups: dict[tuple[str, str, str, str], list[RunResult]] = defaultdict(list)
    for run in runs:
        groups[run.spec.suite, run.spec.task, run.spec.method_folder, run.spec.preset].append(run)
    rows = [_row(key, sorted(group, key=lambda run: run.spec.seed)) for key, group in groups.items()]

    def order(row: Row) -> tuple:
        suite = load_suite(row.suite)
        return row.suite, list(suite.tasks).index(row.task), row.mean * (1 if suite.lower_is_better else -1), row.method

    return sorted(rows, key=order)


def _row(key: tuple[str, str, str, str], runs: list[RunResult]) -> Row:
    suite, task, method, preset = key
    scores = np.array([[run.score] for run in runs])
    interval = std = None
    if len(runs) > 1:
        interval = statistics.stratified_bootstrap(scores, statistics.mean, np.random.default_rng(0))
        std = _statistics.stdev(run.score for run in runs)
    measures = {}
    for name in load_suite(suite).measures:
        values = [run.scores[name] for run in runs if name in run.scores]
        if values:
            measures[name] = float(np.mean(values))
    published = {
        measure: value
        for (p_task, p_method, measure), value in load_suite(suite).published.items()
        if (p_task, p_method) == (task, runs[0].spec.method)
    }
    return Row(
        suite,
        task,
        method,
        preset,
        runs,
        float(statistics.mean(scores)),
        float(statistics.interquartile_mean(scores)),
        interval,
        std,
        measures,
        published,
    )


def number(suite: Suite, value: float, measure: str = "score") -> str:
    """Return a score, or a further measure of a suite, as text in its unit."""
    percent = None if measure == "score" else suite.measures[measure].percent
    if suite.percent if percent is None else percent:
        return f"{100 * value:.1f}"
    return f"{value:.4g}" if abs(value) >= 10 or value == round(value) else f"{value:.3f}"


def unit(suite: Suite) -> str:
    return "%" if suite.percent else ""
