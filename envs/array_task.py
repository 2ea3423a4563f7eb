"""Environments written once, for one and for many.

An array task is a set of pure functions over a *state*: a dataclass whose fields are arrays with a leading axis N.
:class:`BatchedVectorEnv` steps N of them and :class:`BatchedEnv` is the N = 1 view of the same functions, so that
single and vector roll-outs agree exactly, seed for seed (sub-environment i of ``reset(seed=s)`` equals a single
environment reset with ``seed=s + i``, as in :class:`gymnasium.vector.SyncVectorEnv`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

State = TypeVar("State")


class ArrayTask(Protocol[State]):
    """What a task offers. ``state`` is a dataclass of arrays with leading axis N; no method changes it in place."""

    observation_space: gym.Space
    action_space: gym.Space
    render_fps: int
    #: Whether starting many episodes at once is so much cheaper that vector environments should draw them ahead.
    draws_ahead: bool
    #: Whether every step tells what the last one does: for tasks whose time limit may be a wrapper's.
    informs_every_step: bool

    def initial(self, words: np.ndarray, options: Mapping[str, Any]) -> State:
        """Start N episodes. Unknown options raise ``ValueError``.

        Args:
            words: ``uint64[N]``, 64 random bits per episode: all that is random in it follows from them (see
                :mod:`bisimgym.envs.seeds`).
            options: of ``reset``.
        """

    def transition(self, state: State, action: np.ndarray) -> tuple[State, np.ndarray, np.ndarray, np.ndarray]:
        """Return the next state, ``float64[N]`` reward, ``bool[N]`` terminated and ``bool[N]`` truncated."""

    def observe(self, state: State) -> Any:
        """Return the observations, ``[N, *observation_space.shape]``, or a dictionary of such, in fresh memory."""

    def reset_info(self, state: State) -> dict[str, np.ndarray]:
        """Return what ``reset`` tells of each episode, arrays with leading axis N."""

    def final_info(self, state: State) -> dict[str, np.ndarray]:
        """Return what the last step of an episode tells of it, arrays with leading axis N."""

    def optimal_action(self, state: State) -> np.ndarray:
        """Return an optimal action in each state."""

    def optimal_return(self, state: State) -> np.ndarray:
        """Return ``float64[N]``: the undiscounted return of the oracle from the start of each episode."""

    def random_return(self, state: State) -> np.ndarray:
        """Return ``float64[N]``: the expected return of uniformly random actions from the start of each episode."""

    def frame(self, state: State, index: int) -> np.ndarray:
        """Return a picture of state ``index`` for people, ``uint8[H, W, 3]``."""

    def caption(self, state: State, index: int) -> str:
        """Return one line of text for the window's title."""


def select(state: State, rows: np.ndarray) -> State:
    """Return the states of ``rows`` (mask or indices)."""
    return type(state)(**{f.name: getattr(state, f.name)[rows] for f in dataclasses.fields(state)})


def put(state: State, rows: np.ndarray, other: State) -> State:
    """Return ``state`` with ``rows`` (mask or indices) replaced by ``other``, which has as many states as rows."""
    fields = {}
    for field in dataclasses.fields(state):
        array = getattr(state, field.name).copy()
        array[rows] = getattr(other, field.name)
        fields[field.name] = array
    return type(state)(**fields)


def concatenate(states: Sequence[State]) -> State:
    """Return the states of all batches, in order."""
    first = states[0]
    fields = [f.name for f in dataclasses.fields(first)]
    return type(first)(**{name: np.concatenate([getattr(s, name) for s in states]) for name in fields})


