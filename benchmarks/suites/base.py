"""What a suite is: tasks, methods, presets and published numbers as data, and two functions that train and score."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from bisimgym.benchmarks.errors import UserError, unknown
from bisimgym.benchmarks.suites.further_settings import Further

__all__ = ["Measure", "Method", "Monitor", "Outcome", "Preset", "Published", "Spec", "Suite", "Task", "make_spec"]

#: The preset under which results of ``bisimgym evaluate`` are stored.
EXTERNAL = "external"
#: The least and the greatest value that a number can have.
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Task:
    """One row of a suite: what is trained and scored.

    ``published_note`` stands beside comparisons with published numbers.
    """

    title: str
    description: str
    published_note: str = ""


@dataclass(frozen=True)
class Method:
    """A learner and its settings. ``task_settings`` overrides them for single tasks.

    ``trains`` is False for methods that compute without training: presets do not change them. ``precision`` is that of
    its numbers if no setting says; ``None``: float32 if it trains, else float64.
    """

    description: str
    settings: Mapping[str, Any]
    task_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trains: bool = True
    precision: str | None = None


@dataclass(frozen=True)
class Preset:
    """How much training: settings that every method of the suite shares."""

    description: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """A published number: ``spread`` is what ``spread_name`` says, in the unit of the score; NaN if none is given."""

    score: float
    spread: float
    spread_name: str
    source: str


@dataclass(frozen=True)
class Measure:
    """A number in ``result.json["scores"]``: how to name and print it.

    ``in_tables`` is False for numbers that only the site's pages show. ``percent`` says whether the number is a
    fraction, to be shown in percent; ``None``: as the suite's scores. Results beyond ``bounds`` are refused; ``None``:
    the suite's.
    """

    title: str
    description: str
    in_tables: bool = True
    percent: bool | None = None
    bounds: Bounds | None = None


class Monitor(Protocol):
    """What a training function sees of its run."""

    checkpoint: Path
    #: A folder, not there at first, for PNG files that the site's page of the task shows.
    pictures: Path

    @property
    def run_digest(self) -> str:
        """What checkpoints of this run, and of no other, carry."""
        ...

    def resume_curve(self, x_name: str, done: int) -> list[dict[str, Any]]:
        """Return the rows that were marked with the checkpoint at x = ``done``, and forget all others; none for 0.

        Raises:
            UserError: if they are not what they were then.
        """
        ...

    def seconds_before(self, done: int) -> float:
        """Return the seconds of training up to the checkpoint at x = ``done``; 0 for 0."""

    def mark(self, done: int, seconds: float, total: int) -> None:
        """Note what the curve is now, after so many seconds: the checkpoint at x = ``done`` of ``total`` comes next."""

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to the learning curve."""

    def progress(self, done: int, total: int) -> None:
        """Report how far the run is."""


@dataclass(frozen=True)
class Outcome:
    """The result of a run: ``score`` is the headline number.

    Attributes:
        scores: further numbers, by the names in ``Suite.measures``.
        outcomes: columns (lists of equal length) of what the score was computed from, one row per episode or task.
    """

    score: float
    scores: Mapping[str, float]
    outcomes: Mapping[str, list]

    @classmethod
    def of(cls, scores: Mapping[str, float], outcomes: Mapping[str, list]) -> Outcome:
        """Return the outcome whose headline number is that under "score"."""
        return cls(scores["score"], {name: value for name, value in scores.items() if name != "score"}, outcomes)


