"""Which of our numbers belongs to which table or figure of which paper, and which tables have none, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bisimgym.benchmarks.errors import UserError, unknown
from bisimgym.benchmarks.measures.aggregates import mean_interval
from bisimgym.benchmarks.report.papers_index import DONE, NOT_RUN, PAPERS, PARTLY, Item
from bisimgym.benchmarks.report.summary import INTERVAL_SEEDS, Row, interval_text, number, published_text
from bisimgym.benchmarks.report.tables import pipe_table
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import Suite


def find_item(paper: str, table: str) -> Item:
    """Return a table of a paper that a suite has published numbers of.

    Raises:
        UserError: for unknown papers, and for tables that no suite can run; it names those that can be.
    """
    if paper not in PAPERS:
        raise unknown("paper", paper, PAPERS)
    items = {item.label.removeprefix("Table "): item for item in PAPERS[paper].items if item.suite}
    name = table.removeprefix("Table ")
    if name not in items:
        raise UserError(
            f"no suite runs table {table!r} of {paper}: choose from {', '.join(items) or 'none'}; see `bisimgym papers`"
        )
    return items[name]


def cells(paper: str, item: Item) -> list[tuple[str, str, str]]:
    """Return the (task, method, measure) of a table's published numbers, in the suite's order; none if it has none."""
    if not item.suite:
        return []
    source = f"{PAPERS[paper].cited}, {item.label}"
    return [key for key, published in load_suite(item.suite).published.items() if published.source == source]


def state(item: Item, found: Sequence[Line]) -> str:
    """Return the state of a table or figure, given its lines."""
    if item.state:
        return item.state
    run = sum(line.ours != NOT_RUN for line in found)
    return DONE if run == len(found) else PARTLY if run else NOT_RUN


@dataclass(frozen=True)
class Line:
    """A published number and ours, as text; ``ours`` is "not run" where there is none."""

    task: str
    method: str
    measure: str
    published: str
    ours: str
    seeds: str


def lines(paper: str, item: Item, rows: Sequence[Row]) -> Iterator[Line]:
    """Yield a table's published numbers beside ours: of the longest preset that was run, with its interval."""
    if not item.suite:
        return
    suite = load_suite(item.suite)
    presets = list(suite.presets)
    for task, method, measure in cells(paper, item):
        published = published_text(suite, suite.published[task, method, measure], measure)
        found = [row for row in rows if (row.suite, row.task, row.method) == (item.suite, task, method)]
        found = [row for row in found if not row.outside and (measure == "score" or measure in row.measures)]
        title = suite.score_name if measure == "score" else suite.measures[measure].title
        if not found:
            yield Line(task, method, title, published, NOT_RUN, "")
            continue
        row = max(found, key=lambda row: presets.index(row.preset))
        seeds = f"{len(row.runs)}{'*' if row.few else ''}, {row.preset}"
        yield Line(task, method, title, published, _ours(suite, row, measure), seeds)


def _ours(suite: Suite, row: Row, measure: str) -> str:
    if measure != "score":
        values = [run.scores[measure] for run in row.runs if measure in run.scores]
        text = number(suite, row.measures[measure], measure)
        if len(values) < INTERVAL_SEEDS or len(set(values)) == 1:
            return text
        ends = mean_interval(values, suite.measures[measure].bounds or suite.bounds)
        return f"{text} [{', '.join(number(suite, float(end), measure) for end in ends)}]"
    interval = interval_text(suite, row)
    text = number(suite, row.mean) + (f" [{interval}]" if interval else "")
    if (rule := suite.published_measure) in row.measures:  # the number that is comparable
        text += f"; {suite.measures[rule].title} {number(suite, row.measures[rule], rule)}"
    return text


#: Heads of a table of :class:`Line`.
HEADS = ("task", "method", "published", "ours [95 %]", "seeds, preset", "number")


def texts(found: Sequence[Line]) -> list[list[str]]:
    """Return lines as cells under :data:`HEADS`."""
    return [[line.task, line.method, line.published, line.ours, line.seeds, line.measure] for line in found]


def markdown(rows: Sequence[Row]) -> str:
    """Return the index of all papers as Markdown."""
    parts = []
    for key, paper in PAPERS.items():
        parts.append(f"## {paper.title}\n\n[{paper.cited}]({paper.link}); `bisimgym papers {key}`\n")
        heads = ["table or figure", "shows", "ours", "command", "remark"]
        found = {item.label: list(lines(key, item, rows)) for item in paper.items}
        items = [
            [
                item.label,
                item.shows,
                state(item, found[item.label]),
                f"`{item.command}`" * bool(item.command),
                item.note,
            ]
            for item in paper.items
        ]
        parts.append(pipe_table(heads, items, texts=len(heads)))
        for label, numbers in found.items():
            if numbers:
                parts.append(f"**{label}**\n\n{pipe_table(HEADS, texts(numbers), texts=2)}")
    return "\n".join(parts)
