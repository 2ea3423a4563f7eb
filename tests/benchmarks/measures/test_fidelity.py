"""Fidelity of distances to exact metrics: by hand, its invariances, and the processes it is measured on."""

import itertools

import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.benchmarks.measures.fidelity import (
    FIDELITY_METRICS,
    Fidelity,
    euclidean,
    fidelities,
    fidelity,
    fidelity_envs,
    fidelity_process,
    fidelity_processes,
    fidelity_transitions,
)
from bisimgym.envs.jumping.env import jumping_mdp
from bisimgym.envs.nav2d.env import successor_observations

LINE = np.array([0.0, 1.0, 3.0, 7.0, 12.0, 20.0])[:, None]


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def identity(points):
    return points


def lookup(matrix):
    """An embedding that is a state's number, and the distance that a table gives two of them."""
    numbers = np.arange(len(matrix), dtype=float)[:, None]
    return numbers, lambda x, y: matrix[x[:, 0].astype(int), y[:, 0].astype(int)]


def test_the_metric_itself_is_perfect():
    assert fidelity(identity, LINE, distances(LINE), neighbours=2) == Fidelity(1.0, 0.0, 1.0, 1.0, 6, 2)


def test_the_metric_itself_is_perfect_with_ties():
    grid = np.array(list(itertools.product(range(4), range(4))), dtype=float)
    found = fidelity(identity, grid, distances(grid), neighbours=5)
    assert found.rank_correlation == pytest.approx(1, abs=1e-12)
    assert (found.distortion, found.neighbour_recall) == (0, 1)


def test_units_do_not_matter():
    exact = distances(np.random.default_rng(0).normal(size=(12, 3)))
    points = np.random.default_rng(1).normal(size=(12, 3))
    one, other = fidelity(identity, points, exact), fidelity(identity, 40 * points, exact)
    assert other.rank_correlation == one.rank_correlation
    assert other.neighbour_recall == one.neighbour_recall
    assert other.distortion == pytest.approx(one.distortion)
    assert other.scale == pytest.approx(one.scale / 40)


def test_an_increasing_function_keeps_order_but_not_proportions():
    found = fidelity(identity, LINE, distances(LINE) ** 2, neighbours=2)
    assert (found.rank_correlation, found.neighbour_recall) == (1, 1)
    assert found.distortion > 0.1


def test_unrelated_distances_are_at_chance():
    rng = np.random.default_rng(0)
    exact = distances(rng.normal(size=(150, 4)))
    found = fidelity(identity, rng.normal(size=(150, 4)), exact, neighbours=5)
    assert abs(found.rank_correlation) < 0.05
    assert found.neighbour_recall == pytest.approx(5 / 149, abs=0.02)
    assert found.distortion > 0.15


def test_a_collapsed_encoder_is_at_chance():
    found = fidelity(lambda points: np.zeros((len(points), 3)), LINE, distances(LINE), neighbours=2)
    assert (found.rank_correlation, found.distortion, found.scale) == (0, 1, 0)
    assert found.neighbour_recall == pytest.approx(2 / 5)


def test_a_case_by_hand():
    """Pairs (01, 02, 12): exact 1, 2, 3, learned 2, 2, 5.

    Ranks 1, 2, 3 and 1.5, 1.5, 3: covariance 1.5, norms sqrt(2) and sqrt(1.5). Ratios 0.5, 1, 0.6 of weights 2, 2, 5:
    half of 9 is passed at 0.6, so that c = 0.6 and the sum is 0.2 + 0.8 + 0 of 6. The nearest of 0 is 1 by the metric,
    and 1 or 2 by the distances: a half; that of 1 is 0, and of 2 is 0 by both.
    """
    exact = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]])
    numbers, distance = lookup(np.array([[9, 2, 2], [2, 9, 5], [2, 5, 9.0]]))
    found = fidelity(identity, numbers, exact, distance, neighbours=1)
    assert found.rank_correlation == pytest.approx(1.5 / np.sqrt(2 * 1.5))
    assert found.scale == pytest.approx(0.6)
    assert found.distortion == pytest.approx(1 / 6)
    assert found.neighbour_recall == pytest.approx(2.5 / 3)


def test_self_distances_do_not_count():
    exact = distances(LINE)
    numbers, distance = lookup(exact + 5 * np.eye(6))
    assert fidelity(identity, numbers, exact + 3 * np.eye(6), distance, neighbours=2) == Fidelity(1, 0, 1, 1, 6, 2)


