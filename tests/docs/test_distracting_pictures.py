"""The page and the pictures of distracting control."""

import re
from pathlib import Path

import distracting_pictures
import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from bisimgym.envs.distractions.presets import PRESETS
from bisimgym.envs.rendering import probe

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


def test_pictures_are_drawn_and_committed(tmp_path, capsys):
    tasks = {"reacher": distracting_pictures.TASKS["reacher"]}
    grids = [
        *distracting_pictures.presets(["clean", "color-hard"], tasks),
        distracting_pictures.renderers(["raycast"], "color-easy", tasks),
    ]
    distracting_pictures.write(tmp_path / "new", grids, probe.OpenGL(None, "", {"egl": "broken"}))
    assert {path.stem for path in (tmp_path / "new").iterdir()} == {"presets_dcs", "presets_others", "renderers"}
    assert "renderers.jpg (without OpenGL: " in capsys.readouterr().out
    with Image.open(tmp_path / "new" / "renderers.jpg") as renderers:
        assert renderers.width < 400  # two columns, not six
    # Every committed picture is one that the script draws, and of a size to be seen.
    committed = list((PAGE.parent / "distracting_control").iterdir())
    assert {path.stem for path in committed} == set(distracting_pictures.NAMES)
    for path in committed:
        with Image.open(path) as image:
            assert min(image.size) > 250
