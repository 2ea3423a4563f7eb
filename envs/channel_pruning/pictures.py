"""What an episode looks like to people: the picture, the channels that each layer keeps, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bisimgym.envs import drawing

_WIDTH, _HEIGHT, _MARGIN, _PICTURE = 420, 260, 16, 160
_BACKGROUND, _EMPTY, _KEPT, _NOW = (24, 28, 48), (44, 50, 76), (92, 170, 224), (236, 184, 80)
_WITHIN, _OVER, _CAP = (110, 190, 130), (228, 84, 76), (240, 240, 245)
_BAR_HEIGHT = 14


def draw(
    shown: np.ndarray,
    kept: np.ndarray,
    step: int,
    importance: np.ndarray,
    spent: Mapping[str, float],
    caps: Mapping[str, float],
) -> np.ndarray:
    """Return an image of an episode, ``uint8[260, 420, 3]``.

    At the left the picture that is classified; at the right a column for each layer, filled as far as it keeps its
    channels (blue; the next layer is amber, with the importance of its channels as ticks). The bars below are MACs and
    parameters; the one with a budget, whose place a white mark shows, is green within it and red above.

    Args:
        shown: ``uint8[H, W, 3]``.
        kept: ``float64[T]``, fractions of channels.
        step: layers that are computed.
        importance: ``float64[C]`` of the next layer's channels.
        spent: fractions of MACs and parameters.
        caps: the budget of one of them.
    """
    image = drawing.canvas(_WIDTH, _HEIGHT, _BACKGROUND)
    rows = np.arange(_PICTURE) * shown.shape[0] // _PICTURE
    columns = np.arange(_PICTURE) * shown.shape[1] // _PICTURE
    image[_MARGIN : _MARGIN + _PICTURE, _MARGIN : _MARGIN + _PICTURE] = shown[rows][:, columns]
    left, bottom = 2 * _MARGIN + _PICTURE, _HEIGHT - _MARGIN - _PICTURE
    slot = (_WIDTH - _MARGIN - left) // len(kept)
    for layer, fraction in enumerate(kept):
        x = left + layer * slot
        drawing.rectangle(image, x, bottom, slot - 6, _PICTURE, _EMPTY)
        if layer < step:
            drawing.rectangle(image, x, bottom, slot - 6, round(_PICTURE * fraction), _KEPT)
        elif layer == step:
            scale = max(np.abs(importance).max(), 1e-9)
            for index, value in enumerate(importance):
                y = bottom + index * _PICTURE // len(importance)
                drawing.rectangle(image, x, y, round((slot - 6) * abs(value) / scale), 2, _NOW)
    width = _WIDTH - 2 * _MARGIN
    for index, (name, fraction) in enumerate(spent.items()):
        y = _MARGIN + (1 - index) * (_BAR_HEIGHT + 10)
        color = _KEPT if name not in caps else _WITHIN if fraction <= caps[name] + 1e-9 else _OVER
        drawing.rectangle(image, _MARGIN, y, width, _BAR_HEIGHT, _EMPTY)
        drawing.rectangle(image, _MARGIN, y, round(width * fraction), _BAR_HEIGHT, color)
        if name in caps:
            drawing.rectangle(image, _MARGIN + round(width * caps[name]) - 1, y - 3, 3, _BAR_HEIGHT + 6, _CAP)
    return image
