"""What became of results: which rows changed, and what their intervals say."""

import pytest

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.report.changes import changes
from bisimgym.benchmarks.running.run_folder import find_runs


@pytest.fixture
def folders(fake_run, tmp_path):
    """Earlier and present runs: a row as it was, one told apart, one with a seed more, one new and one gone."""

    def write(name, rows):
        for method, scores in rows.items():
            for seed, solved in enumerate(scores, start=1):
                fake_run(tmp_path / name, method, seed=seed, solved=solved)
        return tmp_path / name

    same, low, high = (0.5, 0.52, 0.54), (0.1, 0.12, 0.11), (0.9, 0.92, 0.91)
    before = write("before", {"pse": same, "dropout-l2": low, "randconv": same, "randconv-bisim": same})
    now = write("now", {"pse": same, "dropout-l2": high, "randconv": (*same, 0.56), "randconv-pse": (0.7,)})
    return before, now


def test_rows_whose_numbers_differ_are_found(folders):
    found = {change.row.method: change for change in changes(*(find_runs([folder]) for folder in folders))}
    assert list(found)[-1] == "randconv-bisim"
    assert set(found) == {"dropout-l2", "randconv", "randconv-pse", "randconv-bisim"}
    assert found["dropout-l2"].verdict == "told apart"
    assert found["dropout-l2"].difference == pytest.approx(0.8, abs=0.03)
    assert found["randconv"].verdict == "intervals overlap"
    assert (found["randconv-pse"].before, found["randconv-pse"].difference, found["randconv-pse"].verdict) == (
        None,
        None,
        "",
    )
    assert found["randconv-bisim"].now is None


def test_the_site_has_a_page_of_them(folders, tmp_path, capsys):
    before, now = folders
    assert main(["report", str(now), "--before", str(before), "--out", str(tmp_path / "site")]) == 0
    page = (tmp_path / "site/changes.html").read_text()
    for text in ("told apart", "intervals overlap", ">new<", ">gone<", "randconv-bisim"):
        assert text in page
    assert ">pse<" not in page
    assert 'href="changes.html"' in (tmp_path / "site/index.html").read_text()
    assert main(["report", str(now), "--before", str(now), "--out", str(tmp_path / "site")]) == 0
    assert "there are none" in (tmp_path / "site/changes.html").read_text()
    assert main(["report", str(now), "--out", str(tmp_path / "site")]) == 0
    assert not (tmp_path / "site/changes.html").exists()
