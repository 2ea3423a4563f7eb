import dataclasses
import tracemalloc
import warnings
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest

from bisimgym.envs.lqr import env as lqr

P = (0.64 + np.sqrt(0.64**2 + 4)) / 2  # p^2 - 0.64 p - 1 = 0
ORACLE_COST, ZERO_COST = 27.3990, 55.5556


def general_system(states=3, forces=2, distractors=7, seed=0):
    """A system without any of the identities and scaled rotations of the drawn ones."""
    rng = np.random.default_rng(seed)
    a, q, r = (rng.standard_normal((k, k)) for k in (states, states, forces))
    return lqr.LQRSystem(
        A=0.7 * a / np.abs(np.linalg.eigvals(a)).max(),
        B=rng.standard_normal((states, forces)),
        Q=q @ q.T,
        R=r @ r.T + np.eye(forces),
        Wc=rng.standard_normal((states, states)),
        Wd=rng.standard_normal((distractors, states)),
    )


def rolled_out_cost(system, gain, steps):
    """Simulate from each unit vector: the mean over s ~ N(0, I) is their sum, costs being quadratic."""
    s, total = np.eye(len(system.A)), 0.0
    for _ in range(steps):
        f = -(gain @ (system.observation_matrix @ s))
        total += np.sum(s * (system.Q @ s)) + np.sum(f * (system.R @ f))
        s = system.A @ s + system.B @ f
    return total


def zero_gain(system):
    return np.zeros((system.B.shape[1], len(system.observation_matrix)))


class TestSystem:
    @pytest.mark.parametrize("num_distractors", [20, 500, 10_000])
    @pytest.mark.parametrize("entries", ["uniform", "gaussian"])
    def test_matrices_are_scaled_and_orthogonal(self, num_distractors, entries):
        system = lqr.lqr_system(num_distractors, system_seed=3, distractor_seed=4, entries=entries)
        identity = np.eye(20)
        np.testing.assert_allclose(system.A.T @ system.A, 0.64 * identity, atol=1e-13)
        np.testing.assert_allclose(system.Wc.T @ system.Wc, 0.01 * identity, atol=1e-15)
        np.testing.assert_allclose(system.Wd.T @ system.Wd, identity, atol=1e-13)
        for name in "BQR":
            np.testing.assert_array_equal(getattr(system, name), identity)
        assert system.observation_matrix.shape == (20 + num_distractors, 20)
        np.testing.assert_array_equal(system.observation_matrix, np.vstack([system.Wc, system.Wd]))

    def test_environments_of_one_system_seed_differ_in_their_distractors_only(self):
        one, same, other, third = (lqr.lqr_system(30, *seeds) for seeds in [(0, 1), (0, 1), (0, 2), (5, 1)])
        for name in ("A", "Wc", "Wd"):
            np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        np.testing.assert_array_equal(one.A, other.A)
        np.testing.assert_array_equal(one.Wc, other.Wc)
        np.testing.assert_array_equal(one.Wd, third.Wd)
        assert np.abs(one.Wd - other.Wd).max() > 0.1
        assert np.abs(one.A - third.A).max() > 0.1

    def test_equal_seeds_do_not_tie_the_distractors_to_the_dynamics(self):
        system = lqr.lqr_system(20, system_seed=7, distractor_seed=7)
        for matrix in (system.A / 0.8, system.Wc / 0.1):
            assert np.abs(system.Wd - matrix).max() > 0.1

    def test_the_matrix_sampler(self):
        rng = np.random.default_rng([lqr._DISTRACTOR_STREAM, 9])
        entries = rng.random((40, 20))
        triangular = lqr.lqr_system(40, distractor_seed=9).Wd.T @ entries  # the R of the QR decomposition
        np.testing.assert_allclose(np.tril(triangular, -1), 0, atol=1e-13)
        assert (np.diag(triangular) > 0).all()

    @pytest.mark.parametrize(("entries", "low", "high"), [("uniform", 0.96, 1.0), ("gaussian", 0.0, 0.1)])
    def test_uniform_entries_share_the_direction_of_all_ones(self, entries, low, high):
        for seed in range(3):
            system = lqr.lqr_system(10_000, distractor_seed=seed, entries=entries)
            assert low <= np.sum(system.Wd.mean(axis=0) ** 2) * 10_000 <= high

    def test_bad_arguments_are_named(self):
        for kwargs, message in [
            ({"num_distractors": 19}, "num_distractors must be an integer of at least 20, got 19"),
            ({"num_distractors": 500.0}, "num_distractors must be an integer of at least 20, got 500.0"),
            ({"system_seed": -1}, "system_seed must be an integer of at least 0, got -1"),
            ({"distractor_seed": None}, "distractor_seed must be an integer of at least 0, got None"),
            ({"distractor_seed": True}, "distractor_seed must be an integer of at least 0, got True"),
            ({"entries": "normal"}, r"entries must be one of \['uniform', 'gaussian'\], got 'normal'"),
            ({"entries": ["uniform"]}, "entries must be one of"),
        ]:
            with pytest.raises(ValueError, match=message):
                lqr.lqr_system(**kwargs)
        system = general_system()
        for name in ("A", "B", "Q", "R", "Wc", "Wd"):
            with pytest.raises(ValueError, match=r"must have shape \("):
                dataclasses.replace(system, **{name: np.zeros((4, 5))})


