"""The papers' index: its commands are commands, its numbers those of the suites, and it says what is missing."""

import re
import shlex
from pathlib import Path

import pytest

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report import papers
from bisimgym.benchmarks.report.papers_index import DONE, GPU, NOT_DONE, NOT_RUN, OTHERWISE, PAPERS, PARTLY, STATES
from bisimgym.benchmarks.report.summary import summarize
from bisimgym.benchmarks.running import run_folder
from bisimgym.benchmarks.suites import SUITES, load_suite

ROOT = Path(papers.__file__).parents[2]
ITEMS = [(key, item) for key, paper in PAPERS.items() for item in paper.items]
COMMANDS = sorted({item.command for _, item in ITEMS if item.command})


def test_every_published_number_of_a_suite_is_in_the_index_once():
    listed = [(item.suite, *cell) for key, item in ITEMS for cell in papers.cells(key, item)]
    published = [(name, *cell) for name in SUITES for cell in load_suite(name).published]
    assert sorted(listed) == sorted(published)


@pytest.mark.parametrize(("key", "item"), ITEMS, ids=lambda value: getattr(value, "label", value))
def test_items_say_what_there_is_or_why_not(key, item):
    assert item.state in ({""} if item.suite else STATES)
    assert item.suite == "" or papers.cells(key, item)
    assert item.note or item.state not in (NOT_DONE, OTHERWISE, GPU)
    assert bool(item.command) or item.state in (NOT_DONE, DONE)
    for page in re.findall(r"\]\(([\w./]+)\)", item.note):
        assert (ROOT / "docs" / page).is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_commands(command, capsys):
    program, *arguments = shlex.split(command)
    if program == "python":
        assert (ROOT / arguments[0]).is_file()
    elif "--paper" in arguments:
        assert papers.cells(arguments[2], papers.find_item(arguments[2], arguments[4]))
    elif arguments[0] == "run":
        assert main([*arguments, "--dry-run"]) == 0, capsys.readouterr().err
    else:
        assert main([arguments[0], "--help"]) == 0


def test_a_number_stands_beside_the_published_one(fake_run, tmp_path):
    rows = summarize([fake_run(tmp_path, "pse", seed=seed, preset="short") for seed in (1, 2, 3)])
    rows += summarize([fake_run(tmp_path, "pse", task="colors", preset="smoke")])
    (table,) = (item for item in PAPERS["psm"].items if item.label == "Table 1")
    found = {(line.task, line.method): line for line in papers.lines("psm", table, rows)}
    line = found["wide", "pse"]
    assert line.published == "33.6 ± 10.0"
    assert line.seeds == "3*, short"
    assert re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", line.ours)
    assert found["narrow", "pse"].ours == NOT_RUN
    assert papers.state(table, list(found.values())) == PARTLY
    assert papers.state(table, [line]) == DONE
    assert papers.state(table, [found["narrow", "pse"]]) == NOT_RUN
    (colors,) = (item for item in PAPERS["psm"].items if item.label == "Table G.1")
    measures = {line.measure: line.ours for line in papers.lines("psm", colors, rows) if line.ours != NOT_RUN}
    assert set(measures) == {"red unseen", "green unseen"}


def test_published_numbers_without_a_spread_have_none():
    (table,) = (item for item in PAPERS["behavioral"].items if item.label == "Table 6.1")
    found = {line.method: line.published for line in papers.lines("behavioral", table, [])}
    assert found == {"fbs": "89.9", "rnp": "84.9", "runtime": "91.4", "both": "91.2"}


def test_a_table_is_run_by_its_paper(capsys, error_of):
    assert main(["run", "--paper", "psm", "--table", "2", "--seeds", "1", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "randconv-bisim-cme" in out
    assert "2 runs" in out
    assert papers.find_item("psm", "Table 2") is papers.find_item("psm", "2")
    with pytest.raises(UserError, match="unknown paper 'pse'"):
        papers.find_item("pse", "1")
    assert "choose from 1, 2, G.1, H.1" in error_of("run", "--paper", "psm", "--table", "3")
    for arguments in (["run"], ["run", "lqr", "--paper", "psm", "--table", "1"], ["run", "--paper", "psm"]):
        assert "give a SUITE, or --paper and --table" in error_of(*arguments)


def test_the_command_prints_it(capsys, error_of, monkeypatch):
    monkeypatch.setattr(run_folder, "committed_runs", lambda: [])
    assert main(["papers", "study"]) == 0
    out = capsys.readouterr().out
    assert "we have its protocol and code, not its tables" in out
    assert "Agarwal" not in out
    assert "unknown paper 'x'" in error_of("papers", "x")
