"""Scripted policies of two tasks, which see the simulator's state: written by hand, good and not optimal.

Each is a function of the state alone and returns an action of the controller that all tasks have here: of each arm a
translation and a rotation of its hand from where it is, then the gripper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

#: What an action of 1 asks of a hand, in meters and radians: robosuite's ``OSC_POSE``.
_METERS, _RADIANS = 0.05, 0.5
#: How much more than what is left is asked for: a hand gets part of the way in the time of a step.
_GAIN = 2.0
#: Of robosuite's plate: meters from its frame to the center of the hole. Rewards take 0.10, which is off the center.
_HOLE = 0.11
#: Meters between the centers of the peg, of 0.26 m, and of the hole, while the two are not in line.
_PEG_STANDOFF = 0.2
#: Meters in front of the lever, from where the gripper reaches for it.
_LEVER_STANDOFF = 0.1
#: Radians up: from where the door is pulled, and as far as the lever is turned. It lets go of the frame in between.
_TURNED, _UP = 1.1, 1.4
#: Radians: the door is past its frame, and open (robosuite pays from 0.3).
_FREE, _OPEN = 0.15, 0.35
#: Meters and radians per step that the lever is turned by, and meters that the door is pulled by.
_TWIST, _PULL = 0.3, 0.05


class Frame(NamedTuple):
    """Where something is: ``float64[3]`` in meters, and its axes as the columns of ``float64[3, 3]``."""

    position: np.ndarray
    axes: np.ndarray


class Hinge(NamedTuple):
    """A joint that turns: its angle in radians, its axis of unit length and a point on it, ``float64[3]`` each."""

    angle: float
    axis: np.ndarray
    anchor: np.ndarray

    def tangent(self, point: np.ndarray) -> np.ndarray:
        """Return how fast a point moves when the joint turns, ``float64[3]`` in meters per radian."""
        return np.cross(self.axis, point - self.anchor)


def insert_peg(simulator: Any) -> np.ndarray:
    """Return an action of ``TwoArmPegInHole``, ``float64[12]``: each arm does half of what is left."""
    data = simulator.sim.data
    peg, plate = _body(data, simulator.peg_body_id), _body(data, simulator.hole_body_id)
    hole = Frame(plate.position + _HOLE * plate.axes[:, 0], plate.axes)
    move, turn = (_GAIN / 2 * part for part in peg_motion(peg, hole))
    commands = []
    for robot, held, side in zip(simulator.robots, (peg, hole), (1, -1), strict=True):
        lever_arm = held.position - _hand(data, robot).position  # a turn moves what the hand holds, too
        commands.append(_command(robot, side * (move - np.cross(turn, lever_arm)), side * turn))
    return np.concatenate(commands)


def peg_motion(peg: Frame, hole: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Return how a peg has to move and turn to go into a hole: in line with it, at a distance, and then in.

    Args:
        peg: its center; its third axis leads to its tip.
        hole: its center; its third axis is perpendicular to the plate.

    Returns:
        Meters, and a rotation vector in radians: ``float64[3]`` each.
    """
    along, normal = peg.axes[:, 2], hole.axes[:, 2]
    cosine = float(along @ normal)
    # Either side of the plate will do. Episodes start at right angles, where both are as near: always the same one.
    turn = _turn_to(along, normal * (np.sign(cosine) if abs(cosine) > 0.2 else 1.0))
    left = hole.position - peg.position
    depth = left @ along
    beside = left - depth * along
    apart = max(_ramp(np.linalg.norm(beside), 0.012, 0.02), _ramp(np.linalg.norm(turn), 0.1, 0.3))
    return beside + (depth - apart * _PEG_STANDOFF) * along, turn


def open_door(simulator: Any) -> np.ndarray:
    """Return an action of ``Door``, ``float64[7]``: reach for the lever, close the gripper, turn it up, and pull."""
    data, robot, door = simulator.sim.data, simulator.robots[0], simulator.door
    lever = Frame(
        np.array(data.site_xpos[simulator.door_handle_site_id]), _body(data, simulator.object_body_ids["latch"]).axes
    )
    hinge, latch = (_hinge(simulator.sim, name) for name in door.joints)
    fingers = [float(data.get_joint_qpos(name)) for name in robot.gripper["right"].joints]
    move, turn, grip = door_motion(_hand(data, robot), lever, hinge, latch, abs(fingers[0] - fingers[1]))
    return np.append(_command(robot, move, turn), grip)


