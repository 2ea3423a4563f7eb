"""Checks of arguments: what they return and how they refuse."""

import re

import numpy as np
import pytest

from bisimgym.envs.checks import choice, fraction, integer, number


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
