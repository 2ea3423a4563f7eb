"""The leaderboard site: what its files hold."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from leaderboard_runs import FORMULA, SUITE, pick, write_run
from markupsafe import escape
from PIL import Image

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report.leaderboard import build_site, charts, export, grids, views
from bisimgym.benchmarks.report.leaderboard.slugs import slugs
from bisimgym.benchmarks.report.summary import number, published_text, summarize
from bisimgym.benchmarks.running.run_folder import find_runs, sealed, write_json
from bisimgym.benchmarks.suites.base import EXTERNAL, make_spec


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Page(HTMLParser):
    """The addresses, anchors, tags and attributes of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.attributes |= set(values)
        self.links += [values[name] or "" for name in ("href", "src") if name in values]
        self.ids += [values["id"] or ""] if "id" in values else []


def test_every_address_is_relative_and_leads_somewhere(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) == 3 + 3 + 7  # index, compute and submit; tasks; methods, variant and outside agents
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.links:
            address, _, anchor = link.partition("#")
            assert re.fullmatch(r"[A-Za-z0-9._/-]*", address), link
            target = (path.parent / address).resolve() if address else path
            assert target.is_file(), f"{path}: {link}"
            assert target.is_relative_to(site), f"{path}: {link}"
            assert not anchor or anchor in pages[target].ids, f"{path}: {link}"


def test_hostile_names_stay_text(site):
    for path in site.rglob("*.html"):
        page = Page(path)
        assert not {name for name in page.attributes if name.startswith("on")}, path
        assert "style" not in page.attributes, "the content security policy forbids inline styles"
        text = path.read_text(encoding="utf-8")
        data = text.count('<script type="application/json">')  # which no browser runs
        assert text.count("<script") == 1 + ("tasks" in path.parts) + data, path
        assert "<img src=x" not in text, path
    assert "&lt;img src=x" in (site / "index.html").read_text(encoding="utf-8")
    for path in site.rglob("*"):
        assert re.fullmatch(r"[a-z0-9._-]+", path.name), path


def test_the_same_runs_give_the_same_files(runs, site, tmp_path):
    assert files_of(build_site(runs, tmp_path / "again").parent) == files_of(site)


