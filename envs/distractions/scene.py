"""The distractions of one scene: what is drawn per episode, how it goes on, and how a frame is to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bisimgym.envs.distractions.camera import CameraWalk, is_overhead
from bisimgym.envs.distractions.colors import ColorWalk, palettes
from bisimgym.envs.distractions.playback import Playback
from bisimgym.envs.distractions.presets import Distraction
from bisimgym.envs.distractions.videos import Backgrounds
from bisimgym.envs.rendering.look import Look, camera_pose, sky_faces, texture_pixels
from bisimgym.envs.rendering.styles import SkyColors, recolored_checker

if TYPE_CHECKING:
    import mujoco

_NEUTRAL_FLOOR = np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]])


class DistractedScene:
    """What does not change between the episodes of an environment.

    The floor is what has the material ``grid``, as everywhere in dm_control's suite; in a model without one, all
    planes. The agent is what has a material whose name starts with ``self``.

    Args:
        model: of the task.
        settings: of the distractions.
        domain: the suite's domain, which some settings depend on; any other name for models from elsewhere.
        camera_id: the camera that images are drawn from.
        videos: backgrounds, square for the sky's texture or of the image's size for masks; ``None`` for none.

    Raises:
        ValueError: if the model lacks what the settings change.
    """

    def __init__(
        self, model: mujoco.MjModel, settings: Distraction, domain: str, camera_id: int, videos: Backgrounds | None
    ):
        import mujoco

        self.model, self.settings, self.camera_id, self.videos = model, settings, camera_id, videos
        self.domain = domain
        names = [model.material(i).name for i in range(model.nmat)]
        planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        if "grid" in names:
            self.floor_materials = np.array([names.index("grid")])
        else:
            self.floor_materials = np.unique(model.geom_matid[planes & (model.geom_matid >= 0)])
        self.floor_geoms = planes & (np.isin(model.geom_matid, self.floor_materials) | ("grid" not in names))
        self.agent_materials = np.array([i for i, name in enumerate(names) if name.startswith("self")], dtype=int)
        self.floor_textures = sorted(
            {int(t) for t in model.mat_texid[self.floor_materials, mujoco.mjtTextureRole.mjTEXROLE_RGB] if t >= 0}
        )
        self.floor_alpha = settings.floor_alpha_in(domain)
        self.pristine_colors = model.mat_rgba[:, :3].astype(np.float64)
        self._sky: SkyColors | None = None
        self._floors: dict[bytes, dict[int, np.ndarray]] = {}
        self._check()

    def _check(self) -> None:
        settings = self.settings
        faces = sky_faces(self.model)
        if settings.background > 0 and settings.compositing == "texture" and faces is None:
            raise ValueError("the model has no sky texture for videos to be on: use compositing='mask'")
        if settings.palette != "none" and faces is None:
            raise ValueError(f"palette={settings.palette!r} colors the sky, and the model has no sky texture")
        if self.floor_alpha < 1 and self.floor_geoms.any() and not len(self.floor_materials):
            raise ValueError(f"floor_alpha={self.floor_alpha} is that of the floor's material, and the floor has none")
        if settings.color > 0 and not self.model.nmat:
            raise ValueError("color > 0 changes the colors of materials, and the model has none")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "model": None}  # large; whoever has this object has the model too

    def background_geoms(self) -> np.ndarray | None:
        """Return ``bool[ngeom]``, the geoms that a mask counts as background, or ``None`` for videos on the sky."""
        if self.settings.compositing == "texture":
            return None
        replaces_floor = self.settings.replaces_floor_in(self.domain)
        return self.floor_geoms if replaces_floor else np.zeros(self.model.ngeom, dtype=bool)

    def recolored_floor(self, colors: np.ndarray) -> dict[int, np.ndarray]:
        """Return the floor's textures in two other colors, ``float[2, 3]``."""
        key = np.asarray(colors, dtype=np.float64).tobytes()
        if key not in self._floors:
            self._floors = {
                key: {t: recolored_checker(texture_pixels(self.model, t), colors) for t in self.floor_textures}
            }
        return self._floors[key]

    def recolored_sky(self, color: np.ndarray) -> np.ndarray:
        """Return the sky with another horizon color, ``uint8[6, n, n, 3]``."""
        if self._sky is None:
            faces = sky_faces(self.model)
            assert faces is not None, "checked at construction"
            self._sky = SkyColors(faces)
        return self._sky.recolored(color)


