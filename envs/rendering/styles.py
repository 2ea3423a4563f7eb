"""New colors for the floor and the sky of a scene, without compiling its model again."""

from __future__ import annotations

import numpy as np

from bisimgym.envs.rendering.look import resize_area

#: Recolored skies have faces of this size: enough for images of 84 pixels, and quick.
SKY_SIZE = 160


def recolored_checker(pixels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return a two-colored texture in two other colors, ``uint8[h, w, 3]``.

    Args:
        pixels: ``uint8[h, w, 3]``. Its two most frequent colors are replaced, and what is between them is mixed.
        colors: ``float[2, 3]`` in [0, 1]: in place of the darker and of the brighter one.
    """
    packed, counts = np.unique(pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1), return_counts=True)
    most = packed[np.argsort(-counts, kind="stable")[:2], None] >> (16, 8, 0) & 255
    most = most.astype(np.float64)
    dark, bright = most[most.sum(axis=1).argsort()][[0, -1]]
    axis = bright - dark
    share = (pixels - dark) @ axis / max(axis @ axis, 1.0)
    mixed = colors[0] + np.clip(share, 0.0, 1.0)[..., None] * (np.asarray(colors[1]) - colors[0])
    return np.rint(255.0 * mixed).astype(np.uint8)


class SkyColors:
    """The sky of a model taken apart, so that it can be put together in other colors.

    A sky of the suite is a gradient from a horizon color to black, with white marks.

    Args:
        faces: ``uint8[6, n, n, 3]``.
    """

    def __init__(self, faces: np.ndarray):
        # Channel by channel: reducing an axis of three is forty times slower.
        red, green, blue = np.moveaxis(faces, -1, 0)
        marks = (np.minimum(np.minimum(red, green), blue) > 250).astype(np.uint8)
        plain = np.where(marks[..., None] > 0, 0, faces)
        red, green, blue = np.moveaxis(plain, -1, 0)
        brightest = np.maximum(np.maximum(red, green), blue).argmax()
        horizon = plain.reshape(-1, 3)[brightest].astype(np.float32)
        brightness = np.clip(plain.astype(np.float32) @ horizon / max(float(horizon @ horizon), 1.0), 0.0, 1.0)
        size = min(SKY_SIZE, faces.shape[1])
        gray = np.stack([np.rint(255 * brightness).astype(np.uint8), 255 * marks, 255 * marks], axis=-1)
        small = resize_area(gray, size).astype(np.float32) / 255.0
        self._marks = small[..., 1:2]
        # Where marks were, the gradient is that of the pixels around them.
        self._brightness = small[..., :1] / np.maximum(1.0 - self._marks, 1e-3)

    def recolored(self, horizon: np.ndarray) -> np.ndarray:
        """Return the sky with another horizon color (``float[3]`` in [0, 1]), ``uint8[6, m, m, 3]``."""
        color = np.minimum(self._brightness, 1.0) * np.asarray(horizon, dtype=np.float32)
        return np.rint(255.0 * (color + self._marks * (1.0 - color))).astype(np.uint8)
