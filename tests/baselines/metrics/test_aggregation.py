import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.baselines.metrics.aggregation import merged
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.toy_mdps import garnet


def test_by_hand():
    # 0 and 1 are near, and lead to 2 and 3; 2 stays.
    transition = np.array([[2], [3], [2], [0]])
    mdp = FiniteMDP(transition, np.array([[0.0], [1.0], [4.0], [8.0]]), np.zeros(4, dtype=bool), tuple("abcd"))
    small, classes = metrics.aggregated(mdp, np.abs(np.subtract.outer(range(4), range(4))), 1)
    np.testing.assert_array_equal(classes, [0, 0, 1, 1])
    np.testing.assert_array_equal(small.reward, [[0.5], [6.0]])
    np.testing.assert_array_equal(small.transition, [[[0.0, 1.0]], [[0.5, 0.5]]])
    assert small.state_names == ("a", "c")


@pytest.mark.parametrize("branching", [1, 3])
@pytest.mark.parametrize("radius", [0.0, 0.3, 1.0, np.inf])
def test_values_differ_by_no_more_than_the_radius_permits(rng, branching, radius):
    mdp, discount = garnet(15, 2, branching, rng, num_terminal=2), 0.5
    small, classes = metrics.aggregated(mdp, metrics.bisimulation(mdp.transition, mdp.reward, discount), radius)
    off = np.abs(small.optimal_values(discount)[classes] - mdp.optimal_values(discount)).max()
    assert off <= 2 * radius / (1 - discount) + 1e-6
    if radius == 0:
        assert small.num_states == metrics.quotient(mdp)[0].num_states
    if radius == np.inf:
        assert small.num_states == 1


@pytest.mark.parametrize(
    ("distance", "radius", "message"),
    [
        (np.zeros((2, 2)), 1, r"distance must be float\[3, 3\]"),
        (np.full((3, 3), np.nan), 1, "distance must be"),
        (np.zeros((3, 3)), -1, "radius must be a number"),
    ],
)
def test_bad_input_is_named(rng, distance, radius, message):
    with pytest.raises(ValueError, match=message):
        metrics.aggregated(garnet(3, 1, 1, rng), distance, radius)


@pytest.mark.parametrize("classes", [[0, 1], [0, 2, 2], [0, -1, 0], [1, 1, 1]])
def test_classes_without_states_are_named(rng, classes):
    with pytest.raises(ValueError, match=r"classes must be int\[3\], from 0 on without a gap"):
        merged(garnet(3, 1, 1, rng), classes)


def test_distances_are_at_least_zero(rng):
    with pytest.raises(ValueError, match="and at least 0"):
        metrics.aggregated(garnet(3, 1, 1, rng), -np.ones((3, 3)), 1)
