"""Draws one picture per metric: how far every cell of two mirrored rooms is from one of them.

pip install ".[all]"
python docs/tools/concept_pictures.py [--discount 0.9] [--out docs/concepts]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from metric_pictures import INK

from bisimgym.baselines import metrics
from bisimgym.envs.files import MARK, followed, is_our_picture, replaceable_file
from bisimgym.envs.toy_mdps import MIRRORED_ROOMS, grid_world

#: The marked cell, and its mirror image in the other room: row and column of the layout.
CELL, MIRROR = (1, 3), (1, 9)
#: Titles by the names of the functions, in the order of the page.
TITLES = {
    "bisimulation": "bisimulation",
    "lax_bisimulation": "lax bisimulation",
    "on_policy_bisimulation": "on-policy bisimulation",
    "mico": "MICo",
    "policy_similarity": "policy similarity (PSM)",
    "recursive_similarity": "recursive similarity",
    "value_difference": "value difference",
}


def cells() -> list[tuple[int, int]]:
    """Return row and column of each state, in the order of the states."""
    return [(i, j) for i, row in enumerate(MIRRORED_ROOMS) for j, letter in enumerate(row) if letter != "#"]


def distances(discount: float) -> dict[str, np.ndarray]:
    """Return ``float64[31, 31]`` per metric, all distances between the cells.

    Moves are those chosen, walls cost 1, goals give 1. On-policy bisimulation and MICo are of the policy that moves at
    random, PSM of the optimal one. Recursive similarity's base is 1 between cells where not the same moves lead
    somewhere, 0 between others, averaged over actions.

    Raises:
        ValueError: for a discount outside [0, 1).
    """
    rooms = grid_world()
    states, actions = rooms.reward.shape
    random = np.full((states, actions), 1 / actions)
    moves = rooms.transition != np.arange(states)[:, None]
    base = (moves[:, None] != moves[None]).any(axis=-1).astype(np.float64)
    process = (rooms.transition, rooms.reward)
    return {
        "bisimulation": metrics.bisimulation(*process, discount),
        "lax_bisimulation": metrics.lax_bisimulation(*process, discount),
        "on_policy_bisimulation": metrics.on_policy_bisimulation(*process, random, discount),
        "mico": metrics.mico(*process, random, discount),
        "policy_similarity": metrics.policy_similarity(rooms.transition, rooms.optimal_policy(discount), discount),
        "recursive_similarity": metrics.recursive_similarity(rooms.transition, base, discount),
        "value_difference": metrics.value_difference(*process, discount),
    }


def draw(distance: np.ndarray, title: str, path: Path) -> None:
    """Draw the distances from the marked cell on the map of the rooms."""
    from matplotlib.figure import Figure

    where = cells()
    row = distance[where.index(CELL)]
    grid = np.full((len(MIRRORED_ROOMS), len(MIRRORED_ROOMS[0])), np.nan)
    grid[tuple(np.transpose(where))] = row
    figure = Figure(figsize=(6.4, 2.0), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.set_facecolor("#c3cad2")
    image = axes.imshow(np.ma.masked_invalid(grid[1:-1, 1:-1]), cmap="viridis_r", vmin=0, vmax=max(row.max(), 1e-9))
    half = row.max() / 2
    for (i, j), value in zip(where, row, strict=True):
        text = "0" if value < 1e-9 else f"{value:.2f}" if row.max() < 10 else f"{value:.0f}"
        bold = "bold" if (i, j) in (CELL, MIRROR) else "normal"
        axes.text(
            j - 1, i - 1, text, ha="center", va="center", fontsize=9, weight=bold, color="w" if value > half else INK
        )
        if MIRRORED_ROOMS[i][j] == "G":
            axes.text(j - 1.44, i - 1.3, "goal", fontsize=6.5, color="w" if value > half else INK)
    for (i, j), style in ((CELL, "-"), (MIRROR, ":")):
        axes.add_patch(_square(i - 1, j - 1, style))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(f"{title}: distance from the framed cell (dotted: its mirror image)", fontsize=10, color=INK)
    figure.colorbar(image, ax=axes, shrink=0.95).ax.tick_params(labelsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": MARK})


def _square(row: int, column: int, style: str):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, color="#d1495b", lw=2.2, ls=style)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw every metric, and print how far the marked cell is from itself and from its mirror image."""
    parser = argparse.ArgumentParser(description="Draw how far the cells of two mirrored rooms are from one of them.")
    parser.add_argument("--discount", type=float, default=0.9, help="of the metrics, in [0, 1)")
    parser.add_argument("--out", type=Path, default=Path("docs/concepts"), help="folder of the pictures")
    options = parser.parse_args(arguments)
    folder = followed(options.out)
    paths = {name: folder / f"{name}.png" for name in TITLES}
    for path in paths.values():
        replaceable_file(path, "a picture", is_our_picture)
    found = distances(options.discount)
    folder.mkdir(parents=True, exist_ok=True)
    here, there = cells().index(CELL), cells().index(MIRROR)
    for name, path in paths.items():
        draw(found[name], TITLES[name], path)
        print(
            f"{name}: {found[name][here, here]:.3f} from itself, {found[name][here, there]:.3f} from its mirror image"
        )


if __name__ == "__main__":
    main()
