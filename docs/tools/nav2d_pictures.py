"""Draws the learning curves of the nav2d suite, as Figure 2 of Black, Chuck and Niekum (2021).

pip install ".[all]"
python docs/tools/nav2d_pictures.py [DIR ...] [--out docs/nav2d]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from metric_pictures import INK

from bisimgym.benchmarks.measures.aggregates import mean_interval
from bisimgym.benchmarks.running.run_folder import RunResult, committed_runs, find_runs
from bisimgym.benchmarks.suites import load_suite

FOLDER = Path(__file__).parents[1] / "nav2d"
COLORS = {"no-pretraining": "#8d99ae", "psi": "#e09f3e", "phi": "#d1495b", "self-prediction": "#2a6f97"}
_STYLES = ("-", "--", "-.", ":")
_PANELS = {"final": "last 100 training episodes, which explore", "score": "unseen layouts, without exploring"}


def curves(runs: Sequence[RunResult], preset: str) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Return the curves of a preset by method and task, without variants.

    Returns:
        By method and task: "transitions" ``int64[T]``, and "final" and "score" ``float64[S, T]``, a row per seed.
    """
    found: dict[tuple[str, str], list[RunResult]] = defaultdict(list)
    for run in runs:
        if (run.spec.suite, run.spec.preset) == ("nav2d", preset) and not run.spec.variant:
            found[run.spec.method, run.spec.task].append(run)
    return {
        key: {
            "transitions": np.array([row["transitions"] for row in of[0].curve]),
            **{name: np.array([[row[name] for row in run.curve] for run in of], dtype=float) for name in _PANELS},
        }
        for key, of in found.items()
    }


def table_of_curves(found: Mapping[tuple[str, str], Mapping[str, np.ndarray]], steps: Sequence[int]) -> str:
    """Return a Markdown table: percent of unseen layouts that are solved after some steps online, by method and task.

    Means over seeds, from three on with their 95 % interval.

    Args:
        found: of :func:`curves`.
        steps: at which agents were evaluated.
    """
    lines = [
        f"| task | method | seeds | {' | '.join(f'{step:,} steps' for step in steps)} |",
        f"| --- | --- | ---: | {' | '.join('---:' for _ in steps)} |",
    ]
    for (method, task), of in sorted(found.items(), key=lambda item: (item[0][1], list(COLORS).index(item[0][0]))):
        seeds = len(of["score"])
        cells = []
        for step in steps:
            values = 100 * of["score"][:, of["transitions"].tolist().index(step)]
            low, high = mean_interval(values, (0, 100)) if seeds > 2 else (0, 0)
            cells.append(f"{values.mean():.1f}" + (f" [{low:.1f}, {high:.1f}]" if seeds > 2 else ""))
        lines.append(f"| {task} | {method} | {seeds}{'*' if seeds < 5 else ''} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(found: Mapping[tuple[str, str], Mapping[str, np.ndarray]], path: Path) -> None:
    """Draw the mean over seeds of each method and task, with one standard deviation where there are three seeds."""
    from matplotlib.figure import Figure

    tasks = [task for task in load_suite("nav2d").tasks if any(task == of for _, of in found)]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, len(_PANELS), sharey=True)
    for ax, (name, title) in zip(axes, _PANELS.items(), strict=True):
        for (method, task), of in sorted(found.items(), key=lambda item: (list(COLORS).index(item[0][0]), item[0][1])):
            values, x = 100 * of[name], of["transitions"]
            mean = values.mean(axis=0)
            label = f"{method}, {task}, {len(values)} seed{'s' if len(values) > 1 else ''}"
            ax.plot(x, mean, color=COLORS[method], linestyle=_STYLES[tasks.index(task)], label=label)
            if len(values) > 2:
                spread = values.std(axis=0, ddof=1)
                ax.fill_between(x, mean - spread, mean + spread, color=COLORS[method], alpha=0.15, linewidth=0)
        ax.set_title(title, fontsize=10, color=INK)
        ax.set_xlabel("steps online", fontsize=9)
        ax.set_ylim(0, 100)
    axes[0].set_ylabel("percent that reach the goal", fontsize=9)
    axes[0].legend(fontsize=8, loc="upper left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description="Draw the learning curves of the nav2d suite.")
    parser.add_argument("folders", nargs="*", metavar="DIR", type=Path, help="more runs than the committed ones")
    parser.add_argument("--preset", default="short", help="whose runs are shown")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the picture")
    options = parser.parse_args(arguments)
    runs = [*committed_runs(), *(find_runs(options.folders) if options.folders else [])]
    found = curves(runs, options.preset)
    if not found:
        raise SystemExit(f"no runs of nav2d under the preset {options.preset!r}")
    draw(found, options.out / "success.png")


if __name__ == "__main__":
    main()
