"""The checked settings of a driving task, which both backends share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from bisimgym.envs.checks import choice, integer, number
from bisimgym.envs.highway_driving.cameras import YAWS
from bisimgym.envs.highway_driving.endings import DEFAULT_RULES, RULES
from bisimgym.envs.highway_driving.rewards import REWARDS
from bisimgym.envs.highway_driving.traffic import MOST_VEHICLES, MOST_WALKERS
from bisimgym.envs.highway_driving.weather import PRESETS, SCHEDULES

#: The preset that "fixed" shows if none is given: SECANT's training weather.
TRAINING_PRESET = "ClearNoon"


@dataclass(frozen=True)
class Settings:
    """Settings of one task; :class:`HighwayDrivingEnv` describes them.

    Raises:
        ValueError: for a setting out of range, or settings that exclude each other.
    """

    reward: str = "secant"
    endings: Sequence[str] = DEFAULT_RULES
    weather: str = "per-episode"
    weather_presets: Sequence[str] | None = None
    vehicles: int = 10
    walkers: int = 10
    traffic_seeds: int | None = None
    split: str = "train"
    max_curvature: float = 0.002
    episode_frames: int = 1000
    frames_per_action: int = 8
    size: int = 84
    cameras: int = 5
    frame_stack: int = 1

    def __post_init__(self) -> None:
        choice("reward", self.reward, REWARDS)
        choice("weather", self.weather, SCHEDULES)
        choice("split", self.split, ["train", "test"])
        self._set("endings", _names("endings", self.endings, RULES))
        self._set("weather_presets", self._checked_presets())
        least_and_most = {
            "vehicles": (0, MOST_VEHICLES),
            "walkers": (0, MOST_WALKERS),
            "episode_frames": (1, 100_000),
            "frames_per_action": (1, 1000),
            "size": (4, 1024),
            "frame_stack": (1, 16),
        }
        for name, (low, high) in least_and_most.items():
            self._set(name, integer(name, getattr(self, name), low, high))
        self._set("max_curvature", number("max_curvature", self.max_curvature, 0, 0.002, " (1/m)"))
        if integer("cameras", self.cameras, 1, len(YAWS)) % 2 == 0:
            raise ValueError(f"cameras must be 1, 3 or 5 (around the one that looks ahead), got {self.cameras}")
        if self.traffic_seeds is not None:
            self._set("traffic_seeds", integer("traffic_seeds", self.traffic_seeds, 1, 1_000_000, ", or None"))
        elif self.split == "test":
            raise ValueError("split='test' holds traffic out, and needs the number that training has: traffic_seeds")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _checked_presets(self) -> tuple[str, ...]:
        if self.weather_presets is None:
            return {"fixed": (TRAINING_PRESET,), "per-episode": tuple(PRESETS), "slow": ()}[self.weather]
        names = _names("weather_presets", self.weather_presets, PRESETS)
        count = {"fixed": "one preset", "per-episode": "one preset or more", "slow": "none: sun and storm move"}
        fits = {"fixed": len(names) == 1, "per-episode": len(names) >= 1, "slow": not names}
        if not fits[self.weather]:
            raise ValueError(f"weather_presets of weather={self.weather!r} must be {count[self.weather]}, got {names}")
        return names

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0, 255, (self.size, self.cameras * self.size, 3 * self.frame_stack), np.uint8)

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (2,), np.float32)


def _names(name: str, value: Any, known: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{name} must be a list of some of {list(known)}, got {value!r}")
    for one in value:
        choice(f"an entry of {name}", one, known)
    if len(set(value)) != len(value):
        raise ValueError(f"{name} must have no entry twice, got {list(value)}")
    return tuple(value)
