"""Which tasks of a grid were solved: one cell per task, placed by the columns that the suite names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

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
    x, y, part, solved, trained = (
        np.concatenate(columns) for columns in zip(*(_columns(run, axes) for run in runs), strict=True)
    )
    parts = part.astype(str)
    names = dict.fromkeys(parts.tolist())
    for name in names:
        here = parts == name
        first, top, width = x[here].min(), y[here].max(), int(np.ptp(x[here])) + 1
        places, at, count = np.unique(
            (top - y[here]) * width + x[here] - first, return_inverse=True, return_counts=True
        )
        columns = [first + places % width, top - places // width]
        columns += [np.bincount(at, of[here]) / count for of in (solved, trained)]
        cells = [Cell(*of) for of in zip(*(column.tolist() for column in columns), strict=True)]
        unseen = solved[here & ~trained.astype(bool)]
        share = float(unseen.mean()) if len(unseen) else None
        yield Grid(title, name if len(names) > 1 else "", cells, share, len(runs))


def rectangles(grid: Grid, axes: tuple[str, str, str], named: bool) -> Markup:
    """Return a rectangle of SVG per cell; here and not in the template, which is slower over a hundred thousand."""
    x_name, y_name = (escape(name.replace("_", " ")) for name in axes[:2])
    start, highest, runs = grid.xs[0], grid.ys[-1], grid.runs
    lines = []
    for cell in grid.cells:
        title = ""
        if named:
            solved = f"solved by {round(cell.solved * runs)} of {runs} seeds"
            if runs == 1:
                solved = "solved" if cell.solved else "not solved"
            trained = f" of {round(cell.trained * runs)}" if cell.trained < 1 else ""
            trained = f", training task{trained}" if cell.trained else ""
            title = f"<title>{x_name} {cell.x}, {y_name} {cell.y}: {solved}{trained}</title>"
        lines.append(
            f'<rect x="{cell.x - start}" y="{highest - cell.y}" fill-opacity="{cell.solved:.3g}" data-x="{cell.x}" '
            f'data-y="{cell.y}" data-solved="{cell.solved:.4g}" data-trained="{cell.trained:.4g}">{title}</rect>'
        )
    return Markup("\n".join(lines))


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
    return all(set(map(type, axis)) == {int} and max(axis) - min(axis) < 200 for axis in columns[:2])
