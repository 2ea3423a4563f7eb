"""Where runs happen: here, in worker processes, on a Ray or a Slurm cluster. All yield results as runs finish."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import deadline
from bisimgym.benchmarks.running.run_folder import RunResult, read_run
from bisimgym.benchmarks.running.runner import describe, run_together, together
from bisimgym.benchmarks.suites.base import Spec

#: Deaths of workers after which a sweep gives up.
RETRIES = 3
#: The folder of Slurm's jobs and their logs, in the folder of the runs.
SUBMITIT_FOLDER = ".submitit"
#: Minutes that a job of Slurm asks for unless ``SBATCH_TIMELIMIT`` says otherwise; seconds between two looks at jobs.
_JOB_MINUTES, _POLL = 24 * 60, 1.0
#: ``on_progress(index of the spec, done, total)``
OnProgress = Callable[[int, int, int], None]
#: ``(index of the spec, its result or the error that ended it)``
Finished = tuple[int, RunResult | Exception]


def run_here(
    out: Path, specs: Sequence[Spec], device: str, threads: int, on_progress: OnProgress
) -> Iterator[Finished]:
    """Do the runs one after the other in this process, seeds that are trained together at once."""
    for places in together(specs):

        def report(index: int, done: int, total: int, places: Sequence[int] = places) -> None:
            on_progress(places[index], done, total)

        yield from zip(places, _done(out, [specs[i] for i in places], device, threads, report), strict=True)


def run_in_processes(
    out: Path,
    specs: Sequence[Spec],
    device: str,
    threads: int,
    jobs: int,
    on_progress: OnProgress,
    retries: int = RETRIES,
) -> Iterator[Finished]:
    """Do the runs in ``jobs`` worker processes. After a worker's death new ones go on from the last checkpoints.

    Raises:
        UserError: if workers die (killed, or out of memory) more than ``retries`` times. What they had done is kept.
    """
    left = together(specs, jobs)
    for deaths in itertools.count(1):
        try:
            yield from _run_in_pool(out, specs, device, threads, jobs, on_progress, left)
            return
        except BrokenProcessPool:
            died = "a worker process died (killed, or out of memory): "
            if deaths > retries:
                raise UserError(
                    f"{died}finished runs and checkpoints are kept, run the same command again to go on (with fewer "
                    "--jobs if memory ran out)"
                ) from None
            warnings.warn(f"{died}the runs under way go on from their last checkpoints", stacklevel=2)


def _run_in_pool(
    out: Path,
    specs: Sequence[Spec],
    device: str,
    threads: int,
    jobs: int,
    on_progress: OnProgress,
    left: list[list[int]],
) -> Iterator[Finished]:
    """Do the runs that are ``left``, taking from there those that have ended. ``BrokenProcessPool``: a worker died."""
    context = multiprocessing.get_context("spawn")  # a forked torch can deadlock
    queue = context.Queue()
    forward = threading.Thread(target=_forward, args=(queue, on_progress), daemon=True)
    forward.start()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_initialize, initargs=(queue, deadline.moment()))
    try:
        futures: dict[Future, list[int]] = {
            pool.submit(_work, out, [specs[i] for i in places], device, threads, places): places for places in left
        }
        for future in as_completed(futures):
            places = futures[future]
            try:
                failures = future.result()
            except BrokenProcessPool:
                raise
            except Exception as error:
                failures = [_failure(out, specs[index], error) for index in places]
            left.remove(places)
            for index, failure in zip(places, failures, strict=True):
                yield index, failure or read_run(out / specs[index].folder)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
            process.join(10)  # its runs are locked as long as it lives
        queue.cancel_join_thread()  # a worker that was stopped while it wrote may never release the queue
        queue.put(None)
        forward.join(timeout=5)


def run_on_ray(out: Path, specs: Sequence[Spec], device: str, threads: int) -> Iterator[Finished]:
    """Do the runs on the Ray cluster that ``RAY_ADDRESS`` names, or on a local one.

    Each run, or those that are trained together, asks for ``threads`` CPUs (and a GPU with ``device="cuda"``); the
    cluster decides how many go side by side.
    ``out`` must be a folder that all its machines share.

    Raises:
        UserError: if Ray is not installed or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError:
        raise UserError('--executor ray needs Ray: pip install "bisimgym[ray]"') from None
    try:
        ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="error", include_dashboard=False)
    except Exception as error:  # a cluster that does not start in time raises no other class
        raise UserError(f"cannot reach a Ray cluster: {error}") from error
    # After a worker's death Ray starts its runs again, which go on from their checkpoints.
    remote = ray.remote(num_cpus=threads, num_gpus=int(device == "cuda"), max_retries=RETRIES)(_failures)
    pending = {
        remote.remote(out.resolve(), [specs[i] for i in places], device, threads): places for places in together(specs)
    }
    try:
        while pending:
            (done,), _ = ray.wait(list(pending), num_returns=1)
            places = pending.pop(done)
            try:
                failures = ray.get(done)
            except Exception as error:
                cause = getattr(error, "cause", None) or error
                failures = [_failure(out, specs[index], cause) for index in places]
            for index, failure in zip(places, failures, strict=True):
                yield index, failure or read_run(out / specs[index].folder)
    finally:
        ray.shutdown()


