"""Fidelity of distances to exact metrics: by hand, and its invariances."""

import itertools

import numpy as np
import pytest

from bisimgym.benchmarks.measures.metric_fidelity import Fidelity, euclidean, fidelities, fidelity

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
