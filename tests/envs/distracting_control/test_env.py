import copy
import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("dm_control")
from distracted import SIX, actions_of, make, rollout, six_tasks  # noqa: E402
from dm_control import suite  # noqa: E402
from dm_control.mujoco import Physics  # noqa: E402
from dm_control.rl import control  # noqa: E402
from dm_control.suite import base  # noqa: E402

import bisimgym  # noqa: E402, F401
from bisimgym.envs.distracting_control import DistractedEnv, DistractingControlEnv, default_action_repeat  # noqa: E402
from bisimgym.envs.distracting_control.env import ACTION_REPEATS  # noqa: E402
from bisimgym.envs.distractions.presets import PRESETS  # noqa: E402
from bisimgym.envs.distractions.procedural_videos import NAMES  # noqa: E402
from bisimgym.envs.rendering.raycast import RaycastRenderer  # noqa: E402

distracted = [preset for preset in PRESETS if preset != "clean"]


class TestTheTaskIsLeftAlone:
    @six_tasks
    def test_states_and_rewards_do_not_depend_on_distractions(self, domain, task):
        _, rewards, states, infos = rollout(make(domain, task, preset="clean", observation="state"), 6)
        assert len(np.unique(states, axis=0)) == 7
        assert "clean_observation" in infos[0]
        # "Easy" and "medium" are other numbers only; all kinds of distraction for one task, the largest for every.
        kinds = [preset for preset in PRESETS if preset != "color-easy" and "medium" not in preset]
        for preset in kinds if domain == "cartpole" else ("dcs-hard-dynamic", "video-hard"):
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
