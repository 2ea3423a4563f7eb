"""Draws the picture of the jumping task from the environment and the committed results.

pip install ".[all]"
python docs/tools/make_pictures.py
"""

from pathlib import Path

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from metric_pictures import INK

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.running.run_folder import RunResult, committed_runs
from bisimgym.envs.jumping.grids import FLOOR_HEIGHTS, OBSTACLE_POSITIONS

DOCS = Path(__file__).parents[1]
SOLVED = LinearSegmentedColormap.from_list("solved", ["#e3e8ee", "#0b5cad"])


def strobe(obstacle_position: int, floor_height: int, every: int = 7) -> np.ndarray:
    """Return one picture of a task with the oracle's jump in it, as in a multiple exposure."""
    env = gym.make(
        "bisimgym/JumpingTask-v0",
        obstacle_position=obstacle_position,
        floor_height=floor_height,
        render_mode="rgb_array",
    )
    env.reset()
    picture, step, terminated = env.render(), 0, False
    while not terminated:
        terminated = env.step(env.unwrapped.optimal_action())[2]
        step += 1
        if step % every == 0 and not terminated:
            picture = np.maximum(picture, env.render())
    return picture


def solved_fraction(runs: list[RunResult]) -> np.ndarray:
    """Return the fraction of runs that solved each task, ``float[11, 26]``, lowest floor first."""
    solved = np.mean([run.outcomes["solved"] for run in runs], axis=0)
    return solved.reshape(len(OBSTACLE_POSITIONS), len(FLOOR_HEIGHTS)).T


def jumping_grid(path: Path, preset: str = "paper") -> None:
    """Draw four tasks and, for two methods, which tasks of the wide grid they solve."""
    runs = [run for run in committed_runs() if run.spec.task == "wide" and run.spec.preset == preset]
    figure = plt.figure(figsize=(12, 4.2), layout="constrained")
    tasks, grids = figure.subfigures(1, 2, width_ratios=[1, 1.75])
    axes = tasks.subplots(2, 2)
    for ax, task in zip(axes.flat, [(22, 18), (42, 18), (22, 10), (42, 10)], strict=True):
        ax.imshow(strobe(*task))
        ax.set_title(f"obstacle at {task[0]}, floor at {task[1]}", fontsize=9)
        ax.axis("off")
    axes = grids.subplots(2, 1, sharex=True)
    for ax, (method, name) in zip(
        axes, [("dropout-l2", "dropout + l2"), ("randconv-pse", "RandConv + PSE")], strict=True
    ):
        chosen = [run for run in runs if run.spec.method_folder == method]
        extent = (19.5, 45.5, 9.5, 20.5)
        ax.imshow(solved_fraction(chosen), cmap=SOLVED, vmin=0, vmax=1, origin="lower", extent=extent, aspect="auto")
        ax.set_xticks(np.arange(19.5, 46), minor=True)
        ax.set_yticks(np.arange(9.5, 21), minor=True)
        ax.grid(which="minor", color="white", linewidth=1)
        ax.tick_params(which="both", length=0)
        ax.set_frame_on(False)
        columns = chosen[0].outcomes
        trained = [
            (p, f)
            for p, f, t in zip(columns["obstacle_position"], columns["floor_height"], columns["trained"], strict=True)
            if t
        ]
        ax.plot(*np.array(trained).T, "o", color="white", markeredgecolor=INK, markersize=4.5)
        mean = 100 * np.mean([run.score for run in chosen])
        ax.set_title(
            f"{name}: {mean:.0f} % of unseen tasks solved (mean of {len(chosen)} seeds)", fontsize=10, loc="left"
        )
        ax.set_ylabel("floor height", fontsize=9)
        ax.set_yticks([10, 15, 20])
    axes[1].set_xlabel("obstacle position      (blue: solved, circles: training tasks)", fontsize=9)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    jumping_grid(DOCS / "jumping_grid.png")
