"""A renderer with no OpenGL: one ray per pixel, shaded with numpy.

What there is to see, with its colors, lights and slack tendons, comes from MuJoCo's abstract scene
(``mjv_updateScene``), which needs no OpenGL. Planes and the shapes of :mod:`bisimgym.envs.rendering.shapes` are met in
closed form, as are convex hulls in place of meshes; meshes as they are and height fields ray by ray, slowly
(:mod:`bisimgym.envs.rendering.tracing`).

Beside OpenGL's *standard* quality, what is missing: shadows, reflections, smooth edges, skins, images on anything
but planes and the sky, objects behind a translucent object, and planes from below. The same state gives the same bits
in every process of a machine.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from bisimgym.envs.rendering.look import Look, SceneLister, camera_pose, resize_area, sky_faces
from bisimgym.envs.rendering.tracing import Layer, Trace, Tracer, texture_pyramid

#: Faces of the clean sky are kept at this size, about that of a pixel of an 84 x 84 image with 45 degrees.
_SKY_SIZE = 200


class RaycastRenderer:
    """See the module.

    Args:
        model: the model to draw.
        height, width: of the images, in pixels.
        camera_id: whose pose (unless a :class:`Look` gives one) and field of view are used.
        convex: whether meshes that have a convex hull, which are those that collide, are drawn as it.

    Raises:
        ValueError: for a camera that is not given by its vertical field of view.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, camera_id: int = 0, *, convex: bool = False):
        self.model = model
        self.height, self.width, self.camera_id = height, width, camera_id
        self._tracer = Tracer(model, height, width, camera_id, convex)
        self._lister = SceneLister(model, camera_id)
        self._replaced: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._replaced_sky: tuple[np.ndarray, np.ndarray | None] | None = None
        self._geoms: list[Any] = []
        self._lights: list[Any] = []
        self._sky_cache: dict[tuple[bytes, int], tuple[np.ndarray, np.ndarray]] = {}

    @functools.cached_property
    def _sky(self) -> np.ndarray | None:
        return _small_sky(sky_faces(self.model))

    def render(self, data: mujoco.MjData, look: Look) -> np.ndarray:
        return self.render_many(data, [look])[0]

    def render_many(self, data: mujoco.MjData, looks: Sequence[Look]) -> np.ndarray:
        """Return ``uint8[N, height, width, 3]``. Looks with one pose share the casting of rays."""
        images = np.empty((len(looks), self.height, self.width, 3), dtype=np.uint8)
        trace: Trace | None = None
        traced = None
        for i, look in enumerate(looks):
            pose = look.pose or camera_pose(data, self.camera_id)
            self._lister.update(data, look)
            self._geoms, self._lights = self._lister.contents()
            # Looks may differ in what is there at all: MuJoCo leaves out what is wholly transparent.
            seen = pose.position.tobytes(), pose.rotation.tobytes(), [(g.objtype, g.objid) for g in self._geoms]
            if trace is None or seen != traced:
                trace, traced = self._tracer.trace(data, pose, self._geoms, self._lights), seen
            images[i] = self._shade(trace, look).reshape(self.height, self.width, 3)
        return images

    def close(self) -> None:
        """Nothing to free."""

    def _shade(self, trace: Trace, look: Look) -> np.ndarray:
        on_sky = look.video is not None and look.background_geoms is None
        image = self._sky_image(trace, look, on_sky)
        for layer in trace.planes:
            self._paint(image, layer, look)
        if trace.objects is not None:
            self._paint(image, trace.objects, look)
        if look.video is not None and not on_sky:
            background = np.append(np.asarray(look.background_geoms), [False, True])  # -2 sites, -1 the sky
            behind = background[trace.shown_geom]
            over = look.video.reshape(-1, 3)[behind]
            image[behind] = over if look.video_alpha == 1.0 else _mix(image[behind], over, look.video_alpha)
        return image

    def _sky_image(self, trace: Trace, look: Look, on_sky: bool) -> np.ndarray:
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
            image = np.zeros((len(trace.directions), 3), dtype=np.uint8)
        else:
            face, index = self._sky_index(trace, sky.shape[1])
            image = sky.reshape(-1, 3)[face * sky.shape[1] ** 2 + index]
        if video is not None:
            index = self._sky_index(trace, video.shape[0])[1]
            image = _mix(image, video.reshape(-1, 3)[index], look.video_alpha)
        return image

    def _sky_index(self, trace: Trace, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the face of the sky and the flat index in it that each pixel shows."""
        key = (trace.rotation_key, size)
        if key not in self._sky_cache:
            if len(self._sky_cache) >= 8:  # a moving camera has a new orientation at every frame
                self._sky_cache.clear()
            self._sky_cache[key] = _cube_lookup(trace.directions, size)
        return self._sky_cache[key]

    def _paint(self, image: np.ndarray, layer: Layer, look: Look) -> None:
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
            color += (1.0 - alpha)[:, None] * (image[layer.pixels] - color)
        image[layer.pixels] = (color + 0.5).astype(np.uint8)

    def _texture_colors(self, layer: Layer, look: Look) -> np.ndarray:
        replaced = look.textures.get(layer.texture)
        pyramid = self._tracer.pyramid(layer.texture)
        if replaced is None:
            return pyramid.texels
        known = self._replaced.get(layer.texture)
        if known is None or known[0] is not replaced:
            known = self._replaced[layer.texture] = (
                replaced,
                texture_pyramid(self.model, layer.texture, replaced).texels,
            )
        return known[1]


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
