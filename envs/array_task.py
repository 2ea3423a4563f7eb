"""Environments written once, for one and for many.

An array task is a set of pure functions over a *state*: a dataclass whose fields are arrays with a leading axis N.
:class:`BatchedEnv` is the N = 1 view of them and :class:`~bisimgym.envs.batched_vector.BatchedVectorEnv` steps N of
them with the same functions, so that single and vector rollouts agree, seed for seed (sub-environment i of
``reset(seed=s)`` equals a single environment reset with ``seed=s + i``, as in
:class:`gymnasium.vector.SyncVectorEnv`).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import gymnasium as gym
import numpy as np

from bisimgym.envs.arrays import copied
from bisimgym.envs.checks import integer, reset_options, taken_action
from bisimgym.envs.drawing import Window

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

State = TypeVar("State", bound="DataclassInstance")


class ArrayTask(Protocol[State]):
    """What a task offers. ``state`` is a dataclass of arrays with leading axis N; no method changes it in place.

    Attributes:
        draws_ahead: whether starting many episodes at once is so much cheaper that vector environments draw them ahead.
        informs_every_step: whether every step has the infos of the last one: for a time limit kept by a wrapper.
        takes_tensors: whether ``transition``, ``observe``, ``final_info`` and ``optimal_action`` take states of tensors
            too, and give tensors on their device (see :mod:`bisimgym.envs.arrays`).
    """

    observation_space: gym.Space
    action_space: gym.Space
    render_fps: int
    draws_ahead: bool = False
    informs_every_step: bool = False
    takes_tensors: bool = False

    def initial(self, seeds: np.ndarray, options: Mapping[str, Any]) -> State:
        """Start N episodes. Unknown options raise ``ValueError``.

        Args:
            seeds: ``uint64[N]``, one per episode: all that is random in it follows from its seed (see
                :mod:`bisimgym.envs.seeds`).
            options: of ``reset``.
        """

    def transition(self, state: State, action: np.ndarray) -> tuple[State, np.ndarray, np.ndarray, np.ndarray]:
        """Return the next state, ``float64[N]`` reward, ``bool[N]`` terminated and ``bool[N]`` truncated."""

    def observe(self, state: State) -> Any:
        """Return the observations, ``[N, *observation_space.shape]``, or a dictionary of such, in fresh memory."""

    def reset_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the infos of ``reset`` for each episode, arrays with leading axis N."""

    def final_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the infos of the last step of each episode, arrays with leading axis N."""

    def optimal_action(self, state: State) -> np.ndarray:
        """Return an optimal action in each state."""

    def optimal_return(self, state: State, limit: int | None = None) -> np.ndarray:
        """Return ``float64[N]``: the undiscounted return of the oracle from the start of each episode.

        Args:
            limit: the time limit in force, steps, beside what the task itself ends by; None is none.
        """

    def random_return(self, state: State, limit: int | None = None) -> np.ndarray:
        """Return ``float64[N]``: the expected return of uniformly random actions from the start of each episode.

        Args:
            limit: as of :meth:`optimal_return`.
        """

    def frame(self, state: State, index: int) -> np.ndarray:
        """Return an image of state ``index`` for people, ``uint8[H, W, 3]``."""

    def caption(self, state: State, index: int) -> str:
        """Return one line of text for the window's title."""


def select(state: State, rows: Any) -> State:
    """Return the states of ``rows`` (mask or indices, an array or a tensor as the state's)."""
    return type(state)(**{f.name: getattr(state, f.name)[rows] for f in dataclasses.fields(state)})


def put(state: State, rows: Any, replacement: State) -> State:
    """Return ``state`` with ``rows``, as of :func:`select`, replaced by ``replacement``, one state per row."""
    fields = {}
    for field in dataclasses.fields(state):
        array = copied(getattr(state, field.name))
        array[rows] = getattr(replacement, field.name)
        fields[field.name] = array
    return type(state)(**fields)


def concatenate(states: Sequence[State]) -> State:
    """Return the states of all batches, in order."""
    first = states[0]
    fields = [f.name for f in dataclasses.fields(first)]
    return type(first)(**{name: np.concatenate([getattr(s, name) for s in states]) for name in fields})


