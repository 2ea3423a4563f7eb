"""A renderer with no OpenGL: one ray per pixel, shaded with numpy.

What there is to see, with its colours, lights and slack tendons, comes from MuJoCo's abstract scene
(``mjv_updateScene``), which needs no OpenGL. Planes and the shapes of :mod:`bisimgym.envs.rendering.shapes` are met in
closed form, each only in the part of the picture where its bounds are; meshes and height fields ray by ray, slowly.

Beside OpenGL's *standard* quality, what is missing: shadows, reflections, smooth edges, skins, pictures on anything
but planes and the sky, objects behind a translucent object, and planes from below. The same state gives the same bits
in every process of a machine.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from bisimgym.envs.distractions.camera import CameraPose, camera_pose
from bisimgym.envs.rendering import shapes
from bisimgym.envs.rendering.look import Look, SceneLister, resize_area, sky_faces, texture_pixels

_PLANE, _CAPSULE, _CYLINDER = (
    int(t) for t in (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER)
)
#: Shapes that have no closed form here: MuJoCo meets them ray by ray.
_SURFACES = {
    int(mujoco.mjtGeom.mjGEOM_MESH): mujoco.mj_rayMesh,
    int(mujoco.mjtGeom.mjGEOM_HFIELD): mujoco.mj_rayHfield,
}
_GEOM_OBJECT, _TENDON_OBJECT = int(mujoco.mjtObj.mjOBJ_GEOM), int(mujoco.mjtObj.mjOBJ_TENDON)
_RGB_ROLE = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
_SPOT, _DIRECTIONAL = int(mujoco.mjtLightType.mjLIGHT_SPOT), int(mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
#: Faces of the clean sky are kept at this size, about that of a pixel of an 84 x 84 picture with 45 degrees.
_SKY_SIZE = 200


@dataclass(frozen=True)
class _Layer:
    """Pixels that show surfaces, and what is needed to shade them."""

    pixels: np.ndarray  # int[K], flat indices
    drawn: np.ndarray  # int[K] rows of the scene's geoms; or one int for all
    diffuse: list[np.ndarray]  # per light, float32[K] or a scalar: cosine times the light's own falloff
    shine: list[np.ndarray]  # per light, float32[K] or a scalar: cosine of the half vector
    texture_index: np.ndarray | None = None  # int[K], flat indices into the texture's pyramid
    texture: int = -1


@dataclass(frozen=True)
class _Trace:
    """What is seen from one pose, whatever it looks like."""

    rotation_key: bytes
    directions: np.ndarray  # float64[H * W, 3]
    planes: list[_Layer]
    objects: _Layer | None
    shown_geom: np.ndarray  # int32[H * W]: geom id, -1 where the sky, -2 where a site or tendon


class RaycastRenderer:
    """See the module.

    Args:
        model: the model to draw.
        height, width: of the pictures, in pixels.
        camera_id: whose pose (unless a :class:`Look` gives one) and field of view are used.

    Raises:
        ValueError: for a camera that is not given by its vertical field of view.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, camera_id: int = 0):
        self.model = model
        self.height, self.width, self.camera_id = height, width, camera_id
        perspective = model.cam_projection[camera_id] == mujoco.mjtProjection.mjPROJ_PERSPECTIVE
        if not perspective or model.cam_sensorsize[camera_id].any():
            raise ValueError(f"camera {camera_id} must be in perspective, with fovy and no sensorsize, or use OpenGL")
        scale = np.tan(np.deg2rad(model.cam_fovy[camera_id]) / 2)
        self._focal = height / 2 / scale  # pixels
        x = (np.arange(width) + 0.5 - width / 2) / self._focal
        y = -(np.arange(height) + 0.5 - height / 2) / self._focal
        rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], -1.0), axis=-1).reshape(-1, 3)
        self._camera_rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        self._lister = SceneLister(model, camera_id)
        self._grid = np.arange(height * width).reshape(height, width)
        self._pyramids: dict[int, _Pyramid] = {}
        self._replaced: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._replaced_sky: tuple[np.ndarray, np.ndarray] | None = None
        self._plane_cache: tuple[bytes, list[_Layer]] = (b"", [])
        self._sky_cache: dict[tuple[bytes, int], tuple[np.ndarray, np.ndarray]] = {}

    @functools.cached_property
    def _sky(self) -> np.ndarray | None:
        return _small_sky(sky_faces(self.model))

    def render(self, data: mujoco.MjData, look: Look) -> np.ndarray:
        """Return ``uint8[height, width, 3]``, top row first."""
        return self.render_many(data, [look])[0]

    def render_many(self, data: mujoco.MjData, looks: Sequence[Look]) -> np.ndarray:
        """Return ``uint8[N, height, width, 3]``. Looks with one pose share the casting of rays."""
        pictures = np.empty((len(looks), self.height, self.width, 3), dtype=np.uint8)
        trace, traced = None, None
        for i, look in enumerate(looks):
            pose = look.pose or camera_pose(data, self.camera_id)
            self._update_scene(data, look)
            # Looks may differ in what is there at all: MuJoCo leaves out what is wholly transparent.
            seen = pose.position.tobytes(), pose.rotation.tobytes(), [(g.objtype, g.objid) for g in self._geoms]
            if seen != traced:
                trace, traced = self._trace(data, pose), seen
            pictures[i] = self._shade(trace, look).reshape(self.height, self.width, 3)
        return pictures

    def close(self) -> None:
        """Nothing to free."""

    # What is seen: depends on the state and the pose only.

    def _update_scene(self, data: mujoco.MjData, look: Look) -> None:
        self._lister.update(data, look)
        scene = self._lister.scene
        geoms, lights = scene.geoms, scene.lights
        self._geoms = [geoms[i] for i in range(scene.ngeom)]
        self._lights = [lights[i] for i in range(scene.nlight)]

    def _trace(self, data: mujoco.MjData, pose: CameraPose) -> _Trace:
        directions = self._camera_rays @ pose.rotation.T
        planes = self._planes(data, pose, directions)
        shown = np.full(len(directions), -1, dtype=np.int32)
        for layer in planes:
            shown[layer.pixels] = self._geoms[layer.drawn].objid
        objects = self._objects(data, pose, directions, shown)
        return _Trace(pose.rotation.tobytes(), directions, planes, objects, shown)

    def _planes(self, data: mujoco.MjData, pose: CameraPose, directions: np.ndarray) -> list[_Layer]:
        rows = [i for i, g in enumerate(self._geoms) if g.type == _PLANE and g.objtype == _GEOM_OBJECT]
        ids = [self._geoms[i].objid for i in rows]
        places = [a[ids].tobytes() for a in (data.geom_xpos, data.geom_xmat, self.model.geom_size)]
        lights = [array.tobytes() for light in self._lights for array in (light.pos, light.dir)]
        key = b"".join([np.array(rows).tobytes(), pose.position.tobytes(), pose.rotation.tobytes(), *places, *lights])
        if key != self._plane_cache[0]:
            self._plane_cache = (key, self._trace_planes(data, pose, directions, rows, ids))
        return self._plane_cache[1]

    def _trace_planes(self, data, pose, directions, rows, ids) -> list[_Layer]:
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
            layers.append(_Layer(pixels, row, diffuse, shine, index, texture))
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
        pyramid = self._pyramid(texture)
        # A pixel covers a spot that is stretched along the line of sight: the mean of its two axes is looked up.
        footprint = distance / self._focal / np.sqrt(np.maximum(-slant, 1e-3))
        u, v = (local[:, 0] + size[0]) * repeat[0] + shift, (size[1] - local[:, 1]) * repeat[1] + shift
        return texture, pyramid.index(u, v, footprint * repeat.max())

    def _pyramid(self, texture: int) -> _Pyramid:
        if texture not in self._pyramids:
            self._pyramids[texture] = _Pyramid(texture_pixels(self.model, texture))
        return self._pyramids[texture]

    def _objects(self, data, pose, directions, shown) -> _Layer | None:
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
                    place = geom.size.astype(np.float64), geom.pos.astype(np.float64), geom.mat.astype(np.float64)
                    distance = shapes.entry_distance(geom.type, *place, pose.position, directions[around])
                    self._show(row, around, distance, depth, owner)
            elif geom.objtype == _GEOM_OBJECT and geom.type in _SURFACES:
                around = self._pixels_of([self._window(geom, pose)])
                distance = _surface_distance(self.model, data, geom, pose.position, directions[around])
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
                place = geom.size.astype(np.float64), geom.pos.astype(np.float64), geom.mat.astype(np.float64)
                normals[where] = shapes.surface_normal(geom.type, *place, points[where])
            else:
                normals[where] = _surface_normals(self.model, data, geom, pose.position, views[where])
        ids = np.array([g.objid if g.objtype == _GEOM_OBJECT else -2 for g in self._geoms])
        shown[pixels] = ids[rows]
        diffuse, shine = self._lighting(points, normals, views)
        return _Layer(pixels, rows, diffuse, shine)

    def _show(self, row, around, distance, depth, owner) -> None:
        """Let a surface be seen where it is nearer than what was seen so far."""
        nearer = distance < depth[around]
        where = around[nearer]
        depth[where], owner[where] = distance[nearer], row

    def _show_strings(self, rows, pose, directions, depth, owner) -> None:
        """Draw tendons: chains of many small capsules, met all at once."""
        geoms = [self._geoms[row] for row in rows]
        around = self._pixels_of([self._window(geom, pose) for geom in geoms])
        if not len(around):
            return
        centres = np.array([g.pos for g in geoms], dtype=np.float64)
        halves = np.array([g.mat[:, 2] * g.size[2] for g in geoms], dtype=np.float64)
        radii = np.array([g.size[0] for g in geoms], dtype=np.float64)
        distance = shapes.capsules_distance(
            radii, centres - halves, centres + halves, pose.position, directions[around]
        )
        nearest = distance.argmin(axis=0)
        distance = distance[nearest, np.arange(len(around))]
        nearer = distance < depth[around]
        where = around[nearer]
        depth[where], owner[where] = distance[nearer], np.array(rows)[nearest[nearer]]

    def _pixels_of(self, windows: Sequence[tuple[slice, slice]]) -> np.ndarray:
        """Return the flat indices of the pixels in any of the windows."""
        if len(windows) == 1:
            return self._grid[windows[0]].ravel()
        covered = np.zeros((self.height, self.width), dtype=bool)
        for window in windows:
            covered[window] = True
        return np.flatnonzero(covered)

    def _window(self, geom, pose: CameraPose) -> tuple[slice, slice]:
        """Return the rows and columns of the picture that can show a geom of the scene."""
        size = geom.size
        if geom.type in (_CAPSULE, _CYLINDER):
            # Two balls at the ends bound it closer than one around it.
            radius = float(size[0]) * (1.0 if geom.type == _CAPSULE else 1.4143)
            axis = geom.mat.reshape(3, 3)[:, 2] * size[2]
            centres = (geom.pos - axis, geom.pos + axis)
        elif geom.objtype == _GEOM_OBJECT:
            radius, centres = float(self.model.geom_rbound[geom.objid]), (geom.pos,)
        else:
            radius, centres = float(np.linalg.norm(size)), (geom.pos,)
        top, bottom, left, right = self.height, 0, self.width, 0
        for centre in centres:
            x, y, z = ((centre - pose.position) @ pose.rotation).tolist()
            near = -z - radius
            if near <= 0:
                if -z + radius < 0 and len(centres) == 1:
                    return slice(0, 0), slice(0, 0)  # behind the camera
                return slice(0, self.height), slice(0, self.width)
            far = -z + radius
            one, two = x - radius, x + radius
            left = min(left, int(self.width / 2 + self._focal * one / (near if one < 0 else far)) - 1)
            right = max(right, int(self.width / 2 + self._focal * two / (near if two > 0 else far)) + 2)
            one, two = -y - radius, -y + radius
            top = min(top, int(self.height / 2 + self._focal * one / (near if one < 0 else far)) - 1)
            bottom = max(bottom, int(self.height / 2 + self._focal * two / (near if two > 0 else far)) + 2)
        top, left = max(top, 0), max(left, 0)
        return slice(top, max(min(bottom, self.height), top)), slice(left, max(min(right, self.width), left))

    def _lighting(self, points, normals, views) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return for each light the diffuse factor and the cosine between normal and half vector."""
        diffuse, shine = [], []
        for light in self._lights:
            direction = light.dir.astype(np.float64)
            falloff = 1.0
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

    # What it looks like.

    def _shade(self, trace: _Trace, look: Look) -> np.ndarray:
        on_sky = look.video is not None and look.background_geoms is None
        picture = self._sky_picture(trace, look, on_sky)
        for layer in trace.planes:
            self._paint(picture, layer, look)
        if trace.objects is not None:
            self._paint(picture, trace.objects, look)
        if look.video is not None and not on_sky:
            behind = np.append(look.background_geoms, [False, True])[trace.shown_geom]  # -1 the sky, -2 sites
            _blend(picture, np.flatnonzero(behind), look.video.reshape(-1, 3), look.video_alpha)
        return picture

    def _sky_picture(self, trace: _Trace, look: Look, on_sky: bool) -> np.ndarray:
        video = look.video if on_sky else None
        if video is not None and look.video_alpha == 1.0:
            return video.reshape(-1, 3)[self._sky_index(trace, video.shape[0])[1]]
        if look.sky is None:
            sky = self._sky
        else:
            if self._replaced_sky is None or self._replaced_sky[0] is not look.sky:
                self._replaced_sky = (look.sky, _small_sky(look.sky))
            sky = self._replaced_sky[1]
        if sky is None:
            picture = np.zeros((len(trace.directions), 3), dtype=np.uint8)
        else:
            face, index = self._sky_index(trace, sky.shape[1])
            picture = sky.reshape(-1, 3)[face * sky.shape[1] ** 2 + index]
        if video is not None:
            index = self._sky_index(trace, video.shape[0])[1]
            picture = _mix(picture, video.reshape(-1, 3)[index], look.video_alpha)
        return picture

    def _sky_index(self, trace: _Trace, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the face of the sky and the flat index in it that each pixel shows."""
        key = (trace.rotation_key, size)
        if key not in self._sky_cache:
            if len(self._sky_cache) >= 8:  # a moving camera has a new orientation at every frame
                self._sky_cache.clear()
            self._sky_cache[key] = _cube_lookup(trace.directions, size)
        return self._sky_cache[key]

    def _paint(self, picture: np.ndarray, layer: _Layer, look: Look) -> None:
        if isinstance(layer.drawn, int):
            rows, unique = slice(None), [layer.drawn]
        else:
            rows, unique = layer.drawn, range(len(self._geoms))
        geoms = [self._geoms[i] for i in unique]
        rgba = np.array([g.rgba for g in geoms], dtype=np.float32)[rows]
        gloss = np.array([(g.specular, 128.0 * g.shininess, g.emission) for g in geoms], dtype=np.float32)[rows]
        rgb, alpha = rgba[:, :3], rgba[:, 3]
        specular, shininess = gloss[:, 0], gloss[:, 1]
        total = rgb * gloss[:, 2:3]
        lit = np.zeros((len(layer.pixels), 3), dtype=np.float32)
        for light, diffuse, shine in zip(self._lights, layer.diffuse, layer.shine, strict=True):
            part = rgb * (light.ambient + light.diffuse * diffuse[:, None])
            if light.specular.any():
                part = part + light.specular * (specular * shine**shininess)[:, None]
            if light.castshadow:
                # OpenGL adds lights that cast shadows one at a time, each cut off at full intensity.
                lit += np.minimum(part, 1.0)
            else:
                total = total + part
        lit += np.minimum(total, 1.0)
        if layer.texture_index is not None:
            lit *= self._texture_colors(layer, look)[layer.texture_index]
        color = np.minimum(lit, 1.0) * 255.0
        if (alpha < 1.0).any():
            color += (1.0 - alpha)[:, None] * (picture[layer.pixels] - color)
        picture[layer.pixels] = (color + 0.5).astype(np.uint8)

    def _texture_colors(self, layer: _Layer, look: Look) -> np.ndarray:
        replaced = look.textures.get(layer.texture)
        pyramid = self._pyramid(layer.texture)
        if replaced is None:
            return pyramid.colors
        known = self._replaced.get(layer.texture)
        if known is None or known[0] is not replaced:
            known = self._replaced[layer.texture] = (replaced, _Pyramid(replaced).colors)
        return known[1]


