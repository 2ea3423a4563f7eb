"""Dynamics and images of the jumping task, as pure functions over N episodes.

Source: Tachet des Combes et al. (2018) and Agarwal et al. (2021), section 5 and appendix G; the numbers are those of
the latter's released environment (exit bonus +100).
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from bisimgym.envs.array_task import put, select
from bisimgym.envs.arrays import cast, like, namespace

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
        position,
        floor,
        color,
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
    xp = namespace(state.x)
    x = state.x + 1
    in_air = (state.phase != GROUND) | (action == JUMP)
    falling = (state.phase == DOWN) | (state.height > TURNING_HEIGHT)
    height = state.height + xp.where(in_air, xp.where(falling, -1, 1), 0)
    phase = xp.where(in_air & ((height > 0) | ~falling), xp.where(falling, DOWN, UP), GROUND)

    overlap = overlaps(x, height, state.obstacle_position)
    green = state.color == GREEN
    collision = overlap & ~green
    first_touch = overlap & green & ~state.touched
    reward = xp.where(collision | first_touch, COLLISION_REWARD, STEP_REWARD)
    reward += TOUCH_BONUS * (first_touch & (phase == GROUND))
    exited = (x >= EXIT_X) & ~collision
    reward += EXIT_BONUS * exited
    next_state = dataclasses.replace(
        state,
        x=x,
        height=height,
        phase=phase,
        previous_height=state.height,
        touched=state.touched | first_touch,
        touched_on_floor=state.touched_on_floor | (first_touch & (phase == GROUND)),
    )
    return next_state, reward, collision | exited


def transition_to_ground(state: JumpingState, action: np.ndarray) -> tuple[JumpingState, np.ndarray, np.ndarray]:
    """Return what :func:`transition` does, and the steps in the air that follow, where actions do nothing, as one step.

    The reward is the sum of theirs, not discounted.
    """
    xp = namespace(state.x)
    next_state, reward, terminated = transition(state, action)
    while len(flying := xp.where((next_state.phase != GROUND) & ~terminated)[0]):
        landing, earned, ended = transition(select(next_state, flying), xp.zeros_like(flying))
        next_state = put(next_state, flying, landing)
        reward[flying] += earned
        terminated[flying] = ended
    return next_state, reward, terminated


def optimal_action(state: JumpingState) -> np.ndarray:
    """Return ``int64[N]``: jump on the ground 14 pixels before a white or red obstacle, right everywhere else."""
    ready = (state.phase == GROUND) & (state.x == state.obstacle_position - JUMP_DISTANCE)
    return namespace(ready).where(ready & (state.color != GREEN), JUMP, RIGHT)


def observe(state: JumpingState, channels: int) -> np.ndarray:
    """Return the previous and the current frame, ``uint8[N, 60, 60, 2 * channels]``, top row first.

    The memory is channel first and shown as a transposed view: whole planes are then contiguous, which is what makes
    painting run near the speed of a plain copy. Every plane is a copied background (outline, floor, obstacle) with the
    agent's rectangle painted over it in ten segments of 5 bytes, and the obstacle again where the two overlap.
    """
    xp, n = namespace(state.x), len(state.x)
    first = state.x == 0
    planes = _rows(like(_background_planes(), state.x), _background_indices(state, channels))

    # The first step has no previous frame: its current frame is painted twice instead.
    x = state.x[:, None] + like(_FRAMES, state.x)
    x[:, 0] += first
    height = xp.stack([state.previous_height, state.height], axis=1)
    covered = overlaps(x, height, state.obstacle_position[:, None])
    frame = xp.arange(2 * n, device=state.x.device).reshape(n, 2)
    frame[:, 0] += first
    offsets = like(_segment_offsets(), state.x)[state.floor_height[:, None] + height]
    offsets += (frame * (channels * SCREEN * SCREEN) + x)[:, :, None]
    for channel in range(channels):
        _paint_segments(planes, offsets)
        if channel + 1 < channels:
            offsets += SCREEN * SCREEN

    if covered.any():
        covered[:, 0] &= ~first
        _paint_obstacles(planes, covered, state)
    return planes.reshape(n, 2 * channels, SCREEN, SCREEN).swapaxes(1, 3).swapaxes(1, 2)


def _rows(table: Any, index: Any) -> Any:
    """Return ``table[index]`` for rows of a table, by what is quickest for each kind of array."""
    if not isinstance(table, np.ndarray):  # whole rows, not number by number
        return table.index_select(0, index.reshape(-1)).reshape(*index.shape, -1)
    out = np.empty((*index.shape, *table.shape[1:]), dtype=table.dtype)
    return np.take(table, index, axis=0, out=out, mode="clip")


def _paint_segments(planes: Any, offsets: Any) -> None:
    """Write segments of 5 bright bytes at offsets into the memory of planes, in numpy each as one number."""
    if not isinstance(planes, np.ndarray):
        along = namespace(planes).arange(AGENT_WIDTH, device=planes.device)
        planes.reshape(-1)[offsets[..., None] + along] = BRIGHT
        return
    segments = np.ndarray(planes.size - AGENT_WIDTH + 1, f"V{AGENT_WIDTH}", planes.data, strides=(1,))
    segments[offsets.ravel()] = _BRIGHT_SEGMENT


#: When the frames of an observation are, steps from now.
_FRAMES = np.array([-1, 0])
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
    xp = namespace(state.x)
    index = xp.empty((len(state.x), 2, channels), dtype=xp.int64, device=state.x.device)
    if channels == 1:
        index[:] = obstacle[:, None, None]
    else:
        index[:] = 1 + state.floor_height[:, None, None]
        index[xp.arange(len(state.x), device=state.x.device), :, state.color - 1] = obstacle[:, None]
    index[state.x == 0, 0] = 0  # the black plane
    return index


def overlaps(x: np.ndarray, height: np.ndarray, obstacle_position: np.ndarray) -> np.ndarray:
    """Return where an agent at (x, height) covers part of the obstacle, ``bool`` of the arguments' shape."""
    left, right = obstacle_position - AGENT_WIDTH, obstacle_position + OBSTACLE_WIDTH
    return (left < x) & (x < right) & (height < OBSTACLE_HEIGHT)


def _paint_obstacles(planes: np.ndarray, covered: np.ndarray, state: JumpingState) -> None:
    xp, device = namespace(covered), covered.device
    env, frame = xp.where(covered)
    rows = SCREEN - OBSTACLE_HEIGHT - state.floor_height[env, None] + xp.arange(OBSTACLE_HEIGHT - 1, device=device)
    columns = state.obstacle_position[env, None] + xp.arange(OBSTACLE_WIDTH, device=device)
    pixels = (rows[:, :, None] * SCREEN + columns[:, None, :]).reshape(len(env), -1)
    for channel in range(planes.shape[2]):
        value = xp.where((state.color[env] == WHITE) | (state.color[env] - 1 == channel), OBSTACLE_VALUE, 0)
        planes[env[:, None], frame[:, None], channel, pixels] = cast(value, "uint8")[:, None]


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
