"""Methods over all tasks of a suite together: the statistics of Agarwal et al. (2021, NeurIPS), "rliable"."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bisimgym.benchmarks.measures import aggregates
from bisimgym.benchmarks.report.summary import ENOUGH_SEEDS, INTERVAL_SEEDS, Row
from bisimgym.benchmarks.report.tables import FEW, pipe_table
from bisimgym.benchmarks.suites.base import Suite

#: Where performance profiles are taken: normalized scores.
THRESHOLDS = np.linspace(0.0, 1.0, 51)
Interval = tuple[float, float]


@dataclass(frozen=True)
class Across:
    """A method on several tasks; scores are normalized by the suite's anchors, and intervals are 95 % bootstraps.

    Attributes:
        row: its first row.
        tasks: which.
        seeds: those that it has on all of them.
        iqm: interquartile mean; 1 is the optimum.
        gap: optimality gap; 0 is the optimum.
        beaten: by each method of the table, how often a run of it beats one of this on the same task, ties counting
            half, with its interval; None for the method itself.
        profile: ``float[K]``, the share of runs above each of :data:`THRESHOLDS`, and its interval, ``float[K]`` each.
    """

    row: Row
    tasks: Sequence[str]
    seeds: Sequence[int]
    iqm: float
    iqm_interval: Interval
    gap: float
    gap_interval: Interval
    beaten: Sequence[tuple[float, Interval] | None]
    profile: np.ndarray
    profile_interval: tuple[np.ndarray, np.ndarray]

    @property
    def few(self) -> bool:
        """Whether its seeds are single observations."""
        return len(self.seeds) < ENOUGH_SEEDS


def normalized(suite: Suite, task: str, scores: Sequence[float]) -> np.ndarray:
    """Return scores on the scale on which the suite's anchors of a task are 0 and 1."""
    nothing, optimum = suite.anchors(task)
    return (np.asarray(scores, dtype=float) - nothing) / (optimum - nothing)


def across_tasks(suite: Suite, rows: Collection[Row]) -> list[Across]:
    """Return the methods of one table that were run on all of its tasks, the highest interquartile mean first.

    A method counts with three seeds or more, those that it has on all of the tasks. The tasks are those with which the
    table is largest, methods times tasks; there must be two of both, else nothing is returned.
    """
    cells = {(row.method, row.outside, row.task): row for row in rows if len(row.runs) >= INTERVAL_SEEDS}
    methods = dict.fromkeys(key[:2] for key in cells)
    shared = dict.fromkeys(
        tuple(task for task in suite.tasks if all((*method, task) in cells for method in pair))
        for pair in itertools.combinations(methods, 2)
    )
    tables = [(list(tasks), _complete(suite, cells, list(methods), tasks)) for tasks in shared if len(tasks) > 1]
    tasks, found = max(tables, key=lambda table: len(table[0]) * len(table[1]), default=([], []))
    if len(found) < 2:
        return []
    found.sort(key=lambda one: (-float(aggregates.interquartile_mean(one[2])), one[0].method, one[0].outside))
    wins = _wins([(seeds, scores) for _, seeds, scores in found])
    return [
        _across(row, tasks, seeds, scores, [of[number] for of in wins])
        for number, (row, seeds, scores) in enumerate(found)
    ]


def _complete(
    suite: Suite,
    cells: Mapping[tuple[str, bool, str], Row],
    methods: Sequence[tuple[str, bool]],
    tasks: Sequence[str],
) -> list[tuple[Row, list[int], np.ndarray]]:
    """Return the methods with enough seeds on all of the tasks: first rows, seeds and ``float[seeds, tasks]``."""
    found = []
    for method in methods:
        own = [cells[*method, task] for task in tasks if (*method, task) in cells]
        by_seed = [{run.spec.seed: run.score for run in row.runs} for row in own]
        seeds = sorted(set.intersection(*map(set, by_seed))) if len(own) == len(tasks) else []
        if len(seeds) >= INTERVAL_SEEDS:
            columns = [
                normalized(suite, task, [of[seed] for seed in seeds]) for task, of in zip(tasks, by_seed, strict=True)
            ]
            found.append((own[0], seeds, np.stack(columns, axis=1)))
    return found


def _wins(found: Sequence[tuple[Sequence[int], np.ndarray]]) -> list[list[tuple[float, Interval] | None]]:
    """Return how often each method beats each other, and the interval of that; equal seeds are paired."""
    wins: list[list[tuple[float, Interval] | None]] = [[None] * len(found) for _ in found]
    for i, (seeds, scores) in enumerate(found):
        for j, (other_seeds, others) in list(enumerate(found))[i + 1 :]:
            share = float(aggregates.improvement_probability(scores, others))
            low, high = aggregates.improvement_interval(scores, others, paired=seeds == other_seeds)
            wins[i][j], wins[j][i] = (share, (low, high)), (1 - share, (1 - high, 1 - low))
    return wins


def _across(
    row: Row,
    tasks: Sequence[str],
    seeds: Sequence[int],
    scores: np.ndarray,
    beaten: Sequence[tuple[float, Interval] | None],
) -> Across:
    def profile(of: np.ndarray) -> np.ndarray:
        return aggregates.performance_profile(of, THRESHOLDS)

    return Across(
        row,
        tasks,
        seeds,
        float(aggregates.interquartile_mean(scores)),
        _ends(aggregates.bootstrap_interval(aggregates.interquartile_mean, scores)),
        float(aggregates.optimality_gap(scores)),
        _ends(aggregates.bootstrap_interval(aggregates.optimality_gap, scores)),
        beaten,
        profile(scores),
        aggregates.bootstrap_interval(profile, scores),
    )


def _ends(interval: tuple[np.ndarray, np.ndarray]) -> Interval:
    return float(interval[0]), float(interval[1])


#: Heads of a table of :class:`Across`.
HEADS = ("method", "seeds", "interquartile mean [95 %]", "optimality gap [95 %]", "beaten by the first [95 %]")


def texts(entry: Across) -> list[str]:
    """Return a method's cells under :data:`HEADS`."""

    def cell(value: float, interval: Interval) -> str:
        return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"

    return [
        entry.row.method,
        f"{len(entry.seeds)}{'*' if entry.few else ''}",
        cell(entry.iqm, entry.iqm_interval),
        cell(entry.gap, entry.gap_interval),
        "" if entry.beaten[0] is None else cell(*entry.beaten[0]),
    ]


def told_apart(beaten: tuple[float, Interval]) -> bool:
    """Return whether the interval of how often one method beats another leaves out one half."""
    low, high = beaten[1]
    return low > 0.5 or high < 0.5


def markdown(suite: Suite, rows: Sequence[Row]) -> str:
    """Return a Markdown table for every preset that has one, "" for none."""
    parts = []
    for preset in suite.presets:
        entries = across_tasks(suite, [row for row in rows if row.preset == preset])
        if entries:
            table = pipe_table(HEADS, [texts(entry) for entry in entries])
            few = f"\\{FEW}\n" if any(entry.few for entry in entries) else ""
            parts.append(f"**{', '.join(entries[0].tasks)}; {preset}**\n\n{table}{few}")
    return "\n".join(parts)