def test_the_scale_is_the_best_one():
    rng = np.random.default_rng(3)
    points, exact = rng.normal(size=(9, 2)), distances(rng.normal(size=(9, 2)))
    found = fidelity(identity, points, exact)
    pairs = np.triu_indices(9, 1)
    learned, wanted = distances(points)[pairs], exact[pairs]
    tried = [np.abs(c * learned - wanted).sum() / wanted.sum() for c in np.linspace(0, 5, 2001)]
    assert found.distortion <= min(tried) + 1e-12
    assert found.distortion == pytest.approx(min(tried), abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_recall_with_ties_is_the_mean_over_all_ways_to_break_them(seed):
    rng = np.random.default_rng(seed)
    count, k = 7, 3

    def tied():
        square = rng.integers(1, 4, size=(count, count)).astype(float)
        return np.triu(square, 1) + np.triu(square, 1).T

    exact, learned = tied(), tied()
    numbers, distance = lookup(learned)
    expected = []
    for i in range(count):
        others = [j for j in range(count) if j != i]
        last = sorted(exact[i, others])[k - 1]
        near = {j for j in others if exact[i, j] < last}
        as_near = {j for j in others if exact[i, j] == last}
        least = min(sum(learned[i, list(chosen)]) for chosen in itertools.combinations(others, k))
        ways = [set(c) for c in itertools.combinations(others, k) if sum(learned[i, list(c)]) == least]
        shares = [(len(way & near) + min(len(way & as_near), k - len(near))) / k for way in ways]
        expected.append(np.mean(shares))
    found = fidelity(identity, numbers, exact, distance, neighbours=k)
    assert found.neighbour_recall == pytest.approx(np.mean(expected))


def test_the_distance_of_an_encoder_is_used():
    class Manhattan:
        def embed(self, points):
            return points

        def distance(self, x, y):
            return np.abs(x - y).sum(axis=1)

    points = np.random.default_rng(0).normal(size=(10, 3))
    exact = np.abs(points[:, None] - points[None]).sum(axis=2)
    assert fidelity(Manhattan(), points, exact).distortion == pytest.approx(0, abs=1e-12)
    assert fidelity(Manhattan(), points, exact, euclidean).distortion > 0.01


def test_several_metrics_at_once_are_as_one_by_one():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(12, 3))
    exact = {name: distances(rng.normal(size=(12, 2))) for name in "ab"}
    embedded = []

    def embed(rows):
        embedded.append(len(rows))
        return rows

    found = fidelities(embed, points, exact, neighbours=3)
    assert found == {name: fidelity(identity, points, exact[name], neighbours=3) for name in "ab"}
    assert embedded == [12]
    with pytest.raises(ValueError, match="same states"):
        fidelities(identity, points, {"a": exact["a"], "b": distances(LINE)})
    with pytest.raises(ValueError, match="at least one"):
        fidelities(identity, points, {})


def test_dictionaries_and_blocks_are_embedded_in_order():
    points = np.random.default_rng(0).normal(size=(300, 2))
    found = fidelity(
        lambda o: np.column_stack([o["x"], o["y"]]), {"x": points[:, 0], "y": points[:, 1]}, distances(points)
    )
    assert found.distortion == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exact": np.zeros((6, 5))}, r"float\[N, N\]"),
        ({"exact": np.ones((6, 6))}, "all pairs"),
        ({"exact": np.triu(distances(LINE))}, "symmetric"),
        ({"exact": distances(LINE) * (1 + 0.01 * np.tri(len(LINE)))}, "symmetric"),
        ({"exact": -distances(LINE)}, "not negative"),
        ({"neighbours": 6}, "from 1 to 5"),
        ({"neighbours": 0}, "from 1 to 5"),
        ({"observations": LINE[:5]}, "6 states"),
        ({"embed": lambda points: points[:, 0]}, r"float\[B, D\]"),
        ({"embed": lambda points: points * np.nan}, "6 of 6 numbers"),
        ({"distance": lambda x, y: np.abs(x - y)}, "one per row"),
    ],
)
def test_bad_input_is_refused(changes, message):
    arguments = {"embed": identity, "observations": LINE, "exact": distances(LINE), "neighbours": 2, **changes}
    with pytest.raises(ValueError, match=message):
        fidelity(**arguments)


def test_a_layout_has_all_its_states_and_the_metrics_of_its_dynamics():
    observations, exact = fidelity_process("nav2d-8x8", discount=0.9)
    assert set(exact) == set(FIDELITY_METRICS)
    assert len({picture.tobytes() for picture in observations}) == len(observations)
    for distance in exact.values():
        assert distance.shape == (len(observations),) * 2
        np.testing.assert_array_equal(distance, distance.T)

    # The recursion, on what the pictures themselves lead to.
    number = {picture.tobytes(): i for i, picture in enumerate(observations)}
    following = successor_observations(observations)
    at_goal = (following[..., 1] == following[..., 2]).all(axis=(2, 3))
    next_state = np.array([[number.get(p.tobytes(), -1) for p in row] for row in following])
    assert ((next_state == -1) == at_goal).all()  # nothing but the goal is missing
    reward = -(~at_goal).mean(axis=1)
    inside = np.flatnonzero(~at_goal.any(axis=1))
    mico = exact["mico-random"]
    expected = mico[next_state[inside][:, None, :, None], next_state[inside][None, :, None, :]].mean(axis=(2, 3))
    expected = np.abs(reward[inside, None] - reward[inside]) + 0.9 * expected
    np.testing.assert_allclose(mico[np.ix_(inside, inside)], expected, atol=5e-6)


