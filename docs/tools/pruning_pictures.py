"""Draws the results of the pruning suite: accuracy and MACs of each method, and accuracy and size against R.

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

from bisimgym.benchmarks.report.summary import Row, number
from bisimgym.benchmarks.report.tables import pipe_table
from bisimgym.benchmarks.running.run_folder import RunResult, committed_runs, find_runs
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.pruning.published import ROWS
from bisimgym.benchmarks.suites.pruning.settings import PROBLEMS
from bisimgym.envs.channel_pruning.backbones import BACKBONES

FOLDER = Path(__file__).parents[1] / "pruning"
#: Methods by how they choose: agents, rules at run time, Q-learning at run time, static plans.
COLORS = {
    **dict.fromkeys(("both", "runtime", "separate"), "#d1495b"),
    **dict.fromkeys(("fbs", "fpgm-fbs"), "#e09f3e"),
    "rnp": "#6a4c93",
    **dict.fromkeys(("static", "amc-like", "enumerated", "fpgm", "uniform"), "#2a6f97"),
}
_SWEPT = "digits-0.5"
_DRAWN = {name: problem.density for name, problem in PROBLEMS.items() if problem.data == "digits"}


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
    """Draw accuracy and MACs of each method, two panels for each task and a point for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    panels = figure.subplots(1, 2 * len(_DRAWN), sharey=True).reshape(-1, 2)
    methods = list(reversed(COLORS))
    for (accuracy, macs), (task, density) in zip(panels, _DRAWN.items(), strict=True):
        for run in of_suite(runs, task):
            if not run.spec.variant:
                y, color = methods.index(run.spec.method), COLORS[run.spec.method]
                for ax, value in ((accuracy, run.score), (macs, float(run.scores["macs"]))):
                    ax.plot(100 * value, y, "o", color=color, alpha=0.6, markersize=5)
        macs.axvline(100 * BACKBONES["digits-4"].cap("macs", density), color=INK, linewidth=0.8, linestyle=":")
        accuracy.set_title(load_suite("pruning").tasks[task].title, fontsize=10, color=INK)
        accuracy.set_xlabel("accuracy after removal, %", fontsize=9)
        macs.set_xlabel("MACs, % (dotted: the budget)", fontsize=9)
        for ax in (accuracy, macs):
            ax.grid(axis="y", linewidth=0.4)
    panels[0, 0].set_yticks(range(len(methods)), methods)
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


def published_table(rows: Sequence[Row]) -> str:
    """Return the published tables as Markdown, with our accuracy where a task was run.

    Args:
        rows: summarized results.
    """
    suite = load_suite("pruning")
    ours = {(row.task, row.method): row for row in rows if row.suite == "pruning" and not row.outside}

    def text(value: float | None) -> str:
        return "" if value is None else f"{value:g}"

    cells = []
    for row in ROWS:
        run = ours.get((row.task, row.method))
        times = "" if row.gpu_ms is None else f"{text(row.gpu_ms)}, {text(row.cpu_ms)}"
        top5 = "" if row.top5 is None else f"{text(row.top5_base)} -> {text(row.top5)}"
        accuracy = f"{text(row.base) or '?'} -> {row.accuracy:g}"
        own = number(suite, run.mean) if run else "not run" if row.method else "no such method"
        cells.append([row.table, row.name, row.task, accuracy, top5, text(row.speed_up), text(row.stored), times, own])
    heads = ["table", "method", "task", "top 1, %", "top 5, %", "speed-up", "stored", "GPU, CPU ms", "ours"]
    return pipe_table(heads, cells, texts=3)


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
