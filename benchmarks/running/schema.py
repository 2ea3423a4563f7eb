"""What ``run.json``, ``result.json`` and ``curve.jsonl`` may hold: types, lengths and ranges, in one place.

Every function raises ``ValueError``, whose message names the key, what it holds and what is allowed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bisimgym.benchmarks.names import check_name, check_text, shortened
from bisimgym.benchmarks.suites import SUITES, load_suite, replays
from bisimgym.benchmarks.suites.base import (
    EXTERNAL,
    Bounds,
    Spec,
    Suite,
    flat_keys,
    lookup,
    standard_settings,
    with_variant,
)
from bisimgym.envs.digests import DIGESTS

FORMAT = 2
#: Steps of environments that an outside agent may learn from.
MOST_BUDGET = 10**12
#: Most entries of an object or a list of facts, most rows of a curve, most characters of a variant's name (a folder).
FACTS, ROWS, VARIANT_LENGTH = 200, 20_000, 200
#: A century of training, in seconds.
_CENTURY = 3.2e9
#: Rounding that sums of the same numbers may differ by.
_ROUNDING = 1e-9
_SPEC_KEYS = {field.name for field in dataclasses.fields(Spec)}


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def record_digest(run: Mapping[str, Any]) -> str:
    """Return the digest of what ``run.json`` holds beside the spec, which has its own: versions, machine, command."""
    return digest({key: value for key, value in run.items() if key not in ("spec", "spec_digest")})


def check_format(value: Mapping[str, Any]) -> None:
    """Check that a file is of this format."""
    if type(value.get("format")) is not int or value["format"] != FORMAT:
        raise ValueError(
            f"it is not a file of format {FORMAT}: it was not written by this version of bisimgym; the format is "
            f"{shortened(value.get('format'))}"
        )


def check_run(run: Mapping[str, Any]) -> Spec:
    """Check all of ``run.json`` but the spec's digest and whether suites know its names, and return the spec."""
    check_format(run)
    spec = run.get("spec")
    if not isinstance(spec, dict) or set(spec) != _SPEC_KEYS:
        raise ValueError(f"spec must be an object of {', '.join(sorted(_SPEC_KEYS))}")
    for name in ("suite", "task", "method", "preset"):
        check_name(name, spec[name])
    for name in ("variant", "settings"):
        if not isinstance(spec[name], dict):
            raise ValueError(f"{name} must be an object, got {shortened(spec[name])}")
    for name in ("version", "seed"):
        check_integer(name, spec[name], 0, 2**32 - 1)
    check_hash("spec_digest", run.get("spec_digest"))
    for name, value in run.items():
        check_facts(name, value)
    for name in {"versions", "machine"} & set(run):
        if not isinstance(run[name], dict):
            raise ValueError(f"{name} must be an object, got {shortened(run[name])}")
    for name in {"command", "description"} & set(run):
        check_text(name, run[name])
    resumed = run.get("resumed", [])
    if not isinstance(resumed, list) or not all(isinstance(part, dict) for part in resumed):
        raise ValueError(f"resumed must be a list of objects, got {shortened(resumed)}")
    return Spec(**spec)


def check_spec(spec: Spec) -> Suite:
    """Check that a spec is of a suite, task, preset and method that there are, and return the suite."""
    if spec.suite not in SUITES:
        raise ValueError(f"it is of suite {spec.suite!r}, which this version of bisimgym does not know")
    suite = load_suite(spec.suite)
    known: dict[str, Collection[str]] = {"task": suite.tasks, "preset": [*suite.presets, EXTERNAL]}
    if spec.preset != EXTERNAL:
        known["method"] = suite.methods
    for what, names in known.items():
        if getattr(spec, what) not in names:
            raise ValueError(
                f"it is of {what} {getattr(spec, what)!r}, which suite {spec.suite!r} does not have: it has "
                f"{', '.join(names)}"
            )
    if spec.version != suite.version:
        raise ValueError(
            f"it is of version {spec.version} of suite {spec.suite!r}; this bisimgym has version {suite.version}, and "
            "the two are not comparable: run again, or leave the folder out"
        )
    if spec.preset == EXTERNAL:
        if spec.variant or not set(spec.settings) <= {"budget"}:
            raise ValueError("an outside agent has no variant, and no setting but its budget")
        check_integer("budget", spec.settings.get("budget", 0), 0, MOST_BUDGET)
        return suite
    keys = flat_keys(spec.settings)
    for key, value in spec.variant.items():
        check_name("a setting of the variant", key)
        if key not in keys or digest(lookup(spec.settings, key)) != digest(value):
            raise ValueError(f"the variant's {key} is {shortened(value)}, which is not what the settings hold")
    if len(spec.method_folder) > VARIANT_LENGTH:
        raise ValueError(f"the name of the variant has more than {VARIANT_LENGTH} characters")
    expected = with_variant(standard_settings(suite, spec.task, spec.method, spec.preset), spec.variant)
    if digest(expected) != digest(spec.settings):
        raise ValueError(
            f"its settings are not those of preset {spec.preset!r} here, and the two are not comparable "
            f"({shortened(difference(spec.settings, expected), 200)}): run again, or leave it out"
        )
    return suite


