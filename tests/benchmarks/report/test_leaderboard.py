"""The leaderboard site: what its files hold, and how a browser shows them."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report.leaderboard import build_site, charts, export, grids, views
from bisimgym.benchmarks.report.leaderboard.slugs import slugs
from bisimgym.benchmarks.report.summary import Row, number, published_text, summarize
from bisimgym.benchmarks.running.run_folder import RunFolder, RunResult, find_runs, sealed, write_json
from bisimgym.benchmarks.suites import jumping, load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Outcome, Spec, make_spec

SUITE = load_suite("jumping")
HOSTILE = '<img src=x onerror="window.hacked=1">'
FORMULA = "=HYPERLINK(0)"
MACHINE = {"device": "cpu", "precision": "bfloat16", "threads": 2}


def write_run(out: Path, spec: Spec, solves: float, **run: object) -> None:
    """Write a finished run that solves about a fraction of the tasks."""
    count = 286 * (2 if spec.task == "colors" else 1)
    solved = np.random.default_rng([spec.seed, count]).random(count) < solves
    columns = jumping.columns(spec.task, spec.seed, solved)
    if spec.method == "randconv-pse":
        columns["paper_rule_solved"] = (4 * solved + 1).tolist()
    scores = jumping.scores(columns)
    score = scores.pop("score")
    folder = RunFolder(out, spec)
    folder.path.mkdir(parents=True)
    folder.start({"versions": {"python": "3.11.0"}, **run})
    if spec.preset != EXTERNAL:
        for part in (1, 2, 3):
            folder.log({"updates": 500 * part, "score": score * part / 3, "seconds": 1.5 * part})
    folder.finish(
        Outcome(score, scores, columns), False, {"train_seconds": 75.0, "finished": "2025-01-02T03:04:05+00:00"}
    )


def outside(task: str, name: str) -> Spec:
    return Spec("jumping", SUITE.version, task, name, EXTERNAL, 1, {}, {"budget": 0})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunResult]:
    out = tmp_path_factory.mktemp("runs")
    for seed, solves in ((1, 0.2), (2, 0.9), (3, 0.7)):
        write_run(out, make_spec(SUITE, "wide", "randconv-pse", "paper", seed), solves, machine=MACHINE)
    for seed in (1, 2):
        write_run(out, make_spec(SUITE, "wide", "pse", "paper", seed), 0.3, machine=MACHINE)
        write_run(out, make_spec(SUITE, "random", "randconv-pse", "paper", seed), 0.8)
        write_run(out, make_spec(SUITE, "colors", "pse", "paper", seed), 0.4)
    write_run(out, make_spec(SUITE, "wide", "dropout-l2", "paper", 1), 0.1)
    write_run(out, make_spec(SUITE, "wide", "pse", "smoke", 1), 0.95)
    write_run(out, make_spec(SUITE, "wide", "pse", "paper", 1, {"alignment.weight": 7.0}), 0.5)
    write_run(out, outside("wide", "hostile"), 0.4, description=f"<script>window.hacked=2</script>{HOSTILE}")
    write_run(out, outside("wide", "other"), 0.3)
    write_run(out, outside("wide", "randconv-psm-l2"), 0.2)  # takes the name of a method
    return find_runs([out])


@pytest.fixture(scope="module")
def site(runs: list[RunResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(runs, tmp_path_factory.mktemp("built") / "site").parent


def pick(runs: list[RunResult], task: str, method: str, preset: str = "paper") -> Row:
    rows = [row for row in summarize(runs) if (row.task, row.method, row.preset) == (task, method, preset)]
    assert len(rows) == 1
    return rows[0]


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


# The files


def test_every_address_is_relative_and_leads_somewhere(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) == 2 + 3 + 7  # index and submit; tasks; methods, variant and outside agents
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
        assert text.count("<script") == 1, path
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


def test_reproduce_names_task_seeds_and_variant(runs):
    row = pick(runs, "wide", "pse@alignment.weight=7.0")
    assert views.reproduce([row]) == [
        "bisimgym run jumping --task wide --method pse --seeds 1 --preset paper --set alignment.weight=7.0 --out runs"
    ]


# Pure functions


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
    (card,) = grids.grid_cards(SUITE, [row])
    median, mean = card.main
    assert median.title == "Median seed (3)"
    assert median.unseen == pytest.approx(row.runs[2].score)
    assert mean.unseen == pytest.approx(row.mean)
    assert [len(grid.cells) for grid in card.seeds] == [286] * 3
    assert [(c.x, c.y) for c in mean.cells[:2]] == [(20, 20), (21, 20)]
    assert mean.cells[-1].x == 45
    assert mean.cells[-1].y == 10

    assert grids.median_run(row.runs[:2]) is row.runs[0]
    (colors,) = grids.grid_cards(SUITE, [pick(runs, "colors", "pse")])
    assert [grid.part for grid in colors.main] == ["red", "red", "green", "green"]
    (random,) = grids.grid_cards(SUITE, [pick(runs, "random", "randconv-pse")])
    assert {cell.trained for cell in random.main[1].cells} - {1.0} == {0.0, 0.5}


# The browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver_path = shutil.which("chromedriver")
    if not (chromium and driver_path):
        if "CI" in os.environ:
            pytest.fail("CI must have chromium and chromedriver on its path")
        pytest.skip("no chromium with chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = (
        "headless=new no-sandbox disable-gpu no-first-run disable-background-networking disable-component-update "
        "disable-sync disable-dev-shm-usage window-size=1280,900"
    )
    for flag in flags.split():
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    yield driver
    driver.quit()


def show(browser, path: Path) -> None:
    browser.get(path.as_uri())


def methods_shown(browser, preset: str = "paper") -> list[str]:
    rows = browser.find_elements("css selector", f"table.sortable[data-preset={preset}] tbody tr")
    return [row.get_attribute("data-method") for row in rows]


def test_tables_sort_by_click_and_by_keyboard(browser, runs, site):
    show(browser, site / "index.html")
    wide = {row.method: row.mean for row in summarize(runs) if row.task == "wide" and row.preset != "smoke"}
    best_first = sorted(wide, key=lambda method: -wide[method])
    assert methods_shown(browser) == best_first  # before any click
    heads = browser.find_elements("css selector", "table.sortable[data-preset=paper] thead th")
    button = heads[1].find_element("tag name", "button")
    assert button.text == "Wide grid"
    assert heads[1].get_attribute("aria-sort") == "descending"
    button.click()
    assert methods_shown(browser) == best_first[::-1]
    assert heads[1].get_attribute("aria-sort") == "ascending"
    button.send_keys("\ue007")  # Enter
    assert methods_shown(browser) == best_first
    assert heads[1].get_attribute("aria-sort") == "descending"

    heads[0].find_element("tag name", "button").send_keys(" ")
    assert methods_shown(browser) == sorted(wide)
    assert heads[1].get_attribute("aria-sort") is None
    for _ in range(2):  # missing values stay last
        heads[2].find_element("tag name", "button").click()
        assert methods_shown(browser)[0] == "randconv-pse"


def test_links_lead_from_overview_to_raw_files(browser, site):
    show(browser, site / "index.html")
    browser.find_element("link text", "curves and details").click()
    assert browser.find_element("tag name", "h1").text == "Wide grid"
    browser.find_element("css selector", "table").find_element("link text", "randconv-pse").click()
    assert browser.find_element("tag name", "h1").text == "randconv-pse"
    assert "bfloat16, 2 threads" in browser.find_element("css selector", "table.runs").text
    browser.find_element("link text", "result").click()
    assert json.loads(browser.find_element("tag name", "body").text)["method"] == "randconv-pse"


CELLS = """
const card = [...document.querySelectorAll("article.card")].find((card) => card.dataset.method === arguments[0]);
const grid = card.querySelectorAll("svg.grid")[arguments[1]];
return [...grid.querySelectorAll("[data-x]")].map((cell) => {
  const place = cell.getBBox();
  return [cell.dataset.x, cell.dataset.y, cell.dataset.solved, cell.dataset.trained, place.x, place.y,
          getComputedStyle(cell).fillOpacity].map(Number);
});
"""


def test_the_grid_shows_the_outcomes(browser, runs, site):
    row = pick(runs, "wide", "randconv-pse")
    show(browser, site / "tasks/jumping/wide.html")
    columns = ("obstacle_position", "floor_height", "solved", "trained")
    for at, shown in ((0, [row.runs[2]]), (1, row.runs), (2, [row.runs[0]])):  # median, mean, first seed
        cells = browser.execute_script(CELLS, "randconv-pse", at)
        expected: dict[tuple[int, int], list] = {}
        for run in shown:
            for p, f, solved, trained in zip(*(run.outcomes[name] for name in columns), strict=True):
                expected.setdefault((p, f), []).append((solved, trained))
        assert len(cells) == len(expected) == 286
        for p, f, solved, trained, x, y, opacity in cells:
            pairs = np.array(expected[p, f], dtype=float)
            assert [solved, trained] == pytest.approx(pairs.mean(axis=0), abs=1e-3)
            assert opacity == pytest.approx(solved, abs=5e-3)
            assert (x, y) == (p - 20, 20 - f)
    show(browser, site / "tasks/jumping/colors.html")
    assert len(browser.find_elements("css selector", "figure[data-part=green]")) == 2 + 2


def test_a_hostile_agent_runs_nothing(browser, site):
    method = next((site / "methods" / "jumping").glob("hostile.html"))
    for path in (site / "index.html", method):
        show(browser, path)
        assert HOSTILE in browser.find_element("tag name", "main").text
        assert browser.execute_script("return window.hacked") is None
    assert "<script>window.hacked=2</script>" in browser.find_element("css selector", ".lead").text


def test_pages_ask_for_nothing_and_complain_of_nothing(browser, site):
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # forget earlier tests
    for path in sorted(site.rglob("*.html")):
        show(browser, path)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert addresses
    assert {address for address in addresses if not address.startswith(site.as_uri())} == set()


def test_pages_fit_a_narrow_screen(browser, site):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for path in sorted(site.rglob("*.html")):
        show(browser, path)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, path
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_pages_read_without_javascript(browser, site):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, site / "index.html")
        assert browser.find_elements("css selector", "thead button") == []
        assert len(browser.find_elements("css selector", "table.overview")) == 2
        assert "Wide grid" in browser.find_element("css selector", "thead").text
        show(browser, site / "tasks/jumping/wide.html")
        assert len(browser.find_elements("css selector", "svg.curves polyline")) == 5
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
