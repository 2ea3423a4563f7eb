import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from bisimgym.benchmarks.measures.aggregates import (
    bootstrap_interval,
    improvement_interval,
    improvement_probability,
    interquartile_mean,
    mean_interval,
    optimality_gap,
    performance_profile,
)


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


def shared_scores():
    """Five runs of one method and seven of another on six tasks."""
    rng = np.random.default_rng(0)
    one, two = np.round(rng.beta(2, 2, (5, 6)), 3), np.round(rng.beta(3, 2, (7, 6)), 3)
    two[0, 0] = one[0, 0]  # a tie
    return one, two


class TestOverTasks:
    def test_values_are_those_of_rliable(self):
        """Recorded with rliable 1.2.0: aggregate_iqm, aggregate_optimality_gap, probability_of_improvement,
        run_score_deviation, and get_interval_estimates of aggregate_iqm (2000 resamples, which leave 0.005)."""
        one, two = shared_scores()
        assert interquartile_mean(one) == pytest.approx(0.478, abs=1e-12)
        assert interquartile_mean(two) == pytest.approx(0.6223181818181819, abs=1e-12)
        assert optimality_gap(1.3 * one) == pytest.approx(0.37803, abs=1e-12)
        assert improvement_probability(one, two) == pytest.approx(0.3357142857142857, abs=1e-12)
        assert improvement_probability(two, one) == pytest.approx(0.6642857142857143, abs=1e-12)
        profile = [1.0, 0.8, 0.4666666666666667, 0.16666666666666666]
        np.testing.assert_allclose(performance_profile(one, [0, 0.25, 0.5, 0.75]), profile, atol=1e-12)
        assert bootstrap_interval(interquartile_mean, one) == pytest.approx((0.3931, 0.5704), abs=0.01)

    def test_hand_worked_cases(self):
        scores = np.array([[0.0, 1.0], [2.0, 3.0]])
        assert interquartile_mean(scores) == 1.5
        assert optimality_gap(scores) == pytest.approx(1 - (0 + 1 + 1 + 1) / 4)
        assert optimality_gap(scores, optimum=3) == pytest.approx(3 - 6 / 4)
        np.testing.assert_array_equal(performance_profile(scores, [-1, 0, 0.5, 3]), [1, 0.75, 0.75, 0])
        assert improvement_probability(scores, scores) == 0.5
        assert improvement_probability(scores + 5, scores) == 1

    @pytest.mark.parametrize("statistic", [interquartile_mean, optimality_gap])
    def test_leading_axes_are_resamples(self, statistic):
        scores = np.random.default_rng(1).random((3, 4, 5, 6))
        assert statistic(scores).shape == (3, 4)
        assert statistic(scores)[2, 1] == pytest.approx(statistic(scores[2, 1]))
        assert performance_profile(scores, [0.5, 0.6]).shape == (3, 4, 2)
        assert improvement_probability(scores, scores[:, :, :2]).shape == (3, 4)

    def test_draws_stay_within_tasks(self):
        scores = np.array([[0.0, 10.0], [1.0, 11.0]])

        def tasks(drawn):
            assert set(np.unique(drawn[..., 0])) == {0.0, 1.0}
            assert set(np.unique(drawn[..., 1])) == {10.0, 11.0}
            return drawn.mean(axis=(-2, -1))

        assert bootstrap_interval(tasks, scores) == (5.0, 6.0)

    def test_intervals_are_those_of_the_bootstraps_law(self):
        """Of the mean of a large sample: 1.96 standard errors to each side."""
        scores = np.random.default_rng(0).normal(size=(400, 2))
        low, high = bootstrap_interval(lambda drawn: drawn.mean(axis=(-2, -1)), scores)
        error = np.sqrt((scores.var(axis=0) / 400).sum()) / 2
        assert (low, high) == pytest.approx(
            (scores.mean() - 1.96 * error, scores.mean() + 1.96 * error), abs=0.1 * error
        )

    def test_the_same_scores_give_the_same_interval_and_large_ones_go_in_parts(self):
        one, two = shared_scores()
        whole = bootstrap_interval(improvement_probability, one, two, resamples=100)
        assert bootstrap_interval(improvement_probability, one, two, resamples=100) == whole
        assert bootstrap_interval(improvement_probability, one, two, resamples=100, seed=1) != whole
        parts = bootstrap_interval(improvement_probability, one, two, resamples=400, at_once=10)
        assert parts == pytest.approx(whole, abs=0.1)

    @pytest.mark.parametrize("paired", [True, False])
    def test_the_quick_way_to_improvements_gives_the_interval_of_the_bootstrap(self, paired):
        rng = np.random.default_rng(0)
        for runs in (1, 3, 40):  # ties are many; the largest goes in parts
            one, two = rng.integers(6, size=(2, runs, 4)) / 6
            expected = bootstrap_interval(improvement_probability, one, two, paired=paired)
            assert improvement_interval(one, two, paired) == pytest.approx(expected, abs=1e-12)

    def test_paired_seeds_are_drawn_together(self):
        scores = np.random.default_rng(0).random((5, 3))

        def difference(a, b):
            return (a - b).mean(axis=(-2, -1))

        assert bootstrap_interval(difference, scores + 1, scores, paired=True) == pytest.approx((1.0, 1.0))
        low, high = bootstrap_interval(difference, scores + 1, scores)
        assert low < 0.95 < 1.05 < high
        with pytest.raises(ValueError, match="must have one shape"):
            bootstrap_interval(difference, scores, scores[:2], paired=True)

    @pytest.mark.parametrize("scores", [[1.0, 2.0], np.zeros((0, 3)), [[np.nan]], [[np.inf]]])
    def test_what_is_no_matrix_of_runs_and_tasks_is_refused(self, scores):
        with pytest.raises(ValueError, match="scores must be"):
            interquartile_mean(scores)

    def test_bad_arguments(self):
        scores = np.zeros((2, 3))
        with pytest.raises(ValueError, match="the same tasks, got 3 and 2"):
            improvement_probability(scores, np.zeros((2, 2)))
        with pytest.raises(ValueError, match="confidence must be in"):
            bootstrap_interval(optimality_gap, scores, confidence=1.0)
        with pytest.raises(ValueError, match=r"must be float\[runs, tasks\]"):
            bootstrap_interval(optimality_gap, np.zeros((2, 3, 4)))
