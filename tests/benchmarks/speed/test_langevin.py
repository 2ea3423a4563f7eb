"""What `bisimgym throughput --langevin` measures, and the page that shows it."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch as th

from bisimgym.benchmarks.cli import main, write_between_markers
from bisimgym.benchmarks.speed import langevin as langevin_speed

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "langevin.md"
COMMITTED = ROOT / "benchmarks" / "results" / "langevin_speed.json"


@pytest.fixture
def few(monkeypatch):
    """Make the command measure little."""

    def once(function):
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    monkeypatch.setattr(langevin_speed, "median_seconds", lambda functions, seconds: [once(f) for f in functions])
    monkeypatch.setattr(langevin_speed, "FRAMES", (3, 6))
    monkeypatch.setattr(langevin_speed, "BATCH_SIZE", 4)
    monkeypatch.setattr(langevin_speed, "_UPDATES", 1)


@pytest.mark.usefixtures("few")
def test_the_command_writes_figures_and_tables(tmp_path, capsys):
    file, page = tmp_path / "figures.json", tmp_path / "page.md"
    shutil.copy(PAGE, page)
    threads = th.get_num_threads()
    assert main(["throughput", "--langevin", "--seconds", "0", "--json", str(file), "--readme", str(page)]) == 0
    assert th.get_num_threads() == threads
    figures = json.loads(file.read_text())
    assert [row["dynamics"] for row in figures["lengths"]] == ["overdamped", "underdamped", "general"]
    for row in figures["lengths"]:
        assert row["times_linear"] == pytest.approx(row["ms"]["6"] / row["ms"]["3"] / 2)
    assert [(row["option"], row["dynamics"]) for row in figures["options"]] == [
        ("two steps per frame", "overdamped"),
        ("BAOAB", "underdamped"),
        ("curvature penalty", "overdamped"),
        ("an energy by autograd", "overdamped"),
    ]
    for row in figures["options"]:
        assert row["ratio"] == pytest.approx(row["ms"] / row["plain_ms"])
    text = page.read_text(encoding="utf-8")
    assert "| dynamics | 3 frames | 6 frames | 6 to 3, over 2 |" in text
    assert "BAOAB" in capsys.readouterr().out


def test_the_tables_of_the_page_are_those_of_committed_figures(tmp_path):
    copy = tmp_path / "page.md"
    shutil.copy(PAGE, copy)
    text = langevin_speed.markdown(json.loads(COMMITTED.read_text()))
    write_between_markers({"langevin speed": text}, copy)
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
