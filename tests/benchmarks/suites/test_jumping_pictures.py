"""Pictures of embeddings: which tasks they show, and where their points are."""

import numpy as np
import pytest

from bisimgym.baselines.pse.imitation import ImitationLearner
from bisimgym.benchmarks.suites import jumping
from bisimgym.benchmarks.suites.jumping_pictures import embedding_figure, project, shown_tasks
from bisimgym.envs.jumping.grids import training_tasks


@pytest.mark.parametrize(
    ("grid", "expected"), [("wide", [(20, 10), (32, 15), (45, 20)]), ("narrow", [(28, 13), (33, 15), (38, 17)])]
)
def test_the_third_task_was_never_seen_and_lies_between_two_that_were(grid, expected):
    assert shown_tasks(training_tasks(grid, None)) == expected


def test_projections_keep_the_distances_of_a_plane():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(30, 2))
    basis = np.linalg.qr(rng.normal(size=(64, 2)))[0]
    points, how = project((plane @ basis.T + 3).astype(np.float32))
    assert how == "principal component"
    apart = [np.linalg.norm(z[:, None] - z[None], axis=2) for z in (plane, points)]
    np.testing.assert_allclose(*apart, atol=1e-5)


@pytest.mark.parametrize("alignment", [None, {}])
def test_a_figure_has_every_step_of_three_tasks(alignment):
    data = jumping.demonstrations("wide", 1)
    model = ImitationLearner(demonstrations=data, alignment=alignment, seed=1, device="cpu", precision="float32")
    seen = jumping.seen_tasks("wide", 1)
    (ax,) = embedding_figure(model, shown_tasks(seen), seen).axes
    steps, jumps = ax.collections[::2], ax.collections[1::2]
    assert [len(points.get_offsets()) for points in steps] == [56] * 3
    for points, jump, (position, _) in zip(steps, jumps, shown_tasks(seen), strict=True):
        np.testing.assert_array_equal(jump.get_offsets()[0], points.get_offsets()[position - 14])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[1] == "unseen: obstacle at 32, floor at 15"
    assert labels[0].startswith("training")
