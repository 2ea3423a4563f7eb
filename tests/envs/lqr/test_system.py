"""Linear-quadratic systems: matrices, costs, gradient and the optimal gain."""

import dataclasses
import tracemalloc
import warnings

import numpy as np
import pytest

from bisimgym.envs import lqr

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


def mixed_gain(system, share):
    """Return K = [share F* Wc^-1, (1 - share) F* Wd^+]: optimal here, and elsewhere only for a share of 1."""
    _, gain = lqr.riccati(system)
    through = share * np.linalg.inv(system.Wc), (1 - share) * np.linalg.pinv(system.Wd)
    return np.concatenate([gain @ part for part in through], axis=1)


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
        rng = np.random.default_rng([1, 9])
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
        gain = mixed_gain(lqr.lqr_system(num_distractors, 2, 0, entries), 1.0)
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
        gain = mixed_gain(own, share)
        assert lqr.infinite_horizon_cost(own, gain) == pytest.approx(20 * P, rel=1e-12)
        error = lqr.infinite_horizon_cost(other, gain) - 20 * P
        assert error == pytest.approx(0, abs=1e-9) if share == 1 else error > 5

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
        optimum = lqr.infinite_horizon_cost(unstable, mixed_gain(unstable, 1.0))
        assert optimum == pytest.approx(np.trace(lqr.riccati(unstable)[0]), rel=1e-10)
        system = general_system(seed=seed)
        cost, state_gain = lqr.riccati(system)
        a, b, q, r = system.A, system.B, system.Q, system.R
        step = a - b @ state_gain
        np.testing.assert_allclose(cost, q + state_gain.T @ r @ state_gain + step.T @ cost @ step, rtol=1e-10)
        for share in (1.0, 0.4):
            gain = mixed_gain(system, share)
            assert lqr.infinite_horizon_cost(system, gain) == pytest.approx(np.trace(cost), rel=1e-10)
            assert rolled_out_cost(system, gain, 300) == pytest.approx(np.trace(cost), rel=1e-10)
            scale = np.abs(lqr.cost_gradient(system, 0.9 * gain)).max()
            np.testing.assert_allclose(lqr.cost_gradient(system, gain), 0, atol=1e-10 * scale)
        # The Lyapunov equation as a linear system in the entries of P.
        gain = 0.7 * mixed_gain(system, 0.4)
        f = gain @ system.observation_matrix
        step, weight = a - b @ f, q + f.T @ r @ f
        entries = np.linalg.solve(np.eye(9) - np.kron(step.T, step.T), weight.ravel())
        assert lqr.infinite_horizon_cost(system, gain) == pytest.approx(np.trace(entries.reshape(3, 3)), rel=1e-10)

    @pytest.mark.parametrize("seed", range(3))
    def test_gradient_against_finite_differences_entry_by_entry(self, seed):
        system = general_system(seed=seed)
        gain = 0.7 * mixed_gain(system, 0.4)
        numeric, step = np.empty_like(gain), 1e-6
        for index in np.ndindex(gain.shape):
            change = np.zeros_like(gain)
            change[index] = step
            up, down = (lqr.infinite_horizon_cost(system, gain + sign * change) for sign in (1, -1))
            numeric[index] = (up - down) / (2 * step)
        np.testing.assert_allclose(lqr.cost_gradient(system, gain), numeric, rtol=1e-6, atol=1e-6)

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
            with warnings.catch_warnings(), pytest.raises(ValueError, match="stabilizable .* detectable"):
                warnings.simplefilter("error")
                lqr.riccati(dataclasses.replace(small, **changes))

    def test_nothing_has_the_size_of_all_pairs_of_distractors(self):
        tracemalloc.start()
        system = lqr.lqr_system(10_000)
        gain = mixed_gain(system, 0.5)
        lqr.infinite_horizon_cost(system, gain)
        lqr.cost_gradient(system, gain)
        env = lqr.LQRDistractorsEnv(num_distractors=10_000, render_mode="rgb_array")
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.render()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40e6  # one matrix of all pairs is 800 MB
