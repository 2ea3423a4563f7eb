import numpy as np
import pytest
from scipy.stats import trim_mean

from bisimgym.benchmarks.measures.aggregates import interquartile_mean, mean, stratified_bootstrap


def test_interquartile_mean_of_a_hand_worked_case():
    assert interquartile_mean(np.array([[0.0, 100.0], [1.0, 2.0]])) == 1.5


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (5, 3), (10, 26)])
def test_interquartile_mean_equals_scipys_trimmed_mean(shape):
    scores = np.random.default_rng(0).random(shape)
    assert interquartile_mean(scores) == pytest.approx(trim_mean(scores, 0.25, axis=None))
    many = np.stack([scores, scores + 1])
    np.testing.assert_allclose(interquartile_mean(many), interquartile_mean(scores) + [0, 1])


def test_bootstrap_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        scores = rng.normal(size=(20, 2))
        low, high = stratified_bootstrap(scores, mean, rng, repetitions=300)
        hits += low <= 0 <= high
    assert 0.89 < hits / 300 < 0.985


def test_bootstrap_draws_runs_within_each_task():
    scores = np.array([[0.0, 10.0], [0.0, 10.0], [0.0, 10.0]])
    assert stratified_bootstrap(scores, mean, np.random.default_rng(0)) == (5.0, 5.0)


def test_bootstrap_draws_each_tasks_runs_apart_from_the_others():
    scores = np.array([[0.0, 1.0], [1.0, 0.0]])  # whole rows drawn together would have a mean of 0.5 each time
    assert stratified_bootstrap(scores, mean, np.random.default_rng(0)) == (0.0, 1.0)


def test_bootstrap_depends_on_nothing_but_its_generator():
    scores = np.random.default_rng(1).random((5, 2))
    one, two = (stratified_bootstrap(scores, mean, np.random.default_rng(7)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("scores", "confidence", "message"),
    [
        (np.ones(3), 0.95, r"scores must be float\[runs, tasks\], not empty, got shape \(3,\)"),
        (np.ones((0, 2)), 0.95, r"scores must be .* not empty, got shape \(0, 2\)"),
        (np.ones((2, 2)), 1, r"confidence must be in \(0, 1\), got 1"),
    ],
)
def test_bad_input_is_named(scores, confidence, message):
    with pytest.raises(ValueError, match=message):
        stratified_bootstrap(scores, mean, np.random.default_rng(0), confidence=confidence)
