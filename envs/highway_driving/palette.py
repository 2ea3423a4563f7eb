"""The colors of the stand-in in a weather: of sky, ground and cars. They say nothing that matters to the task."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bisimgym.envs.highway_driving.weather import Weather

_CLEAR_ZENITH, _CLEAR_HORIZON = (72.0, 122.0, 196.0), (182.0, 204.0, 226.0)
_SUNSET_ZENITH, _SUNSET_HORIZON = (92.0, 96.0, 142.0), (246.0, 168.0, 108.0)
_OVERCAST, _CLOUD = (158.0, 163.0, 170.0), (226.0, 228.0, 232.0)
_NOON_SUN, _SUNSET_SUN = (255.0, 250.0, 232.0), (255.0, 196.0, 120.0)
_ASPHALT, _MARK, _RAIL = (92.0, 92.0, 96.0), (226.0, 226.0, 216.0), (150.0, 154.0, 160.0)
_GRASS = ((78.0, 118.0, 58.0), (88.0, 128.0, 66.0))
#: Of cars; trucks and walkers have them too.
PAINTS = np.array(
    [
        (196, 44, 44), (44, 84, 176), (226, 226, 226), (36, 38, 42),
        (228, 184, 52), (60, 138, 84), (146, 150, 156), (180, 102, 44),
    ],
    dtype=np.float64,
)  # fmt: skip


class Palette(NamedTuple):
    """Colors in the weather of N episodes, ``float64[N, 3]`` from 0 to 255, or of one of them.

    Attributes:
        zenith, horizon: of the sky; fog has the color of the horizon.
        cloud, sun: of these.
        cloudiness: ``float64[N]``, fraction of the sky that clouds cover.
        asphalt, mark, rail: of the road.
        grass: ``float64[N, 2, 3]``, of alternating strips.
        light: ``float64[N]``, the fraction of its color that a thing in daylight has.
        fog: ``float64[N]``, fraction of a color that fog takes per meter.
        rain: ``float64[N]``, fraction of the hardest rain.
    """

    zenith: np.ndarray
    horizon: np.ndarray
    cloud: np.ndarray
    sun: np.ndarray
    cloudiness: np.ndarray
    asphalt: np.ndarray
    mark: np.ndarray
    rail: np.ndarray
    grass: np.ndarray
    light: np.ndarray
    fog: np.ndarray
    rain: np.ndarray


def palette(weather: Weather) -> Palette:
    """Return the colors in the weather of N episodes."""
    cover, rain, wet = (column[:, None] / 100 for column in (weather.clouds, weather.rain, weather.wetness))
    low_sun = np.clip((40 - weather.sun_altitude[:, None]) / 25, 0, 1)
    height = np.sin(np.radians(np.clip(weather.sun_altitude[:, None], 0, 60))) / np.sin(np.radians(60))
    light = (0.45 + 0.55 * height) * (1 - 0.35 * cover)
    gray = np.array(_OVERCAST) * (1 - 0.35 * rain)
    sunset = low_sun * (1 - 0.7 * cover)
    brightness = 0.6 + 0.4 * light
    horizon = _mix(_mix(_CLEAR_HORIZON, _SUNSET_HORIZON, sunset), gray, 0.8 * cover) * brightness
    tint = _mix((1.0, 1.0, 1.0), (1.05, 0.94, 0.82), sunset) * light
    return Palette(
        zenith=_mix(_mix(_CLEAR_ZENITH, _SUNSET_ZENITH, sunset), gray, 0.9 * cover) * brightness,
        horizon=horizon,
        cloud=_mix(_mix(_CLOUD, _SUNSET_HORIZON, 0.4 * sunset), gray, 0.8 * cover) * brightness,
        sun=_mix(_NOON_SUN, _SUNSET_SUN, low_sun) * (1 - 0.5 * cover),
        cloudiness=cover[:, 0],
        asphalt=_mix(np.array(_ASPHALT) * tint * (1 - 0.3 * wet), horizon, 0.25 * wet),
        mark=np.array(_MARK) * tint,
        rail=np.array(_RAIL) * tint,
        grass=np.array(_GRASS) * tint[:, None, :],
        light=light[:, 0],
        fog=0.0015 + 0.008 * rain[:, 0],
        rain=rain[:, 0],
    )


def _mix(one: Any, other: Any, share: np.ndarray) -> np.ndarray:
    return (1 - share) * np.asarray(one) + share * np.asarray(other)
