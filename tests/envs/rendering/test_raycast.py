import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
suite = pytest.importorskip("dm_control.suite")
from bisimgym.envs.distractions.camera import CameraWalk, is_overhead, look_at  # noqa: E402
from bisimgym.envs.rendering.look import (  # noqa: E402
    CameraPose,
    Look,
    SceneLister,
    camera_pose,
)
from bisimgym.envs.rendering.probe import probe  # noqa: E402
from bisimgym.envs.rendering.raycast import RaycastRenderer  # noqa: E402
from bisimgym.envs.rendering.tracing import Tracer  # noqa: E402

TASKS = {
    "ball_in_cup": "catch",
    "cartpole": "swingup",
    "cheetah": "run",
    "finger": "spin",
    "reacher": "easy",
    "walker": "walk",
}


#: Mean absolute differences to OpenGL, of 255, that were measured over states and poses, and a tenth more.
MOST_DIFFERENCE = {"ball_in_cup": 2.9, "cartpole": 4.3, "cheetah": 3.9, "finger": 3.7, "reacher": 5.1, "walker": 8.6}


SIX = list(MOST_DIFFERENCE)


needs_opengl = pytest.mark.skipif(probe().backend is None, reason=f"compares with OpenGL: {probe().explain()}")


#: Lights that add up to 1 everywhere.
BRIGHT = '<visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual>'


def states(domain, task, count, camera_id=0):
    """Yield model, data and a pose away from the camera's own, along an episode."""
    env = suite.load(domain, task, task_kwargs={"random": 1})
    env.reset()
    model, data = env.physics.model.ptr, env.physics.data.ptr
    rng = np.random.default_rng(0)
    spec = env.action_spec()
    for _ in range(count):
        overhead = is_overhead(camera_pose(data, camera_id))
        yield model, data, CameraWalk(model, data, camera_id, 0.3, True, not overhead, overhead, rng).pose(data)
        for _ in range(12):
            env.step(rng.uniform(spec.minimum, spec.maximum))


def compiled(text):
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def shown_geoms(renderer, data, pose):
    lister = SceneLister(renderer.model, renderer.camera_id)
    lister.update(data, Look(pose=pose))
    tracer = Tracer(renderer.model, renderer.height, renderer.width, renderer.camera_id)
    return tracer.trace(data, pose, *lister.contents()).shown_geom


def ray_geom(model, data, origin, direction):
    found = np.array([-1], dtype=np.int32)
    visible = np.array([1, 1, 1, 0, 0, 0], dtype=np.uint8)
    distance = mujoco.mj_ray(model, data, origin, direction, visible, 1, -1, found)
    return int(found[0]) if distance >= 0 else -1


def assert_shows_what_rays_meet(model, data, camera_id, pose, size=64):
    """Compare with ``mj_ray``, pixel by pixel. Scenes have single precision: edges may be a hair off."""
    renderer = RaycastRenderer(model, size, size, camera_id)
    shown = shown_geoms(renderer, data, pose)
    directions = Tracer(model, size, size, camera_id).camera_rays @ pose.rotation.T
    off = 0
    for geom, direction in zip(shown, directions, strict=True):
        if geom == -2 or geom == ray_geom(model, data, pose.position, direction):  # -2: a site or tendon is before it
            continue
        off += 1
        beside = [ray_geom(model, data, pose.position, direction + 1e-5 * np.array(d)) for d in _AROUND]
        assert geom in beside, (geom, beside)
    assert off <= 4
    return shown


_AROUND = list(itertools.product((-1, 0, 1), repeat=3))