class _Pyramid:
    """A texture at several sizes, each half of the one before, in one array: far away, small ones are looked up."""

    def __init__(self, pixels: np.ndarray):
        size = 1 << (max(pixels.shape[:2]).bit_length() - 1)  # the power of two that loses less than a half
        levels = [_resize(pixels, size)]
        while len(levels[-1]) > 1:
            last = levels[-1]
            levels.append(last.reshape(len(last) // 2, 2, len(last) // 2, 2, 3).mean(axis=(1, 3)))
        self.size, self.depth = size, len(levels)
        self.starts = np.cumsum([0] + [level.shape[0] ** 2 for level in levels[:-1]])
        self.colors = np.concatenate([level.reshape(-1, 3) for level in levels]).astype(np.float32) / 255.0

    def index(self, u: np.ndarray, v: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """Return flat indices into ``colors``; coordinates and the width of a pixel in units of the texture."""
        level = np.clip(np.log2(np.maximum(footprint * self.size, 1.0)).round().astype(int), 0, self.depth - 1)
        width = self.size >> level
        column = np.minimum((u % 1.0 * width).astype(int), width - 1)
        row = np.minimum((v % 1.0 * width).astype(int), width - 1)
        return self.starts[level] + row * width + column


def _resize(pixels: np.ndarray, size: int) -> np.ndarray:
    square = pixels if pixels.shape[0] == pixels.shape[1] else None
    if square is None:
        rows = np.linspace(0, pixels.shape[0] - 1, max(pixels.shape[:2])).round().astype(int)
        columns = np.linspace(0, pixels.shape[1] - 1, max(pixels.shape[:2])).round().astype(int)
        square = pixels[rows][:, columns]
    return resize_area(square[None], size)[0].astype(np.float64)


def _surface_distance(model, data, geom, origin, directions) -> np.ndarray:
    ray = _SURFACES[geom.type]
    distance = np.array([ray(model, data, geom.objid, origin, direction) for direction in directions])
    return np.where(distance > 0, distance, np.inf)


def _surface_normals(model, data, geom, origin, directions) -> np.ndarray:
    ray, normals = _SURFACES[geom.type], np.zeros((len(directions), 3))
    for direction, normal in zip(directions, normals, strict=True):
        ray(model, data, geom.objid, origin, direction, normal)
    return normals


def _small_sky(faces: np.ndarray | None) -> np.ndarray | None:
    """Return the sky at the size at which it is looked up, as smooth as OpenGL's filters make it."""
    if faces is None or faces.shape[1] <= _SKY_SIZE:
        return faces
    soft = np.pad(resize_area(faces, _SKY_SIZE), ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge").astype(np.uint16)
    mean = (soft[:, :-1, :-1] + soft[:, 1:, :-1] + soft[:, :-1, 1:] + soft[:, 1:, 1:] + 2) // 4
    return np.ascontiguousarray(mean, dtype=np.uint8)


def _cube_lookup(directions: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the face of MuJoCo's sky (+x, -x, +z, -z, -y, +y) that each direction meets, and the flat index in it."""
    x, y, z = directions.T
    ax, ay, az = np.abs(x), np.abs(y), np.abs(z)
    along_x, along_y = (ax >= ay) & (ax >= az), (ay > ax) & (ay >= az)
    face = np.where(along_x, np.where(x > 0, 0, 1), np.where(along_y, np.where(y > 0, 5, 4), np.where(z > 0, 2, 3)))
    largest = np.maximum(np.maximum(ax, ay), az)
    across = np.choose(face, [y, -y, x, x, x, -x]) / largest
    down = np.choose(face, [-z, -z, -y, y, -z, -z]) / largest
    column, row = (np.clip(((c + 1) * (size / 2)).astype(int), 0, size - 1) for c in (across, down))
    return face, row * size + column


def _mix(under: np.ndarray, over: np.ndarray, alpha: float) -> np.ndarray:
    return (under + alpha * (over.astype(np.float32) - under) + 0.5).astype(np.uint8)


def _blend(picture: np.ndarray, pixels: np.ndarray, over: np.ndarray, alpha: float) -> None:
    picture[pixels] = over[pixels] if alpha == 1.0 else _mix(picture[pixels], over[pixels], alpha)
