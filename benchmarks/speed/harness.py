"""What every topic of ``bisimgym speed`` shares: turns, medians and totals, the machine, and tables.

A topic is a module of rows: ``parts(seconds)`` names what is measured, ``tables(figures)`` lays it out. Figures are
meant as ratios within one run: what is compared takes turns, so that other load of the machine meets all alike.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import statistics
import string
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.running import machine

Figures = dict[str, Any]


class Part(NamedTuple):
    """One comparison of a topic.

    Attributes:
        name: the key of its rows in the figures; parts of one name add up to one list.
        rows: returns its rows, given the arguments.
        arguments: of ``rows``.
        fresh: whether it has a process of its own, as a training run has: what memory costs depends on what a process
            allocated before.
    """

    name: str
    rows: Callable[..., Iterable[Figures]]
    arguments: tuple[Any, ...] = ()
    fresh: bool = False


#: Whether times are those of the process on the processor, and not of the clock on the wall.
_cpu_time = False


def now() -> float:
    """Return the seconds of the clock that times are taken by."""
    return time.process_time() if _cpu_time else time.perf_counter()


@contextmanager
def clock(cpu_time: bool) -> Iterator[None]:
    """Take times by the processor's time for this process inside the block, of all its threads, or by the wall's."""
    global _cpu_time
    before, _cpu_time = _cpu_time, cpu_time
    try:
        yield
    finally:
        _cpu_time = before


def measure(parts: Sequence[Part], console: Console, cpu_time: bool = False) -> Figures:
    """Return the figures of some parts: machine, versions, command, load before and after, and the rows by part.

    ``cpu_time`` leaves out the time in which other work of a shared machine runs; for what has one process and thread.
    """
    figures: Figures = {
        "machine": {"processor": machine.processor(), "cores": machine.cores()},
        "versions": machine.versions(),
        "command": machine.command_text(sys.argv[1:]),
        "clock": "processor" if cpu_time else "wall",
        "load_before": os.getloadavg()[0],
    }
    with console.status("") as status:
        for number, part in enumerate(parts, start=1):
            status.update(f"measuring: {part.name} ({number} of {len(parts)})")
            rows = figures.setdefault(part.name, [])
            if part.fresh:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    rows += pool.apply(_rows, (part, cpu_time))
            else:
                rows += _rows(part, cpu_time)
    figures["load_after"] = os.getloadavg()[0]
    return figures


def show(topic: str, figures: Figures, console: Console) -> None:
    """Print the tables of a topic and the load of the machine."""
    for table in _tables(topic, figures):
        console.print(table.terminal())
    console.print(
        f"Load of the machine, mean of a minute: {figures['load_before']:.2f} before, {figures['load_after']:.2f} after"
        f" ({figures['clock']} time)"
    )


def parts(topic: str, seconds: float, **options: Any) -> list[Part]:
    """Return what a topic measures, with the standard sizes: ``seconds`` for each comparison, a single turn with 0.

    The options are those of the topic's ``parts``.
    """
    return list(_topic(topic).parts(seconds, **options))


def markdown(topic: str, figures: Figures) -> dict[str, str]:
    """Return the figures of a topic as Markdown tables, by the names of their markers in the documentation."""
    texts: dict[str, list[str]] = {}
    for table in _tables(topic, figures):
        if table.marker:
            texts.setdefault(table.marker, []).append(table.markdown())
    return {marker: "\n".join(tables) for marker, tables in texts.items()}


def _topic(name: str) -> Any:
    return importlib.import_module(f"bisimgym.benchmarks.speed.{name}")


def _tables(topic: str, figures: Figures) -> Iterator[FigureTable]:
    """Yield the tables that have lines. Parts that figures of an older version have beyond these are passed over."""
    return (table for table in _topic(topic).tables(figures) if table.lines)


def _rows(part: Part, cpu_time: bool) -> list[Figures]:
    with clock(cpu_time):
        return list(part.rows(*part.arguments))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's threads inside the block."""
    import torch as th

    before = th.get_num_threads()
    th.set_num_threads(count)
    try:
        yield
    finally:
        th.set_num_threads(before)


# Times