class TestWhatIsSeen:
    @pytest.mark.parametrize("domain", SIX)
    def test_six_tasks(self, domain):
        seen = set()
        for model, data, pose in states(domain, TASKS[domain], 3):
            seen |= set(assert_shows_what_rays_meet(model, data, 0, camera_pose(data, 0)))
            seen |= set(assert_shows_what_rays_meet(model, data, 0, pose))
        assert len(seen - {-1, -2}) >= 4

    def test_height_fields(self):
        from bisimgym.envs.distracting_control.env import DistractingControlEnv

        env = DistractingControlEnv("quadruped", "escape", preset="clean", size=8)
        env.reset(seed=0)
        model, data = env.environment.physics.model.ptr, env.environment.physics.data.ptr
        terrain = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_HFIELD)
        for camera in (1, 2):
            shown = assert_shows_what_rays_meet(model, data, camera, camera_pose(data, camera), size=40)
            assert np.isin(shown, terrain).mean() > 0.1

    def test_meshes(self):
        model, data = compiled(
            """<mujoco><asset><mesh name="m" vertex="0 0 0  1 0 0  0 1 0  0 0 1"/></asset><worldbody>
            <camera pos="1 -3 2" xyaxes="1 .2 0 0 .5 1"/><geom type="plane" size="0 0 1"/>
            <geom type="mesh" mesh="m" pos=".4 0 .3" euler="20 30 40" rgba="1 0 0 1"/></worldbody></mujoco>"""
        )
        shown = assert_shows_what_rays_meet(model, data, 0, camera_pose(data, 0), size=40)
        assert (shown == 1).mean() > 0.02

    @pytest.mark.parametrize("size", ["1 .5 1", "0 0 1", "1 0 1"])
    @pytest.mark.parametrize("euler", ["0 0 0", "20 -35 50"])
    def test_planes_with_and_without_ends(self, size, euler):
        model, data = compiled(
            f"""<mujoco><worldbody><camera pos="0 -3 2" xyaxes="1 0 0 0 .5 1"/>
            <geom type="plane" size="{size}" euler="{euler}"/>
            <geom type="plane" size="2 2 1" pos="0 0 -.3"/></worldbody></mujoco>"""
        )
        shown = assert_shows_what_rays_meet(model, data, 0, camera_pose(data, 0), size=40)
        assert (shown == 0).mean() > 0.02

    def test_shapes_before_and_behind_the_camera_and_around_it(self):
        shapes = ("sphere", "capsule", "ellipsoid", "cylinder", "box")
        rng = np.random.default_rng(0)
        geoms = "".join(
            f'<geom type="{shape}" size=".3 .5 .2" pos="{x} {y} {z}" euler="{a} {b} 0"/>'
            for shape in shapes
            for x, y, z, a, b in np.concatenate([rng.uniform(-2, 2, (4, 3)), rng.uniform(0, 90, (4, 2))], axis=1)
        )
        model, data = compiled(f"<mujoco><worldbody><camera/>{geoms}</worldbody></mujoco>")
        seen = set()
        for target in ((1.0, 0.1, 0.2), (-1.0, 0.2, 0.3), (0.1, 1.0, 1.0)):
            free = (0.0, 0.0, 0.0)
            while min(np.linalg.norm(data.geom_xpos - free, axis=1)) < 0.9:
                free = tuple(rng.uniform(-3, 3, 3))
            pose = CameraPose(np.array(free), look_at(free, target))
            seen |= set(assert_shows_what_rays_meet(model, data, 0, pose, size=40))
        assert len(seen) > 6

    def test_sites_and_tendons_by_depth(self):
        model, data = compiled(
            """<mujoco><worldbody><camera pos="0 0 3"/><geom type="box" size=".1 .5 .1" rgba="1 0 0 1"/>
            <site name="a" pos="-.8 0 .5" size=".1" rgba="0 1 0 1"/><site name="b" pos=".8 0 .5" size=".1"/>
            <site name="c" pos="-.8 .3 -.5" size=".1"/><site name="d" pos=".8 .3 -.5" size=".1"/></worldbody>
            <tendon><spatial width=".05"><site site="a"/><site site="b"/></spatial>
            <spatial width=".05"><site site="c"/><site site="d"/></spatial></tendon></mujoco>"""
        )
        renderer = RaycastRenderer(model, 60, 60)
        shown = shown_geoms(renderer, data, camera_pose(data, 0)).reshape(60, 60)
        middle = shown[:, 30]
        assert set(middle.tolist()) == {-2, -1, 0}
        assert middle[30] == -2  # the tendon above the box
        hidden = round(30 - Tracer(model, 60, 60, 0).focal * 0.3 / 3.5)
        assert middle[hidden] == 0  # the one below it
        assert shown[hidden, 20] == -2  # which is seen beside the box

    def test_invisible_groups_and_geoms_are_not_drawn(self):
        model, data = compiled(
            """<mujoco><worldbody><camera pos="0 0 3"/><geom size=".5" group="4"/><geom size=".5" rgba="1 1 1 0"/>
            </worldbody></mujoco>"""
        )
        assert (shown_geoms(RaycastRenderer(model, 9, 9), data, camera_pose(data, 0)) == -1).all()

    @pytest.mark.parametrize("wrong", ['projection="orthographic"', 'sensorsize="1 1" resolution="9 9" focal="1 1"'])
    def test_other_cameras_are_refused(self, wrong):
        model, _ = compiled(f'<mujoco><worldbody><camera {wrong}/><geom size=".5"/></worldbody></mujoco>')
        with pytest.raises(ValueError, match="camera 0 must be in perspective"):
            RaycastRenderer(model, 9, 9)


