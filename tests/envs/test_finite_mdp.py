import numpy as np
import pytest

from bisimgym.envs.finite_mdp import FiniteMDP


def two_state(transition, reward=None, terminal=None):
    reward = np.array([[1.0, 0.0], [0.0, 0.0]]) if reward is None else reward
    terminal = np.array([False, True]) if terminal is None else terminal
    return FiniteMDP(transition, reward, terminal, ("start", "end"))


def test_values_of_a_hand_worked_process():
    # Action 0 stays and earns 1, action 1 ends: staying is worth 1 / (1 - 0.5).
    mdp = two_state(np.array([[0, 1], [1, 1]]))
    np.testing.assert_allclose(mdp.optimal_values(0.5), [2, 0], atol=1e-9)
    uniform = np.full((2, 2), 0.5)
    # v = 0.5 (1 + v / 2)
    np.testing.assert_allclose(mdp.policy_values(uniform, 0.5), [2 / 3, 0], atol=1e-9)


def test_both_forms_of_transitions_agree():
    rng = np.random.default_rng(0)
    target = rng.integers(6, size=(6, 3))
    reward = rng.random((6, 3))
    names = tuple("abcdef")
    none = np.zeros(6, dtype=bool)
    deterministic = FiniteMDP(target, reward, none, names)
    stochastic = FiniteMDP(np.eye(6)[target], reward, none, names)
    assert deterministic.deterministic
    assert not stochastic.deterministic
    np.testing.assert_allclose(deterministic.optimal_values(0.9), stochastic.optimal_values(0.9), atol=1e-12)


def test_cycles_without_discount_are_an_error():
    with pytest.raises(ValueError, match="no cycles"):
        two_state(np.array([[0, 1], [1, 1]])).optimal_values(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition": np.array([[0, 2], [1, 1]])}, "from 0 to 1"),
        ({"transition": np.zeros((2, 3), dtype=int)}, r"must be \[2, 2\]"),
        ({"transition": np.full((2, 2, 2), 0.4)}, "sum to one"),
        ({"transition": np.array([[0, 1], [0, 1]])}, "absorbing"),
        ({"reward": np.array([[1.0, 0.0], [0.0, 2.0]])}, "absorbing"),
        ({"reward": np.array([[1.0, np.nan], [0.0, 0.0]])}, "finite"),
        ({"terminal": np.array([True])}, r"bool\[2\]"),
    ],
)
def test_bad_arrays_are_named(change, message):
    arguments = {"transition": np.array([[0, 1], [1, 1]]), **change}
    with pytest.raises(ValueError, match=message):
        two_state(**arguments)


def test_discount_out_of_range():
    with pytest.raises(ValueError, match="discount must be in"):
        two_state(np.array([[0, 1], [1, 1]])).optimal_values(1.5)
