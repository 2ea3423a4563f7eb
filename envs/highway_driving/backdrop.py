"""Sky and ground behind the cars: one ray per pixel, in closed form."""

from __future__ import annotations

import functools

import numpy as np

from bisimgym.envs.highway_driving.cameras import Rays
from bisimgym.envs.highway_driving.palette import Palette
from bisimgym.envs.highway_driving.road import HALF_WIDTH, LANE_WIDTH, along, lateral
from bisimgym.envs.seeds import uniforms

#: Half the width of a lane mark, m; period and length of dashes; strips of grass; the paved margin.
_MARK, _DASH_PERIOD, _DASH, _STRIP, _MARGIN = 0.09, 12.0, 5.0, 10.0, 0.6
#: Kinds of ground: two of grass, then asphalt that a mark covers by so many steps.
_COVERS = 8
#: Columns of the clouds all around, and degrees from one to the next knot of their noise.
_CLOUD_COLUMNS = 720


def shade_sky(rays: Rays, colors: Palette, heading: float, sun: tuple[float, float], wind: float) -> np.ndarray:
    """Return the rows above the horizon, ``uint8[R, C, 3]``.

    Args:
        rays: of the image.
        colors: of the weather.
        heading: of the car in the world, rad to the left.
        sun: azimuth, to the right of where s = 0 leads, and altitude, degrees.
        wind: how far clouds have moved, degrees.
    """
    x, y, z = rays.sky
    azimuth = -np.radians(sun[0]) - heading
    flat = np.cos(np.radians(sun[1]))
    near = np.float32(flat * np.cos(azimuth)) * x
    near += np.float32(flat * np.sin(azimuth)) * y
    near += np.float32(np.sin(np.radians(sun[1]))) * z
    glow = np.maximum(near, 0)
    for _ in range(4):  # to the power of 16
        glow *= glow
    cover = np.float32(colors.cloudiness)
    clouds = cloud_noise(len(x))[:, cloud_columns(rays, heading, wind)]
    thick = np.clip((clouds - (1 - cover)) * np.float32(3), 0, 1)
    glow *= 1 - np.float32(0.8) * thick
    rise = z[:, :1] / np.maximum(z.max(), np.float32(1e-6))
    image = np.empty((*x.shape, 3), dtype=np.uint8)
    for channel in range(3):
        low, high = np.float32(colors.horizon[channel]), np.float32(colors.zenith[channel])
        base = low + (high - low) * np.sqrt(rise)
        plane = base + (np.float32(colors.cloud[channel]) - base) * thick
        plane += (np.float32(colors.sun[channel]) - plane) * glow
        image[..., channel] = plane
    return image


def cloud_columns(rays: Rays, heading: float, wind: float) -> np.ndarray:
    """Return for each column of an image the column of the clouds that it looks at, ``int64[C]``."""
    to_the_left = rays.azimuth + (heading + np.radians(wind))
    return np.floor(to_the_left * (_CLOUD_COLUMNS / (2 * np.pi))).astype(np.int64) % _CLOUD_COLUMNS


@functools.cache
def cloud_noise(rows: int) -> np.ndarray:
    """Return smooth noise in [0, 1] around the horizon, ``float32[rows, 720]``, the top row first; it is shared."""
    total, weight = np.zeros((rows, _CLOUD_COLUMNS)), 0.0
    for octave, knots in enumerate((12, 24, 48)):
        table = uniforms(np.array([7 + octave], dtype=np.uint64), knots * (knots + 1)).reshape(knots + 1, knots)
        down, across = np.linspace(0, knots / 3, rows), np.arange(_CLOUD_COLUMNS) * (knots / _CLOUD_COLUMNS)
        total += _smooth(table, down, across) * 0.5**octave
        weight += 0.5**octave
    low, high = total.min(), total.max()
    return ((total - low) / max(high - low, 1e-9)).astype(np.float32)


def _smooth(table: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return a table at places between its knots, around in its columns, by smooth steps."""
    i, j = np.floor(down).astype(np.int64), np.floor(across).astype(np.int64)
    a, b = ((t * t * (3 - 2 * t)) for t in (down - i, across - j))
    i_next, j_next = np.minimum(i + 1, len(table) - 1), (j + 1) % table.shape[1]
    upper = table[i][:, j] * (1 - b) + table[i][:, j_next] * b
    lower = table[i_next][:, j] * (1 - b) + table[i_next][:, j_next] * b
    return upper * (1 - a[:, None]) + lower * a[:, None]


def shade_ground(rays: Rays, colors: Palette, s: float, d: float, heading: float, curvature: float) -> np.ndarray:
    """Return the rows below the horizon, ``uint8[G, C, 3]``, of a car at a place of the road."""
    kinds = ground_kinds(rays, s, d, heading, curvature)
    kinds += (np.arange(len(rays.depth), dtype=np.int64) * (2 + _COVERS))[:, None]
    return _table(rays, colors).take(kinds, axis=0)


def ground_kinds(rays: Rays, s: float, d: float, heading: float, curvature: float) -> np.ndarray:
    """Return what each pixel below the horizon shows, ``int64[G, C]``: grass 0 or 1, from 2 on asphalt and marks."""
    turn_x, turn_y = np.float32(np.cos(heading)), np.float32(np.sin(heading))
    ahead, left = rays.ground
    x = ahead * turn_x - left * turn_y
    y = ahead * turn_y + left * turn_x
    y += np.float32(d)
    bend = np.float32(curvature)
    off = lateral(x, y, bend)
    at = along(x, y, bend) + np.float32(s % (_DASH_PERIOD * _STRIP))
    lanes = off * np.float32(1 / LANE_WIDTH)
    line = np.rint(lanes)
    cover = (np.float32(_MARK) - np.abs(lanes - line) * np.float32(LANE_WIDTH)) / rays.footprint
    cover += np.float32(0.5)
    cover *= np.float32(_COVERS)
    dashes = at * np.float32(1 / _DASH_PERIOD)
    dashes -= np.floor(dashes)
    edge = np.abs(line) >= np.float32(HALF_WIDTH / LANE_WIDTH)
    cover *= edge | (dashes < np.float32(_DASH / _DASH_PERIOD))
    # A mark that is thinner than a pixel is as faint.
    thin = np.minimum(np.float32(2 * _MARK * (_COVERS - 1)) / rays.footprint, np.float32(_COVERS - 1))
    kinds = np.clip(cover, 0, thin).astype(np.int64)
    kinds += 2
    strips = np.floor(at * np.float32(1 / _STRIP)).astype(np.int64) & 1
    return np.where(np.abs(off) > np.float32(HALF_WIDTH + _MARGIN), strips, kinds)


def _table(rays: Rays, colors: Palette) -> np.ndarray:
    """Return the colors of all kinds of ground in every row, ``uint8[G * (2 + _COVERS), 3]``."""
    share = np.linspace(0, 1, _COVERS)[:, None]
    kinds = np.concatenate([colors.grass, (1 - share) * colors.asphalt + share * colors.mark])
    fog = fog_at(colors, rays.depth)[:, None, None]
    return ((1 - fog) * kinds + fog * colors.horizon).reshape(-1, 3).astype(np.uint8)


def fog_at(colors: Palette, depth: np.ndarray) -> np.ndarray:
    """Return the share of a color that fog takes at some depths, m."""
    return 1 - np.exp(-colors.fog * depth.astype(np.float64))