@needs_opengl
class TestAgainstOpenGL:
    @pytest.mark.parametrize("domain", SIX)
    def test_images_of_the_six_tasks(self, domain):
        from bisimgym.envs.rendering.opengl import OpenGLRenderer

        differences = []
        for model, data, pose in states(domain, TASKS[domain], 2):
            renderers = RaycastRenderer(model, 84, 84), OpenGLRenderer(model, 84, 84)
            for look in (Look(), Look(pose=pose)):
                one, two = (renderer.render(data, look).astype(int) for renderer in renderers)
                differences.append(np.abs(one - two).mean())
        assert max(differences) < MOST_DIFFERENCE[domain]

    @pytest.mark.parametrize("size", ["1 .6", "0 0", "0 .6"])
    @pytest.mark.parametrize("uniform", ["true", "false"])
    @pytest.mark.parametrize("euler", ["0 0 0", "10 -25 30"])
    def test_textures_of_planes(self, size, uniform, euler):
        model, data = compiled(
            f"""<mujoco>{BRIGHT}<asset><texture name="t" type="2d" builtin="flat" width="64" height="64"/>
            <material name="m" texture="t" texuniform="{uniform}" texrepeat="1.5 1"/></asset><worldbody>
            <camera pos="0 -1 2" xyaxes="1 0 0 0 2 1"/>
            <geom type="plane" size="{size} 1" euler="{euler}" material="m"/></worldbody></mujoco>"""
        )
        pixels = np.zeros((64, 64, 3), dtype=np.uint8)
        pixels[:32, :32], pixels[:32, 32:] = (250, 20, 20), (20, 250, 20)
        pixels[32:, :32], pixels[32:, 32:] = (20, 20, 250), (200, 200, 20)
        assert _close_share(model, data, Look(textures={0: pixels})) > 0.85

    @pytest.mark.parametrize("target", list(itertools.chain(np.eye(3), -np.eye(3), [(1, 2, 0.5), (-2, 1, -1)])))
    def test_faces_of_the_sky(self, target):
        model, data = compiled(
            f"""<mujoco>{BRIGHT}<asset><texture type="skybox" builtin="flat" width="64" height="384"/></asset>
            <worldbody><camera fovy="80"/></worldbody></mujoco>"""
        )
        sky = np.zeros((6, 64, 64, 3), dtype=np.uint8)
        for face in range(6):
            sky[face] = 40 * face, 255 - 40 * face, 0
            sky[face, :32, :32, 2], sky[face, 32:, :32, 2] = 250, 120
        pose = CameraPose(np.zeros(3), look_at((0.0, 0.0, 0.0), tuple(float(t) for t in target)))
        assert _close_share(model, data, Look(pose=pose, sky=sky)) > 0.9

    def test_a_video_on_the_sky(self):
        model, data, pose = next(states("finger", "spin", 1))
        video = np.zeros((64, 64, 3), dtype=np.uint8)
        video[:32, :32], video[32:, :32], video[:32, 32:] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
        rgba = model.mat_rgba.copy()
        rgba[0, 3] = 0.0  # no floor, no reflections
        for alpha in (1.0, 0.5):
            look = Look(pose=pose, video=video, video_alpha=alpha, material_rgba=rgba)
            assert _close_share(model, data, look, 84) > 0.8


