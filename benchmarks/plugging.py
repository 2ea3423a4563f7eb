"""Tries an outside agent on every task of every suite for a few steps: what does it fit, and what not, and why?"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from bisimgym.benchmarks.agents import agent_code, check_agent, closing_agent, resolve_agent
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import SUITES, load_suite
from bisimgym.benchmarks.suites.base import Suite
from bisimgym.benchmarks.suites.checks import discrete_actions

#: Steps that an agent acts for on each task, and seconds after which no further task is tried.
STEPS, SECONDS = 5, 50.0


@dataclass(frozen=True)
class Trial:
    """How an agent did on tasks of one suite that came out alike but for numbers, such as those of shapes.

    Attributes:
        problem: why it does not fit, on the first of these tasks; "" if it does.
        notes: what fits and may still be a slip.
        tried: whether there was time for it.
    """

    suite: str
    tasks: tuple[str, ...]
    problem: str = ""
    notes: tuple[str, ...] = ()
    tried: bool = True

    @property
    def fits(self) -> bool:
        """Whether it was tried and fits."""
        return self.tried and not self.problem

    def __str__(self) -> str:
        said = "not tried, since the time is over" if not self.tried else f"does not fit: {self.problem}"
        return f"{self.suite} ({', '.join(self.tasks)}): {'; '.join(['fits', *self.notes]) if self.fits else said}"


def try_everywhere(spec: str, budget: int = 0, seconds: float = SECONDS) -> Iterator[Trial]:
    """Try an agent on all suites and yield how it did, suite by suite, those of the most tasks last.

    Args:
        spec: as ``resolve_agent`` takes it. One agent plays all tasks of a suite: it must start afresh where
            ``episode_start`` is true.
        budget: environment steps to learn for first, with the agent's own ``learn``. It then plays the first task of
            each suite only.
        seconds: after which tasks that are left are named and not tried.
    """
    start = time.monotonic()
    with contextlib.ExitStack() as agents:
        agent = agents.enter_context(closing_agent(resolve_agent(spec)))
        check_agent(agent, needs_learn=budget > 0)
        learns = callable(getattr(agent, "learn", None)) and not budget
        hint = "; it has learn(), so that --budget may help" if learns else ""
        for suite in sorted(map(load_suite, SUITES), key=lambda suite: len(suite.open_tasks)):
            tasks = suite.open_tasks[:1] if budget else suite.open_tasks
            alike: dict[object, Trial] = {}
            for task in tasks:
                trial = Trial(suite.name, (task,), tried=time.monotonic() - start <= seconds)
                if trial.tried and (
                    budget or getattr(agent, "ended", False)
                ):  # what it learned elsewhere must not count
                    agent = agents.enter_context(closing_agent(resolve_agent(spec)))
                if trial.tried:
                    try:
                        trial = replace(trial, notes=tuple(try_task(agent, suite, task, budget)))
                    except UserError as error:
                        trial = replace(trial, problem=f"{error}{hint}")
                key = trial.tried, re.sub(r"\d+", "#", trial.problem), trial.notes
                before = alike.get(key)
                alike[key] = replace(before, tasks=(*before.tasks, task)) if before else trial
            yield from alike.values()


def try_task(agent: Any, suite: Suite, task: str, budget: int = 0) -> list[str]:
    """Let an agent act, or embed, in a task's training environments for a few steps; return what may be a slip.

    Raises:
        UserError: if the agent does not fit; it says why.
    """
    envs = suite.training_envs(task, 0)
    try:
        with agent_code("it fails"):
            if budget:
                agent.learn(envs, budget, 0)
            observation, _ = envs.reset(seed=0)
            if suite.name == "fidelity":
                return _embedded(agent, observation)
            return _acted(agent, envs, observation)
    finally:
        envs.close()


def _embedded(agent: Any, observation: np.ndarray) -> list[str]:
    if not callable(getattr(agent, "embed", None)):
        raise UserError("it has no embed(observation), whose distances are scored")
    embedding = np.asarray(_plain(agent.embed(observation)))
    if embedding.ndim != 2 or len(embedding) != len(observation):
        raise UserError(f"embed() must return float[{len(observation)}, D], got shape {embedding.shape}")
    if not np.isfinite(embedding).all():
        raise UserError("embed() returned numbers that are not finite")
    return []


def _plain(value: Any) -> Any:
    return value.detach().cpu() if hasattr(value, "detach") else value


def _acted(agent: Any, envs: Any, observation: Any) -> list[str]:
    rows = envs.num_envs
    start, state, notes = np.ones(rows, dtype=bool), None, []
    for step in range(STEPS):
        action, state = _predict(agent, observation, state, start)
        action = _checked(action, envs.single_action_space, rows)
        if step == 0:
            again = _checked(_predict(agent, observation, None, start)[0], envs.single_action_space, rows)
            if not np.array_equal(action, again):
                notes.append("acts in two ways on the same observations though deterministic=True")
            one = _first_row(observation)
            alone = _checked(_predict(agent, one, None, start[:1])[0], envs.single_action_space, 1)
            if not np.allclose(alone, action[:1], atol=1e-5):
                notes.append("acts otherwise on a row alone than among others")
            state = _predict(agent, observation, None, start)[1]  # that of this batch
        observation, _, terminated, truncated, _ = envs.step(action)
        start = terminated | truncated
    return notes


def _predict(agent: Any, observation: Any, state: Any, start: np.ndarray) -> tuple[Any, Any]:
    found = agent.predict(observation, state=state, episode_start=start, deterministic=True)
    if not isinstance(found, tuple) or len(found) != 2:
        raise UserError(f"predict() must return (action, state), got {type(found).__name__}")
    return found


def _first_row(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {name: value[:1] for name, value in observation.items()}
    return observation[:1]


def _checked(action: Any, space: gym.Space, rows: int) -> np.ndarray:
    """Return actions that fit the space.

    Raises:
        UserError: if they do not.
    """
    if isinstance(space, gym.spaces.Discrete):
        try:
            return discrete_actions(action, rows, int(space.n))
        except ValueError as error:
            raise UserError(str(error)) from None
    assert isinstance(space, gym.spaces.Box)
    array = np.asarray(action)
    expected = f"predict() must return float{[rows, *space.shape]} within [{space.low.min():g}, {space.high.max():g}]"
    if array.shape != (rows, *space.shape):
        raise UserError(f"{expected}, got shape {array.shape}")
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{expected}, got {array.dtype}")
    wrong = array[~((array >= space.low) & (array <= space.high))]
    if len(wrong):
        raise UserError(f"{expected}, got {wrong[0]}")
    return array
