"""Runs to rows: what tables and pages show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import NamedTuple

import numpy as np

from bisimgym.benchmarks.measures import aggregates
from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Published, Suite


@dataclass(frozen=True)
class Row:
    """One method on one task under one preset.

    Attributes:
        runs: in order of their seeds.
        mean, interquartile_mean: of the scores.
        interval: 95 % bootstrap interval of the mean, None for a single run.
        std: over seeds, None for a single run.
        measures: mean of each further score over the runs that have it.
        published: the published numbers of this task and method, by measure ("score" is the headline). None for an
            outside agent, whatever it calls itself.
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


class Statistic(NamedTuple):
    """A number over a row's seeds, in the unit of the score: a column of tables (if ``in_tables``) and pages."""

    head: str
    value: Callable[[Row], float | None]
    in_tables: bool = True


STATISTICS = (
    Statistic("IQM", lambda row: row.interquartile_mean),
    Statistic("Std", lambda row: row.std, in_tables=False),
)


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
        interval = aggregates.stratified_bootstrap(scores, aggregates.mean, np.random.default_rng(0))
        std = stdev(run.score for run in runs)
    measures = {}
    for name in load_suite(suite).measures:
        values = [run.scores[name] for run in runs if name in run.scores]
        if values:
            measures[name] = float(np.mean(values))
    published = {
        measure: value
        for (p_task, p_method, measure), value in load_suite(suite).published.items()
        if (p_task, p_method) == (task, runs[0].spec.method) and preset != EXTERNAL
    }
    mean, middle = float(aggregates.mean(scores)), float(aggregates.interquartile_mean(scores))
    return Row(suite, task, method, preset, runs, mean, middle, interval, std, measures, published)


def number(suite: Suite, value: float, measure: str = "score") -> str:
    """Return a score, or a further measure of a suite, as text in its unit."""
    percent = None if measure == "score" else suite.measures[measure].percent
    if suite.percent if percent is None else percent:
        return f"{100 * value:.1f}"
    return f"{value:.4g}" if abs(value) >= 10 or value == round(value) else f"{value:.3f}"


def published_text(suite: Suite, published: Published, measure: str = "score") -> str:
    """Return a published number and its spread."""
    return f"{number(suite, published.score, measure)} ± {number(suite, published.spread, measure)}"


def unit(suite: Suite) -> str:
    """Return the sign of the suite's scores, "" if they have none."""
    return "%" if suite.percent else ""