def test_a_jumping_state_counts_once_for_each_of_its_pictures():
    observations, exact = fidelity_process("jumping-25-45", ["policy-similarity", "bisimulation-optimal"])
    assert len({picture.tobytes() for picture in observations}) == len(observations)
    states = [jumping_mdp(position, 10) for position in (25, 45)]
    assert len(observations) > sum(m.num_states - 1 for m in states)
    # Between the starts, which show no previous frame, the metric is that of the two tasks themselves.
    second = next(i for i in range(1, len(observations)) if (observations[i, ..., 0] == 0).all())
    x, y = states
    policies = [m.optimal_policy(0.99) for m in states]
    between = metrics.policy_similarity(
        x.transition, policies[0], 0.99, other=(y.transition, policies[1]), rows=[0], columns=[0], progress=False
    )
    assert exact["policy-similarity"][0, second] == pytest.approx(between[0, 0], abs=1e-5)
    assert exact["policy-similarity"][0, second] > 0


def test_the_data_of_a_layout_are_all_its_transitions():
    observations = fidelity_process("nav2d-8x8", []).observations
    data = fidelity_transitions("nav2d-8x8")
    count = len(observations)
    assert {len(column) for column in data} == {4 * (count + 1)}

    goal = observations[:1].copy()
    goal[..., 1] = goal[..., 2]
    every = np.concatenate([observations, goal])
    np.testing.assert_array_equal(data.observations, np.repeat(every, 4, axis=0))
    np.testing.assert_array_equal(data.actions, np.tile(np.arange(4), count + 1))
    following = np.concatenate([successor_observations(observations).reshape(-1, *goal.shape[1:]), *[goal] * 4])
    np.testing.assert_array_equal(data.next_observations, following)
    at_goal = (following[..., 1] == following[..., 2]).all(axis=(1, 2))
    np.testing.assert_array_equal(data.rewards, np.where(at_goal, 0.0, -1.0))
    np.testing.assert_array_equal(data.dones, at_goal)


@pytest.mark.parametrize("name", ["nav2d-8x8", "jumping-25-45"])
def test_what_happens_in_the_environments_is_in_the_data(name):
    observations = fidelity_process(name, []).observations
    data = fidelity_transitions(name)
    table = {
        (row[0].tobytes(), int(row[1])): (float(row[2]), row[3].tobytes(), bool(row[4]))
        for row in zip(*data, strict=True)
    }
    assert len(table) == len(data.actions)  # each once
    makers = fidelity_envs(name)
    ends = set()
    rng = np.random.default_rng(0)
    for make, episode in itertools.product(makers, range(20)):
        env = make()
        before, _ = env.reset(seed=episode)
        assert (before == observations).all(axis=(1, 2, 3)).any()
        terminated = truncated = False
        while not (terminated or truncated):
            action = int(rng.random() < 0.05) if name.startswith("jumping") else int(rng.integers(4))
            after, reward, terminated, truncated, _ = env.step(action)
            assert table[before.tobytes(), action] == (reward, after.tobytes(), terminated)
            before = after
        if terminated:
            ends.add(before.tobytes())
    assert len(ends) >= len(makers)
    for end, action in itertools.product(ends, range(data.actions.max() + 1)):
        assert table[end, action] == (0.0, end, True)


def test_environments_start_alike_whatever_the_seed():
    starts = []
    for make in fidelity_envs("jumping-25-45") + fidelity_envs("jumping-25"):
        env = make()
        one, other = env.reset(seed=1)[0], env.reset(seed=2)[0]
        np.testing.assert_array_equal(one, other)
        starts.append(one)
    assert (starts[0] == starts[2]).all()
    assert (starts[0] != starts[1]).any()
    layout = fidelity_envs("nav2d-8x8")[0]()
    np.testing.assert_array_equal(layout.reset(seed=1)[0], layout.reset()[0])


def test_processes_are_solved_once_and_cannot_be_spoiled():
    one, other = (fidelity_process("jumping-25", ["policy-similarity"]) for _ in range(2))
    assert one.observations is other.observations
    assert one.distances["policy-similarity"] is other.distances["policy-similarity"]
    with pytest.raises(ValueError, match="read-only"):
        one.observations[0] = 0
    assert "recursive-similarity" not in fidelity_process("jumping-25", ["recursive-similarity"]).distances


def test_unknown_names_are_refused():
    assert set(fidelity_processes()) == {"nav2d-8x8", "nav2d-20x20", "jumping-25", "jumping-25-45"}
    for function in (fidelity_process, fidelity_transitions, fidelity_envs):
        with pytest.raises(ValueError, match="nav2d-8x8"):
            function("nav2d")
    with pytest.raises(ValueError, match="mico-random"):
        fidelity_process("nav2d-8x8", ["mico"])
    with pytest.raises(ValueError, match="discount"):
        fidelity_process("nav2d-8x8", discount=1.0)
