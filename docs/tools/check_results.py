"""Reads all committed results again and says whether they give the committed tables and pages, exactly.

pip install ".[all]"
python docs/tools/check_results.py   # two to three minutes on one core, most of them for docs/statistics.md

Every run is checked as a stranger's is (seals, bounds, scores that follow from outcomes). Then all tables are made anew
and compared with those of the pages, and the leaderboard is built twice, to the same bytes. Exit code 1 if anything is
stale.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import interval_coverage
import write_tables

from bisimgym.benchmarks.report.leaderboard import build_site
from bisimgym.benchmarks.running.run_folder import committed_runs


def stale() -> Iterator[str]:
    """Yield what is not what the committed results give."""
    runs = committed_runs()
    print(f"{len(runs)} runs are sound", flush=True)
    texts = write_tables.all_tables()
    for page in write_tables.stale_files(texts):
        yield f"{page}: run docs/tools/write_tables.py"
    print(f"{len(texts)} tables are made, for {len(write_tables.PAGES)} pages", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        sites = [build_site(runs, Path(scratch, name)).parent for name in ("one", "two")]
        first, second = ({file.relative_to(site): file for file in site.rglob("*") if file.is_file()} for site in sites)
        if set(first) != set(second):
            yield "two leaderboards of the same runs have other files"
        for name in sorted(set(first) & set(second)):
            if first[name].read_bytes() != second[name].read_bytes():
                yield f"{name} of the leaderboard differs from one time to the next"
        print(f"{len(first)} files of the leaderboard are the same twice", flush=True)
    page = interval_coverage.PAGE
    if write_tables.filled(interval_coverage.both_tables(), page)[0] != page.read_text(encoding="utf-8"):
        yield f"{page.name}: run docs/tools/interval_coverage.py"


def main() -> int:
    """Print what is stale and return the exit code."""
    found = list(stale())
    for line in found:
        print(f"stale: {line}", file=sys.stderr)
    print("stale" if found else "all tables and pages are what the committed results give")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
