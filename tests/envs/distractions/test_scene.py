import collections

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
suite = pytest.importorskip("dm_control.suite")

from bisimgym.envs.distractions.presets import Distraction, distraction  # noqa: E402
from bisimgym.envs.distractions.scene import DistractedScene, SceneEpisode  # noqa: E402
from bisimgym.envs.distractions.videos import video_source  # noqa: E402

SEEDS = np.random.SeedSequence(3)


@pytest.fixture(scope="module")
def physics():
    """The physics of cartpole, for all tests: none may change it."""
    env = suite.load("cartpole", "swingup", task_kwargs={"random": 1})
    env.reset()
    return env.physics


def make(physics, settings, domain="cartpole", count=4):
    videos = video_source(split="train", size=(16, 16), count=count) if settings.background > 0 else None
    return DistractedScene(physics.model.ptr, settings, domain, 0, videos)


def begin(scene, physics, seeds=SEEDS, number=0):
    return SceneEpisode(scene, physics.data.ptr, seeds, number)


def compiled(text):
    return mujoco.MjModel.from_xml_string(text)


class TestWhatIsWhat:
    def test_in_the_suite(self, physics):
        scene = make(physics, Distraction())
        model = physics.model.ptr
        named = lambda ids: [model.material(i).name for i in ids]  # noqa: E731
        assert named(scene.floor_materials) == ["grid"]
        assert named(scene.agent_materials) == ["self", "self_default", "self_highlight"]
        assert [model.geom(i).name for i in np.flatnonzero(scene.floor_geoms)] == ["floor"]
        assert [model.texture(t).name for t in scene.floor_textures] == ["grid"]

    def test_walls_are_no_floor(self):
        env = suite.load("reacher", "easy", task_kwargs={"random": 1})
        scene = DistractedScene(env.physics.model.ptr, Distraction(), "reacher", 0, None)
        assert [env.physics.model.ptr.geom(i).name for i in np.flatnonzero(scene.floor_geoms)] == ["ground"]

    def test_in_models_from_elsewhere(self):
        model = compiled(
            """<mujoco><asset><material name="a"/><material name="b"/></asset><worldbody><camera/>
            <geom type="plane" size="1 1 1" material="b"/><geom type="plane" size="1 1 1"/><geom size="1" material="a"/>
            </worldbody></mujoco>"""
        )
        scene = DistractedScene(model, Distraction(), "", 0, None)
        assert scene.floor_geoms.tolist() == [True, True, False]
        assert scene.floor_materials.tolist() == [1]
        assert len(scene.agent_materials) == len(scene.floor_textures) == 0

    @pytest.mark.parametrize(
        ("geoms", "domain", "floor"),
        [("sky", "cartpole", False), ("sky+floor", "walker", True), ("natural", "cartpole", True),
         ("natural", "walker", False)],
    )  # fmt: skip
    def test_what_a_mask_replaces(self, physics, geoms, domain, floor):
        settings = Distraction(background=1.0, compositing="mask", background_geoms=geoms)
        mask = make(physics, settings, domain).background_geoms()
        np.testing.assert_array_equal(mask, (physics.model.ptr.geom_type == 0) & floor)
        assert make(physics, Distraction(background=1.0)).background_geoms() is None

    def test_neutral_floors_where_the_publication_has_them(self, physics):
        settings = distraction("natural-video", num_videos=4)
        for domain, gray in (("walker", True), ("cartpole", False)):
            textures = begin(make(physics, settings, domain), physics).look(physics.data.ptr).textures
            assert bool(textures) == gray
            for pixels in textures.values():
                assert np.ptp(pixels.astype(int), axis=-1).max() == 0
                assert {26, 51} <= set(np.unique(pixels))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (Distraction(background=1.0), "compositing='mask'"),
            (Distraction(palette="color-easy"), "colors the sky"),
            (Distraction(color=0.1), "the model has none"),
            (Distraction(floor_alpha=0.3), "the floor has none"),
        ],
    )
    def test_what_a_bare_model_lacks(self, settings, message):
        model = compiled('<mujoco><worldbody><camera/><geom type="plane" size="1 1 1"/></worldbody></mujoco>')
        with pytest.raises(ValueError, match=message):
            DistractedScene(model, settings, "", 0, None)


