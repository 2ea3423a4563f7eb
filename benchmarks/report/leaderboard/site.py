"""From runs to a folder of pages."""

from __future__ import annotations

import importlib.resources
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

import bisimgym
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report import across
from bisimgym.benchmarks.report.changes import changes
from bisimgym.benchmarks.report.leaderboard import budgets, charts, export, grids, views
from bisimgym.benchmarks.report.leaderboard.slugs import slugs
from bisimgym.benchmarks.report.summary import ENOUGH_SEEDS, INTERVAL_SEEDS, Row, number, published_text, summarize
from bisimgym.benchmarks.running import reading
from bisimgym.benchmarks.running.run_folder import RunResult, make_folder
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import Suite
from bisimgym.envs.files import files_of, replaceable_folder

#: Lists the files that a site consists of; a folder without it is somebody else's.
MARKER = reading.SITE_MARKER


def build_site(
    runs: Sequence[RunResult],
    out: Path,
    limits: views.Limits | None = None,
    before: Sequence[RunResult] | None = None,
) -> Path:
    """Build the leaderboard of finished runs and return the path of its ``index.html``.

    The same runs give the same files. The site is built next to ``out`` and takes its place when it is whole; an
    earlier site there is replaced.

    Args:
        runs: as ``find_runs`` returns them.
        out: the site's folder: missing, empty, or an earlier site.
        limits: how much a page shows.
        before: earlier runs: a page then says which rows are not what they were.

    Raises:
        UserError: if there are no runs, or ``out`` cannot be written or holds files that are not of a site.
    """
    if not runs:
        raise UserError("there are no finished runs to report")
    try:
        out = replaceable_folder(out, "a site of bisimgym", _site_files)
    except FileExistsError as error:
        raise UserError(f"{error}, or choose another --out") from error
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    make_folder(out.parent)
    if out.exists():
        make_folder(out)
    new = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        new.mkdir()
        try:
            _write(runs, new, limits or views.Limits(), before)
            _replace(out, new)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    return out / "index.html"


def _site_files(folder: Path) -> set[str] | None:
    """Return the files of an earlier site, or None if a folder is none."""
    marker = folder / MARKER
    return {MARKER, *marker.read_text(encoding="utf-8", errors="replace").splitlines()} if marker.is_file() else None


def _replace(out: Path, new: Path) -> None:
    if not out.exists():
        new.rename(out)
        return
    old = new.with_suffix(".old")
    out.rename(old)
    try:
        new.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)


@dataclass(frozen=True)
class _Addresses:
    """Where pages and files are, relative to the site's root."""

    tasks: Mapping[tuple[str, str], str]
    methods: Mapping[tuple[str, str], str]
    data: Mapping[Path, str]

    @classmethod
    def of(cls, runs: Sequence[RunResult]) -> _Addresses:
        specs = [run.spec for run in runs]
        suite, task, method, preset = (
            slugs(getattr(spec, name) for spec in specs) for name in ("suite", "task", "method_folder", "preset")
        )
        folders = ["/".join((suite[s.suite], task[s.task], method[s.method_folder], preset[s.preset])) for s in specs]
        return cls(
            {(s.suite, s.task): f"tasks/{suite[s.suite]}/{task[s.task]}.html" for s in specs},
            {(s.suite, s.method_folder): f"methods/{suite[s.suite]}/{method[s.method_folder]}.html" for s in specs},
            {run.path: f"data/{folder}/seed-{run.spec.seed}" for run, folder in zip(runs, folders, strict=True)},
        )


