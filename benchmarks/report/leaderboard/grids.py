"""Which tasks of a grid were solved: one cell per task, placed by the columns that the suite names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bisimgym.benchmarks.report.summary import Row
from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites.base import Suite


@dataclass(frozen=True)
class Cell:
    """One task: ``solved`` and ``trained`` are fractions of the runs."""

    x: int
    y: int
    solved: float
    trained: float


@dataclass(frozen=True)
class Grid:
    """The cells of some runs for one part of the tasks, such as those of one color.

    Attributes:
        title: what it shows, such as "Median seed (2)".
        part: of the tasks, "" if there is only one.
        cells: highest y first, then by x.
        unseen: fraction of the unseen (run, task) pairs solved, None if there is none.
        runs: how many runs the cells average.
    """

    title: str
    part: str
    cells: Sequence[Cell]
    unseen: float | None
    runs: int

    @property
    def xs(self) -> range:
        return range(min(cell.x for cell in self.cells), max(cell.x for cell in self.cells) + 1)

    @property
    def ys(self) -> range:
        return range(min(cell.y for cell in self.cells), max(cell.y for cell in self.cells) + 1)


@dataclass(frozen=True)
class GridCard:
    """One method: the median seed and the mean, each per part of the tasks; then the first ``drawn`` seeds."""

    row: Row
    main: Sequence[Grid]
    seeds: Sequence[Grid]
    drawn: int = 0


def grid_cards(suite: Suite, rows: Sequence[Row], seeds: int) -> list[GridCard]:
    """Return a card for every row whose runs have outcomes on the suite's grid, with the first ``seeds`` of them."""
    if suite.grid is None:
        return []
    return [_card(row, suite.grid, seeds) for row in rows if all(_on_grid(run, suite.grid) for run in row.runs)]


def median_run(runs: Sequence[RunResult]) -> RunResult:
    """Return the run whose score is the median, the lower one of two."""
    return sorted(runs, key=lambda run: (run.score, run.spec.seed))[(len(runs) - 1) // 2]


def _card(row: Row, axes: tuple[str, str, str], seeds: int) -> GridCard:
    median = median_run(row.runs)
    if len(row.runs) == 1:
        return GridCard(row, list(_grids(f"Seed {median.spec.seed}, the only one", [median], axes)), [])
    main = [
        *_grids(f"Median seed ({median.spec.seed})", [median], axes),
        *_grids(f"Mean over {len(row.runs)} seeds", row.runs, axes),
    ]
    parts = [grid.part for grid in main]
    main.sort(key=lambda grid: parts.index(grid.part))
    drawn = row.runs[:seeds]
    return GridCard(row, main, [g for run in drawn for g in _grids(f"Seed {run.spec.seed}", [run], axes)], len(drawn))


def _grids(title: str, runs: Sequence[RunResult], axes: tuple[str, str, str]) -> Iterator[Grid]:
    """Yield one grid per part of the tasks."""
    tally: dict[str, dict[tuple[int, int], list[tuple[bool, bool]]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for x, y, part, solved, trained in zip(*_columns(run, axes), strict=True):
            tally[str(part)][x, y].append((bool(solved), bool(trained)))
    for part, tasks in tally.items():
        cells = [
            Cell(x, y, sum(s for s, _ in pairs) / len(pairs), sum(t for _, t in pairs) / len(pairs))
            for (x, y), pairs in sorted(tasks.items(), key=lambda item: (-item[0][1], item[0][0]))
        ]
        unseen = [solved for pairs in tasks.values() for solved, trained in pairs if not trained]
        share = sum(unseen) / len(unseen) if unseen else None
        yield Grid(title, part if len(tally) > 1 else "", cells, share, len(runs))


def _columns(run: RunResult, axes: tuple[str, str, str]) -> list[Any]:
    """Return the columns x, y, part, solved and trained of a run, None where there is none."""
    x, y, part = (run.outcomes.get(name) for name in axes)
    if part is None and isinstance(x, list):
        part = [""] * len(x)
    return [x, y, part, run.outcomes.get("solved"), run.outcomes.get("trained")]


def _on_grid(run: RunResult, axes: tuple[str, str, str]) -> bool:
    columns = _columns(run, axes)
    if not all(isinstance(column, list) and column and len(column) == len(columns[0]) for column in columns):
        return False
    # Axes beyond 200 are damage, not a task grid.
    return all(all(type(v) is int for v in axis) and max(axis) - min(axis) < 200 for axis in columns[:2])
