import dataclasses
import time

import numpy as np
import pytest

from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.toy_mdps import cake_processes, garnet, grid_world


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
        ({"transition": np.zeros((2, 3), dtype=int)}, r"must be \[2, 2\]"),
        ({"transition": np.array([[0, 1], [0, 1]])}, "absorbing"),
        ({"reward": np.array([[1.0, 0.0], [0.0, 2.0]])}, "absorbing"),
        ({"reward": np.array([[1.0, np.nan], [0.0, 0.0]])}, "finite"),
        ({"terminal": np.array([True])}, r"bool\[2\]"),
        ({"terminal": np.array([0, 1])}, r"bool\[2\], got int64"),
        ({"transition": np.array([[[1.5, -0.5]] * 2, [[0, 1.0]] * 2])}, r"got -0.5 at \[0, 0, 1\]"),
        ({"transition": np.array([[[0.5, np.nan]] * 2, [[0, 1.0]] * 2])}, r"got nan at \[0, 0, 1\]"),
        (
            {"transition": np.array([[[0.5, 0.4]] * 2, [[0, 1.0]] * 2])},
            r"sum to one within 0.001, but transition\[0, 0\] sums to 0.9",
        ),
        ({"transition": np.array([[0, 1], [-1, 1]])}, r"got -1 at \[1, 0\]"),
    ],
)
def test_bad_arrays_are_named(change, message):
    arguments = {"transition": np.array([[0, 1], [1, 1]]), **change}
    with pytest.raises(ValueError, match=message):
        two_state(**arguments)


def test_bad_numbers_are_named():
    mdp = two_state(np.array([[0, 1], [1, 1]]))
    with pytest.raises(ValueError, match="discount must be a number in"):
        mdp.optimal_values(1.5)
    with pytest.raises(ValueError, match="tolerance must be positive .* got 0"):
        mdp.optimal_values(0.5, tolerance=0)
    with pytest.raises(ValueError, match=r"with discount=0.9999 .* at least 8.9e-08.* got 1e-10"):
        mdp.optimal_values(0.9999, tolerance=1e-10)
    assert mdp.optimal_values(0.9999)[0] == pytest.approx(1e4, abs=1e-7)
    with pytest.raises(ValueError, match=r"policy must be \[2, 2\], got \(2,\)"):
        mdp.policy_values(np.ones(2), 0.5)
    with pytest.raises(ValueError, match="offsets must rise from 0"):
        FiniteMDP(mdp.transition, mdp.reward, mdp.terminal, mdp.state_names, offsets=(0, 2))
    with pytest.raises(ValueError, match="same actions"):
        FiniteMDP.union({})


