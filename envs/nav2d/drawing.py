"""Nav2D for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bisimgym.envs import drawing
from bisimgym.envs.nav2d.layouts import neighbors, places

if TYPE_CHECKING:
    from bisimgym.envs.nav2d.env import Nav2DState

_GROUND, _LINE, _WALL, _WALL_TOP = (24, 28, 48), (34, 39, 62), (96, 102, 132), (128, 135, 168)
_AGENT, _GOAL, _START, _WAY = (250, 206, 92), (90, 150, 230), (58, 66, 104), (62, 92, 140)


def draw(state: Nav2DState, index: int, size: int, width: int = 480) -> np.ndarray:
    """Return an image of one state, ``uint8[P, P, 3]``, P about ``width``: agent, goal and the oracle's path."""
    scale = max(width // size, 6)
    image = drawing.canvas(size * scale, size * scale, _GROUND)
    image[::scale], image[:, ::scale] = _LINE, _LINE
    gap = max(scale // 12, 1)

    def block(cell: int | np.integer, color: drawing.Color, margin: int) -> None:
        top, left = places(size)[cell] * scale
        image[top + margin : top + scale - margin, left + margin : left + scale - margin] = color

    def disc(cell: int | np.integer, color: drawing.Color, radius: float) -> None:
        y, x = (places(size)[cell] + 0.5) * scale
        drawing.disc(image, x, y, scale * radius, color)

    for wall in np.flatnonzero(state.obstacles[index]):
        block(wall, _WALL, 0)
        block(wall, _WALL_TOP, gap)
    block(state.start[index], _START, gap)
    cell, distance = int(state.cell[index]), state.distance[index]
    while distance[cell] > 1:
        around = neighbors(size)[cell]
        cell = int(around[(distance[around] < distance[cell]).argmax()])
        block(cell, _WAY, scale * 2 // 5)
    disc(state.goal[index], _GOAL, 0.4)
    disc(state.goal[index], _GROUND, 0.22)
    disc(state.cell[index], _AGENT, 0.32)
    return image
