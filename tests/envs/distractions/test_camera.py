import copy
import math

import mujoco
import numpy as np
import pytest
from dm_control import suite
from hypothesis import strategies as st
from scipy.stats import kstest

from bisimgym.envs.distractions.camera import (
    CameraWalk,
    camera_bounds,
    cartesian,
    is_overhead,
    look_at,
    shortest_look_at,
    start_walk,
    walk_scales,
)
from bisimgym.envs.rendering.look import camera_pose

TASKS = {
    "ball_in_cup": "catch",
    "cartpole": "swingup",
    "cheetah": "run",
    "finger": "spin",
    "reacher": "easy",
    "walker": "walk",
}


TRACKING = ["cheetah", "walker"]


every_domain = pytest.mark.parametrize("domain", TASKS)


# On a grid, for which distances above rounding are whole numbers of millimetres.
coordinate = st.integers(-9999, 9999).map(lambda millimetres: millimetres / 1000)


points = st.tuples(coordinate, coordinate, coordinate)


@pytest.fixture(scope="module")
def physics_of():
    loaded = {}

    def load(domain, task=None):
        if domain not in loaded:
            env = suite.load(domain, task or TASKS[domain], task_kwargs={"random": 0})
            env.reset()
            loaded[domain] = env.physics.model.ptr, env.physics.data.ptr
        return loaded[domain]

    return load


def walk_of(model, data, strength, dynamic=True, seed=0, camera_id=0):
    overhead = is_overhead(camera_pose(data, camera_id))
    rng = np.random.default_rng(seed)
    return CameraWalk(model, data, camera_id, strength, dynamic, not overhead, overhead, rng)


def anchor_of(domain, data):
    return data.subtree_com[1] if domain in TRACKING else np.zeros(3)


def is_rotation(matrix):
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-12)


def moved(model, data, seed=1):
    """Return another state of the bodies, as after some steps of an episode."""
    other = copy.copy(data)
    rng = np.random.default_rng(seed)
    for _ in range(50):
        other.ctrl[:] = rng.uniform(-1, 1, model.nu)
        mujoco.mj_step(model, other)
    mujoco.mj_forward(model, other)
    return other


