"""Periodic textures with smaller copies of themselves (mipmaps) against aliasing."""

from __future__ import annotations

import numpy as np


class Pyramid:
    """A texture at several sizes, each half of the one before, in one array: far away, small ones are looked up.

    Coordinates and the width of a pixel (its footprint) are in periods of the texture, column first.

    Args:
        image: ``float[R, R, C]``, R a power of two.

    Attributes:
        texels: ``float32[T, C]`` of all sizes, the largest first.
    """

    def __init__(self, image: np.ndarray):
        levels = [image]
        while len(levels[-1]) > 1:
            last = levels[-1]
            levels.append(last.reshape(len(last) // 2, 2, len(last) // 2, 2, -1).mean(axis=(1, 3)))
        self._size, self._depth = len(image), len(levels)
        self._starts = np.cumsum([0] + [len(level) ** 2 for level in levels[:-1]])
        self.texels = np.concatenate([level.reshape(-1, image.shape[2]) for level in levels]).astype(np.float32)

    def nearest(self, u: np.ndarray, v: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """Return the indices into ``texels`` that pixels show, ``int[...]``."""
        level, width = self._level(footprint)
        column = np.minimum((u % 1.0 * width).astype(int), width - 1)
        row = np.minimum((v % 1.0 * width).astype(int), width - 1)
        return self._starts[level] + row * width + column

    def bilinear(self, u: np.ndarray, v: np.ndarray, footprint: np.ndarray | float) -> np.ndarray:
        """Return the means of the four texels around each pixel, ``float32[..., C]``."""
        level, width = self._level(footprint)
        start, last = self._starts[level], width - 1
        column, row = np.float32(u) * np.float32(width), np.float32(v) * np.float32(width)
        left, top = np.floor(column), np.floor(row)
        right_share, low_share = (column - left)[..., None], (row - top)[..., None]
        left, top = left.astype(int) & last, top.astype(int) & last
        right, low = (left + 1) & last, start + ((top + 1) & last) * width
        upper, lower = (
            self._between(start + top * width, left, right, right_share),
            self._between(low, left, right, right_share),
        )
        return upper + (lower - upper) * low_share

    def _between(self, row: np.ndarray, left: np.ndarray, right: np.ndarray, right_share: np.ndarray) -> np.ndarray:
        one, two = self.texels.take(row + left, axis=0), self.texels.take(row + right, axis=0)
        return one + (two - one) * right_share

    def _level(self, footprint: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return the number and the width of the copies whose texels are about as wide as pixels."""
        texels = np.maximum(np.asarray(footprint) * self._size, 1.0)
        level = np.clip(np.log2(texels).round().astype(int), 0, self._depth - 1)
        return level, self._size >> level
