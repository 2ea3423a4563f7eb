"""Draws what planning loses in processes whose states a metric merges: which metric makes the best abstraction.

pip install ".[all]"
python docs/tools/aggregation_picture.py [--discount 0.95] [--radii 40] [--out docs/aggregation.png]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines import metrics
from bisimgym.envs.files import MARK, is_our_picture, replaceable_file
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.jumping import jumping_mdp
from bisimgym.envs.toy_mdps import garnet

INK = "#1b2733"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000")


def processes(states: int = 100) -> dict[str, FiniteMDP]:
    """Return a jumping task, a layout of Nav2D and a random process with so many states."""
    env: Any = gym.make("bisimgym/Nav2D-v0", size=8, num_obstacles=5, min_goal_distance=6)
    env.reset(seed=0)
    return {
        "jumping task": jumping_mdp(25, 10),
        "Nav2D, 8 x 8": env.unwrapped.mdp(),
        f"Garnet, {states} states": garnet(states, 4, 3, np.random.default_rng(0)),
    }


def distances(mdp: FiniteMDP, discount: float) -> dict[str, np.ndarray]:
    """Return distances by name, ``float64[S, S]`` each; policies are optimal ones."""
    policy, quiet = mdp.optimal_policy(discount), metrics.Solver(progress=False)
    return {
        "bisimulation": metrics.bisimulation(mdp.transition, mdp.reward, discount, **quiet),
        "on-policy bisimulation": metrics.on_policy_bisimulation(mdp.transition, mdp.reward, policy, discount, **quiet),
        "MICo": metrics.mico(mdp.transition, mdp.reward, policy, discount, **quiet),
        "PSM": metrics.policy_similarity(mdp.transition, policy, discount, **quiet),
        "value difference": metrics.value_difference(mdp.transition, mdp.reward, discount),
    }


def losses(mdp: FiniteMDP, distance: np.ndarray, discount: float, num_radii: int) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers of states and what planning with them loses, at radii over all quantiles of the distances.

    Optimal actions of the small process are taken in the whole one; the loss is the mean over its states, as a share
    of the mean loss of uniformly random actions.
    """
    best = mdp.optimal_values(discount)
    uniform = np.full(mdp.reward.shape, 1 / mdp.num_actions)
    worst = (best - mdp.policy_values(uniform, discount)).mean()
    # Distances that differ by the error of the solver are one radius.
    sizes, lost = [], []
    for radius in np.unique(np.quantile(distance.round(5), np.linspace(0, 1, num_radii))):
        small, classes = metrics.aggregated(mdp, distance, float(radius) + 1e-5)
        policy = small.optimal_policy(discount)[classes]
        sizes.append(small.num_states)
        lost.append((best - mdp.policy_values(policy, discount)).mean() / worst)
    return np.array(sizes), np.array(lost)


def draw(curves: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]], path: Path) -> None:
    """Draw one panel per process, and in it a curve per metric."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    axes = figure.subplots(1, len(curves), sharey=True)
    for ax, (process, by_metric) in zip(axes, curves.items(), strict=True):
        for color, marker, (name, (sizes, lost)) in zip(COLORS, "osv^x", by_metric.items(), strict=True):
            ax.plot(sizes, lost, marker=marker, markersize=4, linewidth=1.2, color=color, label=name)
        ax.set_xscale("log")
        ax.set_title(process, fontsize=11, color=INK)
        ax.set_xlabel("states of the small process", fontsize=9)
        ax.axhline(1, color="#888888", linewidth=0.8, linestyle=":")
        ax.tick_params(labelsize=8)
    axes[0].set_ylabel("value lost (1: random actions)", fontsize=9)
    axes[-1].legend(fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": MARK})


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the curves, and print with how few states each metric loses at most a hundredth and a tenth."""
    parser = argparse.ArgumentParser(description="Draw what planning loses in processes that metrics make smaller.")
    parser.add_argument("--discount", type=float, default=0.95, help="of metrics and values, in [0, 1)")
    parser.add_argument("--radii", type=int, default=40, help="radii tried of each metric")
    parser.add_argument("--states", type=int, default=100, help="states of the Garnet process, 3 at least")
    parser.add_argument("--out", type=Path, default=Path("docs/aggregation.png"), help="the picture")
    options = parser.parse_args(arguments)
    out = replaceable_file(options.out, "a picture", is_our_picture)  # before it is computed
    curves = {}
    for process, mdp in processes(options.states).items():
        found = distances(mdp, options.discount)
        curves[process] = {n: losses(mdp, d, options.discount, options.radii) for n, d in found.items()}
        for name, (sizes, lost) in curves[process].items():
            fewest = [int(sizes[lost <= most].min(initial=mdp.num_states)) for most in (0.01, 0.1)]
            print(f"{process} ({mdp.num_states} states), {name}: {fewest[0]} at 0.01, {fewest[1]} at 0.1")
    draw(curves, out)


if __name__ == "__main__":
    main()
