"""Runs to rows: what tables and pages show."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from bisimgym.benchmarks.measures.aggregates import mean_interval
from bisimgym.benchmarks.running.reproducing import is_reproduced
from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites import SUITES, load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Published, Suite

#: Rows of fewer seeds are marked: they are single observations.
ENOUGH_SEEDS = 5
#: Rows of fewer seeds have no interval: docs/statistics.md shows how seldom that of two would hold the mean.
INTERVAL_SEEDS = 3


@dataclass(frozen=True)
class Row:
    """One method on one task under one preset.

    Attributes:
        runs: in order of their seeds.
        mean: of the scores.
        interval: 95 % interval of the mean over seeds, None for fewer than ``INTERVAL_SEEDS``, a point if all are
            equal.
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
    interval: tuple[float, float] | None
    std: float | None
    measures: Mapping[str, float]
    published: Mapping[str, Published]

    @property
    def outside(self) -> bool:
        """Whether it is an outside agent's."""
        return self.preset == EXTERNAL

    @property
    def badge(self) -> str:
        """Who made an outside agent's numbers: "re-run" if others than its authors came to all of them again."""
        if not self.outside:
            return ""
        return "re-run" if all(is_reproduced(run) for run in self.runs) else "self-reported"

    @property
    def few(self) -> bool:
        """Whether its seeds are single observations."""
        return len(self.runs) < ENOUGH_SEEDS


def summarize(runs: Sequence[RunResult]) -> list[Row]:
    """Return one row per (suite, task, method, preset): suites and tasks in their order, best score first."""
    groups: dict[tuple[str, str, str, str], list[RunResult]] = defaultdict(list)
    for run in runs:
        groups[run.spec.suite, run.spec.task, run.spec.method_folder, run.spec.preset].append(run)
    rows = [_row(key, sorted(group, key=lambda run: run.spec.seed)) for key, group in groups.items()]

    def order(row: Row) -> tuple:
        suite = load_suite(row.suite)
        places = list(SUITES).index(row.suite), list(suite.tasks).index(row.task)
        return *places, row.mean * (1 if suite.lower_is_better else -1), row.method, row.outside

    return sorted(rows, key=order)


def _row(key: tuple[str, str, str, str], runs: list[RunResult]) -> Row:
    suite, task, method, preset = key
    scores = [run.score for run in runs]
    interval = None
    if len(runs) >= INTERVAL_SEEDS:
        low, high = mean_interval(scores, load_suite(suite).bounds)
        interval = float(low), float(high)
    std = stdev(scores) if len(runs) > 1 else None
    measures = {}
    for name in load_suite(suite).measures:
        values = [run.scores[name] for run in runs if name in run.scores]
        if values:
            measures[name] = fmean(values)
    published = {
        measure: value
        for (p_task, p_method, measure), value in load_suite(suite).published.items()
        if (p_task, p_method) == (task, runs[0].spec.method) and preset != EXTERNAL
    }
    return Row(suite, task, method, preset, runs, fmean(scores), interval, std, measures, published)


def not_told_apart(suite: Suite, rows: Collection[Row]) -> list[Row]:
    """Return the rows of one table that cannot be told from the best: their intervals overlap that of the best mean.

    Rows without an interval are not compared, and a single row is compared with nothing.
    """
    compared = [(row, row.interval) for row in rows if row.interval is not None]
    if len(compared) < 2:
        return []
    _, best = (min if suite.lower_is_better else max)(compared, key=lambda pair: pair[0].mean)
    return [row for row, interval in compared if interval[0] <= best[1] and best[0] <= interval[1]]


def interval_text(suite: Suite, row: Row, dash: str = ", ") -> str:
    """Return both ends of a row's interval, "" if it has none. Where all seeds are equal, no interval can be told."""
    if row.interval is None:
        return ""
    if not row.std:
        return "all equal"
    return dash.join(number(suite, end) for end in row.interval)


def number(suite: Suite, value: float, measure: str = "score") -> str:
    """Return a score, or a further measure of a suite, as text in its unit."""
    percent = None if measure == "score" else suite.measures[measure].percent
    if suite.percent if percent is None else percent:
        return f"{100 * value:.1f}"
    return f"{value:.4g}" if abs(value) >= 10 or value == round(value) else f"{value:.3f}"


def published_text(suite: Suite, published: Published, measure: str = "score") -> str:
    """Return a published number and its spread, if it has one."""
    text = number(suite, published.score, measure)
    return text if math.isnan(published.spread) else f"{text} ± {number(suite, published.spread, measure)}"


def unit(suite: Suite) -> str:
    """Return the sign of the suite's scores, "" if they have none."""
    return "%" if suite.percent else ""
