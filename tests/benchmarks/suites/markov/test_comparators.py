"""Unsupervised comparators: they recover a law that is known, and EM climbs."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from bisimgym.benchmarks.suites.markov.comparators import GaussianMixtureHMM, KMeansStates, _expected
from bisimgym.envs.markov_signal import sample_signals, signal_law
from bisimgym.envs.markov_signal.filters import ExactFilter, filter_states


@pytest.fixture(scope="module")
def data():
    law = signal_law("skewed", dimension=4)
    return law, *sample_signals(law, 100, 200, 0)


@pytest.fixture(scope="module")
def fitted(data):
    model = GaussianMixtureHMM()
    return model, model.fit(data[1])


def matched(found, means):
    """The hidden state of each cluster, by the distance of means."""
    distances = np.linalg.norm(found[:, None] - means, axis=2)
    return linear_sum_assignment(distances)[1]


def test_hmm_recovers_a_known_law(data, fitted):
    law, model = data[0], fitted[0]
    order = np.argsort(matched(model.law.means, law.means))
    np.testing.assert_allclose(model.law.means[order], law.means, atol=0.05)
    np.testing.assert_allclose(model.law.covariances[order], law.covariances, atol=0.06)
    np.testing.assert_allclose(model.law.transition_matrix[np.ix_(order, order)], law.transition_matrix, atol=0.008)
    np.testing.assert_allclose(model.law.stationary[order], law.stationary, atol=0.05)


def test_em_climbs_to_a_maximum(fitted):
    history = fitted[1]
    assert history.converged
    assert (np.diff(history.log_likelihood) > -1e-9).all()
    assert np.diff(history.log_likelihood).max() > 1e-3
    assert 0 < history.log_likelihood[-1] - history.log_likelihood[-2] < 1e-5


def test_expectations_are_those_of_all_paths():
    """Posteriors, transitions and likelihood of short signals, against a sum over every path."""
    law = signal_law("skewed", dimension=3)
    signals, _ = sample_signals(law, 2, 4, 0)
    smoothed, pairs, value = _expected(law, signals)
    wanted, counts, log_likelihood = np.zeros((2, 4, 3)), np.zeros((3, 3)), 0.0
    paths = np.stack(np.meshgrid(*[range(3)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    for n, signal in enumerate(signals.astype(np.float64)):
        density = np.stack(
            [
                np.exp(-np.square(np.linalg.solve(factor, (signal - mean).T)).sum(axis=0) / 2)
                / np.sqrt(2 * np.pi) ** 3
                / np.linalg.det(factor)
                for mean, factor in zip(law.means, law.factors, strict=True)
            ],
            axis=1,
        )
        weights = law.initial[paths[:, 0]] * density[range(4), paths].prod(axis=1)
        weights *= law.transition_matrix[paths[:, :-1], paths[:, 1:]].prod(axis=1)
        log_likelihood += np.log(weights.sum())
        for path, weight in zip(paths, weights / weights.sum(), strict=True):
            wanted[n, range(4), path] += weight
            np.add.at(counts, (path[:-1], path[1:]), weight)
    np.testing.assert_allclose(smoothed, wanted, atol=1e-10)
    np.testing.assert_allclose(pairs, counts, atol=1e-10)
    assert value == pytest.approx(log_likelihood, rel=1e-10)


def test_hmm_agent_is_nearly_optimal(data, fitted):
    law, model = data[0], fitted[0]
    model.names = matched(model.law.means, law.means)
    signals, hidden = sample_signals(law, 50, 100, 1)
    state, guesses = None, []
    for n in range(signals.shape[1]):
        guess, state = model.predict(signals[:, n], state, np.full(50, n == 0))
        guesses.append(guess)
    accuracy = np.mean(np.stack(guesses, axis=1) == hidden)
    best = np.mean(filter_states(law, signals) == hidden)
    assert best - 0.01 < accuracy <= best + 0.005
    belief = ExactFilter(model.law).predict(signals[:, 0])[1]
    assert np.array_equal(model.predict(signals[:, 0])[1], belief)


def test_k_means_finds_the_means(data):
    law, signals, hidden = data
    model = KMeansStates().fit(signals)
    model.names = matched(model.centers, law.means)
    np.testing.assert_allclose(model.centers[np.argsort(model.names)], law.means, atol=0.35)
    assert np.mean(model.states(signals) == hidden) > 0.85
    guesses, state = model.predict(signals[:, 3])
    assert np.array_equal(guesses, model.states(signals)[:, 3])
    assert state is None
    assert np.array_equal(KMeansStates().fit(signals).centers, model.centers)


def test_values_out_of_range(data):
    signals = data[1]
    with pytest.raises(ValueError, match="num_states must be an integer of at least 2, got 1"):
        KMeansStates(1)
    with pytest.raises(ValueError, match="call fit\\(\\) first"):
        GaussianMixtureHMM().predict(signals[:, 0])
    with pytest.raises(ValueError, match=r"at least two frames each, got shape \(100, 4\)"):
        GaussianMixtureHMM().fit(signals[:, 0])
    with pytest.raises(ValueError, match="too few for a covariance of 4 channels"):
        GaussianMixtureHMM(12).fit(signals[:1, :20])