def _close_share(model, data, look, size=48):
    """Return the share of pixels that both renderers draw alike."""
    from bisimgym.envs.rendering.opengl import OpenGLRenderer

    one, two = (r(model, size, size).render(data, look).astype(int) for r in (RaycastRenderer, OpenGLRenderer))
    assert len(np.unique(two.reshape(-1, 3), axis=0)) > 1
    return (np.abs(one - two).max(axis=-1) <= 12).mean()


def looks_of(model, data, rng):
    """Return looks that use everything a look has."""
    pose = CameraPose(data.cam_xpos[0] * 1.5, data.cam_xmat[0].reshape(3, 3).copy())
    clear = np.where([True, True, True, False], model.mat_rgba, 0.0)  # nothing with a material is there
    video = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pasted = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    floor_texture = int(np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_2D)[0])
    floor = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    sky = rng.integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)
    return [
        Look(),
        Look(pose=pose),
        Look(material_rgba=rng.random(model.mat_rgba.shape).astype(np.float32)),
        Look(material_rgba=clear),
        Look(material_rgba=clear, pose=pose),
        Look(video=video),
        Look(video=video, video_alpha=0.5, sky=sky),
        Look(sky=sky),
        Look(video=pasted, background_geoms=floor, video_alpha=0.3),
        Look(textures={floor_texture: rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)}),
        Look(),
    ]


