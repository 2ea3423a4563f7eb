"""An image of an episode for people: what the cameras see, and the road from above."""

from __future__ import annotations

import numpy as np

from bisimgym.envs import drawing
from bisimgym.envs.highway_driving.palette import PAINTS
from bisimgym.envs.highway_driving.road import HALF_WIDTH, LANE_WIDTH, NUM_LANES, RAIL
from bisimgym.envs.highway_driving.traffic import SIZES, World, nearest_copy

_WIDTH, _STRIP, _SCALE = 840, 112, 4.0  # pixels, pixels, pixels per meter
_GRASS, _ASPHALT, _LINE, _RAIL_COLOR, _OWN = (
    (78, 118, 58),
    (92, 92, 96),
    (226, 226, 216),
    (150, 154, 160),
    (250, 120, 30),
)


def picture(world: World, images: np.ndarray, index: int) -> np.ndarray:
    """Return an image of one episode: the cameras' enlarged, over the road around the car, straightened.

    Args:
        world: N episodes.
        images: ``uint8[N, S, C, 3]``, what their cameras see.
        index: of the episode.

    Returns:
        ``uint8[H, 840, 3]``.
    """
    image = images[index]
    scale = max(_WIDTH // image.shape[1], 1)
    large = drawing.enlarge(image, scale)[:, :_WIDTH]
    views = drawing.canvas(_WIDTH, len(large), (0, 0, 0))
    left = (_WIDTH - large.shape[1]) // 2
    views[:, left : left + large.shape[1]] = large
    return np.concatenate([views, _from_above(world, index)])


def _from_above(world: World, index: int) -> np.ndarray:
    strip = drawing.canvas(_WIDTH, _STRIP, _GRASS)
    _lengthways(strip, -HALF_WIDTH, HALF_WIDTH, _ASPHALT)
    for line in range(NUM_LANES + 1):
        d = line * LANE_WIDTH - HALF_WIDTH
        _lengthways(strip, d - 0.1, d + 0.1, _LINE)
    for rail in (-RAIL, RAIL):
        _lengthways(strip, rail - 0.2, rail + 0.2, _RAIL_COLOR)
    ahead = nearest_copy(world.others_s[index] - world.s[index])
    sizes, paints = SIZES[world.others_kind[index]], PAINTS[world.others_color[index]]
    for s, d, size, paint in zip(ahead, world.others_d[index], sizes, paints, strict=True):
        _car(strip, s, d, size, tuple(int(c) for c in paint))  # type: ignore[arg-type]
    _car(strip, 0.0, float(world.d[index]), SIZES[0], _OWN)
    return strip


def _lengthways(strip: np.ndarray, right: float, left: float, color: drawing.Color) -> None:
    low, high = (round(_STRIP / 2 + _SCALE * d) for d in (right, left))
    drawing.rectangle(strip, 0, low, _WIDTH, max(high - low, 1), color)


def _car(strip: np.ndarray, s: float, d: float, size: np.ndarray, color: drawing.Color) -> None:
    x, y = _WIDTH / 3 + _SCALE * (s - size[0] / 2), _STRIP / 2 + _SCALE * (d - size[1] / 2)
    drawing.rectangle(strip, round(x), round(y), round(_SCALE * size[0]), round(_SCALE * size[1]), color)