def _write(runs: Sequence[RunResult], site: Path, limits: views.Limits, before: Sequence[RunResult] | None) -> None:
    """Write every file of the site into an empty folder."""
    addresses = _Addresses.of(runs)
    links = export.copy_runs(runs, addresses.data, site)
    pictures = export.copy_pictures(runs, addresses.data, site)
    export.write_csv(runs, site / "data" / "runs.csv")
    static = importlib.resources.files("bisimgym.benchmarks.report.leaderboard") / "static"
    (site / "static").mkdir()
    for file in sorted(static.iterdir(), key=lambda file: file.name):
        if file.is_file():
            (site / "static" / file.name).write_bytes(file.read_bytes())

    by_suite: dict[str, list[Row]] = defaultdict(list)
    for row in summarize(runs):
        by_suite[row.suite].append(row)
    environment = _environment(addresses, links, pictures)
    environment.globals |= {"limits": limits, "compared": before is not None}
    # The number of each method's line style is the same on every page: the suite's methods first.
    styles = {}
    for name, rows in by_suite.items():
        methods = {row.method for row in rows}
        own = [method for method in load_suite(name).methods if method in methods]
        styles[name] = {method: i for i, method in enumerate([*own, *sorted(methods - set(own))])}
    suites = [
        {
            "suite": (suite := load_suite(name)),
            "rows": rows,
            "sections": views.sections(suite, rows),
            "styles": styles[name],
        }
        for name, rows in by_suite.items()
    ]
    _page(environment, site, "index.html", "index.html", suites=suites, runs=len(runs))
    _page(environment, site, "compute.html", "compute.html", suites=suites)
    _page(environment, site, "submit.html", "submit.html")
    if before is not None:
        found = changes(before, runs)
        known = {change.row.suite: load_suite(change.row.suite) for change in found}
        _page(environment, site, "changes.html", "changes.html", changes=found, suites=known)
    for name, rows in by_suite.items():
        suite = load_suite(name)
        for task in dict.fromkeys(row.task for row in rows):
            sections = views.sections(suite, [row for row in rows if row.task == task])
            context = {"suite": suite, "task": suite.tasks[task], "sections": sections, "styles": styles[name]}
            _page(environment, site, addresses.tasks[name, task], "task.html", **context)
        by_method: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_method[row.method].append(row)
        for method, own_rows in by_method.items():
            context = _method_context(suite, own_rows)
            _page(environment, site, addresses.methods[name, method], "method.html", styles=styles[name], **context)
    (site / MARKER).write_text("".join(f"{name}\n" for name in sorted(files_of(site))), encoding="utf-8")


def _method_context(suite: Suite, rows: Sequence[Row]) -> dict[str, Any]:
    runs = [run for row in rows for run in row.runs]
    settings, heads = views.setting_columns(runs)
    made_with: dict[str, list[RunResult]] = defaultdict(list)
    for run in runs:
        texts: dict[str, str] = {}
        for part in (run.run.get("machine"), run.run.get("versions")):
            texts |= views.flat(part) if isinstance(part, dict) else {}
        for number_of, part in enumerate(run.run.get("resumed", []), start=1):
            texts |= views.flat(part, f"resumed {number_of}: ")
        made_with[json.dumps(texts)].append(run)
    return {
        "suite": suite,
        "rows": rows,
        "runs": runs,
        "sections": views.sections(suite, rows),
        "settings": settings,
        "setting_heads": heads,
        "made_with": [(json.loads(text), users) for text, users in made_with.items()],
        "commands": views.reproduce(rows),
        "measures": [name for name in suite.measures if any(name in row.measures for row in rows)],
    }


def _environment(
    addresses: _Addresses, links: Mapping[Path, Mapping[str, str]], pictures: Mapping[Path, Mapping[str, str]]
) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bisimgym.benchmarks.report.leaderboard", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["train_seconds"] = views.train_seconds
    environment.filters["sentence"] = views.sentence
    environment.globals |= {
        "version": bisimgym.__version__,
        "addresses": addresses,
        "links": links,
        "pictures": pictures,
        "views": views,
        "budgets": budgets,
        "charts": charts,
        "grids": grids,
        "number": number,
        "published_text": published_text,
        "across_tasks": across.across_tasks,
        "across_texts": across.texts,
        "across_heads": across.HEADS,
        "told_apart": across.told_apart,
        "enough_seeds": ENOUGH_SEEDS,
        "interval_seeds": INTERVAL_SEEDS,
    }
    return environment


def _page(environment: jinja2.Environment, site: Path, address: str, template: str, **context: Any) -> None:
    path = site / address
    path.parent.mkdir(parents=True, exist_ok=True)
    text = environment.get_template(template).render(root="../" * address.count("/"), **context)
    # Names may hold halves of surrogate pairs, which no encoding has.
    path.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
