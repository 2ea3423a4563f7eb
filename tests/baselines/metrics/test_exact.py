"""Every metric on processes small enough to solve by hand, and against the straightforward reference."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from gambles import CHOICE, CHOICE_POLICY, CHOICE_REWARD, FAR, GAMBLE, GAMBLE_REWARD, ONLY, G, U, V, X, Y

from bisimgym.baselines import metrics
from bisimgym.baselines.metrics import operators
from bisimgym.baselines.metrics.rap import expected_next_states
from bisimgym.benchmarks.speed import metric_reference as reference
from bisimgym.envs.toy_mdps import cake_processes, garnet, grid_world


class TestByHand:
    def test_bisimulation(self):
        d = metrics.bisimulation(GAMBLE, GAMBLE_REWARD, G)
        assert d[X, Y] == pytest.approx(FAR, abs=1e-6)
        assert d[U, V] == pytest.approx(G * 0.5 * FAR, abs=1e-6)  # half of the mass has to move
        assert d[U, Y] == pytest.approx(G * 0.7 * FAR, abs=1e-6)
        assert d[U, X] == pytest.approx(1 + G * 0.3 * FAR, abs=1e-6)

    def test_bisimulation_of_a_deterministic_process_takes_the_worst_action(self):
        # Action 0 tells s from t by 0.3 at once; action 1 moves both on to x and y, which differ by 1 for good.
        transition = np.array([[0, 2], [1, 3], [2, 2], [3, 3]])
        reward = np.array([[0.3, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
        d = metrics.bisimulation(transition, reward, G)
        assert d[0, 1] == pytest.approx(max(0.3 + G * G * FAR, G * FAR), abs=1e-6)
        assert metrics.bisimulation(transition, reward, 0.1)[0, 1] == pytest.approx(0.3 / (1 - 0.1), abs=1e-6)

    def test_on_policy_bisimulation(self):
        d = metrics.on_policy_bisimulation(CHOICE, CHOICE_REWARD, CHOICE_POLICY, G)
        assert d[U, V] == pytest.approx(G * 0.5 * FAR, abs=1e-6)
        assert d[X, Y] == pytest.approx(FAR, abs=1e-6)
        np.testing.assert_allclose(d, metrics.on_policy_bisimulation(GAMBLE, GAMBLE_REWARD, ONLY, G), atol=2e-6)

    def test_policy_similarity(self):
        d = metrics.policy_similarity(CHOICE, CHOICE_POLICY, G)
        assert d[X, Y] == pytest.approx(FAR, abs=1e-6)  # they never act alike
        assert d[U, V] == pytest.approx(0.5 + G * 0.5 * FAR, abs=1e-6)
        assert d[U, X] == pytest.approx(0.3 + G * 0.3 * FAR, abs=1e-6)

    def test_policy_similarity_with_a_cost_of_ones_own(self):
        means = np.array([0.0, 0.5, 2.0, 0.0])
        cost = np.abs(means[:, None] - means)
        d = metrics.policy_similarity(CHOICE, CHOICE_POLICY, G, cost=cost)
        assert d[X, Y] == pytest.approx(2 * FAR, abs=1e-6)
        assert d[U, V] == pytest.approx(0.5 + G * 0.5 * 2 * FAR, abs=1e-6)

    @pytest.mark.parametrize(
        "process", [(GAMBLE, GAMBLE_REWARD, ONLY), (CHOICE, CHOICE_REWARD, CHOICE_POLICY)], ids=["gamble", "choice"]
    )
    def test_mico(self, process):
        d = metrics.mico(*process, G)
        assert d[X, Y] == pytest.approx(FAR, abs=1e-6)
        assert d[U, V] == pytest.approx(G * (0.7 * 0.8 + 0.3 * 0.2) * FAR, abs=1e-6)
        assert d[U, U] == pytest.approx(G * 2 * 0.7 * 0.3 * FAR, abs=1e-6)  # two draws need not agree
        assert d[X, X] == 0

    def test_rap_goes_through_expected_next_states(self):
        # From u one gets to 0 or 2 with equal chances: on average to 1, which is m. From v one gets to 0 and 2 with
        # 0.9 and 0.1: on average to 0.2, which is nearest to the state at 0.
        low, high, m, u, v = range(5)
        transition = np.zeros((5, 1, 5))
        for state in (low, high, m):
            transition[state, 0, state] = 1
        transition[u, 0, [low, high]] = 0.5
        transition[v, 0, [low, high]] = 0.9, 0.1
        reward = np.array([[0.0], [4.0], [1.0], [0.0], [0.0]])
        coordinates = np.array([[0.0], [2.0], [1.0], [7.0], [8.0]])
        d = metrics.rap(transition, reward, np.ones((5, 1)), G, coordinates)
        assert d[u, v] == pytest.approx(G * 1 * FAR, abs=1e-6)  # m against low
        assert d[u, u] == 0
        # Wasserstein sees the chances themselves: 0.4 of the mass moves from low to high.
        bisimulation = metrics.bisimulation(transition, reward, G)
        assert bisimulation[u, v] == pytest.approx(G * 0.4 * 4 * FAR, abs=1e-6)

    @pytest.mark.parametrize(
        ("reduction", "stays"), [("mean", 0.5), ("max", 1.0), ([0.25, 0.75], 0.25), (np.array([0.0, 1.0]), 0.0)]
    )
    def test_recursive_similarity(self, reduction, stays):
        # Action 0 stays, action 1 ends in a common state.
        transition = np.array([[0, 2], [1, 2], [2, 2]])
        cost = np.array([[0.0, 3.0, 1.0], [3.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
        d = metrics.recursive_similarity(transition, cost, G, reduction)
        assert d[0, 1] == pytest.approx(3 / (1 - G * stays), abs=1e-6)

    def test_recursive_similarity_with_chance(self):
        cost = np.zeros((4, 4))
        cost[X, Y] = cost[Y, X] = 1
        d = metrics.recursive_similarity(GAMBLE, cost, G)
        assert d[U, V] == pytest.approx(G * 0.5 * FAR, abs=1e-6)

    def test_recursive_similarity_with_costs_by_action_and_without_symmetry(self):
        transition = np.array([[0, 1], [1, 1]])
        cost = np.zeros((2, 2, 2))
        cost[0, 0, 1], cost[1, 0, 1], cost[0, 1, 0] = 1.0, 5.0, 2.0
        d = metrics.recursive_similarity(transition, cost, 0.5, "max")
        # (0, 1): action 0 stays there and costs 1 each time, action 1 costs 5 and leads to (1, 1), worth 0.
        assert d[0, 1] == pytest.approx(5, abs=1e-6)
        assert d[1, 0] == pytest.approx(2 / (1 - 0.5), abs=1e-6)

    @pytest.mark.parametrize("discount", [0.0, 0.5, 0.9])
    @pytest.mark.parametrize(("rx", "ry"), [(1.0, 1.0), (5.0, 1.0), (1.0, 3.0)])
    def test_cake_and_no_cake(self, rx, ry, discount):
        x, y = cake_processes(rx, ry)
        policies = x.optimal_policy(discount), y.optimal_policy(discount)
        bisimulation = metrics.bisimulation(x.transition, x.reward, discount, other=(y.transition, y.reward))
        assert bisimulation[0, 0] == pytest.approx((1 + discount) * abs(rx - ry), abs=1e-6)
        assert bisimulation[1, 0] == pytest.approx(max((1 + discount) * ry, rx), abs=1e-6)
        psm = metrics.policy_similarity(x.transition, policies[0], discount, other=(y.transition, policies[1]))
        assert psm[0, 0] == psm[1, 1] == 0
        assert psm[1, 0] >= 1
        # The policy similarity metric matches the states that ask for the same action; bisimulation does not always.
        np.testing.assert_array_equal(metrics.transferred_policy(psm[:2], policies[0][:2])[:2], policies[1][:2])
        if (rx, ry, discount) == (5.0, 1.0, 0.9):
            assert bisimulation[1, 0] < bisimulation[0, 0]

    def test_mirrored_rooms_are_alike_under_a_policy_that_does_not_prefer_a_side(self):
        rooms = grid_world()
        assert rooms.num_states == 31
        cells = [tuple(int(n) for n in name.strip("()").split(",")) for name in rooms.state_names]
        mirrored = np.array([cells.index((row, 12 - column)) for row, column in cells])
        uniform = np.full((31, 4), 0.25)
        d = metrics.on_policy_bisimulation(rooms.transition, rooms.reward, uniform, G)
        np.testing.assert_allclose(d[np.arange(31), mirrored], 0, atol=1e-6)
        np.testing.assert_allclose(d, d[mirrored][:, mirrored], atol=2e-6)
        # Action by action left is not right: the bisimulation metric tells mirrored cells apart.
        full = metrics.bisimulation(rooms.transition, rooms.reward, G)
        assert (full[np.arange(31), mirrored] > 0.1).sum() > 20


def iterated(sweep, transition, cost, discount, tolerance=1e-9):
    """Return distances by plain sweeps of the reference with costs ``[S, S]`` or ``[A, S, S]``."""
    plain = reference.iterate_until(
        lambda d: sweep(d, transition, cost, discount), cost.shape[-2:], discount, tolerance
    )
    assert plain.sweeps == plain.needed
    return plain.distance


def reward_costs(reward):
    """``float64[A, S, S]``."""
    return np.abs(reward.T[:, :, None] - reward.T[:, None, :])


class TestAgainstPlainIteration:
    @pytest.mark.parametrize(
        ("sweep", "size", "discount", "tolerance"),
        [
            (reference.deterministic_sweep, (60, 3, 1), 0.95, 1e-8),
            (reference.transport_sweep, (5, 2, 3), 0.5, 1e-6),  # a linear program per pair
        ],
    )
    def test_bisimulation(self, rng, sweep, size, discount, tolerance):
        mdp = garnet(*size, rng)
        expected = iterated(sweep, mdp.transition, reward_costs(mdp.reward), discount, tolerance)
        d = metrics.bisimulation(mdp.transition, mdp.reward, discount, tolerance=tolerance)
        np.testing.assert_allclose(d, expected, atol=2 * tolerance)

    def test_mico(self, rng):
        mdp = garnet(30, 2, 4, rng)
        policy = rng.dirichlet([1, 1], 30)
        reward = (policy * mdp.reward).sum(axis=1, keepdims=True)
        probabilities = np.einsum("sa,sat->st", policy, mdp.transition)
        expected = iterated(reference.independent_sweep, probabilities, reward_costs(reward)[0], 0.95)
        d = metrics.mico(mdp.transition, mdp.reward, policy, 0.95, tolerance=1e-8)
        np.testing.assert_allclose(d, expected, atol=2e-8)

    def test_recursive_similarity(self, rng):
        mdp = garnet(40, 4, 1, rng)
        cost = rng.random((40, 40))
        expected = iterated(reference.mean_sweep, mdp.transition, cost, 0.95)
        d = metrics.recursive_similarity(mdp.transition, cost, 0.95, tolerance=1e-8)
        np.testing.assert_allclose(d, expected, atol=2e-8)

    @pytest.mark.parametrize("lengths", [(5, 5), (4, 7), (1, 3)])
    def test_trajectories(self, rng, lengths):
        cost = rng.random(lengths)
        d = metrics.trajectory_similarity(cost, 0.9)
        np.testing.assert_allclose(d, reference.trajectory_arrays(cost, 0.9), atol=1e-6)
        np.testing.assert_allclose(d, reference.trajectory_loops(cost.tolist(), 0.9), atol=1e-6)

    def test_policy_similarity_of_a_chain_is_that_of_its_trajectories(self, rng):
        # A last state that stays and costs nothing against the other's last: both definitions agree.
        actions = rng.integers(2, size=(2, 30))
        actions[:, -1] = 0
        next_states = np.minimum(np.arange(30) + 1, 29)
        transition = np.concatenate([next_states, 30 + next_states])[:, None].repeat(2, axis=1)
        d = metrics.policy_similarity(transition, np.eye(2)[actions.ravel()], 0.97)
        expected = metrics.trajectory_similarity(metrics.policy_cost(actions[0], actions[1]), 0.97)
        np.testing.assert_allclose(d[:30, 30:], expected, atol=1e-6)

    def test_long_cycles_and_tails(self):
        # A cycle of 7 with a tail of 5 that leads into it, under one action.
        transition = np.array([*range(1, 7), 0, 0, 7, 8, 9, 10])[:, None]
        reward = np.linspace(0, 1, 12)[:, None] ** 2
        d = metrics.bisimulation(transition, reward, 0.95, tolerance=1e-9)
        expected = iterated(reference.deterministic_sweep, transition, reward_costs(reward), 0.95)
        np.testing.assert_allclose(d, expected, atol=1e-8)


class TestTwoProcesses:
    def test_blocks_of_the_union(self, rng):
        x, y = garnet(6, 2, 3, rng), garnet(4, 2, 2, rng)
        union = type(x).union({"x": x, "y": y})
        px, py = rng.dirichlet([1, 1], 6), rng.dirichlet([1, 1], 4)
        policy = np.concatenate([px, py])
        block = np.s_[:6, 6:]
        three = [(x.transition, x.reward, px), (y.transition, y.reward, py), (union.transition, union.reward, policy)]
        for metric, parts in (
            (metrics.bisimulation, [0, 1]),
            (metrics.policy_similarity, [0, 2]),
            (metrics.on_policy_bisimulation, [0, 1, 2]),
            (metrics.mico, [0, 1, 2]),
        ):
            first, second, both = (tuple(arrays[i] for i in parts) for arrays in three)
            d = metric(*first, 0.8, other=second)
            np.testing.assert_allclose(d, metric(*both, 0.8)[block], atol=3e-6, err_msg=metric.__name__)
        points = rng.random((10, 2))
        d = metrics.rap(x.transition, x.reward, px, 0.8, points[:6], other=(y.transition, y.reward, py, points[6:]))
        moved = metrics.rap(union.transition, union.reward, policy, 0.8, np.concatenate([points[:6], points[6:] + 9]))
        assert d.shape == (6, 4)
        np.testing.assert_allclose(d, moved[block], atol=3e-6)
        cost = rng.random((10, 10))
        d = metrics.recursive_similarity(x.transition, cost[block], 0.8, other=y.transition)
        np.testing.assert_allclose(d, metrics.recursive_similarity(union.transition, cost, 0.8)[block], atol=3e-6)

    @pytest.mark.parametrize(("low", "high"), [(0.0, 5.0), (5.0, 0.0)])
    def test_processes_whose_rewards_do_not_overlap(self, low, high):
        # All rewards of either process are alike: the largest difference lies between them.
        stay = np.arange(2)[:, None]
        d = metrics.bisimulation(stay, np.full((2, 1), low), G, other=(stay, np.full((2, 1), high)))
        np.testing.assert_allclose(d, np.full((2, 2), 5 * FAR), atol=1e-6)

    def test_a_deterministic_and_a_stochastic_process(self, rng):
        x, y = garnet(5, 2, 1, rng), garnet(4, 2, 2, rng)
        union = type(x).union({"x": x, "y": y})
        d = metrics.bisimulation(x.transition, x.reward, 0.8, other=(y.transition, y.reward))
        np.testing.assert_allclose(d, metrics.bisimulation(union.transition, union.reward, 0.8)[:5, 5:], atol=3e-6)

    def test_what_does_not_fit_is_an_error(self, rng):
        x, y = garnet(5, 2, 1, rng), garnet(4, 3, 1, rng)
        for other, message in (
            ((y.transition, y.reward), "same actions, got 2 and 3"),
            ((y.transition, y.reward, None), r"\(transition, reward\); got 3 of them"),
            ((y.transition, None), "its reward is None"),
            (y.transition, "got ndarray"),
        ):
            with pytest.raises(ValueError, match=message):
                metrics.bisimulation(x.transition, x.reward, G, other=other)


def test_transfer_takes_the_first_of_equally_near_states():
    distance = np.array([[1.0, 2.0], [1.0 - 1e-9, 0.0]])
    np.testing.assert_array_equal(metrics.transferred_policy(distance, np.eye(2)), [[0, 1], [0, 1]])
    np.testing.assert_array_equal(metrics.transferred_policy(distance, np.eye(2), tolerance=1e-6), [[1, 0], [0, 1]])


def test_wasserstein_against_the_linear_program(rng):
    for n, m in [(1, 4), (5, 5), (8, 3)]:
        x, y, cost = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m)), rng.random((n, m))
        padded_x, padded_y = np.concatenate([x, np.zeros(m)]), np.concatenate([np.zeros(n), y])
        padded = np.zeros((n + m, n + m))
        padded[:n, n:] = cost
        expected = reference.transport_by_program(padded_x, padded_y, padded)
        assert metrics.wasserstein(x, y, cost) == pytest.approx(expected, abs=1e-9)
    with pytest.raises(ValueError, match="x: every row must sum to one within 0.001, but it sums to 0.9"):
        metrics.wasserstein([0.5, 0.4], [1.0], np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"expected x\[N\]"):
        metrics.wasserstein([1.0], [1.0], np.zeros((2, 1)))


def test_equivalence_classes_by_hand():
    # 0 and 1 are rewarded alike and lead to 2 and 3, which are told apart by reward; 4 and 5 lead to each other.
    transition = np.array([[2], [3], [2], [3], [5], [4], [2]])
    classes, first = metrics.equivalence_classes(transition, np.array([0, 0, 1, 2, 3, 3, 0]))
    np.testing.assert_array_equal(classes, [0, 1, 2, 3, 4, 4, 0])
    np.testing.assert_array_equal(first, [0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match=r"labels must be \[7\]"):
        metrics.equivalence_classes(transition, np.zeros(3))


class TestCorners:
    """Cases that went wrong once, or that small processes do not reach."""

    @pytest.mark.parametrize("block_bytes", [64, operators.BLOCK_BYTES])
    def test_results_do_not_depend_on_the_size_of_blocks(self, rng, block_bytes):
        mdp = garnet(23, 3, 1, rng, num_terminal=3)
        other = garnet(17, 3, 1, rng)

        def solved(operator):
            return metrics.solve(dataclasses.replace(operator, block_bytes=block_bytes))

        expected = iterated(reference.deterministic_sweep, mdp.transition, reward_costs(mdp.reward), G)
        d = solved(metrics.bisimulation_operator(mdp.transition, mdp.reward, G))
        np.testing.assert_allclose(d, expected, atol=2e-6)
        union = type(mdp).union({"x": mdp, "y": other})
        whole = solved(metrics.bisimulation_operator(union.transition, union.reward, G))
        between = metrics.bisimulation_operator(mdp.transition, mdp.reward, G, other=(other.transition, other.reward))
        np.testing.assert_allclose(solved(between), whole[:23, 23:], atol=3e-6)
        policy = np.eye(3)[rng.integers(3, size=23)]
        chosen = policy.argmax(axis=1)
        cost = (chosen[:, None] != chosen).astype(float)
        next_states = mdp.transition[np.arange(23), chosen][:, None]
        expected = iterated(reference.deterministic_sweep, next_states, cost[None], G)
        d = solved(metrics.policy_similarity_operator(mdp.transition, policy, G))
        np.testing.assert_allclose(d, expected, atol=2e-6)
        table = rng.random((23, 23))
        expected = iterated(reference.mean_sweep, mdp.transition, table, G)
        d = solved(metrics.recursive_similarity_operator(mdp.transition, table, G))
        np.testing.assert_allclose(d, expected, atol=2e-6)

    def test_a_cost_of_ones_own_between_processes_of_different_sizes(self):
        near, far = np.array([[0, 1], [1, 1]]), np.array([[0, 1], [1, 2], [2, 2]])
        d = metrics.policy_similarity(near, np.eye(2), G, cost=np.ones((2, 3)), other=(far, np.eye(2)[[0, 1, 0]]))
        np.testing.assert_allclose(d, np.full((2, 3), FAR), atol=1e-6)

    def test_an_asymmetric_cost_and_one_from_a_state_to_itself(self):
        cost = np.zeros((4, 4))
        cost[X, Y], cost[Y, X] = 1.0, 3.0
        d = metrics.policy_similarity(GAMBLE, ONLY, G, cost=cost)
        # From u to v one may move y to x or leave it; masses 0.5 differ, in the direction x to y.
        assert d[U, V] == pytest.approx(G * 0.5 * FAR, abs=1e-6)
        assert d[V, U] == pytest.approx(G * 0.5 * 3 * FAR, abs=1e-6)
        d = metrics.recursive_similarity(GAMBLE, np.eye(4), G)
        assert d[X, X] == pytest.approx(FAR, abs=1e-6)
        # Equal next states are far apart here and different ones are not: as little mass as possible is kept together.
        assert d[U, V] == pytest.approx(G * (0.3 - 0.2) * FAR, abs=1e-6)
        assert d[U, U] == pytest.approx(1 + G * (0.7 - 0.3) * FAR, abs=1e-6)

    def test_wanted_states_that_never_meet_chance(self):
        assert metrics.bisimulation(GAMBLE, GAMBLE_REWARD, G, rows=[X], columns=[X]) == 0
        d = metrics.bisimulation(GAMBLE, GAMBLE_REWARD, G, rows=[X], columns=[Y])
        assert d == pytest.approx(FAR, abs=1e-6)

    def test_one_broad_distribution_among_point_masses(self, rng):
        states = 150
        transition = np.zeros((states, 1, states))
        transition[np.arange(states), 0, np.minimum(np.arange(states) + 1, states - 1)] = 1
        transition[0] = 1 / states
        tracemalloc.start()
        d = metrics.bisimulation(transition, rng.random((states, 1)), G, tolerance=1e-5)
        assert tracemalloc.get_traced_memory()[1] < 100e6
        tracemalloc.stop()
        assert d[0, 5] == pytest.approx(d[5, 0], abs=1e-6)
        operator = metrics.bisimulation_operator(transition, np.arange(states)[:, None] / states, G)
        d = metrics.solve(operator)
        assert operator.error_bound(d) <= 1e-6

    def test_probabilities_in_single_precision(self, rng):
        policy = rng.dirichlet(np.ones(10), 5).astype(np.float32)
        transition = rng.integers(5, size=(5, 10))
        d = metrics.policy_similarity(transition, policy, G)
        exact = policy.astype(np.float64) / policy.astype(np.float64).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(d, metrics.policy_similarity(transition, exact, G), atol=2e-6)

    def test_permutations(self, rng):
        # A Krylov method gets nowhere on a cycle.
        transition = np.stack([(np.arange(40) + 1) % 40] * 2, axis=1)
        cost = rng.random((40, 40))
        operator = metrics.recursive_similarity_operator(transition, cost, 0.999)
        d = metrics.solve(operator, progress=False)
        assert operator.error_bound(d) <= 1e-6
        np.testing.assert_allclose(d, metrics.recursive_similarity(transition[:, :1], cost, 0.999), atol=2e-6)

    def test_a_reward_that_is_common_to_all_does_not_matter(self, rng):
        policy, transition = rng.dirichlet(np.ones(3), 5), np.arange(5)[:, None].repeat(3, axis=1)
        for metric in (metrics.on_policy_bisimulation, metrics.mico):
            assert metric(transition, np.full((5, 3), 1e8), policy, 0.999).max() <= 1e-6

    def test_rap_takes_the_first_of_equally_near_states(self):
        transition = np.zeros((4, 1, 4))
        transition[np.arange(3), 0, np.arange(3)] = 1
        transition[3, 0, [0, 2]] = 0.5
        for order in ([0.0, 9.0, 1.0, 5.0], [1.0, 9.0, 0.0, 5.0]):
            moved = expected_next_states(transition, np.array(order)[:, None])
            assert moved[3, 0] == 0

    def test_probabilities_are_no_actions(self):
        with pytest.raises(ValueError, match="give argmax"):
            metrics.policy_cost(np.eye(2), np.eye(2))

    def test_long_corridors_are_merged_quickly(self):
        states = 20_000
        transition = np.minimum(np.arange(states) + 1, states - 1)[:, None]
        labels = np.arange(states) == states - 1
        _, first = metrics.equivalence_classes(transition, labels)
        assert len(first) == states  # each is as far from the end as no other
        _, first = metrics.equivalence_classes(transition, np.zeros(states))
        assert len(first) == 1
