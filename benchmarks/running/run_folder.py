"""Run folders: one run, one folder, written so that a kill at any moment loses nothing.

<out>/<suite>/<task>/<method>/<preset>/seed-<n>/
    run.json      the spec (all settings), its digest, versions, machine
    curve.jsonl   one row per evaluation, appended
    result.json   score, further scores, outcomes; written last, under a temporary name, and sealed with a digest
    checkpoint/   what training goes on from
    pictures/     PNG files for the site, of suites that draw any
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bisimgym.baselines.core.atomic_write import atomic_write
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import SUITES, load_suite
from bisimgym.benchmarks.suites.base import Outcome, Spec

try:
    import fcntl
except ImportError:  # Windows has no such locks; runs of one folder must then not overlap
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
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
        return sorted(p for p in (self.path / "pictures").glob("*.png") if p.is_file() and not p.is_symlink())


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


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
        self.checkpoint = self.path / "checkpoint"
        self.pictures = self.path / "pictures"
        self._on_progress = on_progress or (lambda done, total: None)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder: two processes must not write one run. The lock falls with the process that holds it."""
        make_folder(self.path)
        with (self.path / ".lock").open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UserError(
                        f"another process is running {self.path}: wait for it, or use another --out"
                    ) from None
            yield
        (self.path / ".lock").unlink(missing_ok=True)

    def start(self, environment: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write ``run.json``, or check that the one that is there is of this very spec and return it.

        Args:
            environment: versions, machine and the like, for a fresh run.
        """
        path = self.path / "run.json"
        if path.exists():
            run = _read_json(path)
            _check_spec(path, run)
            if run["spec_digest"] != digest(asdict(self.spec)):
                raise UserError(
                    f"{self.path} holds a run with other settings ({_difference(run['spec'], asdict(self.spec))}): "
                    "use another --out, or move that folder away"
                )
            return run
        unexpected = sorted(p.name for p in self.path.iterdir() if not p.name.startswith("."))
        if unexpected:
            raise UserError(
                f"{self.path} is damaged: run.json is missing (there is {', '.join(unexpected)}); move that folder away"
            )
        run = {"format": FORMAT, "spec": asdict(self.spec), "spec_digest": digest(asdict(self.spec)), **environment}
        write_json(path, run)
        return run

    def resume_curve(self, x_name: str, done: int) -> list[dict[str, Any]]:
        path = self.path / "curve.jsonl"
        if not path.exists():
            return []
        rows = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break  # a kill while the row was written; it lies beyond the checkpoint
            if not isinstance(row, dict) or not isinstance(row.get(x_name), int):
                raise UserError(f"{path} is damaged (a row without {x_name!r}): move the folder away")
            if row[x_name] <= done:
                rows.append(row)
        with atomic_write(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return rows

    def log(self, row: dict[str, Any]) -> None:
        with (self.path / "curve.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def progress(self, done: int, total: int) -> None:
        self._on_progress(done, total)

    def finish(self, outcome: Outcome, lower_is_better: bool, extra: Mapping[str, Any]) -> RunResult:
        """Write ``result.json``: the run is done."""
        spec = asdict(self.spec)
        result = {
            "format": FORMAT,
            **{key: spec[key] for key in ("suite", "task", "method", "variant", "preset", "seed")},
            "score": outcome.score,
            "lower_is_better": lower_is_better,
            "scores": dict(outcome.scores),
            "outcomes": dict(outcome.outcomes),
            "spec_digest": digest(spec),
            **extra,
        }
        write_json(self.path / "result.json", {**result, "digest": digest(result)})
        return read_run(self.path)


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
    return (path / "result.json").exists()


def read_run(path: Path) -> RunResult:
    """Read and verify a finished run.

    Raises:
        UserError: if a file is missing, damaged or was edited, naming the file.
    """
    run = _read_json(path / "run.json")
    _check_spec(path / "run.json", run)
    result = _read_json(path / "result.json")
    sealed = {key: value for key, value in result.items() if key != "digest"}
    if result.get("digest") != digest(sealed):
        raise UserError(
            f"{path / 'result.json'} was changed after it was written (its digest does not match): restore it, or move "
            "the folder away and run again"
        )
    if result.get("spec_digest") != run["spec_digest"]:
        raise UserError(f"{path}: result.json and run.json belong to different runs; move the folder away")
    spec = Spec(**run["spec"])
    _check_comparable(path / "run.json", spec)
    try:
        stored = {"score": result["score"], **result["scores"]}
        again = load_suite(spec.suite).rescore(spec.task, spec.seed, result["outcomes"])
        follows = all(map(math.isfinite, stored.values())) and all(
            math.isclose(stored[name], value, abs_tol=1e-9) for name, value in again.items()
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path / 'result.json'} is damaged ({error!r}): move the folder away and run again") from None
    if not follows:
        raise UserError(
            f"{path / 'result.json'}: the scores do not follow from the outcomes; move the folder away and run again"
        )
    return RunResult(path, spec, result["score"], result["scores"], result["outcomes"], _read_curve(path), run, result)


def _check_comparable(path: Path, spec: Spec) -> None:
    """Refuse runs that this version of the suites cannot stand beside its own."""
    if spec.suite not in SUITES:
        raise UserError(f"{path} is of suite {spec.suite!r}, which this version of bisimgym does not know")
    suite = load_suite(spec.suite)
    if spec.task not in suite.tasks:
        raise UserError(f"{path} is of task {spec.task!r}, which suite {spec.suite!r} does not have")
    if spec.version != suite.version:
        raise UserError(
            f"{path} is of version {spec.version} of suite {spec.suite!r}; this bisimgym has version "
            f"{suite.version}, and the two are not comparable: run again, or leave the folder out"
        )


def find_runs(folders: Sequence[Path]) -> list[RunResult]:
    """Return every finished run below the folders, in order of their paths; unfinished runs are passed over.

    Raises:
        UserError: for a folder that does not exist or holds no finished run, and for damaged runs.
    """
    runs: dict[Path, RunResult] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give folders that `bisimgym run --out` wrote")
        finished = sorted(p.parent for p in folder.rglob("run.json") if is_finished(p.parent))
        if lost := [p.parent for p in folder.rglob("result.json") if not (p.parent / "run.json").exists()]:
            raise UserError(f"{lost[0]} is damaged: run.json is missing; move that folder away")
        if not finished:
            raise UserError(f"{folder} holds no finished run: run `bisimgym run SUITE --out {folder}` first")
        for path in finished:
            result = read_run(path)
            known = runs.setdefault(result.spec.folder, result)
            if known.result["digest"] != result.result["digest"]:
                raise UserError(f"{path} and {known.path} are two results of the same run: give only one of them")
    return list(runs.values())


def committed_runs() -> list[RunResult]:
    """Return the results that come with the package."""
    return find_runs([COMMITTED])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except FileNotFoundError:
        raise UserError(f"{path.parent} is damaged: {path.name} is missing; move that folder away") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it or move the folder away") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise UserError(f"{path} is not a file of format {FORMAT}: it was not written by this version of bisimgym")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _check_spec(path: Path, run: Mapping[str, Any]) -> None:
    try:
        matches = digest(asdict(Spec(**run["spec"]))) == run["spec_digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged (spec: {error}): restore it or move the folder away") from None
    if not matches:
        raise UserError(
            f"{path} was changed after it was written (its digest does not match): restore it or move the folder away"
        )


def _read_curve(path: Path) -> list[dict[str, Any]]:
    file = path / "curve.jsonl"
    if not file.exists():
        return []
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file} is damaged ({error}): restore it or move the folder away") from None


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    changed = [key for key in new if old.get(key) != new[key]]
    if changed == ["settings"]:
        old, new = old["settings"], new["settings"]
        changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "; ".join(f"{key} {old.get(key)!r} there, {new.get(key)!r} here" for key in changed)
