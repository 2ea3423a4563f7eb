"""The leaderboard site as a browser shows it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from leaderboard_runs import HOSTILE, pick

from bisimgym.benchmarks.report.summary import summarize


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


PIXEL = """
const canvas = document.querySelector("figure.replay canvas");
const place = [...arguments].map((unit) => (unit + 0.5) * canvas.width / 6);
return [...canvas.getContext("2d").getImageData(...place, 1, 1).data].slice(0, 3);
"""
COLOR = r"""
const probe = document.querySelector("figure.replay .told");
probe.style.color = `var(${arguments[0]})`;
const color = getComputedStyle(probe).color.match(/\d+/g).map(Number);
probe.style.color = "";
return color;
"""


def test_episodes_are_replayed_by_mouse_and_by_keyboard(browser, site):
    from selenium.webdriver.support.wait import WebDriverWait

    show(browser, site / "tasks/jumping/wide.html")
    (card,) = browser.find_elements("css selector", ".replays .card")
    assert card.get_attribute("data-method") == "randconv-pse"
    told = card.find_element("css selector", ".told")
    choice, slider = card.find_element("tag name", "select"), card.find_element("css selector", "input[type=range]")
    back, play, forward = card.find_elements("tag name", "button")
    assert told.text == "Step 0 of 5, next: right"

    def color_at(x, y):
        return browser.execute_script(PIXEL, x, y)

    def color_of(name):
        return browser.execute_script(COLOR, name)

    assert color_at(0, 1) == color_at(0, 2) == color_of("--replay-agent")
    assert color_at(3, 3) == color_of("--replay-wall")
    assert color_at(5, 1) == color_of("--replay-goal")
    assert color_at(1, 1) == color_of("--empty")
    forward.click()
    forward.send_keys("\ue007")  # Enter
    assert told.text == "Step 2 of 5, next: right"
    assert color_at(0, 1) != color_at(2, 1) == color_of("--replay-agent")
    back.send_keys(" ")
    slider.send_keys("\ue014")  # right arrow
    assert told.text == "Step 2 of 5, next: right"
    play.click()
    assert play.accessible_name == "Pause"
    WebDriverWait(browser, 60).until(lambda _: told.text == "Step 5 of 5, solved")
    assert play.accessible_name == "Play"
    browser.execute_script("arguments[0].click(); arguments[0].click()", play)  # from the start again, and no further
    assert told.text == "Step 0 of 5, next: right"
    assert play.accessible_name == "Play"

    assert HOSTILE in choice.text
    choice.send_keys("the second")
    assert told.text == "Step 0 of 2, next: wait"
    for _ in range(3):
        forward.click()
    assert told.text == "Step 2 of 2, not solved"
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    light = color_at(0, 0)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    # The page hears of it in a task of its own.
    WebDriverWait(browser, 60).until(lambda _: color_at(0, 0) == color_of("--replay-red") != light)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert browser.execute_script("return window.hacked") is None
    card.find_element("link text", "as JSON").click()
    assert json.loads(browser.find_element("tag name", "body").text)["width"] == 6


def test_what_rows_took(browser, site):
    show(browser, site / "compute.html")
    row = browser.find_element("css selector", "tr[data-method=randconv-pse]").text.split("\n")
    text = " ".join(row)
    assert "Wide grid paper 3 1,500 1 min 15 s 1.5 GiB cpu, bfloat16, 2 threads" in text


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
