"""Data sets of dm_control as states of the simulator, from which any observation of them is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from gymnasium.utils import seeding

from bisimgym.envs.distracting_control import snapshot
from bisimgym.envs.distracting_control.distracted import DistractedEnv
from bisimgym.envs.distracting_control.settings import Keywords


class StatesForm:
    """How :mod:`bisimgym.wrappers.offline` keeps episodes of tasks of dm_control.

    The columns: of every observation ``physics``, ``float64[n]``, MuJoCo's full physics, and ``vector``,
    ``float64[d]``, the task's own observation; of every episode ``model``, ``float64[v]``, all that is visible in the
    model, which tasks may change when an episode starts.

    An observation is what the environment would have shown, bit for bit with ``renderer="raycast"``: distractions
    follow from the episode's seed, and go on with its time. With other arguments (preset, camera, backgrounds, size,
    ...) it is what an environment with those would have shown in the same states.

    Args:
        env: whose observations are drawn. It is used up: its model shows other states afterwards.
    """

    name = "states"
    blind_arguments: Mapping[str, Any] = {"observation": "state"}
    display_arguments = frozenset(Keywords.__annotations__) | {"camera_id"}

    def __init__(self, env: DistractedEnv):
        self._env = env
        self._model = env.environment.physics.model.ptr
        self._data = mujoco.MjData(self._model)
        self._pristine = snapshot.visible_fields(self._model)
        self._step_seconds = float(env.environment.control_timestep())
        self._models: dict[int, np.ndarray] = {}

    def record(self, envs: Any, observations: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        states = envs.unwrapped.call("recorded_state")
        for row in rows.tolist():
            if not np.array_equal(states[row][1], self._models[row]):
                raise ValueError(
                    "the task changes what is visible in its model within an episode, which this form does not keep: "
                    'use form="arrays"'
                )
        return {
            "physics": np.stack([states[row][0] for row in rows.tolist()]),
            "vector": np.stack([states[row][2] for row in rows.tolist()]),
        }

    def record_starts(self, envs: Any, observations: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        states = envs.unwrapped.call("recorded_state")
        self._models |= {row: states[row][1] for row in rows.tolist()}
        return {"model": np.stack([states[row][1] for row in rows.tolist()])}

    def draw(self, episodes: Any, rows: np.ndarray, episode: np.ndarray) -> np.ndarray:
        """Return observations; see :class:`bisimgym.wrappers.offline.forms.Form`.

        Episodes are gone through from their first steps, because their distractions are; images that several
        observations share, as stacks do, are drawn once.
        """
        space = self._env.observation_space
        drawn = np.empty((len(rows), *(space.shape or ())), space.dtype)
        firsts = episodes.starts + np.arange(episodes.num_episodes)
        draw = self._images if self._env.settings.observation == "pixels" else self._vectors
        for number in np.unique(episode).tolist():
            wanted = np.flatnonzero(episode == number)
            drawn[wanted] = draw(episodes, number, int(firsts[number]), rows[wanted] - firsts[number])
        return drawn

    def _images(self, episodes: Any, number: int, first: int, times: np.ndarray) -> np.ndarray:
        """Return the stacks of images that an episode shows at some times."""
        length, size = self._env.settings.frame_stack, self._env.settings.size
        shown = np.maximum(times[:, None] + np.arange(1 - length, 1), 0)  # a start stands for what was before
        needed = np.unique(shown)
        physics = episodes.observations["physics"][first : first + int(needed[-1]) + 1]
        fields = snapshot.fields_of(episodes.per_episode["model"][number], self._pristine)
        # Time comes first in MuJoCo's full physics; an episode's last step may have fewer control steps.
        control_steps = np.rint(np.diff(physics[:, 0]) / self._step_seconds).astype(int)
        self._restore(physics[0], fields)
        scene = self._env.distractions(self._data, *self._seed_of(episodes, number))[0]
        frames = np.empty((len(needed), size, size, 3), dtype=np.uint8)
        done = 0
        for time in range(int(needed[-1]) + 1):
            if time:
                scene.advance(int(control_steps[time - 1]))
            if needed[done] == time:
                self._restore(physics[time], fields)
                frames[done] = self._env.image(self._data, scene, size)
                done += 1
        stacks = frames[np.searchsorted(needed, shown)]  # [K, length, size, size, 3]
        return stacks.transpose(0, 2, 3, 1, 4).reshape(len(times), size, size, 3 * length)

    def _vectors(self, episodes: Any, number: int, first: int, times: np.ndarray) -> np.ndarray:
        """Return the vectors that an episode shows at some times."""
        vectors = episodes.observations["vector"][first : first + int(times.max()) + 1]
        fields = snapshot.fields_of(episodes.per_episode["model"][number], self._pristine)
        self._restore(episodes.observations["physics"][first], fields)
        noise_rng = self._env.distractions(self._data, *self._seed_of(episodes, number))[1]
        return np.stack([self._env.noisy(vector, noise_rng) for vector in vectors])[times]

    def _restore(self, physics: np.ndarray, fields: Mapping[str, np.ndarray]) -> None:
        snapshot.restore(snapshot.Snapshot(physics, fields), self._model, self._data, self._pristine)

    @staticmethod
    def _seed_of(episodes: Any, number: int) -> tuple[int, int]:
        """Return the seed that an episode drew, and its number in its stream."""
        generator, _ = seeding.np_random(int(episodes.per_episode["seed"][number]))
        count = int(episodes.per_episode["number"][number])
        return [int(generator.bit_generator.random_raw()) for _ in range(count + 1)][-1], count
