import copy
import itertools
import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("dm_control")

from dm_control import suite  # noqa: E402
from dm_control.mujoco import Physics  # noqa: E402
from dm_control.rl import control  # noqa: E402
from dm_control.suite import base  # noqa: E402

import bisimgym  # noqa: E402, F401
from bisimgym.envs.distracting_control import DistractedEnv, DistractingControlEnv, default_action_repeat  # noqa: E402
from bisimgym.envs.distracting_control.env import ACTION_REPEATS  # noqa: E402
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

SIX = [
    ("ball_in_cup", "catch"),
    ("cartpole", "swingup"),
    ("cheetah", "run"),
    ("finger", "spin"),
    ("reacher", "easy"),
    ("walker", "walk"),
]
six_tasks = pytest.mark.parametrize(("domain", "task"), SIX)
distracted = [preset for preset in PRESETS if preset != "clean"]
moving = [preset for preset in distracted if PRESETS[preset].dynamic]


def make(domain="cartpole", task="swingup", **arguments):
    return DistractingControlEnv(domain, task, **{"size": 16, "action_repeat": 4, **arguments})


def actions_of(env, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def rollout(env, steps, seed=5):
    """Return observations, rewards, states of the physics and infos of one episode."""
    observation, info = env.reset(seed=seed)
    observations, rewards, infos = [observation], [], [info]
    states = [env.environment.physics.get_state()]
    for action in actions_of(env, steps):
        observation, reward, _, _, info = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
        states.append(env.environment.physics.get_state())
    return np.array(observations), np.array(rewards), np.array(states), infos


def last_frame(observation):
    return observation[..., -3:]


class TestTheTaskIsLeftAlone:
    @six_tasks
    def test_states_and_rewards_do_not_depend_on_distractions(self, domain, task):
        _, rewards, states, infos = rollout(make(domain, task, preset="clean", observation="state"), 6)
        assert len(np.unique(states, axis=0)) == 7
        assert "clean_observation" in infos[0]
        for preset in PRESETS:
            if preset == "color-easy" or "medium" in preset:  # other numbers only
                continue
            _, other_rewards, other_states, _ = rollout(make(domain, task, preset=preset), 6)
            np.testing.assert_array_equal(other_states, states, preset)
            np.testing.assert_array_equal(other_rewards, rewards, preset)

    @six_tasks
    def test_a_whole_episode_is_that_of_dm_control(self, domain, task):
        env = make(domain, task, preset="dcs-hard-dynamic", action_repeat=50)
        env.reset(seed=3)
        twin = copy.deepcopy(env).environment
        physics, ended = env.environment.physics, False
        np.testing.assert_array_equal(physics.get_state(), twin.physics.get_state())
        for i, action in enumerate(actions_of(env, 20)):
            assert not ended
            _, reward, terminated, ended, _ = env.step(action)
            assert not terminated
            expected = 0.0
            for _ in range(50):
                expected += twin.step(action.astype(np.float64)).reward
            assert reward == expected
            np.testing.assert_array_equal(physics.get_state(), twin.physics.get_state())
            assert ended == (i == 19)  # 1000 control steps
        assert reward <= 50.0

    def test_an_episode_that_is_no_multiple_of_the_repeat_is_cut(self):
        env = make(action_repeat=300, preset="clean", size=8)
        env.reset(seed=0)
        assert [env.step(np.zeros(1, np.float32))[3] for _ in range(4)] == [False, False, False, True]
        with pytest.raises(gym.error.ResetNeeded, match="has ended"):
            env.step(np.zeros(1, np.float32))

    def test_an_episode_that_the_task_ends_is_terminated(self):
        class Task(SmallTask):
            def get_termination(self, physics):
                return 0.0 if physics.data.time > 0.1 else None

        env = DistractedEnv(small_environment(task=Task(random=1)), preset="clean", size=8, action_repeat=4)
        env.reset(seed=0)
        results = [env.step(np.zeros(1, np.float32))[1:4] for _ in range(2)]
        assert results == [(4.0, False, False), (2.0, True, False)]  # over after six control steps of 0.02 s

    def test_actions_are_scaled_to_the_range_of_the_task(self):
        env = DistractingControlEnv("lqr", "lqr_2_1", observation="state")
        assert env.action_space == gym.spaces.Box(-1, 1, (1,), np.float32)
        environment = small_environment(control_range="0 4")
        env = DistractedEnv(environment, preset="clean", size=8)
        env.reset(seed=0)
        for action, control_value in ((-1.0, 0.0), (0.0, 2.0), (1.0, 4.0)):
            env.step(np.array([action], np.float32))
            assert environment.physics.data.ctrl[0] == control_value
        for wrong in ([2.0], [np.nan], [0.0, 0.0], 0.0):
            with pytest.raises(ValueError, match="is not in Box"):
                env.step(np.array(wrong))

    def test_one_image_per_action(self, monkeypatch):
        drawn = []
        render_many = RaycastRenderer.render_many
        monkeypatch.setattr(
            RaycastRenderer,
            "render_many",
            lambda self, data, looks: (drawn.append(1), render_many(self, data, looks))[1],
        )
        env = make(action_repeat=8, preset="dcs-hard-dynamic")
        env.reset(seed=0)
        assert len(drawn) == 1
        env.step(np.zeros(1, np.float32))
        assert len(drawn) == 2


class TestSeeds:
    @pytest.mark.parametrize("preset", ["dcs-hard-dynamic", "natural-video", "color-hard", "video-hard"])
    def test_one_seed_one_episode(self, preset):
        one, two = (rollout(make(preset=preset), 5) for _ in range(2))
        np.testing.assert_array_equal(one[0], two[0])
        other = rollout(make(preset=preset), 5, seed=6)
        assert (one[2] != other[2]).any()
        assert (one[0] != other[0]).any() or preset == "video-hard"  # whose videos come in order

    def test_episodes_after_the_first_follow_from_the_seed(self):
        one, two = (make(preset="dcs-hard-static") for _ in range(2))
        one.reset(seed=1)
        two.reset(seed=7)
        two.reset(seed=1)
        second = one.reset()
        np.testing.assert_array_equal(second[0], two.reset()[0])
        assert (second[0] != one.reset()[0]).any()

    def test_distraction_seed_fixes_distractions_whatever_the_task_draws(self):
        one, two = (make(preset="dcs-hard-dynamic", distraction_seed=4) for _ in range(2))
        a, b = rollout(one, 5, seed=1), rollout(two, 5, seed=2)
        assert (a[2] != b[2]).any()
        assert a[3] == b[3]
        # Reset on: the next episode's distractions are others, and again the same for both.
        a, b = one.reset()[1], two.reset()[1]
        assert a == b
        looks = [env._episode.look(env._data) for env in (one, two)]
        np.testing.assert_array_equal(looks[0].material_rgba, looks[1].material_rgba)
        np.testing.assert_array_equal(looks[0].pose.position, looks[1].pose.position)

    def test_the_task_is_the_same_under_other_distraction_seeds(self):
        one, two = (rollout(make(preset="dcs-hard-dynamic", distraction_seed=seed), 5) for seed in (1, 2))
        np.testing.assert_array_equal(one[2], two[2])
        assert (one[0] != two[0]).any()
        assert one[3] != two[3]

    def test_switching_one_distraction_off_leaves_the_others(self):
        both, without = (make(preset="dcs-hard-dynamic", camera=camera) for camera in (None, 0))
        a, b = rollout(both, 4), rollout(without, 4)
        assert a[3] == b[3]
        np.testing.assert_array_equal(
            both._episode.look(both._data).material_rgba, without._episode.look(without._data).material_rgba
        )


class TestDynamics:
    @pytest.mark.parametrize("preset", distracted)
    def test_what_is_static_stays_and_what_is_dynamic_moves(self, preset):
        env = make(preset=preset, backgrounds="procedural")
        env.reset(seed=0)
        env.environment.physics.data.qvel[:] = 0  # looks alone: the state is left out
        first, looks = env._episode.look(env._data), []
        for action in actions_of(env, 5):
            env.step(action)
            looks.append(env._episode.look(env._data))
        settings = PRESETS[preset]
        frames = [look.video is not first.video for look in looks]
        poses = [look.pose is not None and (look.pose.position != first.pose.position).any() for look in looks]
        colors = [
            look.material_rgba is not None and (look.material_rgba != first.material_rgba).any() for look in looks
        ]
        assert any(frames) == (settings.dynamic and settings.background > 0)
        assert any(poses) == (settings.dynamic and settings.camera > 0)
        assert any(colors) == (settings.dynamic and settings.color > 0)

    def test_a_static_preset_shows_one_look_per_episode(self):
        env = make(preset="dcs-hard-static")
        first = env.reset(seed=0)[1]
        assert {env.step(action)[4]["background_frame"] for action in actions_of(env, 4)} == {first["background_frame"]}
        assert len({tuple(env.reset()[1].items()) for _ in range(6)}) > 3

    @pytest.mark.parametrize(("preset", "repeat"), [("dcs-easy-dynamic", 3), ("video-easy", 1), ("natural-video", 1)])
    def test_playback_has_no_cuts(self, preset, repeat):
        env = make(preset=preset, action_repeat=3)
        info = env.reset(seed=2)[1]
        indices = [info["background_frame"]]
        for action in actions_of(env, 60):
            indices.append(env.step(action)[4]["background_frame"])
        count = len(env._scene.videos.frames(env._scene.videos.names.index(env._episode.shown[0])))
        jumps = np.abs(np.diff(indices))
        if PRESETS[preset].playback == "loop":
            jumps = np.minimum(jumps, count - jumps)
        assert jumps.max() == repeat
        assert PRESETS[preset].start != "first" or indices[0] == 0

    def test_videos_in_order(self):
        env = make(preset="video-easy", num_videos=3)
        names = [env.reset(seed=0)[1]["background"], *(env.reset()[1]["background"] for _ in range(5))]
        assert names == list(NAMES["train"][:3]) * 2

    def test_no_episode_leaks_into_the_next(self):
        used, fresh = (make("finger", "spin", preset="dcs-hard-dynamic", background=0.5) for _ in range(2))
        for seed in range(3):
            rollout(used, 3, seed)
        np.testing.assert_array_equal(rollout(used, 3, 9)[0], rollout(fresh, 3, 9)[0])


class TestVideos:
    def test_splits_are_disjoint(self):
        names = {}
        for split in ("train", "test"):
            env = make(preset="dcs-hard-static", split=split)
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


class TestStates:
    def test_the_vector_of_the_task(self):
        env = make(observation="state")
        observation, info = env.reset(seed=0)
        expected = np.concatenate(
            [np.ravel(v) for v in env.environment._task.get_observation(env.environment.physics).values()]
        )
        np.testing.assert_array_equal(observation, expected.astype(np.float32))
        np.testing.assert_array_equal(info["clean_observation"], observation)
        assert not env._renderers
        assert env.observation_space.contains(observation)

    def test_noise_is_fresh_and_beside_the_state(self):
        env = make(observation="state", noise_dimensions=7, noise_std=2.0, noise_mean=1.0)
        assert env.observation_space.shape == (12,)
        observations, _, _, infos = rollout(env, 40)
        clean = np.array([info["clean_observation"] for info in infos])
        np.testing.assert_array_equal(observations[:, :5], clean)
        noise = observations[:, 5:]
        assert len(np.unique(noise)) == noise.size
        assert abs(noise.mean() - 1.0) < 4 * 2 / np.sqrt(noise.size)
        again = rollout(make(observation="state", noise_dimensions=7, noise_std=2.0, noise_mean=1.0), 40)[0]
        np.testing.assert_array_equal(observations, again)

    def test_equal_projections_for_training_and_evaluation(self):
        arguments = {"observation": "state", "noise_dimensions": 3, "random_projection": True, "projection_rows": 10}
        one, two, other = (make(**arguments, projection_seed=seed) for seed in (1, 1, 2))
        assert one.observation_space.shape == (10,)
        np.testing.assert_array_equal(one._noise.projection, two._noise.projection)
        assert (one._noise.projection != other._noise.projection).any()
        observation, info = one.reset(seed=0)
        solved = np.linalg.lstsq(one._noise.projection, observation.astype(float), rcond=None)[0]
        np.testing.assert_allclose(solved[:5], info["clean_observation"], atol=1e-4)


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
        env = make("reacher", "easy", preset=preset, size=32)
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


@pytest.mark.parametrize("preset", ["dcs-hard-dynamic", "natural-video", "color-hard"])
def test_pickling_in_the_middle_of_an_episode(preset):
    env = make("reacher", "easy", preset=preset)
    rollout(env, 3)
    twin = pickle.loads(pickle.dumps(env))
    state = env.clean_state()
    for action in actions_of(env, 4, seed=1):
        for one, two in zip(env.step(action), twin.step(action), strict=True):
            np.testing.assert_equal(one, two)
    np.testing.assert_array_equal(*(e.redistract(state, 2, np.random.default_rng(0)) for e in (env, twin)))
    np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])


