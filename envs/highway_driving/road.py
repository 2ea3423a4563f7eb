"""The stand-in's road: four lanes along an arc, and coordinates on it.

A place is s, meters along the middle of the road, and d, meters to the left of it. The frame of a car has its origin on
the middle of the road beside the car, x along the road and y to the left; an arc of curvature k (positive: to the left)
has its center at (0, 1 / k) there. Formulas have no division by k, so that straight roads are no special case.
"""

from __future__ import annotations

import numpy as np

NUM_LANES, LANE_WIDTH = 4, 3.5
#: Meters from the middle: the edge of the lanes, and the rails.
HALF_WIDTH, RAIL = NUM_LANES * LANE_WIDTH / 2, 10.5


def lane_center(lane: np.ndarray) -> np.ndarray:
    """Return the d of the middle of lanes, 0 the rightmost, m."""
    return (np.asarray(lane) + 0.5) * LANE_WIDTH - HALF_WIDTH


def nearest_lane(d: np.ndarray) -> np.ndarray:
    """Return the lane whose middle is nearest, ``int64``."""
    return np.clip(np.floor((d + HALF_WIDTH) / LANE_WIDTH), 0, NUM_LANES - 1).astype(np.int64)


def to_frame(s: np.ndarray, d: np.ndarray, curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y, m, and the direction of the road, radians, at s ahead and d to the left."""
    angle = curvature * s
    half = np.sinc(angle / (2 * np.pi))  # sin(angle / 2) / (angle / 2)
    along = s * np.sinc(angle / np.pi)
    x = along * (1 - curvature * d)
    y = d * np.cos(angle) + s * (angle / 2) * half * half
    return x, y, angle


def lateral(x: np.ndarray, y: np.ndarray, curvature: float | np.floating) -> np.ndarray:
    """Return the d of places in the frame, m."""
    bulge = 2 * y - curvature * (x * x + y * y)
    return bulge / (1 + np.sqrt(np.maximum(1 - curvature * bulge, 0)))


def along(x: np.ndarray, y: np.ndarray, curvature: float | np.floating) -> np.ndarray:
    """Return the s of places in the frame, m: to a tenth of a meter within a fifth of the radius."""
    ahead = x / (1 - curvature * y)
    turned = curvature * ahead
    return ahead * (1 - turned * turned * (1 / 3 - turned * turned / 5))
