"""Result tables for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL
from bisimgym.benchmarks.summary import Row, number, unit


def _columns(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells. Measures appear if any row has them."""
    suite = load_suite(rows[0].suite)
    shown = [name for name in suite.measures if any(name in row.measures for row in rows)]
    sign = f", {unit(suite)}" if unit(suite) else ""
    heads = ["task", "method", "preset", "seeds", f"{suite.score_name}{sign}", "95 % interval", "IQM"]
    heads += [suite.measures[name].title for name in shown] + ["published"]
    cells = []
    for row in rows:
        interval = "" if row.interval is None else "{} to {}".format(*(number(suite, v) for v in row.interval))
        published = "; ".join(
            ("" if measure == "score" else f"{suite.measures[measure].title} ")
            + f"{number(suite, value.score)} ± {number(suite, value.spread)}"
            for measure, value in row.published.items()
            if row.preset != EXTERNAL
        )
        cells.append(
            [
                row.task,
                row.method,
                row.preset,
                str(len(row.runs)),
                number(suite, row.mean),
                interval,
                number(suite, row.interquartile_mean),
                *(number(suite, row.measures[name]) if name in row.measures else "" for name in shown),
                published,
            ]
        )
    return heads, cells


def terminal_table(rows: Sequence[Row]) -> Table:
    """Return one suite's rows as a table for the terminal."""
    suite = load_suite(rows[0].suite)
    heads, cells = _columns(rows)
    table = Table(title=suite.title, title_justify="left")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < 3 else "right", overflow="fold")
    for line in cells:
        table.add_row(*line)
    return table


def markdown_table(rows: Sequence[Row]) -> str:
    """Return one suite's rows as a Markdown table."""
    heads, cells = _columns(rows)
    lines = [heads, ["---"] * 3 + ["---:"] * (len(heads) - 3), *cells]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
