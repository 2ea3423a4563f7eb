"""Epsilon-greedy data of Nav2D."""

import gymnasium as gym
import numpy as np
import pytest

import bisimgym  # noqa: F401
from bisimgym.envs.nav2d.data import collect_nav2d
from bisimgym.envs.nav2d.env import successor_observations
from bisimgym.envs.nav2d.layouts import distances_to, neighbors


@pytest.fixture(scope="module", params=[0.0, 0.5, 1.0])
def data(request):
    return request.param, collect_nav2d(20_000, request.param, seed=4, num_streams=50)


def test_episodes_are_whole_and_in_order(data):
    _, d = data
    assert 20_000 <= len(d) < 20_000 + 50 * 50
    assert (np.diff(d.episode) >= 0).all()
    ends = d.terminated | d.truncated
    last = np.append(d.episode[1:] != d.episode[:-1], True)
    np.testing.assert_array_equal(ends, last)
    inside = ~last[:-1]
    np.testing.assert_array_equal(d.next_cell[:-1][inside], d.cell[1:][inside])
    assert np.bincount(d.episode).max() <= 50
    np.testing.assert_array_equal(d.terminated, d.next_cell == d.goal[d.episode])
    np.testing.assert_array_equal(d.reward, np.where(d.terminated, 0, -1))
    assert d.episode[-1] + 1 == len(d.goal) == len(d.obstacles)


def test_actions(data):
    epsilon, d = data
    bumps = d.cell == d.next_cell
    if epsilon == 0:
        assert d.terminated.sum() == len(d.goal)  # every episode succeeds
        assert not bumps.any()
    else:
        assert bumps.any()
    grid = np.unpackbits(d.obstacles[d.episode], axis=1, count=400)
    wanted = neighbors(20)[d.cell, d.action]
    blocked = grid[np.arange(len(d)), wanted] > 0
    np.testing.assert_array_equal(d.next_cell, np.where(blocked, d.cell, wanted))
    if epsilon == 1:
        assert abs(np.bincount(d.action) / len(d) - 0.25).max() < 0.015
    if epsilon == 0.5:
        rows = np.arange(0, 20_000, 40)
        distance = distances_to(grid[rows].reshape(-1, 20, 20) == 0, d.goal[d.episode[rows]].astype(np.int64))
        ways = np.stack([distance[np.arange(500), cell[rows]] for cell in (d.cell, d.next_cell)], axis=1)
        nearer = (ways[:, 1] < ways[:, 0]).mean()
        assert 0.5 < nearer < 0.8  # half of the time surely, and sometimes by chance


def test_images(data):
    _, d = data
    rows = np.array([0, 1, 500, len(d) - 1])
    before, after = d.observations(rows)
    assert before.shape == after.shape == (4, 20, 20, 3)
    assert not before[..., 2].any()
    assert not after[..., 2].any()  # also of steps onto the goal
    np.testing.assert_array_equal(before[..., 1].reshape(4, -1).argmax(axis=1), d.cell[rows])
    predicted = successor_observations(before)
    np.testing.assert_array_equal(predicted[np.arange(4), d.action[rows]], after)
    shown, _ = d.observations(rows, goal_visible=True)
    np.testing.assert_array_equal(shown[..., 2].reshape(4, -1).argmax(axis=1), d.goal[d.episode[rows]])


def test_streams_draw_the_layouts_of_the_environment():
    d = collect_nav2d(300, 0.0, seed=11, num_streams=3)
    env = gym.make("bisimgym/Nav2D-v0")
    episode = 0
    for stream in range(3):
        count = 0
        while count < 100:
            observation, _ = env.reset(seed=11 + stream if count == 0 else None)
            rows = np.flatnonzero(d.episode == episode)
            np.testing.assert_array_equal(observation, d.observations(rows[:1], goal_visible=True)[0][0])
            count += len(rows)
            episode += 1
    assert episode == len(d.goal)


def test_a_million_takes_little_memory(data):
    _, d = data
    assert d.nbytes / len(d) * 1e6 < 30e6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_transitions": 0}, "num_transitions must be an integer of at least 1, got 0"),
        ({"epsilon": 1.5}, r"epsilon must be a number in \[0, 1\], got 1.5"),
        ({"num_streams": 0}, "num_streams must be"),
        ({"max_episode_steps": 2.5}, "max_episode_steps must be"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        collect_nav2d(**{"num_transitions": 10, "epsilon": 0.1, **arguments})
