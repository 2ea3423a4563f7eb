"""From run folders to a submission, and from a submission to the leaderboard."""

import json

import pytest
from submissions import fine, write

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.report.summary import summarize
from bisimgym.benchmarks.running.run_folder import find_runs, write_json
from bisimgym.benchmarks.submissions.packing import find_results


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "submission", *fine())


def test_a_submission_becomes_run_folders_and_these_the_same_submission(tmp_path, folder, capsys):
    assert main(["submit", "check", str(folder), "--out", str(tmp_path / "runs")]) == 0
    assert "15 run folders in" in capsys.readouterr().out
    assert main(["submit", "check", str(folder), "--out", str(tmp_path / "runs")]) == 2
    assert "holds a run already" in capsys.readouterr().err
    packed = tmp_path / "packed"
    assert main(["submit", "pack", str(tmp_path / "runs"), "--out", str(packed), "--authors", "Somebody Else"]) == 0
    again, before = (json.loads((of / "submission.json").read_text()) for of in (packed, folder))

    def in_order(described):
        return {**described, "runs": sorted(described["runs"], key=lambda run: (run["task"], run["seed"]))}

    assert in_order(again) == in_order(before)
    rows, rows_before = (sorted((of / "episodes.jsonl").read_text().splitlines()) for of in (packed, folder))
    assert rows == rows_before


def test_it_stands_in_the_tables_with_a_badge(tmp_path, folder):
    with find_results([folder]) as runs:
        assert [row.badge for row in summarize(runs)] == ["self-reported"] * 3
    assert not runs[0].path.exists()
    assert main(["report", str(folder), "--out", str(tmp_path / "site")]) == 0
    index = (tmp_path / "site/index.html").read_text()
    assert "self-reported" in index
    assert "outside agent" in index
    main(["submit", "check", str(folder), "--out", str(tmp_path / "runs")])
    for run in find_runs([tmp_path / "runs"]):
        write_json(run.path / "repro.json", {"digest": run.result["digest"], "same": run.spec.task != "1000"})
    rows = {row.task: row.badge for row in summarize(find_runs([tmp_path / "runs"]))}
    assert rows == {"500": "re-run", "1000": "self-reported", "10000": "re-run"}


def test_what_makes_no_submission_is_said(tmp_path, folder, error_of, capsys):
    main(["submit", "check", str(folder), "--out", str(tmp_path / "runs")])
    pack = ["submit", "pack", tmp_path / "runs", "--authors", "A", "--out"]
    assert "is not empty" in error_of(*pack, folder)
    described, rows = fine()
    other = write(tmp_path / "other", {**described, "agent": "others"}, rows)
    main(["submit", "check", str(other), "--out", str(tmp_path / "runs")])
    assert "found lqr others with budget 1000; lqr theirs with budget 1000" in error_of(*pack, tmp_path / "new")
    capsys.readouterr()
    pack[2] = tmp_path / "runs/lqr/500/theirs"
    assert main([str(part) for part in [*pack, tmp_path / "new"]]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 * (1 + 5 + 5)  # two tasks are missing, their means and runs, here and there
    assert "error: means of submission.json lacks '1000'" in errors
    assert "error: episodes.jsonl lacks 1000 seed 1: every task of lqr needs every seed" in errors


def test_nothing_is_written_where_one_run_is_there_already(tmp_path, folder, error_of):
    main(["submit", "check", str(folder), "--out", str(tmp_path / "all")])
    there = sorted((tmp_path / "all").rglob("run.json"))[-1].parent
    kept = tmp_path / "runs" / there.relative_to(tmp_path / "all")
    kept.parent.mkdir(parents=True)
    there.rename(kept)
    assert "holds a run already" in error_of("submit", "check", folder, "--out", tmp_path / "runs")
    assert [path.parent for path in (tmp_path / "runs").rglob("run.json")] == [kept]


def test_what_was_refused_is_not_in_the_way_of_the_corrected_command(tmp_path, folder):
    main(["submit", "check", str(folder), "--out", str(tmp_path / "runs")])
    pack = ["submit", "pack", str(tmp_path / "runs"), "--out", str(tmp_path / "packed"), "--authors"]
    assert main([*pack, "some\tbody"]) == 2
    assert list((tmp_path / "packed").iterdir()) == []
    assert main([*pack, "somebody"]) == 0
