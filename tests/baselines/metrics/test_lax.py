"""Lax bisimulation: by hand, against plain iteration with linear programs, and what it must be between."""

import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.benchmarks.speed import metric_reference as reference
from bisimgym.envs.toy_mdps import garnet, grid_world


def test_by_hand():
    # s and t do the same by other names: one action stays with reward 1, the other ends. e is the end.
    transition = np.array([[0, 2], [2, 1], [2, 2]])
    reward = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    d = metrics.lax_bisimulation(transition, reward, 0.5)
    assert d[0, 1] == pytest.approx(0, abs=1e-6)
    assert metrics.bisimulation(transition, reward, 0.5)[0, 1] > 1
    # From e nothing answers the rewarded action: 1 at once, and as far again after the step.
    assert d[0, 2] == pytest.approx(1 / (1 - 0.5), abs=1e-6)


def plain(mdp, discount, tolerance):
    """Return the metric by plain sweeps, with a linear program for each pair of pairs of states and actions."""
    states, actions = mdp.num_states, mdp.num_actions
    transition = np.eye(states)[mdp.transition] if mdp.deterministic else mdp.transition

    def sweep(distance):
        new = np.zeros_like(distance)
        for x in range(states):
            for y in range(states):
                between = np.array(
                    [
                        [
                            abs(mdp.reward[x, a] - mdp.reward[y, b])
                            + discount * reference.transport_by_program(transition[x, a], transition[y, b], distance)
                            for b in range(actions)
                        ]
                        for a in range(actions)
                    ]
                )
                new[x, y] = max(between.min(axis=1).max(), between.min(axis=0).max())
        return new

    return reference.iterate_until(sweep, (states, states), discount, tolerance).distance


@pytest.mark.parametrize("branching", [1, 2])
def test_against_plain_iteration(rng, branching):
    mdp = garnet(3, 2, branching, rng)
    d = metrics.lax_bisimulation(mdp.transition, mdp.reward, 0.3)
    np.testing.assert_allclose(d, plain(mdp, 0.3, 1e-4), atol=2e-4)


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.9999])
@pytest.mark.parametrize("size", [(1, 1, 1), (12, 3, 1), (12, 3, 4)])
def test_it_is_certified_and_lies_between_values_and_bisimulation(rng, size, discount):
    mdp = garnet(*size, rng)
    operator = metrics.lax_bisimulation_operator(mdp.transition, mdp.reward, discount)
    d = metrics.solve(operator)
    assert operator.error_bound(d) <= 2e-6
    np.testing.assert_array_equal(d, d.T)
    assert (d[:, None, :] - d[:, :, None] - d[None]).max() <= 4e-6
    assert (d <= metrics.bisimulation(mdp.transition, mdp.reward, discount) + 2e-6).all()
    if discount < 0.99:
        values = mdp.optimal_values(discount)
        assert (np.abs(values[:, None] - values) <= d + 2e-6).all()


def test_names_of_actions_do_not_matter(rng):
    mdp = garnet(8, 3, 2, rng)
    order = rng.permuted(np.tile(np.arange(3), (8, 1)), axis=1)
    rows = np.arange(8)[:, None]
    d = metrics.lax_bisimulation(
        mdp.transition, mdp.reward, 0.9, other=(mdp.transition[rows, order], mdp.reward[rows, order])
    )
    np.testing.assert_allclose(d.diagonal(), 0, atol=1e-6)
    np.testing.assert_allclose(d, metrics.lax_bisimulation(mdp.transition, mdp.reward, 0.9), atol=2e-6)


def test_mirrored_rooms_are_alike():
    rooms = grid_world()
    cells = [tuple(int(n) for n in name.strip("()").split(",")) for name in rooms.state_names]
    mirrored = np.array([cells.index((row, 12 - column)) for row, column in cells])
    d = metrics.lax_bisimulation(rooms.transition, rooms.reward, 0.9)
    np.testing.assert_allclose(d[np.arange(31), mirrored], 0, atol=1e-6)
    assert metrics.bisimulation(rooms.transition, rooms.reward, 0.9)[np.arange(31), mirrored].max() > 0.1


@pytest.mark.parametrize("tolerance", [1.6e-6, 1.0, 100.0])
def test_rounds_do_not_cycle_near_discount_one(tolerance):
    transition = np.array([[1, 3], [0, 2], [2, 4], [4, 1], [2, 3]])
    reward = np.array([[2, 1], [0, 0], [2, 0], [2, 2], [1, 0]], float)
    found = metrics.lax_bisimulation(transition, reward, 0.999, tolerance=tolerance)
    assert found.max() == pytest.approx(503.2481250625378, abs=tolerance)  # of 23,012 plain sweeps


def test_what_rounding_leaves_is_iterated_away():
    reward = np.array(
        [[0, 1], [0, 0], [1, 1], [2, 2], [1, 1], [1, 1], [0, 0], [1, 0], [2, 2], [0, 0], [2, 2], [2, 2], [1, 0.0]]
    )
    states = np.arange(13)
    transition = np.stack([states, np.minimum(states + 1, 12)], axis=1)
    assert metrics.lax_bisimulation(transition, reward, 0.999999, tolerance=0.0151).max() == pytest.approx(
        1000002, abs=0.1
    )


@pytest.mark.parametrize("seed", range(40))
def test_small_processes_with_ties_are_solved_at_any_discount(seed):
    rng = np.random.default_rng(seed)
    states, actions = rng.integers(3, 9), rng.integers(1, 4)
    transition = rng.integers(states, size=(states, actions))
    reward = rng.integers(0, 3, (states, actions)).astype(float)
    for discount in (0.99, 0.9999, 0.999999):
        operator = metrics.lax_bisimulation_operator(transition, reward, discount)
        tolerance = max(1e-6, 9 * operator.bound_of(0.0))
        found = metrics.solve(operator, tolerance=tolerance)
        assert operator.bound_of(np.abs(operator(found) - found).max()) <= 2 * tolerance
