"""Result tables for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import stdev
from typing import NamedTuple

from rich import box
from rich.table import Table

from bisimgym.benchmarks.report.summary import STATISTICS, Row, number, published_text, unit
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells, from the method on. Measures appear if any row has them."""
    suite = load_suite(rows[0].suite)
    shown = [name for name, measure in suite.measures.items() if measure.in_tables]
    shown = [name for name in shown if any(name in row.measures for row in rows)]
    statistics = [statistic for statistic in STATISTICS if statistic.in_tables]
    heads = ["method", "seeds", "score [95 %]", *(statistic.head for statistic in statistics)]
    heads += [suite.measures[name].title for name in shown]
    cells = []
    for row in rows:
        interval = "" if row.interval is None else " [{}, {}]".format(*(number(suite, v) for v in row.interval))
        published = ", ".join(
            ("" if measure == "score" else f"{measure} ") + published_text(suite, value, measure)
            for measure, value in row.published.items()
            if not row.runs[0].spec.variant and (measure == "score" or suite.measures[measure].in_tables)
        )
        cells.append(
            [
                row.method,
                str(len(row.runs)),
                number(suite, row.mean) + interval,
                *("" if (v := statistic.value(row)) is None else number(suite, v) for statistic in statistics),
                *(number(suite, row.measures[name], name) if name in row.measures else "" for name in shown),
                published,
            ]
        )
    return [*heads, "published"], cells


def terminal_tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Return one table for each task and preset of one suite's rows."""
    suite = load_suite(rows[0].suite)
    for (task, preset), group in groupby(sorted(rows, key=_task_and_preset), key=lambda row: (row.task, row.preset)):
        heads, cells = _cells(list(group))
        sign = f", {unit(suite)}" if unit(suite) else ""
        title = f"{suite.title}, {task}, preset {preset} ({suite.score_name}{sign})"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for i, head in enumerate(heads):
            table.add_column(head, justify="right" if i else "left", overflow="fold", no_wrap=head.startswith("score"))
        for line in cells:
            table.add_row(*line)
        yield table


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
    return pipe_table(["task", "preset", *heads], lines, texts=3)


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

    def terminal(self) -> Table:
        """Return the table for a terminal."""
        table = Table(title=self.title, title_justify="left")
        for i, head in enumerate(self.heads):
            table.add_column(head, justify="left" if i < self.texts else "right")
        for line in self.lines:
            table.add_row(*line)
        return table


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
