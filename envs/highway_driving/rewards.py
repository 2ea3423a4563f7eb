"""The published rewards of driving on CARLA's highway, per frame of the simulator, as pure functions.

Sources: Zhang et al. (2021), "Learning Invariant Representations for Reinforcement Learning without Reconstruction"
(DBC), and its two releases, for CARLA 0.9.6 and 0.9.8; Fan et al. (2021), "SECANT: Self-Expert Cloning for Zero-Shot
Generalization of Visual Policies".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: Seconds of a frame.
FRAME_SECONDS = 0.05
#: Reward per newton second of a collision.
IMPULSE_WEIGHT = 1e-4


class Frame(NamedTuple):
    """What rewards and endings are made of, one entry per environment, after a frame.

    Attributes:
        progress: ``float64[N]``, m/s, velocity along the lane's direction.
        speed: ``float64[N]``, m/s.
        offset: ``float64[N]``, m, distance from the center of the nearest lane.
        impulse: ``float64[N]``, N s, of collisions in this frame.
        colliding: ``bool[N]``.
        off_road: ``bool[N]``, whether the car's center is on no lane.
        steer: ``float64[N]`` in [-1, 1], right is positive.
        brake: ``float64[N]`` in [0, 1].
    """

    progress: np.ndarray
    speed: np.ndarray
    offset: np.ndarray
    impulse: np.ndarray
    colliding: np.ndarray
    off_road: np.ndarray
    steer: np.ndarray
    brake: np.ndarray


def dbc_0_9_6(frame: Frame) -> np.ndarray:
    """Return ``v_s dt - 1e-4 impulse - |steer|``, ``float64[N]``: DBC's paper and its release for CARLA 0.9.6."""
    return frame.progress * FRAME_SECONDS - IMPULSE_WEIGHT * frame.impulse - np.abs(frame.steer)


def dbc_0_9_8(frame: Frame) -> np.ndarray:
    """Return ``v_s dt / (1 + offset) - 1[collision] - 0.1 brake - 0.1 |steer|``, ``float64[N]``: DBC, CARLA 0.9.8."""
    progress = frame.progress * FRAME_SECONDS / (1 + np.abs(frame.offset))
    return progress - frame.colliding - 0.1 * frame.brake - 0.1 * np.abs(frame.steer)


@dataclass(frozen=True)
class RewardForm:
    """A published reward: of a frame, and whether that of an action is the frames' sum or mean."""

    of_frame: Callable[[Frame], np.ndarray]
    mean: bool


#: SECANT's has the formula of 0.9.6, with the weights that its script passes, and sums frames.
REWARDS = {
    "secant": RewardForm(dbc_0_9_6, mean=False),
    "dbc-0.9.6": RewardForm(dbc_0_9_6, mean=True),
    "dbc-0.9.8": RewardForm(dbc_0_9_8, mean=True),
}