SMALL = """<mujoco><option timestep="0.02"/>{assets}<worldbody><light pos="0 0 3"/>
<camera name="side" pos="0 -3 1" xyaxes="1 0 0 0 .3 1"/><geom type="plane" size="2 2 1" {floor}/>
<body pos="0 0 1"><joint name="slide" type="slide" axis="1 0 0" damping="1"/><geom size=".3" {agent}/></body>
</worldbody><actuator><motor joint="slide" ctrlrange="{range}"/></actuator></mujoco>"""


class SmallTask(base.Task):
    def initialize_episode(self, physics):
        physics.data.qpos[0] = self.random.uniform(-0.5, 0.5)

    def get_observation(self, physics):
        return {"position": physics.position(), "velocity": physics.velocity()}

    def get_reward(self, physics):
        return 1.0


def small_environment(assets="", floor="", agent="", control_range="-1 1", task=None):
    text = SMALL.format(assets=assets, floor=floor, agent=agent, range=control_range)
    return control.Environment(Physics.from_xml_string(text), task or SmallTask(random=1), time_limit=2.0)


MATERIALS = '<asset><material name="ground" rgba=".2 .4 .6 1"/><material name="self" rgba="1 0 0 1"/></asset>'
SKY = '<asset><texture type="skybox" builtin="gradient" rgb1="1 0 0" rgb2="0 0 1" width="32" height="192"/></asset>'