class TestEpisode:
    def test_no_distraction_is_the_default_look(self, physics):
        look = begin(make(physics, Distraction()), physics).look(physics.data.ptr)
        assert (look.pose, look.material_rgba, look.textures, look.sky, look.video) == (None, None, {}, None, None)

    def test_equal_seeds_equal_looks(self, physics):
        scene = make(physics, distraction("dcs-hard-dynamic"))
        one, two, other = (begin(scene, physics, np.random.SeedSequence(seed)) for seed in (1, 1, 2))
        for _ in range(4):
            for episode in (one, two, other):
                episode.advance(3)
            looks = [episode.look(physics.data.ptr) for episode in (one, two, other)]
            np.testing.assert_array_equal(looks[0].pose.position, looks[1].pose.position)
            np.testing.assert_array_equal(looks[0].pose.rotation, looks[1].pose.rotation)
            np.testing.assert_array_equal(looks[0].material_rgba, looks[1].material_rgba)
            assert one.shown == two.shown
            assert (looks[0].pose.position != looks[2].pose.position).all()
            assert (looks[0].material_rgba != looks[2].material_rgba).any()

    def test_a_seed_is_not_used_up(self, physics):
        scene, seeds = make(physics, distraction("dcs-hard-dynamic")), np.random.SeedSequence(7)
        one, two = (begin(scene, physics, seeds).look(physics.data.ptr) for _ in range(2))
        np.testing.assert_array_equal(one.material_rgba, two.material_rgba)

    def test_kinds_draw_from_streams_of_their_own(self, physics):
        full = distraction("dcs-hard-dynamic")
        episodes = {"full": begin(make(physics, full), physics)}
        for name in ("camera", "color", "background"):
            episodes[name] = begin(make(physics, distraction("dcs-hard-dynamic", **{name: 0})), physics)
        for episode in episodes.values():
            episode.advance(5)
        looks = {name: episode.look(physics.data.ptr) for name, episode in episodes.items()}
        np.testing.assert_array_equal(looks["color"].pose.position, looks["full"].pose.position)
        np.testing.assert_array_equal(looks["camera"].material_rgba, looks["full"].material_rgba)
        assert episodes["camera"].shown == episodes["color"].shown == episodes["full"].shown
        assert looks["background"].video is None
        np.testing.assert_array_equal(looks["background"].pose.position, looks["full"].pose.position)

    @pytest.mark.parametrize(("advance", "frames"), [("control", 3), ("agent", 1)])
    def test_what_a_step_is(self, physics, advance, frames):
        settings = Distraction(
            background=1.0, dynamic=True, playback="loop", start="first", advance=advance, num_videos=4
        )
        episode = begin(make(physics, settings), physics)
        assert episode.shown[1] == 0
        episode.advance(3)
        assert episode.shown[1] == frames

    def test_order(self, physics):
        cycle = make(physics, Distraction(background=1.0, order="cycle", num_videos=4))
        seeds = [np.random.SeedSequence(i) for i in range(40)]
        shown = [begin(cycle, physics, s, i).shown[0] for i, s in enumerate(seeds[:6])]
        assert shown == [cycle.videos.names[i] for i in (0, 1, 2, 3, 0, 1)]
        uniform = make(physics, Distraction(background=1.0, num_videos=4))
        counts = collections.Counter(begin(uniform, physics, s, 0).shown[0] for s in seeds)
        assert len(counts) == 4
        assert min(counts.values()) >= 3

    def test_one_object_for_one_frame(self, physics):
        scene = make(physics, distraction("dcs-easy-static"))
        episode = begin(scene, physics)
        first = episode.look(physics.data.ptr).video
        episode.advance(4)
        assert episode.look(physics.data.ptr).video is first  # renderers upload what is new
        np.testing.assert_array_equal(
            first, scene.videos.frames(scene.videos.names.index(episode.shown[0]))[episode.shown[1]]
        )
        larger = video_source(split="train", size=(24, 24), count=4)
        assert episode.look(physics.data.ptr, larger).video.shape == (24, 24, 3)

    def test_colors_start_from_the_models_own_each_time(self, physics):
        scene = make(physics, distraction("dcs-hard-dynamic"))
        own = physics.model.ptr.mat_rgba.copy()
        for i in range(5):
            episode = begin(scene, physics, np.random.SeedSequence(i))
            episode.advance(50)
            rgba = episode.look(physics.data.ptr).material_rgba
            assert np.abs(rgba[:, :3] - own[:, :3]).max() <= 0.3 + 1e-6
            np.testing.assert_array_equal(
                np.delete(rgba[:, 3], scene.floor_materials), np.delete(own[:, 3], scene.floor_materials)
            )
            assert rgba[scene.floor_materials, 3] == np.float32(0.3)
        np.testing.assert_array_equal(physics.model.ptr.mat_rgba, own)

    def test_palettes(self, physics):
        scene = make(physics, Distraction(palette="color-hard"))
        own = physics.model.ptr.mat_rgba
        looks = [begin(scene, physics, np.random.SeedSequence(i)).look(physics.data.ptr) for i in range(3)]
        assert len({look.sky.tobytes() for look in looks}) == 3
        for look in looks:
            changed = (look.material_rgba != own).any(axis=1)
            assert set(np.flatnonzero(changed)) <= set(scene.agent_materials)
            assert changed.any()
            assert set(look.textures) == set(scene.floor_textures)
            assert look.video is None
