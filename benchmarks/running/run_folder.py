"""Run folders: one run, one folder, written so that a kill at any moment loses nothing.

<out>/<suite>/<task>/<method>/<preset>/seed-<n>/
    run.json      the spec (all settings), its digest, versions, machine, and those it was resumed under
    curve.jsonl   one row per evaluation, appended
    result.json   scores, outcomes, digests of all files that pages show; written last, sealed with a digest of itself
    marks.json    what the curve was at the last two checkpoints
    checkpoint/   what training goes on from; it carries the digest of the run's spec
    pictures/     PNG files for the site, of suites that draw any, and replay.json, of those whose episodes pages replay

All of it is read through :mod:`~bisimgym.benchmarks.running.reading` and checked by
:mod:`~bisimgym.benchmarks.running.schema`: a folder may come from a stranger. The seal tells damage and edits; it is
no signature: who computes it anew can claim any possible score. Loading a checkpoint runs code that is stored in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.names import check_name
from bisimgym.benchmarks.running import reading, schema
from bisimgym.benchmarks.running.lock import held
from bisimgym.benchmarks.running.schema import digest
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Outcome, Spec
from bisimgym.benchmarks.suites.replays import BYTES as REPLAY_BYTES
from bisimgym.benchmarks.suites.replays import REPLAY
from bisimgym.envs.files import atomic_write

__all__ = ["RunResult", "committed_runs", "find_runs", "read_run"]

Checked = TypeVar("Checked")
#: Of one run.
MOST_PICTURES = 50
#: The results that come with the package.
COMMITTED = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class RunResult:
    """A finished run, as read from its folder and verified.

    Attributes:
        path: the folder.
        spec: what was run.
        score: the headline number; ``scores`` and ``outcomes`` as in :class:`Outcome`.
        curve: the learning curve's rows.
        run: ``run.json``.
        result: ``result.json``.
    """

    path: Path
    spec: Spec
    score: float
    scores: Mapping[str, float]
    outcomes: Mapping[str, list]
    curve: Sequence[Mapping[str, Any]]
    run: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def pictures(self) -> list[Path]:
        """The run's PNG files, in order of their names."""
        return [file for file in _pictures(self.path) if file.suffix == ".png"]

    @property
    def replay(self) -> Mapping[str, Any] | None:
        """Episodes, as :class:`~bisimgym.benchmarks.suites.replays.Replay` has them, or None where there are none."""
        file = self.path / "pictures" / REPLAY
        return _read_replay(file) if REPLAY in self.result["pictures"] and os.path.lexists(file) else None


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(_layout(value) + "\n", encoding="utf-8")