class TestEnvironmentsOfYourOwn:
    def test_with_everything(self):
        environment = small_environment(MATERIALS + SKY, 'material="ground"', 'material="self"')
        env = DistractedEnv(environment, preset="dcs-hard-dynamic", size=16, action_repeat=2)
        observations, rewards, _, infos = rollout(env, 5)
        assert (rewards == 2.0).all()
        assert len({observation.tobytes() for observation in observations}) == 6
        assert infos[0]["background"] in NAMES["train"]
        np.testing.assert_array_equal(observations, rollout(env, 5)[0])

    def test_without_materials_and_sky(self):
        env = DistractedEnv(small_environment(), preset="natural-video", size=16)
        assert len(np.unique(rollout(env, 3)[0])) > 20
        pickle.loads(pickle.dumps(env)).step(np.zeros(1, np.float32))
        rollout(DistractedEnv(small_environment(), preset="clean", size=16), 2)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"preset": "pse-2video"}, "no sky texture for videos .* compositing='mask'"),
            ({"preset": "color-easy"}, "colors the sky, and the model has no sky"),
            ({"preset": "clean", "color": 0.1}, "the model has none"),
            ({"preset": "video-easy", "floor_alpha": 0.3}, "floor_alpha=0.3 .* the floor has none"),
            ({"preset": "clean", "camera_id": 1}, r"camera_id must be in \[0, 1\)"),
        ],
    )
    def test_what_the_model_lacks(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            DistractedEnv(small_environment(), **arguments)

    def test_a_task_without_a_generator(self):
        class Task(SmallTask):
            random = None

            def __init__(self):
                self._visualize_reward = False

        with pytest.raises(ValueError, match="must have its generator in task.random"):
            DistractedEnv(small_environment(task=Task()))

    def test_a_model_that_is_compiled_anew(self):
        environment = small_environment()
        env = DistractedEnv(environment, preset="clean", size=8)
        env.reset(seed=0)
        environment.physics.reload_from_xml_string(SMALL.format(assets="", floor="", agent="", range="-1 1"))
        with pytest.raises(ValueError, match="compiled its model again"):
            env.reset()


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"domain": "cartpol"}, "domain='cartpol'.*domains are .*'cartpole'"),
            ({"task": "swing"}, r"task='swing' is none .*tasks of 'cartpole' are \['balance'"),
            ({"preset": "dcs"}, "preset must be one of .*'dcs-easy-static'.*got 'dcs'"),
            ({"renderer": "gl"}, "renderer must be one of .*'raycast'.*got 'gl'"),
            ({"observation": "pixel"}, "observation must be one of .*got 'pixel'"),
            ({"split": "val"}, r"split must be one of \['train', 'test'\], got 'val'"),
            ({"render_mode": "ansi"}, "render_mode must be one of .*got 'ansi'"),
            ({"size": 0}, "size must be an integer of at least 1, got 0"),
            ({"action_repeat": 1.5}, "action_repeat must be an integer of at least 1, got 1.5"),
            ({"frame_stack": True}, "frame_stack must be an integer of at least 1, got True"),
            ({"camera_id": 9}, r"camera_id must be in \[0, 2\).*got 9"),
            ({"camera_id": "side"}, "camera_id must be an integer of at least 0, got 'side'"),
            ({"distraction_seed": -1}, "distraction_seed must be an integer of at least 0, got -1"),
            ({"noise_dimensions": 3}, r'noise_\* and random_projection are for observation="state"'),
            ({"noise_mean": 1.0}, r'noise_\* and random_projection are for observation="state"'),
            ({"observation": "state", "projection_rows": 40}, "projection_rows=40 is for random_projection=True"),
            ({"noise_dimensions": "3"}, "noise_dimensions must be an integer of at least 0, got '3'"),
            ({"observation": "state", "noise_std": -1}, "std must be a number"),
            ({"observation": "state", "random_projection": True, "projection_rows": 2}, "rows must be .* at least 5"),
            ({"camera": 2}, r"camera must be a number in \[0, 1\], got 2"),
            ({"playback": "once"}, "playback must be one of"),
            ({"backgrounds": "/nowhere"}, "/nowhere"),
        ],
    )
    def test_errors(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            DistractingControlEnv(**arguments)

    def test_unknown_ones(self):
        with pytest.raises(TypeError, match=r"unexpected keyword arguments \['dificulty'\].*'background'"):
            DistractingControlEnv(dificulty=1)
        env = make(preset="clean")
        with pytest.raises(ValueError, match="takes no options"):
            env.reset(options={"video": 1})
        with pytest.raises(gym.error.ResetNeeded, match="before step"):
            env.step(np.zeros(1))

    def test_action_repeats_of_the_literature(self):
        assert {key: ACTION_REPEATS[key] for key in SIX} == dict(zip(SIX, (4, 8, 4, 2, 4, 2), strict=True))
        assert default_action_repeat("hopper", "hop") == 4
        for domain, task in SIX:
            assert (domain, task) in suite.ALL_TASKS
            assert (
                DistractingControlEnv(domain, task, observation="state").action_repeat == ACTION_REPEATS[domain, task]
            )


@pytest.mark.parametrize("missing", ["dm_control", "mujoco"])
def test_without_the_extra_one_line_names_it(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"  # what Python does where a module cannot be imported
        "import gymnasium as gym, bisimgym\n"
        "try:\n    gym.make('bisimgym/DistractingControl-v0')\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert 'pip install "bisimgym[dmc]"' in line
    assert missing in line
