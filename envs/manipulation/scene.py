"""A robosuite scene as it is drawn: a copy of the task's model in other colors and lights, from another camera.

The task's own model is only read, so physics are the same whatever the scene looks like. Cast rays meet what
robosuite's robots collide with, the convex hulls of coarse meshes, in the colors of what OpenGL draws there: the meshes
that it draws have up to 350,000 faces.
"""

from __future__ import annotations

import copy

import mujoco
import numpy as np

from bisimgym.envs.manipulation.randomization import Camera, Colors, Lights, Pattern, patterned
from bisimgym.envs.rendering.look import Look, Renderer, as_drawn, texture_pixels

CAMERA = "agentview"
#: robosuite's groups of geoms: those that collide, those that are seen, and marks for its windows.
_COLLIDE, _SEEN = 0, 1
#: A group that MuJoCo does not draw unless told to.
_HIDDEN = 5
_MESH, _PLANE = int(mujoco.mjtGeom.mjGEOM_MESH), int(mujoco.mjtGeom.mjGEOM_PLANE)
_RGB_ROLE = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
#: Fields of the model by those of :class:`Lights`.
_LIGHT = {
    "position": "light_pos",
    "direction": "light_dir",
    "ambient": "light_ambient",
    "diffuse": "light_diffuse",
    "specular": "light_specular",
}
#: The color at which MuJoCo takes a geom's material for it.
_UNSET = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)


