"""Kills a sweep at random, again and again, and compares what it comes to with the results of an unbroken one.

A sweep is four runs of the jumping suite, two at a time. Each kill (SIGKILL) waits for a random number of new rows of
learning curves and then for a random part of the time that a row takes; it hits the command or one of its workers.
After the last kill every sweep is finished, by giving its command again. In the end two commands do one sweep side by
side.

    python tests/measured/random_kills.py --executor process --kills 20
    python tests/measured/random_kills.py --executor ray --kills 20

With ``--fork``, commands and workers of ``process`` are forked from this process, which has loaded everything, where
they are else started and load torch for seconds each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from comparing import comparable

_METHODS, _SEEDS, _ROWS = ("dropout-l2", "pse"), 2, 4
_RUNS = len(_METHODS) * _SEEDS
#: Seconds after which something hangs.
_PATIENCE = 1800.0
FORK = False


class Sweep:
    """One folder of runs, and the command that fills it."""

    def __init__(self, out: Path, executor: str, log: IO[str], jobs: int = 2):
        methods = [word for method in _METHODS for word in ("--method", method)]
        settings = ["--set", f"epochs={_ROWS}", "--set", f"evaluations={_ROWS}", "--seeds", str(_SEEDS)]
        arguments = ["run", "jumping", "--task", "wide", "--preset", "smoke", *methods, *settings]
        here = ["--out", str(out), "--executor", executor, "--jobs", str(jobs), "--threads", "1", "--device", "cpu"]
        self.arguments, self.out, self.log = [*arguments, *here], out, log
        self.process: Any = None

    def start(self) -> None:
        command = [sys.executable, "-m", "bisimgym.benchmarks", *self.arguments]
        self.process = _Forked(self) if FORK else psutil.Popen(command, stdout=self.log, stderr=self.log)

    def finish(self) -> None:
        """Give the command until it is done."""
        for _ in range(10):
            self.start()
            if self.process.wait(_PATIENCE) == 0:
                return
            time.sleep(1)
        raise SystemExit(f"{self.out} does not come to its end: see {self.log.name}")

    def rows(self) -> int:
        return sum(file.read_bytes().count(b"\n") for file in self.out.rglob("curve.jsonl"))

    def victims(self) -> list[psutil.Process]:
        """Return the processes that do runs."""
        return [one for one in self.process.children(recursive=True) if _works(one)]

    def results(self) -> list[Path]:
        return sorted(file.parent for file in self.out.rglob("result.json"))


def _works(process: psutil.Process) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    if FORK:
        return "resource_tracker" not in words
    return "multiprocessing.spawn" in words or words.startswith("ray::_failures")


class _Forked:
    """A command in a fork of this process, with what is used here of ``psutil.Popen``."""

    def __init__(self, sweep: Sweep):
        self._process = multiprocessing.get_context("fork").Process(target=_forked, args=(sweep,))
        self._process.start()
        self._known = psutil.Process(self._process.pid)
        self.kill = self._process.kill

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def children(self, recursive: bool) -> list[psutil.Process]:
        try:
            return self._known.children(recursive)
        except psutil.NoSuchProcess:
            return []


def _forked(sweep: Sweep) -> None:
    from bisimgym.benchmarks.cli import main as command

    for number in (1, 2):
        os.dup2(sweep.log.fileno(), number)
    own = multiprocessing.get_context
    multiprocessing.get_context = lambda _: own("fork")  # type: ignore[method-assign]
    os._exit(command(sweep.arguments))


def kill_once(sweep: Sweep, chance: random.Random) -> str:
    """Kill the command or a worker at a random place; return who it was, "" if the command ended before."""
    process = sweep.process
    target, seen, began, pause = sweep.rows() + chance.randrange(3), sweep.rows(), time.monotonic(), 1.0
    while not (workers := sweep.victims()) or sweep.rows() < target:
        if process.poll() is not None:
            return ""
        if sweep.rows() != seen:
            seen, pause, began = sweep.rows(), time.monotonic() - began, time.monotonic()
        if time.monotonic() - began > _PATIENCE:
            raise SystemExit(f"nothing happens in {sweep.out}: see {sweep.log.name}")
        time.sleep(0.02)
    time.sleep(chance.random() * pause)
    family = process.children(recursive=True) if process.poll() is None else []
    who = chance.choice(("command", "worker"))
    if process.poll() is not None or len(sweep.results()) == _RUNS:
        return ""
    try:
        (process if who == "command" else chance.choice(workers)).kill()
    except psutil.NoSuchProcess:
        return ""
    if who == "command":
        process.wait()
        _, alive = psutil.wait_procs(family, timeout=60)
        who += f", {len(alive)} of its processes outlived it by a minute" if alive else ""
    return who


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=("process", "ray", "submitit"), default="process")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--fork", action="store_true", help="fork instead of starting Python anew")
    parser.add_argument("--seed", type=int, default=1, help="of the places and victims of kills")
    parser.add_argument("--out", type=Path, help="an empty folder (default: a temporary one)")
    options = parser.parse_args()
    global FORK
    FORK = options.fork
    if FORK:
        import bisimgym.benchmarks.suites.jumping_pictures  # noqa: F401
        from bisimgym.baselines.pse import imitation  # noqa: F401
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        out.mkdir(exist_ok=True)
        with (out / "log").open("a") as log:
            unbroken = Sweep(out / "unbroken", "process", log, jobs=1)
            unbroken.finish()
            sweeps, killed = [Sweep(out / "1", options.executor, log)], Counter[str]()
            sweeps[-1].start()
            while killed.total() < options.kills:
                sweep = sweeps[-1]
                if who := kill_once(sweep, chance):
                    killed[who] += 1
                    print(f"{killed.total()}: {who}, {len(sweep.results())} of {_RUNS} runs done", flush=True)
                if sweep.process.poll() is not None:
                    if len(sweep.results()) == _RUNS:
                        sweeps.append(Sweep(out / str(len(sweeps) + 1), options.executor, log))
                    sweeps[-1].start()
            sweeps[-1].process.wait(_PATIENCE)
            for sweep in sweeps:
                sweep.finish()
            pair = [Sweep(out / "pair", options.executor, log, jobs=1) for _ in range(2)]
            for sweep in pair:
                sweep.start()
            codes = [sweep.process.wait(_PATIENCE) for sweep in pair]
            pair[0].finish()
        expected = {path.relative_to(unbroken.out): comparable(path) for path in unbroken.results()}
        assert len(expected) == _RUNS
        for sweep in [*sweeps, pair[0]]:
            found = {path.relative_to(sweep.out): comparable(path) for path in sweep.results()}
            if found != expected:
                raise SystemExit(f"{sweep.out} came to other results than {unbroken.out}")
        texts = ", ".join(f"{count} of the {who}" for who, count in sorted(killed.items()))
        print(f"{options.executor}: {killed.total()} kills ({texts}) over {len(sweeps)} sweeps of {_RUNS} runs")
        print(f"two commands side by side ended with {codes}")
        print(f"all {_RUNS * (len(sweeps) + 1)} results equal the unbroken ones")


if __name__ == "__main__":
    main()
