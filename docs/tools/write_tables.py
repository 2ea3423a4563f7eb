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
import nav2d_pictures
import tuning
from distracting_pictures import preset_markdown
from pruning_pictures import published_table

from bisimgym.benchmarks.report import across, papers, summary, tables
from bisimgym.benchmarks.running.run_folder import committed_runs
from bisimgym.benchmarks.speed import harness
from bisimgym.benchmarks.submissions.model import schema_text
from bisimgym.benchmarks.suites import load_suite
from bisimgym.envs.files import atomic_write, followed

ROOT = Path(__file__).parents[2]
PAGES = (
    "docs/across_tasks.md",
    "docs/control.md",
    "docs/distracting_control.md",
    "docs/driving.md",
    "docs/fidelity.md",
    "docs/jumping.md",
    "docs/langevin.md",
    "docs/lqr.md",
    "docs/methods/speed.md",
    "docs/metrics.md",
    "docs/nav2d.md",
    "docs/papers.md",
    "docs/pixels.md",
    "docs/pruning.md",
    "docs/manipulation.md",
)
#: The JSON schema of submissions, which the package generates.
SCHEMA = "docs/submission.schema.json"
#: Files of figures by the topic of ``bisimgym speed`` that wrote them.
FIGURES = {
    "agents": "agent_speed.json",
    "metrics": "metric_speed.json",
    "distracting": "distracting_speed.json",
    "langevin": "langevin_speed.json",
    "pretraining": "pretraining_speed.json",
    "pixels": "pixel_speed.json",
    "pruning": "pruning_speed.json",
    "envpool": "envpool_speed.json",
    "driving": "driving_speed.json",
    "manipulation": "manipulation_speed.json",
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
    texts["curves of nav2d"] = nav2d_pictures.table_of_curves(
        nav2d_pictures.curves(runs, "short"), (1000, 2000, 3000, 4000)
    )
    by_suite = defaultdict(list)
    summarized = summary.summarize(runs)
    texts["papers"] = papers.markdown(summarized)
    for row in summarized:
        by_suite[row.suite].append(row)
    texts["published pruning"] = published_table(summarized)
    texts["tuning of small-images"] = tuning.weights_table("small-images")
    texts["across tasks"] = "\n".join(
        f"### {load_suite(suite).title}\n\n{table}"
        for suite, rows in by_suite.items()
        if (table := across.markdown(load_suite(suite), rows))
    )
    for suite, rows in by_suite.items():
        texts[suite] = tables.markdown_table(rows)
        texts[f"measures of {suite}"] = tables.measures_table(rows)
    return texts


def filled(texts: Mapping[str, str], path: Path) -> tuple[str, set[str]]:
    """Return a page with the texts between its markers, and their names."""
    page = path.read_text(encoding="utf-8")
    names = set(_BETWEEN.findall(page))
    if unknown := names - set(texts):
        raise ValueError(f"{path}: no table for {', '.join(sorted(unknown))}; there are {', '.join(texts)}")

    def between(match: re.Match[str]) -> str:
        return f"<!-- results {match[1]} -->\n\n{texts[match[1]]}\n<!-- end results -->"

    return _BETWEEN.sub(between, page), names


def stale_files(texts: Mapping[str, str]) -> list[str]:
    """Return the pages, and the schema, that are not what the committed results and the package generate."""
    pages = [page for page in PAGES if filled(texts, ROOT / page)[0] != (ROOT / page).read_text(encoding="utf-8")]
    fresh = (ROOT / SCHEMA).read_text(encoding="utf-8") == schema_text()
    return pages if fresh else [*pages, SCHEMA]


def write_between_markers(texts: Mapping[str, str], *paths: Path) -> set[str]:
    """Replace what stands between ``<!-- results NAME -->`` and ``<!-- end results -->``, and return the names there.

    Raises:
        ValueError: if a page has a marker that no text is for. Nothing has been written then.
    """
    written: set[str] = set()
    pages = {}
    for path in paths:
        pages[path], names = filled(texts, path)
        written |= names
    for path, page in pages.items():
        with atomic_write(followed(path)) as temporary:
            temporary.write_text(page, encoding="utf-8")
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables of some pages, or of all."""
    parser = argparse.ArgumentParser(description="Write the tables of the documentation from the committed results.")
    parser.add_argument("pages", nargs="*", metavar="PAGE", type=Path, help="default: all that have tables")
    chosen = parser.parse_args(arguments).pages
    for name in sorted(write_between_markers(all_tables(), *(chosen or [ROOT / page for page in PAGES]))):
        print(name)
    if not chosen:
        with atomic_write(ROOT / SCHEMA) as temporary:
            temporary.write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
