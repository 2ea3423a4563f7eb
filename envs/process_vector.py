"""Environments that are simulated one by one, many at once: each in a process of its own."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any, ClassVar

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import AsyncState

from bisimgym.envs.array_task import time_limit
from bisimgym.envs.checks import choice, integer, reset_options, taken_action, vector_seeds


class ProcessVectorEnv(AsyncVectorEnv):
    """Many environments of one class: Gymnasium's :class:`~gymnasium.vector.AsyncVectorEnv` with shared memory.

    Sub-environment i of ``reset(seed=s)`` equals a single environment reset with ``seed=s + i``. An error of a
    sub-environment is raised here; a process that dies is a ``RuntimeError``, and the vector environment closes.

    Processes that are forked (the default on Linux before Python 3.14) inherit what the parent has made: where the
    parent itself renders on a GPU or runs threads, start them with ``context="spawn"``. That and ``"forkserver"``
    import the main module of a script: keep what it runs under ``if __name__ == "__main__":``. Each process makes its
    own OpenGL context, at its first image. It cannot be pickled.

    Subclasses name the class of one environment: ``class Many(ProcessVectorEnv, single=One)``.

    Args:
        num_envs: how many.
        render_mode: ``None`` or "rgb_array".
        autoreset_mode: as of Gymnasium.
        context: start method of the processes; ``None`` is the platform's.
        max_episode_steps: time limit, steps, beside that of the task; ``None`` is none.
        disable_env_checker: taken because ``gym.make`` takes it; there is no checker to switch off.
        **keywords: of the class of one environment.

    Raises:
        ValueError: an argument is out of range.
        RuntimeError: a process died.
    """

    single: ClassVar[type[gym.Env]]

    def __init_subclass__(cls, *, single: type[gym.Env], **keywords: Any):
        super().__init_subclass__(**keywords)
        cls.single = single
        cls.__signature__ = _signature(single)  # type: ignore[attr-defined]  # what help() shows

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        context: str | None = None,
        max_episode_steps: int | None = None,
        disable_env_checker: bool | None = None,
        **keywords: Any,
    ):
        integer("num_envs", num_envs, 1)
        if render_mode is not None:
            choice("render_mode", render_mode, ["rgb_array"])
        if not isinstance(autoreset_mode, AutoresetMode):
            choice("autoreset_mode", autoreset_mode, [mode.value for mode in AutoresetMode])
        limit = time_limit(max_episode_steps)
        make = functools.partial(_make, self.single, limit, render_mode=render_mode, **keywords)
        with self._deaths_raised():
            super().__init__([make] * num_envs, context=context, autoreset_mode=autoreset_mode)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None):
        options = reset_options(options)  # before a process sees them, and some are reset
        seed = None if seed is None else vector_seeds(seed, self.num_envs)
        with self._deaths_raised():
            return super().reset(seed=seed, options=options)

    def step(self, actions: Any):
        actions = taken_action(actions, self.action_space)  # too few would be waited for without end
        with self._deaths_raised():
            return super().step(actions)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        with self._deaths_raised():
            return super().call(name, *args, **kwargs)

    @contextlib.contextmanager
    def _deaths_raised(self) -> Iterator[None]:
        """End all processes and raise ``RuntimeError`` where the pipe of one is broken."""
        try:
            yield
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._state = AsyncState.DEFAULT  # nothing to wait for
            self.close(terminate=True)
            codes = [process.exitcode for process in self.processes]
            raise RuntimeError(
                f"a process of the vector environment died, out of memory or killed (exit codes {codes}; "
                "-15 are those that were ended for it): make a new vector environment"
            ) from error


def _make(single: type[gym.Env], limit: int | None, **keywords: Any) -> gym.Env:
    env = single(**keywords)
    return env if limit is None else gym.wrappers.TimeLimit(env, limit)


def _signature(single: type[gym.Env]) -> inspect.Signature:
    """Return the arguments of a vector environment, with those that it hands to each environment."""
    own = inspect.signature(ProcessVectorEnv.__init__).parameters
    of_single = inspect.signature(single).parameters
    first = [
        parameter for name, parameter in own.items() if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    ]
    further = [
        parameter if parameter.kind is parameter.VAR_KEYWORD else parameter.replace(kind=parameter.KEYWORD_ONLY)
        for name, parameter in of_single.items()
        if own.get(name, parameter).kind is parameter.VAR_KEYWORD or name not in own
    ]
    return inspect.Signature([*first, *further])
