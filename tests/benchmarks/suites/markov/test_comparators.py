"""Unsupervised comparators recover a law that is known."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from bisimgym.benchmarks.suites.markov.comparators import KMeansStates, fitted_law
from bisimgym.envs.markov_signal import sample_signals, signal_law
from bisimgym.envs.markov_signal.filters import filter_states


@pytest.fixture(scope="module")
def data():
    law = signal_law("skewed", dimension=4)
    return law, *sample_signals(law, 100, 200, 0)


def matched(found, means):
    """The hidden state of each cluster, by the distance of means."""
    distances = np.linalg.norm(found[:, None] - means, axis=2)
    return linear_sum_assignment(distances)[1]


def test_hmm_recovers_a_known_law_and_filters_nearly_as_well(data):
    pytest.importorskip("hmmlearn", reason="hmmlearn has no wheel for this Python")
    law, signals, _ = data
    found = fitted_law(signals, 3, seed=0)
    names = matched(found.means, law.means)
    order = np.argsort(names)
    np.testing.assert_allclose(found.means[order], law.means, atol=0.05)
    np.testing.assert_allclose(found.covariances[order], law.covariances, atol=0.06)
    np.testing.assert_allclose(found.factors @ found.factors.transpose(0, 2, 1), found.covariances)
    np.testing.assert_allclose(found.transition_matrix[np.ix_(order, order)], law.transition_matrix, atol=0.008)
    np.testing.assert_allclose(found.stationary[order], law.stationary, atol=0.05)
    signals, hidden = sample_signals(law, 50, 100, 1)
    accuracy = np.mean(names[filter_states(found, signals)] == hidden)
    best = np.mean(filter_states(law, signals) == hidden)
    assert best - 0.01 < accuracy <= best + 0.005


def test_k_means_finds_the_means(data):
    law, signals, hidden = data
    model = KMeansStates(signals, 3, seed=0)
    names = matched(model.centers, law.means)
    np.testing.assert_allclose(model.centers[np.argsort(names)], law.means, atol=0.35)
    assert np.mean(names[model.states(signals)] == hidden) > 0.85
    np.testing.assert_array_equal(model.states(signals[:, 3]), model.states(signals)[:, 3])
    np.testing.assert_array_equal(KMeansStates(signals, 3, seed=0).centers, model.centers)
