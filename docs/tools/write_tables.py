"""Writes the tables of the documentation from the committed results, between the markers of its pages.

pip install ".[all]"
python docs/tools/write_tables.py [PAGE ...]
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import langevin_trade
from distracting_pictures import preset_markdown

from bisimgym.baselines.core.atomic_write import atomic_write
from bisimgym.baselines.core.replacing import followed
from bisimgym.benchmarks.report import summary, tables
from bisimgym.benchmarks.running.run_folder import committed_runs
from bisimgym.benchmarks.speed import harness

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/control.md",
    "docs/distracting_control.md",
    "docs/fidelity.md",
    "docs/langevin.md",
    "docs/lqr.md",
    "docs/methods/speed.md",
    "docs/metrics.md",
    "docs/nav2d.md",
    "docs/pixels.md",
)
#: Files of figures by the topic of ``bisimgym speed`` that wrote them.
FIGURES = {
    "agents": "agent_speed.json",
    "metrics": "metric_speed.json",
    "distracting": "distracting_speed.json",
    "langevin": "langevin_speed.json",
    "pretraining": "pretraining_speed.json",
    "pixels": "pixel_speed.json",
}
_BETWEEN = re.compile(r"<!-- results ([^>]+?) -->.*?<!-- end results -->", re.DOTALL)


def all_tables() -> dict[str, str]:
    """Return every table that a page may show as Markdown, by the name of its marker."""
    texts = {"presets": preset_markdown()}
    for topic, name in FIGURES.items():
        figures = json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))
        texts |= harness.markdown(topic, figures)
    runs = committed_runs()
    texts["path weights of markov"] = langevin_trade.pair_table(runs)
    texts["sequences of markov"] = langevin_trade.sequence_table(runs)
    by_suite = defaultdict(list)
    for row in summary.summarize(runs):
        by_suite[row.suite].append(row)
    for suite, rows in by_suite.items():
        texts[suite] = tables.markdown_table(rows)
        texts[f"measures of {suite}"] = tables.measures_table(rows)
    return texts


def write_between_markers(texts: Mapping[str, str], *paths: Path) -> set[str]:
    """Replace what stands between ``<!-- results NAME -->`` and ``<!-- end results -->``, and return the names there.

    Raises:
        ValueError: if a page has a marker that no text is for. Nothing has been written then.
    """
    written = set()
    pages = {}
    for path in paths:
        page = path.read_text(encoding="utf-8")
        names = _BETWEEN.findall(page)
        if unknown := set(names) - set(texts):
            raise ValueError(f"{path}: no table for {', '.join(sorted(unknown))}; there are {', '.join(texts)}")
        written |= set(names)
        pages[path] = _BETWEEN.sub(
            lambda match: f"<!-- results {match[1]} -->\n\n{texts[match[1]]}\n<!-- end results -->", page
        )
    for path, page in pages.items():
        with atomic_write(followed(path)) as temporary:
            temporary.write_text(page, encoding="utf-8")
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables of some pages, or of all."""
    parser = argparse.ArgumentParser(description="Write the tables of the documentation from the committed results.")
    parser.add_argument("pages", nargs="*", metavar="PAGE", type=Path, help="default: all that have tables")
    pages = parser.parse_args(arguments).pages or [ROOT / page for page in PAGES]
    for name in sorted(write_between_markers(all_tables(), *pages)):
        print(name)


if __name__ == "__main__":
    main()
