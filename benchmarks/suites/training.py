"""The one training loop of all suites: train, evaluate, log, save, and go on where a run was cut off."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import deadline
from bisimgym.benchmarks.running.reading import check_no_links
from bisimgym.benchmarks.suites.base import Monitor, Outcome
from bisimgym.envs.files import atomic_write

Model = TypeVar("Model", bound=Any)
#: Reports how much is done; returns True, by which callbacks of SB3 go on.
Reached = Callable[[int], bool]


def train_with_evaluations(
    monitor: Monitor,
    x_name: str,
    *,
    before: int = 0,
    done: int,
    total: int,
    every: int,
    train: Callable[[Reached], Any],
    evaluate: Callable[[], Outcome],
    save: Callable[[], Any],
    complete: Callable[[Sequence[float]], Outcome] | None = None,
    columns: Callable[[], Mapping[str, float]] = dict,
    from_start: bool = False,
) -> Outcome:
    """Train, with an evaluation, a row of the curve and a checkpoint at every multiple of ``every`` and at the end.

    Args:
        monitor: of the run.
        x_name: what is counted: the x axis of the curve.
        before: what was done before this began, which progress counts and the curve does not.
        done: how much the checkpoint has, 0 without one.
        total: how much there will be.
        every: how much lies between two evaluations, at least as much as between two calls of ``reached``.
        train: ``train(reached)`` trains from ``done`` to ``total``, if there is anything between, and calls
            ``reached(done)`` wherever training can be saved and go on.
        evaluate: scores what is trained so far.
        save: writes a checkpoint.
        complete: ``complete(scores)`` is the last evaluation, given the scores of those before; None: ``evaluate()``.
        columns: further columns of the rows.
        from_start: whether the curve begins with an evaluation before training.

    Returns:
        The last evaluation.
    """
    (outcome,) = train_seeds_with_evaluations(
        [monitor],
        x_name,
        before=before,
        done=done,
        total=total,
        every=every,
        train=train,
        evaluate=lambda: [evaluate()],
        save=save,
        complete=(lambda scores: [complete(scores[0])]) if complete else None,
        columns=columns,
        from_start=from_start,
    )
    return outcome


def train_seeds_with_evaluations(
    monitors: Sequence[Monitor],
    x_name: str,
    *,
    before: int = 0,
    done: int,
    total: int,
    every: int,
    train: Callable[[Reached], Any],
    evaluate: Callable[[], Sequence[Outcome]],
    save: Callable[[], Any],
    complete: Callable[[Sequence[Sequence[float]]], Sequence[Outcome]] | None = None,
    columns: Callable[[], Mapping[str, float]] = dict,
    from_start: bool = False,
) -> Sequence[Outcome]:
    """Do what :func:`train_with_evaluations` does for several runs that are trained as one and stand at the same place.

    Monitors, evaluations and scores are those of all runs, in one order; ``save`` writes all checkpoints. The seconds
    of a row are a run's equal share.

    Raises:
        OutOfTime: if the time given to this process is over, at a place from which training goes on.
    """
    curves = [monitor.resume_curve(x_name, done) for monitor in monitors]
    watch = Stopwatch(sum(monitor.seconds_before(done) for monitor in monitors))
    scores = [[row["score"] for row in curve] for curve in curves]
    due = (done // every + 1) * every

    def log(at: int, outcomes: Sequence[Outcome]) -> None:
        seconds = round(watch.seconds() / len(monitors), 2)
        for monitor, scored, outcome in zip(monitors, scores, outcomes, strict=True):
            scored.append(outcome.score)
            row = {x_name: at, "score": outcome.score, **outcome.scores, **columns()}
            monitor.log({**row, "seconds": seconds})

    def mark(at: int) -> None:
        for monitor in monitors:
            monitor.mark(at, round(watch.seconds() / len(monitors), 2), total)

    def report(at: int) -> None:
        for monitor in monitors:
            monitor.progress(before + at, before + total)

    def reached(at: int) -> bool:
        nonlocal due
        stops = at < total and deadline.is_over()
        if due <= at < total or stops:
            with watch.paused():
                if due <= at:
                    due += every
                    log(at, evaluate())
                mark(at)
                save()
        report(at)
        if stops:
            deadline.check(f"{x_name} {at} of {total}")
        return True

    if from_start and not any(curves) and done < total:
        with watch.paused():
            log(done, evaluate())
    report(done)
    train(reached)
    with watch.paused():
        outcomes = complete(scores) if complete else evaluate()
        mark(total)  # the row of the whole belongs to the result: it is written again with it
        log(total, outcomes)
        save()
    report(total)
    return outcomes


def without_training(monitor: Monitor, x_name: str, compute: Callable[[], Outcome]) -> Outcome:
    """Return what a method comes to that computes and does not train: a curve of one row, at 0."""
    watch = Stopwatch()
    monitor.progress(0, 1)
    monitor.resume_curve(x_name, 0)
    outcome = compute()
    monitor.log({x_name: 0, "score": outcome.score, **outcome.scores, "seconds": watch.seconds()})
    monitor.progress(1, 1)
    return outcome


def from_checkpoint(monitor: Monitor, checkpoint: Path, load: Callable[[Path], Model]) -> Model | None:
    """Return what the file of a run's checkpoint holds, or ``None`` if there is none yet.

    Raises:
        UserError: if the file cannot be read, or is not of this run: nothing is loaded from it then.
    """
    if not os.path.lexists(checkpoint):
        return None
    with _damage_of(checkpoint):
        check_no_links(checkpoint.parents[1], checkpoint)
        with zipfile.ZipFile(checkpoint) as archive:
            _check_stamp(monitor, checkpoint, archive.comment.decode("ascii", "replace"))
        return load(checkpoint)


def save_whole(monitor: Monitor, model: Any, checkpoint: Path) -> None:
    """Have a model write itself, with ``save(path)``, to an archive that carries the run's digest.

    The file is replaced at once; its folder is made.
    """
    checkpoint.parent.mkdir(exist_ok=True)
    with atomic_write(checkpoint) as temporary:
        model.save(temporary)
        stamp(monitor, temporary)


def stamp(monitor: Monitor, archive: Path) -> None:
    """Write the run's digest into the archive of a checkpoint, as a comment, which nothing that loads it reads."""
    with zipfile.ZipFile(archive, "a") as file:
        file.comment = monitor.run_digest.encode()