def test_the_optimal_policy_takes_the_lowest_of_equally_good_actions():
    # Actions 1 and 2 are the same; action 0 is worse by a hair that is more than rounding.
    transition = np.array([[1, 1, 1], [1, 1, 1]])
    reward = np.array([[1 - 1e-6, 1.0, 1.0], [0.0, 0.0, 0.0]])
    mdp = FiniteMDP(transition, reward, np.array([False, True]), ("start", "end"))
    np.testing.assert_array_equal(mdp.optimal_policy(0.9), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(mdp.optimal_policy(1.0), [[0, 1, 0], [1, 0, 0]])


def test_the_optimal_policy_reaches_the_optimal_values():
    rng = np.random.default_rng(3)
    for branching in (1, 4):
        mdp = garnet(20, 3, branching, rng)
        values = mdp.policy_values(mdp.optimal_policy(0.95), 0.95)
        np.testing.assert_allclose(values, mdp.optimal_values(0.95), atol=1e-8)
        # and satisfies Bellman's equation
        best = (mdp.reward + 0.95 * mdp.next_values(values)).max(axis=1)
        np.testing.assert_allclose(values, best, atol=1e-8)


def test_reachable_states():
    transition = np.array([[1, 2], [1, 1], [3, 3], [2, 3]])
    mdp = FiniteMDP(transition, np.zeros((4, 2)), np.array([False, True, False, False]), tuple("abcd"))
    np.testing.assert_array_equal(mdp.reachable_states(), [0, 1, 2, 3])
    np.testing.assert_array_equal(mdp.reachable_states(start=2), [2, 3])
    np.testing.assert_array_equal(mdp.reachable_states(policy=np.array([[1, 0]] * 4)), [0, 1])
    dense = FiniteMDP(np.eye(4)[transition], mdp.reward, mdp.terminal, mdp.state_names)
    np.testing.assert_array_equal(dense.reachable_states(start=[2, 1]), [1, 2, 3])
    np.testing.assert_array_equal(dense.reachable_states(policy=np.array([[1, 0]] * 4)), [0, 1])


def test_a_union_keeps_its_parts_apart():
    rng = np.random.default_rng(0)
    x, y = garnet(3, 2, 1, rng), garnet(4, 2, 1, rng)
    union = FiniteMDP.union({"x": x, "y": y})
    assert union.deterministic
    assert union.offsets == (0, 3)
    assert union.state_names[2:4] == ("x: 2", "y: 0")
    np.testing.assert_array_equal(union.transition[3:] - 3, y.transition)
    np.testing.assert_allclose(union.optimal_values(0.9)[3:], y.optimal_values(0.9), atol=1e-9)
    twice = FiniteMDP.union({"first": union, "second": garnet(2, 2, 2, rng)})
    assert twice.offsets == (0, 3, 7)
    assert not twice.deterministic
    np.testing.assert_allclose(twice.optimal_values(0.9)[:7], union.optimal_values(0.9), atol=1e-9)


class TestSmallProcesses:
    def test_garnet_branches_as_asked(self):
        rng = np.random.default_rng(1)
        mdp = garnet(12, 3, 4, rng, num_terminal=2)
        assert ((mdp.transition[:10] > 0).sum(axis=2) == 4).all()
        assert mdp.terminal.tolist() == [False] * 10 + [True] * 2
        assert (mdp.reward[:10] > 0).any()
        assert garnet(5, 2, 1, rng).deterministic
        # every share of a cut interval has the same mean
        wide = garnet(300, 4, 3, rng).transition
        assert wide[wide > 0].mean() == pytest.approx(1 / 3)
        assert np.array_equal(
            garnet(6, 2, 3, np.random.default_rng(5)).transition, garnet(6, 2, 3, np.random.default_rng(5)).transition
        )

    def test_grid_world_moves_bumps_and_ends(self):
        mdp = grid_world(["  G", " # "])
        names = mdp.state_names
        assert names == ("(0, 0)", "(0, 1)", "(0, 2)", "(1, 0)", "(1, 2)")
        up, down, left, right = range(4)
        assert mdp.transition[0].tolist() == [0, 3, 0, 1]
        assert mdp.reward[0].tolist() == [-1, 0, -1, 0]
        assert (mdp.transition[1, right], mdp.reward[1, right]) == (2, 1)
        assert (mdp.transition[1, down], mdp.reward[1, down]) == (1, -1)  # the wall
        assert mdp.terminal.tolist() == [False, False, True, False, False]
        assert mdp.transition[2].tolist() == [2] * 4
        assert mdp.transition[4, left] == 4
        assert mdp.reward[4, up] == 1

    def test_slipping_mixes_moves(self):
        sure, slippery = grid_world(), grid_world(slip=0.2)
        assert sure.num_states == 31
        np.testing.assert_allclose(
            slippery.transition,
            0.8 * np.eye(31)[sure.transition] + 0.2 * np.eye(31)[sure.transition].mean(axis=1, keepdims=True),
        )
        np.testing.assert_allclose(slippery.reward, 0.8 * sure.reward + 0.2 * sure.reward.mean(axis=1, keepdims=True))

    def test_cake(self):
        x, y = cake_processes(5.0, 1.0)
        np.testing.assert_array_equal(x.optimal_policy(0.9), y.optimal_policy(0.9))
        assert x.optimal_values(0.9)[0] == pytest.approx(5 + 0.9 * 5)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: garnet(3, 2, 4, np.random.default_rng()), "branching must be an integer from 1 to 3, .*, got 4"),
            (lambda: garnet(0, 2, 1, np.random.default_rng()), "num_states must be an integer of at least 1, got 0"),
            (
                lambda: garnet(3, 2, 1, np.random.default_rng(), 4),
                "num_terminal must be .* from 0 to 3, .*, got 4",
            ),
            (lambda: grid_world(["ab"]), "layout must be rows"),
            (lambda: grid_world(["  ", " "]), "layout must be rows of equal length"),
            (lambda: grid_world(["##"]), "must have a free cell"),
            (lambda: grid_world(slip=1.0), r"slip must be a probability in \[0, 1\), got 1.0"),
            (lambda: cake_processes(0.0, 1.0), "rewards must be positive, got 0.0 and 1.0"),
        ],
    )
    def test_bad_input(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_thirds_of_any_type_are_thirds(dtype):
    third = np.full((3, 3, 3), 1 / 3).astype(dtype)
    mdp = FiniteMDP(third, np.ones((3, 3), dtype), np.zeros(3, dtype=bool), tuple("abc"))
    assert mdp.transition.dtype == mdp.reward.dtype == np.float64
    np.testing.assert_allclose(mdp.optimal_values(0.999), 1000, rtol=0, atol=1e-7)
    np.testing.assert_allclose(mdp.policy_values(third[0], 0.999), 1000, rtol=0, atol=1e-7)


def test_lists_and_one_hot_integers_are_probabilities():
    mdp = FiniteMDP([[[1, 0], [0, 1]], [[0, 1], [0, 1]]], [[1, 2], [0, 0]], [False, True], ("a", "b"))
    np.testing.assert_allclose(mdp.optimal_values(0.5), [2, 0])
    np.testing.assert_array_equal(mdp.reachable_states(0, [[1, 0], [1, 0]]), [0])


def test_a_process_is_a_copy():
    transition = np.array([[0, 1], [1, 1]])
    mdp = two_state(transition)
    transition[0, 0] = 7
    assert mdp.transition[0, 0] == 0


def test_returns_in_so_many_steps():
    mdp = FiniteMDP(
        np.array([[1], [2], [2]]), np.array([[1.0], [2], [0]]), np.array([False, False, True]), tuple("abc")
    )
    policy = np.ones((3, 1), np.float32)
    assert [mdp.policy_returns(policy, steps)[0] for steps in (0, 1, 2, 10**9)] == [0, 1, 3, 3]
    with pytest.raises(ValueError, match="steps must be an integer of at least 0"):
        mdp.policy_returns(policy, -1)


@pytest.mark.parametrize("dense", [False, True])
def test_returns_without_a_limit(dense):
    transition = np.array([[0, 1], [0, 2], [2, 2]])
    if dense:
        transition = np.eye(3)[transition]
    mdp = FiniteMDP(transition, np.array([[-1.0, -1], [-1, -1], [0, 0]]), np.array([False, False, True]), tuple("abc"))
    coin = np.full((3, 2), 0.5)
    # Two heads in a row take six throws on average.
    assert [mdp.unlimited_return(coin, state) for state in range(3)] == pytest.approx([-6, -4, 0])
    with pytest.raises(ValueError, match="never end"):
        mdp.unlimited_return(np.array([[1, 0]] * 3), 0)


@pytest.mark.parametrize("probability", [(0.1, 0.9), (0.3, 0.7), (0.9, 0.1)])
def test_a_policy_that_never_ends_is_named(probability):
    transition = np.zeros((3, 1, 3))
    transition[0, 0, :2], transition[1, 0, :2], transition[2, 0, 2] = probability, probability[::-1], 1
    mdp = FiniteMDP(transition, np.array([[1.0], [1.0], [0.0]]), np.array([False, False, True]), ("a", "b", "end"))
    with pytest.raises(ValueError, match="the policy never ends from state 'a'"):
        mdp.unlimited_return(np.ones((3, 1)), 0)


@pytest.mark.parametrize("discount", [0.9999, 0.999999, 1 - 1e-9])
def test_values_near_discount_one_take_no_time(discount):
    mdp = FiniteMDP(np.array([[1], [0], [2]]), np.array([[1.0], [0.0], [0.5]]), np.zeros(3, dtype=bool), tuple("abc"))
    start = time.process_time()
    values = mdp.optimal_values(discount)
    np.testing.assert_allclose(values, mdp.policy_values(np.ones((3, 1)), discount))
    assert time.process_time() - start < 1  # sweeps would take minutes
    np.testing.assert_allclose(values[:2], np.array([1, discount]) / (1 - discount**2), rtol=1e-7)
    assert values[2] == pytest.approx(0.5 / (1 - discount), rel=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mdp: mdp.optimal_values("0.9"), "discount must be a number"),
        (lambda mdp: mdp.policy_values(np.full((2, 2), 0.5), None), "discount must be a number"),
        (lambda mdp: mdp.optimal_values(0.9, tolerance="x"), "tolerance must be positive"),
        (lambda mdp: mdp.reachable_states(1.7), "start must be states from 0 to 1, got 1.7"),
        (lambda mdp: mdp.reachable_states("0"), "start must be states from 0 to 1, got '0'"),
        (lambda mdp: dataclasses.replace(mdp, offsets=()), "offsets must rise from 0"),
    ],
)
def test_numbers_of_other_types_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(two_state(np.array([[0, 1], [1, 1]])))