class TestWalk:
    @every_domain
    @pytest.mark.parametrize("dynamic", [False, True])
    def test_strength_0_is_the_models_camera(self, physics_of, domain, dynamic):
        model, data = physics_of(domain)
        walk = walk_of(model, data, 0.0, dynamic)
        walk.advance(3)
        for now in (data, moved(model, data)):
            np.testing.assert_allclose(walk.pose(now).position, now.cam_xpos[0], atol=1e-9)
            np.testing.assert_allclose(walk.pose(now).rotation, now.cam_xmat[0].reshape(3, 3), atol=1e-9)

    @every_domain
    def test_the_formula_of_the_source_gives_the_six_cameras(self, physics_of, domain):
        # None of the six has a roll of its own that would have to be kept.
        _, data = physics_of(domain)
        pose = camera_pose(data, 0)
        turn = shortest_look_at if domain == "reacher" else look_at
        rotation = turn(tuple(pose.position), tuple(pose.position - pose.rotation[:, 2]))
        np.testing.assert_allclose(rotation, pose.rotation, atol=1e-9)

    @pytest.mark.parametrize(
        ("domain", "task", "camera_id"),
        [("quadruped", "walk", 2), ("quadruped", "walk", 0), ("humanoid", "stand", 0), ("fish", "swim", 0)]
        + [("hopper", "hop", 1), ("reacher", "easy", 1), ("walker", "walk", 1), ("manipulator", "bring_ball", 1)],
    )
    def test_strength_0_is_the_models_camera_elsewhere(self, physics_of, domain, task, camera_id):
        # Reacher's camera 1 follows the hand, though its camera 0 is fixed.
        model, data = physics_of(domain, task)
        walk = walk_of(model, data, 0.0, camera_id=camera_id)
        for now in (data, moved(model, data)):
            np.testing.assert_allclose(walk.pose(now).position, now.cam_xpos[camera_id], atol=1e-9)
            np.testing.assert_allclose(walk.pose(now).rotation, now.cam_xmat[camera_id].reshape(3, 3), atol=1e-9)

    def test_a_roll_of_the_model_is_kept(self):
        model = mujoco.MjModel.from_xml_string(
            """<mujoco><worldbody><camera name="rolled" pos="0 -3 1" euler="70 10 20"/>
            <body pos="0 0 1"><joint/><geom size=".1"/></body></worldbody></mujoco>"""
        )
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        assert abs(data.cam_xmat[0].reshape(3, 3)[2, 0]) > 0.1
        np.testing.assert_allclose(walk_of(model, data, 0.0).pose(data).rotation.ravel(), data.cam_xmat[0], atol=1e-9)

    def test_only_reachers_camera_is_overhead(self, physics_of):
        assert [d for d in TASKS if is_overhead(camera_pose(physics_of(d)[1], 0))] == ["reacher"]

    @every_domain
    @pytest.mark.parametrize("strength", [0.1, 0.2, 0.3, 1.0])
    def test_the_bounds_hold(self, physics_of, domain, strength):
        model, data = physics_of(domain)
        start = tuple(data.cam_xpos[0] - anchor_of(domain, data))
        walk = walk_of(model, data, strength)
        assert walk.bounds == camera_bounds(start, strength, domain != "reacher")
        low, high = np.transpose([walk.bounds.radius, walk.bounds.horizontal, walk.bounds.vertical, walk.bounds.roll])
        states = []
        for _ in range(10_000):
            walk.advance(1)
            states.append(walk.state)
        places = np.array([s[:4] for s in states])
        assert (places >= low).all()
        assert (places <= high).all()
        # It wanders: everything but the far end of a wide range is seen.
        assert (np.ptp(places, axis=0) > 0.7 * (high - np.maximum(low, [0, -9, 0, -9]))).all()
        # No step is longer than the largest speed, but at bounds that clip two angles at once, by little.
        points = np.array([cartesian(*p[:3]) for p in places])
        longest = np.linalg.norm(np.diff(points, axis=0), axis=1)
        limit = walk_scales(math.hypot(*start), strength)
        assert np.quantile(longest, 0.99) <= limit.max_speed * (1 + 1e-9)
        assert abs(np.diff(places[:, 3])).max() <= limit.max_roll_speed + 1e-12

    @every_domain
    def test_static_poses_are_uniform_and_stay(self, physics_of, domain):
        model, data = physics_of(domain)
        states = []
        for seed in range(500):
            walk = walk_of(model, data, 0.3, dynamic=False, seed=seed)
            states.append(walk.state)
        before, pose = walk.state, walk.pose(data)
        walk.advance(7)
        assert walk.state is before
        np.testing.assert_array_equal(walk.pose(data).position, pose.position)
        np.testing.assert_array_equal(walk.pose(data).rotation, pose.rotation)
        bounds = walk.bounds
        # Reacher's camera is above: places beyond the pole are met at their mirror images, at the ends of h.
        vertical = (max(bounds.vertical[0], 0.0), bounds.vertical[1])
        ranges = [bounds.radius, bounds.horizontal, vertical, bounds.roll]
        for i, (low, high) in enumerate(ranges):
            values = (np.array([s[i] for s in states]) - low) / (high - low)
            if domain == "reacher" and i == 1:
                inner = (values > 1e-9) & (values < 1 - 1e-9)
                assert 0.4 < inner.mean() < 0.6
                values = values[inner]
            assert kstest(values, "uniform").pvalue > 1e-3

    def test_many_episodes_cover_the_ranges_at_any_time(self, physics_of):
        model, data = physics_of("cheetah")
        late = []
        for seed in range(300):
            walk = walk_of(model, data, 0.2, seed=seed)
            walk.advance(100)
            late.append(walk.state[:4])
        bounds = walk.bounds
        for values, (low, high) in zip(
            np.transpose(late), (bounds.radius, bounds.horizontal, bounds.vertical, bounds.roll), strict=True
        ):
            counts, _ = np.histogram(values, bins=4, range=(low, high))
            assert counts.min() > 15

    @every_domain
    def test_poses_are_rotations_that_look_at_the_point(self, physics_of, domain):
        model, data = physics_of(domain)
        start = camera_pose(data, 0)
        distance = np.linalg.norm(start.position - data.subtree_com[1])
        target = start.position - distance * start.rotation[:, 2] - anchor_of(domain, data)
        walk = walk_of(model, data, 0.3)
        now = moved(model, data)
        for _ in range(50):
            walk.advance(3)
            pose = walk.pose(now)
            is_rotation(pose.rotation)
            direction = target + anchor_of(domain, now) - pose.position
            np.testing.assert_allclose(-pose.rotation[:, 2], direction / np.linalg.norm(direction), atol=1e-9)
            if domain != "reacher":
                # The z component of a camera's x axis is the sine of its roll, foreshortened by the pitch.
                level = math.hypot(*pose.rotation[:2, 2])
                assert pose.rotation[2, 0] == pytest.approx(math.sin(walk.state.roll) * level, abs=1e-9)

    @pytest.mark.parametrize("domain", TRACKING)
    def test_a_tracking_camera_moves_along(self, physics_of, domain):
        model, data = physics_of(domain)
        now = moved(model, data)
        shift = now.subtree_com[1] - data.subtree_com[1]
        assert np.linalg.norm(shift) > 1e-2
        walk = walk_of(model, data, 0.3)
        np.testing.assert_allclose(walk.pose(now).position - walk.pose(data).position, shift, atol=1e-12)
        np.testing.assert_allclose(walk.pose(now).rotation, walk.pose(data).rotation, atol=1e-12)

    def test_a_fixed_camera_does_not(self, physics_of):
        model, data = physics_of("finger")
        now = moved(model, data)
        assert np.linalg.norm(now.subtree_com[1] - data.subtree_com[1]) > 1e-3
        walk = walk_of(model, data, 0.3)
        np.testing.assert_array_equal(walk.pose(now).position, walk.pose(data).position)
        np.testing.assert_array_equal(walk.pose(now).rotation, walk.pose(data).rotation)

    def test_several_steps_at_once_are_single_steps(self, physics_of):
        model, data = physics_of("walker")
        one, many = walk_of(model, data, 0.2), walk_of(model, data, 0.2)
        for _ in range(23):
            one.advance(1)
        for steps in (8, 0, 8, 7):
            many.advance(steps)
        assert one.state == many.state

    def test_seeds_reproduce_walks(self, physics_of):
        model, data = physics_of("cartpole")
        walks = [walk_of(model, data, 0.2, seed=seed) for seed in (5, 5, 6)]
        for walk in walks:
            walk.advance(10)
        assert walks[0].state == walks[1].state
        assert walks[0].state != walks[2].state

    def test_noise_does_not_depend_on_the_physics(self, physics_of):
        # Tracking cameras start at the same place relative to the agent, wherever that is, and then take equal steps.
        model, data = physics_of("cheetah")
        first, second = walk_of(model, data, 0.2), walk_of(model, moved(model, data), 0.2)
        for walk in (first, second):
            walk.advance(20)
        assert np.array(first.state[:4]) == pytest.approx(np.array(second.state[:4]), abs=1e-9)
        rngs = [np.random.default_rng(0) for _ in range(2)]
        for rng, domain in zip(rngs, ("reacher", "walker"), strict=True):
            CameraWalk(*physics_of(domain), 0, 0.2, True, True, False, rng).advance(5)
        assert rngs[0].bit_generator.state == rngs[1].bit_generator.state

    def test_static_and_dynamic_walks_start_in_the_same_place(self, physics_of):
        bounds = camera_bounds((0.0, -4.0, 2.0), 0.3, True)
        static, dynamic = (start_walk(bounds, 0.3, d, np.random.default_rng(3)) for d in (False, True))
        assert static[:4] == dynamic[:4]
        assert static.velocity == (0, 0, 0)

    def test_looking_changes_nothing(self, physics_of):
        model, data = physics_of("walker")
        before = camera_pose(data, 0)
        walk = walk_of(model, data, 0.3)
        np.testing.assert_array_equal(walk.pose(data).rotation, walk.pose(data).rotation)
        after = camera_pose(data, 0)
        np.testing.assert_array_equal(before.position, after.position)
        np.testing.assert_array_equal(before.rotation, after.rotation)