def door_motion(
    hand: Frame, lever: Frame, hinge: Hinge, latch: Hinge, gap: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return how a hand has to move and turn to open a door by its lever, and what its gripper does.

    The gripper points into the door, one finger above the lever and one below, and turns with it. The lever goes up,
    since the last joint of the arm has no room for the other way.

    Args:
        hand: its third axis is where the gripper points, its first one that along which it opens.
        lever: where it is taken; its second axis leads into the door, its third one up.
        hinge: of the door.
        latch: of the lever, which goes up as its angle falls.
        gap: meters between the fingers.

    Returns:
        Meters, a rotation vector in radians, and -1 (open) or 1 (close).
    """
    inward, up = lever.axes[:, 1], lever.axes[:, 2]
    wanted = np.stack([-up, -np.cross(inward, up), inward], axis=1)
    move, turn = lever.position - hand.position, _rotation_vector(wanted @ hand.axes.T)
    distance = np.linalg.norm(move)
    if hinge.angle > _OPEN:
        return np.zeros(3), np.zeros(3), 1.0
    if distance > 0.03 or (gap > 0.065 and distance > 0.01):
        depth = move @ inward
        beside = move - depth * inward
        apart = max(_ramp(np.linalg.norm(beside), 0.01, 0.02), _ramp(np.linalg.norm(turn), 0.1, 0.2))
        return _GAIN * (move - apart * _LEVER_STANDOFF * inward), _GAIN * turn, -1.0
    move, turn = _GAIN * move, _GAIN * turn
    if gap < 0.055:  # the lever, of 0.04 m, is held
        if hinge.angle < _FREE and -latch.angle < _UP:
            move, turn = move - _TWIST * latch.tangent(lever.position), turn - _TWIST * latch.axis
        if hinge.angle > _FREE or -latch.angle > _TURNED:
            pull = hinge.tangent(lever.position)
            move = move + _PULL * pull / np.linalg.norm(pull)
    return move, turn, 1.0


#: The expert of a task: takes robosuite's environment, and returns an action in [-1, 1].
EXPERTS: Mapping[str, Callable[[Any], np.ndarray]] = {"Door": open_door, "TwoArmPegInHole": insert_peg}


def _command(robot: Any, move: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return the action of an arm, ``float64[6]``, in the frame of its base."""
    into_base = np.asarray(robot.base_ori).T
    return np.clip(np.concatenate([into_base @ move / _METERS, into_base @ turn / _RADIANS]), -1, 1)


def _body(data: Any, body: int) -> Frame:
    return Frame(np.array(data.body_xpos[body]), np.array(data.body_xmat[body]).reshape(3, 3))


def _hand(data: Any, robot: Any) -> Frame:
    site = robot.eef_site_id["right"]
    return Frame(np.array(data.site_xpos[site]), np.array(data.site_xmat[site]).reshape(3, 3))


def _hinge(simulation: Any, name: str) -> Hinge:
    joint, data = simulation.model.joint_name2id(name), simulation.data
    return Hinge(float(data.get_joint_qpos(name)), np.array(data.xaxis[joint]), np.array(data.xanchor[joint]))


def _ramp(value: Any, low: float, high: float) -> float:
    """Return 0 up to a low value, 1 from a high one, and what is between them in between."""
    return float(np.clip((value - low) / (high - low), 0, 1))


def _turn_to(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the shortest turn of one direction to another as a rotation vector, ``float64[3]``."""
    axis = np.cross(old, new)
    sine = np.linalg.norm(axis)
    return axis / max(sine, 1e-12) * np.arctan2(sine, old @ new)


def _rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """Return the rotation vector of a rotation matrix, ``float64[3]`` in radians; zero for a half turn."""
    doubled = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    sine = np.linalg.norm(doubled) / 2
    return doubled / max(2 * sine, 1e-12) * np.arctan2(sine, (np.trace(matrix) - 1) / 2)
