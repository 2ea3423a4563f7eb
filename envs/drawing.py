"""Drawing on arrays, for the pictures that people look at. Coordinates are pixels with the origin at the lower left."""

from __future__ import annotations

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
    away = np.hypot(columns + left + 0.5 - x, rows + top + 0.5 - y)
    cover = np.clip(radius - away + 0.5, 0, 1)[:, :, None]
    part[:] = (cover * np.array(color) + (1 - cover) * part).astype(np.uint8)


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Return the image with every pixel repeated ``scale`` times in both directions."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)
