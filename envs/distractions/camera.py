"""Random walk of a camera, as in the Distracting Control Suite.

The camera wanders on a shell around the point that it follows (the world's origin for a fixed camera) while it keeps
looking at one point of the scene, and rolls about its viewing axis. Positions are spherical: radius r, horizontal
angle h from +x towards +y and vertical angle v from +z, in radians. One step is one *control* step.

Source: Stone et al. 2021, "The Distracting Control Suite", arXiv 2101.02722, and the code published with it. Where
this module departs from that code, it says so; at the strengths of the paper (up to 0.3) and on its six tasks, walks
follow the same law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bisimgym.envs.checks import fraction, integer
from bisimgym.envs.rendering.look import CameraPose, camera_pose

if TYPE_CHECKING:
    import mujoco

Vector = tuple[float, float, float]
Range = tuple[float, float]

#: A camera looks from overhead if its viewing direction is within this many degrees of straight down.
OVERHEAD_DEGREES = 10.0

#: Distances below this fraction of the radius count as zero: the rounding of a center of mass.
_ROUNDING = 1e-12


def is_overhead(pose: CameraPose) -> bool:
    """Return whether a camera looks down, within :data:`OVERHEAD_DEGREES` of the vertical.

    Such a camera (reacher's) needs ``overhead=True`` and ``upper_quadrant=False`` in :class:`CameraWalk`: the zero-roll
    orientation spins around the pole, and the quadrant's edges meet there.
    """
    return bool(pose.rotation[2, 2] >= math.cos(math.radians(OVERHEAD_DEGREES)))


def spherical(position: Vector) -> Vector:
    """Return ``(r, h, v)`` of a point, with r in meters, h in [-pi, pi] and v in [0, pi]."""
    x, y, z = position
    across = math.hypot(x, y)
    return math.hypot(across, z), math.atan2(y, x), math.atan2(across, z)


def cartesian(r: float, h: float, v: float) -> Vector:
    """Return ``(x, y, z)`` of spherical coordinates. A negative v is the point at -v on the other side, h + pi."""
    across = r * math.sin(v)
    return across * math.cos(h), across * math.sin(h), r * math.cos(v)


def look_at(position: Vector, target: Vector) -> np.ndarray:
    """Return the rotation of a camera that looks at a target with its x axis level (zero roll), ``float64[3, 3]``.

    A camera that looks straight up or down has the world's x axis as its own. Close to that, small moves of the camera
    turn it far: use :func:`shortest_look_at` there. The two points must differ (``ValueError``).
    """
    dx, dy, dz = _direction(position, target)
    level = math.hypot(dx, dy)
    # Sine and cosine of the yaw, which is measured from +y towards +x.
    sine, cosine = (dx / level, dy / level) if level > 0 else (0.0, 1.0)
    return np.array([[cosine, -dz * sine, -dx], [-sine, -dz * cosine, -dy], [0.0, level, -dz]])


def shortest_look_at(position: Vector, target: Vector) -> np.ndarray:
    """Return the shortest rotation that turns a camera from looking down to a target, ``float64[3, 3]``.

    It is steady around the vertical, where :func:`look_at` is not, but may roll the camera. Straight up is half a turn
    about the x axis. The two points must differ (``ValueError``).
    """
    dx, dy, dz = _direction(position, target)
    squared_sine = dx * dx + dy * dy
    if squared_sine == 0.0:
        return np.diag([1.0, -dz, -dz])
    # Rodrigues' formula about the horizontal axis (dy, -dx, 0), at an angle of cosine -dz.
    k = (1.0 + dz) / squared_sine
    return np.array([[1 - k * dx * dx, -k * dx * dy, -dx], [-k * dx * dy, 1 - k * dy * dy, -dy], [dx, dy, -dz]])


def rolled(rotation: np.ndarray, angle: float) -> np.ndarray:
    """Return a camera's rotation after a turn about its own z axis, in radians."""
    sine, cosine = math.sin(angle), math.cos(angle)
    return rotation @ np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class CameraBounds:
    """Closed ranges ``(low, high)`` that a camera stays in.

    Attributes:
        radius: in meters.
        horizontal, vertical, roll: in radians. A vertical range that starts below 0 passes over the pole.
    """

    radius: Range
    horizontal: Range
    vertical: Range
    roll: Range


def camera_bounds(start_position: Vector, strength: float, upper_quadrant: bool) -> CameraBounds:
    """Return the ranges of a camera that starts at a position, relative to what it follows.

    With beta the strength: h, v and roll within (pi/2) beta of the start, and the radius from 1 - 0.5 beta to
    1 + 1.5 beta times that of the start.

    Args:
        start_position: ``(x, y, z)`` in meters.
        strength: beta, in [0, 1]; 0.1, 0.2 and 0.3 are the suite's easy, medium and hard.
        upper_quadrant: whether the camera also keeps to h in [-pi, 0] and v in [0, pi/2], that is, in front of the
            plane y = 0 and above. A camera that starts behind that plane keeps behind it (h in [0, pi]) and one that
            starts below stays no lower; the six tasks of the paper have neither.

    Raises:
        ValueError: for a strength out of range.
    """
    fraction("strength of the camera", strength)
    x, y, z = start_position
    # A camera on the plane itself counts as in front, and one at the pole as at h = 0, whichever way its center of mass
    # is rounded: atan2 tells the zeros apart.
    tiny = _ROUNDING * math.hypot(x, y, z)
    x, y = 0.0 if abs(x) <= tiny else x, -0.0 if abs(y) <= tiny else y
    r0, h0, v0 = spherical((x, y, z))
    half = math.pi / 2 * strength
    horizontal, vertical = (h0 - half, h0 + half), (v0 - half, v0 + half)
    if upper_quadrant:
        side = (-math.pi, 0.0) if h0 <= 0 else (0.0, math.pi)
        horizontal = (max(horizontal[0], side[0]), min(horizontal[1], side[1]))
        vertical = (max(vertical[0], 0.0), min(vertical[1], max(math.pi / 2, v0)))
    radius = (r0 * (1 - 0.5 * strength), r0 * (1 + 1.5 * strength))
    return CameraBounds(radius, horizontal, vertical, roll=(-half, half))


@dataclass(frozen=True)
class WalkScales:
    """How fast a camera wanders, per control step.

    Attributes:
        velocity_std: of the Gaussian change of each component of the velocity, in meters.
        max_speed: in meters.
        roll_std: of the Gaussian change of the roll's velocity, in radians.
        max_roll_speed: in radians.
    """

    velocity_std: float
    max_speed: float
    roll_std: float
    max_roll_speed: float


def walk_scales(radius: float, strength: float) -> WalkScales:
    """Return the scales of a walk that starts ``radius`` meters from what it follows, at a strength in [0, 1]."""
    fraction("strength of the camera", strength)
    return WalkScales(
        velocity_std=0.1 * strength * radius / 4,
        max_speed=0.4 * strength * radius / 4,
        roll_std=math.pi / 300 * strength,
        max_roll_speed=math.pi / 50 * strength,
    )


class WalkState(NamedTuple):
    """Where a walk is, relative to the point that the camera follows.

    Attributes:
        radius: in meters.
        horizontal, vertical, roll: in radians.
        velocity: ``(x, y, z)``, in meters per control step.
        roll_velocity: in radians per control step.
    """

    radius: float
    horizontal: float
    vertical: float
    roll: float
    velocity: Vector
    roll_velocity: float


def start_walk(bounds: CameraBounds, strength: float, dynamic: bool, rng: np.random.Generator) -> WalkState:
    """Return a state drawn uniformly within the bounds, before the first :func:`walk_step`.

    The velocity has a uniformly random direction and a speed uniform up to 0.4 beta meters, or is 0 if the camera is
    static. As in the published code, that limit is not scaled with the radius; the first step cuts it to the one that
    is. A static camera draws the same numbers, so that it starts at the same place as one that moves.
    """
    ranges = (bounds.radius, bounds.horizontal, bounds.vertical, bounds.roll)
    r, h, v, roll = (low + u * (high - low) for (low, high), u in zip(ranges, rng.random(4).tolist(), strict=True))
    speed, turn = rng.random(2).tolist()
    x, y, z = rng.standard_normal(3).tolist()
    if not dynamic:
        return WalkState(r, h, v, roll, (0.0, 0.0, 0.0), 0.0)
    scale = 0.4 * strength * speed / math.hypot(x, y, z)
    return WalkState(r, h, v, roll, (x * scale, y * scale, z * scale), math.pi / 50 * strength * (2 * turn - 1))


def walk_step(
    state: WalkState, noise: tuple[float, float, float, float], bounds: CameraBounds, scales: WalkScales
) -> WalkState:
    """Return the state one control step later.

    Velocities take a Gaussian step and are cut to the largest speeds; then positions move and are clipped to the
    bounds, and velocities become the distances truly moved, so that a camera stops at a bound that it runs into.

    Moves go through the position in space, whose vertical angle is never negative. In a range that passes over the pole
    (an overhead camera's), a start beyond the pole is therefore met at its mirror image: the same v, positive, with h
    turned by half and clipped. The published code does the same.

    Args:
        noise: four standard Gaussian numbers: x, y, z and roll.
    """
    old = cartesian(state.radius, state.horizontal, state.vertical)
    std = scales.velocity_std
    vx, vy, vz = state.velocity
    vx, vy, vz = vx + std * noise[0], vy + std * noise[1], vz + std * noise[2]
    speed = math.hypot(vx, vy, vz)
    if speed > scales.max_speed:
        cut = scales.max_speed / speed
        vx, vy, vz = vx * cut, vy * cut, vz * cut
    r, h, v = spherical((old[0] + vx, old[1] + vy, old[2] + vz))
    r = _clip(r, bounds.radius)
    # Of all angles of this direction, the one nearest to the range, which may pass over h = pi.
    h += 2 * math.pi * round((sum(bounds.horizontal) / 2 - h) / (2 * math.pi))
    h = _clip(h, bounds.horizontal)
    v = _clip(v, bounds.vertical)
    new = cartesian(r, h, v)
    limit = scales.max_roll_speed
    roll = _clip(state.roll + _clip(state.roll_velocity + scales.roll_std * noise[3], (-limit, limit)), bounds.roll)
    return WalkState(r, h, v, roll, (new[0] - old[0], new[1] - old[1], new[2] - old[2]), roll - state.roll)


class CameraWalk:
    """The walk of one camera through one episode: build a new one at each reset, when the first pose is known.

    A camera that tracks (MuJoCo's modes ``track`` and ``trackcom``) keeps its place on the walk relative to what it
    tracks: the origin of its body, or the center of mass of that body's subtree, in the six tasks subtree 1, the agent.
    It looks at a point that moves along, as far away as that place, on the axis of the camera as the model has it. A
    fixed camera walks around the world's origin and looks at the point of its axis that was, at the reset, as far away
    as the center of mass of subtree 1.

    At strength 0 the pose is the one of the model's own camera. The orientation of the source has no roll before the
    walk's own; that of a camera that the model rolls (none of the six tasks does) is kept on top of it.

    Numbers drawn do not depend on the physics: with equal generators, walks of two episodes take the same noise.

    Args:
        model: of the task.
        data: with the kinematics of the first frame computed (positions, centers of mass and cameras).
        camera_id: in the model. Its mode is the one that counts, where the published code reads camera 0's.
        strength: beta in [0, 1]; 0.1, 0.2 and 0.3 are the suite's easy, medium and hard.
        dynamic: whether the camera moves; otherwise it stays where the episode starts.
        upper_quadrant: whether it keeps in front and above (see :func:`camera_bounds`): on for all but reacher.
        overhead: whether it turns by the shortest way from looking down instead of without roll: reacher.
        rng: of this walk alone; with another consumer, walks would depend on when it draws.

    Attributes:
        bounds: :class:`CameraBounds` of r, h, v and roll.
        state: :class:`WalkState`, now.

    Raises:
        ValueError: for a strength out of range, a camera that the model lacks, one that aims at a body, is fixed to a
            moving body, or is at the very point that it follows.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera_id: int,
        strength: float,
        dynamic: bool,
        upper_quadrant: bool,
        overhead: bool,
        rng: np.random.Generator,
    ):
        self._anchor_kind, self._anchor_body = _anchor_of(model, camera_id)
        pose = camera_pose(data, camera_id)
        anchor = self._anchor(data)
        position = pose.position.tolist()
        start = tuple(p - a for p, a in zip(position, anchor, strict=True))
        subject = data.subtree_com[1].tolist() if self._anchor_kind == "world" else anchor
        distance = math.dist(position, subject)
        if math.hypot(*start) == 0 or distance == 0:
            raise ValueError(f"camera {_camera_name(model, camera_id)} is at the point that it follows: use another")
        axis = (-pose.rotation[:, 2]).tolist()
        #: The point looked at, relative to the anchor.
        self._target = tuple(s + distance * a for s, a in zip(start, axis, strict=True))
        self._look_at = shortest_look_at if overhead else look_at
        turn = self._look_at(start, self._target).T @ pose.rotation
        self._model_roll = math.atan2(turn[1, 0], turn[0, 0])
        self.bounds = camera_bounds(start, strength, upper_quadrant)
        self._moves = bool(dynamic) and strength > 0
        self._scales = walk_scales(math.hypot(*start), strength if self._moves else 0.0)
        self._rng = rng
        self.state = start_walk(self.bounds, strength, self._moves, rng)
        self._apply(1)

    def advance(self, steps: int) -> None:
        """Walk on by so many control steps, at least 0. A static camera stays."""
        integer("steps", steps, 0)
        if self._moves:
            self._apply(steps)

    def pose(self, data: mujoco.MjData) -> CameraPose:
        """Return the pose for the current positions of the bodies. Nothing is written.

        MuJoCo overwrites ``cam_xpos`` and ``cam_xmat`` in every pass of the kinematics: write the pose there last, and
        render next.
        """
        state = self.state
        place = cartesian(state.radius, state.horizontal, state.vertical)
        rotation = rolled(self._look_at(place, self._target), self._model_roll + state.roll)
        anchor = self._anchor(data)
        return CameraPose(np.array([p + a for p, a in zip(place, anchor, strict=True)]), rotation)

    def _apply(self, steps: int) -> None:
        state, bounds, scales = self.state, self.bounds, self._scales
        for noise in self._rng.standard_normal((steps, 4)).tolist():
            state = walk_step(state, noise, bounds, scales)
        self.state = state

    def _anchor(self, data: mujoco.MjData) -> list[float]:
        if self._anchor_kind == "world":
            return [0.0, 0.0, 0.0]
        points = data.subtree_com if self._anchor_kind == "center of mass" else data.xpos
        return points[self._anchor_body].tolist()


def _anchor_of(model: mujoco.MjModel, camera_id: int) -> tuple[str, int]:
    """Return what a camera follows, "world", "body" or "center of mass", and the body."""
    import mujoco

    if not 0 <= camera_id < model.ncam:
        raise ValueError(f"camera_id must be in [0, {model.ncam}), the cameras of the model, got {camera_id!r}")
    mode = mujoco.mjtCamLight(int(model.cam_mode[camera_id]))
    body = int(model.cam_bodyid[camera_id])
    if mode == mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM:
        return "center of mass", body
    if mode == mujoco.mjtCamLight.mjCAMLIGHT_TRACK:
        return "body", body
    name = _camera_name(model, camera_id)
    if mode != mujoco.mjtCamLight.mjCAMLIGHT_FIXED:
        raise ValueError(f"camera {name} aims at a body: a walk needs a camera of mode fixed, track or trackcom")
    if model.body_weldid[body] != 0:
        raise ValueError(
            f"camera {name} is fixed to the moving body {model.body(body).name!r}: a walk needs a camera that is fixed "
            "to the world, or of mode track or trackcom"
        )
    return "world", body


def _camera_name(model: mujoco.MjModel, camera_id: int) -> str:
    return f"{camera_id} ({model.camera(camera_id).name!r})"


def _clip(value: float, limits: Range) -> float:
    low, high = limits
    return low if value < low else high if value > high else value


def _direction(position: Vector, target: Vector) -> Vector:
    """Return the unit vector from one point to another."""
    x, y, z = target[0] - position[0], target[1] - position[1], target[2] - position[2]
    length = math.hypot(x, y, z)
    if length == 0:
        raise ValueError(f"a camera cannot look at its own position, {position}")
    return x / length, y / length, z / length