@dataclass(frozen=True)
class Suite:
    """A benchmark suite.

    Attributes:
        version: raised when results are no longer comparable with earlier ones.
        score_name: what the headline number is, for table heads.
        x_name: the x axis of learning curves (a key of the curve's rows, as is "score").
        measures: the further numbers of a result, by key.
        train: ``train(spec, monitor, device) -> Outcome``; continues from ``monitor.checkpoint`` if that exists.
        seeds_together: ``seeds_together(spec)`` is how many seeds are trained fastest as one; 1 leaves it to ``train``.
        train_seeds: ``train_seeds(specs, monitors, device) -> outcomes`` trains them: each gets its numbers or error.
        evaluate: ``evaluate(agent, task, seed) -> Outcome`` for an agent that follows the protocol.
        training_envs: ``training_envs(task, seed) -> VectorEnv`` for outside agents that learn.
        check: raises ``ValueError`` for settings that cannot be trained with.
        rescore: ``rescore(task, seed, outcomes) -> scores`` recomputes what follows from ``Outcome.outcomes``; raises
            ``ValueError`` if they are not of this task and seed.
        bounds: what scores can be. Results beyond are refused, as are those beyond the other bounds here.
        columns: what entries of ``Outcome.outcomes`` are: ``bool``, ``str``, integers of a ``range``, or bounds.
        ceilings: ``ceilings(task) -> bounds from above``, by measure ("score" is the headline), that no agent exceeds.
        anchored: ``anchored(task) -> (nothing, optimum)``: exact scores of no knowledge and of the best; None: bounds.
        curve_scores: ``curve_scores(scores) -> measures`` recomputes what follows from the scores of the curve's rows.
        percent: whether scores are fractions, to be shown in percent.
        published: by (task, method, measure), where measure is "score" or a key of ``measures``.
        published_measure: the measure that published scores were computed by; where a method has it, it stands beside.
        grid: columns that place tasks on a grid, which pages draw: x, y, and one that splits them into several grids
            (may be missing). Columns "solved" and "trained" go with them.
        env_ids: ``env_ids(task)`` are the registered environments of a task; results carry their digests.
        user_tasks: tasks that need files of the user: run where they are named, and not in submissions.
        replay: ``replay(agent, task, seed) -> Replay`` of some episodes that pages show; None for a task without.
        further_settings: ``further_settings(settings) -> settings`` by dotted key: what ``--set`` can change too.
    """

    name: str
    version: int
    title: str
    description: str
    score_name: str
    x_name: str
    tasks: Mapping[str, Task]
    methods: Mapping[str, Method]
    presets: Mapping[str, Preset]
    measures: Mapping[str, Measure]
    train: Callable[[Spec, Monitor, str], Outcome]
    evaluate: Callable[[Any, str, int], Outcome]
    training_envs: Callable[[str, int], Any]
    check: Callable[[Spec], None]
    rescore: Callable[[str, int, Mapping[str, list]], Mapping[str, float]]
    env_ids: Callable[[str], Sequence[str]]
    bounds: Bounds
    columns: Mapping[str, type | range | Bounds]
    ceilings: Callable[[str], Mapping[str, float]] = lambda task: {}
    anchored: Callable[[str], tuple[float, float]] | None = None
    curve_scores: Callable[[Sequence[float]], Mapping[str, float]] = lambda scores: {}
    percent: bool = False
    lower_is_better: bool = False
    seeds_together: Callable[[Spec], int] = lambda spec: 1
    train_seeds: Callable[[Sequence[Spec], Sequence[Monitor], str], Sequence[Outcome | UserError]] | None = None
    published: Mapping[tuple[str, str, str], Published] = field(default_factory=dict)
    published_measure: str = ""
    grid: tuple[str, str, str] | None = None
    replay: Callable[[Any, str, int], Any] = lambda agent, task, seed: None
    user_tasks: Collection[str] = ()
    further_settings: Callable[[Mapping[str, Any]], Mapping[str, Further]] = lambda settings: {}

    @property
    def open_tasks(self) -> list[str]:
        """The tasks that everybody can run: all but ``user_tasks``."""
        return [task for task in self.tasks if task not in self.user_tasks]

    def anchors(self, task: str) -> tuple[float, float]:
        """Return the scores of a task that are 0 and 1 where scores of several tasks are put together."""
        if self.anchored is not None:
            return self.anchored(task)
        return self.bounds[::-1] if self.lower_is_better else self.bounds

    def under(self, protocol: Any) -> Suite:
        """Return this suite with other sizes than its module's ``Protocol`` has. Scores do not compare with its own."""
        bound: dict[str, Any] = {
            of.name: functools.partial(function, protocol=protocol)
            for of in fields(self)
            if callable(function := getattr(self, of.name)) and "protocol" in inspect.signature(function).parameters
        }
        return replace(self, **bound)


