"""Speed of agents from images: an update of every method of the suite ``distracting``, beside stock SB3 and DrQ."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stable_baselines3 import SAC

from bisimgym.baselines.core.extractors import ImageExtractor
from bisimgym.baselines.core.frame_replay import FrameReplayBuffer
from bisimgym.baselines.drq_pse import collect_pairs
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.speed.harness import Figures, Part, medians, table, torch_threads
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.distracting.envs import training_env
from bisimgym.benchmarks.suites.distracting.learning import make_learner, two_looks
from bisimgym.benchmarks.suites.distracting.suite import SUITE

TASK = "cartpole-swingup-pse-2video"
_STORED = 200
#: Updates that are timed at once: actor and targets move in one of them.
_UPDATES = 2


def parts(
    seconds: float, presets: Sequence[str] = ("laptop",), names: Sequence[str] = tuple(SUITE.methods)
) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``."""
    for preset in presets:
        yield Part("updates", updates, (preset, seconds, tuple(names)), fresh=True)


def updates(preset: str, seconds: float, names: Sequence[str], stored: int = _STORED) -> Iterator[Figures]:
    """Measure an update of methods, "drq" among them, and of SB3's SAC with the same networks and batches, one thread.

    All draw from one replay, whose images random actions have filled.
    """
    models = {name: _learner(name, preset) for name in names}
    drq = models["drq"]
    drq.learn(stored)  # before learning starts
    arch = drq.policy.net_arch
    extractor = {name: SUITE.presets[preset].settings[name] for name in ("architecture", "channels")}
    stock = SAC(
        "CnnPolicy",
        drq.env,
        batch_size=drq.batch_size,
        replay_buffer_class=FrameReplayBuffer,
        replay_buffer_kwargs={"frame_stack": 3},
        buffer_size=stored,
        learning_starts=stored,
        policy_kwargs={
            "net_arch": arch,
            "features_extractor_class": ImageExtractor,
            "features_extractor_kwargs": extractor,
        },
        seed=0,
        device="cpu",
    )
    stock.learn(1)  # sets up the logger
    for model in (*models.values(), stock):
        model.replay_buffer, model._logger = drq.replay_buffer, stock.logger
    functions = {
        name: functools.partial(model.train, _UPDATES, drq.batch_size)
        for name, model in {"stock SAC": stock, **models}.items()
    }
    with torch_threads(1):
        ms = medians(functions, seconds, work=_UPDATES / 1000)
    for name, value in ms.items():
        yield {
            "preset": preset,
            "method": name,
            "batch_size": drq.batch_size,
            "ms": value,
            "rate_of_stock": ms["stock SAC"] / value,
            "rate_of_drq": ms["drq"] / value,
        }


def _learner(name: str, preset: str) -> Any:
    spec = make_spec(SUITE, TASK, name, preset, 1)
    model = make_learner(spec, "cpu", training_env(spec))
    if name == "drq-pse":
        model.align(collect_pairs(model, *two_looks(spec), count=1))
    return model


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the tables of the figures."""
    yield table(
        "Milliseconds per update on images, one thread",
        "preset | method | batch | ms | rate, of stock SAC | rate, of DrQ",
        "{preset} | {method} | {batch_size} | {ms:~3} | {rate_of_stock:.2f} | {rate_of_drq:.2f}",
        figures["updates"],
        texts=2,
        marker="speed of distracting",
    )
