"""Pictures of an encoder's distances beside exact ones: all pairs, nearest neighbors as images, and one state's map."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bisimgym.benchmarks.measures.encoder_score import DISCOUNT, REFERENCE, Distance, distance_of
from bisimgym.benchmarks.measures.metric_fidelity import distance_matrix, embeddings
from bisimgym.benchmarks.measures.processes import FidelityProcess, fidelity_process
from bisimgym.benchmarks.suites.figures import new_figure

FILES = ("1_pairs", "2_neighbors", "3_map")
_QUERIES, _NEIGHBORS = 3, 5
#: Pixels of an image, about, and between two.
_IMAGE, _GAP = 128, 20


def figures_of(encode: Any, task: str, distance: Distance | None = None) -> dict[str, Figure]:
    """Return the pictures of an encoder by the names of their files.

    Args and errors: those of :func:`~bisimgym.benchmarks.measures.encoder_score.score_encoder`.
    """
    process = fidelity_process(task, [REFERENCE], DISCOUNT)
    z = embeddings(encode, process.observations, len(process.observations))
    learned = distance_matrix(distance_of(encode, distance), z)
    exact = process.distances[REFERENCE]
    drawn = (_pairs(learned, exact), _neighbors(learned, exact, process), _map(learned, exact, process))
    return dict(zip(FILES, drawn, strict=True))


def _pairs(learned: np.ndarray, exact: np.ndarray) -> Figure:
    figure = new_figure("Learned against exact distances, all pairs of states")
    ax = figure.subplots()
    pairs = np.triu_indices(len(exact), 1)
    cells = ax.hexbin(exact[pairs], learned[pairs], gridsize=45, bins="log", mincnt=1, cmap="viridis", linewidths=0)
    figure.colorbar(cells, ax=ax, label="pairs of states")
    ax.set(xlabel="exact: on-policy bisimulation of random actions", ylabel="learned", ylim=(0, None))
    return figure


def _neighbors(learned: np.ndarray, exact: np.ndarray, process: FidelityProcess) -> Figure:
    """Draw all images as one, which is quicker than a plot of each."""
    height, width = (max(1, _IMAGE // n) * n for n in process.images.shape[1:3])
    step, across = height + _GAP, width + _GAP
    canvas = np.full((2 * _QUERIES * step, (1 + _NEIGHBORS) * across, 3), 255, np.uint8)
    figure = new_figure("States (left) and their nearest five", (9.0, 9.0 * canvas.shape[0] / canvas.shape[1] + 0.5))
    ax = figure.subplots()
    for i, query in enumerate(np.linspace(0, len(exact) - 1, _QUERIES + 2).round().astype(int)[1:-1]):
        for j, (name, distances) in enumerate((("learned", learned), ("exact", exact))):
            others = distances[query] + np.where(np.arange(len(exact)) == query, np.inf, 0.0)
            top = (2 * i + j) * step
            for k, state in enumerate([query, *np.argsort(others, kind="stable")[:_NEIGHBORS]]):
                image = _colors(process.images[state])
                scaled = image.repeat(height // image.shape[0], axis=0).repeat(width // image.shape[1], axis=1)
                canvas[top : top + height, k * across : k * across + width] = scaled
                text = f"exact distance {exact[query, state]:.3g}" if k else f"nearest as {name}"
                ax.text(k * across, top + height + 2, text, fontsize=7, va="top")
    ax.imshow(canvas, interpolation="nearest")
    ax.set_axis_off()
    return figure


def _map(learned: np.ndarray, exact: np.ndarray, process: FidelityProcess) -> Figure:
    names = list(process.factors)
    across, down = (("column", "row") if "column" in names else (names[0], names[1]))[:2]
    state = len(exact) // 2
    # States that differ in nothing else, or they would lie on top of each other.
    others = [values for name, values in process.factors.items() if name not in (across, down)]
    shown = np.all([values == values[state] for values in others] or [np.ones(len(exact), dtype=bool)], axis=0)
    x, y = process.factors[across], process.factors[down]
    figure = new_figure("Distance of states from one of them", (9.6, 4.2))
    for ax, (name, distances) in zip(figure.subplots(1, 2), (("learned", learned), ("exact", exact)), strict=True):
        points = ax.scatter(x[shown], y[shown], c=distances[state, shown], cmap="viridis", marker="s", s=_area(x))
        ax.plot(x[state], y[state], "o", markersize=7, markerfacecolor="none", markeredgecolor="#b3303a")
        figure.colorbar(points, ax=ax)
        ax.set(title=name, xlabel=across, ylabel=down)
        if down == "row":
            ax.set_aspect("equal")
            ax.invert_yaxis()
    return figure


def _area(x: np.ndarray) -> float:
    """Return the area of markers, in square points, with which as many columns of cells touch; 20 off a grid."""
    return (200 / (np.ptp(x) + 1)) ** 2 if np.array_equal(x, x.round()) else 20.0


def _colors(image: np.ndarray) -> np.ndarray:
    """Return an image of one to three channels as ``uint8[H, W, 3]``."""
    missing = 3 - image.shape[2]
    return np.concatenate([image, np.zeros((*image.shape[:2], missing), np.uint8)], axis=2) if missing > 0 else image
