"""The literature's renderer: MuJoCo's own, by OpenGL.

``standard`` quality gives dm_control's pixels to the bit. ``fast`` leaves out shadows, reflections and multisampling,
which cost most where the processor draws (MuJoCo's shadow map alone has 2048 x 2048 pixels); it changes the image,
so results with one are not comparable to results with the other.
"""

from __future__ import annotations

import atexit
import copy
import threading
import weakref
from collections.abc import Sequence

import mujoco
import numpy as np

from bisimgym.envs.rendering import probe
from bisimgym.envs.rendering.look import Look, SceneLister, resize_area, sky_faces, sky_texture, texture_pixels

#: What was drawn with in contexts that another thread closed: left to the end of the process.
_LEFT: list[mujoco.MjrContext] = []
_GEOM_OBJECT = int(mujoco.mjtObj.mjOBJ_GEOM)


class OpenGLRenderer:
    """See the module. Textures are changed in a copy of the model: the caller's model stays as it is.

    Args:
        model: the model to draw.
        height, width: of the images, in pixels.
        camera_id: the camera to draw from.
        quality: "standard" or "fast".

    Raises:
        OpenGLUnavailable: if there is no OpenGL.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, camera_id: int = 0, quality: str = "standard"):
        backend = probe.require().backend
        assert backend is not None
        self.model = model
        self.height, self.width, self.camera_id = height, width, camera_id
        self._gl = probe.context_class(backend)(width, height)
        self._gl.make_current()
        self._thread = threading.get_ident()
        self._own = copy.copy(model)
        self._own.vis.global_.offwidth, self._own.vis.global_.offheight = width, height
        if quality == "fast":
            self._own.vis.quality.offsamples = self._own.vis.quality.shadowsize = 0
        self._context = mujoco.MjrContext(self._own, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._lister = SceneLister(model, camera_id)
        self._scene = self._lister.scene
        if quality == "fast":
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._sky_id = sky_texture(model)
        self._clean_sky = sky_faces(model)
        if self._sky_id is not None:
            self._sky_room = texture_pixels(model, self._sky_id).size
        self._resized: tuple[np.ndarray, np.ndarray] | None = None
        # What is on the GPU now, by the identity of the arrays that it was made of.
        self._sky_shown: tuple = (None, None, 1.0)
        self._textures_shown: dict[int, np.ndarray] = {}
        self._heights_shown = model.hfield_data.copy()
        # Before the interpreter ends, and so before the backend shuts OpenGL down under the context.
        atexit.register(_close_if_alive, weakref.ref(self))

    def render(self, data: mujoco.MjData, look: Look) -> np.ndarray:
        return self.render_many(data, [look])[0]

    def render_many(self, data: mujoco.MjData, looks: Sequence[Look]) -> np.ndarray:
        self._make_current()
        images = np.empty((len(looks), self.height, self.width, 3), dtype=np.uint8)
        for image, look in zip(images, looks, strict=True):
            self._show_sky(look)
            self._show_textures(look)
            self._show_heights()
            self._lister.update(data, look)
            image[:] = self._draw()
            if look.video is not None and look.background_geoms is not None:
                self._paste(image, look)
        return images

    def close(self) -> None:
        """Free the OpenGL context, from the thread that made it; another one leaves it to the end of the process."""
        if self._gl is not None:
            context, self._gl = self._gl, None
            try:
                context.make_current()
            except Exception:
                if threading.get_ident() == self._thread:
                    raise
                context.free()  # it goes when its thread lets go of it
                _LEFT.append(self._context)  # freeing what is not current here would reach into another context
                return
            self._context.free()
            context.free()

    def _make_current(self) -> None:
        if self._gl is None:
            raise ValueError("the renderer is closed: make a new one")
        try:
            self._gl.make_current()
        except Exception as error:
            if threading.get_ident() == self._thread:
                raise
            raise RuntimeError(
                "the OpenGL context of this environment belongs to another thread, the one that drew its first image "
                f"({type(error).__name__}): make, reset, step and close an environment in one thread, one environment "
                'per thread, or use renderer="raycast", which any thread may use'
            ) from error

    def __del__(self):
        if getattr(self, "_gl", None) is not None:
            self.close()

    def _draw(self) -> np.ndarray:
        viewport = mujoco.MjrRect(0, 0, self.width, self.height)
        mujoco.mjr_render(viewport, self._scene, self._context)
        image = np.empty((self.height, self.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(image, None, viewport, self._context)
        return image[::-1]

    def _paste(self, image: np.ndarray, look: Look) -> None:
        """Put the video where the background is, found by drawing every object in a color of its own."""
        flags = self._scene.flags
        before = flags.copy()
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        try:
            ids = self._draw().astype(np.int32) @ np.array([1, 1 << 8, 1 << 16])
        finally:
            flags[:] = before
        background = np.asarray(look.background_geoms)
        behind = np.zeros(self._scene.ngeom + 1, dtype=bool)  # 0 is nothing: the sky
        behind[0] = True
        for geom in (self._scene.geoms[i] for i in range(self._scene.ngeom)):
            if geom.objtype == _GEOM_OBJECT and geom.segid >= 0:
                behind[geom.segid + 1] = background[geom.objid]
        mask = behind[ids]
        assert look.video is not None
        under, over = image[mask].astype(np.float32), look.video[mask].astype(np.float32)
        image[mask] = (under + look.video_alpha * (over - under) + 0.5).astype(np.uint8)

    def _show_sky(self, look: Look) -> None:
        video = look.video if look.background_geoms is None else None
        wanted = (look.sky, video, look.video_alpha if video is not None else 1.0)
        shown = self._sky_shown
        if wanted[0] is shown[0] and wanted[1] is shown[1] and wanted[2] == shown[2]:
            return
        if self._sky_id is None:
            raise ValueError("the model has no sky texture to show a background on: use compositing='mask'")
        if video is not None and look.video_alpha == 1.0:
            faces = video[None]  # MuJoCo shows one face on all sides
        else:
            faces = np.asarray(self._clean_sky if look.sky is None else look.sky)
        if video is not None and look.video_alpha < 1.0:
            faces = self._resized_sky(faces, len(video))
            faces = (faces + look.video_alpha * (video.astype(np.float32) - faces) + 0.5).astype(np.uint8)
        count, size = faces.shape[:2]
        start = self._own.tex_adr[self._sky_id]
        if faces.size > self._sky_room:
            room = int(np.sqrt(self._sky_room / (3 * count)))
            raise ValueError(f"a sky of {size} pixels does not fit the model's sky texture, which has room for {room}")
        self._own.tex_width[self._sky_id], self._own.tex_height[self._sky_id] = size, count * size
        self._own.tex_data[start : start + faces.size] = faces.ravel()
        mujoco.mjr_uploadTexture(self._own, self._context, self._sky_id)
        self._sky_shown = wanted

    def _resized_sky(self, faces: np.ndarray, size: int) -> np.ndarray:
        if self._resized is None or self._resized[0] is not faces or self._resized[1].shape[1] != size:
            self._resized = (faces, resize_area(faces, size))
        return self._resized[1]

    def _show_textures(self, look: Look) -> None:
        for texture in set(look.textures) | set(self._textures_shown):
            wanted = look.textures.get(texture)
            if wanted is self._textures_shown.get(texture):
                continue
            pixels = texture_pixels(self.model, texture) if wanted is None else wanted
            start = self._own.tex_adr[texture]
            self._own.tex_data[start : start + pixels.size] = pixels.ravel()
            mujoco.mjr_uploadTexture(self._own, self._context, texture)
            if wanted is None:
                del self._textures_shown[texture]
            else:
                self._textures_shown[texture] = wanted

    def _show_heights(self) -> None:
        """Upload height fields that the task has changed, as some do at the start of an episode."""
        if not np.array_equal(self.model.hfield_data, self._heights_shown):
            self._heights_shown[:] = self.model.hfield_data
            for field in range(self.model.nhfield):
                mujoco.mjr_uploadHField(self.model, self._context, field)


def _close_if_alive(reference: weakref.ref[OpenGLRenderer]) -> None:
    renderer = reference()
    if renderer is not None:
        renderer.close()
