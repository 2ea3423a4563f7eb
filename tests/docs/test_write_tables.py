"""The tables of the documentation are what the committed results generate."""

import pytest
import write_tables

from bisimgym.benchmarks.suites import SUITES


def test_committed_pages_have_the_tables_of_committed_results():
    texts = write_tables.all_tables()
    assert write_tables.stale_files(texts) == [], "run docs/tools/write_tables.py"
    names = set().union(*(write_tables.filled(texts, write_tables.ROOT / page)[1] for page in write_tables.PAGES))
    # Only these may be in no page.
    assert set(texts) - names == {f"measures of {suite}" for suite in SUITES} & set(texts) - {"measures of markov"}
    name = next(name for name in texts if name in names)
    assert write_tables.stale_files({**texts, name: "another"}) != []


def test_every_page_with_a_marker_is_among_the_pages():
    root = write_tables.ROOT
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    marked = {
        page.relative_to(root).as_posix() for page in pages if "<!-- results " in page.read_text(encoding="utf-8")
    }
    assert marked == {*write_tables.PAGES, "docs/statistics.md"}  # interval_coverage.py writes that one


def test_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- results one -->\nold\n<!-- end results -->\nb\n<!-- results two -->\n<!-- end results -->\n"
    )
    before = page.read_text()
    with pytest.raises(ValueError, match="no table for two; there are one"):
        write_tables.write_between_markers({"one": "1"}, page)
    assert page.read_text() == before
    assert write_tables.write_between_markers({"one": "1", "two": "2", "three": "3"}, page) == {"one", "two"}
    assert page.read_text() == (
        "a\n<!-- results one -->\n\n1\n<!-- end results -->\nb\n<!-- results two -->\n\n2\n<!-- end results -->\n"
    )
