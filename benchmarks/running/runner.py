"""Runs: plan them, do what is not yet done, resume what was cut off."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import sys
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from bisimgym.benchmarks.agents import agent_code, check_agent
from bisimgym.benchmarks.errors import UserError, unknown
from bisimgym.benchmarks.names import storable
from bisimgym.benchmarks.running import deadline, machine, schema
from bisimgym.benchmarks.running.run_folder import RunFolder, RunResult, is_finished, read_run
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Outcome, Spec, Suite, make_spec, precision_of
from bisimgym.benchmarks.suites.replays import Replay, write_replay
from bisimgym.envs.checks import integer
from bisimgym.envs.files import atomic_write, followed

__all__ = ["evaluate_agent", "plan", "run_one"]


def plan(
    suite: Suite,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int] | int,
    preset: str,
    variant: Mapping[str, Any],
) -> list[Spec]:
    """Return the specs of every (seed, task, method), seed by seed, so that a cut-off plan leaves a balanced table.

    Empty ``tasks`` or ``methods`` mean all of them, or all ``open_tasks``; a number of ``seeds`` means those from 1 to
    it. What is named twice is run once.

    Raises:
        UserError: for unknown names or settings.
    """
    return [
        make_spec(suite, task, method, preset, seed, variant)
        for seed in dict.fromkeys(range(1, seeds + 1) if isinstance(seeds, int) else seeds)
        for task in dict.fromkeys(tasks or suite.open_tasks)
        for method in dict.fromkeys(methods or suite.methods)
    ]


def together(specs: Sequence[Spec], jobs: int = 1) -> list[list[int]]:
    """Return the places of runs in lists of those that one process trains together, in order of their first.

    These differ in their seed only, and are no more than the suite's ``seeds_together``, nor than leave work for each
    of ``jobs`` processes.
    """
    alike: dict[tuple[Path, str], list[int]] = defaultdict(list)
    for place, spec in enumerate(specs):
        alike[spec.folder.parent, schema.digest(dict(spec.settings))].append(place)
    parts = []
    for places in alike.values():
        spec = specs[places[0]]
        most = min(load_suite(spec.suite).seeds_together(spec), -(-len(places) // jobs))
        parts += [places[start : start + most] for start in range(0, len(places), most)]
    return sorted(parts)


def run_one(out: Path, spec: Spec, device: str, threads: int, on_progress: Any = None) -> RunResult:
    """Do one run in this process: :func:`run_together` for one, whose error is raised."""
    report = on_progress and (lambda _, done, total: on_progress(done, total))
    (result,) = run_together(out, [spec], device, threads, report)
    if isinstance(result, Exception):
        raise result
    return result


def run_together(
    out: Path, specs: Sequence[Spec], device: str, threads: int, on_progress: Any = None
) -> list[RunResult | Exception]:
    """Do runs that differ in their seed only in this process, from their checkpoints where there are.

    A run that was cut off goes on with the number of threads that it was started with: sums of floating-point numbers
    depend on it. It does not go on with another device or precision; other versions and other machines are noted in
    ``run.json``.

    Args:
        on_progress: ``on_progress(index, done, total)`` for the run of that index.

    Returns:
        The verified result of each run, or the error that kept it from being done; the others are done all the same.
    """
    import torch as th

    suite = load_suite(specs[0].suite)
    here = machine.describe_machine(device, threads, precision_of(suite, specs[0]))
    environment = {"versions": machine.versions(), "machine": here}
    command = machine.command_text(sys.argv[1:])
    machine.forget_peak_memory()
    folders = [RunFolder(out, spec, on_progress and functools.partial(on_progress, i)) for i, spec in enumerate(specs)]
    results: dict[int, RunResult | Exception] = {}
    with contextlib.ExitStack() as locks:
        with_threads: dict[int, list[int]] = defaultdict(list)
        for i, folder in enumerate(folders):
            try:
                deadline.check(describe(folder.spec))
                locks.enter_context(folder.lock())
                digests = schema.environments(suite, folder.spec.task)
                run = folder.start({**environment, "environments": digests, "command": command})
                if is_finished(folder.path):
                    results[i] = read_run(folder.path)
                    continue
                began = _check_same_machine(folder, run, here)
                folder.resume(run, {**environment, "machine": {**here, "threads": began}})
                with_threads[began].append(i)
            except Exception as error:
                results[i] = _told(folder, error)
        for began, members in with_threads.items():
            th.set_num_threads(began)
            try:
                outcomes = _train(suite, [specs[i] for i in members], [folders[i] for i in members], device)
            except Exception as error:
                results |= {i: _told(folders[i], error) for i in members}
                continue
            for i, outcome in zip(members, outcomes, strict=True):
                try:
                    if isinstance(outcome, UserError):
                        raise outcome
                    results[i] = _finish(folders[i], outcome, suite, len(members))
                except Exception as error:
                    results[i] = _told(folders[i], error)
    return [results[i] for i in range(len(specs))]


def _train(
    suite: Suite, specs: Sequence[Spec], folders: Sequence[RunFolder], device: str
) -> Sequence[Outcome | UserError]:
    with _no_subnormals():
        if len(specs) > 1 and suite.train_seeds is not None:
            return suite.train_seeds(specs, folders, device)
        return [suite.train(spec, folder, device) for spec, folder in zip(specs, folders, strict=True)]


@contextlib.contextmanager
def _no_subnormals() -> Iterator[None]:
    """Take numbers below 1e-38 as 0, as GPUs may: gradients of what is learned well are full of them, and slow."""
    import torch as th

    th.set_flush_denormal(True)
    try:
        yield
    finally:
        th.set_flush_denormal(False)


def _finish(folder: RunFolder, outcome: Outcome, suite: Suite, seeds: int) -> RunResult:
    shared = {"seeds_together": seeds} if seeds > 1 else {}
    result = folder.finish(outcome, suite.lower_is_better, {**_timing(folder, suite.x_name), **shared})
    (folder.path / "error.log").unlink(missing_ok=True)
    return result


def _told(folder: RunFolder, error: Exception) -> Exception:
    """Return the error of a run as its user is told it; one that is not the user's is written to ``error.log``."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        told = UserError(f"{folder.path}: {error.strerror or error}; what was written before is kept")
        told.__cause__ = error
        return told
    with contextlib.suppress(OSError), atomic_write(folder.path / "error.log") as temporary:
        temporary.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return error


