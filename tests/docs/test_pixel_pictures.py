"""Pictures of agents from images, of runs that are made up."""

from types import SimpleNamespace

import numpy as np
import pixel_pictures
import pytest
from PIL import Image


@pytest.fixture
def runs(tmp_path):
    picture = tmp_path / "1_saliency.png"
    Image.fromarray(np.full((10, 40, 3), 200, dtype=np.uint8)).save(picture)

    def run(task, method, seed, scale, variant=None, preset="laptop"):
        spec = SimpleNamespace(suite="distracting", task=task, method=method, seed=seed, preset=preset, variant=variant)
        held_out = {"trained": 800.0} if task.endswith("video") else {}
        curve = [{"control_steps": at, "score": scale * at / 10, **held_out} for at in (1000, 2000)]
        return SimpleNamespace(spec=spec, curve=curve, pictures=[picture])

    pair = [run(task, method, 1, 1.0) for task in ("a-clean", "a-pse-2video") for method in ("sac", "drq")]
    return [
        *pair,
        run("a-clean", "drq", 2, 3.0),
        run("a-clean", "sac", 1, 1.0, variant="x"),
        run("a", "sac", 1, 1, preset="smoke"),
    ]


def test_curves_are_means_of_seeds_under_both_kinds(runs):
    groups = pixel_pictures.grouped(runs, "laptop")
    assert {task: {method: len(found) for method, found in methods.items()} for task, methods in groups.items()} == {
        "a-clean": {"drq": 2, "sac": 1},
        "a-pse-2video": {"drq": 1, "sac": 1},
    }
    clean, _, trained, held_out = pixel_pictures.curves(groups).axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in clean.lines}
    assert (lines["drq"], lines["sac"]) == ([200, 400], [100, 200])
    assert trained.lines[0].get_ydata().tolist() == [800, 800]
    assert held_out.lines[0].get_ydata().tolist() == [100, 200]


def test_pictures_are_written(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(pixel_pictures, "committed_runs", lambda: runs)
    pixel_pictures.main(["--out", str(tmp_path / "out")])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "curves.png",
        "saliency_a-clean.png",
        "saliency_a-pse-2video.png",
    }
    figure = pixel_pictures.saliency(pixel_pictures.grouped(runs, "laptop")["a-clean"])
    assert [ax.get_ylabel() for ax in figure.axes] == ["drq", "sac"]
    with pytest.raises(SystemExit):
        pixel_pictures.main(["--preset", "paper"])