@dataclass(frozen=True)
class Spec:
    """Everything that decides a run's numbers.

    Attributes:
        variant: settings changed with ``--set``, by dotted key; empty for the standard method.
        settings: all settings, the method's and the preset's, with the variant applied.
    """

    suite: str
    version: int
    task: str
    method: str
    preset: str
    seed: int
    variant: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def method_folder(self) -> str:
        """The method's name in paths and tables: variants show their settings."""
        if not self.variant:
            return self.method
        return f"{self.method}@" + ",".join(f"{key}={_plain(value)}" for key, value in sorted(self.variant.items()))

    @property
    def folder(self) -> Path:
        return Path(self.suite, self.task, self.method_folder, self.preset, f"seed-{self.seed}")


def make_spec(
    suite: Suite, task: str, method: str, preset: str, seed: int, variant: Mapping[str, Any] | None = None
) -> Spec:
    """Return the spec of one run.

    Raises:
        UserError: for unknown names, settings or types of settings.
    """
    if task not in suite.tasks:
        raise unknown("task", task, suite.tasks)
    if method not in suite.methods:
        raise unknown("method", method, suite.methods)
    if preset not in suite.presets:
        raise unknown("preset", preset, suite.presets)
    if not 0 <= seed < 2**32:
        raise UserError(f"seeds must be from 0 to 2**32 - 1, got {seed}")
    settings = standard_settings(suite, task, method, preset)
    variant = dict(variant or {})
    stored = flat_keys(settings)
    further = {} if all(key in stored for key in variant) else suite.further_settings(settings)
    for key, value in list(variant.items()):
        if key in further and key not in stored:
            try:
                further[key].check(key, value)
            except ValueError as error:
                raise UserError(str(error)) from None
            if further[key].value == value:
                del variant[key]
            else:
                settings = _store(settings, key, value)
        elif lookup(settings, key, further) == value:
            del variant[key]
        else:
            settings = _assign(settings, key, value)
    if settings.get("precision") == "auto":
        raise UserError(
            "precision must be float32 or bfloat16 in a suite, got 'auto', which depends on the machine: runs of "
            "both kinds would share a row"
        )
    spec = Spec(suite.name, suite.version, task, method, preset, seed, variant, settings)
    try:
        suite.check(spec)
    except (TypeError, ValueError) as error:
        raise UserError(f"{method} cannot be trained with these settings: {error}") from None
    return spec


def standard_settings(suite: Suite, task: str, method: str, preset: str) -> dict[str, Any]:
    """Return the settings of a run that no ``--set`` has changed."""
    chosen = suite.methods[method]
    shared = suite.presets[preset].settings if chosen.trains else {}
    return _merge(_merge(shared, chosen.settings), chosen.task_settings.get(task, {}))


def with_variant(settings: Mapping[str, Any], variant: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings with those of a variant, by dotted key, in place of theirs."""
    for key, value in variant.items():
        settings = _store(settings, key, value)
    return settings


def _merge(settings: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in other.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def flat_keys(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in settings.items():
        keys += flat_keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [prefix + key]
    return keys


def lookup(settings: Mapping[str, Any], dotted: str, further: Collection[str] = ()) -> Any:
    if dotted not in flat_keys(settings):
        raise unknown("setting", dotted, sorted({*flat_keys(settings), *further}))
    value: Any = settings
    for key in dotted.split("."):
        value = value[key]
    return value


def _assign(settings: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    old = lookup(settings, dotted)
    if isinstance(old, float):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    elif isinstance(old, int) and not isinstance(old, bool):
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = old is None or isinstance(value, type(old))
    if not fits:
        raise UserError(f"setting {dotted} takes a value like {old!r}, got {value!r}")
    return _store(settings, dotted, value)


def _store(settings: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    head, _, tail = dotted.partition(".")
    return {**settings, head: _store(settings.get(head, {}), tail, value) if tail else value}


def precision_of(suite: Suite, spec: Spec) -> str:
    """Return "float32", "bfloat16" or "float64": the precision of what a run computes, on any machine."""
    method = suite.methods[spec.method]
    return spec.settings.get("precision") or method.precision or ("float32" if method.trains else "float64")


def _plain(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
    return "".join(c if (c.isascii() and c.isalnum()) or c in "._-+" else "_" for c in text)