def environments(suite: Suite, task: str) -> dict[str, str]:
    """Return the digest of each environment that a task is made of, in this version of bisimgym."""
    return {env_id: DIGESTS[env_id] for env_id in suite.env_ids(task)}


def check_environments(run: Mapping[str, Any], suite: Suite, task: str) -> None:
    """Check that a run was made in the environments of this version, if it says: those of others are not comparable.

    Runs from before there were digests say nothing.
    """
    here = environments(suite, task)
    stored = run.get("environments", here)
    if not isinstance(stored, dict) or set(stored) != set(here):
        raise ValueError(f"environments must be an object of the digests of {', '.join(here)}, got {shortened(stored)}")
    for env_id, found in stored.items():
        if found != here[env_id]:
            raise ValueError(
                f"it was made in another {env_id}, of digest {shortened(found)}; in this bisimgym it has "
                f"{here[env_id][:12]}..., and the two are not comparable: run again, or leave it out"
            )


def check_agent_name(suite: Suite, name: object, what: str = "the name of an agent") -> None:
    """Check that a new outside agent may have a name: it is safe, and no method of the suite."""
    if check_name(what, name) in suite.methods:
        raise ValueError(f"{what}, {name}, is a method of the suite")


def check_result(result: Mapping[str, Any], spec: Spec, suite: Suite, curve: Sequence[Mapping[str, Any]]) -> None:
    """Check all of ``result.json`` but its digests: what it is, and that its numbers can be and follow."""
    check_format(result)
    for name in ("suite", "task", "method", "variant", "preset", "seed"):
        if digest(result.get(name)) != digest(getattr(spec, name)):
            raise ValueError(f"{name} is {shortened(result.get(name))}, and that of run.json is not")
    if result.get("lower_is_better") is not suite.lower_is_better:
        raise ValueError(f"lower_is_better is {shortened(result.get('lower_is_better'))}, and the suite says otherwise")
    outcomes, scores = result.get("outcomes"), result.get("scores")
    if not isinstance(outcomes, dict) or not isinstance(scores, dict):
        raise ValueError("outcomes and scores must be objects")
    for name, column in outcomes.items():
        if name not in suite.columns:
            raise ValueError(f"{shortened(name)} is no column of outcomes, which are {', '.join(suite.columns)}")
        _check_column(f"column {name!r} of outcomes", column, suite.columns[name])
    if unknown := [name for name in scores if name not in suite.measures]:
        raise ValueError(f"{shortened(unknown[0])} is none of the measures, which are {', '.join(suite.measures)}")
    stored = {"score": result.get("score"), **scores}
    for name, value in stored.items():
        check_number(name, value, *measure_bounds(suite, name))
    follows = {**suite.rescore(spec.task, spec.seed, outcomes), **_of_curve(suite, curve)}
    check_scores(stored, follows, spec.task, suite)
    pictures = result.get("pictures")
    if not isinstance(pictures, dict):
        raise ValueError(f"pictures must be an object, got {shortened(pictures)}")
    check_integer(suite.x_name, result.get(suite.x_name, 0), 0, 2**62)
    check_number("train_seconds", result.get("train_seconds", 0), 0, _CENTURY)
    check_integer("peak_memory", result.get("peak_memory", 0), 0, 2**50)
    check_text("finished", result.get("finished", ""))
    for name in set(result) - {"outcomes"}:
        check_facts(name, result[name])


