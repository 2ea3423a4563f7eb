"""Draws what embeddings keep of a distractor dial: the agent's place, the distractor, and the bit of it that matters.

pip install ".[all]"
python docs/tools/dial_pictures.py [DIR ...] [--out docs/fidelity]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from metric_pictures import INK

from bisimgym.benchmarks.running.run_folder import RunResult, committed_runs, find_runs
from bisimgym.benchmarks.suites import load_suite

FOLDER = Path(__file__).parents[1] / "fidelity"
DIALS = ("dial-irrelevant", "dial-controllable", "dial-relevant")
#: Measures of runs: what they say, and their colors.
PARTS = {
    "state_nearest": ("the agent's place", "#2a6f97"),
    "distractor_nearest": ("the distractor's phase", "#e09f3e"),
    "lit_nearest": ("of the phase, what rewards can depend on", "#d1495b"),
}


def kept(runs: Sequence[RunResult], task: str) -> dict[str, dict[str, list[float]]]:
    """Return the shares that the five nearest states tell, one for each seed, by method and measure of :data:`PARTS`.

    Methods are in the order of the suite; runs are those of the preset "short" without changed settings.
    """
    found: dict[str, dict[str, list[float]]] = {}
    methods = list(load_suite("fidelity").methods)
    chosen = [run for run in runs if (run.spec.suite, run.spec.task, run.spec.preset) == ("fidelity", task, "short")]
    for run in sorted(chosen, key=lambda run: (methods.index(run.spec.method), run.spec.seed)):
        if not run.spec.variant:
            for part in PARTS:
                found.setdefault(run.spec.method, {}).setdefault(part, []).append(float(run.scores[part]))
    return found


def draw_kept(shares: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], path: Path) -> None:
    """Draw a panel for each dial: a line for each method, with its seeds and their mean."""
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(method for of in shares.values() for method in of))[::-1]
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    for ax, (task, of) in zip(figure.subplots(1, len(shares), sharey=True), shares.items(), strict=True):
        for row, method in enumerate(methods):
            for offset, (part, (label, color)) in zip((0.22, 0.0, -0.22), PARTS.items(), strict=True):
                if values := of.get(method, {}).get(part):
                    ax.plot(values, [row + offset] * len(values), "o", color=color, alpha=0.3, markersize=3)
                    name = label if row == len(methods) - 1 else None
                    ax.plot([fmean(values)], [row + offset], "o", color=color, markersize=6, label=name)
        ax.set_title(load_suite("fidelity").tasks[task].title, fontsize=10, color=INK)
        ax.set_xlabel("share that the five nearest states tell", fontsize=9)
        ax.set_xlim(-0.04, 1.04)
        ax.set_ylim(-0.6, len(methods) - 0.4)
        ax.set_yticks(range(len(methods)), methods)
        ax.grid(axis="y", linewidth=0.4)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=len(PARTS), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description="Draw what embeddings keep of a distractor dial.")
    parser.add_argument("folders", nargs="*", metavar="DIR", type=Path, help="more runs than the committed ones")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the picture")
    options = parser.parse_args(arguments)
    runs = [*committed_runs(), *(find_runs(options.folders) if options.folders else [])]
    draw_kept({task: kept(runs, task) for task in DIALS}, options.out / "dials.png")


if __name__ == "__main__":
    main()
