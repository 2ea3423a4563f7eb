"""The picture of the exact metrics."""

import metric_pictures
import numpy as np
import pytest
from PIL import Image


def test_distances_are_those_of_the_paper():
    distances = metric_pictures.jumping_distances((25, 45), 0.99)
    assert {name: int((distance == 0).sum()) for name, distance in distances.items()} == {
        "bisimulation": 24,
        "policy similarity (PSM)": 1068,
        "π*-bisimulation": 56,
        "true similarity": 1068,
    }
    psm = distances["policy similarity (PSM)"]
    np.testing.assert_array_equal(psm == 0, distances["true similarity"] == 0)
    assert distances["π*-bisimulation"].max() == pytest.approx(4246.45, abs=0.005)
    assert psm.max() == pytest.approx(1.99, abs=1e-9)


@pytest.mark.parametrize(
    ("obstacles", "discount", "expected"),
    [((25, 45), 1.0, "discount must be in"), ((25, 99), 0.9, "obstacle_position")],
)
def test_bad_arguments(obstacles, discount, expected):
    with pytest.raises(ValueError, match=expected):
        metric_pictures.jumping_distances(obstacles, discount)


def test_the_script_draws_four_panels(tmp_path, capsys):
    metric_pictures.main(["--out", str(tmp_path / "metrics.png")])
    with Image.open(tmp_path / "metrics.png") as image:
        assert image.width > 3 * image.height
    assert "policy similarity (PSM): up to 1.99, 1068 of 3136 pairs at 0" in capsys.readouterr().out
