"""The pictures of the concepts: what the page says of each metric, and that they are drawn."""

import concept_pictures
import pytest
from PIL import Image


def test_what_the_page_says_of_the_mirrored_rooms():
    found = concept_pictures.distances(0.9)
    assert list(found) == list(concept_pictures.TITLES)
    here, there = map(concept_pictures.cells().index, (concept_pictures.CELL, concept_pictures.MIRROR))
    assert found["bisimulation"][here, there] == pytest.approx(9)
    assert found["policy_similarity"][here, there] == pytest.approx(1.9)
    for name in ("lax_bisimulation", "on_policy_bisimulation", "value_difference"):
        assert found[name][here, there] == pytest.approx(0, abs=1e-6), name
    assert found["mico"][here, here] == pytest.approx(1.585, abs=1e-3)
    corner = concept_pictures.cells().index((3, 1))  # as far from the goal, and differently beset by walls
    assert found["value_difference"][here, corner] == pytest.approx(0, abs=1e-6)
    assert found["on_policy_bisimulation"][here, corner] > 0.8


def test_the_script_draws_every_metric(tmp_path, capsys, monkeypatch):
    committed = concept_pictures.Path(concept_pictures.__file__).parents[1] / "concepts"
    assert {path.stem for path in committed.iterdir()} == set(concept_pictures.TITLES)
    monkeypatch.setattr(concept_pictures, "TITLES", {"bisimulation": "bisimulation"})
    concept_pictures.main(["--out", str(tmp_path)])
    with Image.open(tmp_path / "bisimulation.png") as image:
        assert image.width > 2 * image.height
    assert capsys.readouterr().out == "bisimulation: 0.000 from itself, 9.000 from its mirror image\n"
