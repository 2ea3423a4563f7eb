"""Rows, and tables in Markdown and for terminals."""

import io
import itertools
import json
import re
from importlib import resources
from itertools import groupby

import numpy as np
import pytest
from markov_runs import SUITE, outside, seeds_of, spec, write_runs
from rich.console import Console
from rich.table import Table

from bisimgym.benchmarks.measures.aggregates import mean_interval
from bisimgym.benchmarks.report import tables
from bisimgym.benchmarks.report.summary import not_told_apart, summarize
from bisimgym.benchmarks.running.run_folder import committed_runs, find_runs
from bisimgym.benchmarks.speed import harness


def rows(out, *runs):
    """Rows of finished runs ``(spec, accuracy, measures)``."""
    return summarize(find_runs([write_runs(out, *runs)]))


def lines_of(text):
    return [re.split(r" *\| *", line)[1:-1] for line in text.splitlines() if line.startswith("|")]


def test_measures_stand_side_by_side(tmp_path):
    found = rows(
        tmp_path,
        (spec("nld-underdamped", 1), 0.9, {"l1_order2": 0.1, "wells": 3.0}),
        (spec("nld-underdamped", 2), 0.8, {"l1_order2": 0.3, "wells": 3.0}),
        (spec("nld-overdamped", 1), 0.7, {"l1_order2": 0.2, "failed": 1.0}),
        (spec("nld-overdamped", 1, **{"model.substeps": 2}), 0.6, {"l1_order2": 0.05}),
        (spec("k-means", 1), 0.5, {"l1_encoded": 0.1}),  # a reference does not train
        (outside("nsde"), 0.5, {"l1_encoded": 0.1}),
    )
    text = tables.measures_table(found)
    assert "**uniform, short**" in text
    assert lines_of(text) == [
        ["measure", "nld-overdamped (1)", "nld-overdamped@model.substeps=2 (1)", "nld-underdamped (2)"],
        ["---", "---:", "---:", "---:"],
        ["wells", "", "", "3 ± 0"],
        ["failed", "100.0", "", ""],
        [
            "l1 order2",
            "0.200 (paper: 0.040 ± 0.013)",
            "0.050",
            f"0.200 ± {np.std([0.1, 0.3], ddof=1):.3f} (paper: 0.021 ± 0.004)",
        ],
    ]


def test_tasks_have_tables_of_their_own(tmp_path):
    found = rows(
        tmp_path,
        (spec("nsde", 1, "skewed"), 0.9, {"wells": 3.0}),
        (spec("nsde", 1, "uniform"), 0.8, {"wells": 2.0}),
    )
    assert re.findall(r"\*\*(.*)\*\*", tables.measures_table(found)) == ["uniform, short", "skewed, short"]


def test_rows_have_intervals_of_the_mean_from_three_seeds_on(tmp_path):
    values = [0.1, 0.2, 0.3, 0.4, 0.95]
    five, three, two, one = rows(
        tmp_path,
        *seeds_of("nld-overdamped", *values),
        *seeds_of("nsde", 0.2, 0.3, 0.4),
        *seeds_of("nld-underdamped", 0.1, 0.3),
        *seeds_of("k-means", 0.1),
    )
    assert [row.method for row in (five, three, two, one)] == ["nld-overdamped", "nsde", "nld-underdamped", "k-means"]
    assert five.mean == pytest.approx(np.mean(values))
    assert five.std == pytest.approx(np.std(values, ddof=1))
    low, high = mean_interval(values)
    assert low < 0  # and no accuracy is below 0
    assert five.interval == (0, pytest.approx(high))
    assert three.interval == pytest.approx(mean_interval([0.2, 0.3, 0.4]))
    assert two.interval is None
    assert two.std == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert (one.interval, one.std) == (None, None)
    assert [row.few for row in (five, three, two, one)] == [False, True, True, True]


