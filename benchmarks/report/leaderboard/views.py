"""Rows to what a page shows: texts, lengths of bars, order. The templates only lay it out."""

from __future__ import annotations

import json
import math
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.report.summary import Row, interval_text, not_told_apart, number, published_text
from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites.base import EXTERNAL, Suite

#: What the badges of outside agents mean.
BADGES = {
    "self-reported": "numbers of the agent's authors, checked against its episodes",
    "re-run": "scored again by the keepers of this leaderboard, with the same numbers",
}


@dataclass(frozen=True)
class Limits:
    """How much a page shows, the best first. All is in the data to download.

    Attributes:
        rows: of a table.
        drawn_rows: of them, that are drawn as curves and grids.
        runs: single runs of a method's page.
        drawn_seeds: of a row, whose grids are drawn.
    """

    rows: int = 200
    drawn_rows: int = 8
    runs: int = 500
    drawn_seeds: int = 5


@dataclass(frozen=True)
class Bar:
    """Places on a bar in percent of its length; ``interval`` and ``published`` may be missing."""

    score: float
    interval: tuple[float, float] | None
    published: float | None


@dataclass(frozen=True)
class Note:
    """A line below a score: our number, the published one, or both."""

    label: str
    ours: str
    published: str
    source: str


@dataclass(frozen=True)
class Cell:
    """A method's score on a task. ``best`` marks those of the table's column that cannot be told from the best."""

    row: Row
    interval: str
    bar: Bar
    notes: Sequence[Note]
    best: bool


@dataclass(frozen=True)
class Line:
    """A method in the overview: one cell per task, None where it was not run."""

    row: Row
    cells: Sequence[Cell | None]


@dataclass(frozen=True)
class Section:
    """The table of one preset, so that presets are never mixed; outside agents stand in one of the tables too."""

    preset: str
    title: str
    description: str
    tasks: Sequence[str]
    lines: Sequence[Line]
    rows: Sequence[Row]


def sections(suite: Suite, rows: Sequence[Row]) -> list[Section]:
    """Return one section per preset, the longest training first.

    Outside agents, which have no preset, stand in the section that has the most rows of ours.
    """
    known = [*reversed(list(suite.presets))]
    ours: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not row.outside:
            ours[row.preset].append(row)
    presets = sorted(ours, key=lambda preset: (known.index(preset) if preset in known else len(known), preset))
    home = max(presets, key=lambda preset: len(ours[preset]), default=EXTERNAL)
    if any(row.outside for row in rows) and home == EXTERNAL:
        presets = [EXTERNAL]
    return [
        _section(suite, preset, [row for row in rows if row.preset == preset or (row.outside and preset == home)])
        for preset in presets
    ]


def _section(suite: Suite, preset: str, rows: Sequence[Row]) -> Section:
    tasks = [task for task in suite.tasks if any(row.task == task for row in rows)]
    cells = {(*_line(cell.row), cell.row.task): cell for task in tasks for cell in task_cells(suite, rows, task)}
    first = {_line(row): row for row in reversed(rows)}
    lines = [Line(row, [cells.get((*key, task)) for task in tasks]) for key, row in first.items()]

    def order(line: Line) -> tuple:
        sign = 1 if suite.lower_is_better else -1
        return *((cell is None, sign * cell.row.mean if cell else 0.0) for cell in line.cells), _line(line.row)

    if preset == EXTERNAL:
        title, description = "Outside agents", "Trained elsewhere, scored here with `bisimgym evaluate`"
    else:
        title = f"Preset {preset}"
        description = suite.presets[preset].description if preset in suite.presets else ""
    return Section(preset, title, description, tasks, sorted(lines, key=order), rows)


def _line(row: Row) -> tuple[str, bool]:
    """Return whose line of a table a row is in: an outside agent may have the name of a method."""
    return row.method, row.outside


def task_cells(suite: Suite, rows: Sequence[Row], task: str) -> list[Cell]:
    """Return the cells of one task and table in the order of the rows."""
    rows = [row for row in rows if row.task == task]
    longest = 1.0 if suite.percent else max(abs(edge) for row in rows for edge in (row.mean, *(row.interval or ())))
    best = not_told_apart(suite, rows)
    return [_cell(suite, row, longest or 1.0, row in best) for row in rows]


def _cell(suite: Suite, row: Row, longest: float, best: bool) -> Cell:
    def along(value: float) -> float:
        return round(min(max(100 * value / longest, 0.0), 100.0), 2)

    bar = Bar(
        along(row.mean),
        row.interval and (along(row.interval[0]), along(row.interval[1])),
        along(row.published["score"].score) if "score" in row.published else None,
    )
    dash = " to " if row.interval and row.interval[0] < 0 else "–"  # no dash beside a minus
    return Cell(row, interval_text(suite, row, dash), bar, _notes(suite, row), best)


def _notes(suite: Suite, row: Row) -> list[Note]:
    notes = []
    for name in ("score", *suite.measures):
        published = row.published.get(name)
        if name == "score":
            label, ours = "paper (standard settings)" if row.runs[0].spec.variant else "paper", ""
        elif name in row.measures:
            label, ours = suite.measures[name].title, number(suite, row.measures[name], name)
        else:
            continue
        if published is not None:
            text = published_text(suite, published, name)
            notes.append(Note(label, ours, text, f"{published.spread_name}; {published.source}"))
        elif name == suite.published_measure:
            notes.append(Note(label, ours, "", ""))
    return notes


