import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.envs.toy_mdps import garnet


def swept(mdp, discount, improve):
    values = np.zeros(mdp.num_states)
    for _ in range(3000):
        values = improve(mdp.reward + discount * mdp.next_values(values))
    return values


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("branching", [1, 3])
def test_against_value_iteration(rng, branching, discount):
    mdp = garnet(9, 3, branching, rng, num_terminal=1)
    values = swept(mdp, discount, lambda quality: quality.max(axis=1))
    d = metrics.value_difference(mdp.transition, mdp.reward, discount)
    np.testing.assert_allclose(d, np.abs(values[:, None] - values), atol=1e-8)
    policies = rng.dirichlet(np.ones(3), (4, 9))
    d = metrics.value_difference(mdp.transition, mdp.reward, discount, policies)
    values = np.stack([swept(mdp, discount, lambda q, p=p: (p * q).sum(axis=1)) for p in policies])
    np.testing.assert_allclose(d, np.abs(values[:, :, None] - values[:, None]).max(axis=0), atol=1e-8)
    one = metrics.value_difference(mdp.transition, mdp.reward, discount, policies[0])
    assert (one <= metrics.on_policy_bisimulation(mdp.transition, mdp.reward, policies[0], discount) + 1e-6).all()


def test_near_a_discount_of_one(rng):
    # Two states that stay where they are.
    d = metrics.value_difference(np.array([[0], [1]]), np.array([[1e9], [0.0]]), 0.999999)
    assert d[0, 1] == pytest.approx(1e15, rel=1e-9)


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        (np.ones(3), r"policies must be float\[K, 3, 1\]"),
        (np.zeros((0, 3, 1)), r"policies must be float\[K, 3, 1\]"),
        (np.full((2, 3, 1), 0.5), r"policies\[0\].* sums to 0.5"),
    ],
)
def test_bad_policies_are_named(policies, message):
    with pytest.raises(ValueError, match=message):
        metrics.value_difference(np.arange(3)[:, None], np.zeros((3, 1)), 0.9, policies)


@pytest.mark.parametrize(("difference", "discount"), [(1.8e-7, 0.999999), (1e-9, 0.9999)])
def test_small_gains_of_actions_count_near_discount_one(difference, discount):
    transition = np.array([[1, 0], [0, 0], [2, 2], [3, 3]])
    reward = np.array([[1 + 2 * difference, 1 + 1.5 * difference], [1, 1], [1, 1], [0, 0]])
    found = metrics.value_difference(transition, reward, discount)[0, 2]
    # To stay in state 0 is worth 1.5 times the difference at each step, which rounding of 1 blurs.
    assert found == pytest.approx(1.5 * difference / (1 - discount), rel=1e-5)


def test_a_constant_reward_makes_no_difference(rng):
    transition = rng.dirichlet(np.ones(5), size=(5, 2))
    assert metrics.value_difference(transition, np.full((5, 2), 1e9), 0.999999).max() == 0
    with pytest.raises(ValueError, match=r"rewards from -1e\+308 to 1e\+308 are too large"):
        metrics.value_difference(transition, np.array([[1e308, -1e308]] * 5), 0.9)
