"""States that behave alike are found in stochastic processes too, and nothing is lost by merging them."""

import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.toy_mdps import garnet


def with_copies(mdp, copies, rng):
    """Return the process with so many of each state, in random order, and which state each is a copy of.

    A transition's probability is divided among the copies in eighths, so that sums are exact.
    """
    states = mdp.num_states
    origin = rng.permutation(np.repeat(np.arange(states), copies))
    shares = rng.multinomial(8, np.full(copies, 1 / copies), (len(origin), mdp.num_actions, states)) / 8
    nth = np.zeros(len(origin), dtype=int)
    for state in range(states):
        nth[origin == state] = np.arange(copies)
    transition = mdp.transition[origin][:, :, origin] * shares[:, :, origin, nth]
    names = tuple(str(i) for i in range(len(origin)))
    return FiniteMDP(transition, mdp.reward[origin], mdp.terminal[origin], names), origin


@pytest.fixture
def copied(rng):
    mdp = garnet(6, 2, 3, rng)
    # In sixteenths, so that no sum of shares is rounded.
    transition = np.round(mdp.transition * 16)
    largest = transition.argmax(axis=2)[..., None]
    np.put_along_axis(transition, largest, 0, axis=2)
    np.put_along_axis(transition, largest, 16 - transition.sum(axis=2, keepdims=True), axis=2)
    mdp = FiniteMDP(transition / 16, mdp.reward, mdp.terminal, mdp.state_names)
    return mdp, *with_copies(mdp, 5, rng)


def test_a_quotient_has_one_state_for_each_copied_one(copied):
    mdp, large, origin = copied
    small, classes = metrics.quotient(large)
    assert small.num_states == mdp.num_states == classes.max() + 1
    assert len({(int(c), int(o)) for c, o in zip(classes, origin, strict=True)}) == mdp.num_states
    np.testing.assert_allclose(small.optimal_values(0.9)[classes], large.optimal_values(0.9), atol=1e-9)
    np.testing.assert_allclose(large.optimal_values(0.9), mdp.optimal_values(0.9)[origin], atol=1e-9)


@pytest.mark.parametrize("metric", ["bisimulation", "on_policy_bisimulation", "mico", "policy_similarity"])
def test_metrics_solve_the_quotient_and_give_the_whole(copied, rng, metric):
    mdp, large, origin = copied
    policy = rng.multinomial(16, [0.5, 0.5], mdp.num_states) / 16
    solver = getattr(metrics, f"{metric}_operator")
    arguments = {"bisimulation": ("reward",), "policy_similarity": ("policy",)}.get(metric, ("reward", "policy"))
    whole = solver(large.transition, *({"reward": large.reward, "policy": policy[origin]}[a] for a in arguments), 0.9)
    alone = solver(mdp.transition, *({"reward": mdp.reward, "policy": policy}[a] for a in arguments), 0.9)
    everything = np.arange(large.num_states)
    assert whole.reduced(everything, everything)[0].shape == (mdp.num_states, mdp.num_states)
    d = metrics.solve(whole)
    np.testing.assert_allclose(d, metrics.solve(alone)[origin][:, origin], atol=2e-6)
    assert whole.error_bound(d) <= 2e-6


def test_equal_sums_in_another_order_are_equal(rng):
    shares = rng.dirichlet(np.ones(7))
    transition = np.zeros((16, 1, 16))
    transition[0, 0, 2:9], transition[1, 0, rng.permutation(np.arange(9, 16))] = shares, shares
    transition[np.arange(2, 16), 0, np.arange(2, 16)] = 1
    classes, first = metrics.equivalence_classes(transition, np.arange(16) < 2)
    np.testing.assert_array_equal(first, [0, 2])
    np.testing.assert_array_equal(classes, np.arange(16) >= 2)


def test_probabilities_within_a_tolerance_count_as_equal():
    transition = np.zeros((4, 1, 4))
    transition[0, 0, 2:], transition[1, 0, 2:] = (0.5, 0.5), (0.5001, 0.4999)
    transition[[2, 3], 0, [2, 3]] = 1
    mdp = FiniteMDP(transition, np.array([[0.0], [0.0], [1.0], [0.0]]), np.zeros(4, dtype=bool), tuple("abcd"))
    assert metrics.quotient(mdp)[0].num_states == 4
    small, classes = metrics.quotient(mdp, tolerance=0.01)
    assert small.state_names == ("a", "c", "d")
    np.testing.assert_array_equal(classes, [0, 0, 1, 2])
    np.testing.assert_array_equal(small.transition[0, 0], [0, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"tolerance must be a number in \[0, 1\], got -1"):
        metrics.quotient(mdp, tolerance=-1)


def test_terminal_states_stay_apart():
    stay = np.arange(2)[:, None]
    mdp = FiniteMDP(stay, np.zeros((2, 1)), np.array([True, False]), ("end", "idle"))
    assert metrics.quotient(mdp)[0].num_states == 2


def test_a_single_state_and_a_process_without_copies(rng):
    mdp = garnet(12, 2, 4, rng)
    small, classes = metrics.quotient(mdp)
    np.testing.assert_array_equal(classes, np.arange(12))
    np.testing.assert_array_equal(small.transition, mdp.transition)
    one = FiniteMDP(np.ones((1, 1, 1)), np.ones((1, 1)), np.array([False]), ("only",))
    assert metrics.quotient(one)[0].num_states == 1


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int8])
def test_labels_of_any_type_are_compared_in_float64(kind):
    stay = np.arange(3)[:, None]
    classes, _ = metrics.equivalence_classes(stay, np.array([1, 2, 3], kind), tolerance=1e-5)
    np.testing.assert_array_equal(classes, [0, 1, 2])
    with pytest.raises(ValueError, match=r"tolerance=1e-12 is too small for labels of up to 1e\+300"):
        metrics.equivalence_classes(stay, np.array([1.0, 2.0, 1e300]), tolerance=1e-12)


def test_arrays_in_place_of_a_process_are_named():
    with pytest.raises(ValueError, match="mdp must be a FiniteMDP, got tuple: equivalence_classes takes arrays"):
        metrics.quotient((np.zeros((2, 1), int), np.zeros((2, 1))))
