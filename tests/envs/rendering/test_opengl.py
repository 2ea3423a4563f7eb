import os
import subprocess
import sys
import threading

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
suite = pytest.importorskip("dm_control.suite")

from bisimgym.envs.rendering.look import Look  # noqa: E402
from bisimgym.envs.rendering.probe import probe  # noqa: E402
from bisimgym.envs.rendering.raycast import RaycastRenderer  # noqa: E402

if probe().backend is None:
    pytest.skip(probe().explain(), allow_module_level=True)

from bisimgym.envs.rendering.opengl import OpenGLRenderer  # noqa: E402

SIX = {
    "ball_in_cup": "catch",
    "cartpole": "swingup",
    "cheetah": "run",
    "finger": "spin",
    "reacher": "easy",
    "walker": "walk",
}


def state(domain, steps=10):
    """Return an environment (which owns the model and the data), its model and its data."""
    env = suite.load(domain, SIX[domain], task_kwargs={"random": 1})
    env.reset()
    spec = env.action_spec()
    rng = np.random.default_rng(0)
    for _ in range(steps):
        env.step(rng.uniform(spec.minimum, spec.maximum))
    return env, env.physics.model.ptr, env.physics.data.ptr


def random_image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_standard_is_dm_control_to_the_bit():
    # In a process of its own: dm_control chooses its OpenGL when it is imported.
    script = f"""
import numpy as np
from dm_control import suite
from bisimgym.envs.rendering.look import Look
from bisimgym.envs.rendering.opengl import OpenGLRenderer
for domain, task in {list(SIX.items())}:
    env = suite.load(domain, task, task_kwargs=dict(random=1))
    env.reset()
    physics = env.physics
    renderer = OpenGLRenderer(physics.model.ptr, 48, 48, 0)
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    texture = int(np.flatnonzero(physics.model.tex_type == 0)[0])
    pattern = rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    mask = physics.model.geom_type == 0
    pasted = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    for state in range(2):
        clean = renderer.render(physics.data.ptr, Look())
        reference = physics.render(48, 48, camera_id=0)
        assert (clean == reference).all(), domain
        assert len(np.unique(clean.reshape(-1, 3), axis=0)) > 50
        for look in (
            Look(video=video), Look(video=video, video_alpha=0.4), Look(video=pasted, background_geoms=mask),
            Look(textures={{texture: pattern}}), Look(material_rgba=np.ones_like(physics.model.mat_rgba)),
        ):
            changed = (renderer.render(physics.data.ptr, look) != clean).any()
            assert changed or (domain == "reacher" and look.video is video)  # whose sky is out of sight
            assert (renderer.render(physics.data.ptr, Look()) == clean).all(), (domain, "is not clean again")
            assert (physics.render(48, 48, camera_id=0) == reference).all(), (domain, "dm_control sees it")
            if state or domain not in ("cartpole", "reacher"):  # the other looks are those of any task
                break
        for _ in range(5):
            env.step(rng.uniform(-1, 1, env.action_spec().shape))
print("equal")
"""
    environment = {**os.environ, "MUJOCO_GL": probe().backend}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=300)
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_fast_is_another_image():
    _env, model, data = state("walker")
    standard, fast = (
        OpenGLRenderer(model, 84, 84, 0, quality).render(data, Look()) for quality in ("standard", "fast")
    )
    difference = np.abs(standard.astype(int) - fast).mean()
    assert 1.0 < difference < 20.0