def test_rows_whose_intervals_overlap_the_best_are_not_told_apart(tmp_path):
    found = rows(
        tmp_path,
        *seeds_of("smoother", 0.95, 0.94),  # no interval: compared with nothing
        *seeds_of("nld-overdamped", 0.8, 0.81, 0.82),
        *seeds_of("nld-underdamped", 0.78, 0.79, 0.8),
        *seeds_of("k-means", 0.5, 0.51, 0.52),
        *seeds_of("always-uniform", 0.3, 0.3, 0.3),
    )
    assert [row.method for row in not_told_apart(SUITE, found)] == ["nld-overdamped", "nld-underdamped"]
    assert not_told_apart(SUITE, found[:2]) == []  # there is nothing to be told apart from


def test_tables_mark_few_seeds_and_equal_ones(tmp_path):
    found = rows(
        tmp_path,
        *seeds_of("nsde", 0.9, 0.91, 0.92, 0.93, 0.94),
        *seeds_of("k-means", 0.5, 0.5, 0.5),
        *seeds_of("always-uniform", 0.3, 0.4),
    )
    text = tables.markdown_table(found)
    assert lines_of(text) == [
        ["task", "preset", "method", "seeds", "score [95 %]"],
        ["---", "---", "---", "---:", "---:"],
        ["uniform", "short", "nsde", "5", "92.0 [90.0, 94.0]"],
        ["uniform", "short", "k-means", "3*", "50.0 [all equal]"],
        ["uniform", "short", "always-uniform", "2*", "35.0"],
    ]
    assert text.endswith("\n\\* fewer than 5 seeds: single observations\n")
    assert "single" not in tables.markdown_table(found[:1])


def printed(table, width):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def columns_of(table, width):
    """Return the text of a printed table's columns, from top to bottom and without spaces."""
    console = Console(width=width)
    parts = table.__rich_console__(console, console.options)
    spans = [column.width for column in next(part for part in parts if isinstance(part, Table)).columns]
    starts = itertools.accumulate(spans, lambda start, span: start + span + 3, initial=2)  # an edge and padding
    lines = printed(table, width).splitlines()
    rule = next(i for i, line in enumerate(lines) if set(line.strip()) == {"─"})
    body = list(itertools.takewhile(str.strip, lines[rule + 1 :]))  # to the empty line below
    return ["".join("".join(line[a : a + n].split()) for line in body) for a, n in zip(starts, spans, strict=False)]


def test_terminal_tables_fit_and_say_what_they_leave_out(tmp_path):
    measures = {"sampled": 0.5, "l1_encoded": 0.1, "l1_order2": 0.2}
    found = rows(tmp_path, (spec("nld-overdamped", 1, **{"fit.curvature_penalty": 1.0}), 0.876, measures))
    (table,) = tables.terminal_tables(found)
    assert table.heads[3:] == ["sampled path", "l1 encoded", "l1 order2"]
    for width in (40, 60, 80):
        text = printed(table, width)
        assert max(len(line) for line in text.splitlines()) <= width
        assert "87.6" in text
        assert "single" in text
    wide, narrow = printed(table, 120), printed(table, 60)
    assert "no room" not in wide
    assert "nld-overdamped@fit.curvature_penalty=1.0" in wide
    assert "0.200" in wide
    assert "no room here for: l1 encoded, l1 order2" in narrow
    assert "0.200" not in narrow
    assert "50.0" in narrow


def test_every_committed_table_fits_80_columns():
    root = resources.files("bisimgym.benchmarks.results")
    by_suite = groupby(summarize(committed_runs()), key=lambda row: row.suite)
    every = [table for _, group in by_suite for table in tables.terminal_tables(list(group))]
    for topic in ("agents", "metric", "distracting", "langevin"):
        name = f"{topic.rstrip('s')}_speed.json"
        figures = json.loads(root.joinpath(name).read_text(encoding="utf-8"))
        every += [t.terminal() for t in harness._tables("metrics" if topic == "metric" else topic, figures)]
    assert len(every) > 20
    for table in every:
        lines = printed(table, 80).splitlines()
        assert max(len(line) for line in lines) <= 80
        for width in (80, 120):  # nothing that stays is cut off: folded cells are whole when put together
            for i, column in enumerate(columns_of(table, width)[: table.kept]):
                assert column == "".join("".join(line[i].split()) for line in table.lines)
