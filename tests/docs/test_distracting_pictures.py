"""The page and the pictures of distracting control."""

import re
from pathlib import Path

import distracting_pictures
import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from bisimgym.envs.distractions.presets import PRESETS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "distracting_control.md"


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 7
    names = {}
    for number, block in enumerate(blocks):  # one after the other, as a reader would
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert names["noise"].value == pytest.approx(1.0)
    assert abs(names["pixels"].value) < 0.9


def test_files_that_the_page_shows_are_there():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert [t for t in targets if not (PAGE.parent / t).is_file()] == []
    pictures = list((PAGE.parent / "distracting_control").iterdir())
    assert {f"distracting_control/{p.name}" for p in pictures} <= set(targets), "a picture that no page shows"
    assert sum(p.stat().st_size for p in pictures) < 3_000_000


def test_the_table_of_presets_says_how_to_make_each_from_clean():
    from bisimgym.envs.distractions.presets import distraction

    rows = re.findall(r"^\| `(\S+)` \| \S+ \|(.*)\|$", distracting_pictures.preset_markdown(), re.MULTILINE)
    assert [name for name, _ in rows] == list(PRESETS)
    for name, cells in rows:
        assert distraction("clean", **eval(f"dict({cells.replace('`', '')})")) == PRESETS[name]


def test_swaying_actions():
    env = gym.make("bisimgym/DistractingWalkerWalk-v0", observation="state").unwrapped
    actions = distracting_pictures.smooth_actions(env, 100, seed=0)
    assert actions.shape == (100, 6)
    assert all(action in env.action_space for action in actions)
    assert np.abs(np.diff(actions, axis=0)).max() < 0.25
    assert np.ptp(actions, axis=0).min() > 0.9
    np.testing.assert_array_equal(actions, distracting_pictures.smooth_actions(env, 100, seed=0))


def test_the_script_draws_every_picture(tmp_path, capsys, monkeypatch):
    from bisimgym.envs.rendering import probe

    monkeypatch.setattr(distracting_pictures, "TASKS", {"reacher": distracting_pictures.TASKS["reacher"]})
    # Without videos to draw, and with grids that name other tasks left out.
    chosen = {name: PRESETS[name] for name in ("clean", "color-hard")}
    monkeypatch.setattr(distracting_pictures, "PRESETS", chosen)
    monkeypatch.setattr(distracting_pictures, "_DISTRACTED", "color-easy")
    for name in ("cameras", "videos", "compositing"):
        grid = distracting_pictures.Grid(name, ["a"], ["b"], [[np.zeros((4, 4, 3), np.uint8)]])
        monkeypatch.setattr(distracting_pictures, name, lambda grid=grid: grid)
    monkeypatch.setattr(probe, "probe", lambda: probe.OpenGL(None, "", {"egl": "broken"}))
    distracting_pictures.main(["--out", str(tmp_path / "new")])
    # Every committed picture is one that the script draws, and of a size to be seen.
    committed = {path.name: path for path in (PAGE.parent / "distracting_control").iterdir()}
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(committed)
    for path in committed.values():
        with Image.open(path) as image:
            assert min(image.size) > 250
    assert "renderers.jpg (without OpenGL: " in capsys.readouterr().out
    with Image.open(tmp_path / "new" / "renderers.jpg") as renderers:
        assert renderers.width < 400  # two columns, not six
