"""Collecting: whole episodes, exact counts, seeds, policies, and going on after a kill."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
from episodes import assert_same

import bisimgym  # noqa: F401
from bisimgym.envs.nav2d.env import successor_observations
from bisimgym.envs.nav2d.layouts import distances_to, neighbors
from bisimgym.wrappers.offline import collect, load

NAV2D = "bisimgym/Nav2D-v0"


@pytest.fixture(scope="module", params=[0.0, 0.5, 1.0])
def data(request):
    arguments = {"env_kwargs": {"goal_visible": False}, "epsilon": request.param}
    return request.param, collect(NAV2D, "epsilon-greedy", 20_000, num_envs=50, seed=4, **arguments)


class TestNav2D:
    def test_episodes_are_whole_and_the_last_one_reaches_the_number_of_steps(self, data):
        _, d = data
        assert 20_000 <= len(d) < 20_000 + d.lengths[-1]
        assert d.lengths.max() <= 50
        ends = d.starts + d.lengths - 1
        np.testing.assert_array_equal(np.flatnonzero(d.terminated | d.truncated), ends)
        goal, cell = d.columns.per_episode["goal"], d.columns.observations["cell"]
        rows = np.arange(len(d))
        np.testing.assert_array_equal(d.terminated, cell[rows + d.episode + 1] == goal[d.episode])
        np.testing.assert_array_equal(d.rewards, np.where(d.terminated, 0, -1))
        np.testing.assert_array_equal(d.truncated[ends], d.lengths == 50)

    def test_actions(self, data):
        epsilon, d = data
        rows, cells = np.arange(len(d)), d.columns.observations["cell"]
        cell, next_cell = cells[rows + d.episode], cells[rows + d.episode + 1]
        grid = np.unpackbits(d.columns.per_episode["obstacles"][d.episode], axis=1, count=400)
        wanted = neighbors(20)[cell, d.actions]
        np.testing.assert_array_equal(next_cell, np.where(grid[rows, wanted] > 0, cell, wanted))
        distance = distances_to(grid.reshape(-1, 20, 20) == 0, d.columns.per_episode["goal"][d.episode].astype(int))
        nearer = distance[rows[:, None], neighbors(20)[cell]] < distance[rows, cell][:, None]
        best = (d.actions == nearer.argmax(axis=1)).mean()
        # Random actions are uniform over all four, the best one included.
        assert abs(best - (1 - 0.75 * epsilon)) < 0.02
        if epsilon == 0:
            assert best == 1
            assert d.terminated.sum() == d.num_episodes
            assert (cell != next_cell).all()
        if epsilon == 1:
            assert abs(np.bincount(d.actions) / len(d) - 0.25).max() < 0.015

    def test_the_goal_is_hidden_in_all_images(self, data):
        _, d = data
        rows = np.array([0, 1, 500, *np.flatnonzero(d.terminated)[:3], len(d) - 1])
        batch = d.sample(rows)
        assert not batch.observations[..., 2].any()
        assert not batch.next_observations[..., 2].any()
        predicted = successor_observations(batch.observations)
        np.testing.assert_array_equal(predicted[np.arange(len(rows)), batch.actions], batch.next_observations)

    def test_a_million_takes_little_memory(self, data):
        _, d = data
        assert d.nbytes / len(d) * 1e6 < 30e6


@pytest.mark.parametrize(
    ("env_id", "env_kwargs", "num_envs"),
    [
        (NAV2D, {}, 3),
        ("bisimgym/Nav2DCorridor-v0", {}, 2),
        ("bisimgym/Nav2DGoal-v0", {"size": 8, "num_obstacles": 3, "min_goal_distance": 4}, 2),
        ("bisimgym/LQRDistractors-v0", {}, 2),
        ("bisimgym/JumpingTask-v0", {}, 2),
        ("bisimgym/MarkovSignal-v0", {"episode_length": 40}, 2),
        ("CartPole-v1", {}, 2),
    ],
)
def test_streams_are_those_of_environments_with_their_seeds(env_id, env_kwargs, num_envs):
    d = collect(env_id, "random", 120 * num_envs, num_envs=num_envs, seed=11, env_kwargs=env_kwargs)
    episode = 0
    env = gym.make(env_id, **env_kwargs)
    for stream in range(num_envs):
        seeds = d.columns.per_episode["seed"]
        count = int((seeds == 11 + stream).sum())
        for number in range(count):
            assert (seeds[episode], d.columns.per_episode["number"][episode]) == (11 + stream, number)
            shown = [env.reset(seed=11 + stream if number == 0 else None)[0]]
            rows = d.starts[episode] + np.arange(d.lengths[episode])
            for row in rows:
                observation, reward, terminated, truncated, _ = env.step(d.actions[row])
                shown.append(observation)
                assert reward == pytest.approx(d.rewards[row], abs=0 if "LQR" not in env_id else 1e-6)
                assert (terminated, truncated) == (d.terminated[row], d.truncated[row])
            batch = d.sample(rows)
            for t, (now, after) in enumerate(itertools.pairwise(shown)):
                for key in [None] if not isinstance(now, dict) else now:
                    for drawn, true in ((batch.observations, now), (batch.next_observations, after)):
                        a, b = (drawn[t], true) if key is None else (drawn[key][t], true[key])
                        # One and many of LQR agree to rounding.
                        np.testing.assert_allclose(a, b, rtol=1e-5 if "LQR" in env_id else 0, atol=0)
            episode += 1
    assert episode == d.num_episodes


def test_a_stream_does_not_depend_on_what_runs_beside_it():
    one = collect(NAV2D, "epsilon-greedy", 200, num_envs=1, seed=5, epsilon=0.3)
    many = collect(NAV2D, "epsilon-greedy", 800, num_envs=4, seed=4, epsilon=0.3)
    of_many = np.flatnonzero(many.columns.per_episode["seed"] == 5)
    assert len(of_many) == one.num_episodes
    assert_same(one.columns, many.columns.slice(of_many[0], of_many[-1] + 1))


def test_later_parts_have_seeds_of_their_own():
    d = collect(NAV2D, "random", 300, num_envs=2, seed=0, part_steps=100)
    assert set(d.columns.per_episode["seed"].tolist()) == set(range(6))


class _Recurrent:
    """Acts by a counter since the start of the episode, to see that states and starts reach an agent."""

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        assert observation.shape[1:] == (20, 20, 3)
        count = np.zeros(len(observation), dtype=np.int64) if state is None else state + 1
        count = np.where(episode_start, 0, count)
        return count % 4, count


class TestPolicies:
    def test_an_agent(self):
        d = collect(NAV2D, _Recurrent(), 500, num_envs=3)
        np.testing.assert_array_equal(d.actions, (np.arange(len(d)) - d.starts[d.episode]) % 4)
        assert d.info["policy"].endswith("._Recurrent")

    def test_an_agent_with_chance(self):
        d = collect(NAV2D, _Recurrent(), 8000, num_envs=20, epsilon=0.5)
        agrees = d.actions == (np.arange(len(d)) - d.starts[d.episode]) % 4
        assert abs(agrees.mean() - (0.5 + 0.5 / 4)) < 0.02

    def test_random_actions_of_a_box(self):
        d = collect("bisimgym/LQRDistractors-v0", "random", 500, num_envs=2)
        assert d.actions.dtype == np.float32
        assert abs(d.actions.mean()) < 0.02
        assert abs(d.actions.std() - 1 / np.sqrt(3)) < 0.02
        assert np.abs(np.corrcoef(d.actions.T) - np.eye(20)).max() < 0.25

    @pytest.mark.parametrize(
        ("env_id", "policy", "epsilon", "message"),
        [
            (NAV2D, "clever", None, "unknown policy 'clever': choose from oracle, random, epsilon-greedy"),
            (NAV2D, "oracle", 0.1, 'policy "oracle" has no epsilon'),
            (NAV2D, "random", 0.1, 'epsilon is not for policy "random"'),
            (NAV2D, "epsilon-greedy", 1.5, r"epsilon must be a number in \[0, 1\], got 1.5"),
            (NAV2D, object(), None, "or have predict"),
            ("CartPole-v1", "oracle", None, "needs an oracle, which this environment lacks"),
            ("MountainCarContinuous-v0", lambda: None, None, "or have predict"),
        ],
    )
    def test_bad_policies(self, env_id, policy, epsilon, message):
        with pytest.raises(ValueError, match=message):
            collect(env_id, policy, 10, epsilon=epsilon)

    def test_actions_outside_the_space(self):
        class Bad:
            def predict(self, observation, state=None, episode_start=None, deterministic=True):
                return np.full(len(observation), 9), None

        with pytest.raises(ValueError, match="the agent gave actions"):
            collect(NAV2D, Bad(), 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": 0}, "num_steps must be an integer of at least 1, got 0"),
        ({"num_envs": 0}, "num_envs must be"),
        ({"seed": -1}, "seed must be"),
        ({"form": "tape"}, "form must be one of"),
        ({"form": "states"}, "form 'states' is not one of"),
        ({"form": "minari"}, "needs a name"),
        ({"env_kwargs": {"size": {1, 2}}}, "env_kwargs must be values that JSON has"),
        ({"env_kwargs": {"sise": 8}}, "does not take env_kwargs"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        collect(NAV2D, "random", **{"num_steps": 10, **arguments})


def test_information(tmp_path):
    d = collect(
        NAV2D,
        "epsilon-greedy",
        100,
        num_envs=2,
        seed=3,
        env_kwargs={"size": 8, "num_obstacles": 2, "min_goal_distance": 4},
    )
    assert d.info["env_id"] == NAV2D
    assert d.info["env_kwargs"]["size"] == 8
    assert (d.info["policy"], d.info["epsilon"], d.info["seed"], d.info["num_envs"]) == ("epsilon-greedy", 0.1, 3, 2)
    assert d.info["versions"]["gymnasium"] == gym.__version__
    other = collect(NAV2D, "random", 100)
    assert len(d.info["environment_digest"]) == 64
    assert other.info["environment_digest"] != d.info["environment_digest"]


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("form", ["compact", "arrays"])
def test_a_killed_collection_goes_on_and_gives_the_same_data(tmp_path, form):
    arguments = {"num_envs": 2, "seed": 1, "part_steps": 300, "form": form}
    whole = collect(NAV2D, "epsilon-greedy", 2000, dataset=tmp_path / "whole", **arguments)
    steps = []

    def kill(done, total):
        steps.append(done)
        if len(steps) in (400, 700):
            raise _Killed

    for _ in range(2):
        with pytest.raises(_Killed):
            collect(NAV2D, "epsilon-greedy", 2000, dataset=tmp_path / "killed", progress=kill, **arguments)
        with pytest.raises(FileNotFoundError, match="is not finished .* give the command"):
            load(tmp_path / "killed")
    again = collect(NAV2D, "epsilon-greedy", 2000, dataset=tmp_path / "killed", progress=kill, **arguments)
    assert_same(whole.columns, again.columns)
    assert again.info == whole.info
    assert len(steps) < 700 + 2000  # what was written was not played again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


def test_other_settings_are_refused(tmp_path):
    def kill(done, total):
        if done > 400:
            raise _Killed

    with pytest.raises(_Killed):
        collect(NAV2D, "random", 1000, num_envs=1, part_steps=200, dataset=tmp_path / "d", progress=kill)
    with pytest.raises(ValueError, match="begun with other settings .seed was 0 and is 1."):
        collect(NAV2D, "random", 1000, num_envs=1, part_steps=200, dataset=tmp_path / "d", seed=1)


def test_a_name_that_exists_is_refused(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="mine exists: take another name"):
        collect(NAV2D, "random", 10, dataset=tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "precious"
    collect(NAV2D, "random", 10, dataset=tmp_path / "d")
    with pytest.raises(FileExistsError, match="exists"):
        collect(NAV2D, "random", 10, dataset=tmp_path / "d")