class TestRenderer:
    @pytest.mark.parametrize("domain", ["ball_in_cup", "cartpole", "reacher"])
    def test_many_looks_equal_single_ones_by_fresh_renderers(self, domain):
        model, data, _ = next(states(domain, TASKS[domain], 1))
        looks = looks_of(model, data, np.random.default_rng(0))
        together = RaycastRenderer(model, 48, 48).render_many(data, looks)
        for image, look in zip(together, looks, strict=True):
            np.testing.assert_array_equal(image, RaycastRenderer(model, 48, 48).render(data, look))
        assert len({image.tobytes() for image in together}) >= (5 if domain == "reacher" else 8)  # no sky is seen
        np.testing.assert_array_equal(together[0], together[-1])

    @pytest.mark.parametrize("fails", [False, True])
    def test_model_and_data_stay_as_they_are(self, fails, monkeypatch):
        model, data, _ = next(states("cartpole", "swingup", 1))
        looks = looks_of(model, data, np.random.default_rng(0))
        renderer = RaycastRenderer(model, 48, 48)
        before = _bits(model, data)
        if fails:
            monkeypatch.setattr(mujoco, "mjv_updateScene", _fail)
        for look in looks:
            if fails:
                with pytest.raises(ZeroDivisionError):
                    renderer.render(data, look)
            else:
                renderer.render(data, look)
            assert _bits(model, data) == before
        with pytest.raises(ValueError, match="broadcast"):
            renderer.render(data, Look(material_rgba=np.zeros((1, 3)), pose=looks[1].pose))
        assert _bits(model, data) == before

    @pytest.mark.parametrize("headlight", [0, 1])
    def test_what_moves_is_never_stale(self, headlight):
        model, data = compiled(
            f"""<mujoco><visual><headlight active="{headlight}" ambient=".2 .2 .2"/></visual><asset>
            <texture name="s" type="skybox" builtin="gradient" rgb1="1 0 0" rgb2="0 0 1" width="16" height="96"/>
            <texture name="t" type="2d" builtin="checker" rgb1="1 1 1" rgb2="0 0 0" width="64" height="64"/>
            <material name="m" texture="t" specular="1"/></asset><worldbody>
            <light name="one" pos="0 0 1" ambient=".2 .2 .2"/><light name="two" pos="0 1 1" diffuse=".3 .3 .3"/>
            <camera pos="0 -2 2" xyaxes="1 0 0 0 1 1"/>
            <geom type="plane" size="2 1 1" pos=".1 0 0" euler="1 2 3" material="m"/>
            <geom name="ball" size=".2" pos="0 0 .5"/></worldbody></mujoco>"""
        )
        renderer = RaycastRenderer(model, 32, 32)
        last = renderer.render(data, Look())
        for array, index, value in (
            (model.light_pos, 0, (0.9, 0.0, 0.3)),
            (model.light_dir, 0, (0.6, 0.0, -0.8)),
            (model.light_pos, 1, (-0.9, 0.0, 0.3)),
            (model.geom_pos, 0, (0.3, 0.1, -0.1)),
            (model.geom_size, 0, (1.0, 0.5, 1.0)),
            (model.geom_quat, 0, (np.cos(0.2), np.sin(0.2), 0.0, 0.0)),
            (model.geom_pos, 1, (0.3, 0.1, 0.4)),
            (model.geom_rgba, 1, (1.0, 0.9, 0.0, 1.0)),
            (model.cam_pos, 0, (0.1, -2.0, 2.1)),
            (model.cam_quat, 0, (0.8, 0.6, 0.0, 0.0)),
        ):
            array[index] = value
            mujoco.mj_forward(model, data)
            image = renderer.render(data, Look())
            assert (image != last).any(), value
            np.testing.assert_array_equal(image, RaycastRenderer(model, 32, 32).render(data, Look()))
            last = image

    def test_the_sky_cache_forgets(self):
        model, data, _ = next(states("cartpole", "swingup", 1))
        renderer = RaycastRenderer(model, 24, 24)
        for angle in np.linspace(0.0, 1.0, 10):
            place = (4 * np.sin(angle), -4 * np.cos(angle), 1.0)
            look = Look(pose=CameraPose(np.array(place), look_at(place, (0.0, 0.0, 1.0))))
            np.testing.assert_array_equal(
                renderer.render(data, look), RaycastRenderer(model, 24, 24).render(data, look)
            )
        assert len(renderer._sky_cache) <= 8

    def test_images_need_not_be_square(self):
        model, data, _ = next(states("cartpole", "swingup", 1))
        wide, square = RaycastRenderer(model, 40, 60).render(data, Look()), RaycastRenderer(model, 40, 40)
        assert wide.shape == (40, 60, 3)
        np.testing.assert_array_equal(wide[:, 10:50], square.render(data, Look()))


def _fail(*arguments):
    raise ZeroDivisionError


def _bits(model, data):
    arrays = (model.mat_rgba, model.tex_data, model.tex_width, model.tex_height, model.geom_rgba, model.cam_pos)
    return [array.tobytes() for array in (*arrays, data.cam_xpos, data.cam_xmat, data.geom_xpos, data.qpos, data.qvel)]


def test_two_processes_draw_the_same_bits():
    script = """
import hashlib
from bisimgym.envs.distracting_control import DistractingControlEnv
digest = hashlib.sha256()
for domain, task in (("cartpole", "swingup"), ("reacher", "easy")):
    env = DistractingControlEnv(domain, task, preset="dcs-hard-dynamic", size=40)
    digest.update(env.reset(seed=3)[0])
    env.action_space.seed(0)
    for _ in range(5):
        digest.update(env.step(env.action_space.sample())[0])
print(digest.hexdigest())
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": str(i), "OMP_NUM_THREADS": str(i + 1)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    one, two = (process.communicate(timeout=120)[0] for process in running)
    assert len(one) == 65
    assert one == two