class TestTheory:
    @pytest.mark.parametrize("num_distractors", [20, 500, 10_000])
    @pytest.mark.parametrize("entries", ["uniform", "gaussian"])
    def test_reference_costs_hold_whatever_the_distractors(self, num_distractors, entries):
        gain = lqr.optimal_gain(lqr.lqr_system(num_distractors, 2, 0, entries))
        assert (gain[:, 20:] == 0).all()
        assert np.linalg.norm(gain) == pytest.approx(20.68, abs=0.005)
        for seed in range(1, 4):
            system = lqr.lqr_system(num_distractors, 2, seed, entries)
            nothing = lqr.infinite_horizon_cost(system, zero_gain(system))
            optimum = lqr.infinite_horizon_cost(system, gain)
            assert nothing == pytest.approx(ZERO_COST, abs=5e-5)
            assert optimum == pytest.approx(ORACLE_COST, abs=5e-5)
            assert nothing - optimum == pytest.approx(28.1565, abs=5e-5)
            for policy, cost in ((zero_gain(system), nothing), (gain, optimum)):
                assert rolled_out_cost(system, policy, 128) == pytest.approx(cost, rel=1e-12)

    def test_riccati_solution_of_a_rotation(self):
        system = lqr.lqr_system(20)
        cost, gain = lqr.riccati(system)
        np.testing.assert_allclose(cost, P * np.eye(20), atol=1e-13)
        np.testing.assert_allclose(gain, P / (1 + P) * system.A, atol=1e-13)
        assert np.trace(cost) == pytest.approx(ORACLE_COST, abs=5e-5)

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_a_mixture_is_optimal_for_its_own_distractors_only(self, share):
        own, other = lqr.lqr_system(500, 0, 1), lqr.lqr_system(500, 0, 2)
        gain = lqr.mixed_gain(own, share)
        assert lqr.infinite_horizon_cost(own, gain) == pytest.approx(20 * P, rel=1e-12)
        error = lqr.infinite_horizon_cost(other, gain) - 20 * P
        assert error == pytest.approx(0, abs=1e-9) if share == 1 else error > 5
        half = lqr.mixed_gain(own, 0.5)
        np.testing.assert_allclose(half[:, :20], 0.5 * lqr.optimal_gain(own)[:, :20])
        np.testing.assert_allclose(half[:, 20:], 0.5 * lqr.riccati(own)[1] @ own.Wd.T, atol=1e-13)

    def test_one_dimension_by_hand(self):
        # s' = s / 2 + 2 f, cost 3 s^2 + 5 f^2, o = [4 s, -s]
        system = lqr.LQRSystem(*(np.array([[x]]) for x in (0.5, 2.0, 3.0, 5.0, 4.0, -1.0)))
        gain = np.array([[0.05, 0.1]])  # f = -0.1 s, s' = 0.3 s
        assert lqr.infinite_horizon_cost(system, gain) == pytest.approx(3.05 / 0.91)
        # d/dF (3 + 5 F^2) / (1 - (1/2 - 2 F)^2) at F = 0.1
        slope = 1.0 / 0.91 - 3.05 / 0.91**2 * 2 * 0.3 * 2
        np.testing.assert_allclose(lqr.cost_gradient(system, gain), [[4 * slope, -slope]])
        # P = 3 + P/4 - P^2 / (5 + 4 P), that is 4 P^2 - 8.25 P - 15 = 0
        cost, optimum = lqr.riccati(system)
        p = (8.25 + np.sqrt(8.25**2 + 240)) / 8
        np.testing.assert_allclose([cost, optimum], [[[p]], [[p / (5 + 4 * p)]]])

    @pytest.mark.parametrize("seed", range(3))
    def test_general_systems(self, seed):
        unstable = general_system(seed=seed)
        unstable = dataclasses.replace(unstable, A=2 * unstable.A)
        assert lqr.infinite_horizon_cost(unstable, zero_gain(unstable)) == np.inf
        optimum = lqr.infinite_horizon_cost(unstable, lqr.optimal_gain(unstable))
        assert optimum == pytest.approx(np.trace(lqr.riccati(unstable)[0]), rel=1e-10)
        system = general_system(seed=seed)
        cost, state_gain = lqr.riccati(system)
        a, b, q, r = system.A, system.B, system.Q, system.R
        step = a - b @ state_gain
        np.testing.assert_allclose(cost, q + state_gain.T @ r @ state_gain + step.T @ cost @ step, rtol=1e-10)
        for share in (1.0, 0.4):
            gain = lqr.mixed_gain(system, share)
            assert lqr.infinite_horizon_cost(system, gain) == pytest.approx(np.trace(cost), rel=1e-10)
            assert rolled_out_cost(system, gain, 300) == pytest.approx(np.trace(cost), rel=1e-10)
            scale = np.abs(lqr.cost_gradient(system, 0.9 * gain)).max()
            np.testing.assert_allclose(lqr.cost_gradient(system, gain), 0, atol=1e-10 * scale)
        # The Lyapunov equation as a linear system in the entries of P.
        gain = 0.7 * lqr.mixed_gain(system, 0.4)
        f = gain @ system.observation_matrix
        step, weight = a - b @ f, q + f.T @ r @ f
        entries = np.linalg.solve(np.eye(9) - np.kron(step.T, step.T), weight.ravel())
        assert lqr.infinite_horizon_cost(system, gain) == pytest.approx(np.trace(entries.reshape(3, 3)), rel=1e-10)

    @pytest.mark.parametrize("seed", range(3))
    def test_gradient_against_finite_differences_entry_by_entry(self, seed):
        system = general_system(seed=seed)
        gain = 0.7 * lqr.mixed_gain(system, 0.4)
        numeric, step = np.empty_like(gain), 1e-6
        for index in np.ndindex(gain.shape):
            change = np.zeros_like(gain)
            change[index] = step
            up, down = (lqr.infinite_horizon_cost(system, gain + sign * change) for sign in (1, -1))
            numeric[index] = (up - down) / (2 * step)
        np.testing.assert_allclose(lqr.cost_gradient(system, gain), numeric, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("num_distractors", [500, 10_000])
    def test_gradient_against_finite_differences_in_the_drawn_system(self, num_distractors):
        system, rng = lqr.lqr_system(num_distractors), np.random.default_rng(0)
        gain = 0.3 * lqr.mixed_gain(system, 0.5) + 0.002 * rng.standard_normal((20, 20 + num_distractors))
        gradient = lqr.cost_gradient(system, gain)
        assert gradient.shape == gain.shape
        for scale in (np.ones(20 + num_distractors), np.r_[np.ones(20), np.zeros(num_distractors)]):
            direction = rng.standard_normal(gain.shape) * scale / np.linalg.norm(scale)
            up, down = (lqr.infinite_horizon_cost(system, gain + sign * 1e-5 * direction) for sign in (1, -1))
            assert np.sum(gradient * direction) == pytest.approx((up - down) / 2e-5, rel=1e-6)

    def test_unstable_gains_cost_infinity_and_have_no_gradient(self):
        system = lqr.lqr_system(20)
        through_state = np.linalg.inv(system.Wc)
        for radius, finite in [(0.999, True), (1 - 1e-9, True), (1.0 + 1e-12, False), (1.5, False), (1e200, False)]:
            gain = np.hstack([(system.A - radius * np.eye(20)) @ through_state, np.zeros((20, 20))])
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                cost = lqr.infinite_horizon_cost(system, gain)
            assert np.isfinite(cost) == finite
            if not finite:
                assert cost == np.inf
                with pytest.raises(ValueError, match="spectral radius of at least 1: no gradient"):
                    lqr.cost_gradient(system, gain)
        step = 0.999
        gain = np.hstack([(system.A - step * np.eye(20)) @ through_state, np.zeros((20, 20))])
        weight = 20 + np.linalg.norm(system.A - step * np.eye(20)) ** 2
        assert lqr.infinite_horizon_cost(system, gain) == pytest.approx(weight / (1 - step**2), rel=1e-9)

    def test_a_transient_that_grows_first_is_no_instability(self):
        chain = np.diag(np.full(7, 50.0), 1) + 0.5 * np.eye(8)
        system = lqr.LQRSystem(chain, np.eye(8), np.eye(8), np.eye(8), np.eye(8), np.eye(8))
        entries = np.linalg.solve(np.eye(64) - np.kron(chain.T, chain.T), np.eye(8).ravel())
        expected = np.trace(entries.reshape(8, 8))
        assert lqr.infinite_horizon_cost(system, zero_gain(system)) == pytest.approx(expected, rel=1e-8)

    def test_bad_gains_and_systems_are_named(self):
        system = lqr.lqr_system(20)
        with pytest.raises(ValueError, match=r"gain must have shape \(20, 40\), got \(20, 41\)"):
            lqr.infinite_horizon_cost(system, np.zeros((20, 41)))
        with pytest.raises(ValueError, match="gain must be finite"):
            lqr.cost_gradient(system, np.full((20, 40), np.nan))
        small = general_system()
        growing = 2 * np.eye(3)
        for changes in ({"A": growing, "B": np.zeros((3, 2))}, {"A": np.eye(3), "Q": np.zeros((3, 3))}):
            with warnings.catch_warnings(), pytest.raises(ValueError, match="stabilisable .* detectable"):
                warnings.simplefilter("error")
                lqr.riccati(dataclasses.replace(small, **changes))

    def test_nothing_has_the_size_of_all_pairs_of_distractors(self):
        tracemalloc.start()
        system = lqr.lqr_system(10_000)
        gain = lqr.mixed_gain(system, 0.5)
        lqr.infinite_horizon_cost(system, gain)
        lqr.cost_gradient(system, gain)
        env = lqr.LQRDistractorsEnv(num_distractors=10_000, render_mode="rgb_array")
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.render()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40e6  # one matrix of all pairs is 800 MB


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
        system = lqr.lqr_system(500, 0, 6)
        gain = lqr.mixed_gain(system, share)
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
        assert costs.mean() == pytest.approx(ORACLE_COST, abs=4 * costs.std() / np.sqrt(len(costs)))

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

    def test_long_episodes_come_to_rest_without_subnormal_numbers(self):
        env = lqr.LQRDistractorsEnv(num_distractors=100, horizon=3000)
        env.reset(seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(3000):
                observation, reward, _, _, _ = env.step(env.optimal_action())
                size = np.abs(observation)
                assert (size[size > 0] >= np.finfo(np.float32).tiny).all()
        assert reward == 0
        assert (observation == 0).all()


class TestExactness:
    """A row of a batch must not depend, not even in its last bit, on how many rows are computed with it."""

    COUNTS = (1, 2, 3, 5, 31, 32, 33, 64, 1024)

    @pytest.mark.parametrize("num_distractors", [20, 500, 10_000])
    def test_rows_do_not_depend_on_the_batch(self, num_distractors):
        task = lqr.LQRTask(num_distractors, 0, 1, 100, "uniform")
        rng = np.random.default_rng(0)
        whole = task.initial(rng.integers(2**63, size=1024).astype(np.uint64), {})
        parts = {
            count: lqr.LQRState(*(getattr(whole, f.name)[-count:] for f in dataclasses.fields(whole)))
            for count in self.COUNTS
        }
        for step in range(3):
            expected = task.observe(whole)
            best = task.optimal_action(whole)
            action = rng.uniform(-1, 1, (1024, 20)).astype(np.float32) if step else best
            whole, reward, _, _ = task.transition(whole, action)
            for count, part in parts.items():
                np.testing.assert_array_equal(task.observe(part), expected[-count:])
                np.testing.assert_array_equal(task.optimal_action(part), best[-count:])
                parts[count], part_reward, _, _ = task.transition(part, action[-count:])
                np.testing.assert_array_equal(part_reward, reward[-count:])
                np.testing.assert_array_equal(parts[count].coordinates, whole.coordinates[-count:])

    @pytest.mark.parametrize("num_distractors", [500, 10_000])
    def test_vector_equals_single(self, num_distractors):
        count = 37
        envs = lqr.LQRDistractorsVectorEnv(num_envs=count, num_distractors=num_distractors, horizon=4)
        singles = [lqr.LQRDistractorsEnv(num_distractors, horizon=4) for _ in (0, 17, 36)]
        first, _ = envs.reset(seed=5)
        for single, row in zip(singles, (0, 17, 36), strict=True):
            np.testing.assert_array_equal(single.reset(seed=5 + row)[0], first[row])
        for step in range(1, 10):
            actions = envs.action_space.sample()
            observations, rewards, _, truncated, infos = envs.step(actions)
            for single, row in zip(singles, (0, 17, 36), strict=True):
                observation, reward, _, ended, _ = single.step(actions[row])
                assert reward == rewards[row]
                assert ended == truncated[row] == (step % 4 == 0)
                if ended:
                    np.testing.assert_array_equal(observation, infos["final_obs"][row])
                    observation, _ = single.reset()
                np.testing.assert_array_equal(observation, observations[row])

    def test_observations_are_the_exact_product_of_the_rounded_factors(self):
        task = lqr.LQRTask(50, 0, 1, 100, "uniform")
        state = task.initial(np.arange(3, dtype=np.uint64), {})
        observed = task.observe(state)
        s = lqr._rounded(state.coordinates, lqr._row_unit(state.coordinates))
        np.testing.assert_allclose(s, state.coordinates, atol=2.0**-24 * np.abs(state.coordinates).max())
        for row, column in np.ndindex(observed.shape):
            pairs = zip(s[row].tolist(), task._features[:, column].tolist(), strict=True)
            exact = sum(Fraction(x) * Fraction(w) for x, w in pairs)
            assert float(exact) == exact  # it needs no more than float64
            assert observed[row, column] == np.float32(float(exact))

    @pytest.mark.parametrize("scale", [1e-12, 1.0, 200.0])
    def test_products_are_as_good_as_float64_and_observations_as_float32(self, scale):
        task = lqr.LQRTask(2000, 0, 1, 100, "gaussian")
        rng = np.random.default_rng(1)
        state = task.initial(np.arange(200, dtype=np.uint64), {})
        state = dataclasses.replace(state, coordinates=scale * state.coordinates)
        matrix = task.system.observation_matrix.T
        exact = state.coordinates @ matrix
        plain = state.coordinates.astype(np.float32) @ matrix.astype(np.float32)
        assert np.std(task.observe(state) - exact) < np.std(plain - exact)
        action = (rng.uniform(-1, 1, (200, 20)) * min(scale, 1)).astype(np.float32)
        following, reward, _, _ = task.transition(state, action)
        f = 10.0 * action.astype(np.float64)
        expected = state.coordinates @ task.system.A.T + f
        np.testing.assert_allclose(following.coordinates, expected, atol=1e-14 * max(np.abs(expected).max(), scale))
        np.testing.assert_allclose(reward, -np.sum(state.coordinates**2, 1) - np.sum(f**2, 1), rtol=1e-12)


class TestArguments:
    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"num_distractors": 10}, "num_distractors must be an integer of at least 20, got 10"),
            ({"horizon": 0}, "horizon must be an integer from 1 to 100000, got 0"),
            ({"horizon": 10**6}, "horizon must be an integer from 1 to 100000, got 1000000"),
            ({"horizon": 2.5}, "horizon must be an integer from 1 to 100000, got 2.5"),
            ({"entries": "normal"}, "entries must be one of .*'normal'"),
            ({"system_seed": "0"}, "system_seed must be an integer of at least 0, got '0'"),
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
        np.testing.assert_array_equal(env.system.Wd, lqr.lqr_system(1000, entries="gaussian").Wd)


class TestPicture:
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
