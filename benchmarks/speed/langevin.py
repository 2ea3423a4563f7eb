"""Speed of training Langevin models: time per update by dynamics and length of signals, and what options cost.

All models take turns in one process with one thread.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from bisimgym.baselines.langevin.energy import NetworkEnergy
from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.speed.harness import Figures, Part, medians, table, torch_threads
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


def parts(seconds: float, frames: Sequence[int] = FRAMES, batch_size: int = BATCH_SIZE) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``."""
    yield Part("lengths", lengths, (seconds, frames, batch_size))
    yield Part("options", options, (seconds, frames[0], batch_size))


def lengths(seconds: float, frames: Sequence[int], batch_size: int) -> Iterator[Figures]:
    """Measure milliseconds per update of each dynamics at each length of windows.

    ``times_linear`` is the time at the longest windows as a multiple of that at the shortest, over the multiple of
    their lengths: 1 where cost is linear, below 1 where a part of it is not of the frames.
    """
    updates = {f"{d} {n}": _training({"dynamics": d}, {}, n, batch_size) for d in DYNAMICS for n in frames}
    took = _milliseconds(updates, seconds)
    for dynamics in DYNAMICS:
        ms = {str(n): took[f"{dynamics} {n}"] for n in frames}
        linear = ms[str(frames[-1])] / ms[str(frames[0])] / (frames[-1] / frames[0])
        yield {"dynamics": dynamics, "batch_size": batch_size, "ms": ms, "times_linear": linear}


def options(seconds: float, frames: int, batch_size: int) -> Iterator[Figures]:
    """Measure milliseconds per update with each option, and without."""
    for name, (model, fit) in OPTIONS.items():
        dynamics = {"dynamics": model.get("dynamics", "overdamped")}
        updates = {
            "plain_ms": _training(dynamics, {}, frames, batch_size),
            "ms": _training({**dynamics, **model}, fit, frames, batch_size),
        }
        ms = _milliseconds(updates, seconds)
        yield {"option": name, **dynamics, "frames": frames, **ms, "ratio": ms["ms"] / ms["plain_ms"]}


def _training(model: Mapping[str, Any], fit: Mapping[str, Any], frames: int, batch_size: int) -> Any:
    """Return a function that does some updates of a model of signals of so many frames."""
    signals, _ = sample_signals(signal_law("uniform"), batch_size, frames, seed=0)
    settings = dict(model)
    if settings.get("energy") == "network":  # of the size of the closed form
        network = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))
        settings["energy"] = NetworkEnergy(network, 2)
    learner = NeuralLangevinDynamics(data_dim=signals.shape[-1], latent_dim=2, seed=0, **settings)
    return functools.partial(
        learner.fit, signals, updates=_UPDATES, batch_size=batch_size, window=frames, long_updates=0, **fit
    )


def _milliseconds(updates: Mapping[str, Any], seconds: float) -> dict[str, float]:
    with torch_threads(1):
        return medians(updates, seconds, work=_UPDATES / 1000)


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the tables of the figures."""
    rows, options = figures["lengths"], figures["options"]
    frames = list(rows[0]["ms"])
    yield table(
        f"Milliseconds per update, batches of {rows[0]['batch_size']}, one thread",
        f"dynamics | {' | '.join(f'{n} frames' for n in frames)} | "
        f"{frames[-1]} to {frames[0]}, over {int(frames[-1]) // int(frames[0])}",
        f"{{dynamics}} | {' | '.join(f'{{{n} frames:.3g}}' for n in frames)} | {{times_linear:.2f}}",
        [row | {f"{n} frames": row["ms"][n] for n in frames} for row in rows],
        marker="langevin speed",
    )
    yield table(
        f"The same with options, {options[0]['frames']} frames",
        "option | dynamics | without | with | ratio",
        "{option} | {dynamics} | {plain_ms:.3g} | {ms:.3g} | {ratio:.2f}",
        options,
        texts=2,
        marker="langevin speed",
    )
