"""Nav2D: dynamics, observations, the corridor, goals and the finite process."""

import gymnasium as gym
import numpy as np
import pytest

import bisimgym  # noqa: F401
from bisimgym.envs.nav2d import env as nav2d
from bisimgym.envs.nav2d.layouts import LayoutRules, draw_layouts, neighbors

PLAIN, CORRIDOR, GOAL = "bisimgym/Nav2D-v0", "bisimgym/Nav2DCorridor-v0", "bisimgym/Nav2DGoal-v0"


class TestDynamics:
    def test_moves_bumps_and_rewards(self):
        grid = np.zeros((5, 5), dtype=np.uint8)
        grid[2, 1] = 255
        state = nav2d.Nav2DState(
            obstacles=grid.reshape(1, -1),
            distance=np.zeros((1, 25), dtype=np.int16),
            start=np.array([6]),
            goal=np.array([2]),
            cell=np.array([6]),  # row 1, column 1
            step=np.array([0]),
        )
        for action, cell in [(0, 6), (1, 7), (2, 1), (3, 5)]:  # down is blocked
            next_state, reward, reached = nav2d.transition(state, np.array([action]), 5)
            assert next_state.cell == cell
            assert next_state.step == 1
            assert (reward, reached) == (-1, False)
        above = nav2d.transition(state, np.array([2]), 5)[0]
        assert nav2d.transition(above, np.array([2]), 5)[0].cell == 1  # off the grid
        next_state, reward, reached = nav2d.transition(above, np.array([1]), 5)
        assert (next_state.cell, reward, reached) == (2, 0, True)

    def test_terminated_on_the_goal_truncated_at_the_limit(self):
        env = gym.make(PLAIN)
        _, info = env.reset(seed=0)
        distance = 1 - env.unwrapped.optimal_return()
        total, steps, done = 0.0, 0, False
        while not done:
            _, reward, terminated, truncated, info = env.step(env.unwrapped.optimal_action())
            total, steps, done = total + reward, steps + 1, terminated or truncated
        assert (terminated, truncated, info["is_success"]) == (True, False, True)
        assert (steps, total) == (distance, 1 - distance)
        assert reward == 0
        # The goal entered on the very last step counts; the time limit says so too.
        limited = gym.make(PLAIN, max_episode_steps=int(distance))
        limited.reset(seed=0)
        for _ in range(int(distance)):
            _, _, terminated, truncated, info = limited.step(limited.unwrapped.optimal_action())
        assert (terminated, truncated, info["is_success"]) == (True, True, True)
        short = gym.make(PLAIN, max_episode_steps=int(distance) - 1)
        short.reset(seed=0)
        for _ in range(int(distance) - 1):
            _, reward, terminated, truncated, info = short.step(short.unwrapped.optimal_action())
        assert (reward, terminated, truncated, info["is_success"]) == (-1, False, True, False)

    @pytest.mark.parametrize("limit", [5, 80])
    def test_time_limits_of_one_and_of_many(self, limit):
        env = gym.make(PLAIN, max_episode_steps=limit)
        envs = gym.make_vec(PLAIN, num_envs=1, max_episode_steps=limit, autoreset_mode="Disabled")
        envs.reset(seed=0)
        env.reset(seed=0)
        for step in range(1, limit + 1):  # into the border, or back and forth
            *_, terminated, truncated, info = env.step(step % 2 * 2)
            *_, ended, cut, infos = envs.step(np.array([step % 2 * 2]))
            assert (terminated, truncated) == (ended[0], cut[0]) == (False, step == limit)
            assert info["is_success"] == infos["is_success"][0] == False  # noqa: E712
        assert envs.unwrapped.optimal_return()[0] == env.unwrapped.optimal_return()
        assert envs.unwrapped.random_return()[0] == env.unwrapped.random_return()

    def test_returns_without_a_time_limit(self):
        env = gym.make(PLAIN, size=5, num_obstacles=2, obstacle_size=1, min_goal_distance=3, max_episode_steps=-1)
        env.reset(seed=0)
        mdp = env.unwrapped.mdp()
        uniform = np.full((mdp.num_states, 4), 0.25)
        i, j = env.reset(seed=0)[1]["position"]
        start = mdp.state_names.index(f"({i}, {j})")
        assert env.unwrapped.random_return() == pytest.approx(mdp.policy_returns(uniform, 10**5)[start], rel=1e-9)
        assert env.unwrapped.optimal_return() == mdp.optimal_values(1.0)[start]

    def test_info_tells_cells(self):
        env = gym.make(PLAIN)
        observation, info = env.reset(seed=1)
        assert observation[(*info["position"], 1)] == observation[(*info["goal"], 2)] == 255

    def test_the_oracle_takes_the_lowest_numbered_action_that_leads_nearer(self):
        layouts = draw_layouts(LayoutRules(), np.random.default_rng(0).integers(2**64, size=300, dtype=np.uint64))
        state = nav2d.initial_state(layouts)
        action = nav2d.optimal_action(state, 20)
        for i in range(300):
            here = layouts.distance[i, layouts.start[i]]
            nearer = [a for a in range(4) if layouts.distance[i, neighbors(20)[layouts.start[i], a]] < here]
            assert action[i] == nearer[0]


