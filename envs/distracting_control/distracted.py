"""Any environment of dm_control with distractions: see :class:`DistractedEnv`.

The physics, the rewards and dm_control itself are left as they are. Distractions draw from streams of their own, so
that one seed gives one trajectory, with and without them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Unpack

import gymnasium as gym
import mujoco
import numpy as np

from bisimgym.envs.checks import reset_options, taken_action
from bisimgym.envs.distracting_control import snapshot
from bisimgym.envs.distracting_control.settings import Keywords, Settings, settings
from bisimgym.envs.distracting_control.snapshot import CleanState
from bisimgym.envs.distractions.noise import ObservationNoise
from bisimgym.envs.distractions.presets import Distraction
from bisimgym.envs.distractions.protocol import check_count
from bisimgym.envs.distractions.scene import DistractedScene, SceneEpisode
from bisimgym.envs.distractions.videos import Backgrounds, NoiseSource, VideoSource, video_source
from bisimgym.envs.rendering import probe
from bisimgym.envs.rendering.look import Renderer, Supersampled

#: Sizes of videos on the sky, for agents and for people. One of the sky's faces spans 90 degrees, an image 45.
_SKY_VIDEO_SIZE, _LARGE_SKY_VIDEO_SIZE = 128, 256
_HUMAN_SIZE = 240
# Children of an episode's seed: what the task draws and what distractions draw have nothing in common.
_TASK_STREAM, _SCENE_STREAM, _NOISE_STREAM = 0, 1, 2


class DistractedEnv(gym.Env):
    """Any dm_control environment as a Gymnasium environment with distractions.

    :class:`DistractingControlEnv` is this for the tasks of the suite; its documentation describes observations,
    actions, rewards and arguments. This class is for environments of your own::

        env = DistractedEnv(my_dm_control_environment, preset="dcs-easy-dynamic", action_repeat=2)

    Args:
        environment: a ``dm_control.rl.control.Environment``, whose task has its generator in ``task.random`` (a
            ``numpy.random.RandomState``), as all of the suite have.
        domain: name of the domain, which some presets look up; leave it out for domains that are not in the suite.
        **keywords: as of :class:`DistractingControlEnv`, without ``domain`` and ``task``; ``action_repeat`` is 1 and
            ``camera_id`` 0 unless given.

    Attributes:
        environment: the one given.
        settings: :class:`Settings`, checked.
        renderer: in use, "raycast", "opengl" or "opengl-fast".
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 25}
    offline_form = "bisimgym.envs.distracting_control.states:StatesForm"

    def __init__(
        self,
        environment: Any,
        *,
        domain: str = "",
        action_repeat: int = 1,
        camera_id: int = 0,
        **keywords: Unpack[Keywords],
    ):
        self.settings = settings(action_repeat=action_repeat, camera_id=camera_id, **keywords)
        self.environment = environment
        self.render_mode = self.settings.render_mode
        seconds = environment.control_timestep() * self.action_repeat
        self.metadata = {**self.metadata, "render_fps": max(1, round(1.0 / seconds))}
        self._random = _random_of(environment)
        self._model: mujoco.MjModel = environment.physics.model.ptr
        self._pristine = snapshot.visible_fields(self._model)
        if self.settings.camera_id >= self._model.ncam:
            raise ValueError(f"camera_id must be in [0, {self._model.ncam}), the model's cameras, got {camera_id!r}")
        self.renderer = resolve_renderer(self.settings.renderer)
        if self.renderer != "raycast" and self.settings.visible:
            probe.require()
        # Where no image is ever drawn, nothing visible needs to be drawn at random, or read from disk.
        self._distraction = self.settings.distraction if self.settings.visible else Distraction()
        self._sources: dict[int, VideoSource] = {}
        videos = self._videos(self.settings.size)
        self._scene = DistractedScene(self._model, self._distraction, domain, self.settings.camera_id, videos)
        low, high = _action_bounds(environment.action_spec())
        self._action_middle, self._action_half = (low + high) / 2, (high - low) / 2
        self.action_space = gym.spaces.Box(-1.0, 1.0, low.shape, np.float32)
        count = sum(int(np.prod(spec.shape)) for spec in environment.observation_spec().values())
        self._noise = _noise(self.settings, count)
        if self.settings.observation == "pixels":
            size = self.settings.size
            self.observation_space = gym.spaces.Box(0, 255, (size, size, 3 * self.settings.frame_stack), np.uint8)
        else:
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self._noise.output_size(count),), np.float32)
        self._renderers: dict[int, Renderer] = {}
        self._window: Any = None
        self._scratch: mujoco.MjData | None = None
        self._episode: SceneEpisode | None = None
        self._ended = False
        self._episodes = 0
        self._noise_rng = np.random.default_rng(0)
        self._clean = np.zeros(count)
        self._frames: list[np.ndarray] = []
        self._snapshots: list[snapshot.Snapshot] = []

    @property
    def action_repeat(self) -> int:
        """Control steps per action."""
        return self.settings.action_repeat

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None):
        if reset_options(options):
            raise ValueError(f"reset() takes no options here, got {sorted(options or {})}")
        super().reset(seed=seed)
        if seed is not None:
            self._episodes = 0
        if self.environment.physics.model.ptr is not self._model:
            raise ValueError("the environment has compiled its model again: only models that stay are supported")
        own = int(self.np_random.bit_generator.random_raw())
        self._random.seed(np.random.SeedSequence(own, spawn_key=(_TASK_STREAM,)).generate_state(8))
        time_step = self.environment.reset()
        self._episode, self._noise_rng = self.distractions(self._data, own, self._episodes)
        self._episodes += 1
        self._ended = False
        self._frames, self._snapshots = [], []
        return self._observe(time_step), self._info()

    def step(self, action):
        self._require_reset("step")
        if self._ended:
            raise gym.error.ResetNeeded(
                "the episode has ended: call reset() before step(), or reset(options={'reset_mask': ...}) of a vector"
            )
        command = self._action_middle + self._action_half * taken_action(action, self.action_space)
        reward, steps = 0.0, 0
        for steps in range(1, self.action_repeat + 1):  # noqa: B007
            time_step = self.environment.step(command)
            reward += float(time_step.reward or 0.0)
            if time_step.last():
                break
        assert self._episode is not None
        self._episode.advance(steps)
        # dm_control ends an episode with discount 1 at its time limit, with less where the task is over.
        terminated = bool(time_step.last() and time_step.discount < 1.0)
        truncated = bool(time_step.last() and not terminated)
        self._ended = terminated or truncated
        return self._observe(time_step), reward, terminated, truncated, self._info()

    def render(self):
        self._require_reset("render")
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render mode: make the environment with render_mode=...")
            return None
        frame = self._image(_HUMAN_SIZE)
        if self.render_mode == "rgb_array":
            return frame
        if self._window is None:
            from bisimgym.envs.drawing import Window

            self._window = Window(self.metadata["render_fps"])
        self._window.show(frame, self._caption())
        return None

    def close(self) -> None:
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers = {}
        if self._window is not None:
            self._window.close()
            self._window = None

    def distractions(self, data: mujoco.MjData, own: int, number: int) -> tuple[SceneEpisode, np.random.Generator]:
        """Return the distractions of an episode: of its images, and the generator of the noise on its states.

        Args:
            data: the first state, with its kinematics computed.
            own: the seed that the episode drew.
            number: of the episode since the environment was seeded, from 0.
        """
        fixed = self.settings.distraction_seed
        source = own if fixed is None else (fixed, number)
        seeds = np.random.SeedSequence(source, spawn_key=(_SCENE_STREAM,))
        noise_rng = np.random.default_rng(np.random.SeedSequence(source, spawn_key=(_NOISE_STREAM,)))
        return SceneEpisode(self._scene, data, seeds, number), noise_rng

    def image(self, data: mujoco.MjData, episode: SceneEpisode, size: int) -> np.ndarray:
        """Return an image of a state under the distractions of :meth:`distractions`, ``uint8[size, size, 3]``."""
        return self._renderer(size).render(data, episode.look(data, self._videos(size)))

    def noisy(self, vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return an observation of a state, ``float64[d]``, with noise drawn from ``rng``."""
        return self._noise.apply(vector, rng)

    def recorded_state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the state now: full physics, all that is visible in the model, and the task's own observation.

        ``float64[n]`` each, of the same lengths at any time.
        """
        self._require_reset("recorded_state")
        physics = snapshot.take(self._model, self._data, self._pristine).physics
        return physics, snapshot.flat_fields(self._model), self._clean.copy()

    # The sampler of bisimgym.envs.distractions.protocol.Redistractable.

    def clean_state(self) -> CleanState:
        """Return what the current observation shows, without its distraction, for :meth:`redistract`.

        It can be pickled and outlives steps and episodes.
        """
        self._require_reset("clean_state")
        return CleanState(self._clean.copy(), tuple(self._snapshots))

    def redistract(self, clean_state: CleanState, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return independent observations of one clean state, each under a fresh distraction.

        A distraction is drawn as for a new episode; in a stack of images it goes on as it would between steps.

        Args:
            clean_state: of :meth:`clean_state`, from this environment or an equal one.
            count: how many, at least 1.
            rng: draws the distractions.

        Returns:
            ``[count, *observation_space.shape]`` of the dtype of ``observation_space``.
        """
        check_count(count)
        if self.settings.observation == "state":
            return self._noise.apply(np.repeat(clean_state.vector[None], count, axis=0), rng)
        if self._scratch is None:
            self._scratch = mujoco.MjData(self._model)
        length, size = self.settings.frame_stack, self.settings.size
        stacks = np.empty((count, size, size, length, 3), dtype=np.uint8)
        seeds = [int(seed) for seed in rng.integers(0, 2**63, size=count)]
        episodes: list[SceneEpisode] = []
        with snapshot.model_kept(self._model):
            for i, shown in enumerate(clean_state.snapshots):
                snapshot.restore(shown, self._model, self._scratch, self._pristine)
                if i == 0:
                    episodes = [
                        SceneEpisode(self._scene, self._scratch, np.random.SeedSequence(seed), seed) for seed in seeds
                    ]
                else:
                    for episode in episodes:
                        episode.advance(self.action_repeat)
                looks = [episode.look(self._scratch) for episode in episodes]
                start = 0 if i == 0 else length - len(clean_state.snapshots) + i
                images = self._renderer(size).render_many(self._scratch, looks)
                stacks[:, :, :, start:] = images[:, :, :, None]
        return stacks.reshape(count, size, size, 3 * length)

    @property
    def _data(self) -> mujoco.MjData:
        return self.environment.physics.data.ptr

    def _observe(self, time_step: Any) -> np.ndarray:
        parts = [np.ravel(part) for part in time_step.observation.values()]
        self._clean = np.concatenate(parts).astype(np.float64)
        if self.render_mode == "human":
            self.render()
        if self.settings.observation == "state":
            return self._noise.apply(self._clean, self._noise_rng)
        length = self.settings.frame_stack
        now = snapshot.take(self._model, self._data, self._pristine)
        self._snapshots = [*self._snapshots, now][-length:]
        self._frames = [*self._frames, self._image(self.settings.size)][-length:]
        missing = length - len(self._frames)
        return np.concatenate(self._frames[:1] * missing + self._frames, axis=2)

    def _image(self, size: int) -> np.ndarray:
        assert self._episode is not None
        return self.image(self._data, self._episode, size)

    def _videos(self, size: int) -> Backgrounds | None:
        """Return the videos for images of a size, or ``None`` where the settings show none."""
        chosen = self._distraction
        if chosen.background == 0:
            return None
        if chosen.compositing == "texture":
            size, grain = (_SKY_VIDEO_SIZE if size <= _SKY_VIDEO_SIZE else _LARGE_SKY_VIDEO_SIZE), 1
        else:
            grain = self.settings.supersampling  # noise is of what is seen, and not of what is drawn
            size *= grain
        if chosen.content == "noise":
            return NoiseSource(size, size, chosen.grayscale, grain)
        if size not in self._sources:
            self._sources[size] = video_source(
                self.settings.backgrounds,
                split=self.settings.split,
                size=(size, size),
                grayscale=chosen.grayscale,
                count=chosen.video_count(self.settings.split),
            )
        return self._sources[size]

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {}
        if self.settings.observation == "state":
            info["clean_observation"] = self._clean.astype(np.float32)
        elif self._episode is not None and self._episode.shown is not None:
            info["background"], info["background_frame"] = self._episode.shown
        return info

    def _caption(self) -> str:
        shown = None if self._episode is None else self._episode.shown
        return "bisimgym" if shown is None else f"bisimgym: {shown[0]}, frame {shown[1]}"

    def _renderer(self, size: int) -> Renderer:
        if size not in self._renderers:
            factor = self.settings.supersampling
            made = self._make_renderer(size * factor)
            self._renderers[size] = made if factor == 1 else Supersampled(made, factor)
        return self._renderers[size]

    def _make_renderer(self, size: int) -> Renderer:
        if self.renderer == "raycast":
            from bisimgym.envs.rendering.raycast import RaycastRenderer

            return RaycastRenderer(self._model, size, size, self.settings.camera_id)
        from bisimgym.envs.rendering.opengl import OpenGLRenderer

        quality = "fast" if self.renderer == "opengl-fast" else "standard"
        return OpenGLRenderer(self._model, size, size, self.settings.camera_id, quality)

    def _require_reset(self, what: str) -> None:
        if self._episode is None:
            raise gym.error.ResetNeeded(f"call reset() before {what}()")

    def __getstate__(self) -> dict[str, Any]:
        # Contexts of OpenGL and windows belong to a process. All else comes along.
        return {**self.__dict__, "_renderers": {}, "_window": None, "_scratch": None, "_model": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._model = self._scene.model = self.environment.physics.model.ptr
        self._random = _random_of(self.environment)


@functools.cache
def resolve_renderer(renderer: str) -> str:
    """Return "raycast", "opengl" or "opengl-fast", and say which where "auto" decided."""
    if renderer != "auto":
        return renderer
    found = probe.probe()
    chosen = "opengl" if found.is_hardware else "raycast"
    reason = f"OpenGL is drawn by {found.renderer}" if found.backend else "there is no OpenGL"
    gym.logger.warn(f'renderer="auto" uses "{chosen}": {reason}. Name it in results: images of renderers differ.')
    return chosen


def _noise(chosen: Settings, size: int) -> ObservationNoise:
    """Return the noise on a state of so many entries."""
    rows, seed = chosen.projection_rows, chosen.projection_seed
    noise = ObservationNoise(chosen.noise_dimensions, chosen.noise_std, chosen.noise_mean)
    return noise.projected(size, rows, seed) if chosen.random_projection else noise


def _random_of(environment: Any) -> np.random.RandomState:
    random = getattr(getattr(environment, "task", None), "random", None)
    if not isinstance(random, np.random.RandomState):
        raise ValueError(
            "the environment's task must have its generator in task.random (numpy.random.RandomState), as tasks of "
            f"dm_control's suite have, got {random!r}: without it, episodes cannot be seeded"
        )
    return random


def _action_bounds(spec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return lowest and highest actions. Actuators without limits get [-1, 1]."""
    low, high = (np.broadcast_to(np.asarray(b, dtype=np.float64), spec.shape) for b in (spec.minimum, spec.maximum))
    limited = np.isfinite(low) & np.isfinite(high)
    return np.where(limited, low, -1.0), np.where(limited, high, 1.0)