def _check_same_machine(folder: RunFolder, run: Mapping[str, Any], here: Mapping[str, Any]) -> int:
    """Return the number of threads a run was started with; refuse to go on on other hardware or environments."""
    try:
        schema.check_environments(run, load_suite(folder.spec.suite), folder.spec.task)
        began = run["machine"]
        for key in ("device", "precision"):
            if began[key] != here[key]:
                raise UserError(
                    f"{folder.path} was begun with {key} {began[key]}, and here it would go on with {here[key]}: use "
                    "the same --device, or another --out"
                )
        integer("threads", began["threads"], 1, machine.MOST_THREADS)
        return began["threads"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder.path / 'run.json'} is damaged ({error}): move the folder away") from None


def _timing(folder: RunFolder, x_name: str) -> dict[str, Any]:
    last = folder.rows()[-1]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    took = {"train_seconds": last["seconds"], "peak_memory": machine.peak_memory()}
    return {x_name: last[x_name], **took, "finished": now}


def evaluate_agent(
    agent: Any,
    suite: Suite,
    task: str,
    name: str,
    out: Path | None = None,
    seed: int = 1,
    budget: int = 0,
    description: str = "",
    command: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Score an outside agent on one task, and store the result if ``out`` is given.

    Args:
        agent: follows the agent protocol: ``predict(observation, state, episode_start, deterministic)``.
        name: shown in tables and used as a folder: at most 64 letters, digits and ``._+-``.
        seed: names the run; the random grid of the jumping suite depends on it.
        budget: environment steps to learn for first, with the agent's ``learn(envs, budget, seed)``. An agent that also
            has ``save(path)`` is kept as ``checkpoint/agent`` in the run's folder.
        description: shown on the agent's page.
        command: that the result was made with, stored with it.
        on_progress: called with the environment steps that the agent has learned from so far, and its budget.

    Raises:
        UserError: for unknown tasks, bad names, agents that break the protocol, results that are already there and
            whatever else is in their place, before the agent learns.
    """
    if task not in suite.tasks:
        raise unknown("task", task, suite.tasks)
    try:
        schema.check_agent_name(suite, name)
    except ValueError as error:
        raise UserError(f"{error}: give another one with --name") from None
    if not 0 <= seed < 2**32:
        raise UserError(f"the seed must be from 0 to 2**32 - 1, got {seed}")
    if not 0 <= budget <= schema.MOST_BUDGET:
        raise UserError(f"the budget must be from 0 to {schema.MOST_BUDGET:,} steps of environments, got {budget}")
    check_agent(agent, needs_learn=budget > 0)
    spec = _external_spec(suite, task, name, seed, budget)
    out = None if out is None else followed(out)  # the agent may change the folder
    folder = None if out is None else RunFolder(out, spec)
    with contextlib.ExitStack() as stack:
        if folder is not None and out is not None:  # all that can be in the way is, before the agent learns for hours
            check_free(suite, task, name, seed, budget, out)
            stack.callback(_remove_empty, folder.path, out)
            stack.enter_context(folder.lock())
            folder.begun()
        with agent_code(f"the agent failed on {suite.name}/{task}"):
            if budget:
                envs = suite.training_envs(task, seed)
                agent.learn(_CountedSteps(envs, budget, on_progress) if on_progress else envs, budget, seed)
            outcome = suite.evaluate(agent, task, seed)
        if folder is not None:
            replay = _replay(suite, agent, task, seed)
            here: dict[str, Any] = {"versions": machine.versions(), "machine": machine.host()}
            here["environments"] = schema.environments(suite, task)
            folder.start({**here, "command": storable(command), "description": storable(description)})
            if replay is not None:
                write_replay(replay, folder.pictures)
            folder.finish(outcome, suite.lower_is_better, {})
            if budget:
                _save(agent, folder.checkpoint)
    return outcome


def _remove_empty(folder: Path, out: Path) -> None:
    """Remove the folders of a run that nothing was written into."""
    with contextlib.suppress(OSError):  # not empty
        while folder != out:
            folder.rmdir()
            folder = folder.parent


def _replay(suite: Suite, agent: Any, task: str, seed: int) -> Replay | None:
    """Return a replay of the agent; None, with a warning, if it fails at that: its score is not lost for a picture."""
    try:
        with agent_code("the score is stored without a replay: the agent failed when it played for that"):
            return suite.replay(agent, task, seed)
    except UserError as error:
        warnings.warn(str(error), stacklevel=3)
        return None


class _CountedSteps(gym.vector.VectorWrapper):
    """Tells how many steps of environments were taken, all of them together."""

    def __init__(self, envs: gym.vector.VectorEnv, budget: int, on_progress: Callable[[int, int], None]):
        super().__init__(envs)
        self._budget, self._on_progress = budget, on_progress
        self._steps = 0

    def step(self, actions: Any) -> Any:
        self._steps += self.num_envs
        self._on_progress(self._steps, self._budget)
        return super().step(actions)


def _save(agent: Any, checkpoint: Path) -> None:
    with agent_code("the score is stored, but the agent is not: its save(path) failed"):
        if callable(save := getattr(agent, "save", None)):
            checkpoint.mkdir(exist_ok=True)
            save(checkpoint / "agent")


def check_free(suite: Suite, task: str, name: str, seed: int, budget: int, out: Path) -> None:
    """Raise ``UserError`` if there is a result of this agent, or a run of other settings: nothing is written over."""
    spec = _external_spec(suite, task, name, seed, budget)
    path = out / spec.folder
    if os.path.lexists(path / "run.json") and not is_finished(path):
        RunFolder(out, spec).start({})
    if is_finished(path):
        raise UserError(f"{path} holds a result already: give another --name, --seed or --out, or delete the folder")


def _external_spec(suite: Suite, task: str, name: str, seed: int, budget: int) -> Spec:
    return Spec(suite.name, suite.version, task, name, EXTERNAL, seed, {}, {"budget": budget})


def describe(spec: Spec) -> str:
    return f"{spec.task} {spec.method_folder} seed {spec.seed}"