def _draw(rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Return ``uint64[N]``: the next 64 random bits of each generator."""
    return np.array([rng.bit_generator.random_raw() for rng in rngs], dtype=np.uint64)


def _observation_of(observations: Any, index: int) -> Any:
    """Return one observation of a batch, which may be a dictionary."""
    if isinstance(observations, dict):
        return {key: value[index] for key, value in observations.items()}
    return observations[index]


def invalid_action(action: Any, space: gym.Space) -> ValueError:
    return ValueError(f"action {action!r} is not in {space}")


class BatchedEnv(gym.Env):
    """The N = 1 view of an array task."""

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 15}

    def __init__(self, task: ArrayTask, render_mode: str | None = None):
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be None or one of {self.metadata['render_modes']}, got {render_mode!r}")
        self.task = task
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": task.render_fps}
        self.observation_space = task.observation_space
        self.action_space = task.action_space
        self.state: Any = None
        self._ended = False
        self._window: Any = None

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None):
        super().reset(seed=seed)
        self.state = self.task.initial(_draw([self.np_random]), _scalars(options or {}))
        self._ended = False
        if self.render_mode == "human":
            self.render()
        return _observation_of(self.task.observe(self.state), 0), _row(self.task.reset_info(self.state), 0)

    def step(self, action):
        self._require_reset("step")
        if self._ended:
            raise gym.error.ResetNeeded("the episode has ended: call reset() before step()")
        if not self.action_space.contains(action):
            raise invalid_action(action, self.action_space)
        self.state, reward, terminated, truncated = self.task.transition(self.state, np.asarray(action)[None])
        self._ended = bool(terminated[0] or truncated[0])
        informed = self._ended or self.task.informs_every_step
        info = _row(self.task.final_info(self.state), 0) if informed else {}
        if self.render_mode == "human":
            self.render()
        observation = _observation_of(self.task.observe(self.state), 0)
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
            from bisimgym.envs.window import Window

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
        """Return the oracle's undiscounted return from the start of the current episode."""
        self._require_reset("optimal_return")
        return float(self.task.optimal_return(self.state)[0])

    def random_return(self) -> float:
        """Return the expected undiscounted return of uniformly random actions from the start of the episode."""
        self._require_reset("random_return")
        return float(self.task.random_return(self.state)[0])

    def _require_reset(self, what: str) -> None:
        if self.state is None:
            raise gym.error.ResetNeeded(f"call reset() before {what}()")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_window": None}


class BatchedVectorEnv(VectorEnv):
    """N sub-environments of an array task, stepped together.

    ``infos`` follow Gymnasium: arrays with a mask under ``_name``; with ``SAME_STEP`` autoreset the last observations
    are in ``infos["final_obs"]`` (an object array) and the last infos in ``infos["final_info"]``.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self,
        task: ArrayTask,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
    ):
        if not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise ValueError(f"num_envs must be an integer of at least 1, got {num_envs!r}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode of a vector environment must be None or 'rgb_array', got {render_mode!r}")
        self.task = task
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {**self.metadata, "render_fps": task.render_fps, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = task.observation_space
        self.single_action_space = task.action_space
        self.observation_space = batch_space(task.observation_space, num_envs)
        self.action_space = batch_space(task.action_space, num_envs)
        self.state: Any = None
        self._rngs: list[np.random.Generator] = []
        self._seeds: list[int] = []
        self._ended = np.zeros(num_envs, dtype=bool)
        # The next episode of each sub-environment where it is drawn already, and the bits it follows from.
        self._next: Any = None
        self._next_words = np.zeros(num_envs, dtype=np.uint64)
        self._drawn = np.zeros(num_envs, dtype=bool)

    @property
    def np_random_seed(self) -> tuple[int, ...]:
        self._make_missing_generators()
        return tuple(self._seeds)

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:
        self._make_missing_generators()
        return tuple(self._rngs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        """Start new episodes.

        Args:
            seed: one int (sub-environment i gets ``seed + i``) or one per sub-environment.
            options: the task's options (a value for all, or an array with one for each), and ``reset_mask``,
                ``bool[N]``: which sub-environments to reset (the rest go on).
        """
        options = dict(options or {})
        mask = _reset_mask(options.pop("reset_mask", None), self.num_envs)
        if self.state is None and not mask.all():
            raise gym.error.ResetNeeded("the first reset() must reset every sub-environment: leave out 'reset_mask'")
        self._seed(seed, mask)
        rows = np.flatnonzero(mask)
        options = {key: _rows_of(key, value, rows, self.num_envs) for key, value in options.items()}
        started = self._start(rows, options)
        self.state = started if mask.all() else put(self.state, rows, started)
        self._ended &= ~mask
        return self.task.observe(self.state), _add_info({}, self.task.reset_info(started), rows, self.num_envs)

    def step(self, actions):
        self._require_reset("step")
        actions = np.asarray(actions)
        if not self.action_space.contains(actions):
            raise invalid_action(actions, self.action_space)
        waiting = self._ended
        if self.autoreset_mode is AutoresetMode.DISABLED and waiting.any():
            raise gym.error.ResetNeeded(
                f"episodes of sub-environments {np.flatnonzero(waiting).tolist()} have ended and autoreset is "
                "disabled: call reset(options={'reset_mask': ...}) first"
            )
        previous = self.state
        self.state, reward, terminated, truncated = self.task.transition(previous, actions)
        infos: dict[str, Any] = {}
        if waiting.any():  # NEXT_STEP: the action of an ended episode is ignored and a new one starts
            rows = np.flatnonzero(waiting)
            started = self._start(rows, {})
            self.state = put(self.state, rows, started)
            reward[rows], terminated[rows], truncated[rows] = 0.0, False, False
            _add_info(infos, self.task.reset_info(started), rows, self.num_envs)
        self._ended = terminated | truncated
        rows = np.flatnonzero(self._ended)
        told = ~waiting if self.task.informs_every_step else self._ended
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            told = told & ~self._ended
        informed = np.flatnonzero(told)
        if len(informed):
            info = self.task.final_info(self.state)
            if len(informed) < self.num_envs:
                info = {key: value[informed] for key, value in info.items()}
            _add_info(infos, info, informed, self.num_envs)
        if not len(rows) or self.autoreset_mode is not AutoresetMode.SAME_STEP:
            return self.task.observe(self.state), reward, terminated, truncated, infos
        last = select(self.state, rows)
        started = self._start(rows, {})
        self.state = put(self.state, rows, started)
        final_observation = np.full(self.num_envs, None, dtype=object)
        last_observations = self.task.observe(last)
        for i, row in enumerate(rows):
            final_observation[row] = _observation_of(last_observations, i)
        infos["final_obs"], infos["_final_obs"] = final_observation, self._ended
        infos["final_info"] = _add_info({}, self.task.final_info(last), rows, self.num_envs)
        infos["_final_info"] = self._ended.copy()
        _add_info(infos, self.task.reset_info(started), rows, self.num_envs)
        self._ended = np.zeros(self.num_envs, dtype=bool)
        return self.task.observe(self.state), reward, terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render mode: make the environment with render_mode=...")
            return None
        self._require_reset("render")
        return tuple(self.task.frame(self.state, i) for i in range(self.num_envs))

    def optimal_action(self) -> np.ndarray:
        """Return the oracle's actions in the current states, an element of ``action_space``."""
        self._require_reset("optimal_action")
        return self.task.optimal_action(self.state)

    def optimal_return(self) -> np.ndarray:
        """Return ``float64[N]``: the oracle's undiscounted return from the start of each current episode."""
        self._require_reset("optimal_return")
        return self.task.optimal_return(self.state)

    def random_return(self) -> np.ndarray:
        """Return ``float64[N]``: the expected return of uniformly random actions from the start of each episode."""
        self._require_reset("random_return")
        return self.task.random_return(self.state)

    def _require_reset(self, what: str) -> None:
        if self.state is None:
            raise gym.error.ResetNeeded(f"call reset() before {what}()")

    def _start(self, rows: np.ndarray, options: Mapping[str, Any]) -> Any:
        """Return new episodes for ``rows``. Each sub-environment's stream gives one word per episode, in order."""
        if options or not self.task.draws_ahead:
            fresh = rows[~self._drawn[rows]]
            self._next_words[fresh] = _draw([self._rngs[i] for i in fresh])
            self._drawn[rows] = False
            return self.task.initial(self._next_words[rows], options)
        if not self._drawn[rows].all():
            fresh = np.flatnonzero(~self._drawn)
            self._next_words[fresh] = _draw([self._rngs[i] for i in fresh])
            drawn = self.task.initial(self._next_words[fresh], {})
            self._next = drawn if len(fresh) == self.num_envs else put(self._next, fresh, drawn)
            self._drawn[fresh] = True
        self._drawn[rows] = False
        return select(self._next, rows)

    def _seed(self, seed: int | Sequence[int | None] | None, mask: np.ndarray) -> None:
        if seed is None:
            seeds: Sequence[int | None] = [None] * self.num_envs
        elif isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must be an int or have one entry per sub-environment ({self.num_envs}), got {seed}")
        self._make_missing_generators(seeds)
        for i in np.flatnonzero(mask):
            if seeds[i] is not None:
                self._rngs[i], self._seeds[i] = seeding.np_random(seeds[i])
                self._drawn[i] = False

    def _make_missing_generators(self, seeds: Sequence[int | None] | None = None) -> None:
        if not self._rngs:
            made = [seeding.np_random(seed) for seed in seeds or [None] * self.num_envs]
            self._rngs, self._seeds = [m[0] for m in made], [m[1] for m in made]


def _autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    for known in AutoresetMode:
        if mode in (known.value, known.name):
            return known
    raise ValueError(f"autoreset_mode must be one of {[m.value for m in AutoresetMode]}, got {mode!r}")


def _reset_mask(mask: Any, num_envs: int) -> np.ndarray:
    if mask is None:
        return np.ones(num_envs, dtype=bool)
    mask = np.asarray(mask)
    if mask.shape != (num_envs,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(f"options['reset_mask'] must be bool[{num_envs}] with at least one True, got {mask!r}")
    return mask


def _scalars(options: Mapping[str, Any]) -> Mapping[str, Any]:
    for key, value in options.items():
        if np.ndim(value) != 0:
            raise ValueError(f"options[{key!r}] of a single environment must be one value, got {value!r}")
    return options


def _rows_of(key: str, value: Any, rows: np.ndarray, num_envs: int) -> Any:
    """Return an option's values for ``rows``: a scalar is meant for all, a sequence holds one value each."""
    if np.ndim(value) == 0:
        return value
    if len(value) != num_envs:
        raise ValueError(f"options[{key!r}] must be one value or {num_envs} values, got {len(value)}")
    return np.asarray(value)[rows]


def _row(info: dict[str, np.ndarray], index: int) -> dict[str, Any]:
    items = ((key, value[index]) for key, value in info.items())
    return {key: item.item() if isinstance(item, np.generic) else item for key, item in items}


def _add_info(infos: dict[str, Any], info: dict[str, np.ndarray], rows: np.ndarray, num_envs: int) -> dict[str, Any]:
    """Write the infos of ``rows`` into ``infos``, each with its mask under ``_name``, and return ``infos``."""
    for key, value in info.items():
        if len(rows) == num_envs and key not in infos:
            infos[key], infos[f"_{key}"] = value, np.ones(num_envs, dtype=bool)
            continue
        absent = None if value.dtype == object else 0
        array = infos.setdefault(key, np.full((num_envs, *value.shape[1:]), absent, dtype=value.dtype))
        array[rows] = value
        infos.setdefault(f"_{key}", np.zeros(num_envs, dtype=bool))[rows] = True
    return infos
