"""The runs of the papers' sizes that are worth most, in order: what ``bisimgym plan`` lists and goes on with."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.report.papers_index import PAPERS, Item
from bisimgym.benchmarks.running import estimate
from bisimgym.benchmarks.suites.base import Spec


@dataclass(frozen=True)
class Step:
    """One table or figure of the papers' index, whose command says what is run.

    Attributes:
        paper, label: where it stands in the index.
        seeds: 1 to this one: five make an interval, three are single observations.
        why: it stands where it does.
    """

    paper: str
    label: str
    seeds: int
    why: str

    @property
    def item(self) -> Item:
        return next(item for item in PAPERS[self.paper].items if item.label == self.label)

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``bisimgym run``, without those that say how many seeds."""
        words = shlex.split(self.item.command)[2:]
        words = [word for word in words if word != "--yes"]
        if "--seeds" in words:
            at = words.index("--seeds")
            del words[at : at + 2]
        return words


#: First what has published numbers to stand beside, then what shows a curve; among these the shorter first.
STEPS: Sequence[Step] = (
    Step("psm", "Table 2", 5, "published numbers; small images, one network: minutes"),
    Step("psm", "Table 1", 5, "published numbers, three grids"),
    Step("psm", "Table G.1", 5, "published numbers, colored obstacles"),
    Step("interaction", "Figure 2", 5, "the source's one result; small networks, long pre-training"),
    Step("psm", "Table 3", 5, "published numbers of DrQ and DrQ + PSE from pixels"),
    Step("behavioral", "Table 4.1", 5, "AMBS beside DrQ + PSE on the same task"),
    Step("behavioral", "Table 5.2", 5, "published numbers, two tasks of a robot's arms; simulation takes the time"),
    Step("study", "Benchmark of pixels under distraction", 3, "all methods side by side from pixels"),
    Step("behavioral", "Figures 4.4, 4.5", 5, "curves of AMBS"),
    Step("behavioral", "Figures 5.2, 5.3", 3, "curves of RAP"),
    Step("behavioral", "Section 4.6.3", 3, "no published numbers; two stages of training"),
)


@dataclass(frozen=True)
class Todo:
    """What is left of a step: ``expected`` knows the runs to do and the seconds that they would take."""

    step: Step
    specs: Sequence[Spec]
    expected: estimate.Estimate


def look(specs_of: Any, out: Path, jobs: int, steps: Sequence[Step] = STEPS) -> list[Todo]:
    """Return what is left of every step, finished ones too, judged by runs in ``out`` and by committed ones.

    Args:
        specs_of: ``specs_of(arguments, seeds) -> specs`` reads the arguments of ``bisimgym run``.
        out: where runs are kept.
        jobs: side by side.
    """
    todo = []
    for step in steps:
        specs = specs_of(step.arguments, range(1, step.seeds + 1))
        suite = specs[0].suite
        times = {**estimate.committed_times(suite), **estimate.times_here(out, suite)}
        expected = estimate.Estimate(specs, out, times, min(jobs, len(specs)), "runs here or committed ones")
        todo.append(Todo(step, specs, expected))
    return todo
