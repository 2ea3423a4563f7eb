"""Boxes and rails before the backdrop, column by column.

Cameras have no pitch or roll, so that the rays of a column meet an upright box along one line on the ground: where it
enters and leaves gives the rows of front and top, as in Carmack's "Wolfenstein 3D". Spans are painted from far to near.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bisimgym.envs.highway_driving.backdrop import fog_at
from bisimgym.envs.highway_driving.cameras import HEIGHT, Rays
from bisimgym.envs.highway_driving.palette import Palette
from bisimgym.envs.highway_driving.road import RAIL

#: Nothing is nearer to a camera, and boxes farther than this are not drawn, m.
_NEAREST, _FARTHEST = 0.3, 190.0
#: Height of rails, and of their lower edge, m.
_RAIL_TOP, _RAIL_BOTTOM = 0.8, 0.4
#: Light on what is seen from behind or before, from the side, and on windows; a top has its color.
_END, _SIDE, _WINDOW = 0.85, 0.7, 0.3
#: Windows begin at this share of a car's height.
_SILL = 0.58


class Boxes(NamedTuple):
    """Upright boxes in the car's frame.

    Attributes:
        x, y: ``float64[B]``, m, their middles, ahead and to the left.
        angle: ``float64[B]``, rad to the left.
        size: ``float64[B, 3]``, m: length, width, height.
        color: ``float64[B, 3]``.
        windows: ``bool[B]``.
    """

    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    size: np.ndarray
    color: np.ndarray
    windows: np.ndarray


class Spans(NamedTuple):
    """Vertical runs of pixels of one color each.

    Attributes:
        column: ``int64[M]``.
        top, bottom: ``float64[M]``, how fast the rays of their edges fall with depth.
        depth: ``float64[M]``, m.
        color: ``float64[M, 3]``, in daylight.
    """

    column: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    depth: np.ndarray
    color: np.ndarray


def box_spans(rays: Rays, boxes: Boxes) -> Spans:
    """Return the spans of boxes: of each column that meets one its front, the windows in it and its top."""
    near = np.flatnonzero(boxes.x * boxes.x + boxes.y * boxes.y < _FARTHEST * _FARTHEST)
    x, y, angle, size, color, windows = (field[near] for field in boxes)
    enter, leave, side = _crossed(rays, x, y, angle, size)
    box, column = np.nonzero((leave > np.maximum(enter, _NEAREST)) & (leave > 0))
    enter, leave, side = np.maximum(enter[box, column], _NEAREST), leave[box, column], side[box, column]
    height, color = size[box, 2], color[box]
    front = color * np.where(side, _SIDE, _END)[:, None]
    top = (HEIGHT - height) / enter
    glass = np.flatnonzero(windows[box])
    return _joined(
        Spans(column, (HEIGHT - height) / leave, top, leave, color),
        Spans(column, top, HEIGHT / enter, enter, front),
        Spans(
            column[glass],
            top[glass] + 0.02 * height[glass] / enter[glass],
            (HEIGHT - _SILL * height[glass]) / enter[glass],
            enter[glass] - 1e-3,
            front[glass] * _WINDOW,
        ),
    )


def _crossed(
    rays: Rays, x: np.ndarray, y: np.ndarray, angle: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the depths where the columns enter and leave boxes, ``float64[B, C]``, and whether through a side."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along, across = rays.columns
    dx, dy = cos * along + sin * across, cos * across - sin * along
    ox, oy = -(cos[:, 0] * x + sin[:, 0] * y)[:, None], -(cos[:, 0] * y - sin[:, 0] * x)[:, None]
    dx, dy = (np.where(np.abs(part) < 1e-9, 1e-9, part) for part in (dx, dy))
    ends = np.abs(size[:, :1] / 2 / dx)
    sides = np.abs(size[:, 1:2] / 2 / dy)
    middle_x, middle_y = -ox / dx, -oy / dy
    enter_x, enter_y = middle_x - ends, middle_y - sides
    return np.maximum(enter_x, enter_y), np.minimum(middle_x + ends, middle_y + sides), enter_y > enter_x


def rail_spans(rays: Rays, colors: Palette, d: float, heading: float, curvature: float) -> Spans:
    """Return the spans of the rails on both sides of the road, seen from a car at d with a heading to the road."""
    along, across = rays.columns
    dx = along * np.cos(heading) - across * np.sin(heading)
    dy = along * np.sin(heading) + across * np.cos(heading)
    found = []
    for rail in (-RAIL, RAIL):
        depth = rail_depth(dx, dy, d, curvature, rail)
        column = np.flatnonzero((depth > _NEAREST) & (depth < _FARTHEST))
        depth = depth[column]
        color = np.broadcast_to(colors.rail, (len(column), 3))
        found.append(Spans(column, (HEIGHT - _RAIL_TOP) / depth, (HEIGHT - _RAIL_BOTTOM) / depth, depth, color))
    return _joined(*found)


def rail_depth(dx: np.ndarray, dy: np.ndarray, d: float, curvature: float, rail: float) -> np.ndarray:
    """Return where rays from (0, d) first reach the line of d = ``rail``, ``float64[C]``; infinite if never.

    Places at d lie on 2 y - k (x^2 + y^2) = 2 d - k d^2, which along a ray is quadratic in depth.
    """
    a = -curvature * (dx * dx + dy * dy)
    b = 2 * dy * (1 - curvature * d)
    c = 2 * (d - rail) - curvature * (d * d - rail * rail)
    inside = b * b - 4 * a * c
    root = np.sqrt(np.maximum(inside, 0))
    q = -(b + np.where(b < 0, -root, root)) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.stack([q / a, c / q])
    roots = np.where((roots > 0) & (inside >= 0), roots, np.inf)
    return roots.min(axis=0)


def _joined(*spans: Spans) -> Spans:
    return Spans(*(np.concatenate(parts) for parts in zip(*spans, strict=True)))


def paint(image: np.ndarray, rays: Rays, colors: Palette, *spans: Spans) -> None:
    """Paint spans into an image, ``uint8[S, C, 3]``, the far ones first, under the weather's light and fog."""
    all_spans = _joined(*spans)
    order = np.argsort(-all_spans.depth, kind="stable")
    column, top, bottom, depth, color = (field[order] for field in all_spans)
    rows = len(rays.v)
    first, end = (np.clip(np.ceil(v * rays.focal + rows / 2 - 0.5), 0, rows).astype(np.int64) for v in (top, bottom))
    length = np.maximum(end - first, 0)
    fog = fog_at(colors, depth)[:, None]
    lit = np.clip((1 - fog) * (color * colors.light) + fog * colors.horizon, 0, 255).astype(np.uint8)
    place = np.arange(length.sum()) - np.repeat(length.cumsum() - length, length)  # in the span
    pixel = (np.repeat(first, length) + place) * image.shape[1] + np.repeat(column, length)
    image.reshape(-1, 3)[pixel] = np.repeat(lit, length, axis=0)  # of pixels that repeat, the last stays
