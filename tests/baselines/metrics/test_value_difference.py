import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.envs.toy_mdps import garnet


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("branching", [1, 3])
def test_against_value_iteration(rng, branching, discount):
    mdp = garnet(9, 3, branching, rng, num_terminal=1)
    values = mdp.optimal_values(discount)
    d = metrics.value_difference(mdp.transition, mdp.reward, discount)
    np.testing.assert_allclose(d, np.abs(values[:, None] - values), atol=1e-8)
    policies = rng.dirichlet(np.ones(3), (4, 9))
    d = metrics.value_difference(mdp.transition, mdp.reward, discount, policies)
    values = np.stack([mdp.policy_values(policy, discount) for policy in policies])
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
