"""How long ``bisimgym report`` takes over many result files, and how much memory.

Writes run folders of the jumping suite, as long as committed ones (286 outcomes, 10 rows of a curve), with made-up
outcomes, and reports them by the command, in a process of its own: ``python tests/measured/many_results.py``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bisimgym.benchmarks.running.run_folder import RunFolder
from bisimgym.benchmarks.suites import jumping
from bisimgym.benchmarks.suites.base import make_spec

_MACHINE = {"system": "Linux x86_64", "processor": "made up", "cores": 2, "device": "cpu", "threads": 1}


def write_runs(out: Path, count: int) -> None:
    """Write ``count`` finished runs, seed by seed over all tasks, methods and two presets."""
    rows = list(itertools.product(jumping.TASKS, jumping.METHODS, ("short", "paper")))
    for number in range(count):
        task, method, preset = rows[number % len(rows)]
        seed = 1 + number // len(rows)
        folder = RunFolder(out, make_spec(jumping.SUITE, task, method, preset, seed))
        folder.path.mkdir(parents=True)
        folder.start({"versions": {"python": "3.11.7"}, "machine": _MACHINE, "command": "made up"})
        rng = np.random.default_rng([number])
        solved = rng.random(286 * (2 if task == "colors" else 1)) < rng.uniform(0.1, 0.9)  # no two are alike
        outcome = jumping.outcome_of(task, seed, solved)
        folder._rows = [
            {"updates": 1000 * part, "score": outcome.score * part / 10, **outcome.scores, "seconds": 60.0 * part}
            for part in range(1, 11)
        ]
        folder.path.joinpath("curve.jsonl").write_text("".join(f"{row}\n".replace("'", '"') for row in folder._rows))
        folder.finish(outcome, False, {"updates": 10_000, "train_seconds": 600.0, "peak_memory": 10**9})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="write runs and site here, and use the runs that are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs, site = ((options.keep or Path(scratch)) / name for name in ("runs", "site"))
        if not runs.exists():
            write_runs(runs, options.count)
        start = time.perf_counter()
        command = [sys.executable, "-m", "bisimgym.benchmarks", "report", str(runs), "--out", str(site)]
        process = subprocess.Popen(command)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            sys.exit(f"bisimgym report ended with status {status}")
        size, page = max((file.stat().st_size, file.name) for file in site.rglob("*.html"))
    cpu = used.ru_utime + used.ru_stime
    memory = used.ru_maxrss / 2**20 * (1 / 1024 if sys.platform == "darwin" else 1)
    print(f"{seconds:.1f} s ({cpu:.1f} s of a processor), {memory:.2f} GiB; largest page {page}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