def learner_of(monitor: Monitor, checkpoint: Path, load: Callable[[Path], Model], make: Callable[[], Model]) -> Model:
    """Return the learner in the folder of a run's checkpoint, or a new one if there is none yet.

    Learner and replay carry the digest of the run, as an attribute, which is saved with them.

    Raises:
        UserError: if the folder cannot be read, or learner or replay are not of this run.
    """
    if not os.path.lexists(checkpoint):
        model = make()
        for part in (model, model.replay_buffer):
            part.run_digest = monitor.run_digest
        return model
    with _damage_of(checkpoint):
        check_no_links(checkpoint.parent, checkpoint)
        model = load(checkpoint)
        for part in (model, model.replay_buffer):
            _check_stamp(monitor, checkpoint, getattr(part, "run_digest", ""))
    return model


@contextmanager
def _damage_of(checkpoint: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever reading a damaged archive raises
        raise UserError(f"{checkpoint} is damaged ({error}): move the run's folder away and start over") from error


def _check_stamp(monitor: Monitor, checkpoint: Path, found: str) -> None:
    if found != monitor.run_digest:
        raise UserError(
            f"{checkpoint} is not a checkpoint of this run (it is of {found[:12] or 'a run without a name'}): restore "
            "it, or move the run's folder away and start over"
        )


class Stopwatch:
    """Seconds of training, over all parts of a run that was cut off, without pauses.

    Args:
        before: seconds of earlier parts.
    """

    def __init__(self, before: float = 0.0):
        self._start = time.perf_counter() - before
        self._paused_at: float | None = None

    def seconds(self) -> float:
        now = time.perf_counter() if self._paused_at is None else self._paused_at
        return round(now - self._start, 2)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._paused_at = paused_at = time.perf_counter()
        yield
        self._start += time.perf_counter() - paused_at
        self._paused_at = None
