"""Speed of manipulation: a step of robosuite's physics, and an image by each renderer."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.speed.harness import Figures, Part, medians, table
from bisimgym.benchmarks.suites.manipulation.settings import ENV_IDS
from bisimgym.envs.manipulation import simulator
from bisimgym.envs.rendering import probe

RENDERERS = ("raycast", "opengl", "opengl-fast")
#: Those of the presets.
SIZES = (48, 128)
#: Steps of a turn.
_STEPS = 8


def parts(
    seconds: float,
    tasks: Sequence[str] = tuple(ENV_IDS),
    sizes: Sequence[int] = SIZES,
    found: probe.OpenGL | None = None,
) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``. OpenGL is left out where it is not to be had.

    Raises:
        UserError: without robosuite.
    """
    if not simulator.is_installed():
        raise UserError(f"speed of manipulation needs robosuite: {simulator.INSTALL}")
    found = probe.probe() if found is None else found
    for task in tasks:
        yield Part("frames", frames, (task, sizes, RENDERERS if found.backend else RENDERERS[:1], seconds))


def frames(task: str, sizes: Sequence[int], renderers: Sequence[str], seconds: float) -> Iterator[Figures]:
    """Measure one step of the physics, and one image of each size by each renderer, which take turns."""
    envs: dict[str, Any] = {
        name: gym.make(ENV_IDS[task], renderer=name, render_mode="rgb_array").unwrapped for name in renderers
    }
    for env in envs.values():
        env.reset(seed=0)
    state: Any = gym.make(ENV_IDS[task], observation="state", horizon=10**9).unwrapped
    state.reset(seed=0)
    state.action_space.seed(0)
    actions = [state.action_space.sample() for _ in range(_STEPS)]

    def step() -> None:
        for action in actions:
            state.simulator.step(action)

    step_ms = medians({"step": step}, seconds, work=_STEPS / 1000)["step"]
    for size in sizes:
        drawing = {name: functools.partial(env._image, size) for name, env in envs.items()}
        for draw in drawing.values():
            draw()  # the first one makes its renderer
        frame_ms = medians(drawing, seconds, work=1e-3)
        yield {
            "task": task,
            "size": size,
            "step_ms": step_ms,
            "frame_ms": frame_ms,
            "frames_per_second": {name: 1000 / ms for name, ms in frame_ms.items()},
        }
    for env in (state, *envs.values()):
        env.close()


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the table of the figures."""
    names = list(figures["frames"][0]["frame_ms"])
    cells = [f"{{frame_ms[{name}]:.1f}} | {{frames_per_second[{name}]:.0f}}" for name in names]
    yield table(
        "A step of the physics and an image, each alone",
        "task | pixels | step, ms | " + " | ".join(f"{name}, ms | per second" for name in names),
        "{task} | {size} | {step_ms:.1f} | " + " | ".join(cells),
        figures["frames"],
        marker="manipulation speed",
    )