class TestObservation:
    def test_channels(self):
        envs = gym.make_vec(PLAIN, num_envs=50)
        observation, info = envs.reset(seed=0)
        state = envs.unwrapped.state
        assert set(np.unique(observation)) == {0, 255}
        np.testing.assert_array_equal(observation[..., 0].reshape(50, -1), state.obstacles)
        for channel, cells in ((1, info["position"]), (2, info["goal"])):
            assert (observation[..., channel] == 255).sum() == 50
            assert (observation[np.arange(50), cells[:, 0], cells[:, 1], channel] == 255).all()

    def test_a_hidden_goal_leaves_the_rest_as_it_is(self):
        shown, hidden = (gym.make_vec(PLAIN, num_envs=20, goal_visible=v) for v in (True, False))
        a, b = shown.reset(seed=5)[0], hidden.reset(seed=5)[0]
        np.testing.assert_array_equal(a[..., :2], b[..., :2])
        assert not b[..., 2].any()
        for _ in range(120):
            action = shown.unwrapped.optimal_action()
            step_a, step_b = shown.step(action), hidden.step(action)
            np.testing.assert_array_equal(step_a[1], step_b[1])
            assert not step_b[0][..., 2].any()

    def test_the_one_step_model_says_what_the_environment_does(self):
        envs = gym.make_vec(PLAIN, num_envs=60, autoreset_mode="Disabled")
        observation, _ = envs.reset(seed=2)
        envs.action_space.seed(0)
        for _ in range(9):  # no goal is nearer than ten steps
            predicted = nav2d.successor_observations(observation)
            assert predicted.shape == (60, 4, 20, 20, 3)
            action = envs.action_space.sample()
            observation = envs.step(action)[0]
            np.testing.assert_array_equal(predicted[np.arange(60), action], observation)

    def test_the_one_step_model_refuses_other_images(self):
        with pytest.raises(ValueError, match="must be uint8"):
            nav2d.successor_observations(np.zeros((2, 20, 20)))
        with pytest.raises(ValueError, match="one agent"):
            nav2d.successor_observations(np.zeros((2, 20, 20, 3)))


class TestCorridor:
    def test_layout(self):
        envs = gym.make_vec(CORRIDOR, num_envs=400)
        observation, info = envs.reset(seed=0)
        obstacles = observation[..., 0] > 0
        assert obstacles[:, [9, 12]].all()
        assert not obstacles[:, 10:12].any()
        assert (info["position"] == [11, 10]).all()
        goals = {tuple(goal) for goal in info["goal"].tolist()}
        assert goals == {(11, 0), (10, 0), (10, 1), (10, 19)}  # all that is ten steps away
        # The blocks above and below are those of Nav2D.
        rest = np.delete(obstacles, [9, 10, 11, 12], axis=1)
        assert abs(rest[:, :8, :19].mean() - (1 - 0.99**15)) < 0.01

    def test_what_cannot_be_reached_does_not_matter(self):
        envs = gym.make_vec(CORRIDOR, num_envs=2, autoreset_mode="Disabled")
        seeds = [s for s in range(40) if tuple(envs.reset(seed=[s, s])[1]["goal"][0]) == (10, 19)][:2]
        observation, _ = envs.reset(seed=seeds)
        assert (observation[0] != observation[1]).any()
        while True:
            action = envs.unwrapped.optimal_action()
            assert action[0] == action[1]
            observation, reward, terminated, _, _ = envs.step(action)
            np.testing.assert_array_equal(observation[0, 9:13], observation[1, 9:13])
            assert reward[0] == reward[1]
            if terminated.any():
                assert terminated.all()
                break


