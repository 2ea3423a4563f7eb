"""Five cameras of 60 degrees on the roof, side by side in one image, and what their pixels look at.

Cameras are pinholes without pitch or roll. With S rows and columns, f = (S / 2) / tan(30 degrees), and a pixel whose
center is u to the right of and v below the middle of its image, both in units of f, the ray is
``forward + u right - v up``: along it, depth is the parameter, and v alone says how fast it falls.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Degrees to the right of the car's direction, in the order of the image, and the field of view.
YAWS, FIELD_OF_VIEW = (-120.0, -60.0, 0.0, 60.0, 120.0), 60.0
#: Meters above the road: SECANT's.
HEIGHT = 2.4


def yaws_of(cameras: int) -> tuple[float, ...]:
    """Return the yaws of 1, 3 or 5 cameras around the one that looks ahead, degrees to the right."""
    left_out = (len(YAWS) - cameras) // 2
    return YAWS[left_out : len(YAWS) - left_out]


def stitched(views: Sequence[np.ndarray]) -> np.ndarray:
    """Return the views of cameras as one image, from left to right: ``uint8[S, len(views) * S, 3]``.

    Args:
        views: ``uint8[S, S, 3]`` each, in the order of :func:`yaws_of`.
    """
    return np.concatenate(list(views), axis=1)


class Rays(NamedTuple):
    """What the pixels of a stitched image look at, in the car's frame: x ahead, y to the left, z up.

    Attributes:
        focal: pixels.
        v: ``float64[S]``, how fast the rays of each row fall with depth.
        columns: ``float64[2, C]``, x and y of the rays of each column at depth 1.
        azimuth: ``float64[C]``, rad to the left, where they go.
        sky: ``float32[3, R, C]``, unit vectors of the R rows above the horizon.
        ground: ``float32[2, G, C]``, m, where the rays of the G rows below it meet the ground.
        depth: ``float32[G]``, m, of these.
        footprint: ``float32[G, C]``, m, how far a pixel there reaches to the side of the car.
    """

    focal: float
    v: np.ndarray
    columns: np.ndarray
    azimuth: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    depth: np.ndarray
    footprint: np.ndarray


@functools.cache
def rays(size: int, cameras: int) -> Rays:
    """Return the rays of a stitched image of ``size`` rows. They are shared: not to be changed."""
    focal = size / 2 / np.tan(np.radians(FIELD_OF_VIEW / 2))
    middle = (np.arange(size) + 0.5 - size / 2) / focal
    yaw = np.radians(np.repeat(yaws_of(cameras), size))
    u = np.tile(middle, cameras)
    columns = np.stack([np.cos(yaw) - u * np.sin(yaw), -np.sin(yaw) - u * np.cos(yaw)])
    above, below = middle[middle <= 0], middle[middle > 0]
    shape = (len(above), len(u))
    sky = np.stack([*(np.broadcast_to(c, shape) for c in columns), np.broadcast_to(-above[:, None], shape)])
    sky = sky / np.linalg.norm(sky, axis=0)
    depth = HEIGHT / below
    ground = columns[:, None, :] * depth[None, :, None]
    azimuth = np.arctan2(columns[1], columns[0])
    # One pixel to the right moves the ray's foot across the camera's direction, one pixel down along the ray.
    across = np.abs(np.cos(yaw)) * depth[:, None] / focal
    footprint = across + np.abs(columns[1]) * (depth * depth / (HEIGHT * focal))[:, None]
    parts = (sky, ground, depth, footprint)
    return Rays(
        float(focal), middle, columns, azimuth, *(np.ascontiguousarray(part, dtype=np.float32) for part in parts)
    )
