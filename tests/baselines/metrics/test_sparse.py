"""Transitions as scipy.sparse arrays give what dense ones give, without dense arrays of all states and actions."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from bisimgym.baselines import metrics
from bisimgym.envs.toy_mdps import garnet


def forms(transition):
    """Yield the ways to give ``float64[S, A, S]`` as sparse arrays."""
    states, actions, _ = transition.shape
    per_action = [transition[:, a] for a in range(actions)]
    yield [sparse.csr_array(part) for part in per_action]
    yield tuple(sparse.coo_matrix(part) for part in per_action)
    yield sparse.csc_array(transition.reshape(states * actions, states))


@pytest.mark.parametrize("branching", [1, 3])
def test_every_metric_takes_them(rng, branching):
    mdp, policy, cost = garnet(8, 2, branching, rng), rng.dirichlet([1, 1], 8), rng.random((8, 8))
    dense = np.eye(8)[mdp.transition] if branching == 1 else mdp.transition
    points = rng.random((8, 2))
    for given in forms(dense):
        for solve in (
            lambda t: metrics.bisimulation(t, mdp.reward, 0.9),
            lambda t: metrics.bisimulation(t, mdp.reward, 0.9, other=(dense, mdp.reward)),
            lambda t: metrics.on_policy_bisimulation(t, mdp.reward, policy, 0.9, rows=[1]),
            lambda t: metrics.mico(t, mdp.reward, policy, 0.9),
            lambda t: metrics.rap(t, mdp.reward, policy, 0.9, points),
            lambda t: metrics.policy_similarity(t, policy, 0.9),
            lambda t: metrics.recursive_similarity(t, cost, 0.9),
            lambda t: metrics.equivalence_classes(t, mdp.reward)[0],
        ):
            np.testing.assert_array_equal(solve(given), solve(dense))


def test_operators_take_dense_probabilities(rng):
    mdp = garnet(6, 1, 3, rng)
    operator = metrics.mico_operator(mdp.transition, mdp.reward, np.ones((6, 1)), 0.9)
    own = dataclasses.replace(operator, successors_x=mdp.transition, successors_y=mdp.transition)
    np.testing.assert_array_equal(metrics.solve(own), metrics.solve(operator))


def test_nothing_dense_is_made_of_them(rng):
    states, actions = 3000, 2
    to = rng.integers(20, size=(states * actions, 2))  # whatever one does, one comes to one of 20 states
    rows = np.repeat(np.arange(states * actions), 2)
    transition = sparse.csr_array((np.full(len(rows), 0.5), (rows, to.ravel())), shape=(states * actions, states))
    reward = rng.random((states, actions))
    tracemalloc.start()
    d = metrics.bisimulation(transition, reward, 0.9, rows=np.arange(5), columns=np.arange(5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert d.shape == (5, 5)
    assert peak < states * states * 8 / 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: [t, -t], "got -1.0 at state 0, action 1, next state 0"),
        (lambda t: [t, t * 0.5], "state 0 and action 1 sum to 0.5"),
        (lambda t: [t, t * np.nan], "got nan"),
        (lambda t: [t, t[:, :2]], r"\[S, S\] for each action, all of one S, got shape \(3, 2\) for action 1"),
        (lambda t: t[:, :2], r"stacked sparse probabilities must be \[S \* A, S\].*got shape \(3, 2\)"),
    ],
)
def test_bad_ones_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        metrics.bisimulation(change(sparse.eye_array(3, format="csr")), np.zeros((3, 2)), 0.9)
