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
    found, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    most = found[np.argsort(-counts, kind="stable")[:2]].astype(np.float64)
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
        marks = (faces.min(axis=-1) > 250).astype(np.uint8)
        plain = np.where(marks[..., None] > 0, 0, faces)
        horizon = plain.reshape(-1, 3)[plain.reshape(-1, 3).max(axis=1).argmax()].astype(np.float32)
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
