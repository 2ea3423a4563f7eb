"""Vector environments of array tasks (see :mod:`bisimgym.envs.array_task`)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from bisimgym.envs.array_task import ArrayTask, BatchedEnv, draw_seeds, observation_of, put, select, time_limit
from bisimgym.envs.checks import integer, reset_options, taken_action, vector_seeds


class BatchedVectorEnv(VectorEnv):
    """N sub-environments of an array task, stepped together.

    ``infos`` follow Gymnasium: arrays with a mask under ``_name``; with ``SAME_STEP`` autoreset the last observations
    are in ``infos["final_obs"]`` (an object array) and the last infos in ``infos["final_info"]``.

    Args:
        task: the array task.
        num_envs: N.
        render_mode: ``None`` or "rgb_array".
        autoreset_mode: "SameStep", "NextStep" or "Disabled".
        max_episode_steps: time limit in steps beside what the task itself ends by, or None.
        disable_env_checker: taken because ``gym.make`` takes it; there is no checker to switch off.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}
    task: Any

    def __init__(
        self,
        task: ArrayTask,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        disable_env_checker: bool | None = None,
    ):
        num_envs = integer("num_envs", num_envs, 1)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode of a vector environment must be None or 'rgb_array', got {render_mode!r}")
        self.task = task
        self.num_envs = num_envs
        self.max_episode_steps = time_limit(max_episode_steps)
        self._steps = np.zeros(num_envs, dtype=np.int64)
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
        # The next episode of each sub-environment where it is drawn already, and its seed.
        self._next: Any = None
        self._next_seeds = np.zeros(num_envs, dtype=np.uint64)
        self._drawn = np.zeros(num_envs, dtype=bool)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]  # one each, as in SyncVectorEnv
        self._make_missing_generators()
        return tuple(self._seeds)

    @property  # type: ignore[misc]  # gymnasium's can be set
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        self._make_missing_generators()
        return tuple(self._rngs)

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None):
        """Start new episodes.

        Args:
            seed: one int (sub-environment i gets ``seed + i``) or one per sub-environment.
            options: the task's options (a value for all, or an array with one for each), and ``reset_mask``,
                ``bool[N]``: which sub-environments to reset (the rest go on).
        """
        options = reset_options(options)
        mask = _reset_mask(options.pop("reset_mask", None), self.num_envs)
        if self.state is None and not mask.all():
            raise gym.error.ResetNeeded("the first reset() must reset every sub-environment: leave out 'reset_mask'")
        self._seed(seed, mask)
        rows = np.flatnonzero(mask)
        options = {key: _rows_of(key, value, rows, self.num_envs) for key, value in options.items()}
        infos: dict[str, Any] = {}
        self._start(rows, options, infos)
        self._ended &= ~mask
        return self.task.observe(self.state), infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        self._require_reset("step")
        actions = taken_action(actions, self.action_space)
        waiting = self._ended
        if self.autoreset_mode is AutoresetMode.DISABLED and waiting.any():
            raise gym.error.ResetNeeded(
                f"episodes of sub-environments {np.flatnonzero(waiting).tolist()} have ended and autoreset is "
                "disabled: call reset(options={'reset_mask': ...}) first"
            )
        self.state, reward, terminated, truncated = self.task.transition(self.state, actions)
        if self.max_episode_steps is not None:
            self._steps += 1
            truncated |= self._steps >= self.max_episode_steps  # also on terminal steps, as gymnasium's TimeLimit does
        infos: dict[str, Any] = {}
        if waiting.any():  # NEXT_STEP: the action of an ended episode is ignored and a new one starts
            rows = np.flatnonzero(waiting)
            self._start(rows, {}, infos)
            reward[rows], terminated[rows], truncated[rows] = 0.0, False, False
        self._ended = terminated | truncated
        rows = np.flatnonzero(self._ended)
        has_info = ~waiting if self.task.informs_every_step else self._ended
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            has_info = has_info & ~self._ended
        with_info = np.flatnonzero(has_info)
        if len(with_info):
            info = self.task.final_info(self.state)
            if len(with_info) < self.num_envs:
                info = {key: value[with_info] for key, value in info.items()}
            add_info(infos, info, with_info, self.num_envs)
        if not len(rows) or self.autoreset_mode is not AutoresetMode.SAME_STEP:
            return self.task.observe(self.state), reward, terminated, truncated, infos
        last = select(self.state, rows)
        final_observation = np.full(self.num_envs, None, dtype=object)
        last_observations = self.task.observe(last)
        for i, row in enumerate(rows):
            final_observation[row] = observation_of(last_observations, i)
        infos["final_obs"], infos["_final_obs"] = final_observation, self._ended
        infos["final_info"] = add_info({}, self.task.final_info(last), rows, self.num_envs)
        infos["_final_info"] = self._ended.copy()
        self._start(rows, {}, infos)
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
        return self.task.optimal_return(self.state, self.max_episode_steps)

    def random_return(self) -> np.ndarray:
        """Return ``float64[N]``: the expected return of uniformly random actions from the start of each episode."""
        self._require_reset("random_return")
        return self.task.random_return(self.state, self.max_episode_steps)

    def _require_reset(self, what: str) -> None:
        if self.state is None:
            raise gym.error.ResetNeeded(f"call reset() before {what}()")

    def _start(self, rows: np.ndarray, options: Mapping[str, Any], infos: dict[str, Any]) -> None:
        """Start new episodes in ``rows`` and write their infos."""
        started = self.new_episodes(rows, options)
        self._steps[rows] = 0
        self.state = started if len(rows) == self.num_envs else put(self.state, rows, started)
        add_info(infos, self.task.reset_info(started), rows, self.num_envs)

    def new_episodes(self, rows: np.ndarray, options: Mapping[str, Any]) -> Any:
        """Return the start states of the next episodes of ``rows``, and leave the current ones as they are.

        Each sub-environment's stream gives one seed per episode, in order.
        """
        if options or not self.task.draws_ahead:
            fresh = rows[~self._drawn[rows]]
            self._next_seeds[fresh] = draw_seeds([self._rngs[i] for i in fresh])
            self._drawn[rows] = False
            return self.task.initial(self._next_seeds[rows], options)
        if not self._drawn[rows].all():
            fresh = np.flatnonzero(~self._drawn)
            self._next_seeds[fresh] = draw_seeds([self._rngs[i] for i in fresh])
            drawn = self.task.initial(self._next_seeds[fresh], {})
            self._next = drawn if len(fresh) == self.num_envs else put(self._next, fresh, drawn)
            self._drawn[fresh] = True
        self._drawn[rows] = False
        return select(self._next, rows)

    def _seed(self, seed: int | Sequence[int | None] | None, mask: np.ndarray) -> None:
        seeds = vector_seeds(seed, self.num_envs)
        self._make_missing_generators(seeds)
        for i in np.flatnonzero(mask).tolist():
            if seeds[i] is not None:
                self._rngs[i], self._seeds[i] = seeding.np_random(seeds[i])
                self._drawn[i] = False

    def _make_missing_generators(self, seeds: Sequence[int | None] | None = None) -> None:
        if not self._rngs:
            made = [seeding.np_random(seed) for seed in seeds or [None] * self.num_envs]
            self._rngs, self._seeds = [m[0] for m in made], [m[1] for m in made]


