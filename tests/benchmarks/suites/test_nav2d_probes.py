import numpy as np
import pytest

from bisimgym.benchmarks.measures.finite_processes import similarity_of_moves
from bisimgym.benchmarks.suites.nav2d import probes
from bisimgym.benchmarks.suites.nav2d.pictures import figures_of
from bisimgym.envs.nav2d.layouts import UNREACHABLE, LayoutRules, distances_to, draw_layouts, free_moves

RULES = LayoutRules(8, 3, min_goal_distance=4)


def decoded(images):
    """Return obstacles and the agent's cells of images."""
    assert not images[..., 2].any()
    flat = images.reshape(len(images), -1, 3)
    return flat[..., 0] > 0, flat[..., 1].argmax(axis=1)


def near(images):
    """Embeds which of the four cells around the agent are obstacles or walls."""
    obstacles, cells = decoded(images)
    return np.array([_blocked(o, c) for o, c in zip(obstacles, cells, strict=True)], dtype=float)


def _blocked(obstacles, cell):
    free, transition = free_moves(np.where(np.arange(len(obstacles)) == cell, False, obstacles))
    row = int(np.searchsorted(free, cell))
    return transition[row] == row


def place(images):
    """Embeds the agent's row and column."""
    return np.stack(np.divmod(decoded(images)[1], 8), axis=1).astype(float)


def test_an_encoder_of_the_exact_metric_is_faithful_to_it_on_layouts_never_seen():
    drawn = draw_layouts(RULES, np.arange(probes.HELD_OUT, probes.HELD_OUT + 2).astype(np.uint64))
    known = {}
    for layout in drawn.obstacles > 0:
        free, transition = free_moves(layout)
        # Classical scaling is not needed: rows of the distance matrix, compared in L1, order pairs much alike.
        exact = similarity_of_moves(transition, np.arange(len(free)), np.arange(len(free)))
        known |= {(layout.tobytes(), int(cell)): exact[i] for i, cell in enumerate(free)}

    def embed(images):
        rows = [known[o.tobytes(), int(c)] for o, c in zip(*decoded(images), strict=True)]
        return np.array([np.pad(row, (0, 64 - len(row))) for row in rows])

    exactly = probes.held_out_fidelity(embed, RULES, layouts=2)
    assert exactly["rank_similarity"] > 0.9
    by_place = probes.held_out_fidelity(place, RULES, layouts=2)
    assert by_place["rank_path"] > 0.9  # few obstacles stand between L1 distances and paths
    assert by_place["rank_path"] > exactly["rank_path"]


def test_attention_is_where_the_embedding_changes():
    obstacles = np.zeros(64, dtype=bool)
    found = probes.attention(near, obstacles, 3 * 8 + 3)
    expected = np.zeros((8, 8))
    expected[[2, 4, 3, 3], [3, 3, 2, 4]] = 1
    np.testing.assert_array_equal(found, expected)
    by_distance = probes.attention_by_distance(near, RULES, layouts=4)
    assert by_distance[0] == 1
    assert not by_distance[1:].any()


def test_attention_by_distance_counts_cells_by_their_path():
    rng = np.random.default_rng(0)
    weights = rng.random((64, 3))

    def embed(images):
        return decoded(images)[0] @ weights

    layout = draw_layouts(RULES, np.array([probes.HELD_OUT], dtype=np.uint64))
    found = probes.attention_by_distance(embed, RULES, layouts=1)
    change = weights.sum(axis=1)
    change[layout.start] = 0
    steps = distances_to((layout.obstacles == 0).reshape(1, 8, 8), layout.start)[0]
    free = (layout.obstacles[0] == 0) & (steps < UNREACHABLE)
    for k in range(1, 9):
        rows = free & (steps == k)
        assert found[k - 1] == pytest.approx((change[rows] / change.max()).mean())


def test_the_corridor_is_probed_as_published():
    columns = probes.corridor_probes(near, RULES, layouts=3)
    kinds = {kind: columns["kind"].count(kind) for kind in probes.KINDS}
    assert kinds == {"outside": 3, "partial": 3 * 4, "full": 3 * 4, "double": 3, "moved": 3}
    scores = probes.corridor_scores(columns)
    assert scores["outside"] == 0
    # Seen from the lower row, only the full block next to the agent is near.
    by_kind = {(k, g): d for k, g, d in zip(columns["kind"], columns["gap"], columns["distance"], strict=True)}
    assert by_kind["full", 1] == by_kind["double", 1] == 1
    assert by_kind["full", 2] == by_kind["partial", 1] == by_kind["moved", 0] == 0
    assert scores["full_over_partial"] == 0.25


def test_exact_changes_to_the_corridor():
    columns = probes.corridor_probes(near, LayoutRules(10, 4), layouts=2)
    exact = {(k, g): e for k, g, e in zip(columns["kind"], columns["gap"], columns["exact"], strict=True)}
    assert exact["outside", 0] == 0
    assert exact["double", 1] == exact["full", 1]  # what lies behind a full block is out of reach
    for kind in ("partial", "full"):
        values = [exact[kind, gap] for gap in range(5, 0, -1)]
        assert values == sorted(values)
        assert values[0] > 0


def test_scores_of_an_encoder_that_sees_nothing():
    scores = probes.corridor_scores(probes.corridor_probes(lambda images: np.zeros((len(images), 2)), RULES, 2))
    assert scores == {"corridor": 0.0, "outside": 1e6, "full_over_partial": 0.0, "nearer_first": 0.0}


def test_scores_of_an_encoder_that_sees_what_is_out_of_reach():
    def embed(images):
        return decoded(images)[0].astype(float)

    scores = probes.corridor_scores(probes.corridor_probes(embed, RULES, 3))
    assert scores["outside"] > 1
    assert scores["full_over_partial"] == 1
    assert scores["corridor"] < 0.5


def test_pictures_show_the_corridor_and_attention():
    figures = figures_of(near, RULES, probes.corridor_probes(near, RULES, 2))
    assert list(figures) == ["1_attention", "2_corridor"]
    partial, full = figures["2_corridor"].axes[0].lines[:2]
    np.testing.assert_array_equal(full.get_xydata(), [[1, 1], [2, 0], [3, 0], [4, 0]])
    assert not partial.get_ydata().any()
