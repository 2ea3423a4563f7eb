"""LQR with distractors: environments, arguments and images."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

from bisimgym.envs.array_task import select
from bisimgym.envs.lqr import env as lqr
from bisimgym.envs.lqr import lqr_system, riccati

P = (0.64 + np.sqrt(0.64**2 + 4)) / 2  # p^2 - 0.64 p - 1 = 0


def play(envs, act):
    """Return the cost of each sub-environment's episode. ``envs`` are fresh from ``reset``, with autoreset off."""
    total, ended = np.zeros(envs.num_envs), np.zeros(envs.num_envs, dtype=bool)
    while not ended.any():
        _, reward, terminated, ended, infos = envs.step(act())
        assert not terminated.any()
        total -= reward
    assert ended.all()
    np.testing.assert_allclose(infos["cost"], total, rtol=1e-12)
    return total


class TestEnvironment:
    def test_a_step_by_hand(self):
        env = lqr.LQRDistractorsEnv(num_distractors=30, system_seed=1, distractor_seed=5, horizon=3)
        observation, info = env.reset(seed=0)
        s, system = info["state"], env.system
        assert s.shape == (20,)
        assert s.dtype == np.float64
        assert info.keys() == {"state"}
        rng, total = np.random.default_rng(0), 0.0
        for step in range(1, 4):
            assert observation.dtype == np.float32
            np.testing.assert_allclose(observation, system.observation_matrix @ s, atol=1e-6)
            action = rng.uniform(-1, 1, 20).astype(np.float32)
            observation, reward, terminated, truncated, info = env.step(action)
            f = 10 * action.astype(np.float64)
            assert reward == pytest.approx(-(s @ s + f @ f), rel=1e-12)
            s, total = system.A @ s + f, total + reward
            np.testing.assert_allclose(env.state.coordinates[0], s, rtol=1e-12, atol=1e-12)
            assert (terminated, truncated) == (False, step == 3)
        assert info == {"cost": pytest.approx(-total, rel=1e-12)}

    def test_starts_are_standard_normal(self):
        envs = lqr.LQRDistractorsVectorEnv(num_envs=4000, num_distractors=20)
        states = envs.reset(seed=0)[1]["state"]
        assert np.abs(states.mean(axis=0)).max() < 0.08
        assert np.abs(np.cov(states.T) - np.eye(20)).max() < 0.12
        np.testing.assert_array_equal(states[7], lqr.LQRDistractorsEnv(20).reset(seed=7)[1]["state"])

    def test_the_state_is_not_the_callers(self):
        env = lqr.LQRDistractorsEnv(num_distractors=20)
        _, info = env.reset(seed=0)
        promised = env.optimal_return()
        info["state"] *= 0
        assert env.optimal_return() == promised

    @pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
    def test_linear_policies_cost_what_the_theory_says(self, share):
        system = lqr_system(500, 0, 6)
        through = share * np.linalg.inv(system.Wc), (1 - share) * system.Wd.T  # [Wc^-1, Wd^+]: f = -F* s either way
        gain = riccati(system)[1] @ np.concatenate(through, axis=1)
        envs = lqr.LQRDistractorsVectorEnv(num_envs=30, distractor_seed=6, horizon=128, autoreset_mode="Disabled")
        observation, infos = envs.reset(seed=0)
        expected = P * np.sum(infos["state"] ** 2, axis=1)  # s'Ps with P = p I

        def act():
            return (-(envs.task.observe(envs.state) @ gain.T) / lqr.ACTION_SCALE).astype(np.float32)

        np.testing.assert_array_equal(observation, envs.task.observe(envs.state))
        np.testing.assert_allclose(play(envs, act), expected, rtol=1e-5)
        np.testing.assert_allclose(-envs.optimal_return(), expected, rtol=1e-12)

    def test_zero_forces_cost_what_the_theory_says(self):
        envs = lqr.LQRDistractorsVectorEnv(num_envs=10, num_distractors=20, horizon=128, autoreset_mode="Disabled")
        _, infos = envs.reset(seed=0)
        expected = np.sum(infos["state"] ** 2, axis=1) / 0.36
        np.testing.assert_allclose(play(envs, lambda: np.zeros((10, 20), np.float32)), expected, rtol=1e-12)

    def test_the_oracle_averages_the_reference_cost(self):
        envs = lqr.LQRDistractorsVectorEnv(num_envs=4000, num_distractors=20, autoreset_mode="Disabled")
        envs.reset(seed=1)
        costs = play(envs, envs.optimal_action)
        np.testing.assert_allclose(costs, -envs.optimal_return(), rtol=1e-9)
        assert costs.mean() == pytest.approx(27.3990, abs=4 * costs.std() / np.sqrt(len(costs)))

    def test_random_return_by_hand(self):
        per_step = 20 * 100 / 3  # E|f|^2
        for horizon, of_start, of_forces in [(1, 1, 1), (2, 1.64, 2 + 1), (3, 1.64 + 0.64**2, 3 + 1 + 1.64)]:
            env = lqr.LQRDistractorsEnv(num_distractors=20, horizon=horizon)
            s = env.reset(seed=0)[1]["state"]
            assert env.random_return() == pytest.approx(-(of_start * s @ s + of_forces * per_step), rel=1e-12)
            if horizon == 1:
                assert env.optimal_return() == pytest.approx(-(1 + (0.8 * P / (1 + P)) ** 2) * s @ s, rel=1e-12)

    def test_oracle_actions_stay_inside_the_box(self):
        envs = lqr.LQRDistractorsVectorEnv(num_envs=4000, num_distractors=20)
        envs.reset(seed=2)
        assert np.abs(envs.optimal_action()).max() < 0.5
        envs.state = dataclasses.replace(envs.state, coordinates=1000 * envs.state.coordinates)
        assert envs.action_space.contains(envs.optimal_action())


