"""Array tasks as tensors: the same episodes as in numpy, seed for seed."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.envs.arrays import like
from bisimgym.envs.torch_vector import TorchVectorEnv

#: Id, its arguments, and the tolerance of its floats; 0: to the bit.
TASKS = {
    "jumping": ("JumpingTask-v0", {}, 0),
    "jumping, skipped air": ("JumpingTask-v0", {"skip_air": True}, 0),
    "jumping in color": ("JumpingTaskColors-v0", {}, 0),
    "nav2d": ("Nav2D-v0", {"size": 8, "num_obstacles": 4, "min_goal_distance": 4}, 0),
    "nav2d, goal unseen": (
        "Nav2D-v0",
        {"size": 8, "num_obstacles": 4, "min_goal_distance": 4, "goal_visible": False},
        0,
    ),
    "nav2d corridor": ("Nav2DCorridor-v0", {}, 0),
    "nav2d with goals": ("Nav2DGoal-v0", {"size": 8, "num_obstacles": 4, "min_goal_distance": 4}, 0),
    "lqr": ("LQRDistractors-v0", {"num_distractors": 30, "horizon": 40}, 1e-6),
    "signals": ("MarkovSignal-v0", {"episode_length": 30}, 0),
}


def pair(name, num_envs=6):
    env_id, arguments, tolerance = TASKS[name]
    native, made = (gym.make_vec(f"bisimgym/{env_id}", num_envs=num_envs, **arguments) for _ in range(2))
    return native, TorchVectorEnv(made, "cpu"), tolerance


def assert_same(there, here, tolerance=0.0):
    if isinstance(here, dict):
        assert there.keys() == here.keys()
        for key in here:
            assert_same(there[key], here[key], tolerance)
        return
    assert isinstance(there, th.Tensor)
    assert there.shape == here.shape
    np.testing.assert_allclose(there.numpy(), here, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", TASKS)
def test_episodes_equal_those_of_numpy(name):
    native, there, tolerance = pair(name)
    (expected, info), (found, info_there) = native.reset(seed=3), there.reset(seed=3)
    assert_same(found, expected, tolerance)
    assert info.keys() == info_there.keys()
    native.action_space.seed(0)
    ends = 0
    for step in range(40 if "skipped" in name else 80):
        # Both ways of the agent: at random, and as the oracle says, which reaches the ends that matter.
        action = native.action_space.sample() if step % 3 else native.optimal_action()
        assert_same(there.optimal_action(), native.optimal_action(), 1e-5)
        expected, reward, *ended, info = native.step(action)
        given = action if step % 2 else th.from_numpy(np.asarray(action))
        found, reward_there, *ended_there, info_there = there.step(given)
        assert_same(found, expected, tolerance)
        assert_same(reward_there, reward, tolerance)
        for mine, theirs, flag in zip(ended_there, ended, there.ends_on_host, strict=True):
            assert_same(mine, theirs)
            np.testing.assert_array_equal(flag, theirs)
        done = ended[0] | ended[1]
        ends += int(done.sum())
        if not done.any():
            assert info_there == {}
            continue
        np.testing.assert_array_equal(info_there["_final_obs"], done)
        for i in np.flatnonzero(done):
            assert_same(info_there["final_obs"][i], info["final_obs"][i], tolerance)
        for key, value in info["final_info"].items():
            np.testing.assert_allclose(info_there["final_info"][key], value, rtol=tolerance)
    assert ends > 4
    np.testing.assert_allclose(there.optimal_return(), native.optimal_return())


def test_part_of_the_episodes_can_be_started_again():
    native, there, _ = pair("nav2d")
    mask = np.arange(6) % 2 == 0
    for envs in (native, there):
        envs.reset(seed=1)
        envs.step(np.ones(6, int))
    assert_same(there.reset(options={"reset_mask": mask})[0], native.reset(options={"reset_mask": mask})[0])


def test_tables_are_copied_to_a_device_once_and_forgotten_with_their_task():
    from bisimgym.envs import arrays

    table, tensor = np.arange(3), th.zeros(1)
    assert like(table, tensor) is like(table, tensor)
    assert like(table, np.zeros(1)) is table
    key = id(table), tensor.device
    assert key in arrays._TABLES
    del table
    assert key not in arrays._TABLES


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gym.make_vec("bisimgym/DistractorDial-v0", num_envs=2), "got DistractorDialTask"),
        (lambda: gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync"), "got SyncVectorEnv"),
        (lambda: gym.make_vec("bisimgym/Nav2D-v0", num_envs=2, autoreset_mode="Disabled"), "got 'Disabled'"),
    ],
)
def test_other_environments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        TorchVectorEnv(make(), "cpu")


def test_actions_of_another_shape_are_refused():
    _, there, _ = pair("nav2d")
    there.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must have shape \(6,\), got \(5,\)"):
        there.step(th.zeros(5, dtype=th.int64))
