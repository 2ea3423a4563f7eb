"""Images for people: drawing on arrays, and the window that shows them.

Coordinates are pixels with the origin at the lower left.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

Color = tuple[int, int, int]


def canvas(width: int, height: int, color: Color) -> np.ndarray:
    """Return ``uint8[height, width, 3]`` filled with one color, top row first."""
    return np.full((height, width, 3), color, dtype=np.uint8)


def rectangle(image: np.ndarray, x: int, y: int, width: int, height: int, color: Color) -> None:
    """Fill a rectangle whose lower left corner is (x, y), clipped at the border of ``image``."""
    rows = image.shape[0]
    image[max(rows - y - height, 0) : max(rows - y, 0), max(x, 0) : max(x + width, 0)] = color


def disc(image: np.ndarray, x: float, y: float, radius: float, color: Color) -> None:
    """Fill a disc with smooth edges around (x, y); here y is counted from the top."""
    top, left = max(int(y - radius) - 1, 0), max(int(x - radius) - 1, 0)
    part = image[top : int(y + radius) + 2, left : int(x + radius) + 2]
    rows, columns = np.indices(part.shape[:2])
    distance = np.hypot(columns + left + 0.5 - x, rows + top + 0.5 - y)
    cover = np.clip(radius - distance + 0.5, 0, 1)[:, :, None]
    part[:] = (cover * np.array(color) + (1 - cover) * part).astype(np.uint8)


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Return the image with every pixel repeated ``scale`` times in both directions."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


class Window:
    """A desktop window for ``render_mode="human"``: shows frames at a given rate.

    One that the user closes stays closed until ``close`` and a new one.

    Raises:
        ImportError: without pygame.
    """

    def __init__(self, frames_per_second: int):
        try:
            import pygame
        except ImportError as error:
            # Where pygame has no wheel, the extra leaves it out.
            install = "pip install pygame" if sys.version_info >= (3, 14) else 'pip install "bisimgym[render]"'
            raise ImportError(f'render_mode="human" needs pygame: {install}') from error
        self._pygame = pygame
        pygame.display.init()
        self._clock = pygame.time.Clock()
        self._frames_per_second = frames_per_second
        self._surface: Any = None
        self._closed_by_user = False

    def show(self, frame: np.ndarray, caption: str) -> None:
        """Show ``uint8[H, W, 3]`` and wait until the frame's time is over."""
        if self._closed_by_user:
            return
        height, width = frame.shape[:2]
        if self._surface is None or self._surface.get_size() != (width, height):
            self._surface = self._pygame.display.set_mode((width, height))
        self._pygame.display.set_caption(caption)
        self._pygame.surfarray.blit_array(self._surface, frame.swapaxes(0, 1))
        self._pygame.display.flip()
        for event in self._pygame.event.get():
            if event.type == self._pygame.QUIT:
                self._closed_by_user = True
                self._pygame.display.quit()
                return
        self._clock.tick(self._frames_per_second)

    def close(self) -> None:
        self._pygame.display.quit()
        self._surface = None
