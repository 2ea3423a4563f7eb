"""Speed of dm_control's tasks beside EnvPool: images without OpenGL, and states.

Both have one thread, dm_control's own control step, no distraction, and for images three frames of 84 x 84. EnvPool
draws with OpenGL at its default quality. Where that is software it draws with as many threads as there are cores:
``LP_NUM_THREADS=1`` in the environment leaves it one.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.vector.utils import batch_space

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.speed.distracting import TASKS
from bisimgym.benchmarks.speed.harness import Figures, Part, Rollout, rates, table
from bisimgym.envs.rendering import probe

#: EnvPool's names of the tasks.
THEIRS = {
    "ball in cup": "BallInCupCatch-v1",
    "cartpole": "CartpoleSwingup-v1",
    "cheetah": "CheetahRun-v1",
    "finger": "FingerSpin-v1",
    "reacher": "ReacherEasy-v1",
    "walker": "WalkerWalk-v1",
}
#: Environments of theirs in a batch, by observation: what a step from Python costs is shared by those of a batch. It is
#: as much as a step of states, and next to nothing beside an image.
BATCHES = {"pixels": (1,), "state": (1, 64)}
#: Of both: shorter than those of dm_control, since software takes half a minute to draw one of 1000 steps.
_EPISODE = 64


class _Pool:
    """Environments of EnvPool on one thread, as a vector environment of Gymnasium.

    Args:
        task: a key of :data:`THEIRS`.
        pixels: whether observations are images.
        num_envs: how many.
        episode_steps: after which an episode is truncated.
    """

    def __init__(self, task: str, pixels: bool, num_envs: int, episode_steps: int):
        arguments: dict[str, Any] = {"from_pixels": True, "frame_stack": 3} if pixels else {}
        if pixels:  # its renderer takes the OpenGL that the process has loaded, and loads none
            ctypes.CDLL("libEGL.so.1", ctypes.RTLD_GLOBAL)
        self.num_envs = num_envs
        self.pool: Any = importlib.import_module("envpool").make_gymnasium(
            THEIRS[task], num_envs=num_envs, num_threads=1, max_episode_steps=episode_steps, **arguments
        )
        self.action_space = batch_space(self.pool.action_space, num_envs)
        self.step = self.pool.step

    def reset(self, seed: int | None = None) -> tuple[Any, dict]:
        """Start episodes. EnvPool takes seeds at construction only."""
        return self.pool.reset()


def parts(
    seconds: float,
    tasks: Sequence[str] = tuple(TASKS),
    observations: Sequence[str] = tuple(BATCHES),
    episode_steps: int = _EPISODE,
    egl: tuple[bool, str] | None = None,
) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``, and for as long as an episode of each takes.

    Images are left out without EGL, the OpenGL that EnvPool draws with. ``egl`` says whether it is there, and its name
    or what is wrong (None: tried).

    Raises:
        UserError: without EnvPool.
    """
    try:
        version = importlib.metadata.version("envpool")
    except importlib.metadata.PackageNotFoundError:
        raise UserError("speed beside EnvPool needs EnvPool: pip install envpool") from None
    works, text = probe.try_backend("egl") if egl is None else egl
    yield Part("peer", _peer, (version, text if works else "", "" if works else text))
    for observation in observations:
        if observation == "state" or works:
            for task in tasks:
                yield Part(observation, beside, (task, observation, seconds, episode_steps))


def _peer(version: str, opengl: str, left_out: str) -> Iterator[Figures]:
    yield {"envpool": version, "opengl": opengl, "left_out": left_out}


def beside(task: str, observation: str, seconds: float, episode_steps: int) -> Iterator[Figures]:
    """Measure whole episodes of random actions here and in EnvPool, which take turns."""
    ours = gym.make(
        TASKS[task], observation=observation, preset="clean", action_repeat=1, max_episode_steps=episode_steps
    )
    theirs = {_batch(n): _Pool(task, observation == "pixels", n, episode_steps) for n in BATCHES[observation]}
    found = rates({"bisimgym": Rollout(ours), **{n: Rollout(pool) for n, pool in theirs.items()}}, seconds)
    ours.close()
    rate = found.pop("bisimgym")
    yield {
        "task": task,
        "steps_per_second": rate,
        "envpool_steps_per_second": found,
        "ratio": {n: rate / other for n, other in found.items()},
    }


def _batch(num_envs: int) -> str:
    return "one" if num_envs == 1 else f"batches of {num_envs}"


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the tables of the figures."""
    theirs, ratio = "{envpool_steps_per_second[N]:~3}", "{ratio[N]:.2g}"
    one, many = map(_batch, BATCHES["state"])
    yield table(
        "Images of 84 x 84, steps per second",
        "task | bisimgym | EnvPool | ours / theirs",
        f"{{task}} | {{steps_per_second:~3}} | {theirs} | {ratio}".replace("N", one),
        figures.get("pixels", ()),
        marker="envpool speed",
    )
    yield table(
        "States, steps per second",
        f"task | bisimgym | EnvPool | ours / theirs | EnvPool, {many} | ours / theirs in batches",
        " | ".join(["{task} | {steps_per_second:~3}", *(f"{theirs} | {ratio}".replace("N", n) for n in (one, many))]),
        figures.get("state", ()),
        marker="envpool speed",
    )
    yield table("EnvPool", "version | OpenGL | left out", "{envpool} | {opengl} | {left_out}", figures["peer"], texts=3)
