"""Runs a run again and compares; the record of it is what the badge "re-run" of a leaderboard rests on."""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import machine, reading, schema
from bisimgym.benchmarks.running.run_folder import RunResult, read_run, write_json
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL

#: In the folder of a run: how it was run again. Submissions hold no such file.
RECORD = "repro.json"
#: What depends on the clock, in rows of curves.
_CLOCK = "seconds"


@dataclass(frozen=True)
class Comparison:
    """A run and the same run again.

    Attributes:
        numbers: "score" and further scores, then and now; None where a number is missing.
        differences: what is not equal, in words: scores, rows of outcomes, rows of the curve.
        elsewhere: versions and parts of the machine that differ, which may be why: name, then, now.
        tolerance: that was granted.
    """

    numbers: Mapping[str, tuple[float | None, float | None]]
    differences: Sequence[str]
    elsewhere: Sequence[tuple[str, Any, Any]]
    tolerance: float = 0.0

    @property
    def same(self) -> bool:
        """Whether nothing differs that was compared."""
        return not self.differences


def reproduce(
    run: RunResult,
    device: str,
    agent: Any = None,
    on_progress: Callable[[int, int], None] | None = None,
    tolerance: float = 0.0,
) -> Comparison:
    """Run a run again in a temporary folder, with its seed, settings and number of threads, and compare.

    Args:
        run: as ``read_run`` returns it.
        device: "cpu" or "cuda".
        agent: the agent of an outside agent's run, which is needed then and refused else.
        on_progress: called with how far the run is.
        tolerance: see :func:`compare`.

    Raises:
        UserError: for an outside run without an agent or the other way round, and where the run fails.
    """
    from bisimgym.benchmarks.running import runner  # reports, which read records, need no learners

    spec = run.spec
    outside = spec.preset == EXTERNAL
    if outside and agent is None:
        raise UserError(f"{run.path} is an outside agent's: give the agent with --agent")
    if agent is not None and not outside:
        raise UserError(f"{run.path} is of the method {spec.method}: --agent is for runs of outside agents")
    with tempfile.TemporaryDirectory() as scratch:
        if outside:
            suite, budget = load_suite(spec.suite), spec.settings.get("budget", 0)
            runner.evaluate_agent(agent, suite, spec.task, spec.method, Path(scratch), spec.seed, budget)
            again = read_run(Path(scratch, spec.folder))
        else:
            threads = run.run.get("machine", {}).get("threads", 1)
            again = runner.run_one(Path(scratch), spec, device, threads, on_progress)
    return compare(run, again, tolerance)


def compare(run: RunResult, again: RunResult, tolerance: float = 0.0) -> Comparison:
    """Compare two runs of one spec.

    Args:
        run: then.
        again: now.
        tolerance: 0: all scores, outcomes and rows of the curve must be equal to 1e-9, as they are on one machine with
            one set of versions. Above 0: the score must agree to this much, in its own unit, and nothing else is
            compared: learning carries the last bits of another processor into the first digits of much else.
    """
    then, now = ({"score": one.score, **one.scores} for one in (run, again))
    numbers = {name: (then.get(name), now.get(name)) for name in {**then, **now}}
    if tolerance:
        apart = abs(run.score - again.score)
        differences = [f"score: {apart:.6g} apart, more than {tolerance:g}"] if apart > tolerance else []
        return Comparison(numbers, differences, list(_elsewhere(run.run, again.run)), tolerance)
    differences = [f"{name}: {a} then, {b} now" for name, (a, b) in numbers.items() if not _equal(a, b)]
    for name in {**run.outcomes, **again.outcomes}:
        before, after = run.outcomes.get(name, []), again.outcomes.get(name, [])
        rows = sum(not _equal(a, b) for a, b in zip(before, after, strict=False)) + abs(len(before) - len(after))
        if rows:
            differences.append(f"outcomes: {rows} of {max(len(before), len(after))} entries of {name!r}")
    curves = [[{k: v for k, v in row.items() if k != _CLOCK} for row in one.curve] for one in (run, again)]
    rows = sum(not _equal(a, b) for a, b in zip(*curves, strict=False)) + abs(len(curves[0]) - len(curves[1]))
    if rows:
        differences.append(f"curve: {rows} of {max(map(len, curves))} rows")
    return Comparison(numbers, differences, list(_elsewhere(run.run, again.run)))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(_equal(one[key], other[key]) for key in one)
    numbers = all(isinstance(value, int | float) for value in (one, other))
    return schema.is_close(one, other) if numbers else bool(one == other)


def _elsewhere(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for part in ("versions", "machine"):
        before, after = then.get(part, {}), now.get(part, {})
        for name in {**before, **after}:
            if before.get(name) != after.get(name):
                yield name, before.get(name), after.get(name)


def record(run: RunResult, comparison: Comparison) -> None:
    """Write into a run's folder that it was run again, where, and what came of it."""
    value = {
        "format": schema.FORMAT,
        "digest": run.result["digest"],
        "same": comparison.same,
        "tolerance": comparison.tolerance,
        "differences": list(comparison.differences),
        "versions": machine.versions(),
        "machine": machine.host(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_json(run.path / RECORD, value)


def is_reproduced(run: RunResult) -> bool:
    """Return whether the folder of a run records that this very result was come to again.

    Raises:
        UserError: for a record that cannot be read.
    """
    path = run.path / RECORD
    if not os.path.lexists(path):
        return False
    stored = reading.read_json(path)
    return stored.get("digest") == run.result["digest"] and stored.get("same") is True
