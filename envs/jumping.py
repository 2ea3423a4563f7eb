"""The jumping task from pixels, plain and with coloured obstacles.

Source: Tachet des Combes et al. (2018) and Agarwal et al. (2021), section 5 and appendix G; the numbers are those of
the latter's released environment (exit bonus +100).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from bisimgym.envs import raster
from bisimgym.envs.batched import BatchedEnv, BatchedVectorEnv
from bisimgym.envs.finite_mdp import FiniteMDP, enumerate_deterministic
from bisimgym.envs.jumping_grids import GRIDS, split_tasks

SCREEN = 60
AGENT_WIDTH, AGENT_HEIGHT = 5, 10
OBSTACLE_WIDTH, OBSTACLE_HEIGHT = 9, 10
EXIT_X = SCREEN - AGENT_WIDTH + 1
TURNING_HEIGHT = 15
#: The agent must jump exactly this many pixels before the obstacle's left edge.
JUMP_DISTANCE = 14
POSITION_RANGE = range(14, 48)
FLOOR_RANGE = range(0, 41)
RIGHT, JUMP = 0, 1
GROUND, UP, DOWN = 0, 1, 2
WHITE, RED, GREEN = 0, 1, 2
COLORS = ("white", "red", "green")
STEP_REWARD, EXIT_BONUS, COLLISION_REWARD, TOUCH_BONUS = 1.0, 100.0, -1.0, 100.0
BRIGHT, OBSTACLE_VALUE = 255, 128  # 1.0 and 0.5 of the paper's float screen


@dataclass(frozen=True)
class JumpingState:
    """N episodes. ``x`` and ``height`` (above the floor) are pixels, ``int64[N]``.

    The previous x needs no field: x grows by one with every step, and is 0 only at the start.
    """

    obstacle_position: np.ndarray
    floor_height: np.ndarray
    color: np.ndarray
    x: np.ndarray
    height: np.ndarray
    phase: np.ndarray
    previous_height: np.ndarray
    touched: np.ndarray  # bool: a green obstacle was touched
    touched_on_floor: np.ndarray  # bool: ... by an agent on the floor, which is the rewarded way


def initial_state(obstacle_position: Any, floor_height: Any, color: Any = WHITE) -> JumpingState:
    """Return the start state of each task; the arguments are ints or ``int[N]``."""
    position, floor, color = (np.array(a, dtype=np.int64, ndmin=1) for a in (obstacle_position, floor_height, color))
    position, floor, color = (a.copy() for a in np.broadcast_arrays(position, floor, color))
    zeros, no = np.zeros_like(position), np.zeros(position.shape, dtype=bool)
    return JumpingState(
        obstacle_position=position,
        floor_height=floor,
        color=color,
        x=zeros,
        height=zeros,
        phase=zeros,
        previous_height=zeros,
        touched=no,
        touched_on_floor=no,
    )


def transition(state: JumpingState, action: np.ndarray) -> tuple[JumpingState, np.ndarray, np.ndarray]:
    """Return the next state, ``float64[N]`` reward and ``bool[N]`` terminated.

    Args:
        action: ``int[N]``, 0 = right, 1 = jump; ignored in the air.
    """
    x = state.x + 1
    in_air = (state.phase != GROUND) | (action == JUMP)
    falling = (state.phase == DOWN) | (state.height > TURNING_HEIGHT)
    height = state.height + np.where(in_air, np.where(falling, -1, 1), 0)
    phase = np.where(in_air & ((height > 0) | ~falling), np.where(falling, DOWN, UP), GROUND)

    overlap = _overlaps(x, height, state.obstacle_position)
    green = state.color == GREEN
    collision = overlap & ~green
    first_touch = overlap & green & ~state.touched
    reward = np.where(collision | first_touch, COLLISION_REWARD, STEP_REWARD)
    reward += TOUCH_BONUS * (first_touch & (phase == GROUND))
    exited = (x >= EXIT_X) & ~collision
    reward += EXIT_BONUS * exited
    following = dataclasses.replace(
        state,
        x=x,
        height=height,
        phase=phase,
        previous_height=state.height,
        touched=state.touched | first_touch,
        touched_on_floor=state.touched_on_floor | (first_touch & (phase == GROUND)),
    )
    return following, reward, collision | exited


def optimal_action(state: JumpingState) -> np.ndarray:
    """Return ``int64[N]``: jump on the ground 14 pixels before a white or red obstacle, right everywhere else."""
    ready = (state.phase == GROUND) & (state.x == state.obstacle_position - JUMP_DISTANCE)
    return np.where(ready & (state.color != GREEN), JUMP, RIGHT)


def observe(state: JumpingState, channels: int) -> np.ndarray:
    """Return the previous and the current frame, ``uint8[N, 60, 60, 2 * channels]``, top row first.

    The memory is channel first and shown as a transposed view: whole planes are then contiguous, which is what makes
    painting run near the speed of a plain copy. Every plane is a copied background (outline, floor, obstacle) with the
    agent's rectangle painted over it in ten segments of 5 bytes, and the obstacle again where the two overlap.
    """
    n = state.x.size
    first = state.x == 0
    planes = np.empty((n, 2, channels, SCREEN * SCREEN), dtype=np.uint8)
    np.take(_background_planes(), _background_indices(state, channels), axis=0, out=planes, mode="clip")

    # The first step has no previous frame: its current frame is painted twice instead.
    x = np.stack([state.x - ~first, state.x], axis=1)
    height = np.stack([state.previous_height, state.height], axis=1)
    covered = _overlaps(x, height, state.obstacle_position[:, None])
    frame = np.arange(2 * n).reshape(n, 2)
    frame[:, 0] += first
    offsets = _segment_offsets()[state.floor_height[:, None] + height]
    offsets += (frame * (channels * SCREEN * SCREEN) + x)[:, :, None]
    segments = np.ndarray(planes.size - AGENT_WIDTH + 1, f"V{AGENT_WIDTH}", planes.data, strides=(1,))
    for channel in range(channels):
        segments[offsets.ravel()] = _BRIGHT_SEGMENT
        if channel + 1 < channels:
            offsets += SCREEN * SCREEN

    if covered.any():
        covered[:, 0] &= ~first
        _paint_obstacles(planes, covered, state)
    return planes.reshape(n, 2 * channels, SCREEN, SCREEN).transpose(0, 2, 3, 1)


_BRIGHT_SEGMENT = np.full(AGENT_WIDTH, BRIGHT, dtype=np.uint8).view(f"V{AGENT_WIDTH}")[0]


@functools.cache
def _segment_offsets() -> np.ndarray:
    """Return ``int64[57, 10]``: where the agent's ten rows of 5 pixels start in a plane, by its height on the screen.

    A row above the screen becomes the top outline, and a segment that crosses the right edge goes on into the next
    row's left outline: both are bright already. The bottom row is an outline too and becomes the row above it, which is
    the agent's as well, so that no segment leaves its plane.
    """
    y = np.arange(FLOOR_RANGE.stop + TURNING_HEIGHT + 1)[:, None]
    rows = np.clip(SCREEN - AGENT_HEIGHT - y + np.arange(AGENT_HEIGHT), 0, SCREEN - 2)
    return rows * SCREEN


def _background_indices(state: JumpingState, channels: int) -> np.ndarray:
    """Return ``int64[N, 2, channels]`` rows of :func:`_background_planes`."""
    position = state.obstacle_position - POSITION_RANGE.start
    obstacle = 1 + len(FLOOR_RANGE) + state.floor_height * len(POSITION_RANGE) + position
    index = np.empty((state.x.size, 2, channels), dtype=np.int64)
    if channels == 1:
        index[:] = obstacle[:, None, None]
    else:
        index[:] = 1 + state.floor_height[:, None, None]
        index[np.arange(state.x.size), :, state.color - 1] = obstacle[:, None]
    index[state.x == 0, 0] = 0  # the black plane
    return index


def _overlaps(x: np.ndarray, height: np.ndarray, obstacle_position: np.ndarray) -> np.ndarray:
    left, right = obstacle_position - AGENT_WIDTH, obstacle_position + OBSTACLE_WIDTH
    return (left < x) & (x < right) & (height < OBSTACLE_HEIGHT)


def _paint_obstacles(planes: np.ndarray, covered: np.ndarray, state: JumpingState) -> None:
    env, frame = np.nonzero(covered)
    rows = SCREEN - OBSTACLE_HEIGHT - state.floor_height[env, None] + np.arange(OBSTACLE_HEIGHT - 1)
    columns = state.obstacle_position[env, None] + np.arange(OBSTACLE_WIDTH)
    pixels = (rows[:, :, None] * SCREEN + columns[:, None, :]).reshape(len(env), -1)
    for channel in range(planes.shape[2]):
        value = np.where((state.color[env] == WHITE) | (state.color[env] - 1 == channel), OBSTACLE_VALUE, 0)
        planes[env[:, None], frame[:, None], channel, pixels] = value[:, None]


@functools.cache
def _background_planes() -> np.ndarray:
    """Return ``uint8[1 + 41 + 41 * 34, 3600]``: black; then one plane per floor; then one per floor and obstacle."""
    floors, positions = len(FLOOR_RANGE), len(POSITION_RANGE)
    empty = np.zeros((floors, SCREEN, SCREEN), dtype=np.uint8)
    empty[:, [0, -1], :] = empty[:, :, [0, -1]] = BRIGHT
    with_obstacle = np.repeat(empty[:, None], positions, axis=1)
    for i, floor in enumerate(FLOOR_RANGE):
        row = SCREEN - 1 - floor
        for j, position in enumerate(POSITION_RANGE):
            columns = slice(position, position + OBSTACLE_WIDTH)
            with_obstacle[i, j, row - OBSTACLE_HEIGHT + 1 : row + 1, columns] = OBSTACLE_VALUE
        empty[i, row] = with_obstacle[i, :, row] = BRIGHT
    black = np.zeros((1, SCREEN, SCREEN), dtype=np.uint8)
    planes = np.concatenate([black, empty, with_obstacle.reshape(-1, SCREEN, SCREEN)])
    planes.flags.writeable = False
    return planes.reshape(len(planes), -1)


def jumping_mdp(obstacle_position: int, floor_height: int, color: str = "white") -> FiniteMDP:
    """Return every reachable state of one task as a deterministic :class:`FiniteMDP`.

    States are (x, height, phase, touched), the start first and one absorbing, reward-free terminal state last. The
    floor height moves the picture only, never the dynamics.

    Raises:
        ValueError: for a task outside the class's range or an unknown color.
    """
    _check_task(obstacle_position, floor_height)
    if color not in COLORS:
        raise ValueError(f"color must be one of {list(COLORS)}, got {color!r}")
    start = initial_state(obstacle_position, floor_height, COLORS.index(color))

    def key(state: JumpingState, i: int) -> tuple[int, int, int, bool]:
        return int(state.x[i]), int(state.height[i]), int(state.phase[i]), bool(state.touched[i])

    def name(state_key: tuple[int, int, int, bool]) -> str:
        x, height, phase, touched = state_key
        return f"x={x} h={height} {('ground', 'up', 'down')[phase]}" + (" touched" if touched else "")

    return enumerate_deterministic(start, transition, key, name, num_actions=2)


@functools.cache
def _returns(obstacle_position: int, color: int) -> tuple[float, float]:
    """Return the optimal return and the expected return of uniformly random actions, both undiscounted."""
    mdp = jumping_mdp(obstacle_position, 0, COLORS[color])
    uniform = np.full((mdp.num_states, mdp.num_actions), 1 / mdp.num_actions)
    return float(mdp.optimal_values(discount=1.0)[0]), float(mdp.policy_values(uniform, discount=1.0)[0])


class JumpingTask:
    """The array task behind both environments: which tasks are drawn, and the functions above as methods."""

    render_fps = 15

    def __init__(
        self,
        obstacle_position: int | None,
        floor_height: int | None,
        grid: str | None,
        split: str | None,
        grid_seed: int | None,
        colors: Sequence[int],
    ):
        self.colors = tuple(colors)
        self.channels = 1 if self.colors == (WHITE,) else 3
        if (obstacle_position is None) != (floor_height is None):
            raise ValueError(
                "a fixed task needs both obstacle_position and floor_height, got "
                f"obstacle_position={obstacle_position}, floor_height={floor_height}"
            )
        if obstacle_position is not None:
            if (grid, split, grid_seed) != (None, None, None):
                raise ValueError(
                    "give either a fixed task (obstacle_position and floor_height) or a grid (grid, split, grid_seed), "
                    f"not both: got grid={grid!r}, split={split!r}, grid_seed={grid_seed!r}"
                )
            _check_task(obstacle_position, floor_height)
            tasks: Sequence[tuple[int, int]] = [(int(obstacle_position), int(floor_height))]
        else:
            tasks = split_tasks(grid or "all" if grid in (None, *GRIDS) else grid, split or "train", grid_seed)
        #: ``int64[K, 3]``: obstacle position, floor height and color of every task that an episode can draw.
        self.tasks = np.array([(p, f, c) for c in self.colors for p, f in tasks], dtype=np.int64)
        self.observation_space = spaces.Box(0, 255, (SCREEN, SCREEN, 2 * self.channels), np.uint8)
        self.action_space = spaces.Discrete(2)

    def initial(self, rngs: Sequence[np.random.Generator], options: Mapping[str, Any]) -> JumpingState:
        options = dict(options)
        fixed = {key: options.pop(key, None) for key in ("obstacle_position", "floor_height", "color")}
        if options:
            raise ValueError(
                f"unknown reset options {sorted(options)}: known are obstacle_position, floor_height"
                + (" and color" if self.channels > 1 else "")
            )
        if len(self.tasks) == 1:
            drawn = np.repeat(self.tasks, len(rngs), axis=0)
        else:
            drawn = self.tasks[[int(rng.random() * len(self.tasks)) for rng in rngs]]
        if (fixed["obstacle_position"] is None) != (fixed["floor_height"] is None):
            raise ValueError("reset options need both obstacle_position and floor_height, or neither")
        if fixed["obstacle_position"] is not None:
            _check_task(fixed["obstacle_position"], fixed["floor_height"])
            drawn[:, 0], drawn[:, 1] = fixed["obstacle_position"], fixed["floor_height"]
        if fixed["color"] is not None:
            drawn[:, 2] = self._color_option(fixed["color"])
        return initial_state(drawn[:, 0], drawn[:, 1], drawn[:, 2])

    def _color_option(self, value: Any) -> np.ndarray:
        names = np.atleast_1d(np.asarray(value, dtype=object))
        known = [COLORS[c] for c in ((RED, GREEN) if self.channels > 1 else (WHITE,))]
        for name in names:
            if name not in known:
                raise ValueError(f"options['color'] must be one of {known}, got {name!r}")
        return np.array([COLORS.index(name) for name in names])

    def transition(self, state: JumpingState, action: np.ndarray):
        following, reward, terminated = transition(state, action)
        return following, reward, terminated, np.zeros_like(terminated)

    def observe(self, state: JumpingState) -> np.ndarray:
        return observe(state, self.channels)

    def reset_info(self, state: JumpingState) -> dict[str, np.ndarray]:
        info = {"obstacle_position": state.obstacle_position, "floor_height": state.floor_height}
        if self.channels > 1:
            info["color"] = np.array(COLORS, dtype=object)[state.color]
        return info

    def final_info(self, state: JumpingState) -> dict[str, np.ndarray]:
        exited = (state.x >= EXIT_X) & ~_overlaps(state.x, state.height, state.obstacle_position)
        return {"is_success": exited & ((state.color != GREEN) | state.touched_on_floor)}

    def optimal_action(self, state: JumpingState) -> np.ndarray:
        return optimal_action(state)

    def optimal_return(self, state: JumpingState) -> np.ndarray:
        return self._start_returns(state, 0)

    def random_return(self, state: JumpingState) -> np.ndarray:
        return self._start_returns(state, 1)

    def _start_returns(self, state: JumpingState, which: int) -> np.ndarray:
        tasks = zip(state.obstacle_position.tolist(), state.color.tolist(), strict=True)
        return np.array([_returns(position, color)[which] for position, color in tasks])

    def frame(self, state: JumpingState, index: int) -> np.ndarray:
        return draw(state, index)

    def caption(self, state: JumpingState, index: int) -> str:
        color = f", {COLORS[state.color[index]]}" if self.channels > 1 else ""
        return f"Jumping task: obstacle at {state.obstacle_position[index]}, floor {state.floor_height[index]}{color}"


def _check_task(obstacle_position: Any, floor_height: Any) -> None:
    for name, value, allowed in (
        ("obstacle_position", obstacle_position, POSITION_RANGE),
        ("floor_height", floor_height, FLOOR_RANGE),
    ):
        for item in np.ravel(value).tolist():
            if isinstance(item, bool) or not isinstance(item, int) or item not in allowed:
                raise ValueError(f"{name} must be an integer from {allowed[0]} to {allowed[-1]}, got {item!r}")


_SKY, _EARTH, _GRASS = (24, 28, 48), (54, 46, 62), (120, 200, 140)
_AGENT, _EXIT = (250, 206, 92), (90, 150, 230)
_OBSTACLE = {WHITE: (176, 182, 198), RED: (226, 86, 86), GREEN: (88, 186, 104)}


def draw(state: JumpingState, index: int, scale: int = 8) -> np.ndarray:
    """Return a picture of one state for people, ``uint8[60 * scale, 60 * scale, 3]`` (the agent sees other colors)."""
    floor, height = int(state.floor_height[index]), int(state.height[index])
    x, position = int(state.x[index]), int(state.obstacle_position[index])
    image = raster.canvas(SCREEN, SCREEN, _SKY)
    raster.rectangle(image, 0, 0, SCREEN, floor + 1, _EARTH)
    raster.rectangle(image, SCREEN - 1, floor, 1, SCREEN - floor, _EXIT)
    raster.rectangle(image, x, floor + height, AGENT_WIDTH, AGENT_HEIGHT, _AGENT)
    raster.rectangle(image, position, floor, OBSTACLE_WIDTH, OBSTACLE_HEIGHT, _OBSTACLE[int(state.color[index])])
    raster.rectangle(image, 0, floor, SCREEN, 1, _GRASS)
    return raster.enlarge(image, scale)


class JumpingTaskEnv(BatchedEnv):
    """Jump over an obstacle at the one right moment, seen from pixels.

    ## Description
    An agent (5 x 10 pixels) walks to the right on a floor and must jump over an obstacle (9 x 10 pixels). A jump takes
    32 steps, rises to 16 pixels and clears the obstacle only when it starts exactly 14 pixels before it. Tasks differ
    in where the obstacle stands and how high the floor is. The floor height changes every pixel and no optimal action;
    states of two tasks behave alike when the agent is equally far from the obstacle.

    ## Action space
    ``Discrete(2)``: 0 = right, 1 = jump. Every step moves one pixel to the right; actions in the air are ignored.

    ## Observation space
    ``Box(0, 255, (60, 60, 2), uint8)``, top row first. Channel 0 is the previous frame (black at the first step),
    channel 1 the current one. Agent, outline and floor are 255, the obstacle 128, the background 0.

    ## Reward
    +1 per step; +101 on the step that reaches the exit (x = 56); -1 on the step that touches the obstacle.
    The best return is 156 on every task with an obstacle position up to 45.

    ## Start and end
    The agent starts on the floor at x = 0. The episode terminates at the exit (``info["is_success"]`` is True) or when
    the agent touches the obstacle (False). It is never truncated: x grows with every step.

    ## Arguments
    * ``obstacle_position`` (14 to 47) and ``floor_height`` (0 to 40), pixels: one fixed task; or
    * ``grid``: "wide", "narrow", "random" or "all" (default), and ``split``: "train" (default), "validation", "test" or
      "all": every episode draws one of these tasks uniformly. ``grid_seed`` seeds the random grid (default 1).
    * ``render_mode``: "rgb_array" or "human".

    ``reset(options={"obstacle_position": p, "floor_height": f})`` plays one task once. ``reset`` reports the task in
    its info. Vector environments also take ``num_envs`` and ``autoreset_mode`` ("SameStep", the default, "NextStep" or
    "Disabled"), and options may hold one value per sub-environment.

    ## Source
    Agarwal et al. (2021), section 5 and appendix G. The frames are 0 / 128 / 255 where the paper's are 0 / 0.5 / 1, and
    row 0 is the top of the picture.

    ## Version history
    * v0: first version.
    """

    def __init__(
        self,
        obstacle_position: int | None = None,
        floor_height: int | None = None,
        grid: str | None = None,
        split: str | None = None,
        grid_seed: int | None = None,
        render_mode: str | None = None,
    ):
        task = JumpingTask(obstacle_position, floor_height, grid, split, grid_seed, colors=[WHITE])
        super().__init__(task, render_mode)

    def mdp(self) -> FiniteMDP:
        """Return the current task as arrays (see :func:`jumping_mdp`)."""
        self._require_reset("mdp")
        state = self.state
        return jumping_mdp(int(state.obstacle_position[0]), int(state.floor_height[0]), COLORS[int(state.color[0])])


class JumpingTaskVectorEnv(BatchedVectorEnv):
    __doc__ = JumpingTaskEnv.__doc__

    def __init__(
        self,
        num_envs: int = 1,
        obstacle_position: int | None = None,
        floor_height: int | None = None,
        grid: str | None = None,
        split: str | None = None,
        grid_seed: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
    ):
        task = JumpingTask(obstacle_position, floor_height, grid, split, grid_seed, colors=[WHITE])
        super().__init__(task, num_envs, render_mode, autoreset_mode)


class JumpingTaskColorsEnv(JumpingTaskEnv):
    """The jumping task with red obstacles to jump over and green ones to walk into.

    ## Description
    As ``JumpingTask``, in color. A red obstacle must be jumped over. A green obstacle does not end the episode: walking
    into it from the floor is worth +100, once. The same picture in another color asks for another behaviour.

    ## Action space
    ``Discrete(2)``: 0 = right, 1 = jump.

    ## Observation space
    ``Box(0, 255, (60, 60, 6), uint8)``, top row first: channels 0 to 2 are the previous RGB frame (black at the first
    step), 3 to 5 the current one. Agent, outline and floor are white; the obstacle is (128, 0, 0) or (0, 128, 0).

    ## Reward
    Red: as ``JumpingTask``; the best return is 156. Green: +1 per step, +101 on the exit step; the step of the first
    touch gives -1, and +100 with it if the agent is on the floor. The best return is 254.

    ## Start and end
    As ``JumpingTask``, but touching a green obstacle does not terminate. ``info["is_success"]`` at the end: the exit
    was reached, and a green obstacle was walked into from the floor.

    ## Arguments
    Those of ``JumpingTask``, and ``color``: "red", "green" or "both" (default: every episode draws one). ``color`` is
    also a reset option.

    ## Source
    Agarwal et al. (2021), section 5.3 and appendix G.2. The paper's code stacks frames on a fifth axis, which feeds
    rows to the convolution as a batch; here the two RGB frames are six channels.

    ## Version history
    * v0: first version.
    """

    def __init__(
        self,
        obstacle_position: int | None = None,
        floor_height: int | None = None,
        grid: str | None = None,
        split: str | None = None,
        grid_seed: int | None = None,
        color: str = "both",
        render_mode: str | None = None,
    ):
        task = JumpingTask(obstacle_position, floor_height, grid, split, grid_seed, _colors(color))
        BatchedEnv.__init__(self, task, render_mode)


class JumpingTaskColorsVectorEnv(BatchedVectorEnv):
    __doc__ = JumpingTaskColorsEnv.__doc__

    def __init__(
        self,
        num_envs: int = 1,
        obstacle_position: int | None = None,
        floor_height: int | None = None,
        grid: str | None = None,
        split: str | None = None,
        grid_seed: int | None = None,
        color: str = "both",
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
    ):
        task = JumpingTask(obstacle_position, floor_height, grid, split, grid_seed, _colors(color))
        super().__init__(task, num_envs, render_mode, autoreset_mode)


def _colors(color: str) -> tuple[int, ...]:
    known = {"red": (RED,), "green": (GREEN,), "both": (RED, GREEN)}
    if color not in known:
        raise ValueError(f"color must be one of {list(known)}, got {color!r}")
    return known[color]