#: The arguments of a vector environment that its tasks do not see.
_OF_THE_VECTOR = ("num_envs", "render_mode", "autoreset_mode", "max_episode_steps", "disable_env_checker")


class TaskVectorEnv(BatchedVectorEnv):
    """Many environments of a class, which a subclass names: ``class ManyEnv(TaskVectorEnv, of=OneEnv)``.

    Its arguments are ``num_envs``, those of ``OneEnv``, ``autoreset_mode`` and those of ``gym.make``, which
    ``gym.make_vec`` hands on to native vector environments; its docstring is that of ``OneEnv``.
    """

    _of: type[BatchedEnv]
    __signature__: inspect.Signature

    def __init_subclass__(cls, of: type[BatchedEnv] | None = None, **defaults: Any):
        """Take the arguments of ``of``; ``defaults`` replace those of ``of`` where they differ."""
        super().__init_subclass__()
        if of is not None:
            vector = inspect.signature(BatchedVectorEnv).parameters
            of_one = inspect.signature(of).parameters.values()
            single = [p.replace(default=defaults.get(p.name, p.default)) for p in of_one]
            cls._of, cls.__doc__ = of, of.__doc__
            known = {p.name for p in single}
            own = [vector[name] for name in _OF_THE_VECTOR[1:] if name not in known]
            cls.__signature__ = inspect.Signature([vector["num_envs"], *single, *own])

    def __init__(self, *args: Any, **kwargs: Any):
        bound = self.__signature__.bind(*args, **kwargs)
        bound.apply_defaults()
        single = dict(bound.arguments)
        own = {name: single.pop(name) for name in _OF_THE_VECTOR}
        if own["max_episode_steps"] is None:  # for gym.make, None is the registered limit and -1 is none
            own["max_episode_steps"] = self.__signature__.parameters["max_episode_steps"].default
        super().__init__(self._of(**single).task, **own)


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


def _rows_of(key: str, value: Any, rows: np.ndarray, num_envs: int) -> Any:
    """Return an option's values for ``rows``: a scalar is meant for all, a sequence holds one value each."""
    if np.ndim(value) == 0:
        return value
    if len(value) != num_envs:
        raise ValueError(f"options[{key!r}] must be one value or {num_envs} values, got {len(value)}")
    return np.asarray(value)[rows]


def add_info(infos: dict[str, Any], info: dict[str, np.ndarray], rows: np.ndarray, num_envs: int) -> dict[str, Any]:
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