def run_on_submitit(out: Path, specs: Sequence[Spec], device: str, threads: int, jobs: int) -> Iterator[Finished]:
    """Do the runs as jobs of submitit: on Slurm where its commands are found, else in ``jobs`` processes here.

    Each run, or those that are trained together, is a job that asks for ``threads`` CPUs (and a GPU with
    ``device="cuda"``). On Slurm all wait in the queue at once; what else they ask for stands in the variables that
    ``sbatch`` reads, such as ``SBATCH_PARTITION``. A job that is preempted or runs out of time is queued again, and one
    that dies is submitted again, up to three times; both go on from their checkpoints. ``out`` must be a folder that
    all machines share.

    Raises:
        UserError: if submitit is not installed, or takes no job.
    """
    try:
        import submitit
    except ImportError:
        raise UserError('--executor submitit needs submitit: pip install "bisimgym[submitit]"') from None
    out = out.resolve()
    executor = submitit.AutoExecutor(folder=out / SUBMITIT_FOLDER)
    asked = {"timeout_min": _JOB_MINUTES, "cpus_per_task": threads, "gpus_per_node": int(device == "cuda")}
    executor.update_parameters(name="bisimgym", tasks_per_node=1, **asked)
    waiting = [(places, 0) for places in together(specs)]
    most = len(waiting) if executor.cluster == "slurm" else jobs
    running: dict[Any, tuple[list[int], int]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < most:
                places, deaths = waiting.pop(0)
                try:
                    job = executor.submit(_Requeued(), out, [specs[i] for i in places], device, threads)
                except (submitit.core.utils.FailedSubmissionError, OSError) as error:
                    raise UserError(f"submitit cannot submit a job: {error}") from error
                running[job] = places, deaths
            ended = [job for job in running if job.done()]
            for job in ended:
                places, deaths = running.pop(job)
                try:
                    failures = job.result()
                except Exception as error:  # runs return their errors: the job died
                    if deaths < RETRIES:
                        waiting.insert(0, (places, deaths + 1))
                        continue
                    failures = [_failure(out, specs[index], error) for index in places]
                for index, failure in zip(places, failures, strict=True):
                    yield index, failure or read_run(out / specs[index].folder)
            if not ended:
                time.sleep(_POLL)
    finally:
        for job in running:
            job.cancel(check=False)


class _Requeued:
    """Does runs as a job of submitit, which is queued again where it was preempted or ran out of time."""

    def __call__(self, *arguments: Any) -> list[Exception | None]:
        return _failures(*arguments)

    def checkpoint(self, *arguments: Any) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def _done(
    out: Path, specs: Sequence[Spec], device: str, threads: int, on_progress: OnProgress | None = None
) -> list[RunResult | Exception]:
    """Do runs together and return their results, or errors that name their run."""
    results = run_together(out, specs, device, threads, on_progress)
    return [
        _failure(out, spec, result) if isinstance(result, Exception) else result
        for spec, result in zip(specs, results, strict=True)
    ]


def _failures(
    out: Path, specs: Sequence[Spec], device: str, threads: int, on_progress: OnProgress | None = None
) -> list[Exception | None]:
    """Do runs together and return the error of each, None for those that are done."""
    results = _done(out, specs, device, threads, on_progress)
    return [result if isinstance(result, Exception) else None for result in results]


def _failure(out: Path, spec: Spec, error: BaseException) -> Exception:
    """Return the error of a run: as it is if it is the user's, else with the name of the run and where to read on."""
    if isinstance(error, UserError):
        return error
    log = out / spec.folder / "error.log"
    where = f" (traceback in {log})" if log.exists() else ""
    return RuntimeError(f"{describe(spec)} failed: {type(error).__name__}: {error}{where}")


def _forward(queue: multiprocessing.Queue, on_progress: OnProgress) -> None:
    while (event := queue.get()) is not None:
        on_progress(*event)


_queue: multiprocessing.Queue | None = None


def _initialize(queue: multiprocessing.Queue, moment: float) -> None:
    global _queue
    _queue = queue
    deadline.stop_at(moment)
    queue.cancel_join_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process answers Ctrl-C for all
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End with the parent, however it ended: a worker that lived on would hold its run's lock."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(out: Path, specs: Sequence[Spec], device: str, threads: int, places: Sequence[int]) -> list[Exception | None]:
    assert _queue is not None
    queue = _queue
    return _failures(out, specs, device, threads, lambda index, done, total: queue.put((places[index], done, total)))
