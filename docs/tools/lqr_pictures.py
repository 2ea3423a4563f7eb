"""Draws the results of the lqr suite: methods as in Figure 6 of Agarwal et al. (2021), and coefficients of penalties.

pip install ".[all]"
python docs/tools/lqr_pictures.py [DIR ...] [--out docs/lqr]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from metric_pictures import INK

from bisimgym.benchmarks.measures.aggregates import mean_interval
from bisimgym.benchmarks.report.summary import number
from bisimgym.benchmarks.running.run_folder import RunResult, committed_runs, find_runs
from bisimgym.benchmarks.suites import load_suite

FOLDER = Path(__file__).parents[1] / "lqr"
COLORS = {"overparametrized": "#8d99ae", "ipo": "#e09f3e", "l1": "#2a6f97", "psm": "#d1495b"}
#: The setting of each method whose values are compared.
COEFFICIENTS = {"l1": "l1_coefficient", "psm": "psm_coefficient"}
#: Bars end here; what is above is told by numbers.
_TOP = 45.0
#: Errors below this are drawn at it, where the axis is logarithmic.
_LEAST = 1e-3


def by_method(runs: Sequence[RunResult]) -> dict[tuple[str, str], list[float]]:
    """Return the scores of the paper preset by task and method, without variants."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in _of_paper(runs):
        if not run.spec.variant and run.spec.method in COLORS:
            found[run.spec.task, run.spec.method].append(run.score)
    return dict(found)


def by_coefficient(
    runs: Sequence[RunResult], method: str, optimizer: str = "adam", task: str = "500"
) -> dict[float, list[RunResult]]:
    """Return the runs of the paper preset that differ from the standard ones by their coefficient at most.

    With another optimizer, its learning rate and the number of iterations may differ too.
    """
    of: dict[float, list[RunResult]] = defaultdict(list)
    allowed = {COEFFICIENTS[method]}
    if optimizer != "adam":
        allowed |= {"optimizer", "learning_rate", "iterations"}
    for run in _of_paper(runs):
        spec = run.spec
        of_method = (spec.task, spec.method) == (task, method) and spec.settings["optimizer"] == optimizer
        if of_method and set(spec.variant) <= allowed:
            of[float(spec.settings[COEFFICIENTS[method]])].append(run)
    return dict(sorted(of.items()))


def _of_paper(runs: Sequence[RunResult]) -> list[RunResult]:
    return [run for run in runs if (run.spec.suite, run.spec.preset) == ("lqr", "paper")]


def draw_methods(scores: Mapping[tuple[str, str], Sequence[float]], path: Path) -> None:
    """Draw a bar for the mean of each task and method, its 99 % interval, and the published number beside it."""
    from matplotlib.figure import Figure

    suite = load_suite("lqr")
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    ax = figure.subplots()
    width = 0.8 / len(COLORS)
    for i, (method, color) in enumerate(COLORS.items()):
        for place, task in enumerate(suite.tasks):
            x = place + (i - (len(COLORS) - 1) / 2) * width
            values = scores.get((task, method))
            published = suite.published[task, method, "score"]
            at = x + 0.3 * width
            ax.errorbar(at, published.score, yerr=published.spread, marker="x", markersize=4, color=INK, alpha=0.6)
            if values:
                mean = fmean(values)
                ax.bar(x, min(mean, _TOP), 0.9 * width, color=color, label=method if place == 0 else None)
                if len(values) > 2:
                    low, high = np.clip(mean_interval(values, suite.bounds, 0.99), 0, _TOP)
                    ax.plot([x, x], [low, high], color=INK, linewidth=1.2)
                ax.plot(x, median(values), marker="D", markersize=4, color="white", markeredgecolor=INK)
                above = max(min(mean, _TOP), published.score + published.spread) + 1.2
                ax.text(x, above, f"{number(suite, mean)}\n{len(values)}", ha="center", fontsize=8, color=INK)
    zero = number(suite, 28.1565)
    ax.axhline(28.1565, color=INK, linewidth=0.8, linestyle=":", label=f"no force: {zero}")
    ax.set_xticks(range(len(suite.tasks)), [f"{task} distractors" for task in suite.tasks])
    ax.set_ylim(0, _TOP + 8)
    ax.set_ylabel("cost above the optimum, unseen distractors", fontsize=9)
    ax.set_title(
        "Mean over seeds and its 99 % interval (above: mean, number of seeds; ◇ median; × published ± std)",
        fontsize=10,
        color=INK,
    )
    ax.legend(fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_coefficients(runs: Sequence[RunResult], path: Path) -> None:
    """Draw error on unseen and on training distractors by the coefficient of each penalty; a point is a seed."""
    from matplotlib.figure import Figure

    panels: list[tuple[str, str, str]] = [
        ("l1", "adam", "l1 norm of the gain"),
        ("psm", "adam", "PSM aggregation, Adam"),
        ("psm", "sgd", "PSM aggregation, gradient descent"),
    ]
    shown = [(found, title) for *of, title in panels if (found := by_coefficient(runs, *of))]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for ax, (found, title) in zip(axes, shown, strict=True):
        for name, color, label in (("score", COLORS["psm"], "unseen"), ("train_error", COLORS["l1"], "training")):
            values = {c: [_error(run, name) for run in of] for c, of in found.items()}
            for c, errors in values.items():
                ax.plot([c] * len(errors), errors, "o", color=color, alpha=0.35, markersize=4)
            means = [np.exp(np.mean(np.log(errors))) for errors in values.values()]
            ax.plot(list(values), means, color=color, label=label)
        ax.axhline(28.1565, color=INK, linewidth=0.8, linestyle=":", label="no force")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_title(title, fontsize=10, color=INK)
        ax.set_xlabel("coefficient", fontsize=9)
    axes[0].set_ylabel("cost above the optimum, 500 distractors", fontsize=9)
    axes[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _error(run: RunResult, name: str) -> float:
    value: Any = run.score if name == "score" else run.scores[name]
    return max(float(value), _LEAST)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description="Draw the results of the lqr suite.")
    parser.add_argument("folders", nargs="*", metavar="DIR", type=Path, help="more runs than the committed ones")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures")
    options = parser.parse_args(arguments)
    runs = [*committed_runs(), *(find_runs(options.folders) if options.folders else [])]
    draw_methods(by_method(runs), options.out / "methods.png")
    draw_coefficients(runs, options.out / "coefficients.png")


if __name__ == "__main__":
    main()
