"""What became of results since others, such as those of the last release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bisimgym.benchmarks.report.summary import Row, summarize
from bisimgym.benchmarks.running.run_folder import RunResult


@dataclass(frozen=True)
class Change:
    """A row that is not what it was: ``before`` is None for one that is new, ``now`` for one that is gone."""

    before: Row | None
    now: Row | None

    @property
    def row(self) -> Row:
        """The row as it is, or was."""
        row = self.now or self.before
        assert row is not None
        return row

    @property
    def difference(self) -> float | None:
        """How much higher the mean score is, None where there is nothing to compare."""
        return self.now.mean - self.before.mean if self.now and self.before else None

    @property
    def verdict(self) -> str:
        """What the intervals of both means say of that: whether they are told apart, "" without two intervals."""
        if not (self.now and self.before and self.now.interval and self.before.interval):
            return ""
        (low, high), (other_low, other_high) = self.now.interval, self.before.interval
        return "intervals overlap" if low <= other_high and other_low <= high else "told apart"


def changes(before: Sequence[RunResult], now: Sequence[RunResult]) -> list[Change]:
    """Return the rows whose seeds or numbers differ, in the order of tables; those that are gone come last."""
    old, new = ({_key(row): row for row in summarize(runs)} for runs in (before, now))
    found = [
        Change(old.get(key), row) for key, row in new.items() if key not in old or _numbers(old[key]) != _numbers(row)
    ]
    return [*found, *(Change(row, None) for key, row in old.items() if key not in new)]


def _key(row: Row) -> tuple[str, str, str, str]:
    return row.suite, row.task, row.method, row.preset


def _numbers(row: Row) -> list:
    return [(run.spec.seed, run.score, run.scores) for run in row.runs]