class DrawnScene:
    """See the module.

    Args:
        model: of the task. Its textures and meshes stay, its bodies may be moved between episodes.
        renderer: "raycast", "opengl" or "opengl-fast".

    Attributes:
        colors, lights, camera: of the scene as robosuite has it.
        textures: ids of the textures that are seen.
    """

    def __init__(self, model: mujoco.MjModel, renderer: str):
        self._task_model, self._renderer_name = model, renderer
        self._model: mujoco.MjModel = copy.copy(model)
        self._data = mujoco.MjData(self._model)
        self._camera_id = self._model.camera(CAMERA).id
        self._renderers: dict[int, Renderer] = {}
        self._pictures: dict[int, np.ndarray] = {}
        seen = model.geom_group == _SEEN
        self._textured = textures_of(model)
        self.textures = sorted({int(texture) for texture in self._textured[seen] if texture >= 0})
        self._flat = renderer == "raycast"
        self._means = np.ones((model.ntex + 1, 3))  # the last one is that of geoms without a texture
        self._stand_ins: dict[int, int] = {}
        if self._flat:
            self._stand_ins = stand_ins(model)
            self._means[self.textures] = [texture_pixels(model, t).mean(axis=(0, 1)) / 255 for t in self.textures]
        self._choose_geoms(seen)
        self.colors = Colors(shown_colors(model), _materials(model))
        self.lights = Lights(**{name: getattr(model, field).astype(np.float64) for name, field in _LIGHT.items()})
        self.camera = Camera(
            model.cam_pos[self._camera_id].copy(),
            model.cam_quat[self._camera_id].copy(),
            float(model.cam_fovy[self._camera_id]),
        )

    def begin(self, colors: Colors, lights: Lights, camera: Camera) -> None:
        """Start an episode: take over where the task has put its bodies, and change how all looks."""
        model = self._model
        model.body_pos[:], model.body_quat[:] = self._task_model.body_pos, self._task_model.body_quat
        model.mat_reflectance[:], model.mat_shininess[:], model.mat_specular[:] = colors.materials.T
        self._color_geoms(colors)
        plane_textures = self._textured[model.geom_type == _PLANE] if self._flat else self._textured
        self._pictures = {
            texture: patterned(texture_pixels(model, texture), pattern, colors.mix)
            for texture, pattern in colors.patterns.items()
            if texture in plane_textures
        }
        for name, field in _LIGHT.items():
            getattr(model, field)[:] = getattr(lights, name)
        at = self._camera_id
        model.cam_pos[at], model.cam_quat[at], model.cam_fovy[at] = camera.position, camera.quaternion, camera.fovy

    def image(self, data: mujoco.MjData, size: int) -> np.ndarray:
        """Return an image of a state of the task, ``uint8[size, size, 3]``, top row first."""
        own = self._data
        own.qpos[:], own.mocap_pos[:], own.mocap_quat[:] = data.qpos, data.mocap_pos, data.mocap_quat
        mujoco.mj_kinematics(self._model, own)
        mujoco.mj_comPos(self._model, own)
        mujoco.mj_camlight(self._model, own)
        return self._renderer(size).render(own, Look(textures=self._pictures))

    def close(self) -> None:
        """Free what the renderers hold."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers = {}

    def _choose_geoms(self, seen: np.ndarray) -> None:
        """Hide what is not drawn, and give what stands in for meshes their materials."""
        model = self._model
        model.site_group[:] = _HIDDEN
        model.geom_group[~seen] = _HIDDEN
        replaced = np.unique(model.geom_bodyid[list(self._stand_ins)])
        meshes = seen & (model.geom_type == _MESH)
        model.geom_group[meshes & np.isin(model.geom_bodyid, replaced)] = _HIDDEN
        for geom, of in self._stand_ins.items():
            model.geom_group[geom] = _SEEN
            model.geom_matid[geom] = model.geom_matid[of]

    def _color_geoms(self, colors: Colors) -> None:
        model = self._model
        textured = self._textured
        if self._flat:
            means = self._means.copy()
            for texture in self.textures:
                if texture in colors.patterns:
                    means[texture] = _mean_with(means[texture], colors.patterns[texture], colors.mix)
                means[texture] = as_drawn(model, texture, means[texture])
            # Only planes show textures: what else has one gets its mean color.
            flat = (textured >= 0) & (model.geom_type != _PLANE)
            rgb = np.where(flat[:, None], shown_colors(self._task_model) * means[textured], colors.geom_rgb)
            for geom, of in self._stand_ins.items():
                rgb[geom] = rgb[of]
            changed = flat | (textured < 0)
        else:
            rgb, changed = colors.geom_rgb, textured < 0
        model.geom_rgba[changed, :3] = rgb[changed]

    def _renderer(self, size: int) -> Renderer:
        if size not in self._renderers:
            if self._flat:
                from bisimgym.envs.rendering.raycast import RaycastRenderer

                self._renderers[size] = RaycastRenderer(self._model, size, size, self._camera_id, convex=True)
            else:
                from bisimgym.envs.rendering.opengl import OpenGLRenderer

                quality = "fast" if self._renderer_name == "opengl-fast" else "standard"
                self._renderers[size] = OpenGLRenderer(self._model, size, size, self._camera_id, quality)
        return self._renderers[size]


def textures_of(model: mujoco.MjModel) -> np.ndarray:
    """Return the id of the texture that each geom shows, ``int[ngeom]``, -1 without one."""
    textures = model.mat_texid[:, _RGB_ROLE]
    return np.where(model.geom_matid >= 0, textures[model.geom_matid], -1) if model.nmat else np.full(model.ngeom, -1)


def shown_colors(model: mujoco.MjModel) -> np.ndarray:
    """Return the color that MuJoCo draws each geom in, its texture apart, ``float64[ngeom, 3]``."""
    of_material = (model.geom_matid >= 0) & (model.geom_rgba == _UNSET).all(axis=1)
    colors = model.geom_rgba[:, :3].astype(np.float64)
    colors[of_material] = model.mat_rgba[model.geom_matid[of_material], :3]
    return colors


def stand_ins(model: mujoco.MjModel) -> dict[int, int]:
    """Return the geoms that are drawn in place of meshes, and the mesh that each has its color from.

    They are the geoms that collide, of bodies that have both; the mesh is the body's largest.
    """
    found: dict[int, int] = {}
    meshes = (model.geom_group == _SEEN) & (model.geom_type == _MESH)
    for body in np.unique(model.geom_bodyid[meshes]):
        own = np.flatnonzero(meshes & (model.geom_bodyid == body))
        largest = int(own[model.geom_rbound[own].argmax()])
        colliding = (model.geom_group == _COLLIDE) & (model.geom_bodyid == body)
        found |= {int(geom): largest for geom in np.flatnonzero(colliding)}
    return found


def _materials(model: mujoco.MjModel) -> np.ndarray:
    fields = (model.mat_reflectance, model.mat_shininess, model.mat_specular)
    return np.column_stack(fields).astype(np.float64)


def _mean_with(mean: np.ndarray, pattern: Pattern, mix: float) -> np.ndarray:
    return (1 - mix) * mean + mix * pattern.mean