class TestErrors:
    @pytest.mark.parametrize("camera_id", [-1, 2])
    def test_camera_of_another_model(self, physics_of, camera_id):
        model, data = physics_of("cartpole")
        with pytest.raises(ValueError, match=r"camera_id must be in \[0, 2\)"):
            CameraWalk(model, data, camera_id, 0.1, True, True, False, np.random.default_rng(0))

    def test_cameras_that_aim(self, physics_of):
        model, data = physics_of("cartpole")
        with pytest.raises(ValueError, match=r"1 \('lookatcart'\) aims at a body"):
            walk_of(model, data, 0.1, camera_id=1)

    def test_cameras_on_moving_bodies(self, physics_of):
        model, data = physics_of("quadruped", "walk")
        with pytest.raises(ValueError, match="'egocentric'\\) is fixed to the moving body 'torso'"):
            walk_of(model, data, 0.1, camera_id=3)

    def test_a_camera_at_what_it_follows(self):
        model = mujoco.MjModel.from_xml_string(
            """<mujoco><worldbody><body><camera mode="track"/><joint/><geom size=".1"/></body></worldbody></mujoco>"""
        )
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        with pytest.raises(ValueError, match="at the point that it follows"):
            walk_of(model, data, 0.1)

    @pytest.mark.parametrize("strength", [0.0, 0.1])
    def test_numbers(self, physics_of, strength):
        model, data = physics_of("walker")
        with pytest.raises(ValueError, match="steps must be an integer of at least 0"):
            walk_of(model, data, strength).advance(-1)
        with pytest.raises(ValueError, match="strength"):
            walk_of(model, data, 1.5)