def turns(functions: Sequence[Callable[[], Any]], seconds: float) -> list[list[float]]:
    """Return the times of each function in seconds; the functions take turns.

    Each runs once before. Then come five turns at least, however long they take; with 0 seconds a single one.
    """
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    end, least = now() + seconds, 5 if seconds else 1
    while now() < end or len(times[0]) < least:
        for function, row in zip(functions, times, strict=True):
            start = now()
            function()
            row.append(now() - start)
    return times


def medians(functions: Mapping[str, Callable[[], Any]], seconds: float, work: float = 1) -> dict[str, float]:
    """Return the median seconds of each function by its name, per unit of the ``work`` that a call does."""
    times = turns(list(functions.values()), seconds)
    return {name: statistics.median(row) / work for name, row in zip(functions, times, strict=True)}


def rates(functions: Mapping[str, Callable[[], int]], seconds: float) -> dict[str, float]:
    """Return how much each function does in a second: all its work, over the whole time of all its turns.

    Nothing is left out, as medians leave out the rare turn: a function that steps an environment through whole
    episodes counts its resets at their natural rate. Functions return the work of a call, such as steps.
    """
    work, times = dict.fromkeys(functions, 0), dict.fromkeys(functions, 0.0)
    end = now() + seconds
    while not all(work.values()) or now() < end:
        for name, function in functions.items():
            start = now()
            work[name] += function()
            times[name] += now() - start
    return {name: work[name] / times[name] for name in functions}


class Rollout:
    """Random actions in an environment; a call steps it through whole episodes and returns the number of steps.

    Construction takes some steps, in which environments load what they load late. A call ends with the first episode
    that ends after ``least`` steps, in a vector environment with an episode of sub-environment 0. Resets are inside
    the call.

    Args:
        env: an environment, or a vector environment that resets by itself.
        least: fewest calls of ``env.step``.
    """

    def __init__(self, env: Any, least: int = 64):
        self.env, self.least = env, least
        self.num_envs = getattr(env, "num_envs", None)
        env.action_space.seed(0)
        self.actions = [env.action_space.sample() for _ in range(64)]
        env.reset(seed=0)
        for action in self.actions[:2]:
            env.step(action)
        env.reset(seed=0)
        self.observation: Any = None  # an agent holds an observation while the next one is made

    def __call__(self) -> int:
        done, steps = False, 0
        while not done or steps < self.least:
            action = self.actions[steps % len(self.actions)]
            self.observation, _, terminated, truncated, _ = self.env.step(action)
            steps += 1
            if self.num_envs is None:
                done = terminated or truncated
                if done:
                    self.env.reset()
            else:
                done = terminated[0] or truncated[0]
        return steps * (self.num_envs or 1)


def is_figures(file: Path) -> bool:
    """Return whether a file holds figures as ``speed --json`` writes them."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return isinstance(content, dict) and {"machine", "versions"} <= set(content) and "spec" not in content


def is_trace(file: Path) -> bool:
    """Return whether a file holds a trace as ``speed --profile`` writes it."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return isinstance(content, dict) and "traceEvents" in content


# Tables


class _Formatter(string.Formatter):
    """Formats with two more specifications: ``~3`` is three digits or more, ``.1%`` has a space before the sign."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec.startswith("~"):
            digits = int(format_spec[1:])
            format_spec = ",.0f" if value >= 10 ** (digits - 1) else f".{digits}g"
        return super().format_field(value, format_spec).replace("%", " %")


def table(
    title: str, heads: str, line: str, rows: Iterable[Mapping[str, Any]], texts: int = 1, marker: str = ""
) -> FigureTable:
    """Return a table with a line per row.

    Heads and formats of cells have `` | `` between them: ``"{method} | {ms[stock]:.3g}"``. What a row lacks, or is
    None, is empty.
    """
    formats = line.split(" | ")
    return FigureTable(title, heads.split(" | "), [[_cell(f, row) for f in formats] for row in rows], texts, marker)


def _cell(cell: str, row: Mapping[str, Any]) -> str:
    try:
        return _Formatter().vformat(cell, (), row)
    except (KeyError, TypeError):
        return ""
