"""Speed of pre-training on grids: an update of recursive state similarity, through all layers and the quicker way."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch as th
from torch import nn

from bisimgym.baselines.core.coordconv import CoordConvNet
from bisimgym.baselines.core.precision import has_fast_bfloat16
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.speed.harness import Figures, Part, medians, table, torch_threads
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.nav2d.suite import layout_of, make_encoder
from bisimgym.wrappers.offline import collect

PRESETS, PRECISIONS = ("short", "paper"), ("float32", "bfloat16")


def parts(seconds: float, presets: Sequence[str] = PRESETS, threads: int | None = None) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``, with so many threads (None: as many as there are cores)."""
    for preset in presets:
        yield Part("updates", updates, (preset, threads or machine.cores(), seconds), fresh=True)


def updates(preset: str, threads: int, seconds: float) -> Iterator[Figures]:
    """Measure the milliseconds of an update with grids and batches of a preset of the nav2d suite, by precision."""
    suite = load_suite("nav2d")
    with torch_threads(threads):
        learners = {}
        for precision in PRECISIONS:
            spec = make_spec(suite, "epsilon-0.5", "phi", preset, 1, {"precision": precision})
            learners[precision] = make_encoder(spec, "cpu")
        settings = spec.settings
        arguments = {**layout_of(settings), "goal_visible": False}
        data = collect("bisimgym/Nav2D-v0", "random", 5_000, num_envs=64, seed=1, env_kwargs=arguments)

        def update(learner: Any, forward: Any) -> None:
            chosen, CoordConvNet.forward = CoordConvNet.forward, forward  # type: ignore[method-assign]
            try:
                learner.fit(data, 1, settings["pretraining_batch"])
            finally:
                CoordConvNet.forward = chosen  # type: ignore[method-assign]

        ways = {"layers": nn.Sequential.forward, "grids": CoordConvNet.forward}
        functions = {f"{p} {w}": functools.partial(update, learners[p], ways[w]) for p in PRECISIONS for w in ways}
        ms = {name: 1000 * value for name, value in medians(functions, seconds).items()}
    yield {
        "grid": f"{settings['size']} x {settings['size']}",
        "batch_size": settings["pretraining_batch"],
        "threads": threads,
        "fast_bfloat16": has_fast_bfloat16(th.device("cpu")),
        "ms": ms,
        "ratio": ms["float32 layers"] / min(ms["float32 grids"], ms["bfloat16 grids"]),
    }


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the table of the figures."""
    yield table(
        "Milliseconds per update: all layers, and the quicker way through the first four on grids",
        "grid | batch | threads | float32, layers | float32, grids | bfloat16, layers | bfloat16, grids | best gain",
        "{grid} | {batch_size} | {threads} | {ms[float32 layers]:.0f} | {ms[float32 grids]:.0f} | "
        "{ms[bfloat16 layers]:.0f} | {ms[bfloat16 grids]:.0f} | {ratio:.2f}",
        figures["updates"],
        marker="pretraining speed",
    )
