"""Speed of highway driving: agent steps with an image each, beside highway-env where that is installed.

highway-env (Leurent 2018) draws the road from above, which is less to draw than what five cameras see. Steps are
counted over whole episodes of random actions, resets included.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.speed.harness import Figures, Part, Rollout, rates, table

#: What rows are called, sub-environments (0: a single environment), and arguments.
STANDIN: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("stand-in, five cameras", 0, {}),
    ("stand-in, five cameras", 16, {}),
    ("stand-in, five cameras, heavy rain", 16, {"weather": "fixed", "weather_presets": ["HardRainNoon"]}),
    ("stand-in, three cameras", 16, {"cameras": 3}),
    ("stand-in, preset laptop of the suite", 16, {"size": 24, "cameras": 3, "frame_stack": 3}),
)
#: highway-env with as many lanes, frames of 84 x 84 and five steps of its simulator in an action, a third of a second.
_PEER = {
    "action": {"type": "ContinuousAction"},
    "lanes_count": 4,
    "vehicles_count": 20,
    "simulation_frequency": 15,
    "policy_frequency": 3,
    "duration": 40,
    "screen_width": 84,
    "screen_height": 84,
    "offscreen_rendering": True,
}


def parts(seconds: float, rows: Sequence[tuple[str, int, dict[str, Any]]] = STANDIN) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``."""
    yield Part("driving", driving, (seconds, rows))


class _WithFrames(gym.Wrapper):
    """Renders a frame in each step and at the start, as an agent from images needs it."""

    def step(self, action):
        found = self.env.step(action)
        self.env.render()
        return found

    def reset(self, **keywords):
        found = self.env.reset(**keywords)
        self.env.render()
        return found


def peer() -> gym.Env | None:
    """Return highway-env's highway with a frame in every step, or None where it is not installed."""
    if importlib.util.find_spec("highway_env") is None:
        return None
    import highway_env  # noqa: F401  (registers the ids)

    return _WithFrames(gym.make("highway-v0", render_mode="rgb_array", config=_PEER, disable_env_checker=True))


def driving(seconds: float, rows: Sequence[tuple[str, int, dict[str, Any]]]) -> Iterator[Figures]:
    """Measure agent steps per second; the peer and single environments take turns with vectors."""
    made: dict[str, Any] = {}
    shown: list[Figures] = []
    for number, (what, num_envs, arguments) in enumerate(rows):
        name = "bisimgym/HighwayDriving-v0"
        if num_envs:
            env: Any = gym.make_vec(name, num_envs=num_envs, **arguments)
            shape = env.single_observation_space.shape
        else:
            env = gym.make(name, disable_env_checker=True, **arguments)
            shape = env.observation_space.shape
        made[str(number)] = Rollout(env, least=8)
        shown.append({"what": what, "num_envs": max(num_envs, 1), "image": f"{shape[0]} x {shape[1]}", "frames": 8})
    other: Any = peer()
    if other is not None:
        other.reset(seed=0)
        if not np.ptp(other.env.render()):
            raise RuntimeError("highway-env draws black frames: unset SDL_VIDEODRIVER")
        made["peer"] = Rollout(other, least=8)
        shown.append({"what": "highway-env, from above", "num_envs": 1, "image": "84 x 84", "frames": 5})
    for row, rate in zip(shown, rates(made, seconds).values(), strict=True):
        yield {**row, "steps_per_second": rate}


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the table of the figures."""
    yield table(
        "Agent steps per second, each with an image; one core",
        "what | environments | image | simulated frames per step | steps/s",
        "{what} | {num_envs} | {image} | {frames} | {steps_per_second:~3}",
        figures["driving"],
        marker="speed of driving",
    )