def first_with_pictures(rows: Iterable[Row], pictures: Mapping[Path, Any]) -> list[tuple[Row, RunResult]]:
    """Return the rows that have runs with pictures, each with the first of these runs by seed."""
    drawn = [(row, [run for run in row.runs if run.path in pictures]) for row in rows]
    return [(row, min(runs, key=lambda run: run.spec.seed)) for row, runs in drawn if runs]


def replays(rows: Iterable[Row]) -> list[tuple[Row, RunResult, Mapping[str, Any]]]:
    """Return the rows that have runs with a replay, each with the first of these runs by seed and its replay."""
    found = []
    for row in rows:
        told = ((run, run.replay) for run in sorted(row.runs, key=lambda run: run.spec.seed))
        if (first := next(((run, replay) for run, replay in told if replay is not None), None)) is not None:
            found.append((row, *first))
    return found


def sources(rows: Iterable[Row]) -> list[str]:
    """Return where the published numbers of rows come from and what their spreads are, each once."""
    every = [published for row in rows for published in row.published.values()]
    spreads = (p.spread_name if math.isnan(p.spread) else f"± is the {p.spread_name}" for p in every)
    return list(dict.fromkeys(f"{p.source}; {spread}" for p, spread in zip(every, spreads, strict=True)))


def description_of(suite: Suite, runs: Iterable[RunResult]) -> str:
    """Return what a method is: from its suite, else from what its author wrote in run.json."""
    for run in runs:
        if run.spec.preset != EXTERNAL and run.spec.method in suite.methods:
            return suite.methods[run.spec.method].description
        if isinstance(written := run.run.get("description"), str) and written.strip():
            return written.strip()
    return "Outside agent"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings as text by dotted key."""
    texts: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            texts |= flat(value, f"{prefix}{key}.")
        else:
            texts[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return texts


def setting_columns(runs: Sequence[RunResult]) -> tuple[list[tuple[str, list[str | None]]], list[str]]:
    """Return the settings of runs as a table: lines of (key, one value per column), and the columns' heads.

    Runs with the same settings share a column; its head names their tasks and presets.
    """
    columns: dict[str, tuple[dict[str, str], dict[str, dict[str, None]]]] = {}
    for run in runs:
        settings = flat(run.spec.settings)
        _, used = columns.setdefault(json.dumps(settings, sort_keys=True), (settings, {}))
        used.setdefault(run.spec.preset, {})[run.spec.task] = None
    heads = [
        "; ".join(f"{preset}: {', '.join(tasks)}" for preset, tasks in used.items()) for _, used in columns.values()
    ]
    keys = dict.fromkeys(key for settings, _ in columns.values() for key in settings)
    return [(key, [settings.get(key) for settings, _ in columns.values()]) for key in keys], heads


def reproduce(rows: Sequence[Row]) -> list[str]:
    """Return the commands that train rows again, none for outside agents."""
    commands = []
    for row in rows:
        spec = row.runs[0].spec
        if row.preset == EXTERNAL:
            continue
        seeds = sorted(run.spec.seed for run in row.runs)
        command = ["bisimgym", "run", spec.suite, "--task", spec.task, "--method", spec.method]
        if seeds == list(range(1, len(seeds) + 1)):
            command += ["--seeds", str(len(seeds))]
        else:
            command += [word for seed in seeds for word in ("--seed", str(seed))]
        command += ["--preset", spec.preset]
        for key, value in sorted(spec.variant.items()):
            command += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        commands.append(shlex.join([*command, "--out", "runs"]))
    return commands


def repeated(rows: Sequence[Row]) -> list[str]:
    """Return what to say of rows whose seeds all came to the same outcomes: they are not so many observations."""
    return [
        f"All {len(row.runs)} runs on {row.task} have the same outcomes: count them as one observation."
        for row in rows
        if len(row.runs) > 1 and all(run.outcomes == row.runs[0].outcomes for run in row.runs)
    ]


def sentence(text: str) -> str:
    """Return a text with a capital first; Jinja's own ``capitalize`` makes small letters of all others."""
    return text[:1].upper() + text[1:]


def duration(seconds: Any) -> str:
    """Return a length of time as people say it, "" if there is none."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def train_seconds(run: RunResult) -> float | None:
    value = run.result.get("train_seconds")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def machine_text(run: RunResult) -> str:
    """Return device, precision and threads of a run as far as they are recorded."""
    machine = run.run.get("machine")
    if not isinstance(machine, dict):
        return ""
    threads = machine.get("threads")
    counted = f"{threads} thread{'' if threads == 1 else 's'}" if threads is not None else None
    parts = (machine.get("device"), machine.get("precision"), counted)
    return ", ".join(str(part) for part in parts if part is not None)


def finished(run: RunResult) -> str:
    """Return when a run was finished, to the minute, "" if it is not recorded."""
    return str(run.result.get("finished") or "")[:16].replace("T", " ")
