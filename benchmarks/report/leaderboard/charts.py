"""Geometry of the learning curves: numbers that the templates draw as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bisimgym.benchmarks.report.across import THRESHOLDS, Across
from bisimgym.benchmarks.report.summary import Row
from bisimgym.benchmarks.suites.base import Suite

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 72, 20, 16, 62
#: Distinct looks of lines; the style sheet gives colors and dashes to ``s0`` ... ``s7``.
STYLES = 8


@dataclass(frozen=True)
class Series:
    """One method's curve.

    Attributes:
        row: whose.
        lines: ``points`` attributes of polylines: the mean over seeds, or single seeds that share no x.
        band: ``points`` attribute of the polygon from lowest to highest seed, or "".
        end: where the line ends, or None for several lines.
    """

    row: Row
    lines: Sequence[str]
    band: str
    end: tuple[float, float] | None


@dataclass(frozen=True)
class Chart:
    """A chart of all methods: series, and ticks as (place, label)."""

    series: Sequence[Series]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def learning_curves(suite: Suite, rows: Sequence[Row]) -> Chart | None:
    """Return the chart of rows that have curves, or None if none has.

    A method that does not train has a single point, at 0, and is drawn as a level line.
    """
    curves = [[points for run in row.runs if (points := _points(suite, run.curve))] for row in rows]
    every = [point for lines in curves for line in lines for point in line.items()]
    longest = max((x for x, _ in every), default=0)
    if not longest:
        return None
    curves = [[{0.0: line[0], longest: line[0]} if list(line) == [0] else line for line in lines] for lines in curves]
    x_ticks = nice_ticks(0.0, longest)
    factor = 100 if suite.percent else 1
    low, high = (0.0, 1.0) if suite.percent else (min(0.0, *(y for _, y in every)), max(y for _, y in every))
    y_ticks = nice_ticks(low * factor, high * factor)
    right, bottom, top = x_ticks[-1], min(y_ticks[0], low * factor), max(y_ticks[-1], high * factor)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            round(LEFT + x / right * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - (y * factor - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM), 1),
        )

    return Chart(
        [_series(row, lines, place) for row, lines in zip(rows, curves, strict=True) if lines],
        [(place(x, 0)[0], short_number(x)) for x in x_ticks],
        [(place(0, y / factor)[1], short_number(y)) for y in y_ticks],
    )


def profiles(entries: Sequence[Across]) -> Chart:
    """Return the chart of performance profiles: the share of runs whose normalized score exceeds x, with intervals."""

    def place(x: float, y: float) -> tuple[float, float]:
        along, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return round(LEFT + x * along, 1), round(HEIGHT - BOTTOM - y * up, 1)

    series = []
    for entry in entries:
        low, high = ([*zip(THRESHOLDS, ends, strict=True)] for ends in entry.profile_interval)
        line = _path(place, zip(THRESHOLDS, entry.profile, strict=True))
        series.append(Series(entry.row, [line], _path(place, [*high, *reversed(low)]), None))
    ticks = nice_ticks(0.0, 1.0)
    return Chart(series, [(place(x, 0)[0], f"{x:g}") for x in ticks], [(place(0, y)[1], f"{100 * y:g}") for y in ticks])


def _points(suite: Suite, curve: Sequence[Any]) -> dict[float, float]:
    """Return score by x. Curves carry no digest, so whatever is no point is left out."""
    rows = [row for row in curve if isinstance(row, Mapping)]
    points: list[tuple[Any, Any]] = [(row.get(suite.x_name), row.get("score")) for row in rows]
    finite = {
        x: y
        for x, y in points
        if all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in (x, y)) and x >= 0
    }
    return dict(sorted(finite.items()))


def _series(row: Row, curves: Sequence[Mapping[float, float]], place: Any) -> Series:
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    if len(curves) > 1 and len(shared) < 2:
        return Series(row, [_path(place, curve.items()) for curve in curves], "", None)
    at = {x: [curve[x] for curve in curves] for x in shared}
    mean = [(x, sum(ys) / len(ys)) for x, ys in at.items()]
    band = ""
    if len(curves) > 1:
        edges = [(x, min(ys)) for x, ys in at.items()] + [(x, max(ys)) for x, ys in reversed(at.items())]
        band = _path(place, edges)
    return Series(row, [_path(place, mean)], band, place(*mean[-1]))


def _path(place: Any, points: Any) -> str:
    return " ".join("{:g},{:g}".format(*place(x, y)) for x, y in points)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers that cover [low, high]."""
    least = 1e-9 * max(abs(low), abs(high), 1e-290)
    span = high - low if high - low > least else max(1.0, 2 * least)
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if span / (power * m) <= count + 1e-9)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def short_number(value: float) -> str:
    """Return a number for an axis: 20k rather than 20000."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
