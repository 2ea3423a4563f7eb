"""Figures of runs, as small PNG files that say who made them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bisimgym.envs.files import MARK

INK = "#1b2733"
_SIZE, _DPI, _PALETTE = (7.2, 5.8), 100, 128


def new_figure(title: str, size: tuple[float, float] = _SIZE) -> Figure:
    """Return an empty figure with a title; sizes are in inches."""
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK)
    return figure


def write_figures(figures: Mapping[str, Figure], folder: Path) -> Iterator[Path]:
    """Write figures, by their names without ``.png``, into a folder that is there, and yield the paths of the files.

    Files have 128 colors, a quarter of the bytes of all, and look the same.
    """
    marked = PngInfo()
    marked.add_text("Software", MARK)
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=_DPI)
        with Image.open(drawn) as picture:
            small = picture.convert("RGB").quantize(_PALETTE, dither=Image.Dither.NONE)
            small.save(path, optimize=True, pnginfo=marked)
        yield path
