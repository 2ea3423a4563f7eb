"""Weather of driving, as pure functions of an episode's seed and its frame: the same for both backends.

Sources: presets are those of CARLA that SECANT uses, with the numbers of CARLA 0.9.16, whose wetness is that of its
puddles; the slow weather is that of DBC's release for CARLA 0.9.6, with a wetness that follows its storm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bisimgym.envs.seeds import uniforms


class Weather(NamedTuple):
    """Weather of N episodes, ``float64[N]`` each.

    Attributes:
        sun_azimuth: degrees.
        sun_altitude: degrees above the horizon.
        clouds, rain, wetness, wind: percent; wetness is that of the road.
    """

    sun_azimuth: np.ndarray
    sun_altitude: np.ndarray
    clouds: np.ndarray
    rain: np.ndarray
    wetness: np.ndarray
    wind: np.ndarray


#: Sun azimuth and altitude, clouds, rain, wetness, wind.
PRESETS: Mapping[str, tuple[float, ...]] = {
    "ClearNoon": (-1.0, 45.0, 5.0, 0.0, 0.0, 10.0),
    "WetSunset": (-1.0, 15.0, 5.0, 0.0, 50.0, 10.0),
    "WetCloudyNoon": (-1.0, 45.0, 60.0, 0.0, 50.0, 10.0),
    "SoftRainSunset": (-1.0, 15.0, 20.0, 30.0, 50.0, 30.0),
    "MidRainSunset": (-1.0, 15.0, 60.0, 60.0, 60.0, 60.0),
    "HardRainNoon": (-1.0, 45.0, 100.0, 100.0, 90.0, 100.0),
}
SCHEDULES = ("per-episode", "slow", "fixed")
#: Steps of the slow weather, of whose units a frame takes this many.
SLOW_SPEED = 0.1
#: Degrees.
SUN_RANGE = (20.0, 90.0)
STORM_RANGE = (-250.0, 100.0)


def weather_at(seeds: np.ndarray, frame: np.ndarray, schedule: str, presets: Sequence[str]) -> Weather:
    """Return the weather of N episodes at a frame.

    Args:
        seeds: ``uint64[N]``, of the episodes' weather.
        frame: ``int64[N]``, frames since the start.
        schedule: of :data:`SCHEDULES`. "fixed": the one preset; "per-episode": a preset that is drawn at the start;
            "slow": sun and storm move.
        presets: names of :data:`PRESETS`; "slow" has no use for them.
    """
    if schedule == "slow":
        drawn = uniforms(seeds, 3)
        return slow_weather(360 * drawn[:, 0], 2 * np.pi * drawn[:, 1], drawn[:, 2], frame)
    rows = np.array([PRESETS[name] for name in presets])[drawn_presets(seeds, len(presets))]
    return Weather(*(np.ascontiguousarray(column) for column in rows.T))


def drawn_presets(seeds: np.ndarray, count: int) -> np.ndarray:
    """Return which of so many presets each episode has, ``int64[N]``."""
    return (uniforms(seeds, 1)[:, 0] * count).astype(np.int64)


def slow_weather(azimuth: np.ndarray, phase: np.ndarray, storm: np.ndarray, frame: np.ndarray) -> Weather:
    """Return the slow weather some frames after its start.

    Args:
        azimuth: ``float64[N]``, of the sun at the start, degrees.
        phase: ``float64[N]``, of the sun's altitude, radians.
        storm: ``float64[N]`` in [0, 1), where on its way up and down the storm starts.
        frame: ``int64[N]``.
    """
    passed = SLOW_SPEED * frame
    low, high = SUN_RANGE
    altitude = 0.5 * (high + low) + 0.5 * (high - low) * np.cos(phase + 0.008 * passed)
    calm, full = STORM_RANGE
    way = full - calm
    at = (2 * way * storm + 1.3 * passed) % (2 * way)
    strength = calm + np.where(at < way, at, 2 * way - at)
    clouds, rain = np.clip(strength + 40, 0, 60), np.clip(strength, 0, 80)
    wind = np.where(clouds <= 20, 5.0, np.where(rain >= 70, 90.0, 40.0))
    return Weather((azimuth + 0.25 * passed) % 360, altitude, clouds, rain, np.clip(strength + 20, 0, 85), wind)
