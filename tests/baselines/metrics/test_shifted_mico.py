import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.benchmarks.speed import metric_reference as reference
from bisimgym.envs.toy_mdps import garnet


def test_by_hand():
    # Both states stay; one gives 0 or 2 with equal chances, the other 1.
    d = metrics.shifted_mico(np.array([[0], [1]]), [[[0.0, 2.0]], [[1.0, 1.0]]], np.ones((2, 1)), 0.5)
    np.testing.assert_allclose(d, [[2.0, 2.0], [2.0, 0.0]], atol=1e-6)
    assert metrics.mico(np.array([[0], [1]]), [[1.0], [1.0]], np.ones((2, 1)), 0.5).max() == 0


@pytest.mark.parametrize("branching", [1, 3])
def test_against_plain_iteration(rng, branching):
    mdp, policy = garnet(6, 2, branching, rng), rng.dirichlet([1, 1], 6)
    reward, chances = np.round(rng.random((6, 2, 3)), 1), rng.dirichlet(np.ones(3), (6, 2))
    mass, values = (policy[..., None] * chances).reshape(6, -1), reward.reshape(6, -1)
    cost = np.zeros((6, 6))
    for s in range(6):
        for t in range(6):
            cost[s, t] = mass[s] @ np.abs(values[s][:, None] - values[t]) @ mass[t]
    transition = np.eye(6)[mdp.transition] if branching == 1 else mdp.transition
    chain = np.einsum("sa,sat->st", policy, transition)
    plain = reference.iterate_until(lambda d: reference.independent_sweep(d, chain, cost, 0.9), (6, 6), 0.9, 1e-9)
    d = metrics.shifted_mico(mdp.transition, reward, policy, 0.9, chances=chances, tolerance=1e-8)
    np.testing.assert_allclose(d, plain.distance, atol=2e-8)
    assert (d >= metrics.mico(mdp.transition, (reward * chances).sum(axis=2), policy, 0.9) - 1e-6).all()


def test_it_is_mico_where_states_have_one_reward(rng):
    mdp, policy = garnet(7, 2, 3, rng), rng.dirichlet([1, 1], 7)
    reward = np.repeat(rng.random((7, 1)), 2, axis=1)
    exact = metrics.mico(mdp.transition, reward, policy, 0.9)
    np.testing.assert_allclose(metrics.shifted_mico(mdp.transition, reward, policy, 0.9), exact, atol=2e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.zeros((3, 1))}, r"reward must be finite float\[2, 1\]"),
        ({"reward": np.full((2, 1), np.nan)}, "reward must be finite"),
        ({"chances": np.ones((2, 1, 1))}, r"chances must be float\[2, 1, 2\]"),
        ({"chances": np.ones((2, 1, 2))}, "chances: every row must sum to one"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"transition": np.array([[0], [1]]), "reward": np.zeros((2, 1, 2)), "policy": np.ones((2, 1))}
    with pytest.raises(ValueError, match=message):
        metrics.shifted_mico(**{**given, "discount": 0.9, **change})


def test_what_float64_can_certify_is_reached_near_discount_one():
    e = 1e-4
    transition = np.array([[[e, 0, 1 - e]], [[1 - e, e, 0]], [[1 - e, e, 0]]])
    reward, policy = np.array([[0.0], [0], [1]]), np.ones((3, 1))
    operator = metrics.mico_operator(transition, reward, policy, 0.9999)
    found = metrics.solve(operator)  # to 1e-6
    metrics.shifted_mico(transition, reward, policy, 0.9999)
    assert operator.bound_of(np.abs(operator(found) - found).max()) <= 2e-6


@pytest.mark.parametrize("seed", range(30))
def test_random_processes_are_solved_near_discount_one(seed):
    rng = np.random.default_rng(seed)
    states = rng.integers(2, 16)
    transition = rng.dirichlet(np.full(states, rng.choice([0.05, 0.3, 1])), size=(states, 1))
    reward = rng.normal(size=(states, 1)) * 10.0 ** rng.integers(-2, 4)
    for discount in (0.9999, 0.999999):
        operator = metrics.mico_operator(transition, reward, np.ones((states, 1)), discount)
        tolerance = max(1e-6, 9 * operator.bound_of(0.0))
        found = metrics.solve(operator, tolerance=tolerance)
        assert operator.bound_of(np.abs(operator(found) - found).max()) <= 2 * tolerance
