"""Draws what the weight of the path divergence trades: accuracy against the error of the occupancy, a point per run.

pip install ".[all]"
python docs/tools/langevin_trade.py [DIR ...] [--out docs/langevin/trade.png]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from metric_pictures import INK

from bisimgym.benchmarks.report.summary import number, published_text
from bisimgym.benchmarks.report.tables import pipe_table
from bisimgym.benchmarks.running.run_folder import RunResult, committed_runs, find_runs
from bisimgym.benchmarks.suites import load_suite

METHODS = {"nld-overdamped": "#2a6f97", "nld-underdamped": "#d1495b"}
#: The errors of pairs that tables show.
ERRORS = ("l1_sampling", "l1_order2", "l1_quadrature")
#: Error of the answer that is the same for all states.
SAME_FOR_ALL = {"uniform": 0.0, "skewed": 4 / 15}


class Key(NamedTuple):
    """What a run is of: a task, a method, a seed, and the weight of its path divergence."""

    task: str
    method: str
    seed: int
    weight: float


def by_weight(runs: Sequence[RunResult]) -> dict[Key, RunResult]:
    """Return the runs of the short preset that differ from the standard ones by their path weight at most."""
    return {
        Key(run.spec.task, run.spec.method, run.spec.seed, float(run.spec.variant.get("path_weight", 1))): run
        for run in runs
        if (run.spec.suite, run.spec.preset) == ("markov", "short")
        and run.spec.method in METHODS
        and set(run.spec.variant) <= {"path_weight"}
    }


def pair_table(runs: Sequence[RunResult]) -> str:
    """Return, as Markdown, every run of another path weight than 1, behind that of the same seed with weight 1."""
    found, suite = by_weight(runs), load_suite("markov")
    lines = []
    for key in sorted(found, key=lambda key: (-ord(key.task[0]), *key[1:])):
        before, after = found.get(key._replace(weight=1.0)), found[key]
        if key.weight == 1 or before is None:
            continue
        cells = [
            f"{number(suite, before.scores[name], name)} → {number(suite, after.scores[name], name)}"
            for name in ("sampled", *ERRORS)
        ]
        score = f"{number(suite, before.score)} → {number(suite, after.score)}"
        lines.append([key.task, key.method, str(key.seed), f"1 → {key.weight:g}", score, *cells])
    heads = ["task", "method", "seed", "path weight", "noise-free", "sampled path"]
    return pipe_table([*heads, *(name.replace("_", " ") for name in ERRORS)], lines, texts=2)


def sequence_table(runs: Sequence[RunResult]) -> str:
    """Return, as Markdown, accuracy along sampled paths and its standard deviation over sequences.

    Both are means over the models, with their standard deviation, as in Tables 3 and 6 of the paper: of sequences of
    500 frames, and of 200 where results have these.
    """
    groups: dict[tuple[str, str, float], list[RunResult]] = defaultdict(list)
    for key, run in by_weight(runs).items():
        groups[key.task, key.method, key.weight].append(run)
    suite, lines = load_suite("markov"), []
    for (task, method, weight), models in sorted(groups.items(), key=lambda item: (-ord(item[0][0][0]), item[0])):
        frames = "_200" if task == "skewed" else ""
        paper = [suite.published.get((task, method, f"sampled{frames}{end}")) for end in ("", "_sd")]
        shown = ["" if value is None else published_text(suite, value) for value in paper]
        own = []
        for column in ("sampled_accuracy", "sampled_accuracy_200"):
            of = [np.array(run.outcomes[column]) for run in models if column in run.outcomes]
            own += [_over_models([float(a.mean()) for a in of]), _over_models([float(a.std(ddof=1)) for a in of])]
        lines.append([task, method, f"{weight:g}", str(len(models)), *own, *shown])
    heads = ["task", "method", "path weight", "seeds", "500 frames", "sd", "200 frames", "sd", "paper", "its sd"]
    return pipe_table(heads, lines, texts=2)


def _over_models(values: Sequence[float]) -> str:
    suite = load_suite("markov")
    spread = f" ± {number(suite, stdev(values))}" if len(values) > 1 else ""
    return number(suite, fmean(values)) + spread if values else ""


def draw(runs: Sequence[RunResult], path: Path) -> None:
    """Draw the runs of each task, those of one seed joined, beside the published numbers."""
    from matplotlib.figure import Figure

    found, suite = by_weight(runs), load_suite("markov")
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for ax, (task, same) in zip(figure.subplots(1, 2, sharey=True), SAME_FOR_ALL.items(), strict=True):
        for method, color in METHODS.items():
            at = {k: (r.scores["l1_sampling"], 100 * r.scores["sampled"]) for k, r in found.items()}
            at = {key: place for key, place in at.items() if (key.task, key.method) == (task, method)}
            for weight in sorted({key.weight for key in at}):
                places = [place for key, place in at.items() if key.weight == weight]
                ax.plot(
                    *np.transpose(places),
                    linestyle="",
                    marker="o",
                    color=color,
                    fillstyle="none" if weight == 1 else "full",
                    label=f"{method.removeprefix('nld-')}, weight {weight:g}",
                )
            for key in at:
                if key.weight != 1 and key._replace(weight=1.0) in at:
                    ax.plot(*np.transpose([at[key._replace(weight=1.0)], at[key]]), color=color, linewidth=0.6)
            accuracy = suite.published.get((task, method, "sampled_200" if task == "skewed" else "sampled"))
            error = suite.published.get((task, method, "l1_sampling"))
            if accuracy and error:
                ax.errorbar(
                    error.score,
                    100 * accuracy.score,
                    xerr=error.spread,
                    yerr=100 * accuracy.spread,
                    color=color,
                    marker="x",
                    linestyle="",
                    alpha=0.7,
                    label=f"{method.removeprefix('nld-')}, paper",
                )
        if same:
            ax.axvline(same, color=INK, linewidth=0.8, linestyle=":", label="the same for all states")
        ax.set_title(task, fontsize=11, color=INK)
        ax.set_xlabel("error of the occupancy by sampling exp(-βE), Σ|w - π|", fontsize=9)
        ax.set_xlim(left=0)
        ax.legend(fontsize=8, loc="lower right")
    figure.axes[0].set_ylabel("hidden states along sampled paths, %", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the picture and print the tables."""
    parser = argparse.ArgumentParser(description="Draw what the weight of the path divergence trades.")
    parser.add_argument("folders", nargs="*", metavar="DIR", type=Path, help="more runs than the committed ones")
    parser.add_argument("--out", type=Path, default=Path("docs/langevin/trade.png"), help="the picture")
    options = parser.parse_args(arguments)
    runs = [*committed_runs(), *(find_runs(options.folders) if options.folders else [])]
    draw(runs, options.out)
    print(pair_table(runs))
    print(sequence_table(runs))


if __name__ == "__main__":
    main()
