"""Pictures of a pruned network: which channels layers keep for which digit, and accuracy against the budget."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bisimgym.benchmarks.suites.figures import new_figure
from bisimgym.benchmarks.suites.pruning.learning import PruningRun
from bisimgym.envs.channel_pruning.datasets import FolderImages
from bisimgym.envs.channel_pruning.fitting import scored

FILES = ("1_kept", "2_pictures")


def figures_of(run: PruningRun) -> dict[str, Figure]:
    """Return the pictures of a run by the names of their files."""
    data = run.problem.test
    found = scored(run.network, data, run.removal_rule())
    shares = found["kept"] / run.backbone.channels
    macs = run.backbone.fraction("macs", found["kept"], found["read"])
    return dict(zip(FILES, (_kept(shares, data.labels), _pictures(macs, data.shown, run.caps["macs"])), strict=True))


def _kept(shares: np.ndarray, labels: np.ndarray) -> Figure:
    figure = new_figure("Share of each layer's channels that are computed, by class", (6.4, 3.4))
    ax = figure.subplots()
    classes = np.unique(labels)
    mean = np.stack([shares[labels == label].mean(axis=0) for label in classes], axis=1)
    image = ax.imshow(mean, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    ax.set(xlabel="digit", ylabel="layer", xticks=range(len(classes)), yticks=range(len(mean)))
    ax.set_yticklabels([str(layer + 1) for layer in range(len(mean))])
    for (layer, label), value in np.ndenumerate(mean):
        ax.text(label, layer, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if value < 0.6 else "k")
    figure.colorbar(image, ax=ax)
    return figure


def _pictures(macs: np.ndarray, shown: np.ndarray | FolderImages, cap: float) -> Figure:
    """Draw the test digits that cost least and most as one image, which is quicker than a plot of each."""
    figure = new_figure(f"Digits that cost least (top) and most; the budget is {cap:.1%} of the MACs", (7.2, 2.4))
    order = np.argsort(macs, kind="stable")
    side, step = shown.shape[1] * 6, shown.shape[1] * 6 + 14
    canvas = np.full((2 * step, 10 * step, 3), 255, np.uint8)
    ax = figure.subplots()
    for row, chosen in enumerate((order[:10], order[-10:])):
        for column, index in enumerate(chosen):
            top, left = row * step, column * step
            canvas[top : top + side, left : left + side] = shown[index].repeat(6, axis=0).repeat(6, axis=1)
            ax.text(left, top + side + 1, f"{macs[index]:.1%}", fontsize=8, va="top")
    ax.imshow(canvas, interpolation="nearest")
    ax.set_axis_off()
    return figure
