"""Checks of arguments: what they return and how they refuse."""

import re

import numpy as np
import pytest
from gymnasium import spaces

from bisimgym.envs.checks import (
    SUM_TOLERANCE,
    choice,
    fraction,
    integer,
    number,
    probabilities,
    real_array,
    reset_options,
    taken_action,
    vector_seeds,
)


def test_good_values_come_back_as_plain_numbers():
    assert type(integer("n", np.int16(3), 1)) is int
    assert integer("n", 5, 1, 5) == 5
    assert type(number("x", np.float32(0.5), 0, 1)) is float
    assert fraction("x", 1) == 1.0
    assert choice("color", "red", {"red": 0}) == "red"


@pytest.mark.parametrize("value", [0, 6, True, 2.0, "2", None])
def test_no_integer_in_the_range(value):
    with pytest.raises(ValueError, match=re.escape(f"n must be an integer from 1 to 5, the states, got {value!r}")):
        integer("n", value, 1, 5, ", the states")


def test_no_integer_above_the_least():
    with pytest.raises(ValueError, match="n must be an integer of at least 1, got 0"):
        integer("n", 0, 1)


@pytest.mark.parametrize("value", [-0.1, 2, True, "1", None, float("nan"), float("inf")])
def test_no_fraction(value):
    with pytest.raises(ValueError, match=re.escape(f"x must be a number in [0, 1], got {value!r}")):
        fraction("x", value)


@pytest.mark.parametrize("value", ["blue", None, ["red"]])
def test_no_choice(value):
    with pytest.raises(ValueError, match=re.escape(f"color must be one of ['red', 'green'], got {value!r}")):
        choice("color", value, ("red", "green"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("count", [3, 7, 1000])
def test_probabilities_of_any_float_type_sum_to_one(dtype, count):
    given = np.full((2, count), 1 / count).astype(dtype)
    taken = probabilities("p", given)
    assert taken.dtype == np.float64
    np.testing.assert_allclose(taken.sum(axis=-1), 1, rtol=0, atol=1e-15)
    np.testing.assert_allclose(taken, 1 / count, rtol=1e-15)  # rounded alike, thirds come back exactly
    np.testing.assert_array_equal(probabilities("p", taken), taken)


def test_probabilities_of_other_real_types():
    for given in ([1, 0], [True, False], np.array([1, 0], dtype=np.uint8), np.array([1, 0], dtype=object)):
        np.testing.assert_array_equal(probabilities("p", given), [1.0, 0.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0.5, 0.5 + 1.1 * SUM_TOLERANCE], "p: every row must sum to one within 0.001, but it sums to 1.0011"),
        ([[1, 0], [0.2, 0.7]], r"p\[1\] sums to 0.9"),
        ([1.5, -0.5], r"p must be probabilities, got -0.5 at \[1\]"),
        ([np.nan, 1], "got nan"),
        ([np.inf, 1], "got inf"),
        ([0.5j, 1], "array of real numbers"),
        (["0.5", "0.5"], "array of real numbers"),
        ([[1], [0.5, 0.5]], "array of real numbers"),
        (None, "p must be"),
        ([], "n >= 1"),
        (1.0, "n >= 1"),
    ],
)
def test_no_probabilities(given, message):
    with pytest.raises(ValueError, match=message):
        probabilities("p", given)


@pytest.mark.parametrize("options", ["goal", 3, 0, [], ["goal"], {3: 4}, {"a"}, False])
def test_options_of_reset_that_are_none(options):
    with pytest.raises(ValueError, match="options of reset must be a dictionary from names to values, or None"):
        reset_options(options)


def test_options_of_reset():
    assert reset_options(None) == {}
    given = {"goal": 1}
    assert reset_options(given) == given
    assert reset_options(given) is not given


FOUR = spaces.Discrete(4)
BOX = spaces.Box(np.array([-1, 0], np.float32), np.array([1, 2], np.float32))


@pytest.mark.parametrize(
    "action", [2, 2.0, np.float16(2), np.uint8(2), np.array(2), np.array(2.0), np.array(2, object)]
)
def test_actions_of_a_finite_space(action):
    taken = taken_action(action, FOUR)
    assert (taken, taken.dtype, taken.shape) == (2, np.int64, ())
    both = taken_action([action, action], spaces.MultiDiscrete([4, 4]))
    assert (both.tolist(), both.dtype) == ([2, 2], np.int64)


@pytest.mark.parametrize("dtype", [None, np.float16, np.float32, np.float64, np.int8, np.int64, bool, object])
def test_actions_of_a_box(dtype):
    given = [1, 1] if dtype is None else np.array([1, 1], dtype)
    np.testing.assert_array_equal(taken_action(given, BOX), [1.0, 1.0])
    rounded = taken_action([1 + 1e-7, -1e-7], BOX)
    np.testing.assert_array_equal(rounded, [1.0, 0.0])


@pytest.mark.parametrize("action", [4, -1, 1.5, np.nan, np.inf, "1", None, [1], [[1]], 1j, {}])
def test_no_actions_of_a_finite_space(action):
    with pytest.raises(ValueError, match=r"is not in Discrete\(4\)"):
        taken_action(action, FOUR)


@pytest.mark.parametrize(
    "action", [[1.1, 0], [0, np.nan], [0], 0.0, [[0, 0]], ["0", "0"], None, [0, 1j], [0, [1]], [np.inf, 0]]
)
def test_no_actions_of_a_box(action):
    with pytest.raises(ValueError, match="is not in Box"):
        taken_action(action, BOX)


@pytest.mark.parametrize(
    "value",
    [
        [1j],
        ["1"],
        np.array(["1"], dtype=object),
        np.zeros(2, "m8[s]"),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        [None],
    ],
)
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(ValueError, match="reward must be an array of real numbers"):
        real_array("reward", value)


@pytest.mark.parametrize(
    "value", [[1], [True], np.array([1, 2.5], dtype=object), np.float16([1]), np.array([1.0], ">f8")]
)
def test_real_numbers_of_any_type_are_taken(value):
    assert real_array("reward", value).dtype == np.float64


def test_seeds_of_a_vector():
    assert vector_seeds(None, 2) == [None, None]
    assert vector_seeds(np.int64(3), 2) == [3, 4]
    assert vector_seeds((1, None), 2) == [1, None]


@pytest.mark.parametrize("seed", [-1, 1.5, "12", [1], [1, 2.5], [1, -2], {1: 2, 3: 4}])
def test_other_seeds_of_a_vector_are_named(seed):
    with pytest.raises(ValueError, match=r"seed must be an integer of at least 0|an entry of seed must be an integer"):
        vector_seeds(seed, 2)
