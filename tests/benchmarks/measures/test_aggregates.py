import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from bisimgym.benchmarks.measures.aggregates import mean_interval


def test_the_interval_of_a_hand_worked_case():
    # Of 1, 2, 3: mean 2, standard deviation 1; t with two degrees of freedom is 4.3027 at 97.5 %.
    low, high = mean_interval([1.0, 2.0, 3.0])
    assert (low, high) == (pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-4), pytest.approx(4.4842, abs=1e-4))


@pytest.mark.parametrize("seeds", [2, 5, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_it_is_that_of_scipys_t_test(seeds, confidence):
    scores = np.random.default_rng(0).random((4, seeds))
    low, high = mean_interval(scores, confidence=confidence)
    expected = ttest_1samp(scores, 0, axis=1).confidence_interval(confidence)
    np.testing.assert_allclose(low, expected.low)
    np.testing.assert_allclose(high, expected.high)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_it_covers_the_true_mean_as_often_as_it_says(seeds):
    low, high = mean_interval(np.random.default_rng(0).normal(size=(20_000, seeds)))
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.95, abs=0.005)


def test_it_is_cut_to_the_scores_there_can_be():
    assert mean_interval([0.7, 0.9, 1.0], bounds=(0.0, 1.0))[1] == 1
    assert mean_interval([0.7, 0.9, 1.0])[1] > 1
    low, high = mean_interval([0.0, 1.0], bounds=(0.0, 1.0))
    assert (low, high) == (0, 1)


def test_equal_scores_have_a_point():
    assert mean_interval([0.25, 0.25, 0.25]) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("scores", "confidence", "message"),
    [
        ([0.5], 0.95, r"scores must be float\[..., seeds\] of two seeds or more, got shape \(1,\)"),
        (0.5, 0.95, r"two seeds or more, got shape \(\)"),
        (np.ones((2, 2)), 1, r"confidence must be in \(0, 1\), got 1"),
    ],
)
def test_bad_input_is_named(scores, confidence, message):
    with pytest.raises(ValueError, match=message):
        mean_interval(scores, confidence=confidence)
