"""Checks a submission: says all that is wrong with it at once, and opens nothing but its two files of text."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.names import shortened
from bisimgym.benchmarks.running import reading, schema
from bisimgym.benchmarks.submissions import model
from bisimgym.benchmarks.suites import SUITES, load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Spec, Suite

#: Most bytes of the episodes, most lines of them that are complained of one by one, and most problems that are named.
EPISODES_BYTES, NAMED_LINES, NAMED_PROBLEMS = 32 * 2**20, 20, 500
_FILES = (model.DESCRIPTION, model.EPISODES)
_KEYS = ("task", "seed", "episode")


class Refused(UserError):
    """A submission that is not fine.

    Attributes:
        problems: everything that is wrong with it, one line each; from 500 on, how many more there are.
    """

    def __init__(self, folder: Path, problems: list[str]):
        more = f" (and {len(problems) - 1} more: `bisimgym submit check {folder}` names them)" if problems[1:] else ""
        super().__init__(f"{folder} is no submission that can be shown: {problems[0]}{more}")
        rest = len(problems) - NAMED_PROBLEMS
        self.problems = [*problems[:NAMED_PROBLEMS], *([f"{rest} more problems"] if rest > 0 else [])]


@dataclass(frozen=True)
class Submission:
    """A submission that is fine.

    Attributes:
        description: what ``submission.json`` holds.
        outcomes: columns of outcomes by (task, seed), as in :class:`~bisimgym.benchmarks.suites.base.Outcome`.
        scores: "score" and further measures by (task, seed), computed from the outcomes.
    """

    suite: Suite
    description: Mapping[str, Any]
    outcomes: Mapping[tuple[str, int], Mapping[str, list]]
    scores: Mapping[tuple[str, int], Mapping[str, float]]

    def spec(self, task: str, seed: int) -> Spec:
        """Return what was run, as ``bisimgym evaluate`` has it."""
        return _spec(self.suite, self.description, task, seed)


def _spec(suite: Suite, description: Mapping[str, Any], task: str, seed: int) -> Spec:
    settings = {"budget": description["budget"]}
    return Spec(suite.name, suite.version, task, description["agent"], EXTERNAL, seed, {}, settings)


def is_submission(folder: Path) -> bool:
    """Return whether a folder claims to be a submission."""
    return os.path.lexists(folder / model.DESCRIPTION)


def read_submission(folder: Path) -> Submission:
    """Read and check a submission. Nothing is loaded, unpacked, fetched or run, and no link is followed.

    Raises:
        Refused: if anything is wrong with it; it names all that is.
    """
    problems: list[str] = []
    try:
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry in found)
    except OSError as error:
        raise Refused(folder, [f"{folder} is not a folder that can be read ({error.strerror or error})"]) from None
    for name in names:
        if name not in _FILES:
            problems.append(f"{shortened(name)} belongs to no submission, which is {' and '.join(_FILES)} alone")
    description = _try(problems, lambda: reading.read_json(folder / model.DESCRIPTION))
    suite = _suite_of(description, problems) if description is not None else None
    sound = _sound_fields(suite, description, problems) if suite is not None and description is not None else {}
    text = _try(problems, lambda: reading.read_text(folder / model.EPISODES, EPISODES_BYTES))
    runs = _runs_of(text, suite, problems) if text is not None and suite is not None else {}
    most = model.MOST_SEEDS * len(suite.open_tasks) if suite is not None else 0  # no more can be asked for
    some = itertools.islice(runs.items(), most)
    outcomes = {key: columns for key, run in some if (columns := run.columns(key, problems)) is not None}
    scores: dict[tuple[str, int], Mapping[str, float]] = {}
    if suite is not None:
        _check_complete(suite, sound, runs, problems)
        scores = _check_scores(suite, sound, outcomes, problems)
        _check_seeds_differ(sound, outcomes, problems)
    if problems:
        raise Refused(folder, problems)
    assert suite is not None
    assert description is not None
    return Submission(suite, description, outcomes, scores)


def _try(problems: list[str], read: Any) -> Any:
    try:
        return read()
    except UserError as error:
        problems.append(str(error))
        return None


def _suite_of(description: Mapping[str, Any], problems: list[str]) -> Suite | None:
    name = description.get("suite")
    if isinstance(name, str) and name in SUITES:
        return load_suite(name)
    problems.append(f"suite of {model.DESCRIPTION} must be one of {', '.join(SUITES)}, got {shortened(name)}")
    return None


def _sound_fields(suite: Suite, description: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return what of a description is fine by itself, so that what depends on it can be checked, and name the rest."""
    kind = model.description(suite)
    problems += kind.problems(model.DESCRIPTION, description)
    return {
        name: description[name]
        for name, field_kind in kind.fields.items()
        if name in description and not list(field_kind.problems(name, description[name]))
    }


