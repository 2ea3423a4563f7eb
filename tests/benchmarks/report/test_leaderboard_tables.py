"""The tables of the leaderboard: which rows they hold, in which order, and which are marked."""

import re

from markov_runs import outside, seeds_of, spec, write_runs

from bisimgym.benchmarks.report.leaderboard import build_site
from bisimgym.benchmarks.running.run_folder import committed_runs, find_runs
from bisimgym.benchmarks.suites import SUITES
from bisimgym.benchmarks.suites.base import EXTERNAL

PAGES = ("index.html", "tasks/markov/uniform.html")


def built(tmp_path, *runs):
    return build_site(find_runs([write_runs(tmp_path / "runs", *runs)]), tmp_path / "site").parent


def lines_of(site, page, preset="short"):
    """Whose lines a table has, and their HTML, from the first to the last."""
    text = (site / page).read_text(encoding="utf-8")
    table = re.search(rf'<table[^>]*data-preset="{preset}".*?</table>', text, re.DOTALL)[0]
    return re.findall(r'<tr data-method="([^"]*)">(.*?)</tr>', table, re.DOTALL)


def test_outside_agents_stand_in_the_table_of_ours_with_a_mark(tmp_path):
    site = built(
        tmp_path,
        (outside("theirs"), 0.6, {}),
        (outside("nsde"), 0.2, {}),  # takes the name of a method
        *seeds_of("nsde", 0.7),
        *seeds_of("nld-overdamped", 0.5),
        *seeds_of("nsde", 0.4, preset="smoke"),
    )
    for page in PAGES:
        lines = lines_of(site, page)
        assert [(method, "outside agent" in line) for method, line in lines] == [
            ("nsde", False),
            ("theirs", True),
            ("nld-overdamped", False),
            ("nsde", True),
        ]
        assert [method for method, _ in lines_of(site, page, "smoke")] == ["nsde"]
        assert f'data-preset="{EXTERNAL}"' not in (site / page).read_text(encoding="utf-8")
    method = (site / "methods/markov/nsde.html").read_text(encoding="utf-8")
    results = re.search(r'<table[^>]*data-preset="short".*?</table>', method, re.DOTALL)[0]
    assert results.count('data-task="uniform"') == 2


def test_outside_agents_alone_have_a_table(tmp_path):
    site = built(tmp_path, (outside("one"), 0.5, {}), (outside("two"), 0.6, {}))
    for page in PAGES:
        assert [method for method, _ in lines_of(site, page, EXTERNAL)] == ["two", "one"]


def test_rows_stand_by_the_score_of_the_first_task_then_of_the_next(tmp_path):
    site = built(
        tmp_path,
        *seeds_of("k-means", 0.3),
        *seeds_of("nsde", 0.9),
        *seeds_of("nld-overdamped", 0.5),
        *seeds_of("k-means", 0.9, task="skewed"),
        *seeds_of("nld-underdamped", 0.2, task="skewed"),
        *seeds_of("always-uniform", 0.4, task="skewed"),
    )
    order = ["nsde", "nld-overdamped", "k-means"]
    assert [method for method, _ in lines_of(site, "tasks/markov/uniform.html")] == order
    assert [method for method, _ in lines_of(site, "index.html")] == [*order, "always-uniform", "nld-underdamped"]


def test_contents_and_suites_begin_with_the_headline_suite(tmp_path):
    runs = committed_runs()
    with_runs = [suite for suite in SUITES if any(run.spec.suite == suite for run in runs)]
    chosen = [next(run for run in runs if run.spec.suite == suite) for suite in sorted(with_runs)]
    text = (build_site(chosen, tmp_path / "site").parent / "index.html").read_text(encoding="utf-8")
    assert next(iter(SUITES)) == "jumping"
    assert re.findall(r'<h2 id="suite-([^"]*)"', text) == with_runs
    contents = re.search(r'<nav class="contents".*?</nav>', text, re.DOTALL)[0]
    assert re.findall(r'href="#suite-([^"]*)"', contents) == with_runs
    assert len(re.findall(r'href="tasks/', contents)) == len(chosen)


def test_all_that_cannot_be_told_from_the_best_are_marked(tmp_path):
    site = built(
        tmp_path,
        *seeds_of("nld-overdamped", 0.9, 0.8, 0.85),
        *seeds_of("nld-underdamped", 0.7, 0.8, 0.85),
        *seeds_of("always-uniform", 0.1, 0.1, 0.1),
        (spec("nsde", 1), 0.95, {}),  # one seed: not compared
    )
    for page in PAGES:
        lines = lines_of(site, page)
        assert [method for method, _ in lines] == ["nsde", "nld-overdamped", "nld-underdamped", "always-uniform"]
        assert [method for method, line in lines if 'class="best"' in line] == ["nld-overdamped", "nld-underdamped"]
        assert all("*</span>" in line for _, line in lines)  # fewer than five seeds
        assert "all equal" in lines[-1][1]
