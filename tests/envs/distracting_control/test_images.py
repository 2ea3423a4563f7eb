"""Images of dm_control's tasks: videos, colors, and other images of the same state."""

import itertools
import pickle

import gymnasium as gym
import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("dm_control")
from distracted import SIX, actions_of, last_frame, make, rollout, six_tasks  # noqa: E402

import bisimgym  # noqa: E402, F401
from bisimgym.envs.distracting_control import DistractingControlEnv  # noqa: E402
from bisimgym.envs.distractions.presets import PRESETS  # noqa: E402
from bisimgym.envs.distractions.procedural_videos import NAMES  # noqa: E402
from bisimgym.envs.distractions.protocol import Redistractable  # noqa: E402
from bisimgym.envs.distractions.videos import luma  # noqa: E402
from bisimgym.envs.rendering.look import (  # noqa: E402
    Look,
    SceneLister,
    camera_pose,
)
from bisimgym.envs.rendering.raycast import RaycastRenderer  # noqa: E402
from bisimgym.envs.rendering.tracing import Tracer  # noqa: E402


class TestVideos:
    def test_splits_are_disjoint(self):
        names = {}
        for split in ("train", "test"):
            env = make(preset="dcs-hard-static", split=split, compositing="mask")  # small videos
            assert set(env._scene.videos.names) == set(NAMES[split])
            names[split] = {env.reset()[1]["background"] for _ in range(8)}
            assert names[split] <= set(env._scene.videos.names)
        assert not names["train"] & names["test"]
        assert not set(NAMES["train"]) & set(NAMES["test"])

    @pytest.mark.parametrize(
        ("preset", "counts"), [("pse-2video", (2, 30)), ("dcs-easy-dynamic", (4, 4)), ("dcs-hard-static", (60, 30))]
    )
    def test_how_many(self, preset, counts):
        shown = tuple(len(make(preset=preset, split=split)._scene.videos.names) for split in ("train", "test"))
        assert shown == counts

    @pytest.mark.parametrize("compositing", ["texture", "mask"])
    def test_opacity(self, compositing):
        def first_frame(alpha):
            arguments = {"background": alpha, "compositing": compositing, "num_videos": 1, "color": 0, "camera": 0}
            env = make("cheetah", "run", preset="dcs-easy-static", floor_alpha=1.0, size=48, **arguments)
            return last_frame(env.reset(seed=1)[0]).astype(float)

        clean = last_frame(make("cheetah", "run", preset="clean", size=48).reset(seed=1)[0]).astype(float)
        none, half, full = (first_frame(alpha) for alpha in (0.0, 0.5, 1.0))
        np.testing.assert_array_equal(none, clean)
        assert np.abs(full - clean).mean() > 10
        np.testing.assert_allclose(half, (clean + full) / 2, atol=1.01)

    def test_grey(self):
        env = make("walker", "walk", preset="natural-video", size=32)
        frame = last_frame(env.reset(seed=0)[0])
        sky = frame[_shown(env) == -1]
        assert len(sky) > 50
        np.testing.assert_array_equal(sky, luma(sky))


def _video_frame(env):
    """Return the frame of the video that is shown now."""
    name, index = env._episode.shown
    return env._scene.videos.frames(env._scene.videos.names.index(name))[index]


def _shown(env):
    """Return ``int[size, size]``: the geom that each pixel of the current image shows, -1 for the sky."""
    size, camera = env.settings.size, env.settings.camera_id
    pose = env._episode.look(env._data).pose or camera_pose(env._data, camera)
    lister = SceneLister(env._model, camera)
    lister.update(env._data, Look(pose=pose))
    trace = Tracer(env._model, size, size, camera).trace(env._data, pose, *lister.contents())
    return trace.shown_geom.reshape(size, size)