def test_a_site_is_replaced_and_anything_else_is_refused(runs, site, tmp_path):
    few, out = runs[:2], tmp_path / "site"
    out.mkdir()
    build_site(runs, out)
    build_site(few, out)
    assert len(list((out / "data").rglob("run.json"))) == 2

    (out / "CNAME").write_text("example.org")
    with pytest.raises(UserError, match="CNAME"):
        build_site(few, out)
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("words")
    for bad in (foreign, foreign / "chapter.tex", foreign / "chapter.tex" / "site"):
        with pytest.raises(UserError, match="another --out") as caught:
            build_site(few, bad)
        assert "\n" not in str(caught.value)
    link = tmp_path / "link"
    link.symlink_to(foreign, target_is_directory=True)
    with pytest.raises(UserError, match="not a site of bisimgym"):
        build_site(few, link)
    assert files_of(foreign) == {"chapter.tex": b"words"}
    link.unlink()
    (out / "CNAME").unlink()
    link.symlink_to(out, target_is_directory=True)
    build_site(few[:1], link)
    assert link.is_symlink()
    assert len(list((out / "data").rglob("run.json"))) == 1
    link.unlink()
    with pytest.raises(UserError, match="no finished runs"):
        build_site([], tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["site", "thesis"]


def test_a_failed_build_leaves_the_old_site(runs, tmp_path, monkeypatch):
    out = build_site(runs[:1], tmp_path / "site").parent
    before = files_of(out)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_csv", full)
    with pytest.raises(UserError, match="No space left"):
        build_site(runs, out)
    assert files_of(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def section_of(page: str, preset: str) -> str:
    return re.search(rf'<table[^>]*data-preset="{preset}".*?</table>', page, re.DOTALL)[0]


def cell_of(table: str, method: str, task: str) -> str:
    line = re.search(rf'<tr data-method="{re.escape(method)}">.*?</tr>', table, re.DOTALL)[0]
    return re.search(rf'<td[^>]*data-task="{task}".*?</td>', line, re.DOTALL)[0]


def test_the_overview_shows_the_rows_numbers(runs, site):
    index = (site / "index.html").read_text(encoding="utf-8")
    shown = summarize(runs)
    assert len(shown) == 10
    for row in shown:
        preset = "paper" if row.outside else row.preset
        cell = cell_of(section_of(index, preset), str(escape(row.method)), row.task)
        words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", cell))
        assert f" {number(SUITE, row.mean)} " in words
        assert f"{len(row.runs)} seed{'s' if len(row.runs) > 1 else ''}* " in words
        if row.interval:
            assert "{}–{}".format(*(number(SUITE, edge) for edge in row.interval)) in words
        else:
            assert "–" not in words
            assert "whisker" not in cell
        if "score" in row.published:
            assert f"{published_text(SUITE, row.published['score'])} " in words
        if "paper_rule" in row.measures:
            assert f"by the paper&#39;s rule {number(SUITE, row.measures['paper_rule'])} " in words


def test_presets_and_variants_are_kept_apart(runs, site):
    index = (site / "index.html").read_text(encoding="utf-8")
    smoke, paper = section_of(index, "smoke"), section_of(index, "paper")
    assert re.findall('<tr data-method="([^"]*)"', smoke) == ["pse"]
    methods = re.findall('<tr data-method="([^"]*)"', paper)
    own = {"dropout-l2", "pse", "pse@alignment.weight=7.0", "randconv-pse"}
    assert own < set(methods)
    assert '<span class="chip">alignment.weight = 7.0</span>' in paper


def test_an_outside_agent_is_not_compared_with_the_method_whose_name_it_took(runs, site):
    row = pick(runs, "wide", "randconv-psm-l2", EXTERNAL)
    assert pick(runs, "wide", "randconv-pse").published
    assert not row.published
    assert views.description_of(SUITE, row.runs) == "Outside agent"
    assert views.description_of(SUITE, pick(runs, "wide", "hostile", EXTERNAL).runs).startswith("<script>")
    assert views.reproduce([row]) == []


def test_raw_files_and_csv(runs, site):
    copied = {path.read_bytes() for path in (site / "data").rglob("result.json")}
    assert copied == {(run.path / "result.json").read_bytes() for run in runs}
    with (site / "data" / "runs.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(runs)
    for line, run in zip(lines, runs, strict=True):
        assert float(line["score"]) == run.score
        assert line["paper_rule"] == str(run.scores.get("paper_rule", ""))
        assert line["variant"] == (json.dumps(dict(run.spec.variant)) if run.spec.variant else "")
        assert not any(re.match(r"[=+@\t\r-]", cell) for cell in line.values())


def test_cells_of_the_csv_are_no_formulas(runs, tmp_path):
    formula = dataclasses.replace(runs[0], spec=dataclasses.replace(runs[0].spec, preset=FORMULA))
    export.write_csv([formula], tmp_path / "runs.csv")
    assert f",'{FORMULA}," in (tmp_path / "runs.csv").read_text()


def test_pictures_of_the_first_seed_that_has_any_are_shown(tmp_path):
    for seed in (1, 2, 3):
        write_run(tmp_path / "runs", make_spec(SUITE, "wide", "pse", "paper", seed), 0.5)
    for seed in (2, 3):
        path = tmp_path / f"runs/jumping/wide/pse/paper/seed-{seed}"
        (path / "pictures").mkdir()
        for name in ("1_drift", "2_wells", "12"):
            Image.new("RGB", (4, 3)).save(path / "pictures" / f"{name}.png")
        (path / "pictures/notes.txt").write_text("no picture")
        write_json(path / "result.json", sealed(path, json.loads((path / "result.json").read_text())))
    runs = find_runs([tmp_path / "runs"])
    site = build_site(runs, tmp_path / "site").parent
    text = (site / "tasks/jumping/wide.html").read_text()
    shown = [link for link in Page(site / "tasks/jumping/wide.html").links if link.endswith(".png")]
    assert len(shown) == 2 * 3  # a picture and a link to it
    assert all("/seed-2/" in link and (site / "tasks/jumping" / link).resolve().is_file() for link in shown)
    titles = re.findall("<figcaption>(.*?)</figcaption>", text[text.index("<h3>Pictures") :])
    assert titles == ["12", "Drift", "Wells"]
    assert len(list(site.rglob("picture-*.png"))) == 6
    without = build_site(runs[:1], tmp_path / "site").parent / "tasks/jumping/wide.html"
    assert "<h3>Pictures" not in without.read_text()


def test_pages_of_many_rows_show_the_first_and_say_where_all_are(runs, tmp_path):
    site = build_site(runs, tmp_path / "site", views.Limits(rows=3, drawn_rows=2, runs=2, drawn_seeds=2)).parent
    ours = [row for row in summarize(runs) if row.task == "wide" and row.preset in ("paper", EXTERNAL)]
    text = section_of((site / "tasks/jumping/wide.html").read_text(encoding="utf-8"), "paper")
    assert len(re.findall('<tr data-method="', text)) == 3
    page = (site / "tasks/jumping/wide.html").read_text(encoding="utf-8")
    assert re.search(rf'The first 3 of {len(ours)} rows; <a href="../../data/runs.csv">all runs as CSV', page)
    assert re.search(rf"The first 2 of {len(ours)} rows are drawn", page)
    assert "First 2 of 3 seeds" in page
    method = (site / "methods/jumping/randconv-pse.html").read_text(encoding="utf-8")
    assert "The first 2 of 5 runs" in method
    assert len(re.findall('<tr data-task="', method)) == 2
    assert len(list((site / "data").rglob("result.json"))) == len(runs)


def test_the_same_outcomes_under_all_seeds_are_one_observation(runs):
    row = pick(runs, "wide", "randconv-pse")
    assert views.repeated([row]) == []
    same = dataclasses.replace(row, runs=[row.runs[0], dataclasses.replace(row.runs[1], outcomes=row.runs[0].outcomes)])
    assert views.repeated([same]) == ["All 2 runs on wide have the same outcomes: count them as one observation."]


def test_reproduce_names_task_seeds_and_variant(runs):
    row = pick(runs, "wide", "pse@alignment.weight=7.0")
    assert views.reproduce([row]) == [
        "bisimgym run jumping --task wide --method pse --seeds 1 --preset paper --set alignment.weight=7.0 --out runs"
    ]


def test_slugs_are_safe_and_never_collide():
    names = ["pse", "PSE", "Pse", "a/b", "a b", "..", "", "index", "x" * 300, "é", "\ud800", "a-"]
    names.append(slugs(["a b"])["a b"])  # the very slug of another name
    found = slugs(names)
    assert set(found) == set(names)
    assert len({slug.lower() for slug in found.values()}) == len(names)
    assert found["pse"] == "pse"
    assert all(re.fullmatch(r"[a-z0-9_-][a-z0-9._-]*", slug) and len(slug) < 140 for slug in found.values())
    assert "index" not in found.values()


def test_axes_have_round_ticks():
    assert charts.nice_ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert charts.nice_ticks(0, 18900) == [0, 5000, 10000, 15000, 20000]
    assert charts.nice_ticks(0, 0) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert charts.nice_ticks(-3, 7) == [-4, -2, 0, 2, 4, 6, 8]
    assert [charts.short_number(x) for x in (0, 0.25, 500, 2500, 3e6)] == ["0", "0.25", "500", "2.5k", "3M"]


def test_curves_show_mean_and_band_and_pass_over_damage(runs):
    row = pick(runs, "wide", "randconv-pse")
    (series,) = charts.learning_curves(SUITE, [row]).series
    assert len(series.lines) == 1
    assert len(series.lines[0].split()) == 3
    assert len(series.band.split()) == 6
    bottom = charts.HEIGHT - charts.BOTTOM
    mean = np.mean([run.score for run in row.runs])
    assert series.end[1] == pytest.approx(bottom - mean * (bottom - charts.TOP), abs=0.06)

    single = pick(runs, "wide", "dropout-l2").runs[0]
    damage = [{"updates": "x", "score": 1.0}, {"score": 1.0}, 3, {"updates": 1, "score": float("nan")}]
    damaged = charts.learning_curves(SUITE, summarize([dataclasses.replace(single, curve=[*damage, *single.curve])]))
    assert len(damaged.series[0].lines[0].split()) == 3
    assert damaged.series[0].band == ""
    assert charts.learning_curves(SUITE, [pick(runs, "wide", "hostile", EXTERNAL)]) is None
    level = summarize([dataclasses.replace(single, curve=[{"updates": 0, "score": 0.25}])])
    assert charts.learning_curves(SUITE, level) is None
    other = dataclasses.replace(level[0], method="other")
    _, line = charts.learning_curves(SUITE, [row, other]).series
    (start, end) = line.lines[0].split()
    assert start.split(",")[1] == end.split(",")[1]
    assert float(start.split(",")[0]) < float(end.split(",")[0])


def test_grids_show_the_median_seed_and_the_mean(runs):
    row = pick(runs, "wide", "randconv-pse")
    (card,) = grids.grid_cards(SUITE, [row], 5)
    median, mean = card.main
    assert median.title == "Median seed (3)"
    assert median.unseen == pytest.approx(row.runs[2].score)
    assert mean.unseen == pytest.approx(row.mean)
    assert [len(grid.cells) for grid in card.seeds] == [286] * 3
    assert [(c.x, c.y) for c in mean.cells[:2]] == [(20, 20), (21, 20)]
    assert mean.cells[-1].x == 45
    assert mean.cells[-1].y == 10

    assert grids.median_run(row.runs[:2]) is row.runs[0]
    (colors,) = grids.grid_cards(SUITE, [pick(runs, "colors", "pse")], 5)
    assert [grid.part for grid in colors.main] == ["red", "red", "green", "green"]
    (random,) = grids.grid_cards(SUITE, [pick(runs, "random", "randconv-pse")], 5)
    assert {cell.trained for cell in random.main[1].cells} - {1.0} == {0.0, 0.5}
