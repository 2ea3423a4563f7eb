"""Where rays from one point meet the shapes that MuJoCo draws.

In closed form, with one-dimensional arrays only: MuJoCo's own casting of many rays (``mj_multiRay`` in 3.17) leaves out
some hits, and rays pass through sites and tendons.
"""

from __future__ import annotations

import numpy as np

#: Shapes by MuJoCo's geom type.
SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX = 2, 3, 4, 5, 6
SHAPES = frozenset((SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX))


def entry_distance(
    shape: int,
    size: np.ndarray,
    position: np.ndarray,
    rotation: np.ndarray,
    origin: np.ndarray,
    directions: np.ndarray,
) -> np.ndarray:
    """Return the distances at which rays enter a shape, ``float64[N]``, ``inf`` where they miss it.

    Args:
        shape: one of the constants of this module.
        size: ``float64[3]``, half extents along the shape's x, y and z (a capsule's z without its caps).
        position: ``float64[3]``, its center.
        rotation: ``float64[3, 3]``, its axes as columns.
        origin: ``float64[3]``, where the rays start.
        directions: ``float64[N, 3]``, unit vectors.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if shape == SPHERE:
            return _sphere(size[0], position - origin, directions)
        if shape == CAPSULE:
            half = rotation[:, 2] * size[2]
            return capsules_distance(size[:1], position[None] - half, position[None] + half, origin, directions)[0]
        start = (origin - position) @ rotation
        local = directions @ rotation
        if shape == ELLIPSOID:
            o, d = start / size, local / size
            return _first_root((d * d).sum(axis=1), d @ o, o @ o - 1.0)
        if shape == CYLINDER:
            return _cylinder(size, start, local)
        return _box(size, start, local)


def surface_normal(
    shape: int, size: np.ndarray, position: np.ndarray, rotation: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Return outward unit normals, ``float64[N, 3]``, at ``points`` (``float64[N, 3]``) on a shape's surface."""
    if shape == SPHERE:
        return (points - position) / size[0]
    local = (points - position) @ rotation
    if shape == CAPSULE:
        local[:, 2] -= np.clip(local[:, 2], -size[2], size[2])
    elif shape == ELLIPSOID:
        local /= size**2
    elif shape == CYLINDER:
        side = np.hypot(local[:, 0], local[:, 1]) / size[0] > np.abs(local[:, 2]) / size[2]
        local = np.where(side[:, None], local * (1.0, 1.0, 0.0), local * (0.0, 0.0, 1.0))
    else:
        face = np.abs(local / size).argmax(axis=1)[:, None]
        normals = np.zeros_like(local)
        np.put_along_axis(normals, face, np.sign(np.take_along_axis(local, face, axis=1)), axis=1)
        local = normals
    return (local / np.linalg.norm(local, axis=1, keepdims=True)) @ rotation.T


def capsules_distance(
    radii: np.ndarray, starts: np.ndarray, ends: np.ndarray, origin: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """Return ``float64[M, N]``: the distances at which N rays enter each of M capsules, ``inf`` where they miss.

    Args:
        radii: ``float64[M]``.
        starts, ends: ``float64[M, 3]``, the ends of the capsules' axes.
        origin: ``float64[3]``.
        directions: ``float64[N, 3]``, unit vectors.
    """
    axis, offset = ends - starts, origin - starts
    length2 = (axis * axis).sum(axis=1)[:, None]
    radius2 = (radii * radii)[:, None]
    axis_offset = (axis * offset).sum(axis=1)[:, None]
    along, towards = axis @ directions.T, offset @ directions.T
    with np.errstate(invalid="ignore", divide="ignore"):
        a = length2 - along * along
        b = length2 * towards - axis_offset * along
        c = length2 * ((offset * offset).sum(axis=1)[:, None] - radius2) - axis_offset * axis_offset
        distance = (-b - np.sqrt(b * b - a * c)) / a
        place = axis_offset + distance * along
        on_tube = (place > 0) & (place < length2) & (distance > 0)
        # The ball at whichever end the ray passes beyond; a ray along the axis meets no tube.
        beyond = np.where(np.isfinite(distance), place >= length2, along < 0)
        to_end = towards - np.where(beyond, along, 0.0)
        square = np.where(beyond, ((ends - origin) ** 2).sum(axis=1)[:, None], (offset * offset).sum(axis=1)[:, None])
        ball = -to_end - np.sqrt(to_end * to_end - square + radius2)
        return np.where(on_tube, distance, np.where(ball > 0, ball, np.inf))


def _first_root(a: np.ndarray, half_b: np.ndarray, c: float) -> np.ndarray:
    """Return the smaller root of ``a t^2 + 2 half_b t + c`` where it is real and positive, else ``inf``."""
    distance = (-half_b - np.sqrt(half_b * half_b - a * c)) / a
    return np.where(distance > 0, distance, np.inf)  # nan is not greater


def _sphere(radius: float, center: np.ndarray, directions: np.ndarray) -> np.ndarray:
    towards = directions @ center
    distance = towards - np.sqrt(towards * towards - (center @ center - radius * radius))
    return np.where(distance > 0, distance, np.inf)


def _cylinder(size: np.ndarray, start: np.ndarray, local: np.ndarray) -> np.ndarray:
    x, y, z = local.T
    side = _first_root(x * x + y * y, start[0] * x + start[1] * y, start[0] ** 2 + start[1] ** 2 - size[0] ** 2)
    side = np.where(np.abs(start[2] + side * z) <= size[2], side, np.inf)
    cap = (np.copysign(size[2], -z) - start[2]) / z
    radius2 = (start[0] + cap * x) ** 2 + (start[1] + cap * y) ** 2
    return np.minimum(side, np.where((radius2 <= size[0] ** 2) & (cap > 0), cap, np.inf))


def _box(size: np.ndarray, start: np.ndarray, local: np.ndarray) -> np.ndarray:
    one, two = (-size - start) / local, (size - start) / local
    near, far = np.minimum(one, two).T, np.maximum(one, two).T
    # Along columns: reductions of rows of three take numpy five times as long.
    enter = np.maximum(np.maximum(near[0], near[1]), near[2])
    leave = np.minimum(np.minimum(far[0], far[1]), far[2])
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)