@pytest.mark.parametrize("scale", [1e-12, 1.0, 200.0])
def test_one_row_and_many_agree_to_rounding(scale):
    task = lqr.LQRTask(2000, 0, 1, 100, "gaussian")
    rng = np.random.default_rng(1)
    state = task.initial(np.arange(200, dtype=np.uint64), {})
    state = dataclasses.replace(state, coordinates=scale * state.coordinates)
    action = (rng.uniform(-1, 1, (200, 20)) * min(scale, 1)).astype(np.float32)
    next_state, reward, _, _ = task.transition(state, action)
    close = {"rtol": 1e-12, "atol": 1e-14 * max(scale, 10 * min(scale, 1))}
    for count in (1, 2, 33):
        part, some = select(state, np.arange(count)), action[:count]
        next_part, part_reward, _, _ = task.transition(part, some)
        np.testing.assert_allclose(next_part.coordinates, next_state.coordinates[:count], **close)
        np.testing.assert_allclose(part_reward, reward[:count], rtol=1e-12)
        np.testing.assert_allclose(task.observe(part), task.observe(state)[:count], rtol=1e-6, atol=1e-7 * scale)
        np.testing.assert_allclose(task.optimal_action(part), task.optimal_action(state)[:count], rtol=1e-6)


class TestArguments:
    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"horizon": 0}, "horizon must be an integer from 1 to 100000, got 0"),
            ({"horizon": 10**6}, "horizon must be an integer from 1 to 100000, got 1000000"),
            ({"horizon": 2.5}, "horizon must be an integer from 1 to 100000, got 2.5"),
            ({"render_mode": "ansi"}, "render_mode must be None or one of"),
        ],
    )
    def test_bad_arguments_are_named(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            lqr.LQRDistractorsEnv(**kwargs)

    def test_bad_actions_and_options_are_named(self):
        env = lqr.LQRDistractorsEnv(num_distractors=20)
        with pytest.raises(ValueError, match="unknown reset options .*'start'.*: this task has none"):
            env.reset(options={"start": 3})
        with pytest.raises(gym.error.ResetNeeded):
            env.step(np.zeros(20, np.float32))
        env.reset()
        for wrong in (np.full(20, 1.01, np.float32), np.zeros(19, np.float32), np.full(20, np.nan, np.float32)):
            with pytest.raises(ValueError, match="is not in Box"):
                env.step(wrong)

    def test_spaces(self):
        env = lqr.LQRDistractorsEnv(num_distractors=np.int64(1000), entries="gaussian")
        assert env.observation_space.shape == (1020,)
        assert env.observation_space.is_bounded()
        assert env.action_space == gym.spaces.Box(-1, 1, (20,), np.float32)
        np.testing.assert_array_equal(env.system.Wd, lqr_system(1000, entries="gaussian").Wd)


class TestImage:
    def shown(self, coordinates=0.0, force=0.0, features=0.0, progress=0.0, count=500):
        one = np.ones(20)
        return lqr.draw(coordinates * one, force * one, features * np.ones(20 + count), progress)

    def colors(self, image):
        return {tuple(color) for color in image.reshape(-1, 3).tolist()}

    def test_size_and_rest(self):
        image = self.shown()
        assert image.shape == (400, 640, 3)
        assert image.dtype == np.uint8
        assert self.colors(image) == {lqr._WALL, lqr._PANEL, lqr._LINE}

    def test_positive_is_up_and_warm(self):
        for sign, color in ((1, lqr._WARM), (-1, lqr._COLD)):
            rows = np.flatnonzero((self.shown(coordinates=3.0 * sign) == color).all(axis=2).any(axis=1))
            middle = 400 - 188 - 94  # of the upper left panel
            assert (rows < middle).all() if sign > 0 else (rows >= middle).all()
            assert 50 < len(rows) < 94
            assert (self.shown(force=3.0 * sign) == color).all(axis=2).any()
            red, _, blue = self.shown(features=2.0 * sign)[200, 400].tolist()
            assert (red > blue) == (sign > 0)

    def test_progress(self):
        filled = [(self.shown(progress=x)[-27] == lqr._LINE).all(axis=1).sum() for x in (0, 0.5, 1)]
        assert filled == [0, 296, 592]

    @pytest.mark.parametrize("count", [20, 333, 1000, 10_000, 10_001, 90_000, 100_000])
    def test_any_number_of_distractors_fits(self, count):
        image = self.shown(features=1e9, count=count)
        panel = image[400 - 48 - 300 : 400 - 48, 316:616]
        warm = np.abs(panel.astype(int) - lqr._WARM).max(axis=2) <= 1
        assert warm.mean() > 0.4
        image[400 - 48 - 300 : 400 - 48, 316:616] = lqr._WALL
        image[400 - 361 - 15 : 400 - 361, 316:616] = lqr._WALL
        assert self.colors(image) == {lqr._WALL, lqr._PANEL, lqr._LINE}  # nothing is drawn beside the panels

    def test_caption(self):
        env = lqr.LQRDistractorsEnv(num_distractors=20, render_mode="rgb_array")
        env.reset(seed=0)
        reward = env.step(np.zeros(20, np.float32))[1]
        caption = env.task.caption(env.state, 0)
        assert caption == f"LQR with 20 distractors: step 1 of 100, cost so far {-reward:.1f}"
        assert (env.render() != lqr.draw(np.zeros(20), np.zeros(20), np.zeros(40), 0.01)).any()