@dataclass
class _Run:
    """The lines of one run: rows of outcomes by the number of their episode."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)

    def columns(self, key: tuple[str, int], problems: list[str]) -> dict[str, list] | None:
        """Return the outcomes by column, None if rows are missing or unlike."""
        where = f"{key[0]} seed {key[1]}"
        last = max(self.rows)
        if missing := last + 1 - len(self.rows):
            first = next(number for number in range(last) if number not in self.rows)
            problems.append(f"{where}: episode {first} is missing ({missing} of {last + 1} are)")
            return None
        rows = [self.rows[number] for number in range(len(self.rows))]
        if unlike := next((number for number, row in enumerate(rows) if set(row) != set(rows[0])), None):
            problems.append(f"{where}: episode {unlike} has other columns than episode 0: {', '.join(rows[unlike])}")
            return None
        return {name: [row[name] for row in rows] for name in rows[0]}


def _runs_of(text: str, suite: Suite, problems: list[str]) -> dict[tuple[str, int], _Run]:
    kind = model.episode(suite)
    runs: dict[tuple[str, int], _Run] = defaultdict(_Run)
    wrong: dict[int, list[str]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"line {number} of {model.EPISODES}"
        named = len(wrong) < NAMED_LINES  # of others it is counted that they are wrong
        try:
            row = reading.parse_json(line)
        except ValueError as error:
            wrong[number] = [f"{where}: {error}"] if named else []
            continue
        if found := list(itertools.islice(kind.problems(where, row), NAMED_LINES)):
            wrong[number] = found if named else []
            continue
        task, seed, episode = (row.pop(key) for key in _KEYS)
        rows = runs[task, seed].rows
        if episode in rows:
            wrong[number] = [f"{where}: episode {episode} of {task} seed {seed} is there twice"]
        rows[episode] = row
    problems += [problem for number in list(wrong)[:NAMED_LINES] for problem in wrong[number]]
    if len(wrong) > NAMED_LINES:
        problems.append(f"{len(wrong) - NAMED_LINES} more lines of {model.EPISODES} are wrong")
    return runs


def _check_complete(
    suite: Suite, description: Mapping[str, Any], runs: Iterable[tuple[str, int]], problems: list[str]
) -> None:
    """Name runs that were promised and are not there, and those that are there and were not promised."""
    if "seeds" not in description:
        return
    promised = {(task, seed) for task in suite.open_tasks for seed in description["seeds"]}
    claimed = [(run["task"], run["seed"]) for run in description.get("runs", [])]
    for task, seed in sorted(promised - set(runs)):
        problems.append(f"{model.EPISODES} lacks {task} seed {seed}: every task of {suite.name} needs every seed")
    for task, seed in sorted(promised - set(claimed)) if "runs" in description else ():
        problems.append(f"runs of {model.DESCRIPTION} lack {task} seed {seed}: every task needs every seed")
    for task, seed in sorted((set(runs) | set(claimed)) - promised):
        problems.append(f"{task} seed {seed} is not among the seeds of {model.DESCRIPTION}: submit all that you ran")
    for key in sorted({key for key in claimed if claimed.count(key) > 1}):
        problems.append(f"runs of {model.DESCRIPTION} have {key[0]} seed {key[1]} twice")


def _check_scores(
    suite: Suite,
    description: Mapping[str, Any],
    outcomes: Mapping[tuple[str, int], Mapping[str, list]],
    problems: list[str],
) -> dict[tuple[str, int], Mapping[str, float]]:
    """Compute the scores of each run, and name those that cannot be or are not what is claimed."""
    scores: dict[tuple[str, int], Mapping[str, float]] = {}
    claimed = {(run["task"], run["seed"]): run for run in description.get("runs", [])}
    for key, columns in outcomes.items():
        where = f"{key[0]} seed {key[1]}"
        try:
            scores[key] = suite.rescore(*key, columns)
        except KeyError as error:
            problems.append(f"{where}: its episodes lack the column {error}")
            continue
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        if key not in claimed:
            continue
        claim = {"score": claimed[key]["score"], **claimed[key].get("scores", {})}
        for name in claim:
            if name not in scores[key]:
                problems.append(f"{where}: {name} does not follow from the episodes: leave it out")
        try:
            schema.check_scores(claim, scores[key], key[0], suite)
        except ValueError as error:
            problems.append(f"{where}: {error}")
    for task, mean in description.get("means", {}).items():
        found = [float(of["score"]) for (of_task, _), of in scores.items() if of_task == task]
        if not found or len(found) != len(description.get("seeds", [])):
            continue  # episodes are missing or wrong, which is said already
        if not schema.is_close(mean, sum(found) / len(found)):
            problems.append(f"mean of {task} is {mean:.9g}, and its episodes come to {sum(found) / len(found):.9g}")
    return scores


def _check_seeds_differ(
    description: Mapping[str, Any], outcomes: Mapping[tuple[str, int], Mapping[str, list]], problems: list[str]
) -> None:
    """Name two seeds of an agent that learned here whose fractional numbers are all the same: one training."""
    if not description.get("budget"):
        return
    known: dict[tuple[str, str], int] = {}
    for (task, seed), columns in outcomes.items():
        if any(type(value) is float and value % 1 for column in columns.values() for value in column):
            other = known.setdefault((task, schema.digest(columns)), seed)
            if other != seed:
                problems.append(f"{task} seeds {other} and {seed} have the same episodes: they are one training")


def summary_lines(submission: Submission) -> Iterator[str]:
    """Yield what a submission that is fine comes to, one line for each task."""
    name = submission.description["agent"]
    for task, mean in submission.description["means"].items():
        seeds = len(submission.description["seeds"])
        yield f"{submission.suite.name} {task} {name}: {submission.suite.score_name} {mean:.6g}, {seeds} seeds"
