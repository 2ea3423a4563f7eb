"""Convex hulls of meshes, and where rays from one point meet them: in closed form, for all rays at once.

MuJoCo lets a mesh collide as its convex hull and keeps the hull's faces in the model. A hull is an intersection of
half spaces, which many rays meet in a few matrix products, where the mesh itself is met ray by ray.
"""

from __future__ import annotations

import mujoco
import numpy as np

#: A model has hulls of some 300 planes, of which a few hundred rays are tried at once: 1 MB of intermediate results.
_MOST_NUMBERS = 1 << 17


def hull_planes(model: mujoco.MjModel, mesh: int) -> np.ndarray | None:
    """Return the half spaces whose intersection is a mesh's convex hull, or ``None`` for a mesh that has none.

    MuJoCo makes hulls of meshes that collide.

    Returns:
        ``float64[K, 4]``: outward unit normals ``n`` and offsets ``b``, in the mesh's own frame; points of the hull
        have ``n @ x <= b``.
    """
    first, count = int(model.mesh_polyadr[mesh]), int(model.mesh_polynum[mesh])
    if model.mesh_graphadr[mesh] < 0 or count == 0:
        return None
    rows = slice(first, first + count)
    normals = model.mesh_polynormal[rows].astype(np.float64)
    vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]].astype(np.float64)
    lengths = np.linalg.norm(normals, axis=1)
    normals = normals[lengths > 0] / lengths[lengths > 0, None]
    # The farthest vertex along each normal, so that rounded normals leave no vertex outside.
    offsets = np.concatenate(
        [(part @ vertices.T).max(axis=1) for part in np.array_split(normals, len(normals) // 64 + 1)]
    )
    return np.column_stack([normals, offsets])


def hull_entry(
    planes: np.ndarray, position: np.ndarray, rotation: np.ndarray, origin: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where rays enter a convex hull.

    Args:
        planes: ``float64[K, 4]`` of :func:`hull_planes`.
        position: ``float64[3]``, of the mesh's frame in the world.
        rotation: ``float64[3, 3]``, its axes as columns.
        origin: ``float64[3]``, where the rays start.
        directions: ``float64[N, 3]``, unit vectors.

    Returns:
        ``float64[N]`` distances, ``inf`` for rays that miss the hull or start in it, and ``int64[N]``, the plane that
        each ray comes in through (meaningless where it misses).
    """
    room = planes[:, 3] - planes[:, :3] @ ((origin - position) @ rotation)
    outside = np.flatnonzero(room < 0)  # planes that the origin is outside of: rays come in through these
    distance, face = np.full(len(directions), np.inf), np.zeros(len(directions), dtype=np.int64)
    if not len(outside):
        return distance, face
    # A ray crosses a plane at 1 / slope. It is in the hull from the last plane that it comes in through to the first
    # one that it goes out through: from the least slope of the ones to the greatest of the others.
    slopes = (planes[:, :3] / np.where(room == 0, 1e-300, room)[:, None]) @ rotation.T
    inside = slopes[room >= 0].T
    coming = slopes[outside].T
    step = max(1, _MOST_NUMBERS // len(planes))
    for low in range(0, len(directions), step):
        rays = directions[low : low + step]
        entering = rays @ coming
        first = entering.argmin(axis=1)
        least = entering[np.arange(len(rays)), first]
        hit = (least > 0) & (least >= (rays @ inside).max(axis=1, initial=0.0))
        distance[low : low + step][hit] = 1.0 / least[hit]
        face[low : low + step] = outside[first]
    return distance, face


def hull_normal(planes: np.ndarray, rotation: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return the outward unit normals in the world, ``float64[N, 3]``, of faces from :func:`hull_entry`."""
    return planes[face, :3] @ rotation.T
