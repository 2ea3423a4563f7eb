"""Layouts of Nav2D: obstacles, starts, goals and shortest paths."""

from collections import deque

import numpy as np
import pytest

from bisimgym.envs.nav2d.layouts import UNREACHABLE, LayoutRules, attempt, draw_layouts, place_blocks


def seeds(count, seed=0):
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


@pytest.fixture(scope="module")
def layouts():
    return draw_layouts(LayoutRules(), seeds(4000))


def distances_by_queue(obstacles, goal):
    """Breadth-first search cell by cell, to compare with."""
    distance = np.full(len(obstacles), UNREACHABLE)
    distance[goal] = 0
    queue = deque([goal])
    size = int(len(obstacles) ** 0.5)
    while queue:
        cell = queue.popleft()
        row, column = divmod(cell, size)
        for r, c in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if (
                0 <= r < size
                and 0 <= c < size
                and not obstacles[r * size + c]
                and distance[r * size + c] == UNREACHABLE
            ):
                distance[r * size + c] = distance[cell] + 1
                queue.append(r * size + c)
    return distance


@pytest.mark.parametrize(
    ("side", "center", "rows", "columns"),
    [
        (2, (5, 7), (4, 5), (6, 7)),
        (2, (0, 7), (0,), (6, 7)),  # cut at the upper border
        (2, (0, 0), (0,), (0,)),
        (2, (19, 19), (18, 19), (18, 19)),
        (1, (3, 4), (3,), (4,)),
        (3, (0, 19), (0, 1), (18, 19)),
        (4, (10, 10), (8, 9, 10, 11), (8, 9, 10, 11)),
    ],
)
def test_footprint_of_a_block(side, center, rows, columns):
    rules = LayoutRules(num_obstacles=1, obstacle_size=side)
    (grid,) = place_blocks(rules, np.array([center]))
    expected = np.zeros((20, 20), dtype=bool)
    expected[np.ix_(rows, columns)] = True
    np.testing.assert_array_equal(grid, expected)


def test_obstacles_cover_cells_as_often_as_they_should():
    drawn, _ = attempt(LayoutRules(), seeds(20_000), 0)
    covered = (drawn.obstacles > 0).mean(axis=0).reshape(20, 20)
    error = 4.5 * np.sqrt(0.14 * 0.86 / 20_000)
    assert abs(covered[:19, :19] - (1 - 0.99**15)).max() < error
    assert abs(covered[19, :19] - (1 - 0.995**15)).max() < error
    assert abs(covered[19, 19] - (1 - 0.9975**15)) < error
    cells = (drawn.obstacles > 0).sum(axis=1)
    assert abs(cells.mean() - 53.3) < 0.1
    assert cells.max() <= 60


def test_every_layout_can_be_solved_and_start_and_goal_are_apart(layouts):
    rows = np.arange(len(layouts.start))
    for cell in (layouts.start, layouts.goal):
        assert not layouts.obstacles[rows, cell].any()
    l1 = np.abs(np.subtract(np.divmod(layouts.start, 20), np.divmod(layouts.goal, 20))).sum(axis=0)
    assert l1.min() >= 10
    steps = layouts.distance[rows, layouts.start]
    assert (steps >= l1).all()
    assert steps.max() < UNREACHABLE


def test_start_and_goal_are_uniform():
    rules = LayoutRules(size=6, num_obstacles=0, min_goal_distance=4)
    drawn = draw_layouts(rules, seeds(36_000))
    starts = np.bincount(drawn.start, minlength=36)
    # Without obstacles a start is only rejected where no goal is far enough: nowhere on this grid.
    assert abs(starts / 36_000 - 1 / 36).max() < 4.5 * np.sqrt(1 / 36 / 36_000)
    goals = np.bincount(drawn.goal[drawn.start == 0], minlength=36)
    row, column = np.divmod(np.arange(36), 6)
    far = row + column >= 4
    assert not goals[~far].any()
    share = goals[far] / goals.sum()
    assert abs(share - 1 / far.sum()).max() < 4.5 * np.sqrt(1 / far.sum() / goals.sum())


def test_distances_are_those_of_a_plain_search(layouts):
    for i in range(150):
        expected = distances_by_queue(layouts.obstacles[i], layouts.goal[i])
        np.testing.assert_array_equal(layouts.distance[i], expected)


@pytest.mark.parametrize(
    "rules",
    [
        LayoutRules(size=60, num_obstacles=300),
        LayoutRules(32, 80),
        LayoutRules(33, 80),
        LayoutRules(4, 2, 1, 3),
        LayoutRules(9, 12, 3, 6),
    ],
)
def test_other_sizes(rules):
    drawn = draw_layouts(rules, seeds(10))
    for i in range(10):
        expected = distances_by_queue(drawn.obstacles[i], drawn.goal[i])
        np.testing.assert_array_equal(drawn.distance[i], expected)


def test_a_layout_does_not_depend_on_its_company():
    # A third of these need several draws, each another number of them.
    rules = LayoutRules(size=8, num_obstacles=12, min_goal_distance=9)
    many = seeds(200)
    assert 0.1 < attempt(rules, many, 0)[1].mean() < 0.9
    together = draw_layouts(rules, many)
    for i in range(0, 200, 10):
        alone = draw_layouts(rules, many[i : i + 1])
        for name in ("obstacles", "start", "goal", "distance"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[i])
