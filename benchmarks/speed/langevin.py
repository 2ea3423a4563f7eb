"""Speed of training Langevin models: time per update by dynamics and length of signals, and what options cost.

All models take turns in one process with one thread, so that other load of the machine meets all alike.
"""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch as th
from rich.console import Console
from torch import nn

from bisimgym.baselines.langevin.energy import NetworkEnergy
from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.speed.envs import median_seconds
from bisimgym.envs.markov_signal import sample_signals, signal_law

DYNAMICS = ("overdamped", "underdamped", "general")
#: Frames of the windows that are learned from, of which an update takes so many.
FRAMES, BATCH_SIZE = (50, 100, 200, 400), 64
#: What costs time, at the shortest windows: settings of the model and of ``fit``.
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "two steps per frame": ({"substeps": 2}, {}),
    "BAOAB": ({"dynamics": "underdamped", "integrator": "baoab"}, {}),
    "curvature penalty": ({}, {"curvature_penalty": 1.0}),
    "an energy by autograd": ({"energy": "network"}, {}),
}
#: Updates that are timed at once.
_UPDATES = 3


def measure(console: Console, seconds: float = 1.0) -> dict[str, Any]:
    """Measure, print the tables and return the figures.

    Args:
        console: where tables go.
        seconds: time for each comparison; five turns at least.
    """
    figures: dict[str, Any] = {
        "machine": {"processor": machine.processor(), "cores": machine.cores()},
        "versions": machine.versions(),
        "command": shlex.join(["bisimgym", *sys.argv[1:]]),
        "load_before": os.getloadavg()[0],
    }
    threads = th.get_num_threads()
    th.set_num_threads(1)
    try:
        with console.status("measuring"):
            figures["lengths"] = length_rows(seconds)
            figures["options"] = option_rows(seconds)
    finally:
        th.set_num_threads(threads)
    figures["load_after"] = os.getloadavg()[0]
    for table in _tables(figures):
        console.print(table.terminal())
    console.print(
        f"Load of the machine, mean of a minute: {figures['load_before']:.2f} before, {figures['load_after']:.2f} after"
    )
    return figures


def length_rows(seconds: float) -> list[dict[str, Any]]:
    """Return milliseconds per update of each dynamics at each length of windows.

    ``times_linear`` is the time at the longest windows as a multiple of that at the shortest, over the multiple of
    their lengths: 1 where cost is linear, below 1 where a part of it is not of the frames.
    """
    times = iter(_times([_training({"dynamics": d}, {}, frames) for d in DYNAMICS for frames in FRAMES], seconds))
    rows = []
    for dynamics in DYNAMICS:
        ms = {str(frames): next(times) for frames in FRAMES}
        first, last = str(FRAMES[0]), str(FRAMES[-1])
        linear = ms[last] / ms[first] / (FRAMES[-1] / FRAMES[0])
        rows.append({"dynamics": dynamics, "batch_size": BATCH_SIZE, "ms": ms, "times_linear": linear})
    return rows


def option_rows(seconds: float) -> list[dict[str, Any]]:
    """Return milliseconds per update with each option, and without, at the shortest windows."""
    frames, rows = FRAMES[0], []
    for name, (model, fit) in OPTIONS.items():
        dynamics = {"dynamics": model.get("dynamics", "overdamped")}
        plain, ms = _times([_training(dynamics, {}, frames), _training({**dynamics, **model}, fit, frames)], seconds)
        rows.append({"option": name, **dynamics, "frames": frames, "ms": ms, "plain_ms": plain, "ratio": ms / plain})
    return rows


def _training(model: Mapping[str, Any], fit: Mapping[str, Any], frames: int) -> Any:
    """Return a function that does some updates of a model of signals of so many frames."""
    signals, _ = sample_signals(signal_law("uniform"), BATCH_SIZE, frames, seed=0)
    settings = dict(model)
    if settings.get("energy") == "network":  # of the size of the closed form
        network = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))
        settings["energy"] = NetworkEnergy(network, 2)
    learner = NeuralLangevinDynamics(data_dim=signals.shape[-1], latent_dim=2, seed=0, **settings)
    return functools.partial(
        learner.fit, signals, updates=_UPDATES, batch_size=BATCH_SIZE, window=frames, long_updates=0, **fit
    )


def _times(trainings: Sequence[Any], seconds: float) -> list[float]:
    return [1000 * time / _UPDATES for time in median_seconds(trainings, seconds)]


def _tables(figures: Mapping[str, Any]) -> list[FigureTable]:
    lengths = [
        [row["dynamics"], *(f"{ms:.3g}" for ms in row["ms"].values()), f"{row['times_linear']:.2f}"]
        for row in figures["lengths"]
    ]
    options = [
        [row["option"], row["dynamics"], f"{row['plain_ms']:.3g}", f"{row['ms']:.3g}", f"{row['ratio']:.2f}"]
        for row in figures["options"]
    ]
    heads = [f"{frames} frames" for frames in figures["lengths"][0]["ms"]]
    first, last = heads[0].split()[0], heads[-1].split()[0]
    return [
        FigureTable(
            f"Milliseconds per update, batches of {BATCH_SIZE}, one thread",
            ["dynamics", *heads, f"{last} to {first}, over {int(last) // int(first)}"],
            lengths,
        ),
        FigureTable(
            f"The same with options, {figures['options'][0]['frames']} frames",
            ["option", "dynamics", "without", "with", "ratio"],
            options,
            texts=2,
        ),
    ]


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the figures of :func:`measure` as Markdown tables."""
    return "\n".join(table.markdown() for table in _tables(figures))
