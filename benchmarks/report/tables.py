"""Result tables for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import stdev
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from bisimgym.benchmarks.report.summary import ENOUGH_SEEDS, Row, interval_text, number, published_text, unit
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL

#: Texts longer than this are folded where a terminal is narrow.
TEXT_WIDTH = 24
FEW = f"* fewer than {ENOUGH_SEEDS} seeds: single observations"


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells, from the method on. Measures appear if any row has them."""
    suite = load_suite(rows[0].suite)
    shown = [name for name, measure in suite.measures.items() if measure.in_tables]
    shown = [name for name in shown if any(name in row.measures for row in rows)]
    heads = ["method", "seeds", "score [95 %]", *(suite.measures[name].title for name in shown)]
    cells = []
    for row in rows:
        interval = interval_text(suite, row)
        published = ", ".join(
            ("" if measure == "score" else f"{measure} ") + published_text(suite, value, measure)
            for measure, value in row.published.items()
            if not row.runs[0].spec.variant and (measure == "score" or suite.measures[measure].in_tables)
        )
        cells.append(
            [
                f"{row.method} ({row.badge})" if row.badge else row.method,
                f"{len(row.runs)}{'*' if row.few else ''}",
                number(suite, row.mean) + (f" [{interval}]" if interval else ""),
                *(number(suite, row.measures[name], name) if name in row.measures else "" for name in shown),
                published,
            ]
        )
    if any(line[-1] for line in cells):
        return [*heads, "published"], cells
    return heads, [line[:-1] for line in cells]


@dataclass(frozen=True)
class TerminalTable:
    """A table for terminals: where one is too narrow, the last columns are left out, and a line says which.

    Attributes:
        texts: so many first columns are texts, which may be folded; all others are numbers.
        kept: so many first columns stay however narrow the terminal is.
        note: a line below the table.
    """

    title: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    texts: int
    kept: int
    note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = len(self.heads)
        while shown > self.kept and self._spare(self._least(shown), options.max_width) < 0:
            shown -= 1
        widths = self._least(shown)
        spare = self._spare(widths, options.max_width)
        for i, widest in enumerate(self._widest(shown)):
            more = max(min(widest - widths[i], spare), 0)
            widths[i], spare = widths[i] + more, spare - more
        table = Table(box=box.SIMPLE_HEAD)
        for i, width in enumerate(widths):
            table.add_column(self.heads[i], justify="left" if i < self.texts else "right", width=width, overflow="fold")
        for line in self.lines:
            table.add_row(*(Text(cell) for cell in line[:shown]))
        yield Text(self.title, style="italic")
        yield table
        left_out = f"no room here for: {', '.join(self.heads[shown:])}" if shown < len(self.heads) else ""
        for line in filter(None, (self.note, left_out)):
            yield Text(line, style="dim")

    def _widest(self, columns: int) -> list[int]:
        """Return the widths at which nothing is folded."""
        return [max(map(cell_len, (self.heads[i], *(line[i] for line in self.lines)))) for i in range(columns)]

    def _least(self, columns: int) -> list[int]:
        """Return the widths at which heads are folded between words, and long texts anywhere."""
        words = [max(map(cell_len, head.split()), default=0) for head in self.heads]
        cells = [max((cell_len(line[i]) for line in self.lines), default=0) for i in range(columns)]
        return [max(words[i], min(width, TEXT_WIDTH) if i < self.texts else width) for i, width in enumerate(cells)]

    @staticmethod
    def _spare(widths: Sequence[int], room: int) -> int:
        """Return the room that is left beside columns with their padding, a rule between them and edges."""
        return room - sum(widths) - 3 * len(widths) - 1


def terminal_tables(rows: Sequence[Row]) -> Iterator[TerminalTable]:
    """Return one table for each task and preset of one suite's rows."""
    suite = load_suite(rows[0].suite)
    for (task, preset), members in groupby(sorted(rows, key=_task_and_preset), key=lambda row: (row.task, row.preset)):
        group = list(members)
        heads, cells = _cells(group)
        sign = f", {unit(suite)}" if unit(suite) else ""
        title = f"{suite.title}, {task}, preset {preset} ({suite.score_name}{sign})"
        yield TerminalTable(title, heads, cells, texts=1, kept=3, note=FEW if any(row.few for row in group) else "")


def _task_and_preset(row: Row) -> tuple[int, int]:
    """Sort by the suite's order; Python's sort keeps the order by score within."""
    suite = load_suite(row.suite)
    presets = [*suite.presets, EXTERNAL]
    return list(suite.tasks).index(row.task), -presets.index(row.preset)


def markdown_table(rows: Sequence[Row]) -> str:
    """Return one suite's rows as a Markdown table."""
    rows = sorted(rows, key=_task_and_preset)
    heads, cells = _cells(rows)
    lines = [[row.task, row.preset, *line] for row, line in zip(rows, cells, strict=True)]
    table = pipe_table(["task", "preset", *heads], lines, texts=3)
    return f"{table}\n\\{FEW}\n" if any(row.few for row in rows) else table


def pipe_table(heads: Sequence[str], lines: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return a Markdown table whose first columns are texts, and all others numbers."""
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts)
    every = [heads, rule, *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in every) + "\n"


class FigureTable(NamedTuple):
    """A table of measured figures: its first ``texts`` columns are texts, and all others numbers.

    ``marker`` names the place of the documentation that shows it.
    """

    title: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    texts: int = 1
    marker: str = ""

    def markdown(self) -> str:
        """Return title and table as Markdown."""
        return f"**{self.title}**\n\n{pipe_table(self.heads, self.lines, self.texts)}"

    def terminal(self) -> TerminalTable:
        """Return the table for a terminal."""
        return TerminalTable(self.title, self.heads, self.lines, self.texts, kept=self.texts + 1)


def measures_table(rows: Sequence[Row]) -> str:
    """Return every measure of one suite's learners as Markdown: a table per task and preset, a column per method.

    Cells are the mean over seeds and their standard deviation; a published number follows in parentheses.
    """
    suite = load_suite(rows[0].suite)
    learners = [row for row in rows if row.preset != EXTERNAL and suite.methods[row.runs[0].spec.method].trains]

    def standard_first(row: Row) -> tuple[int, bool, str]:
        spec = row.runs[0].spec
        return list(suite.methods).index(spec.method), bool(spec.variant), row.method

    texts = []
    for (task, preset), group in groupby(
        sorted(learners, key=_task_and_preset), key=lambda row: (row.task, row.preset)
    ):
        columns = sorted(group, key=standard_first)
        names = [name for name in suite.measures if any(name in row.measures for row in columns)]
        heads = ["measure", *(f"{row.method} ({len(row.runs)})" for row in columns)]
        lines = [[suite.measures[name].title, *(_measured(row, name) for row in columns)] for name in names]
        texts.append(f"**{task}, {preset}** (seeds in parentheses)\n\n{pipe_table(heads, lines)}")
    return "\n".join(texts)


def _measured(row: Row, name: str) -> str:
    if name not in row.measures:
        return ""
    suite = load_suite(row.suite)
    values = [run.scores[name] for run in row.runs if name in run.scores]
    text = number(suite, row.measures[name], name)
    if len(values) > 1:
        text += f" ± {number(suite, stdev(values), name)}"
    if name in row.published and not row.runs[0].spec.variant:
        text += f" (paper: {published_text(suite, row.published[name], name)})"
    return text
