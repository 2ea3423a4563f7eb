"""Where a camera is and how it is turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mujoco


@dataclass(frozen=True, eq=False)
class CameraPose:
    """Where a camera is and how it is turned.

    Attributes:
        position: ``float64[3]``, in the world, in meters.
        rotation: ``float64[3, 3]``, whose columns are the camera's x (right), y (up) and z (backwards) axes in the
            world: MuJoCo's ``cam_xmat``.
    """

    position: np.ndarray
    rotation: np.ndarray


def camera_pose(data: mujoco.MjData, camera_id: int) -> CameraPose:
    """Return a copy of the pose that MuJoCo last computed for a camera."""
    return CameraPose(data.cam_xpos[camera_id].copy(), data.cam_xmat[camera_id].reshape(3, 3).copy())
