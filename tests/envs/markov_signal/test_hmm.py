"""Hidden Markov chains with Gaussian emissions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisimgym.envs.markov_signal import MarkovSignalEnv, hmm

CYCLE = np.roll(np.eye(4), 1, axis=1)
CHAINS = {
    "uniform": {"experiment": "uniform"},
    "skewed": {"experiment": "skewed"},
    "cycle": {"transition_matrix": CYCLE},
    "sparse": {"transition_matrix": [[0.5, 0.5, 0.0], [0.0, 0.9, 0.1], [1.0, 0.0, 0.0]]},
    "fixed start": {"initial_state": 1},
    "nine": {"transition_matrix": np.random.default_rng(0).dirichlet(np.ones(9), 9)},
}
every_chain = pytest.mark.parametrize("chain", CHAINS)


class TestChain:
    def test_the_matrices_are_the_documented_ones(self):
        uniform = [[0.95, 0.025, 0.025], [0.025, 0.95, 0.025], [0.025, 0.025, 0.95]]
        skewed = [[0.95875, 0.02625, 0.015], [0.03375, 0.95125, 0.015], [0.03375, 0.02625, 0.94]]
        np.testing.assert_allclose(hmm.EXPERIMENTS["uniform"], uniform, atol=1e-15)
        np.testing.assert_allclose(hmm.EXPERIMENTS["skewed"], skewed, atol=1e-15)
        assert hmm.signal_law().transition_matrix == pytest.approx(np.array(uniform), abs=1e-15)

    @every_chain
    def test_rows_sum_to_one_and_the_distribution_is_stationary(self, chain):
        law = hmm.signal_law(**CHAINS[chain])
        np.testing.assert_allclose(law.transition_matrix.sum(axis=1), 1, atol=1e-12)
        assert abs(law.stationary @ law.transition_matrix - law.stationary).max() < 1e-12
        assert law.stationary.sum() == pytest.approx(1, abs=1e-12)
        if chain in hmm.STATIONARY:
            np.testing.assert_allclose(law.stationary, hmm.STATIONARY[chain], atol=1e-12)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(0.01, 1), min_size=2, max_size=8), st.floats(0.001, 1))
    def test_the_family(self, weights, k):
        pi = np.array(weights) / np.sum(weights)
        matrix = hmm.family_matrix(pi, k)
        flow = pi[:, None] * matrix
        np.testing.assert_allclose(flow, flow.T, atol=1e-15)  # detailed balance
        np.testing.assert_allclose(hmm.stationary_distribution(matrix), pi, rtol=1e-10)
        np.testing.assert_allclose(np.sort(np.linalg.eigvals(matrix).real), [*[1 - k] * (len(pi) - 1), 1], atol=1e-7)

    def test_rare_states_keep_their_digits(self):
        rare = 1e-13
        matrix = [[1 - rare, rare], [0.5, 0.5]]
        assert hmm.stationary_distribution(matrix)[1] == pytest.approx(2 * rare, rel=1e-3)  # 1 - rare is rounded

    @pytest.mark.parametrize("experiment", hmm.EXPERIMENTS)
    def test_statistics_of_stationary_sequences(self, experiment):
        law = hmm.signal_law(experiment, separation=0)
        _, states = hmm.sample_signals(law, 1000, 500, seed=1)
        # Neighbouring steps are correlated: a sequence of T steps counts as T (1 - r) / (1 + r) independent ones.
        independent = states.size * hmm.SWITCHING / (2 - hmm.SWITCHING)
        for k, pi in enumerate(law.stationary):
            sigma = np.sqrt(pi * (1 - pi))
            assert abs((states == k).mean() - pi) < 4 * sigma / np.sqrt(independent)
            assert abs((states[:, 0] == k).mean() - pi) < 4 * sigma / np.sqrt(len(states))
            assert abs((states[:, -1] == k).mean() - pi) < 4 * sigma / np.sqrt(len(states))
            before = states[:, :-1] == k
            for j, probability in enumerate(law.transition_matrix[k]):
                error = (states[:, 1:][before] == j).mean() - probability
                assert abs(error) < 4 * np.sqrt(probability * (1 - probability) / before.sum())

    def test_impossible_transitions_never_happen(self):
        for chain in ("cycle", "sparse"):
            law = hmm.signal_law(**CHAINS[chain])
            _, states = hmm.sample_signals(law, 50, 400, seed=0)
            assert (law.transition_matrix[states[:, :-1], states[:, 1:]] > 0).all()

    def test_extreme_uniforms_stay_inside(self):
        last = np.nextafter(1, 0)
        tenths = np.zeros((11, 11))
        tenths[:9, :10], tenths[9, 10], tenths[10, 0] = 0.1, 1, 1
        law = hmm.signal_law(transition_matrix=tenths, initial_state=0)
        assert law.transition_matrix[0].cumsum()[9] == last  # which must leave no room for state 10
        assert hmm.hidden_states(law, np.array([[0.0, last, last, 0.0]])).tolist() == [[0, 9, 10, 0]]
        law = hmm.signal_law(transition_matrix=CYCLE, initial_state=2)
        assert hmm.hidden_states(law, np.array([[0.0, last, 0.0, last]])).tolist() == [[2, 3, 0, 1]]
        law = hmm.signal_law(transition_matrix=[[0.5, 0.5], [0.25, 0.75]], initial_state=0)
        assert hmm.hidden_states(law, np.array([[0.5, 0.5, 0.25, 0.0]])).tolist() == [[0, 1, 1, 0]]

    @pytest.mark.parametrize(("pi", "k"), [((0.5, 0.6), 0.1), ((1.0, 0.0), 0.1), ((0.5, 0.5), 0), ((0.5, 0.5), 1.1)])
    def test_bad_families(self, pi, k):
        with pytest.raises(ValueError, match="must"):
            hmm.family_matrix(pi, k)


class TestEmissions:
    @every_chain
    def test_geometry(self, chain):
        law = hmm.signal_law(**CHAINS[chain], separation=1.7, emission_seed=3)
        for i, j in itertools.combinations(range(law.num_states), 2):
            assert np.linalg.norm(law.means[i] - law.means[j]) == pytest.approx(1.7)
        np.testing.assert_allclose(law.means.sum(axis=0), 0, atol=1e-12)
        eigenvalues = np.linalg.eigvalsh(law.covariances)
        assert (eigenvalues > 0.2 - 1e-9).all()
        assert (eigenvalues < 0.8 + 1e-9).all()
        np.testing.assert_allclose(law.factors @ law.factors.transpose(0, 2, 1), law.covariances, atol=1e-12)
        assert (law.factors == np.tril(law.factors)).all()

    def test_emissions_have_their_means_and_covariances(self):
        law = hmm.signal_law(transition_matrix=CYCLE, dimension=5)
        signals, states = hmm.sample_signals(law, 400, 400, seed=5)
        for k in range(4):
            frames = signals[states == k].astype(np.float64)
            error = np.sqrt(np.diagonal(law.covariances[k]) / len(frames))
            assert (abs(frames.mean(axis=0) - law.means[k]) < 4.5 * error).all()
            np.testing.assert_allclose(np.cov(frames.T), law.covariances[k], atol=0.025)

    def test_frames_are_independent_given_the_states(self):
        law = hmm.signal_law(separation=0, dimension=3)
        signals, _ = hmm.sample_signals(law, 1, 100_000, seed=6)
        assert abs((signals[0, 1:] * signals[0, :-1]).mean(axis=0)).max() < 4.5 * 0.8 / np.sqrt(100_000)

    def test_drawn_as_documented(self):
        law = hmm.signal_law(emission_seed=9, separation=2.0)
        rng = np.random.Generator(np.random.PCG64(9))

        def orthogonal(gaussian):
            q, r = np.linalg.qr(gaussian)
            return q * np.sign(np.diag(r))

        q = orthogonal(rng.standard_normal((15, 3)))
        for k in range(3):
            mean = 2.0 / np.sqrt(2) * q @ (np.eye(3)[k] - 1 / 3)
            np.testing.assert_allclose(law.means[k], mean, atol=1e-14)
            axes = orthogonal(rng.standard_normal((15, 15)))
            covariance = axes @ np.diag(rng.uniform(0.2, 0.8, 15)) @ axes.T
            np.testing.assert_allclose(law.covariances[k], covariance, atol=1e-14)

    def test_the_law_and_the_trajectories_have_seeds_of_their_own(self):
        laws = [hmm.signal_law(emission_seed=s) for s in (0, 0, 1)]
        (a, za), (_, zb), (c, zc) = (hmm.sample_signals(law, 5, 50, seed=7) for law in laws)
        np.testing.assert_array_equal(laws[0].means, laws[1].means)
        assert (laws[0].means != laws[2].means).any()
        assert (za == zb).all()
        assert (za == zc).all()
        assert (a != c).any()
        assert (hmm.sample_signals(laws[0], 5, 50, seed=8)[0] != a).any()

    def test_both_experiments_share_their_emissions(self):
        np.testing.assert_array_equal(hmm.signal_law("uniform").means, hmm.signal_law("skewed").means)
        np.testing.assert_array_equal(hmm.signal_law("uniform").factors, hmm.signal_law("skewed").factors)

    def test_the_law_is_read_only(self):
        with pytest.raises(ValueError, match="read-only"):
            hmm.signal_law().means[0] = 0


class TestGeneration:
    @every_chain
    @pytest.mark.parametrize("length", [1, 2, 201])
    def test_bits_do_not_depend_on_the_company(self, chain, length):
        law = hmm.signal_law(**CHAINS[chain])
        seeds = np.random.default_rng(0).integers(2**64, size=64, dtype=np.uint64)
        signals, hidden = hmm.draw_signals(law, seeds, length)
        for rows in ([17], [63, 0], [5, 4, 3, 2, 1], range(1, 64)):
            part = hmm.draw_signals(law, seeds[list(rows)], length)
            np.testing.assert_array_equal(part[0], signals[list(rows)])
            np.testing.assert_array_equal(part[1], hidden[list(rows)])

    def test_drawn_as_documented(self):
        law = hmm.signal_law("skewed")
        seed = np.uint64(123456789)
        signals, hidden = hmm.draw_signals(law, np.array([seed]), 300)
        rng = np.random.Generator(np.random.PCG64(int(seed)))
        uniforms, noise = rng.random(300), rng.standard_normal((300, 15), dtype=np.float32)
        distribution = law.stationary
        for t in range(300):
            state = int(np.searchsorted(distribution.cumsum(), uniforms[t], side="right"))
            assert hidden[0, t] == state
            expected = law.means[state] + law.factors[state] @ noise[t]
            np.testing.assert_allclose(signals[0, t], expected, atol=3e-6)
            distribution = law.transition_matrix[state]

    def test_a_data_set_is_the_episodes_of_an_environment(self):
        env = MarkovSignalEnv("skewed", dimension=4, episode_length=29)
        signals, states = hmm.sample_signals(env.law, 6, 30, seed=11)
        assert (signals.dtype, states.dtype) == (np.float32, np.int64)
        for b in range(6):
            observation, _ = env.reset(seed=11 if b == 0 else None)
            for t in range(30):
                np.testing.assert_array_equal(observation, signals[b, t])
                assert env.optimal_action() == states[b, t]
                if t < 29:
                    observation, _, _, truncated, _ = env.step(0)
            assert truncated

    @pytest.mark.parametrize(("name", "value"), [("num_sequences", 0), ("length", 0), ("length", 2.0), ("seed", -1)])
    def test_bad_arguments(self, name, value):
        arguments = {"num_sequences": 2, "length": 5, "seed": 0, name: value}
        with pytest.raises(ValueError, match=f"{name} must be an integer from .* got {value}"):
            hmm.sample_signals(hmm.signal_law(), **arguments)