def draw_seeds(rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Return ``uint64[N]``: the seed of each generator's next episode."""
    return np.array([rng.bit_generator.random_raw() for rng in rngs], dtype=np.uint64)


def observation_of(observations: Any, index: int) -> Any:
    """Return one observation of a batch, which may be a dictionary."""
    if isinstance(observations, dict):
        return {key: value[index] for key, value in observations.items()}
    return observations[index]


class BatchedEnv(gym.Env):
    """The N = 1 view of an array task.

    Args:
        task: the array task.
        render_mode: ``None``, "rgb_array" or "human".
        max_episode_steps: a time limit that the environment keeps itself, steps; ``gym.make`` keeps its own in a
            wrapper.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 15}
    task: Any

    def __init__(self, task: ArrayTask, render_mode: str | None = None, max_episode_steps: int | None = None):
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be None or one of {self.metadata['render_modes']}, got {render_mode!r}")
        self.task = task
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": task.render_fps}
        self.observation_space = task.observation_space
        self.action_space = task.action_space
        self.state: Any = None
        self.max_episode_steps = time_limit(max_episode_steps)
        self._limit = self.max_episode_steps  # the lowest in force in this episode
        self._steps = 0
        self._ended = False
        self._window: Any = None

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None):
        options = _scalars(reset_options(options))
        super().reset(seed=seed)
        self.state = self.task.initial(draw_seeds([self.np_random]), options)
        self._limit = min((limit for limit in (self.max_episode_steps, *_limits_around(self)) if limit), default=None)
        self._steps, self._ended = 0, False
        if self.render_mode == "human":
            self.render()
        return observation_of(self.task.observe(self.state), 0), _row(self.task.reset_info(self.state), 0)

    def step(self, action):
        self._require_reset("step")
        if self._ended:
            raise gym.error.ResetNeeded("the episode has ended: call reset() before step()")
        action = taken_action(action, self.action_space)
        self.state, reward, terminated, truncated = self.task.transition(self.state, action[None])
        self._steps += 1
        if self.max_episode_steps is not None and self._steps >= self.max_episode_steps:
            truncated[:] = True  # also where the episode terminates, as gymnasium's TimeLimit does
        self._ended = bool(terminated[0] or truncated[0])
        cut_off = self._limit is not None and self._steps >= self._limit
        has_info = self._ended or cut_off or self.task.informs_every_step
        info = _row(self.task.final_info(self.state), 0) if has_info else {}
        if self.render_mode == "human":
            self.render()
        observation = observation_of(self.task.observe(self.state), 0)
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self):
        self._require_reset("render")
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render mode: make the environment with render_mode=...")
            return None
        frame = self.task.frame(self.state, 0)
        if self.render_mode == "rgb_array":
            return frame
        if self._window is None:
            self._window = Window(self.metadata["render_fps"])
        self._window.show(frame, self.task.caption(self.state, 0))
        return None

    def close(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None

    def optimal_action(self):
        """Return the oracle's action in the current state (an element of ``action_space``)."""
        self._require_reset("optimal_action")
        return self.task.optimal_action(self.state)[0]

    def optimal_return(self) -> float:
        """Return the oracle's undiscounted return from the start of the current episode, under its time limit."""
        self._require_reset("optimal_return")
        return float(self.task.optimal_return(self.state, self._limit)[0])

    def random_return(self) -> float:
        """Return the expected undiscounted return of uniformly random actions, from and under the same."""
        self._require_reset("random_return")
        return float(self.task.random_return(self.state, self._limit)[0])

    def _require_reset(self, what: str) -> None:
        if self.state is None:
            raise gym.error.ResetNeeded(f"call reset() before {what}()")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_window": None}


def time_limit(max_episode_steps: Any) -> int | None:
    """Return a checked time limit: steps, or None for none (-1, which ``gym.make`` takes, means that too)."""
    if max_episode_steps is None or max_episode_steps == -1:
        return None
    return integer("max_episode_steps", max_episode_steps, 1, hint=", or None")


def _limits_around(env: gym.Env) -> list[int]:
    """Return the time limits of the wrappers that are resetting ``env``.

    Gymnasium tells an environment neither of its wrappers nor of the limit that ``gym.make`` was given: they are
    only to be met above it in the stack of calls.
    """
    limits: list[int] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is gym.wrappers.TimeLimit.reset.__code__:
            wrapper = frame.f_locals["self"]
            if wrapper.unwrapped is env:
                limits.append(wrapper._max_episode_steps)
        frame = frame.f_back
    return limits


def _scalars(options: Mapping[str, Any]) -> Mapping[str, Any]:
    for key, value in options.items():
        if np.ndim(value) != 0:
            raise ValueError(f"options[{key!r}] of a single environment must be one value, got {value!r}")
    return options


def _row(info: dict[str, np.ndarray], index: int) -> dict[str, Any]:
    items = ((key, value[index]) for key, value in info.items())
    return {key: item.item() if isinstance(item, np.generic) else item for key, item in items}