class SceneEpisode:
    """The distractions of one episode. They do not depend on what the agent does.

    Args:
        scene: of the environment.
        data: with the kinematics of the episode's first state computed.
        seeds: all that is random follows from them.
        number: of the episode, from 0, for videos in order.
    """

    def __init__(self, scene: DistractedScene, data: mujoco.MjData, seeds: np.random.SeedSequence, number: int):
        settings = scene.settings
        # Each kind has a stream of its own: switching one off leaves the others as they are. (Not by ``spawn``, which
        # gives others the second time.)
        streams = [
            np.random.default_rng(np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, kind)))
            for kind in range(4)
        ]
        video_rng, camera_rng, color_rng, palette_rng = streams
        self._scene = scene
        self._video = 0
        self._playback: Playback | None = None
        if scene.videos is not None:
            count = len(scene.videos.names)
            drawn = int(video_rng.integers(count))
            self._video = number % count if settings.order == "cycle" else drawn
            frames = len(scene.videos.frames(self._video))
            self._playback = Playback(frames, settings.playback, video_rng, dynamic=settings.dynamic)
            if settings.start == "first":
                self._playback.index, self._playback.direction = 0, 1
        self._camera: CameraWalk | None = None
        if settings.camera > 0:
            down = is_overhead(camera_pose(data, scene.camera_id))
            self._camera = CameraWalk(
                scene.model, data, scene.camera_id, settings.camera, settings.dynamic, not down, down, camera_rng
            )
        self._colors: ColorWalk | None = None
        if settings.color > 0:
            self._colors = ColorWalk(scene.pristine_colors, settings.color, settings.dynamic, color_rng)
        self._palette = None
        if settings.palette != "none":
            choices = palettes(settings.palette)
            self._palette = choices[int(palette_rng.integers(len(choices)))]
        self._cached: tuple[Backgrounds | None, int, np.ndarray | None] = (None, -1, None)
        self._textures: dict[int, np.ndarray] = {}
        self._sky = None
        if self._palette is not None:
            self._textures = scene.recolored_floor(self._palette.floor)
            self._sky = scene.recolored_sky(self._palette.sky)
        elif settings.neutral_floor_in(scene.domain):
            self._textures = scene.recolored_floor(_NEUTRAL_FLOOR)

    def advance(self, control_steps: int) -> None:
        """Go on by one agent step, which took so many control steps."""
        settings = self._scene.settings
        if self._playback is not None:
            self._playback.advance(control_steps if settings.advance == "control" else 1)
        if self._camera is not None:
            self._camera.advance(control_steps)
        if self._colors is not None:
            self._colors.advance(control_steps)

    @property
    def shown(self) -> tuple[str, int] | None:
        """The name of the episode's video and the frame that is shown now, ``None`` without one."""
        if self._playback is None or self._scene.videos is None:
            return None
        return self._scene.videos.names[self._video], self._playback.index

    def look(self, data: mujoco.MjData, videos: Backgrounds | None = None) -> Look:
        """Return how the state in ``data`` is to look now.

        Args:
            data: with its kinematics computed.
            videos: the same videos at another size, for images of another size.
        """
        scene = self._scene
        return Look(
            pose=None if self._camera is None else self._camera.pose(data),
            material_rgba=self._materials(),
            textures=self._textures,
            sky=self._sky,
            video=self._frame(videos or scene.videos),
            video_alpha=scene.settings.background,
            background_geoms=None if self._playback is None else scene.background_geoms(),
        )

    def _frame(self, videos: Backgrounds | None) -> np.ndarray | None:
        """Return the frame that is shown now: the same object as long as it is the same frame."""
        if self._playback is None or videos is None:
            return None
        shown_videos, shown_index, frame = self._cached
        if shown_videos is not videos or shown_index != self._playback.index:
            frame = videos.frames(self._video)[self._playback.index]
            self._cached = (videos, self._playback.index, frame)
        return frame

    def _materials(self) -> np.ndarray | None:
        scene = self._scene
        if self._colors is None and self._palette is None and scene.floor_alpha == 1.0:
            return None
        rgba = scene.model.mat_rgba.copy()
        if self._colors is not None:
            rgba[:, :3] = self._colors.colors
        if self._palette is not None:
            rgba[scene.agent_materials, :3] = self._palette.agent
        rgba[scene.floor_materials, 3] = scene.floor_alpha
        return rgba
