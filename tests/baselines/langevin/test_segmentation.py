import itertools

import numpy as np
import pytest

from bisimgym.baselines.langevin.segmentation import accuracy_by_lag, best_permutation, matched_states


@pytest.mark.parametrize(("num_wells", "num_states"), [(3, 3), (5, 3), (2, 4), (1, 3), (4, 1)])
def test_the_matching_is_the_best_of_all_injections(num_wells, num_states):
    rng = np.random.default_rng(num_wells)
    for _ in range(10):
        labels, states = rng.integers(-1, num_wells, (4, 9)), rng.integers(num_states, size=(4, 9))
        matching = best_permutation(labels, states, num_wells, num_states)
        candidates = [*range(num_wells), *[-1] * num_states]
        best = max(
            sum((labels[states == s] == well).sum() for s, well in enumerate(injection) if well >= 0)
            for injection in itertools.permutations(candidates, num_states)
        )
        assert (matched_states(labels, matching) == states).sum() == best
        used = matching[matching >= 0]
        assert len(used) == len(set(used)) == min(num_wells, num_states)


def test_known_matchings():
    states = np.array([[0, 0, 1, 1, 2, 2]])
    np.testing.assert_array_equal(best_permutation([[2, 2, 0, 0, 1, 1]], states, 3, 3), [2, 0, 1])
    # One well too many: the steps in it are wrong. One too few: a state has none.
    matching = best_permutation([[2, 2, 0, 0, 1, 3]], states, 4, 3)
    np.testing.assert_array_equal(matching, [2, 0, 1])
    np.testing.assert_array_equal(matched_states([[2, 2, 0, 0, 1, 3]], matching), [[0, 0, 1, 1, 2, -1]])
    matching = best_permutation([[0, 0, 1, 1, -1, -1]], states, 2, 3)
    np.testing.assert_array_equal(matching, [0, 1, -1])
    np.testing.assert_array_equal(matched_states([[0, 1, -1]], matching), [[0, 1, -1]])
    np.testing.assert_array_equal(best_permutation([[-1, -1]], [[0, 1]], 0, 2), [-1, -1])


def test_accuracy_peaks_at_the_lag():
    states = np.random.default_rng(0).integers(3, size=(20, 50))
    labels = np.array([2, 0, 1])[np.roll(states, 2, axis=1)]
    found = accuracy_by_lag(labels, states, np.array([2, 0, 1]))
    assert found.shape == (5,)
    assert found[2] == 1
    assert np.delete(found, 2).max() < 0.5
    plain = (matched_states(labels, np.array([2, 0, 1])) == states).mean()
    np.testing.assert_allclose(accuracy_by_lag(labels, states, np.array([2, 0, 1]), [0]), [plain])


def test_bad_input_is_refused():
    for labels, states, message in (
        ([[0, 1]], [[0, 1, 1]], r"both be \[B, T\]"),
        ([[0, 2]], [[0, 1]], "labels must be from -1 to 1, got numbers from 0 to 2"),
        ([[0, 1]], [[-1, 1]], "states must be from 0 to 1"),
        ([[0.5]], [[0]], "must be integers"),
    ):
        with pytest.raises(ValueError, match=message):
            best_permutation(labels, states, 2, 2)
    with pytest.raises(ValueError, match="lags must be from 0 to 1"):
        accuracy_by_lag([[0, 1]], [[0, 1]], np.array([0, 1]), [2])
