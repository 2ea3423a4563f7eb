"""What theory says of the metrics, on random processes."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisimgym.baselines import metrics
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.toy_mdps import garnet

TOLERANCE = 1e-7
SLACK = 4 * TOLERANCE
FEW = settings(max_examples=25, deadline=None)


@dataclass(frozen=True)
class Case:
    mdp: FiniteMDP
    policy: np.ndarray
    discount: float
    seed: int

    @property
    def rng(self):
        return np.random.default_rng(self.seed + 1)

    def mean_reward(self):
        return (self.policy * self.mdp.reward).sum(axis=1)

    def operator(self, name, discount=None):
        """Return the recursion of a metric on this process; base costs are distances of random points."""
        mdp, discount = self.mdp, self.discount if discount is None else discount
        points = self.rng.random((mdp.num_states, 2))
        if name == "bisimulation":
            return metrics.bisimulation_operator(mdp.transition, mdp.reward, discount)
        if name == "policy_similarity":
            return metrics.policy_similarity_operator(mdp.transition, self.policy, discount)
        if name.startswith("recursive_similarity"):
            cost = np.abs(points[:, None] - points).sum(axis=2)
            return metrics.recursive_similarity_operator(mdp.transition, cost, discount, name.partition(" ")[2])
        coordinates = (points,) if name == "rap" else ()
        operator = getattr(metrics, f"{name}_operator")
        return operator(mdp.transition, mdp.reward, self.policy, discount, *coordinates)

    def solve(self, name, discount=None):
        return metrics.solve(self.operator(name, discount), tolerance=TOLERANCE)


@st.composite
def cases(draw, largest=5, deterministic=None):
    states, actions = draw(st.integers(1, largest)), draw(st.integers(1, 3))
    if deterministic is None:
        deterministic = draw(st.booleans())
    branching = 1 if deterministic else draw(st.integers(1, states))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    mdp = garnet(states, actions, branching, rng, num_terminal=draw(st.integers(0, states)))
    if draw(st.booleans()):  # few different rewards make states that are alike
        mdp = FiniteMDP(mdp.transition, np.round(mdp.reward), mdp.terminal, mdp.state_names)
    policy = rng.dirichlet(np.ones(actions), states)
    if draw(st.booleans()):
        policy = np.eye(actions)[policy.argmax(axis=1)]
    return Case(mdp, policy, draw(st.sampled_from([0.0, 0.3, 0.7, 0.9])), seed)


WITH_ZERO_DIAGONAL = [
    "bisimulation",
    "on_policy_bisimulation",
    "policy_similarity",
    "recursive_similarity mean",
    "recursive_similarity max",
]
ALL = [*WITH_ZERO_DIAGONAL, "mico", "rap"]


@pytest.mark.parametrize("name", ALL)
@FEW
@given(case=cases())
def test_symmetry_triangle_inequality_and_zeros(name, case):
    d = case.solve(name)
    assert (d >= 0).all()
    assert name not in WITH_ZERO_DIAGONAL or not d.diagonal().any()
    assert np.abs(d - d.T).max() <= SLACK
    assert (d[:, None, :] - d[:, :, None] - d[None, :, :]).max() <= SLACK


@FEW
@given(case=cases())
def test_mico_is_positive_from_a_state_to_itself_where_futures_differ(case):
    """U(x, x) = 0 exactly where all that is ever reached from x in as many steps is rewarded alike on average."""
    d = case.solve("mico")
    reward = case.mean_reward()
    transition = case.mdp.transition
    if transition.ndim == 2:
        transition = np.eye(case.mdp.num_states)[transition]
    reach = np.einsum("sa,sat->st", case.policy, transition) > 1e-12
    for start in range(case.mdp.num_states):
        layer = np.arange(case.mdp.num_states) == start
        spread = 0.0
        for step in range(2**case.mdp.num_states):
            if step and case.discount == 0:
                break
            spread = max(spread, np.ptp(reward[layer]))
            layer = reach[layer].any(axis=0)
        if spread == 0:
            assert d[start, start] <= SLACK
        elif spread > 1e-3:
            assert d[start, start] > 0


@FEW
@given(case=cases())
def test_independent_draws_are_one_of_the_couplings(case):
    assert (case.solve("on_policy_bisimulation") - case.solve("mico")).max() <= SLACK


@FEW
@given(case=cases(deterministic=True))
def test_mico_of_deterministic_processes_is_rap_and_of_chains_on_policy_bisimulation(case):
    np.testing.assert_array_equal(case.solve("rap"), case.solve("mico"))
    policy = np.eye(case.mdp.num_actions)[case.policy.argmax(axis=1)]
    case = Case(case.mdp, policy, case.discount, case.seed)
    assert np.abs(case.solve("mico") - case.solve("on_policy_bisimulation")).max() <= SLACK


@pytest.mark.parametrize("name", ALL)
@FEW
@given(case=cases(), other=st.sampled_from([0.0, 0.1, 0.5, 0.8]))
def test_grows_with_the_discount(name, case, other):
    low, high = sorted((case.discount, other))
    assert (case.solve(name, low) - case.solve(name, high)).max() <= SLACK


@pytest.mark.parametrize("name", ALL)
@FEW
@given(case=cases(), shape=st.sampled_from(["any", "symmetric"]))
def test_contracts_by_the_discount(name, case, shape):
    operator = case.operator(name)
    x, y = case.rng.random((2, *operator.shape))
    if shape == "symmetric":
        x, y = ((a + a.T) * (1 - np.eye(len(a))) for a in (x, y))
    change = np.abs(operator(x) - operator(y)).max()
    assert change <= case.discount * np.abs(x - y).max() + 1e-9


@pytest.mark.parametrize("name", ALL)
@FEW
@given(case=cases(), size=st.sampled_from([0.0, 1e-3, 1.0]))
def test_the_error_bound_holds_for_any_distances(name, case, size):
    operator = case.operator(name)
    exact = metrics.solve(operator, tolerance=1e-9)
    guess = exact + size * case.rng.random(exact.shape)
    assert np.abs(guess - exact).max() <= operator.error_bound(guess) + 1e-9
    assert operator.error_bound(exact) <= 1e-6


@pytest.mark.parametrize("name", ["bisimulation", "on_policy_bisimulation", "mico"])
@FEW
@given(case=cases())
def test_metrics_bound_differences_of_optimal_values_or_of_the_policys(name, case):
    mdp, discount = case.mdp, case.discount
    values = mdp.optimal_values(discount) if name == "bisimulation" else mdp.policy_values(case.policy, discount)
    assert (np.abs(values[:, None] - values) - case.solve(name)).max() <= SLACK


@FEW
@given(case=cases(largest=8, deterministic=True))
def test_bisimulation_is_zero_exactly_within_a_class(case):
    if case.discount == 0:
        case = Case(case.mdp, case.policy, 0.5, case.seed)
    d = metrics.bisimulation(case.mdp.transition, case.mdp.reward, case.discount, tolerance=1e-10)
    classes, first = metrics.equivalence_classes(case.mdp.transition, case.mdp.reward)
    np.testing.assert_array_equal(d <= 1e-9, classes[:, None] == classes)
    np.testing.assert_array_equal(classes[first], np.arange(len(first)))


@FEW
@given(case=cases(), seed=st.integers(0, 2**32 - 1), states=st.integers(1, 5))
def test_policy_transfer_bound(case, seed, states):
    """Theorem 1 of Agarwal et al. (2021), and the sharper 1 / (1 - g) in place of (1 + g) / (1 - g).

    Let m(y) be the distance from y to its nearest state x, and e(y) the total variation of the transferred and the
    optimal policy in y. Then e(y) <= m(y) - g E[m(y')] under the optimal policy, so that the discounted sum of e along
    the optimal policy is at most m(y). Where the transferred policy departs, with probability e, what follows costs at
    most g / (1 - g); hence along the transferred policy the sum is at most m(y) (1 + g / (1 - g)).
    """
    rng = np.random.default_rng(seed)
    x, discount = case.mdp, case.discount
    branching = 1 if x.deterministic else min(2, states)
    y = garnet(states, x.num_actions, branching, rng)
    best_x, best_y = x.optimal_policy(discount), y.optimal_policy(discount)
    d = metrics.policy_similarity(x.transition, best_x, discount, other=(y.transition, best_y), tolerance=TOLERANCE)
    transferred = metrics.transferred_policy(d, best_x)
    variation = np.abs(transferred - best_y).sum(axis=1) / 2
    nearest = d.min(axis=0)
    as_reward = np.repeat(variation[:, None], y.num_actions, axis=1)
    summed = FiniteMDP(y.transition, as_reward, y.terminal & (variation == 0), y.state_names)
    along_transferred = summed.policy_values(transferred, discount)
    assert (along_transferred - (1 + discount) / (1 - discount) * nearest).max() <= SLACK
    assert (along_transferred - nearest / (1 - discount)).max() <= SLACK
    assert (summed.policy_values(best_y, discount) - nearest).max() <= SLACK


@FEW
@given(case=cases(), amount=st.floats(0, 1))
def test_policies_that_are_nearly_right_give_nearly_the_metric(case, amount):
    """The approximation bound of Agarwal et al. (2021), Proposition D.3, in the form that follows from the recursion.

    If the policies are within e of the right ones in total variation, local costs change by at most 2 e, and the
    next-state distributions by e each, which moves Wasserstein-1 by at most 2 e times the largest distance,
    1 / (1 - g). So the metrics differ by at most (2 e + g 2 e / (1 - g)) / (1 - g) = 2 e / (1 - g)^2.
    """
    other = case.rng.dirichlet(np.ones(case.mdp.num_actions), case.mdp.num_states)
    near = (1 - amount) * case.policy + amount * other
    error = np.abs(near - case.policy).sum(axis=1).max() / 2
    d = metrics.policy_similarity(case.mdp.transition, near, case.discount, tolerance=TOLERANCE)
    difference = np.abs(d - case.solve("policy_similarity"))
    assert (difference - 2 * error / (1 - case.discount) ** 2).max() <= SLACK


@FEW
@given(case=cases(deterministic=False), epsilon=st.floats(0, 0.5))
def test_an_error_in_local_costs_grows_by_one_over_one_minus_discount(case, epsilon):
    points = case.rng.random((case.mdp.num_states, 2))
    cost = np.abs(points[:, None] - points).sum(axis=2)
    noise = epsilon * case.rng.random(cost.shape)
    args = case.mdp.transition, case.policy, case.discount
    exact = metrics.policy_similarity(*args, cost=cost, tolerance=TOLERANCE)
    near = metrics.policy_similarity(*args, cost=cost + noise, tolerance=TOLERANCE)
    assert (np.abs(near - exact) - epsilon / (1 - case.discount)).max() <= SLACK
