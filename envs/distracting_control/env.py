"""Tasks of dm_control with distractions: backgrounds, cameras, colours, and noise on states.

The physics, the rewards and dm_control itself are left as they are. Distractions draw from streams of their own, so
that one seed gives one trajectory, with and without them.

Sources: Stone et al. 2021, "The Distracting Control Suite" (arXiv 2101.02722) and what was built after it; see
:mod:`bisimgym.envs.distractions.presets`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from bisimgym.envs.distractions.noise import ObservationNoise, random_projection_matrix
from bisimgym.envs.distractions.presets import Distraction, distraction
from bisimgym.envs.distractions.protocol import check_count
from bisimgym.envs.distractions.scene import DistractedScene, SceneEpisode
from bisimgym.envs.distractions.videos import VideoSource, video_source
from bisimgym.envs.rendering import probe
from bisimgym.envs.rendering.look import Renderer
from bisimgym.envs.worker_vector import WorkerVectorEnv

try:
    suite = probe.import_without_opengl("dm_control.suite")
    import mujoco
except ImportError as error:
    raise ImportError(
        f'DistractingControl needs dm_control and mujoco ({error}): pip install "bisimgym[dmc]"'
    ) from error

OBSERVATIONS = ("pixels", "state")
RENDERERS = ("raycast", "opengl", "opengl-fast", "auto")
SPLITS = ("train", "test")

#: Control steps per action, as in PlaNet, DrQ and PSE (its Table I.3). Other tasks: 4.
ACTION_REPEATS: Mapping[tuple[str, str], int] = {
    ("ball_in_cup", "catch"): 4,
    ("cartpole", "swingup"): 8,
    ("cartpole", "swingup_sparse"): 8,
    ("cheetah", "run"): 4,
    ("finger", "spin"): 2,
    ("reacher", "easy"): 4,
    ("walker", "stand"): 2,
    ("walker", "walk"): 2,
    ("walker", "run"): 2,
}
_DEFAULT_ACTION_REPEAT = 4
_CAMERAS = {"quadruped": 2}

#: Sizes of videos on the sky, for agents and for people. One of the sky's faces spans 90 degrees, a picture 45.
_SKY_VIDEO_SIZE, _LARGE_SKY_VIDEO_SIZE = 128, 256
_HUMAN_SIZE = 240
_SETTINGS = tuple(field.name for field in fields(Distraction))
# Children of an episode's word: what the task draws and what distractions draw have nothing in common.
_TASK_STREAM, _SCENE_STREAM, _NOISE_STREAM = 0, 1, 2
#: What tasks may change in a model at the start of an episode that shows in pictures.
_VISIBLE_FIELDS = (
    "body_pos",
    "body_quat",
    "geom_pos",
    "geom_quat",
    "geom_size",
    "geom_rgba",
    "site_pos",
    "site_quat",
    "site_size",
    "site_rgba",
    "mat_rgba",
    "cam_pos",
    "cam_quat",
    "light_pos",
    "light_dir",
    "hfield_data",
)


@dataclass(frozen=True)
class _Snapshot:
    """A state of the physics, enough to draw it again."""

    physics: np.ndarray
    changed: Mapping[str, np.ndarray]  # of _VISIBLE_FIELDS, where the model is not as it was compiled


@dataclass(frozen=True)
class CleanState:
    """What an observation shows, without how it is distracted (see :meth:`DistractedEnv.clean_state`).

    Attributes:
        vector: ``float64[d]``, the task's own observation.
        snapshots: states of the physics, oldest first, one per picture of the stack; empty for states. At the start of
            an episode one stands for all.
    """

    vector: np.ndarray
    snapshots: tuple[_Snapshot, ...]


class DistractedEnv(gym.Env):
    """Any dm_control environment as a Gymnasium environment with distractions.

    :class:`DistractingControlEnv` is this for the tasks of the suite; its documentation describes observations,
    actions, rewards and arguments. This class is for environments of your own::

        env = DistractedEnv(my_dm_control_environment, preset="dcs-easy-dynamic", action_repeat=2)

    Args:
        environment: a ``dm_control.rl.control.Environment``, whose task has its generator in ``task.random`` (a
            ``numpy.random.RandomState``), as all of the suite have.
        domain: name of the domain, which some presets look up; leave it out for domains that are not in the suite.
        **arguments: as of :class:`DistractingControlEnv`, without ``domain`` and ``task``; ``action_repeat`` is 1 and
            ``camera_id`` 0 unless given.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 25}

    def __init__(
        self,
        environment: Any,
        *,
        domain: str = "",
        observation: str = "pixels",
        preset: str = "dcs-easy-dynamic",
        backgrounds: str = "procedural",
        split: str = "train",
        action_repeat: int = 1,
        frame_stack: int = 3,
        size: int = 84,
        camera_id: int = 0,
        renderer: str = "raycast",
        distraction_seed: int | None = None,
        noise_dimensions: int = 0,
        noise_std: float = 1.0,
        noise_mean: float = 0.0,
        random_projection: bool = False,
        projection_rows: int | None = None,
        projection_seed: int = 0,
        render_mode: str | None = None,
        **settings: Any,
    ):
        unknown = [name for name in settings if name not in _SETTINGS]
        if unknown:
            raise TypeError(f"unexpected keyword arguments {unknown}; settings of distractions are {list(_SETTINGS)}")
        _check_choice("observation", observation, OBSERVATIONS)
        _check_choice("split", split, SPLITS)
        _check_choice("renderer", renderer, RENDERERS)
        if render_mode is not None:
            _check_choice("render_mode", render_mode, tuple(self.metadata["render_modes"]))
        for name, value in (("action_repeat", action_repeat), ("frame_stack", frame_stack), ("size", size)):
            _check_count(name, value, 1)
        if distraction_seed is not None:
            _check_count("distraction_seed", distraction_seed, 0)
        _check_count("noise_dimensions", noise_dimensions, 0)
        if observation == "pixels" and (noise_dimensions or random_projection or noise_std != 1.0 or noise_mean != 0.0):
            raise ValueError('noise_* and random_projection are for observation="state", got "pixels"')
        if projection_rows is not None and not random_projection:
            raise ValueError(f"projection_rows={projection_rows} is for random_projection=True, got False")
        self.environment = environment
        self.settings = distraction(preset, **settings)
        self.action_repeat = int(action_repeat)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": _frames_per_second(environment, self.action_repeat)}
        self._kind, self._size, self._stack_length = observation, int(size), int(frame_stack)
        self._distraction_seed = distraction_seed
        self._random = _random_of(environment)
        self._model = environment.physics.model.ptr
        self._pristine = {name: getattr(self._model, name).copy() for name in _VISIBLE_FIELDS}
        _check_count("camera_id", camera_id, 0)
        if camera_id >= self._model.ncam:
            raise ValueError(f"camera_id must be in [0, {self._model.ncam}), the model's cameras, got {camera_id!r}")
        self._camera_id = int(camera_id)
        #: The renderer in use: "raycast", "opengl" or "opengl-fast".
        self.renderer = resolve_renderer(renderer)
        # Where no picture is ever drawn, nothing that is seen needs to be drawn at random, or read from disk.
        seen = observation == "pixels" or render_mode is not None
        if self.renderer != "raycast" and seen:
            probe.require()
        self._videos = _Videos(self.settings if seen else Distraction(), backgrounds, split)
        self._scene = DistractedScene(
            self._model, self._videos.settings, domain, self._camera_id, self._videos(self._size)
        )
        low, high = _action_bounds(environment.action_spec())
        self._action_middle, self._action_half = (low + high) / 2, (high - low) / 2
        self.action_space = gym.spaces.Box(-1.0, 1.0, low.shape, np.float32)
        count = sum(int(np.prod(spec.shape)) for spec in environment.observation_spec().values())
        rows = count + noise_dimensions if projection_rows is None else projection_rows
        self._noise = ObservationNoise(
            noise_dimensions,
            noise_std,
            noise_mean,
            random_projection_matrix(rows, count + noise_dimensions, projection_seed) if random_projection else None,
        )
        if observation == "pixels":
            shape = (self._size, self._size, 3 * self._stack_length)
            self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        else:
            shape = (self._noise.output_size(count),)
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self._renderers: dict[int, Renderer] = {}
        self._window: Any = None
        self._scratch: mujoco.MjData | None = None
        self._episode: SceneEpisode | None = None
        self._ended = False
        self._episodes = 0
        self._noise_rng = np.random.default_rng(0)
        self._clean = np.zeros(count)
        self._frames: list[np.ndarray] = []
        self._snapshots: list[_Snapshot] = []

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None):
        super().reset(seed=seed)
        if options:
            raise ValueError(f"reset() takes no options here, got {sorted(options)}")
        if seed is not None:
            self._episodes = 0
        if self.environment.physics.model.ptr is not self._model:
            raise ValueError("the environment has compiled its model anew: only models that stay are supported")
        word = int(self.np_random.bit_generator.random_raw())
        self._random.seed(np.random.SeedSequence(word, spawn_key=(_TASK_STREAM,)).generate_state(8))
        time_step = self.environment.reset()
        source = word if self._distraction_seed is None else (self._distraction_seed, self._episodes)
        self._noise_rng = np.random.default_rng(np.random.SeedSequence(source, spawn_key=(_NOISE_STREAM,)))
        seeds = np.random.SeedSequence(source, spawn_key=(_SCENE_STREAM,))
        self._episode = SceneEpisode(self._scene, self._data, seeds, self._episodes)
        self._episodes += 1
        self._ended = False
        self._frames, self._snapshots = [], []
        return self._observe(time_step), self._info()

    def step(self, action):
        self._require_reset("step")
        if self._ended:
            raise gym.error.ResetNeeded("the episode has ended: call reset() before step()")
        command = self._action_middle + self._action_half * self._checked(action)
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
        frame = self._picture(_HUMAN_SIZE)
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

    # The sampler of bisimgym.envs.distractions.protocol.Redistractable.

    def clean_state(self) -> CleanState:
        """Return what the current observation shows, without its distraction, for :meth:`redistract`.

        It can be pickled and outlives steps and episodes.
        """
        self._require_reset("clean_state")
        return CleanState(self._clean.copy(), tuple(self._snapshots))

    def redistract(self, clean_state: CleanState, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return independent observations of one clean state, each under a fresh distraction.

        A distraction is drawn as for a new episode; in a stack of pictures it goes on as it would between steps.

        Args:
            clean_state: of :meth:`clean_state`, from this environment or an equal one.
            count: how many, at least 1.
            rng: draws the distractions.

        Returns:
            ``[count, *observation_space.shape]`` of the dtype of ``observation_space``.
        """
        check_count(count)
        if self._kind == "state":
            return self._noise.apply(np.repeat(clean_state.vector[None], count, axis=0), rng)
        if self._scratch is None:
            self._scratch = mujoco.MjData(self._model)
        own = {name: getattr(self._model, name).copy() for name in _VISIBLE_FIELDS}
        length = self._stack_length
        stacks = np.empty((count, self._size, self._size, length, 3), dtype=np.uint8)
        words = rng.integers(0, 2**63, size=count)
        episodes: list[SceneEpisode] = []
        try:
            for i, snapshot in enumerate(clean_state.snapshots):
                self._restore(snapshot)
                if i == 0:
                    episodes = [
                        SceneEpisode(self._scene, self._scratch, np.random.SeedSequence(int(word)), int(word))
                        for word in words
                    ]
                else:
                    for episode in episodes:
                        episode.advance(self.action_repeat)
                looks = [episode.look(self._scratch) for episode in episodes]
                start = 0 if i == 0 else length - len(clean_state.snapshots) + i
                pictures = self._renderer(self._size).render_many(self._scratch, looks)
                stacks[:, :, :, start:] = pictures[:, :, :, None]
        finally:
            for name, array in own.items():
                getattr(self._model, name)[:] = array
        return stacks.reshape(count, self._size, self._size, 3 * length)

    @property
    def _data(self) -> mujoco.MjData:
        return self.environment.physics.data.ptr

    def _observe(self, time_step: Any) -> np.ndarray:
        parts = [np.ravel(part) for part in time_step.observation.values()]
        self._clean = np.concatenate(parts).astype(np.float64)
        if self.render_mode == "human":
            self.render()
        if self._kind == "state":
            return self._noise.apply(self._clean, self._noise_rng)
        self._snapshots = [*self._snapshots, self._snapshot()][-self._stack_length :]
        frame = self._picture(self._size)
        self._frames = [*self._frames, frame][-self._stack_length :]
        missing = self._stack_length - len(self._frames)
        return np.concatenate(self._frames[:1] * missing + self._frames, axis=2)

    def _picture(self, size: int) -> np.ndarray:
        assert self._episode is not None
        return self._renderer(size).render(self._data, self._episode.look(self._data, self._videos(size)))

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {}
        if self._kind == "state":
            info["clean_observation"] = self._clean.astype(np.float32)
        elif self._scene.videos is not None:
            assert self._episode is not None
            info["background"] = self._scene.videos.names[self._episode.video]
            info["background_frame"] = self._episode.frame_index
        return info

    def _caption(self) -> str:
        episode = self._episode
        if self._scene.videos is None or episode is None or episode.video is None:
            return "bisimgym"
        return f"bisimgym: {self._scene.videos.names[episode.video]}, frame {episode.frame_index}"

    def _renderer(self, size: int) -> Renderer:
        if size not in self._renderers:
            if self.renderer == "raycast":
                from bisimgym.envs.rendering.raycast import RaycastRenderer

                self._renderers[size] = RaycastRenderer(self._model, size, size, self._camera_id)
            else:
                from bisimgym.envs.rendering.opengl import OpenGLRenderer

                quality = "fast" if self.renderer == "opengl-fast" else "standard"
                self._renderers[size] = OpenGLRenderer(self._model, size, size, self._camera_id, quality)
        return self._renderers[size]

    def _snapshot(self) -> _Snapshot:
        kind = int(mujoco.mjtState.mjSTATE_FULLPHYSICS)
        physics = np.empty(mujoco.mj_stateSize(self._model, kind))
        mujoco.mj_getState(self._model, self._data, physics, kind)
        now = {name: getattr(self._model, name) for name in _VISIBLE_FIELDS}
        changed = {k: a.copy() for k, a in now.items() if not np.array_equal(a, self._pristine[k])}
        return _Snapshot(physics, changed)

    def _restore(self, snapshot: _Snapshot) -> None:
        """Put a state into the scratch data and its looks into the model."""
        for name, array in self._pristine.items():
            getattr(self._model, name)[:] = snapshot.changed.get(name, array)
        mujoco.mj_setState(self._model, self._scratch, snapshot.physics, int(mujoco.mjtState.mjSTATE_FULLPHYSICS))
        mujoco.mj_forward(self._model, self._scratch)

    def _checked(self, action: Any) -> np.ndarray:
        values = np.asarray(action, dtype=np.float64)
        if values.shape != self.action_space.shape or not (np.abs(values) <= 1.0 + 1e-6).all():
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        return np.clip(values, -1.0, 1.0)

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


class DistractingControlEnv(DistractedEnv):
    """Control tasks of dm_control with backgrounds, cameras, colours and noise that do not matter.

    ## Description

    A robot of DeepMind's control suite is seen from a camera while something that has nothing to do with the task goes
    on: a video plays behind it, the camera wanders, colours drift. Two observations that differ in that alone show the
    same state, and an agent that knows which states behave alike ignores it. Physics and rewards are those of
    dm_control: with one seed and the same actions, states and rewards are equal with and without distractions.

    ``bisimgym/Distracting<Task>-v0`` are the six tasks of the Distracting Control Suite: BallInCupCatch,
    CartpoleSwingup, CheetahRun, FingerSpin, ReacherEasy and WalkerWalk. ``bisimgym/DistractingControl-v0`` takes any
    ``domain`` and ``task`` of the suite.

    | preset | what distracts |
    | --- | --- |
    | ``clean`` | nothing |
    | ``dcs-{easy,medium,hard}-static`` | per episode a still from one of 4, 8, all videos on the sky, a pose, colours |
    | ``dcs-{easy,medium,hard}-dynamic`` | the same, and video, camera and colours move |
    | ``pse-2video`` | a moving video on the sky: 2 videos to train, all to test (PSE, AMBS) |
    | ``natural-video`` | grey videos in place of the background, per agent step (DBC, AMBS, RAP) |
    | ``color-easy``, ``color-hard`` | another palette for floor, agent and sky in each episode (DMControl-GB) |
    | ``video-easy``, ``video-hard`` | videos in place of the sky, or of sky and floor (DMControl-GB) |

    The ``dcs`` presets are the difficulties of the Distracting Control Suite: cameras and colours at strength 0.1, 0.2
    or 0.3.

    ## Action space

    One number in [-1, 1] per actuator, mapped linearly to its range. It is applied for ``action_repeat`` control steps.

    ## Observation space

    ``observation="pixels"``: the last ``frame_stack`` pictures along the channels, oldest first, RGB, top row first; at
    the start the first one fills the stack. One picture is drawn per action, not per control step.

    ``observation="state"``: dm_control's observations as one vector, then ``noise_dimensions`` entries of fresh
    Gaussian noise; with ``random_projection``, a fixed random matrix times that. ``info["clean_observation"]`` is the
    vector without either.

    With a video, ``info["background"]`` is its name and ``info["background_frame"]`` the frame shown.

    ## Reward

    The sum of dm_control's rewards, in [0, 1] each, over the control steps of an action. A return is at most 1000.

    ## Start and end

    The task draws its start. No task of the six ends by itself: after dm_control's time limit, 1000 control steps, an
    episode is truncated. ``reset(seed=...)`` determines all that follows. The task and its distractions draw from
    streams of their own; ``distraction_seed`` fixes the distractions whatever the task's seed.

    ## Arguments

    - ``domain``, ``task``: of dm_control's suite, as in ``suite.load``; cartpole, swingup by default.
    - ``observation``: "pixels" or "state".
    - ``preset``: see above, "dcs-easy-dynamic" by default. Any setting of it can be changed: ``background``, ``camera``
      and ``color`` (strengths in [0, 1]), ``dynamic``, ``compositing`` ("texture" on the sky or "mask" in the picture),
      ``background_geoms``, ``floor_alpha``, ``num_videos``, ``num_test_videos``, ``playback`` ("bounce" or "loop"),
      ``advance`` (a frame per "control" or "agent" step), ``start``, ``order``, ``grayscale``, ``palette`` and
      ``neutral_floor``; see :class:`bisimgym.envs.distractions.presets.Distraction`.
    - ``backgrounds``: "procedural", or a folder: DAVIS 2017, or any folder of folders of frames or of video files.
    - ``split``: "train" or the held-out "test" videos.
    - ``action_repeat``: control steps per action; by default that of the task in the literature (8 for cartpole, 2 for
      finger and walker, 4 for others).
    - ``frame_stack``, ``size``: pictures per observation and their height and width (3 and 84).
    - ``camera_id``: by default 0 (quadruped: 2).
    - ``renderer``: "raycast" (no OpenGL, the same bits in every process of a machine), "opengl" (dm_control's
      pixels), "opengl-fast" (no shadows, reflections and multisampling), or "auto" (OpenGL where a GPU draws). Pictures
      differ between them: compare results of one renderer only.
    - ``distraction_seed``: seeds distractions apart from the task.
    - ``noise_dimensions``, ``noise_std``, ``noise_mean``: Gaussian noise beside states.
    - ``random_projection``, ``projection_rows``, ``projection_seed``: mix states and noise by a random matrix.
    """

    def __init__(
        self,
        domain: str = "cartpole",
        task: str = "swingup",
        *,
        action_repeat: int | None = None,
        camera_id: int | None = None,
        **arguments: Any,
    ):
        super().__init__(
            _load(domain, task),
            domain=domain,
            action_repeat=default_action_repeat(domain, task) if action_repeat is None else action_repeat,
            camera_id=_CAMERAS.get(domain, 0) if camera_id is None else camera_id,
            **arguments,
        )


class DistractingControlVectorEnv(WorkerVectorEnv):
    """Many :class:`DistractingControlEnv` in worker processes; see :class:`WorkerVectorEnv`.

    Args:
        num_envs: how many.
        num_workers: processes, by default one per core (at most one per sub-environment).
        render_mode: ``None`` or "rgb_array".
        autoreset_mode: as of Gymnasium.
        context: start method of the processes; ``None`` is the platform's.
        **arguments: of :class:`DistractingControlEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        num_workers: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        context: str | None = None,
        **arguments: Any,
    ):
        make = functools.partial(DistractingControlEnv, render_mode=render_mode, **arguments)
        super().__init__(
            make,
            num_envs=num_envs,
            num_workers=num_workers,
            render_mode=render_mode,
            autoreset_mode=autoreset_mode,
            context=context,
        )


class _Videos:
    """The videos of one environment at the sizes asked for, or ``None`` where its settings show none."""

    def __init__(self, settings: Distraction, backgrounds: str, split: str):
        self.settings, self._backgrounds, self._split = settings, backgrounds, split
        self._sources: dict[int, VideoSource] = {}

    def __call__(self, size: int) -> VideoSource | None:
        settings = self.settings
        if settings.background == 0:
            return None
        if settings.compositing == "texture":
            size = _SKY_VIDEO_SIZE if size <= _SKY_VIDEO_SIZE else _LARGE_SKY_VIDEO_SIZE
        if size not in self._sources:
            count = settings.num_videos if self._split == "train" else settings.num_test_videos
            self._sources[size] = video_source(
                self._backgrounds,
                split=self._split,
                size=(size, size),
                grayscale=settings.grayscale,
                count=count,
            )
        return self._sources[size]


def default_action_repeat(domain: str, task: str) -> int:
    """Return the literature's number of control steps per action (PSE, Table I.3)."""
    return ACTION_REPEATS.get((domain, task), _DEFAULT_ACTION_REPEAT)


@functools.cache
def resolve_renderer(renderer: str) -> str:
    """Return "raycast", "opengl" or "opengl-fast", and say which where "auto" decided."""
    if renderer != "auto":
        return renderer
    found = probe.probe()
    chosen = "opengl" if found.is_hardware else "raycast"
    reason = f"OpenGL is drawn by {found.renderer}" if found.backend else "there is no OpenGL"
    gym.logger.warn(f'renderer="auto" uses "{chosen}": {reason}. Name it in results: pictures of renderers differ.')
    return chosen


def _load(domain: str, task: str) -> Any:
    known = [f"{d}-{t}" for d, t in suite.ALL_TASKS]
    if (domain, task) not in suite.ALL_TASKS:
        same = [t for d, t in suite.ALL_TASKS if d == domain]
        domains = sorted({d for d, _ in suite.ALL_TASKS})
        hint = f"tasks of {domain!r} are {same}" if same else f"domains are {domains}"
        raise ValueError(f"domain={domain!r}, task={task!r} is none of the {len(known)} of dm_control's suite: {hint}")
    # Models of the suite use an attribute that MuJoCo calls deprecated, at every load.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        environment = suite.load(domain, task, task_kwargs={"random": 0})
    finally:
        logger.setLevel(level)
    if (domain, task) == ("quadruped", "escape"):
        environment.physics.__class__ = _EscapePhysics
    return environment


class _EscapePhysics(suite.quadruped.Physics):
    """Physics without dm_control's OpenGL.

    This task asks for a context at every start, to show new terrain; where there is no OpenGL that ends the process.
    """

    contexts = None


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


def _frames_per_second(environment: Any, action_repeat: int) -> int:
    return max(1, round(1.0 / (environment.control_timestep() * action_repeat)))


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {list(choices)}, got {value!r}")


def _check_count(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