class TestColors:
    @pytest.mark.parametrize(("domain", "task", "alpha"), [(*SIX[4], 0.0), (*SIX[5], 1.0), (*SIX[1], 0.3)])
    def test_opacity_of_the_floor(self, domain, task, alpha):
        env = make(domain, task, preset="dcs-easy-static")
        env.reset(seed=0)
        grid = env._model.material("grid").id
        assert env._episode.look(env._data).material_rgba[grid, 3] == np.float32(alpha)
        assert env._model.mat_rgba[grid, 3] == 1.0  # the model has its own
        pse = make(domain, task, preset="pse-2video")
        pse.reset(seed=0)
        assert pse._episode.look(pse._data).material_rgba[grid, 3] == np.float32(0.3)

    @pytest.mark.parametrize("preset", ["color-easy", "color-hard"])
    def test_palettes_color_floor_agent_and_sky_only(self, preset):
        clean, colored = (make("finger", "spin", preset=p, size=64) for p in ("clean", preset))
        before, after = (last_frame(env.reset(seed=0)[0]) for env in (clean, colored))
        shown = _shown(clean)
        changed = (before != after).any(axis=-1)
        materials = np.array([clean._model.material(i).name for i in range(clean._model.nmat)])
        of_pixel = np.where(shown >= 0, materials[clean._model.geom_matid[shown]], np.where(shown == -1, "sky", "site"))
        others = ("decoration", "effector")
        assert {"grid", "self", "sky", *others} <= set(of_pixel.ravel())
        assert not changed[np.isin(of_pixel, (*others, "site"))].any()
        for name in ("grid", "self", "sky"):
            assert changed[of_pixel == name].mean() > 0.9
        episodes = {colored.reset()[0].tobytes() for _ in range(5)}
        assert len(episodes) == 5

    def test_floors_of_natural_video(self):
        walker = make("walker", "walk", preset="natural-video", size=64)
        frame, shown = last_frame(walker.reset(seed=0)[0]), _shown(walker)
        floor = frame[shown == 0].astype(int)
        assert len(floor) > 200
        assert np.ptp(floor, axis=-1).max() <= 1  # gray
        clean = make("walker", "walk", preset="clean", size=64)
        agent = shown > 0
        np.testing.assert_array_equal(frame[agent], last_frame(clean.reset(seed=0)[0])[agent])
        cartpole = make(preset="natural-video", size=64)
        frame, shown = last_frame(cartpole.reset(seed=0)[0]), _shown(cartpole)
        video = _video_frame(cartpole)
        behind = (shown == -1) | (shown == 0)
        assert (shown == 0).mean() > 0.1
        np.testing.assert_array_equal(frame[behind], video[behind])

    def test_the_floor_stays_where_only_the_sky_is_replaced(self):
        easy, hard, clean = (make(preset=p, size=64) for p in ("video-easy", "video-hard", "clean"))
        frames = [last_frame(env.reset(seed=0)[0]) for env in (easy, hard, clean)]
        floor = _shown(clean) == 0
        np.testing.assert_array_equal(frames[0][floor], frames[2][floor])
        assert (frames[1][floor] != frames[2][floor]).any(axis=-1).mean() > 0.9


class TestImages:
    @six_tasks
    def test_clean_is_a_plain_image(self, domain, task):
        env = make(domain, task, preset="clean", size=32)
        stack = env.reset(seed=0)[0]
        plain = RaycastRenderer(env._model, 32, 32).render(env._data, Look())
        np.testing.assert_array_equal(stack, np.concatenate([plain] * 3, axis=2))

    def test_the_stack_is_oldest_first(self):
        env = make(preset="dcs-hard-dynamic", frame_stack=4)
        stacks = rollout(env, 6)[0]
        assert stacks.shape == (7, 16, 16, 12)
        for before, after in itertools.pairwise(stacks):
            np.testing.assert_array_equal(after[..., :9], before[..., 3:])
        assert env.observation_space.contains(stacks[-1])
        single = rollout(make(preset="dcs-hard-dynamic", frame_stack=1), 6)[0]
        np.testing.assert_array_equal(single, stacks[..., -3:])

    def test_rgb_array_is_larger_and_shows_the_same_video(self):
        env = make(preset="video-hard", render_mode="rgb_array")
        env.reset(seed=0)
        before = env.render()
        assert before.shape == (240, 240, 3)
        env.step(np.zeros(1, np.float32))
        assert (env.render() != before).mean() > 0.3
        assert env.metadata["render_fps"] == 25  # 4 control steps of 0.01 s

    @pytest.mark.parametrize("render_mode", [None, "rgb_array"])
    def test_rendering_changes_nothing(self, render_mode):
        one, two = make(preset="dcs-hard-dynamic", render_mode=render_mode), make(preset="dcs-hard-dynamic")
        for env in (one, two):
            env.reset(seed=0)
        for action in actions_of(one, 3):
            if render_mode:
                one.render()
            np.testing.assert_array_equal(one.step(action)[0], two.step(action)[0])

    def test_render_without_a_mode(self):
        env = make(preset="clean")
        with pytest.raises(gym.error.ResetNeeded):
            env.render()
        env.reset(seed=0)
        with pytest.warns(UserWarning, match="render\\(\\) does nothing"):
            assert env.render() is None

    @pytest.mark.parametrize(
        ("domain", "task"),
        [
            ("quadruped", "walk"),
            ("quadruped", "escape"),
            ("humanoid", "stand"),
            ("fish", "swim"),
            ("swimmer", "swimmer6"),
            ("point_mass", "easy"),
            ("manipulator", "bring_ball"),
            ("lqr", "lqr_2_1"),
        ],
    )
    def test_other_domains(self, domain, task):
        env = DistractingControlEnv(domain, task, preset="dcs-hard-dynamic", size=20, action_repeat=1)
        observations = rollout(env, 2)[0]
        assert len(np.unique(observations)) > 20
        assert env.settings.camera_id == (2 if domain == "quadruped" else 0)


