"""Manipulation with robot arms from images, of scenes that look different in every episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
import numpy as np

from bisimgym.envs.checks import choice, integer, reset_options, taken_action
from bisimgym.envs.manipulation import simulator
from bisimgym.envs.manipulation.experts import EXPERTS
from bisimgym.envs.manipulation.randomization import KINDS, draw_camera, draw_colors, draw_lights

if TYPE_CHECKING:
    from bisimgym.envs.manipulation.scene import DrawnScene

_HUMAN_SIZE = 240
# Children of an episode's seed: what the task draws and how it looks have nothing in common.
_TASK_STREAM, _LOOK_STREAM = 0, 1
#: What a pickle leaves out: it belongs to a process, or is made again.
_OF_PROCESS = ("_simulator", "_scene", "_window")


class ManipulationEnv(gym.Env):
    """Manipulation with robot arms from images; colors, lights and camera change from episode to episode.

    ## Description

    Tasks of robosuite 1.5.2 (Zhu et al. 2020) with Franka Panda arms. In ``Door`` an arm turns a handle and opens a
    door; in ``TwoArmPegInHole`` two arms bring a peg and a plate with a hole together. What an episode looks like is
    drawn at its start and stays: a policy should not depend on it. The experiments with RAP, a robust behavioral metric
    (Chen and Pan), compare metrics here.

    With ``split="train"``, ranges are theirs. ``split="test"`` draws from outside of them: colors, lights and camera
    move between one and two times as far, and textures fade from one color to another, which they never do in
    training. Physics are the same in both, and without randomization: one seed gives one trajectory.

    ## Action space

    One number in [-1, 1] per degree of freedom of robosuite's ``OSC_POSE`` controller, at 20 Hz: for each arm a
    translation of up to 5 cm along x, y, z and a rotation of up to 0.5 rad about them, then the gripper, where there is
    one (7 for ``Door``, 12 for ``TwoArmPegInHole``).

    ## Observation space

    ``observation="pixels"``: the last ``frame_stack`` images of robosuite's camera ``agentview`` along the channels,
    oldest first, RGB, top row first; at the start the first one fills the stack.

    ``observation="state"``: joints and end effectors of the arms, then objects, as one vector (64 numbers for ``Door``,
    109 for ``TwoArmPegInHole``).

    ``info["is_success"]`` says whether the task is solved in the state that the step led to.

    ## Reward

    robosuite's dense reward, at most 1 per step, so that a return is at most ``horizon``. Doing nothing earns 2 of 500
    in ``Door`` and 249 in ``TwoArmPegInHole``, whose reward measures distances from anywhere: judge returns there by
    what is above that.

    ``optimal_action()`` of these two tasks is that of a policy written by hand, which sees the simulator's state. It
    solves them and is no optimum; the other tasks have none.

    ## Start and end

    robosuite draws how the arms and objects are placed. No task ends by itself: after ``horizon`` steps an episode is
    truncated. ``reset(seed=...)`` determines all that follows. What robosuite draws when it makes a model, such as the
    thickness of the peg, is the same in every environment.

    ## Arguments

    - ``task``: "Door", or another one of robosuite's (see :data:`bisimgym.envs.manipulation.simulator.TASKS`).
    - ``observation``: "pixels" or "state".
    - ``image_size``, ``frame_stack``: height and width of the images, and images per observation (128 and 3).
    - ``randomize``: any of "color", "light" and "camera"; all three by default, ``[]`` for robosuite's own look.
    - ``split``: "train", or "test" for held-out ranges.
    - ``renderer``: "raycast" (no OpenGL; arms as the convex hulls that they collide with, no textures but the floor's,
      the same bits in every process of a machine), "opengl" (as robosuite draws) or "opengl-fast" (no shadows,
      reflections and multisampling). Images differ between them: compare results of one renderer only.
    - ``horizon``: steps of an episode, 500.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": simulator.CONTROL_FREQUENCY}

    def __init__(
        self,
        task: str = "Door",
        *,
        observation: Literal["pixels", "state"] = "pixels",
        image_size: int = 128,
        frame_stack: int = 3,
        randomize: Sequence[str] = KINDS,
        split: Literal["train", "test"] = "train",
        renderer: Literal["raycast", "opengl", "opengl-fast"] = "raycast",
        horizon: int = 500,
        render_mode: str | None = None,
    ):
        self.task = choice("task", task, simulator.TASKS)
        self.observation = choice("observation", observation, ["pixels", "state"])
        self.image_size = integer("image_size", image_size, 1)
        self.frame_stack = integer("frame_stack", frame_stack, 1)
        self.randomize = _kinds(randomize)
        self.split = choice("split", split, ["train", "test"])
        self.renderer = choice("renderer", renderer, ["raycast", "opengl", "opengl-fast"])
        self.horizon = integer("horizon", horizon, 1)
        if render_mode is not None:
            choice("render_mode", render_mode, ["human", "rgb_array"])
        self.render_mode = render_mode
        self._episode: int | None = None  # its seed
        self._actions: list[np.ndarray] = []
        self._frames: list[np.ndarray] = []
        self._window: Any = None
        self._load()
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self._simulator.action_dim,), np.float32)
        if self.observation == "pixels":
            shape = (self.image_size, self.image_size, 3 * self.frame_stack)
            self.observation_space: gym.spaces.Box = gym.spaces.Box(0, 255, shape, np.uint8)
        else:
            count = len(_vector(self._simulator._get_observations()))
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (count,), np.float32)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None):
        if reset_options(options):
            raise ValueError(f"reset() takes no options here, got {sorted(options or {})}")
        super().reset(seed=seed)
        self._episode = int(self.np_random.bit_generator.random_raw())
        self._actions, self._frames = [], []
        observations = self._begin(self._episode)
        return self._observe(observations), {"is_success": self._is_success()}

    def step(self, action):
        self._require_reset("step")
        if len(self._actions) >= self.horizon:
            raise gym.error.ResetNeeded(
                "the episode has ended: call reset() before step(), or reset(options={'reset_mask': ...}) of a vector"
            )
        command = taken_action(action, self.action_space).astype(np.float64)
        self._actions.append(command)
        observations, reward, _, _ = self._simulator.step(command)
        truncated = len(self._actions) >= self.horizon
        return self._observe(observations), float(reward), False, truncated, {"is_success": self._is_success()}

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
        self._window.show(frame, f"bisimgym: {self.task}, step {len(self._actions)}")
        return None

    def close(self) -> None:
        self._scene.close()
        if self._window is not None:
            self._window.close()
            self._window = None

    def optimal_action(self) -> np.ndarray:
        """Return the action of a scripted expert in the current state (an element of ``action_space``).

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
            NotImplementedError: for tasks that have no expert.
        """
        self._require_reset("optimal_action")
        if self.task not in EXPERTS:
            raise NotImplementedError(f"task={self.task!r} has no expert; these have one: {list(EXPERTS)}")
        return EXPERTS[self.task](self._simulator).astype(np.float32)

    @property
    def simulator(self) -> Any:
        """The robosuite environment. Whatever changes it ends what this class promises of seeds."""
        return self._simulator

    def _load(self) -> None:
        """Make what belongs to this process: the simulator and the scene."""
        self._simulator = simulator.load(self.task)
        from bisimgym.envs.manipulation.scene import DrawnScene

        if self.renderer != "raycast" and (self.observation == "pixels" or self.render_mode is not None):
            from bisimgym.envs.rendering import probe

            probe.require()
        self._scene: DrawnScene = DrawnScene(self._simulator.sim.model._model, self.renderer)

    def _begin(self, seed: int) -> Mapping[str, Any]:
        """Start the episode of a seed in the simulator and the scene, and return the simulator's observations."""
        task_rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_TASK_STREAM,)))
        # In place: robosuite's samplers hold the same generator.
        self._simulator.rng.bit_generator.state = task_rng.bit_generator.state
        observations = self._simulator.reset()
        # Each kind has a stream of its own: leaving one out leaves the others as they are.
        color_rng, light_rng, camera_rng = (
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_LOOK_STREAM, kind))) for kind in range(3)
        )
        scene, held_out = self._scene, self.split == "test"
        colors, lights, camera = scene.colors, scene.lights, scene.camera
        if "color" in self.randomize:
            colors = draw_colors(color_rng, colors, scene.textures, held_out)
        if "light" in self.randomize:
            lights = draw_lights(light_rng, lights, held_out)
        if "camera" in self.randomize:
            camera = draw_camera(camera_rng, camera, held_out)
        scene.begin(colors, lights, camera)
        return observations

    def _observe(self, observations: Mapping[str, Any]) -> np.ndarray:
        if self.render_mode == "human":
            self.render()
        if self.observation == "state":
            return _vector(observations)
        self._frames = [*self._frames, self._image(self.image_size)][-self.frame_stack :]
        missing = self.frame_stack - len(self._frames)
        return np.concatenate(self._frames[:1] * missing + self._frames, axis=2)

    def _image(self, size: int) -> np.ndarray:
        return self._scene.image(self._simulator.sim.data._data, size)

    def _is_success(self) -> bool:
        return bool(self._simulator._check_success())

    def _require_reset(self, what: str) -> None:
        if self._episode is None:
            raise gym.error.ResetNeeded(f"call reset() before {what}()")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _OF_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # robosuite cannot be pickled: the episode is played again, which takes a hundredth of a second per step.
        self.__dict__.update(state)
        self._window = None
        self._load()
        if self._episode is not None:
            self._begin(self._episode)
            for action in self._actions:
                self._simulator.step(action)


def _kinds(randomize: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of randomization, in the order of :data:`KINDS`."""
    known = isinstance(randomize, (list, tuple)) and all(kind in KINDS for kind in randomize)
    if not known or len(set(randomize)) < len(randomize):
        raise ValueError(f"randomize must be a list of any of {list(KINDS)}, each once, got {randomize!r}")
    return tuple(kind for kind in KINDS if kind in randomize)


def _vector(observations: Mapping[str, Any]) -> np.ndarray:
    """Return robosuite's observations of states as one vector, ``float32[d]``: each robot, then objects."""
    parts = [value for name, value in observations.items() if name.endswith("-state")]
    return np.concatenate(parts).astype(np.float32)
