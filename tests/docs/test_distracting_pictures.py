"""The pages, pictures and figures of distracting control."""

import json
import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from bisimgym.benchmarks import distracting_pictures, env_pages
from bisimgym.benchmarks.cli import main, write_between_markers
from bisimgym.benchmarks.speed import distracting as distracting_speed
from bisimgym.benchmarks.speed import envs as throughput
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


def test_the_tables_of_the_page_are_those_of_presets_and_committed_figures(tmp_path):
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    figures = json.loads((ROOT / "benchmarks" / "results" / "distracting_speed.json").read_text())
    tables = {
        "presets": distracting_pictures.preset_markdown(),
        "distracting speed": distracting_speed.markdown(figures),
    }
    write_between_markers(tables, copy)
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_the_table_of_presets_says_how_to_make_each_from_clean():
    from bisimgym.envs.distractions.presets import distraction

    rows = re.findall(r"^\| `(\S+)` \| \S+ \|(.*)\|$", distracting_pictures.preset_markdown(), re.MULTILINE)
    assert [name for name, _ in rows] == list(PRESETS)
    for name, cells in rows:
        assert distraction("clean", **eval(f"dict({cells.replace('`', '')})")) == PRESETS[name]


class TestGrid:
    def test_layout(self):
        colors = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)], [(0, 0, 0), (255, 0, 255)]]
        frames = [[np.full((5, 5, 3), color, np.uint8) for color in row] for row in colors]
        picture = distracting_pictures.Grid("g", ["a", "b\nc", "d"], ["e", "f"], frames, size=20).draw()
        # The places of the frames, found by their colours: an even lattice of full cells.
        pixels = np.asarray(picture)
        corners = []
        for row in colors:
            for color in row:
                y, x = np.nonzero((pixels == color).all(axis=-1))
                if color != (0, 0, 0):
                    assert len(y) == 400
                    corners.append((y.min(), x.min()))
        (y0, x0), (_, x1), (y1, _), _, (y2, _) = corners
        assert y1 - y0 == y2 - y1 == x1 - x0 == 24

    def test_blocks_have_more_room(self):
        frames = [[np.zeros((4, 4, 3), np.uint8)] * 3]
        plain = distracting_pictures.Grid("g", ["a"], ["b", "c", "d"], frames, size=10).draw()
        apart = distracting_pictures.Grid("g", ["a"], ["b", "c", "d"], frames, blocks=[0], size=10).draw()
        assert apart.width == plain.width + 16

    def test_a_row_of_frames_is_missing(self):
        with pytest.raises(ValueError, match="shorter"):
            distracting_pictures.Grid("g", ["a", "b"], ["c"], [[np.zeros((4, 4, 3), np.uint8)]]).draw()


def test_swaying_actions():
    env = gym.make("bisimgym/DistractingWalkerWalk-v0", observation="state").unwrapped
    actions = distracting_pictures.smooth_actions(env, 100, seed=0)
    assert actions.shape == (100, 6)
    assert all(action in env.action_space for action in actions)
    assert np.abs(np.diff(actions, axis=0)).max() < 0.25
    assert np.ptp(actions, axis=0).min() > 0.9
    np.testing.assert_array_equal(actions, distracting_pictures.smooth_actions(env, 100, seed=0))


def test_frames_of_a_row_show_one_state_and_several_distractions():
    env_id = distracting_pictures.TASKS["reacher"]
    presets = ("clean", "clean", "color-easy", "color-hard")
    clean, again, easy, hard = (distracting_pictures.frame(env_id, 2, preset=preset) for preset in presets)
    assert clean.shape == (84, 84, 3)
    np.testing.assert_array_equal(clean, again)
    # The target has a material that palettes leave alone: it is where it was, in the same colours.
    red, green, blue = np.moveaxis(clean.astype(int), -1, 0)
    target = (red > 1.9 * green) & (abs(green - blue) <= 1)
    assert target.sum() > 50
    for other in (easy, hard):
        np.testing.assert_array_equal(other[target], clean[target])
        assert (other != clean).any(axis=-1).mean() > 0.5


def test_pictures_command(tmp_path, capsys, monkeypatch):
    from bisimgym.envs.rendering import probe

    page = tmp_path / "page.md"
    page.write_text("<!-- results presets -->\n<!-- end results -->\n")
    monkeypatch.setattr(distracting_pictures, "TASKS", {"reacher": distracting_pictures.TASKS["reacher"]})
    # Without videos to draw, and with grids that name other tasks left out.
    chosen = {name: PRESETS[name] for name in ("clean", "color-hard")}
    monkeypatch.setattr(distracting_pictures, "PRESETS", chosen)
    monkeypatch.setattr(distracting_pictures, "_DISTRACTED", "color-easy")
    for name in ("cameras", "videos", "compositing"):
        monkeypatch.setattr(distracting_pictures, name, lambda name=name: _still(name))
    monkeypatch.setattr(probe, "probe", lambda: probe.OpenGL(None, "", {"egl": "broken"}))
    assert main(["pictures", "--out", str(tmp_path / "new"), "--readme", str(page)]) == 0
    names = {"presets_dcs", "presets_others", "cameras", "videos", "compositing", "renderers"}
    assert {path.stem for path in (tmp_path / "new").iterdir()} == names
    assert "renderers.jpg (without OpenGL: " in capsys.readouterr().out
    assert "`pse-2video`" in page.read_text()
    with Image.open(tmp_path / "new" / "renderers.jpg") as renderers:
        assert renderers.width < 400  # two columns, not six