@pytest.mark.parametrize("domain", SIX)
@pytest.mark.parametrize("floor", [False, True])
def test_masks_agree_with_rays(domain, floor):
    _env, model, data = state(domain)
    video = np.zeros((84, 84, 3), dtype=np.uint8) + np.array([255, 0, 254], dtype=np.uint8)
    geoms = (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & floor
    look = Look(video=video, background_geoms=geoms)
    rays, opengl = (
        (renderer.render(data, look) == video).all(axis=-1)
        for renderer in (RaycastRenderer(model, 84, 84), OpenGLRenderer(model, 84, 84))
    )
    assert (rays == opengl).mean() >= 0.98
    if floor:
        assert 0.5 < opengl.mean() < 1.0


def test_a_mask_at_part_opacity_mixes():
    _env, model, data = state("cartpole")
    renderer = OpenGLRenderer(model, 84, 84)
    video, nothing = random_image(84), np.zeros(model.ngeom, dtype=bool)
    under, over, mixed = renderer.render_many(
        data,
        [
            Look(),
            Look(video=video, background_geoms=nothing),
            Look(video=video, background_geoms=nothing, video_alpha=0.25),
        ],
    )
    np.testing.assert_allclose(mixed, 0.75 * under + 0.25 * over, atol=0.51)


class TestUploads:
    @pytest.fixture
    def counted(self, monkeypatch):
        uploads = []
        upload = mujoco.mjr_uploadTexture
        monkeypatch.setattr(mujoco, "mjr_uploadTexture", lambda *a: (uploads.append(a[2]), upload(*a)))
        return uploads

    def test_a_clean_look_uploads_nothing(self, counted):
        _env, model, data = state("finger")
        renderer = OpenGLRenderer(model, 32, 32)
        for _ in range(3):
            renderer.render(data, Look())
        assert counted == []

    def test_a_still_image_is_uploaded_once(self, counted):
        _env, model, data = state("finger")
        renderer = OpenGLRenderer(model, 32, 32)
        video, floor = random_image(64), {1 - renderer._sky_id: random_image(300)}
        for alpha in (1.0, 0.5):
            counted.clear()
            for _ in range(4):
                renderer.render(data, Look(video=video, video_alpha=alpha, textures=floor))
            assert counted.count(renderer._sky_id) == 1
        counted.clear()
        renderer.render(data, Look(video=random_image(64, 1), textures=floor))
        assert counted == [renderer._sky_id]  # a new frame
        renderer.render(data, Look())
        assert sorted(counted[1:]) == [0, 1]  # all as it was

    def test_blends_start_from_the_clean_sky_each_time(self):
        _env, model, data = state("finger")
        used, fresh = OpenGLRenderer(model, 48, 48), OpenGLRenderer(model, 48, 48)
        for seed in range(3):
            used.render(data, Look(video=random_image(64, seed), video_alpha=0.5))
        look = Look(video=random_image(64, 9), video_alpha=0.5)
        np.testing.assert_array_equal(used.render(data, look), fresh.render(data, look))

    def test_a_sky_that_is_too_large(self):
        _env, model, data = state("finger")
        renderer = OpenGLRenderer(model, 32, 32)
        clean = renderer.render(data, Look())
        sky = np.zeros((6, 801, 801, 3), dtype=np.uint8)
        with pytest.raises(ValueError, match="a sky of 801 pixels does not fit .* room for 800"):
            renderer.render(data, Look(sky=sky))
        np.testing.assert_array_equal(renderer.render(data, Look()), clean)

    def test_a_model_without_a_sky(self):
        model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><camera/><geom size='.1'/></worldbody></mujoco>")
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        renderer = OpenGLRenderer(model, 32, 32)
        renderer.render(data, Look())
        with pytest.raises(ValueError, match="no sky texture .* use compositing='mask'"):
            renderer.render(data, Look(video=random_image(32)))


def test_terrain_that_a_task_changes_is_seen():
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><asset><hfield name="h" nrow="9" ncol="9" size="1 1 1 .1"/></asset><worldbody><light pos="1 0 3"/>
        <camera pos="0 -3 2" xyaxes="1 0 0 0 .5 1"/><geom type="hfield" hfield="h"/></worldbody></mujoco>"""
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = OpenGLRenderer(model, 32, 32)
    flat = renderer.render(data, Look())
    model.hfield_data[:] = np.random.default_rng(0).random(81)
    rough = renderer.render(data, Look())
    assert (rough != flat).mean() > 0.05
    np.testing.assert_array_equal(rough, OpenGLRenderer(model, 32, 32).render(data, Look()))


def test_the_callers_model_and_data_stay_as_they_are():
    _env, model, data = state("cartpole")
    renderer = OpenGLRenderer(model, 32, 32)
    arrays = (model.mat_rgba, model.tex_data, model.tex_width, model.tex_height, data.cam_xpos, data.cam_xmat)
    before = [array.tobytes() for array in arrays]
    renderer.render(data, Look(video=random_image(64), material_rgba=np.ones_like(model.mat_rgba)))
    with pytest.raises(ValueError, match="broadcast"):
        renderer.render(data, Look(material_rgba=np.ones((1, 3))))
    assert [array.tobytes() for array in arrays] == before


def test_closing_twice_and_two_contexts():
    _env, model, data = state("cartpole")
    one, two = OpenGLRenderer(model, 32, 32), OpenGLRenderer(model, 48, 48)
    first = one.render(data, Look())
    assert two.render(data, Look()).shape == (48, 48, 3)
    np.testing.assert_array_equal(one.render(data, Look()), first)
    one.close()
    one.close()
    assert two.render(data, Look()).any()


def in_another_thread(act):
    """Return what a function raises in a thread of its own, or None."""
    raised = []

    def run():
        try:
            act()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


@pytest.mark.skipif(probe().backend != "egl", reason="contexts of other backends may change threads")
def test_a_context_in_another_thread_is_explained():
    kept, model, data = state("cartpole")
    renderer = OpenGLRenderer(model, 16, 16)
    image = renderer.render(data, Look())
    error = in_another_thread(lambda: renderer.render(data, Look()))
    assert isinstance(error, RuntimeError)
    assert "belongs to another thread" in str(error)
    assert 'use renderer="raycast"' in str(error)
    assert "\n" not in str(error)
    np.testing.assert_array_equal(renderer.render(data, Look()), image)  # unharmed
    assert in_another_thread(renderer.close) is None
    with pytest.raises(ValueError, match="closed"):
        renderer.render(data, Look())
    assert in_another_thread(lambda: OpenGLRenderer(model, 16, 16).render(data, Look())) is None  # one of its own
    assert kept.physics.model.ptr is model
