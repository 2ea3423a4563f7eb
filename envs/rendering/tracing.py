"""What a camera sees of a state, by one ray per pixel: which surface, how it is lit, and where its texture is met.

Planes, the shapes of :mod:`bisimgym.envs.rendering.shapes` and convex hulls are met in closed form, each only in the
part of the image where its bounds are; meshes as they are and height fields ray by ray, slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from bisimgym.envs.rendering import hulls, shapes
from bisimgym.envs.rendering.look import CameraPose, as_drawn, resize_area, texture_pixels
from bisimgym.envs.rendering.pyramid import Pyramid

_PLANE, _CAPSULE, _CYLINDER = (
    int(t) for t in (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER)
)
_MESH = int(mujoco.mjtGeom.mjGEOM_MESH)
#: Shapes that have no closed form here: MuJoCo meets them ray by ray.
_SURFACES = {
    _MESH: mujoco.mj_rayMesh,
    int(mujoco.mjtGeom.mjGEOM_HFIELD): mujoco.mj_rayHfield,
}
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
_GEOM_OBJECT, _TENDON_OBJECT = int(mujoco.mjtObj.mjOBJ_GEOM), int(mujoco.mjtObj.mjOBJ_TENDON)
_RGB_ROLE = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
_SPOT, _DIRECTIONAL = int(mujoco.mjtLightType.mjLIGHT_SPOT), int(mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)


@dataclass(frozen=True)
class Layer:
    """Pixels that show surfaces, and what is needed to shade them."""

    pixels: np.ndarray  # int[K], flat indices
    drawn: np.ndarray  # int[K] rows of the scene's geoms; or one int for all
    diffuse: list[np.ndarray]  # per light, float32[K] or a scalar: cosine times the light's own falloff
    shine: list[np.ndarray]  # per light, float32[K] or a scalar: cosine of the half vector
    texture_index: np.ndarray | None = None  # int[K], flat indices into the texture's pyramid
    texture: int = -1


@dataclass(frozen=True)
class Trace:
    """What is seen from one pose, whatever it looks like."""

    rotation_key: bytes
    directions: np.ndarray  # float64[H * W, 3]
    planes: list[Layer]
    objects: Layer | None
    shown_geom: np.ndarray  # int32[H * W]: geom id, -1 where the sky, -2 where a site or tendon


class Tracer:
    """Traces rays through the pixels of one camera.

    Args:
        model: of the states.
        height, width: of the images, in pixels.
        camera_id: whose field of view is used.
        convex: whether meshes that have a convex hull are seen as it.

    Raises:
        ValueError: for a camera that is not given by its vertical field of view.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, camera_id: int, convex: bool = False):
        self.model, self.height, self.width, self.camera_id = model, height, width, camera_id
        perspective = model.cam_projection[camera_id] == mujoco.mjtProjection.mjPROJ_PERSPECTIVE
        if not perspective or model.cam_sensorsize[camera_id].any():
            raise ValueError(f"camera {camera_id} must be in perspective, with fovy and no sensorsize, or use OpenGL")
        self._look_through(float(model.cam_fovy[camera_id]))
        self._convex = convex
        self._hulls: dict[int, np.ndarray | None] = {}
        self._grid = np.arange(height * width).reshape(height, width)
        self._pyramids: dict[int, Pyramid] = {}
        self._geoms: list[Any] = []
        self._lights: list[Any] = []

    def _look_through(self, fovy: float) -> None:
        """Set the rays through the pixels for a vertical field of view in degrees."""
        self._fovy = fovy
        self.focal = self.height / 2 / np.tan(np.deg2rad(fovy) / 2)  # pixels
        x = (np.arange(self.width) + 0.5 - self.width / 2) / self.focal
        y = -(np.arange(self.height) + 0.5 - self.height / 2) / self.focal
        rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], -1.0), axis=-1).reshape(-1, 3)
        self.camera_rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        self._plane_cache: tuple[bytes, list[Layer]] = (b"", [])

    def trace(self, data: mujoco.MjData, pose: CameraPose, geoms: list[Any], lights: list[Any]) -> Trace:
        """Return what is seen of the geoms and lights of MuJoCo's abstract scene."""
        self._geoms, self._lights = geoms, lights
        if self._fovy != self.model.cam_fovy[self.camera_id]:
            self._look_through(float(self.model.cam_fovy[self.camera_id]))
        directions = self.camera_rays @ pose.rotation.T
        planes = self._planes(data, pose, directions)
        shown = np.full(len(directions), -1, dtype=np.int32)
        for layer in planes:
            shown[layer.pixels] = self._geoms[layer.drawn].objid
        objects = self._objects(data, pose, directions, shown)
        return Trace(pose.rotation.tobytes(), directions, planes, objects, shown)

    def _planes(self, data: mujoco.MjData, pose: CameraPose, directions: np.ndarray) -> list[Layer]:
        rows = [i for i, g in enumerate(self._geoms) if g.type == _PLANE and g.objtype == _GEOM_OBJECT]
        ids = [self._geoms[i].objid for i in rows]
        places = [a[ids].tobytes() for a in (data.geom_xpos, data.geom_xmat, self.model.geom_size)]
        lights = [array.tobytes() for light in self._lights for array in (light.pos, light.dir)]
        key = b"".join([np.array(rows).tobytes(), pose.position.tobytes(), pose.rotation.tobytes(), *places, *lights])
        if key != self._plane_cache[0]:
            self._plane_cache = (key, self._trace_planes(data, pose, directions, rows, ids))
        return self._plane_cache[1]

    def _trace_planes(self, data, pose, directions, rows, ids) -> list[Layer]:
        """Return a layer for each plane that is seen, without the parts behind other planes."""
        nearest = np.full(len(directions), np.inf)
        owner = np.full(len(directions), -1)
        for row, geom in zip(rows, ids, strict=True):
            frame = data.geom_xmat[geom].reshape(3, 3)
            offset = (pose.position - data.geom_xpos[geom]) @ frame
            along = directions @ frame
            with np.errstate(divide="ignore", invalid="ignore"):
                distance = -offset[2] / along[:, 2]
            # Planes are seen from above only.
            seen = (along[:, 2] < 0) & (distance > 0) & (distance < nearest)
            for axis in (0, 1):
                half = self.model.geom_size[geom, axis]
                if half > 0:  # 0 means without end
                    with np.errstate(invalid="ignore"):
                        seen &= np.abs(offset[axis] + distance * along[:, axis]) <= half
            nearest[seen], owner[seen] = distance[seen], row
        layers = []
        for row, geom in zip(rows, ids, strict=True):
            pixels = np.flatnonzero(owner == row)
            if not len(pixels):
                continue
            frame = data.geom_xmat[geom].reshape(3, 3)
            views, distance = directions[pixels], nearest[pixels]
            points = pose.position + distance[:, None] * views
            diffuse, shine = self._lighting(points, frame[:, 2][None], views)
            local = (points - data.geom_xpos[geom]) @ frame
            texture, index = self._plane_texture(row, geom, local, distance, views @ frame[:, 2])
            layers.append(Layer(pixels, row, diffuse, shine, index, texture))
        return layers

    def _plane_texture(self, row, geom, local, distance, slant) -> tuple[int, np.ndarray | None]:
        """Return the texture of a plane and where in its pyramid each pixel looks it up."""
        material = self._geoms[row].matid
        texture = int(self.model.mat_texid[material, _RGB_ROLE]) if material >= 0 else -1
        if texture < 0 or self.model.tex_type[texture] != mujoco.mjtTexture.mjTEXTURE_2D:
            return -1, None
        repeat = self.model.mat_texrepeat[material].astype(np.float64)
        # MuJoCo repeats a texture over the whole plane, or (uniform, or a plane without end) over two units of length;
        # it starts at the corner where x is least and y greatest, or, in a plane without end, half a texture further.
        size = self.model.geom_size[geom, :2]
        over = np.where((size > 0) & (not self.model.mat_texuniform[material]), 2 * size, 2.0)
        repeat = repeat / over
        shift = 0.0 if size.all() else 0.5
        pyramid = self.pyramid(texture)
        # A pixel covers a spot that is stretched along the line of sight: the mean of its two axes is looked up.
        footprint = distance / self.focal / np.sqrt(np.maximum(-slant, 1e-3))
        u, v = (local[:, 0] + size[0]) * repeat[0] + shift, (size[1] - local[:, 1]) * repeat[1] + shift
        return texture, pyramid.nearest(u, v, footprint * repeat.max())

    def pyramid(self, texture: int) -> Pyramid:
        if texture not in self._pyramids:
            self._pyramids[texture] = texture_pyramid(self.model, texture, texture_pixels(self.model, texture))
        return self._pyramids[texture]

    def _objects(self, data, pose, directions, shown) -> Layer | None:
        """Return the layer of all that is not a plane, and write what is seen into ``shown``."""
        depth = np.full(len(directions), np.inf)
        owner = np.full(len(directions), -1)
        strings: list[int] = []
        for row, geom in enumerate(self._geoms):
            if geom.objtype == _TENDON_OBJECT and geom.type == shapes.CAPSULE:
                strings.append(row)
            elif geom.type in shapes.SHAPES:
                around = self._pixels_of([self._window(geom, pose)])
                if len(around):
                    distance = shapes.entry_distance(geom.type, *_place(geom), pose.position, directions[around])
                    self._show(row, around, distance, depth, owner)
            elif geom.objtype == _GEOM_OBJECT and geom.type in _SURFACES:
                planes = self._hull(geom)
                if planes is None:
                    around = self._pixels_of([self._window(geom, pose)])
                    distance = _surface_distance(self.model, data, geom, pose.position, directions[around])
                else:
                    around = self._pixels_of([self._box_window(geom, pose)])
                    distance, _ = hulls.hull_entry(planes, *_place(geom)[1:], pose.position, directions[around])
                self._show(row, around, distance, depth, owner)
        if strings:
            self._show_strings(strings, pose, directions, depth, owner)
        pixels = np.flatnonzero(owner >= 0)
        if not len(pixels):
            return None
        rows, views = owner[pixels], directions[pixels]
        points = pose.position + depth[pixels, None] * views
        normals = np.empty_like(points)
        for row in np.unique(rows):
            geom, where = self._geoms[row], rows == row
            if geom.type in shapes.SHAPES:
                normals[where] = shapes.surface_normal(geom.type, *_place(geom), points[where])
            elif (planes := self._hull(geom)) is not None:
                _, position, rotation = _place(geom)
                _, face = hulls.hull_entry(planes, position, rotation, pose.position, views[where])
                normals[where] = hulls.hull_normal(planes, rotation, face)
            else:
                normals[where] = _surface_normals(self.model, data, geom, pose.position, views[where])
        ids = np.array([g.objid if g.objtype == _GEOM_OBJECT else -2 for g in self._geoms])
        shown[pixels] = ids[rows]
        diffuse, shine = self._lighting(points, normals, views)
        return Layer(pixels, rows, diffuse, shine)

    def _hull(self, geom) -> np.ndarray | None:
        """Return the planes of the hull that a geom of the scene is seen as, or ``None`` for its own surface."""
        if not self._convex or geom.type != _MESH:
            return None
        mesh = int(self.model.geom_dataid[geom.objid])
        if mesh not in self._hulls:
            self._hulls[mesh] = hulls.hull_planes(self.model, mesh)
        return self._hulls[mesh]

    def _show(self, row, around, distance, depth, owner) -> None:
        """Let a surface (or one for each pixel) be seen where it is nearer than what was seen so far."""
        nearer = distance < depth[around]
        where = around[nearer]
        depth[where], owner[where] = distance[nearer], np.broadcast_to(row, distance.shape)[nearer]

    def _show_strings(self, rows, pose, directions, depth, owner) -> None:
        """Draw tendons: chains of many small capsules, met all at once."""
        geoms = [self._geoms[row] for row in rows]
        around = self._pixels_of([self._window(geom, pose) for geom in geoms])
        if not len(around):
            return
        centers = np.array([g.pos for g in geoms], dtype=np.float64)
        halves = np.array([g.mat[:, 2] * g.size[2] for g in geoms], dtype=np.float64)
        radii = np.array([g.size[0] for g in geoms], dtype=np.float64)
        distance = shapes.capsules_distance(
            radii, centers - halves, centers + halves, pose.position, directions[around]
        )
        nearest = distance.argmin(axis=0)
        self._show(np.array(rows)[nearest], around, distance[nearest, np.arange(len(around))], depth, owner)

    def _pixels_of(self, windows: Sequence[tuple[slice, slice]]) -> np.ndarray:
        """Return the flat indices of the pixels in any of the windows."""
        if len(windows) == 1:
            return self._grid[windows[0]].ravel()
        covered = np.zeros((self.height, self.width), dtype=bool)
        for window in windows:
            covered[window] = True
        return np.flatnonzero(covered)

    def _window(self, geom, pose: CameraPose) -> tuple[slice, slice]:
        """Return the rows and columns of the image that can show a geom of the scene."""
        size = geom.size
        if geom.type in (_CAPSULE, _CYLINDER):
            # Two balls at the ends bound it closer than one around it.
            radius = float(size[0]) * (1.0 if geom.type == _CAPSULE else 1.4143)
            axis = geom.mat.reshape(3, 3)[:, 2] * size[2]
            centers = [geom.pos - axis, geom.pos + axis]
        elif geom.objtype == _GEOM_OBJECT:
            radius, centers = float(self.model.geom_rbound[geom.objid]), [geom.pos]
        else:
            radius, centers = float(np.linalg.norm(size)), [geom.pos]
        top, bottom, left, right = self.height, 0, self.width, 0
        for center in centers:
            x, y, z = ((center - pose.position) @ pose.rotation).tolist()
            near = -z - radius
            if near <= 0:
                if -z + radius < 0 and len(centers) == 1:
                    return slice(0, 0), slice(0, 0)  # behind the camera
                return slice(0, self.height), slice(0, self.width)
            far = -z + radius
            one, two = x - radius, x + radius
            left = min(left, int(self.width / 2 + self.focal * one / (near if one < 0 else far)) - 1)
            right = max(right, int(self.width / 2 + self.focal * two / (near if two > 0 else far)) + 2)
            one, two = -y - radius, -y + radius
            top = min(top, int(self.height / 2 + self.focal * one / (near if one < 0 else far)) - 1)
            bottom = max(bottom, int(self.height / 2 + self.focal * two / (near if two > 0 else far)) + 2)
        top, left = max(top, 0), max(left, 0)
        return slice(top, max(min(bottom, self.height), top)), slice(left, max(min(right, self.width), left))

    def _box_window(self, geom, pose: CameraPose) -> tuple[slice, slice]:
        """Return the same from the box around a geom, which bounds long ones closer than a ball does."""
        box = self.model.geom_aabb[geom.objid].astype(np.float64)
        corners = (box[:3] + _CORNERS * box[3:]) @ geom.mat.T + geom.pos
        x, y, z = ((corners - pose.position) @ pose.rotation).T
        if (z > -1e-3).any():  # beside or behind the camera
            return self._window(geom, pose)
        columns, rows = self.width / 2 - self.focal * x / z, self.height / 2 + self.focal * y / z
        left, right = np.clip([columns.min(), columns.max() + 1], 0, self.width).astype(int)
        top, bottom = np.clip([rows.min(), rows.max() + 1], 0, self.height).astype(int)
        return slice(top, bottom), slice(left, right)

    def _lighting(self, points, normals, views) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return for each light the diffuse factor and the cosine between normal and half vector."""
        diffuse, shine = [], []
        for light in self._lights:
            direction = light.dir.astype(np.float64)
            falloff: np.ndarray | float = 1.0
            if light.type == _DIRECTIONAL:
                towards = -direction[None]
            else:
                towards = light.pos - points
                reach = np.linalg.norm(towards, axis=1, keepdims=True)
                towards = towards / np.maximum(reach, 1e-9)
                if light.type == _SPOT:
                    cosine = -(towards @ direction)
                    inside = cosine >= np.cos(np.deg2rad(light.cutoff))
                    falloff = np.where(inside, np.maximum(cosine, 0.0) ** light.exponent, 0.0)
            half = towards - views
            half /= np.linalg.norm(half, axis=1, keepdims=True)
            facing = (normals * towards).sum(axis=1)
            lit = np.maximum(facing, 0.0) * falloff
            diffuse.append(lit.astype(np.float32))
            shine.append((np.maximum((normals * half).sum(axis=1), 0.0) * (lit > 0)).astype(np.float32))
        return diffuse, shine


def texture_pyramid(model: mujoco.MjModel, texture: int, pixels: np.ndarray) -> Pyramid:
    """Return the pixels of a texture, ``uint8[height, width, 3]`` of any size, as a pyramid of colors in [0, 1]."""
    side = max(pixels.shape[:2])
    rows, columns = (np.linspace(0, count - 1, side).round().astype(int) for count in pixels.shape[:2])
    size = 1 << (side.bit_length() - 1)  # the power of two that loses less than a half
    pyramid = Pyramid(resize_area(pixels[rows][None, :, columns], size)[0].astype(np.float64))
    pyramid.texels = as_drawn(model, texture, pyramid.texels / 255.0)
    return pyramid


def _place(geom) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the size, the position and the rotation of a geom of the scene."""
    return geom.size.astype(np.float64), geom.pos.astype(np.float64), geom.mat.astype(np.float64)


def _surface_distance(model, data, geom, origin, directions) -> np.ndarray:
    ray = _SURFACES[geom.type]
    distance = np.array([ray(model, data, geom.objid, origin, direction) for direction in directions])
    return np.where(distance > 0, distance, np.inf)


def _surface_normals(model, data, geom, origin, directions) -> np.ndarray:
    ray, normals = _SURFACES[geom.type], np.zeros((len(directions), 3))
    for direction, normal in zip(directions, normals, strict=True):
        ray(model, data, geom.objid, origin, direction, normal)
    return normals