def check_scores(stored: Mapping[str, float], follows: Mapping[str, float], task: str, suite: Suite) -> None:
    """Check that scores can be on a task and are what follows from outcomes and curve."""
    for name, most in suite.ceilings(task).items():
        if name in stored and stored[name] > most:
            raise ValueError(f"{name} is {stored[name]:.6g}, above {most:.6g}, which no agent can exceed on {task}")
    for name, value in follows.items():
        if name not in stored or not is_close(stored[name], value):
            raise ValueError(
                f"the scores do not follow from the outcomes and the curve: {name} is {shortened(stored.get(name))}, "
                f"and {value:.6g} follows"
            )


def is_close(one: float, other: float) -> bool:
    """Return whether two numbers are sums of the same numbers but for rounding."""
    return math.isclose(one, other, abs_tol=_ROUNDING)


def _of_curve(suite: Suite, curve: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
    """Return what follows from a curve: what its scores come to, and that its last row is the result."""
    if not curve:
        return {}
    last = {name: value for name, value in curve[-1].items() if name == "score" or name in suite.measures}
    return {**last, **suite.curve_scores([row["score"] for row in curve])}


def check_curve(rows: Sequence[Mapping[str, Any]], suite: Suite) -> None:
    """Check the rows of ``curve.jsonl``: x rises, and scores are within their bounds."""
    if len(rows) > ROWS:
        raise ValueError(f"it has more than {ROWS} rows")
    before = -1
    for number, row in enumerate(rows, start=1):
        where = f"row {number}"
        if "score" not in row or "seconds" not in row or suite.x_name not in row:
            missing = next(name for name in (suite.x_name, "score", "seconds") if name not in row)
            raise ValueError(f"a row without {missing!r}: {where}")
        check_integer(f"{suite.x_name} of {where}", row[suite.x_name], before + 1, 2**62)
        before = row[suite.x_name]
        check_number(f"seconds of {where}", row["seconds"], 0, _CENTURY)
        for name, value in row.items():
            check_name("a column of the curve", name)
            known = name == "score" or name in suite.measures
            check_number(f"{name} of {where}", value, *(measure_bounds(suite, name) if known else (-1e300, 1e300)))


def check_replay(replay: Mapping[str, Any]) -> None:
    """Check a replay: the keys, lengths and ranges of :class:`~bisimgym.benchmarks.suites.replays.Replay`."""
    _check_keys("a replay", replay, replays.Replay)
    for name in ("width", "height"):
        check_integer(name, replay[name], 1, replays.SIDE)
    _check_integers("agent", replay["agent"], [(1, replays.SIDE)] * 2)
    names = _list("actions", replay["actions"], replays.ACTIONS)
    for name in names:
        check_name("the name of an action", name)
    if not _list("episodes", replay["episodes"], replays.EPISODES):
        raise ValueError("episodes must not be empty")
    place = (-replays.SIDE, replays.SIDE)
    for episode in replay["episodes"]:
        _check_keys("an episode", episode, replays.Episode)
        check_text("the title of an episode", episode["title"])
        if type(episode["solved"]) is not bool:
            raise ValueError(f"solved must be true or false, got {shortened(episode['solved'])}")
        for shape in _list("shapes", episode["shapes"], replays.SHAPES):
            if not isinstance(shape, list) or not shape or shape[0] not in replays.KINDS:
                raise ValueError(f"a shape must begin with {', '.join(replays.KINDS)}, got {shortened(shape)}")
            _check_integers("a shape", shape[1:], [place, place, (1, replays.SIDE), (1, replays.SIDE)])
        path, taken = (_list(name, episode[name], replays.STEPS + 1) for name in ("path", "taken"))
        if len(path) != len(taken) + 1:
            raise ValueError(f"a path of {len(path)} places does not go with {len(taken)} actions")
        for where in path:
            _check_integers("a place", where, [place, place])
        for action in taken:
            check_integer("an action", action, 0, len(names) - 1)


def _check_keys(what: str, value: Any, kind: Any) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(value, dict) or set(value) != set(names):
        raise ValueError(f"{what} must be an object of {', '.join(names)}, got {shortened(value)}")


def _list(name: str, value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"{name} must be a list of at most {most} entries, got {shortened(value)}")
    return value


def _check_integers(name: str, value: Any, bounds: Sequence[tuple[int, int]]) -> None:
    if not isinstance(value, list) or len(value) != len(bounds):
        raise ValueError(f"{name} must be a list of {len(bounds)} integers, got {shortened(value)}")
    for item, (least, most) in zip(value, bounds, strict=True):
        check_integer(f"a number of {name}", item, least, most)


def check_marks(stored: Mapping[str, Any], run_digest: str) -> dict[int, dict[str, Any]]:
    """Check ``marks.json`` and return the number of rows and their digest by the x of a checkpoint."""
    check_format(stored)
    if stored.get("run") != run_digest:
        raise ValueError("it is of another run")
    marks = stored.get("marks")
    if not isinstance(marks, list) or len(marks) > 2 or not all(isinstance(mark, dict) for mark in marks):
        raise ValueError(f"marks must be a list of at most two objects, got {shortened(marks)}")
    for mark in marks:
        check_integer("x of a mark", mark.get("x"), 0, 2**62)
        check_integer("rows of a mark", mark.get("rows"), 0, ROWS)
        check_hash("digest of a mark", mark.get("digest"))
        check_number("seconds of a mark", mark.get("seconds", 0.0), 0, _CENTURY)  # older marks lack it
        check_integer("total of a mark", mark.get("total", 0), 0, 2**62)
    return {mark["x"]: mark for mark in marks}


def measure_bounds(suite: Suite, name: str) -> Bounds:
    """Return what a measure, or "score", can be."""
    return suite.bounds if name == "score" else suite.measures[name].bounds or suite.bounds


def check_facts(what: str, value: Any) -> None:
    """Check what is shown and never computed with: texts and numbers, and few of them."""
    if isinstance(value, str):
        check_text(shortened(what), value)
    elif isinstance(value, dict | list):
        if len(value) > FACTS:
            raise ValueError(f"{shortened(what)} has more than {FACTS} entries")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            check_text(f"a key of {shortened(what)}", str(key))
            check_facts(f"{what}.{key}", item)


def check_hash(name: str, value: object) -> None:
    """Check that a value has the length of a SHA-256 in hexadecimal digits."""
    if not isinstance(value, str) or len(value) != 64:
        raise ValueError(f"{name} must be a digest of 64 characters, got {shortened(value)}")


def check_integer(name: str, value: Any, least: int, most: int) -> None:
    """Check that a value is an integer from ``least`` to ``most``, and no bool."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be an integer from {least} to {most}, got {shortened(value)}")


def check_number(name: str, value: Any, least: float, most: float) -> None:
    """Check that a value is a finite number from ``least`` to ``most``, but for rounding."""
    number = type(value) in (int, float) and math.isfinite(value)
    if not number or not least - _ROUNDING <= value <= most + _ROUNDING:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, got {shortened(value)}")


def _check_column(name: str, column: Any, kind: type | range | Bounds) -> None:
    if not isinstance(column, list) or not column:
        raise ValueError(f"{name} must be a list that is not empty, got {shortened(column)}")
    kinds = set(map(type, column))
    if not _fit(column, kinds, kind):
        for value in dict.fromkeys(column) if kinds == {str} else column:
            check_entry(f"{name}: an entry", value, kind)


def _fit(column: list[Any], kinds: set[type], kind: type | range | Bounds) -> bool:
    """Return whether all entries are certainly right: all at once, as ``check_entry`` checks them one by one."""
    if isinstance(kind, tuple):
        if not kinds <= {int, float} or not all(map(math.isfinite, column)):
            return False
        return kind[0] <= min(column) and max(column) <= kind[1]
    if isinstance(kind, range):
        return kinds == {int} and kind[0] <= min(column) and max(column) <= kind[-1]
    return kinds == {kind} and kind is not str


def check_entry(name: str, value: Any, kind: type | range | Bounds) -> None:
    """Check an entry of a column of outcomes, whose kinds are those of ``Suite.columns``."""
    if isinstance(kind, tuple):
        check_number(name, value, *kind)
    elif isinstance(kind, range):
        check_integer(name, value, kind[0], kind[-1])
    elif type(value) is not kind:
        raise ValueError(f"{name} must be of type {kind.__name__}, got {shortened(value)}")
    elif isinstance(value, str):
        check_name(name, value)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return what differs between two specs, or two of their settings, for a message."""
    if (changed := [key for key in {**old, **new} if old.get(key) != new.get(key)]) == ["settings"]:
        return difference(old["settings"], new["settings"])
    return "; ".join(f"{key} {old.get(key)!r} there, {new.get(key)!r} here" for key in changed)
