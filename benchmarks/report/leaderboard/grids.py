"""Which tasks of a grid were solved: one cell per (obstacle position, floor height)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bisimgym.benchmarks.report.summary import Row
from bisimgym.benchmarks.running.run_folder import RunResult

_COLUMNS = ("obstacle_position", "floor_height", "solved", "trained")
# Axes beyond this are damage, not a task grid.
_LARGEST = 200


@dataclass(frozen=True)
class Cell:
    """One task: ``solved`` and ``trained`` are fractions of the runs."""

    position: int
    floor: int
    solved: float
    trained: float


@dataclass(frozen=True)
class Grid:
    """The cells of some runs for one color.

    Attributes:
        title: what it shows, such as "Median seed (2)".
        color: of the obstacles, "" if there is only one.
        cells: highest floor first, then by position.
        unseen: fraction of the unseen (run, task) pairs solved, None if there is none.
        runs: how many runs the cells average.
    """

    title: str
    color: str
    cells: Sequence[Cell]
    unseen: float | None
    runs: int

    @property
    def positions(self) -> range:
        return range(min(c.position for c in self.cells), max(c.position for c in self.cells) + 1)

    @property
    def floors(self) -> range:
        return range(min(c.floor for c in self.cells), max(c.floor for c in self.cells) + 1)


@dataclass(frozen=True)
class GridCard:
    """One method: the median seed and the mean, each per color; then every single seed."""

    row: Row
    main: Sequence[Grid]
    seeds: Sequence[Grid]


def grid_cards(rows: Sequence[Row]) -> list[GridCard]:
    """Return a card for every row whose runs have outcomes on a grid."""
    return [_card(row) for row in rows if all(_on_grid(run) for run in row.runs)]


def median_run(runs: Sequence[RunResult]) -> RunResult:
    """Return the run whose score is the median, the lower one of two."""
    return sorted(runs, key=lambda run: (run.score, run.spec.seed))[(len(runs) - 1) // 2]


def _card(row: Row) -> GridCard:
    median = median_run(row.runs)
    if len(row.runs) == 1:
        return GridCard(row, list(_grids(f"Seed {median.spec.seed}, the only one", [median])), [])
    main = [
        *_grids(f"Median seed ({median.spec.seed})", [median]),
        *_grids(f"Mean over {len(row.runs)} seeds", row.runs),
    ]
    colors = [grid.color for grid in main]
    main.sort(key=lambda grid: colors.index(grid.color))
    seeds = [grid for run in row.runs for grid in _grids(f"Seed {run.spec.seed}", [run])]
    return GridCard(row, main, seeds)


def _grids(title: str, runs: Sequence[RunResult]) -> Iterator[Grid]:
    """Yield one grid per color."""
    tally: dict[str, dict[tuple[int, int], list[tuple[bool, bool]]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        columns = [run.outcomes[name] for name in _COLUMNS]
        colors = run.outcomes.get("color") or [""] * len(columns[0])
        for position, floor, solved, trained, color in zip(*columns, colors, strict=True):
            tally[str(color)][position, floor].append((bool(solved), bool(trained)))
    for color, tasks in tally.items():
        cells = [
            Cell(p, f, sum(s for s, _ in pairs) / len(pairs), sum(t for _, t in pairs) / len(pairs))
            for (p, f), pairs in sorted(tasks.items(), key=lambda item: (-item[0][1], item[0][0]))
        ]
        unseen = [solved for pairs in tasks.values() for solved, trained in pairs if not trained]
        yield Grid(
            title,
            color if len(tally) > 1 else "",
            cells,
            sum(unseen) / len(unseen) if unseen else None,
            len(runs),
        )


def _on_grid(run: RunResult) -> bool:
    columns: list[Any] = [run.outcomes.get(name) for name in _COLUMNS]
    columns.append(run.outcomes.get("color", columns[0]))
    if not all(isinstance(column, list) and column and len(column) == len(columns[0]) for column in columns):
        return False
    return all(_axis(column) for column in columns[:2])


def _axis(column: list[Any]) -> bool:
    return all(type(value) is int for value in column) and max(column) - min(column) < _LARGEST