def _still(name):
    return distracting_pictures.Grid(name, ["a"], ["b"], [[np.zeros((4, 4, 3), np.uint8)]])


class TestThroughput:
    @pytest.fixture
    def small(self, monkeypatch):
        monkeypatch.setattr(distracting_speed, "TASKS", {"cartpole": distracting_pictures.TASKS["cartpole"]})
        sizes = {"_STATES": 2, "_EPISODE": 4, "_NUM_ENVS": 2, "_WORKER_SECONDS": 1, "_OBSERVATIONS": 2}
        tasks = {"_WORKER_TASK": "cartpole", "_SAMPLER_TASK": "cartpole"}
        # Few videos to draw by formula.
        presets = {"PRESETS": ("clean", "video-easy"), "BACKGROUNDS": ("video-easy",), "_WORKER_PRESET": "clean"}
        for name, value in (sizes | tasks | presets).items():
            monkeypatch.setattr(distracting_speed, name, value)

    @pytest.mark.parametrize("has_opengl", [True, False])
    def test_distracting(self, has_opengl, small, tmp_path, capsys, monkeypatch):
        from bisimgym.envs.rendering import probe

        if has_opengl and probe.probe().backend is None:
            pytest.skip(probe.probe().explain())
        if not has_opengl:
            monkeypatch.setattr(probe, "probe", lambda: probe.OpenGL(None, "", {"egl": "broken"}))
        page, file = tmp_path / "page.md", tmp_path / "new" / "figures.json"
        page.write_text("<!-- results distracting speed -->\n<!-- end results -->\n")
        arguments = ["throughput", "--distracting", "--seconds", "0.01", "--json", str(file), "--readme", str(page)]
        assert main(arguments) == 0
        figures = json.loads(file.read_text())
        assert [(row["task"], row["preset"]) for row in figures["frames"]] == [
            ("cartpole", preset) for preset in distracting_speed.PRESETS
        ]
        for row in figures["frames"]:
            assert ("opengl" in row["frame_ms"]) == has_opengl == ("standard_over_raycast" in row)
            # A step has a frame in it, and physics.
            assert 0 < 0.5 * row["frame_ms"]["raycast"] < row["step_ms"]["raycast"]
        for row in figures["backgrounds"]:
            assert row["share"] == pytest.approx(row["background_ms"] / row["frame_ms"])
        workers = figures["workers"]
        assert set(workers["steps_per_second"]) == {"1", "2"}
        assert workers["turns"] >= 5
        assert workers["ratio"] == workers["steps_per_second"]["2"] / workers["steps_per_second"]["1"]
        for count in ("1", "2"):
            assert workers["steps_per_second"][count] >= workers["median_steps_per_second"][count] > 0
        assert {"mujoco", "dm_control"} <= set(figures["versions"])
        out = capsys.readouterr().out
        assert ("OpenGL is left out" in out) == (not has_opengl)
        assert distracting_speed.markdown(figures) in page.read_text()

    def test_usage(self, error_of):
        assert "measures its own environments" in error_of("throughput", "bisimgym/Nav2D-v0", "--distracting")
        assert "one at a time" in error_of("throughput", "--metrics", "--distracting")

    def test_vectors_of_workers_are_small(self, tmp_path, monkeypatch):
        monkeypatch.setattr(throughput, "WORKER_VECTOR_SIZES", (2,))
        file = tmp_path / "figures.json"
        env_id = "bisimgym/DistractingReacherEasy-v0"
        assert main(["throughput", env_id, "--seconds", "0.01", "--no-learners", "--json", str(file)]) == 0
        rows = json.loads(file.read_text())["environments"][0]["vector"]
        assert [(row["num_envs"], row["observation_bytes"]) for row in rows] == [(2, 2 * 84 * 84 * 9)]


class TestEnvPages:
    def test_an_id_with_arguments_links_to_the_page_of_the_other(self):
        text = env_pages.page("bisimgym/DistractingFingerSpin-v0")
        assert '[`bisimgym/DistractingControl-v0`](DistractingControl-v0.md) with `domain="finger"`' in text
        assert "## Reward" not in text
        assert "num_envs=8" in text
        assert "## Reward" in env_pages.page("bisimgym/DistractingControl-v0")

    def test_animation_of_swaying_actions(self, tmp_path, monkeypatch):
        monkeypatch.setattr(env_pages, "_SWAYING_FRAMES", 3)
        monkeypatch.setattr(env_pages, "_SWAYING_PRESET", "color-easy")
        path = tmp_path / "reacher.gif"
        env_pages.animation("bisimgym/DistractingReacherEasy-v0", path)
        with Image.open(path) as picture:
            assert (picture.n_frames, picture.size, picture.info["duration"]) == (3, (160, 160), 80)

    def test_listing_says_what_is_missing(self, capsys, monkeypatch):
        def title(env_id):
            if "Distracting" in env_id:
                raise ImportError("needs dm_control")
            return "A task."

        monkeypatch.setattr(env_pages, "title", title)
        assert main(["list", "envs"]) == 0
        out = capsys.readouterr().out
        assert "bisimgym/Nav2D-v0  A task." in out
        assert "bisimgym/DistractingWalkerWalk-v0  (needs dm_control)" in out
