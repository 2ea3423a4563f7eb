"""Draws the results of the pruning suite: accuracy against MACs, and accuracy and size against R.

pip install ".[all]"
python docs/tools/pruning_pictures.py [DIR ...] [--out docs/pruning]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from metric_pictures import INK

from bisimgym.benchmarks.running.run_folder import RunResult, committed_runs, find_runs
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.pruning.settings import DENSITIES
from bisimgym.envs.channel_pruning.budgets import BACKBONES

FOLDER = Path(__file__).parents[1] / "pruning"
#: Methods by how they choose: agents, rules at run time, static plans.
COLORS = {
    **dict.fromkeys(("both", "runtime", "separate"), "#d1495b"),
    **dict.fromkeys(("fbs", "fpgm-fbs"), "#e09f3e"),
    **dict.fromkeys(("static", "amc-like", "enumerated", "fpgm", "uniform"), "#2a6f97"),
}
_SWEPT = "digits-0.5"


def of_suite(runs: Sequence[RunResult], task: str) -> list[RunResult]:
    """Return the runs of a task with preset "short"."""
    return [run for run in runs if (run.spec.suite, run.spec.task, run.spec.preset) == ("pruning", task, "short")]


def by_trust(runs: Sequence[RunResult], task: str = _SWEPT) -> dict[float, list[RunResult]]:
    """Return the runs of agents that learn together, by R: "static" is 0 and "runtime" 1."""
    found: dict[float, list[RunResult]] = defaultdict(list)
    for run in of_suite(runs, task):
        if run.spec.method in ("static", "both", "runtime") and set(run.spec.variant) <= {"trust"}:
            found[float(run.spec.settings["trust"])].append(run)
    return dict(sorted(found.items()))


def draw_budgets(runs: Sequence[RunResult], path: Path) -> None:
    """Draw accuracy against MACs, a panel for each task and a point for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    for ax, (task, density) in zip(figure.subplots(1, len(DENSITIES)), DENSITIES.items(), strict=True):
        of_methods: dict[str, list[RunResult]] = defaultdict(list)
        for run in of_suite(runs, task):
            if not run.spec.variant:
                of_methods[run.spec.method].append(run)
        for method, of in of_methods.items():
            x, y = [100 * float(run.scores["macs"]) for run in of], [100 * run.score for run in of]
            ax.plot(x, y, "o", color=COLORS[method], alpha=0.5, markersize=5)
            ax.annotate(method, (fmean(x), fmean(y)), (4, 4), textcoords="offset points", fontsize=8, color=INK)
        ax.axvline(100 * BACKBONES["digits-4"].cap("macs", density), color=INK, linewidth=0.8, linestyle=":")
        ax.set_title(load_suite("pruning").tasks[task].title, fontsize=10, color=INK)
        ax.set_xlabel("MACs, % of the whole network (dotted: the budget)", fontsize=9)
    figure.axes[0].set_ylabel("accuracy after removal, %", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_trust(found: dict[float, list[RunResult]], path: Path) -> None:
    """Draw accuracy and what is stored against R; points are seeds, lines their means."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = (("score", "accuracy after removal, %"), ("parameters", "weights of convolutions that are stored, %"))
    for ax, (name, label) in zip(figure.subplots(1, 2), panels, strict=True):
        values = {
            trust: [100 * (run.score if name == "score" else float(run.scores[name])) for run in of]
            for trust, of in found.items()
        }
        for trust, row in values.items():
            ax.plot([trust] * len(row), row, "o", color=COLORS["both"], alpha=0.5, markersize=5)
        ax.plot(list(values), [fmean(row) for row in values.values()], color=COLORS["both"])
        ax.set_xlabel("R, the runtime agent's part", fontsize=9)
        ax.set_ylabel(label, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description="Draw the results of the pruning suite.")
    parser.add_argument("folders", nargs="*", metavar="DIR", type=Path, help="more runs than the committed ones")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures")
    options = parser.parse_args(arguments)
    runs = [*committed_runs(), *(find_runs(options.folders) if options.folders else [])]
    draw_budgets(runs, options.out / "budgets.png")
    draw_trust(by_trust(runs), options.out / "trust.png")


if __name__ == "__main__":
    main()
