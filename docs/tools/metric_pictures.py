"""Draws exact metrics between the states of two jumping tasks, as in Figure G.2 of Agarwal et al. (2021).

pip install ".[all]"
python docs/tools/metric_pictures.py [--obstacles 25 45] [--discount 0.99] [--out docs/metrics.png]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bisimgym.baselines import metrics
from bisimgym.envs.files import MARK, is_our_picture, replaceable_file
from bisimgym.envs.jumping import jumping_mdp

#: Of text and outlines in all pictures.
INK = "#1b2733"
_FLOOR_HEIGHT = 10  # moves the picture only, never the dynamics


def jumping_distances(positions: tuple[int, int], discount: float) -> dict[str, np.ndarray]:
    """Return distances between the 56 states each of two optimal trajectories, ``float64[56, 56]`` each.

    Bisimulation is that of the two whole processes. PSM and pi*-bisimulation are those along the two trajectories, as
    the paper computes them. True similarity is 0 where both states are as many steps before the jump, or both after
    it, and 1 elsewhere.

    Raises:
        ValueError: for obstacle positions out of range, or a discount outside [0, 1).
    """
    x, y = (jumping_mdp(position, _FLOOR_HEIGHT) for position in positions)
    policies = [process.optimal_policy(discount=1.0).argmax(axis=1) for process in (x, y)]
    paths = []
    for process, best in zip((x, y), policies, strict=True):
        path = [0]
        while not process.terminal[path[-1]]:
            path.append(int(process.transition[path[-1], best[path[-1]]]))
        paths.append(np.array(path[:-1]))
    actions = [best[path] for best, path in zip(policies, paths, strict=True)]
    rewards = [process.reward[path, action] for process, path, action in zip((x, y), paths, actions, strict=True)]
    return {
        "bisimulation": metrics.bisimulation(
            x.transition, x.reward, discount, other=(y.transition, y.reward), rows=paths[0], columns=paths[1]
        ),
        "policy similarity (PSM)": metrics.trajectory_similarity(metrics.policy_cost(*actions), discount),
        "π*-bisimulation": metrics.trajectory_similarity(metrics.reward_cost(*rewards), discount),
        "true similarity": (_until_jump(actions[0])[:, None] != _until_jump(actions[1])).astype(np.float64),
    }


def _until_jump(actions: np.ndarray) -> np.ndarray:
    """Return ``int64[N]``: in how many steps a trajectory jumps, -1 in states after its jump."""
    return np.maximum(actions.argmax() - np.arange(len(actions)), -1)


def draw(distances: dict[str, np.ndarray], positions: tuple[int, int], discount: float, path: Path) -> None:
    """Draw one panel per metric and write a picture; the format follows the name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.1), layout="constrained")
    axes = figure.subplots(1, 4)
    for ax, (name, distance) in zip(axes, distances.items(), strict=True):
        image = ax.imshow(distance, cmap="viridis_r", origin="lower", vmin=0)
        ax.set_title(name, fontsize=11, color=INK)
        ax.set_xlabel(f"step, obstacle at {positions[1]}", fontsize=9)
        ax.plot(positions[1] - 14, positions[0] - 14, marker="o", markersize=7, fillstyle="none", color="#d1495b")
        ax.tick_params(labelsize=8)
        bar = figure.colorbar(image, ax=ax, shrink=0.8)
        bar.ax.tick_params(labelsize=8)
        if name == "true similarity":
            bar.set_ticks([0, 1], labels=["alike", "not"])
    axes[0].set_ylabel(f"step, obstacle at {positions[0]}", fontsize=9)
    figure.suptitle(
        f"Distances between states of two optimal trajectories, discount {discount:g} (circle: both jump)",
        fontsize=11,
        color=INK,
    )
    figure.savefig(path, dpi=110, metadata={"Software": MARK})


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the metrics, and print how large they are and how often they are zero."""
    parser = argparse.ArgumentParser(description="Draw exact metrics between the states of two jumping tasks.")
    parser.add_argument("--obstacles", type=int, nargs=2, default=(25, 45), help="obstacle positions of the two tasks")
    parser.add_argument("--discount", type=float, default=0.99, help="of the metrics, in [0, 1)")
    parser.add_argument("--out", type=Path, default=Path("docs/metrics.png"), help="the picture")
    options = parser.parse_args(arguments)
    out = replaceable_file(options.out, "a picture", is_our_picture)  # before it is computed
    distances = jumping_distances(options.obstacles, options.discount)
    draw(distances, options.obstacles, options.discount, out)
    for name, distance in distances.items():
        print(f"{name}: up to {distance.max():.6g}, {int((distance == 0).sum())} of {distance.size} pairs at 0")


if __name__ == "__main__":
    main()
