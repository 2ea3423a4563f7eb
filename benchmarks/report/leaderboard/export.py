"""Raw data of the site: copies of the run folders' files and one CSV of all runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.running import reading
from bisimgym.benchmarks.running.run_folder import RunResult
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.replays import REPLAY


def copy_runs(runs: Sequence[RunResult], folders: Mapping[Path, str], site: Path) -> dict[Path, dict[str, str]]:
    """Copy every run's raw files into the site, where ``folders`` has a folder for each ``RunResult.path``.

    Returns:
        By ``RunResult.path``: the address of each file by its name, relative to the site's root.
    """
    links: dict[Path, dict[str, str]] = {}
    for run in runs:
        folder = folders[run.path]
        (site / folder).mkdir(parents=True)
        names = ("run.json", "result.json", *(["curve.jsonl"] if run.curve else []))
        links[run.path] = {name: f"{folder}/{name}" for name in names}
        for name, address in links[run.path].items():
            (site / address).write_bytes(reading.read_bytes(run.path / name))
        if run.replay is not None:
            links[run.path][REPLAY] = f"{folder}/{REPLAY}"
            (site / folder / REPLAY).write_bytes(reading.read_bytes(run.path / "pictures" / REPLAY))
    return links


def copy_pictures(runs: Sequence[RunResult], folders: Mapping[Path, str], site: Path) -> dict[Path, dict[str, str]]:
    """Copy every run's pictures beside its raw files; return, of runs that have any, the addresses by their titles."""
    pictures: dict[Path, dict[str, str]] = {}
    for run in runs:
        for n, file in enumerate(run.pictures, start=1):
            title = file.stem.lstrip("0123456789_") or file.stem
            address = f"{folders[run.path]}/picture-{n}.png"
            (site / address).write_bytes(reading.read_bytes(file, reading.PICTURE_BYTES))
            pictures.setdefault(run.path, {})[title.replace("_", " ").capitalize()] = address
    return pictures


def write_csv(runs: Sequence[RunResult], path: Path) -> None:
    """Write one line per run: what it was and every number it came to."""
    measures = list(dict.fromkeys(name for run in runs for name in load_suite(run.spec.suite).measures))
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["suite", "task", "method", "variant", "preset", "seed", "score", *measures, "train_seconds"])
        for run in runs:
            spec = run.spec
            variant = json.dumps(dict(spec.variant), sort_keys=True) if spec.variant else ""
            numbers = [run.scores.get(name, "") for name in measures]
            cells = [spec.suite, spec.task, spec.method, variant, spec.preset, spec.seed, run.score, *numbers]
            writer.writerow([_inert(cell) for cell in [*cells, run.result.get("train_seconds", "")]])


def _inert(cell: Any) -> Any:
    """Return a cell that spreadsheets do not take for a formula."""
    if isinstance(cell, bool | int | float):
        return cell
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