def _layout(value: Any, depth: int = 0) -> str:
    """Return JSON with one line per key at the top two levels, so that columns of outcomes stay on one line."""
    if depth == 2 or not isinstance(value, dict) or not (value or depth == 0):
        return json.dumps(value, allow_nan=False)
    space = "  " * depth
    lines = [f"{space}  {json.dumps(key)}: {_layout(item, depth + 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{space}}}"


class RunFolder:
    """The folder of one run, for the process that runs it. Implements the suites' ``Monitor``."""

    def __init__(self, out: Path, spec: Spec, on_progress: Any = None):
        self.path = out / spec.folder
        self.spec = spec
        self._out = out
        self._rows: list[dict[str, Any]] = []
        self.checkpoint = self.path / "checkpoint"
        self.pictures = self.path / "pictures"
        self.progress = on_progress or (lambda done, total: None)

    @property
    def run_digest(self) -> str:
        return digest(asdict(self.spec))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder: two processes must not write one run. The lock falls with the process that holds it."""
        reading.check_no_links(self._out, self.path)
        make_folder(self.path)
        with held(self.path / ".lock", self.path):
            yield

    def start(self, environment: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write ``run.json``, or check that the one that is there is of this very spec and return it.

        Args:
            environment: versions, machine and the like, for a fresh run.
        """
        if (run := self.begun()) is not None:
            return run
        run = {"format": schema.FORMAT, "spec": asdict(self.spec), "spec_digest": self.run_digest, **environment}
        write_json(self.path / "run.json", run)
        return run

    def begun(self) -> Mapping[str, Any] | None:
        """Return the ``run.json`` that is there, of this very spec, or None of an empty folder; all else is refused."""
        path = self.path / "run.json"
        if os.path.lexists(path):
            run, _ = read_record(path)
            if run["spec_digest"] != self.run_digest:
                other = schema.difference(run["spec"], asdict(self.spec))
                raise UserError(
                    f"{self.path} holds a run with other settings ({other}): use another --out, or move it away"
                )
            return run
        unexpected = sorted(p.name for p in self.path.iterdir() if not p.name.startswith("."))
        if unexpected:
            raise UserError(
                f"{self.path} is damaged: run.json is missing (there is {', '.join(unexpected)}); move that folder away"
            )
        return None

    def resume(self, run: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Note versions and machine in ``run.json`` where they are not those that the run was last worked on under."""
        before = [run, *run.get("resumed", [])][-1]
        if any(before.get(name) != value for name, value in environment.items()):
            write_json(self.path / "run.json", {**run, "resumed": [*run.get("resumed", []), environment]})

    def rows(self) -> list[dict[str, Any]]:
        """Return the curve so far, without a last row that a kill cut in half."""
        path = self.path / "curve.jsonl"
        if not os.path.lexists(path):
            return []
        rows = []
        for line in reading.read_bytes(path).splitlines():
            try:
                rows.append(reading.parse_json(line.decode("utf-8")))
            except ValueError:
                break  # what lies beyond the last mark is written again, and what lies before is checked against it
        return rows

    def resume_curve(self, x_name: str, done: int) -> list[dict[str, Any]]:
        path = self.path / "curve.jsonl"
        rows: list[dict[str, Any]] = []
        if done > 0:
            mark = self.marks().get(done)
            if mark is None:
                raise reading.damaged(self.path / "marks.json", f"it does not know the checkpoint at {x_name} {done}")
            rows = self.rows()[: mark["rows"]]
            if digest(rows) != mark["digest"]:
                raise UserError(
                    f"{path} was changed or lost rows since the checkpoint at {x_name} {done} was written: restore it, "
                    "or move the folder away and run again"
                )
            _checked(path, schema.check_curve, rows, load_suite(self.spec.suite))
        self._rows = rows
        with atomic_write(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return list(rows)

    def seconds_before(self, done: int) -> float:
        return self.marks().get(done, {}).get("seconds", self._rows[-1]["seconds"] if self._rows else 0.0)

    def mark(self, done: int, seconds: float, total: int) -> None:
        now = {"x": done, "total": total, "seconds": seconds, "rows": len(self._rows), "digest": digest(self._rows)}
        marks = {**self.marks(), done: now}
        latest = [marks[x] for x in sorted(x for x in marks if x <= done)[-2:]]
        write_json(self.path / "marks.json", {"format": schema.FORMAT, "run": self.run_digest, "marks": latest})

    def marks(self) -> dict[int, dict[str, Any]]:
        """Return what the curve was at the last two checkpoints, by their x."""
        path = self.path / "marks.json"
        if not os.path.lexists(path):
            return {}
        stored = reading.read_json(path)
        return _checked(path, schema.check_marks, stored, self.run_digest)

    def log(self, row: dict[str, Any]) -> None:
        line = json.dumps(row, allow_nan=False) + "\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with os.fdopen(reading.open_regular(self.path / "curve.jsonl", flags), "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._rows.append(row)

    def finish(self, outcome: Outcome, lower_is_better: bool, extra: Mapping[str, Any]) -> RunResult:
        """Write ``result.json``: the run is done."""
        spec = asdict(self.spec)
        result = {
            "format": schema.FORMAT,
            **{key: spec[key] for key in ("suite", "task", "method", "variant", "preset", "seed")},
            "score": outcome.score,
            "lower_is_better": lower_is_better,
            "scores": dict(outcome.scores),
            "outcomes": dict(outcome.outcomes),
            **extra,
        }
        write_json(self.path / "result.json", sealed(self.path, result))
        return read_run(self.path)


def sealed(path: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with the digests of all other files of its folder that pages show, and of itself."""
    run, _ = read_record(path / "run.json")
    digests = {
        "spec_digest": run["spec_digest"],
        "record_digest": schema.record_digest(run),
        "curve_digest": digest(_read_curve(path)),
        "pictures": {file.name: _picture_digest(file) for file in _pictures(path)},
    }
    bare = {key: value for key, value in result.items() if key != "digest"} | digests
    return {**bare, "digest": digest(bare)}


def make_folder(path: Path) -> None:
    """Create a folder or say why it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror or error}; choose another --out") from error


def is_finished(path: Path) -> bool:
    return os.path.lexists(path / "result.json")


def read_run(path: Path) -> RunResult:
    """Read and verify a finished run.

    Raises:
        UserError: if a file is missing, damaged, was edited or does not belong there, or holds what cannot be; it names
            the file.
    """
    run, spec = read_record(path / "run.json")
    suite = _checked(path / "run.json", schema.check_spec, spec)
    _checked(path / "run.json", schema.check_environments, run, suite, spec.task)
    _check_place(path, spec)
    file = path / "result.json"
    result = reading.read_json(file)
    _checked(file, schema.check_format, result)
    if result.get("digest") != digest({key: value for key, value in result.items() if key != "digest"}):
        raise _changed(file)
    if result.get("spec_digest") != run["spec_digest"]:
        raise UserError(f"{path}: result.json and run.json belong to different runs; move the folder away")
    if result.get("record_digest") != schema.record_digest(run):
        raise _changed(path / "run.json")
    curve = _read_curve(path)
    if result.get("curve_digest") != digest(curve):
        raise _changed(path / "curve.jsonl")
    _checked(path / "curve.jsonl", schema.check_curve, curve, suite)
    _checked(file, schema.check_result, result, spec, suite, curve)
    for picture in _pictures(path):
        if result["pictures"].get(picture.name) != _picture_digest(picture):
            raise _changed(picture)
        if picture.name == REPLAY:
            _read_replay(picture)
    return RunResult(path, spec, result["score"], result["scores"], result["outcomes"], curve, run, result)


def find_runs(folders: Sequence[Path]) -> list[RunResult]:
    """Return every finished run below the folders, in order of their paths; unfinished runs are passed over.

    Raises:
        UserError: for a folder that does not exist or holds no finished run, for damaged runs, and for one result that
            is given as several.
    """
    runs: dict[Path, RunResult] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give folders that `bisimgym run --out` wrote")
        finished = [path for path in reading.run_folders(folder) if is_finished(path)]
        if not finished:
            raise UserError(f"{folder} holds no finished run: run `bisimgym run SUITE --out {folder}` first")
        for path in finished:
            result = read_run(path)
            known = runs.setdefault(result.spec.folder, result)
            if known.result["digest"] != result.result["digest"]:
                raise UserError(f"{path} and {known.path} are two results of the same run: give only one of them")
    _check_seeds_differ(runs.values())
    return list(runs.values())


def learned_here(spec: Spec) -> bool:
    """Return whether a run's numbers depend on its seed because something was trained."""
    if spec.preset == EXTERNAL:
        return False
    return load_suite(spec.suite).methods[spec.method].trains


def _check_seeds_differ(runs: Iterable[RunResult]) -> None:
    """Refuse outcomes and curve (with its times) of one trained run under the name of another seed."""
    known: dict[tuple[Path, str], RunResult] = {}
    for run in runs:
        if learned_here(run.spec) and run.curve:
            same = known.setdefault((run.spec.folder.parent, digest([run.outcomes, run.curve])), run)
            if same is not run:
                raise UserError(
                    f"{run.path} and {same.path} are one training under two seeds (outcomes, curve and times are the "
                    "same): leave one of them out"
                )


def committed_runs() -> list[RunResult]:
    """Return the results that come with the package."""
    return find_runs([COMMITTED])


def _checked(path: Path, check: Callable[..., Checked], *values: Any) -> Checked:
    """Return what a check of ``schema`` returns; its error names the file."""
    try:
        return check(*values)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise reading.damaged(path, error) from None


def _changed(path: Path) -> UserError:
    return UserError(
        f"{path} was changed after it was written (its digest does not match): restore it, or move the folder away and "
        "run again"
    )


def read_record(path: Path) -> tuple[dict[str, Any], Spec]:
    """Return ``run.json`` and its spec."""
    run = reading.read_json(path)
    spec = _checked(path, schema.check_run, run)
    if digest(run["spec"]) != run["spec_digest"]:
        raise _changed(path)
    return run, spec


def _read_curve(path: Path) -> list[dict[str, Any]]:
    file = path / "curve.jsonl"
    if not os.path.lexists(file):
        return []
    lines = reading.read_text(file).split("\n")
    return [_checked(file, reading.parse_json, line) for line in lines if line.strip()]


def _pictures(path: Path) -> list[Path]:
    folder = path / "pictures"
    if not os.path.lexists(folder):
        return []
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{folder} is not a folder of pictures: move it away")
    files = sorted(file for file in folder.iterdir() if file.suffix == ".png" or file.name == REPLAY)
    if len(files) > MOST_PICTURES:
        raise reading.damaged(folder, f"more than {MOST_PICTURES} pictures")
    for file in files:
        _checked(file, check_name, "the name of a picture", file.name)
    return files


def _read_replay(file: Path) -> dict[str, Any]:
    replay = reading.read_json(file, REPLAY_BYTES)
    _checked(file, schema.check_replay, replay)
    return replay


def _picture_digest(file: Path) -> str:
    return hashlib.sha256(reading.read_bytes(file, reading.PICTURE_BYTES)).hexdigest()


def _check_place(path: Path, spec: Spec) -> None:
    """Refuse a folder in the place of another run; folders beside the layout of ``run`` are what they say they are."""
    parts = path.resolve().parts
    if parts[-1].startswith("seed-") and parts[-len(spec.folder.parts) :] != spec.folder.parts:
        raise UserError(f"{path} is in the place of another run: it is {spec.folder}, move it there")
