"""The image of an episode: backdrop, rails, cars, walkers and rain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bisimgym.envs.highway_driving.backdrop import shade_ground, shade_sky
from bisimgym.envs.highway_driving.cameras import Rays, rays
from bisimgym.envs.highway_driving.palette import PAINTS, Palette, palette
from bisimgym.envs.highway_driving.road import to_frame
from bisimgym.envs.highway_driving.solids import Boxes, box_spans, paint, rail_spans
from bisimgym.envs.highway_driving.traffic import SIZES, World, nearest_copy
from bisimgym.envs.highway_driving.weather import Weather, weather_at
from bisimgym.envs.seeds import uniforms

_WALKER = (0.4, 0.5, 1.75)
#: Streaks of the hardest rain in a camera's image of 84 rows, and the brightness that they move pixels to.
_STREAKS, _RAIN_COLOR = 40, 190


def draw(world: World, size: int, cameras: int, schedule: str, presets: Sequence[str]) -> np.ndarray:
    """Return what the cameras of N episodes see, ``uint8[N, size, cameras * size, 3]``.

    Args:
        world: the episodes.
        size: rows, and columns of each camera.
        cameras: 1, 3 or 5.
        schedule, presets: of the weather, see :func:`~bisimgym.envs.highway_driving.weather.weather_at`.
    """
    weather = weather_at(world.weather_seed, world.frame, schedule, presets)
    boxes, colors = _boxes(world), palette(weather)
    table = rays(size, cameras)
    images = np.empty((len(world.s), size, cameras * size, 3), dtype=np.uint8)
    for i in range(len(images)):
        _draw_one(images[i], table, world, weather, _row(colors, i), _row(boxes, i), i)
    return images


def _row(fields: Any, i: int) -> Any:
    return type(fields)(*(field[i] for field in fields))


def _draw_one(
    image: np.ndarray, table: Rays, world: World, weather: Weather, colors: Palette, boxes: Boxes, i: int
) -> None:
    s, d, heading, curvature = (float(a[i]) for a in (world.s, world.d, world.heading, world.curvature))
    sun = float(weather.sun_azimuth[i]), float(weather.sun_altitude[i])
    above = len(table.v) - len(table.depth)
    blown = 0.002 * float(weather.wind[i]) * float(world.frame[i])
    image[:above] = shade_sky(table, colors, heading + curvature * s, sun, blown)
    image[above:] = shade_ground(table, colors, s, d, heading, curvature)
    paint(image, table, colors, rail_spans(table, colors, d, heading, curvature), box_spans(table, boxes))
    if colors.rain > 0:
        _rain(image, colors, world.weather_seed[i : i + 1], int(world.frame[i]))


def _boxes(world: World) -> Boxes:
    """Return the cars and walkers of N episodes as boxes around the agent's car, ``[N, B, ...]``."""
    vehicles, walkers = world.others_s.shape[1], world.walkers_s.shape[1]
    ahead = nearest_copy(np.concatenate([world.others_s, world.walkers_s], axis=1) - world.s[:, None])
    x, y, angle = to_frame(ahead, np.concatenate([world.others_d, world.walkers_d], axis=1), world.curvature[:, None])
    y = y - world.d[:, None]
    cos, sin = np.cos(world.heading)[:, None], np.sin(world.heading)[:, None]
    count = len(ahead)
    size = np.concatenate([SIZES[world.others_kind], np.broadcast_to(_WALKER, (count, walkers, 3))], axis=1)
    paints = np.broadcast_to(PAINTS[np.arange(walkers) % len(PAINTS)], (count, walkers, 3))
    color = np.concatenate([PAINTS[world.others_color], paints], axis=1)
    windows = np.broadcast_to(np.arange(vehicles + walkers) < vehicles, ahead.shape)
    return Boxes(x * cos + y * sin, y * cos - x * sin, angle - world.heading[:, None], size, color, windows)


def _rain(image: np.ndarray, colors: Palette, seed: np.ndarray, frame: int) -> None:
    """Draw streaks of rain, at other places in each frame."""
    rows, columns, _ = image.shape
    length = max(rows // 14, 1)
    count = round(_STREAKS * colors.rain * columns * rows / 84**2)
    if not count:
        return
    row, column = uniforms(seed, 2 * count, 1_000_000 * (frame + 1)).reshape(2, count)
    top = (row * rows).astype(np.int64)
    pixel = (
        np.minimum(top[:, None] + np.arange(length), rows - 1) * columns + (column * columns).astype(np.int64)[:, None]
    )
    flat = image.reshape(-1, 3)
    pixel = pixel.ravel()
    flat[pixel] = (flat[pixel].astype(np.uint16) + _RAIN_COLOR) // 2