class TestGoal:
    def test_observation_and_reward(self):
        envs = gym.make_vec(GOAL, num_envs=30, autoreset_mode="Disabled")
        plain = gym.make_vec(PLAIN, num_envs=30, autoreset_mode="Disabled")
        a, b = envs.reset(seed=3)[0], plain.reset(seed=3)[0]
        for _ in range(10):
            np.testing.assert_array_equal(a["observation"], b[..., :2])
            for i in range(30):
                assert a["observation"][(i, *a["achieved_goal"][i], 1)] == 255
                assert b[(i, *a["desired_goal"][i], 2)] == 255
            action = envs.unwrapped.optimal_action()
            (a, reward, terminated, _, _), (b, expected, _, _, _) = envs.step(action), plain.step(action)
            np.testing.assert_array_equal(reward, expected)
            reached = envs.unwrapped.compute_reward(a["achieved_goal"], a["desired_goal"], {})
            np.testing.assert_array_equal(reached, reward)
            np.testing.assert_array_equal(reached == 0, terminated)
            if terminated.any():
                break

    def test_reward_of_any_goals(self):
        env = gym.make(GOAL).unwrapped
        assert env.compute_reward(np.array([1, 2]), np.array([1, 2]), {}) == 0.0
        assert env.compute_reward(np.array([1, 2]), np.array([2, 1]), None) == -1.0
        achieved = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
        desired = achieved.copy()
        desired[0, 1, 0] = 9
        np.testing.assert_array_equal(env.compute_reward(achieved, desired, [{}]), [[0, -1], [0, 0]])
        with pytest.raises(ValueError, match="goals must both be"):
            env.compute_reward(np.zeros(2), np.zeros((3, 2)), {})

    def test_rollouts_follow_the_arrays(self):
        env = gym.make(PLAIN, max_episode_steps=400)
        rng = np.random.default_rng(0)
        for seed in range(5):
            _, info = env.reset(seed=seed)
            mdp = env.unwrapped.mdp()
            assert mdp.num_states == 400 - (env.unwrapped.state.obstacles > 0).sum()
            index = mdp.state_names.index(str(tuple(int(i) for i in info["position"])))
            values = mdp.optimal_values(discount=0.999)
            terminated = truncated = False
            while not (terminated or truncated):
                best = env.unwrapped.optimal_action()
                quality = mdp.reward[index] + 0.999 * values[mdp.transition[index]]
                assert quality[best] == pytest.approx(quality.max(), abs=1e-9)
                action = int(rng.integers(4)) if rng.random() < 0.2 else best
                _, reward, terminated, truncated, info = env.step(action)
                assert reward == mdp.reward[index, action]
                index = mdp.transition[index, action]
            assert mdp.terminal[index] == terminated
            assert mdp.state_names[index] == str(tuple(int(i) for i in info["position"]))

    def test_bad_layouts(self):
        with pytest.raises(ValueError, match=r"must be bool\[size, size\]"):
            nav2d.nav2d_mdp(np.zeros((3, 4)), (0, 0))
        with pytest.raises(ValueError, match="must be a free cell"):
            nav2d.nav2d_mdp(np.ones((3, 3)), (0, 0))
        with pytest.raises(ValueError, match="must be a free cell"):
            nav2d.nav2d_mdp(np.zeros((3, 3)), (0, 3))


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"size": 3}, "size must be an integer from 4 to 60, got 3"),
            ({"size": "20"}, "size must be an integer from 4 to 60, got '20'"),
            ({"num_obstacles": -1}, "num_obstacles must be an integer from 0 to 400, got -1"),
            ({"obstacle_size": 21}, "obstacle_size must be an integer from 1 to 20, got 21"),
            ({"min_goal_distance": 39}, "min_goal_distance must be an integer from 1 to 38, got 39"),
            ({"num_obstacles": 400}, r"num_obstacles=400 blocks .* in only 0 of 400 random layouts: use fewer"),
            ({"obstacle_size": 20}, "in only"),
            ({"goal_visible": 1}, "goal_visible must be True or False, got 1"),
        ],
    )
    def test_bad_settings_are_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            gym.make(PLAIN, **arguments)
        with pytest.raises(ValueError, match=message):
            gym.make_vec(PLAIN, num_envs=2, **arguments)

    def test_a_bad_time_limit(self):
        with pytest.raises(ValueError, match="max_episode_steps must be an integer of at least 1, or None, got 0"):
            gym.make_vec(PLAIN, num_envs=2, max_episode_steps=0)

    def test_unknown_reset_options(self):
        with pytest.raises(ValueError, match=r"unknown reset options \['goal'\]"):
            gym.make(PLAIN).reset(options={"goal": 3})