class TestSampler:
    def assert_reproduces(self, env, current):
        np.testing.assert_array_equal(
            env.redistract(env.clean_state(), 2, np.random.default_rng(0)), np.stack([current] * 2)
        )

    @pytest.mark.parametrize(("domain", "task"), [*SIX, ("quadruped", "escape"), ("swimmer", "swimmer6")])
    def test_clean_reproduces_the_observation(self, domain, task):
        env = make(domain, task, preset="clean")
        self.assert_reproduces(env, env.reset(seed=0)[0])
        kept = env.clean_state(), env.reset(seed=0)[0]
        for action in actions_of(env, 4):
            self.assert_reproduces(env, env.step(action)[0])
        env.reset()  # changes the model, such as the place of reacher's target
        self.assert_reproduces(env, env.reset()[0])
        self.assert_reproduces(env, env.step(actions_of(env, 1)[0])[0])
        again = env.redistract(pickle.loads(pickle.dumps(kept[0])), 1, np.random.default_rng(0))[0]
        np.testing.assert_array_equal(again, kept[1])
        twin = make(domain, task, preset="clean")
        again = twin.redistract(pickle.loads(pickle.dumps(kept[0])), 1, np.random.default_rng(0))[0]
        np.testing.assert_array_equal(again, kept[1])  # before the twin's first reset, too

    @pytest.mark.parametrize("preset", ["dcs-hard-dynamic", "natural-video", "color-hard"])
    def test_distractions_differ_and_the_state_is_the_same(self, preset):
        env = make("reacher", "easy", preset=preset, size=24, num_videos=3)
        rollout(env, 3)
        state = env.clean_state()
        samples = env.redistract(state, 6, np.random.default_rng(0))
        assert samples.shape == (6, *env.observation_space.shape)
        assert samples.dtype == np.uint8
        assert len({sample.tobytes() for sample in samples}) == 6
        np.testing.assert_array_equal(samples, env.redistract(state, 6, np.random.default_rng(0)))
        assert (samples != env.redistract(state, 6, np.random.default_rng(1))).any()
        for sample in samples:
            if PRESETS[preset].dynamic:
                assert (sample[..., :3] != sample[..., -3:]).any()

    def test_the_foreground_is_that_of_the_state(self):
        env = make(preset="video-hard", size=48)
        rollout(env, 3)
        shown, clean = _shown(env), make(preset="clean", size=48)
        frame = last_frame(rollout(clean, 3)[0][-1])
        agent = shown > 0
        assert agent.sum() > 40
        samples = env.redistract(env.clean_state(), 4, np.random.default_rng(0))
        for sample in samples:
            np.testing.assert_array_equal(last_frame(sample)[agent], frame[agent])
        assert (samples[0][~agent] != samples[1][~agent]).any()

    def test_the_episode_goes_on_as_if_nothing_had_been_asked(self):
        one, two = (make("reacher", "easy", preset="dcs-hard-dynamic") for _ in range(2))
        for env in (one, two):
            env.reset(seed=0)
        old = one.clean_state()
        for action in actions_of(one, 3):
            one.redistract(old, 2, np.random.default_rng(0))
            one.redistract(one.clean_state(), 2, np.random.default_rng(0))
            np.testing.assert_array_equal(one.step(action)[0], two.step(action)[0])
            for name in ("geom_pos", "mat_rgba"):
                np.testing.assert_array_equal(getattr(one._model, name), getattr(two._model, name))
        np.testing.assert_array_equal(one.reset()[0], two.reset()[0])

    def test_states(self):
        env = make(observation="state", noise_dimensions=4)
        _, info = env.reset(seed=0)
        samples = env.redistract(env.clean_state(), 5, np.random.default_rng(0))
        assert samples.shape == (5, 9)
        assert samples.dtype == np.float32
        np.testing.assert_array_equal(samples[:, :5], np.stack([info["clean_observation"]] * 5))
        assert len(np.unique(samples[:, 5:])) == 20

    def test_errors_and_protocol(self):
        env = make(preset="clean")
        assert isinstance(env, Redistractable)
        with pytest.raises(gym.error.ResetNeeded, match="clean_state"):
            env.clean_state()
        env.reset(seed=0)
        for wrong in (0, True, 1.5):
            with pytest.raises(ValueError, match="count must be an integer of at least 1"):
                env.redistract(env.clean_state(), wrong, np.random.default_rng(0))
