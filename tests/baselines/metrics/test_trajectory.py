import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisimgym.baselines.metrics import policy_cost, reward_cost, trajectory_similarity


def jump_trajectory(position):
    """Return actions and rewards of the optimal trajectory of a jumping task."""
    actions = np.zeros(56, dtype=int)
    actions[position - 14] = 1
    return actions, np.array([1.0] * 55 + [101.0])


def fixed_point(cost, discount, sweeps=4000):
    """Iterate the definition from zero: the last pair stands still and does not bootstrap on itself."""
    n, m = cost.shape
    rows, columns = np.minimum(np.arange(n) + 1, n - 1), np.minimum(np.arange(m) + 1, m - 1)
    distance = np.zeros_like(cost)
    for _ in range(sweeps):
        next_distance = distance[np.ix_(rows, columns)].copy()
        next_distance[-1, -1] = 0
        distance = cost + discount * next_distance
    return distance


costs = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 5))


@given(costs, st.floats(0, 0.95))
@settings(deadline=None, max_examples=60)
def test_equals_the_iterated_definition(cost, discount):
    np.testing.assert_allclose(trajectory_similarity(cost, discount), fixed_point(cost, discount, 600), atol=1e-9)


def test_a_hand_worked_case():
    cost = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    # d[1, 2] = 1; d[1, 1] = 3 + d[1, 2] / 2; d[1, 0] = d[1, 1] / 2; first row follows the diagonal.
    expected = [[1 + 3.5 / 2, 1 / 2, 2 + 1 / 2], [1.75, 3.5, 1]]
    np.testing.assert_allclose(trajectory_similarity(cost, 0.5), expected)


def test_policy_similarity_of_obstacles_at_25_and_45():
    near, far = jump_trajectory(25)[0], jump_trajectory(45)[0]
    distance = trajectory_similarity(policy_cost(near, far), 0.999)
    assert (distance == 0).sum() == 1068
    assert distance.max() == pytest.approx(1.999)
    assert distance[distance > 0].min() == pytest.approx(0.9695, abs=5e-5)
    assert distance[11, 31] == 0
    assert (distance == 0).any(axis=1).all()
    assert (distance == 0).any(axis=0).sum() == 36
    blurred = trajectory_similarity(policy_cost(near, far), 0.99)
    assert blurred.max() == pytest.approx(1.99)
    assert blurred[blurred > 0].min() == pytest.approx(0.732, abs=5e-4)


@pytest.mark.parametrize(("discount", "largest"), [(0.99, 4246.45), (0.999, 5354)])
def test_bisimulation_along_optimal_trajectories(discount, largest):
    distance = trajectory_similarity(reward_cost(jump_trajectory(25)[1], jump_trajectory(45)[1]), discount)
    assert distance.max() == pytest.approx(largest, abs=0.5 if discount == 0.999 else 0.005)
    # It aligns equal time steps, whatever the distance to the obstacle.
    assert (distance.diagonal() == 0).all()
    assert (distance[~np.eye(56, dtype=bool)] > 0).all()
    np.testing.assert_array_equal(distance, distance.T)


def test_it_bounds_the_gap_between_discounted_returns():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 30))
    distance = trajectory_similarity(reward_cost(x, y), 0.9)
    powers = 0.9 ** np.arange(30)
    assert abs((powers * (x - y)).sum()) <= distance[0, 0] + 1e-12


def test_batches_equal_single_pairs():
    cost = np.random.default_rng(1).random((4, 3, 7, 5))
    before = cost.copy()
    batch = trajectory_similarity(cost, 0.9)
    np.testing.assert_array_equal(cost, before)
    for index in np.ndindex(4, 3):
        np.testing.assert_array_equal(batch[index], trajectory_similarity(cost[index], 0.9))


def test_costs_accept_batches():
    actions = np.array([[0, 1], [1, 1]])
    assert policy_cost(actions, actions).shape == (2, 2, 2)
    assert policy_cost(actions, actions)[0].tolist() == [[0, 1], [1, 0]]
    assert reward_cost([1.0, 4.0], [2.0]).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("cost", "discount", "message"),
    [
        (np.ones(3), 0.9, r"must be \[..., n, m\]"),
        (np.ones((0, 3)), 0.9, "n, m >= 1"),
        (np.array([[-1.0]]), 0.9, "non-negative"),
        (np.array([[np.inf]]), 0.9, "finite"),
        (np.ones((2, 2)), 1.1, "discount must be in"),
    ],
)
def test_bad_input_is_named(cost, discount, message):
    with pytest.raises(ValueError, match=message):
        trajectory_similarity(cost, discount)


def test_numbers_that_are_not_real_are_refused():
    with pytest.raises(ValueError, match="cost must be an array of real numbers"):
        trajectory_similarity(np.ones((2, 2)) * 1j, 0.9)
    with pytest.raises(ValueError, match=r"rewards_x must be finite float\[..., n\], got shape \(\)"):
        reward_cost(1.0, [1.0])
    with pytest.raises(ValueError, match="rewards_y must be finite"):
        reward_cost([1.0], [np.nan])
