"""How a frame is to look: everything in it that does not follow from the physics, the camera's pose included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import mujoco

_MAX_SCENE_GEOMS = 2000


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


@dataclass(frozen=True)
class Look:
    """What a renderer draws a state with. ``None`` everywhere means: as the model says.

    Arrays are not copied: a renderer may remember them by identity, so give a new array for new contents.

    Attributes:
        pose: the camera's position and orientation.
        material_rgba: ``float32[nmat, 4]``, in [0, 1].
        textures: images in place of textures (the sky's apart), by texture id, ``uint8[height, width, 3]`` of the
            texture's own size.
        sky: ``uint8[6, n, n, 3]``, the six faces of the sky in MuJoCo's order.
        video: ``uint8[h, w, 3]``, the frame of a background video.
        video_alpha: opacity of the video over what is there without it, in [0, 1].
        background_geoms: ``bool[ngeom]``. If given, the video is pasted in the image's own coordinates (so it has
            the image's size) wherever the sky or one of these geoms is seen. If not, the video (square) is the
            texture of every face of the sky.
    """

    pose: CameraPose | None = None
    material_rgba: np.ndarray | None = None
    textures: Mapping[int, np.ndarray] = field(default_factory=dict)
    sky: np.ndarray | None = None
    video: np.ndarray | None = None
    video_alpha: float = 1.0
    background_geoms: np.ndarray | None = None


class Renderer(Protocol):
    """Draws states of one model, from one camera, at one size."""

    height: int
    width: int

    def render(self, data: mujoco.MjData, look: Look) -> np.ndarray:
        """Return ``uint8[height, width, 3]``, top row first. ``data`` is left as it was."""

    def render_many(self, data: mujoco.MjData, looks: Sequence[Look]) -> np.ndarray:
        """Return ``uint8[N, height, width, 3]``: one state in several looks."""

    def close(self) -> None:
        """Free what the renderer holds."""


class Supersampled:
    """Means of squares of what another renderer draws, so that what is thin is not lost in small images.

    Args:
        renderer: draws images that are ``factor`` times as high and wide.
        factor: pixels of its images along each side of a square.
    """

    def __init__(self, renderer: Renderer, factor: int):
        self.renderer, self.factor = renderer, factor
        self.height, self.width = renderer.height // factor, renderer.width // factor

    def render(self, data: mujoco.MjData, look: Look) -> np.ndarray:
        return self.render_many(data, [look])[0]

    def render_many(self, data: mujoco.MjData, looks: Sequence[Look]) -> np.ndarray:
        drawn = self.renderer.render_many(data, looks)
        squares = drawn.reshape(len(drawn), self.height, self.factor, self.width, self.factor, 3)
        return np.rint(squares.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)

    def close(self) -> None:
        self.renderer.close()


class SceneLister:
    """MuJoCo's list of what is drawn of a state in a look, which needs no OpenGL.

    Args:
        model: of the states.
        camera_id: the camera whose place the look's pose takes.

    Attributes:
        scene: the ``mujoco.MjvScene``, as of the last :meth:`update`.
    """

    def __init__(self, model: mujoco.MjModel, camera_id: int):
        import mujoco

        self._model, self._camera_id = model, camera_id
        self._option, self._perturbation, self._camera = mujoco.MjvOption(), mujoco.MjvPerturb(), mujoco.MjvCamera()
        self._camera.type, self._camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera_id
        self.scene = mujoco.MjvScene(model, _MAX_SCENE_GEOMS)

    def update(self, data: mujoco.MjData, look: Look) -> None:
        """List again. The model and the data are as they were afterwards, also after an error."""
        import mujoco

        model, camera = self._model, self._camera_id
        own = model.mat_rgba.copy(), data.cam_xpos[camera].copy(), data.cam_xmat[camera].copy()
        try:
            if look.material_rgba is not None:
                model.mat_rgba[:] = look.material_rgba
            if look.pose is not None:  # the headlight goes with the camera
                data.cam_xpos[camera], data.cam_xmat[camera] = look.pose.position, look.pose.rotation.ravel()
            mujoco.mjv_updateScene(
                model, data, self._option, self._perturbation, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self.scene
            )
        finally:
            model.mat_rgba[:], data.cam_xpos[camera], data.cam_xmat[camera] = own

    def contents(self) -> tuple[list[Any], list[Any]]:
        """Return the geoms and the lights of the scene."""
        geoms, lights = self.scene.geoms, self.scene.lights
        return [geoms[i] for i in range(self.scene.ngeom)], [lights[i] for i in range(self.scene.nlight)]


def sky_texture(model: mujoco.MjModel) -> int | None:
    """Return the id of the model's sky texture, or ``None``."""
    import mujoco

    found = np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    return int(found[0]) if len(found) else None


def texture_pixels(model: mujoco.MjModel, texture: int) -> np.ndarray:
    """Return a copy of a texture's pixels, ``uint8[height, width, 3]``.

    Raises:
        ValueError: if the texture does not have three channels.
    """
    height, width, channels = (int(a[texture]) for a in (model.tex_height, model.tex_width, model.tex_nchannel))
    if channels != 3:
        raise ValueError(f"texture {model.texture(texture).name!r} has {channels} channels; only RGB is supported")
    start = int(model.tex_adr[texture])
    return model.tex_data[start : start + height * width * 3].reshape(height, width, 3).copy()


def as_drawn(model: mujoco.MjModel, texture: int, colors: np.ndarray) -> np.ndarray:
    """Return colors of a texture in [0, 1], of any shape, as OpenGL uses them: those of sRGB textures are decoded."""
    import mujoco

    if model.tex_colorspace[texture] != mujoco.mjtColorSpace.mjCOLORSPACE_SRGB:
        return colors
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def sky_faces(model: mujoco.MjModel) -> np.ndarray | None:
    """Return the sky's pixels, ``uint8[6, n, n, 3]``, or ``None`` where the model has no sky.

    A sky of one face shows it on all six sides.
    """
    texture = sky_texture(model)
    if texture is None:
        return None
    pixels = texture_pixels(model, texture)
    faces = pixels.reshape(-1, pixels.shape[1], pixels.shape[1], 3)
    return np.repeat(faces, 6, axis=0) if len(faces) == 1 else faces


def resize_area(images: np.ndarray, size: int) -> np.ndarray:
    """Return square images ``uint8[N, n, n, 3]`` at ``size``, each pixel the mean of the area it covers."""
    factor, rest = divmod(images.shape[1], size)
    # Sums of whole squares are 15 times quicker. For other factors a mean can lie half between two integers, and
    # which one it is rounded to depends on how it was computed.
    if rest == 0 and (factor % 2 or factor & (factor - 1) == 0):
        return np.rint(_square_sums(images, factor) / factor**2).astype(np.uint8)
    edges = np.linspace(0, images.shape[1], size + 1)
    weights = np.clip(
        np.minimum(edges[1:, None], np.arange(1, images.shape[1] + 1))
        - np.maximum(edges[:-1, None], np.arange(images.shape[1])),
        0,
        None,
    )
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.einsum("iy,nyxc->nixc", weights, images, optimize=True)
    return np.ascontiguousarray(np.rint(np.einsum("jx,nixc->nijc", weights, rows, optimize=True)), dtype=np.uint8)


def _square_sums(images: np.ndarray, side: int) -> np.ndarray:
    """Return the sums over squares of so many pixels, ``uint32[N, n / side, n / side, C]``."""
    rows = images[:, ::side].astype(np.uint32)
    for i in range(1, side):
        rows += images[:, i::side]
    sums = rows[:, :, ::side].copy()
    for i in range(1, side):
        sums += rows[:, :, i::side]
    return sums
