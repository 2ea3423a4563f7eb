"""Draws agents from images: learning curves on training and held-out distractions, and what each method looks at.

pip install ".[all]"
python docs/tools/pixel_pictures.py [RUNS ...] [--preset laptop] [--out docs/pixels]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from bisimgym.benchmarks.running.run_folder import RunResult, committed_runs, find_runs
from bisimgym.benchmarks.suites.figures import new_figure, write_figures

Groups = Mapping[str, Mapping[str, Sequence[RunResult]]]
#: Columns of a curve by the distractions that returns are under: where nothing is held out there is the score alone.
_KINDS = {"training distractions": ("trained", "score"), "held-out distractions": ("score",)}


def grouped(runs: Iterable[RunResult], preset: str) -> Groups:
    """Return the suite's runs of a preset by task and method, without variants."""
    found: dict[str, dict[str, list[RunResult]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        spec = run.spec
        if (spec.suite, spec.preset) == ("distracting", preset) and not spec.variant:
            found[spec.task][spec.method].append(run)
    return {task: dict(sorted(methods.items())) for task, methods in sorted(found.items())}


def curves(groups: Groups) -> Figure:
    """Return the learning curves: a row per task, training distractions left and held-out ones right.

    A line is the mean over a method's seeds, thin ones are its seeds.
    """
    figure = new_figure("Return of 1000 while learning", (9.0, 2.6 * len(groups) + 0.6))
    axes = np.atleast_2d(figure.subplots(len(groups), 2, sharey=True))
    for row, (task, methods) in zip(axes, groups.items(), strict=True):
        for ax, (title, names) in zip(
            row,
            {"training distractions": ("trained", "score"), "held-out distractions": ("score",)}.items(),
            strict=True,
        ):
            for number, (method, runs) in enumerate(methods.items()):
                _lines(ax, runs, names, method, f"C{number % 10}")
            ax.set(title=f"{task}, {title}", xlabel="control steps", ylim=(0, 1000))
            ax.title.set_fontsize(9)
        row[0].set_ylabel("return")
        row[1].legend(fontsize=7, ncols=2)
    return figure


def _lines(ax, runs: Sequence[RunResult], names: Sequence[str], method: str, color: str) -> None:
    """Draw the first of the columns that each row has."""
    lines = []
    for run in runs:
        rows = [row for row in run.curve if any(name in row for name in names)]
        steps = [row["control_steps"] for row in rows]
        returns = [next(row[name] for name in names if name in row) for row in rows]
        lines.append((steps, returns))
        if len(runs) > 1:
            ax.plot(steps, returns, color=color, lw=0.5, alpha=0.5)
    if len({tuple(steps) for steps, _ in lines}) == 1:
        ax.plot(lines[0][0], np.mean([returns for _, returns in lines], axis=0), color=color, label=method)


def saliency(methods: Mapping[str, Sequence[RunResult]]) -> Figure:
    """Return the pictures of what each method's first seed looks at, one below the other."""
    shown = {
        method: picture
        for method, runs in methods.items()
        for picture in min(runs, key=lambda run: run.spec.seed).pictures
        if picture.name == "1_saliency.png"
    }
    images = [imread(path) for path in shown.values()]
    heights = [image.shape[0] for image in images]
    figure = new_figure("", (8.0, 8.0 * sum(h / i.shape[1] for h, i in zip(heights, images, strict=True))))
    axes = np.atleast_1d(figure.subplots(len(images), 1, height_ratios=heights))
    for ax, (method, image) in zip(axes, zip(shown, images, strict=True), strict=True):
        ax.imshow(image)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(method, fontsize=9)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw learning curves, and what each method looks at.")
    parser.add_argument("runs", nargs="*", type=Path, help="folders with runs; none: the committed ones")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--out", type=Path, default=Path("docs/pixels"), help="folder of the pictures")
    chosen = parser.parse_args(arguments)
    groups = grouped(find_runs(chosen.runs) if chosen.runs else committed_runs(), chosen.preset)
    if not groups:
        parser.error(f"no runs of the suite distracting with preset {chosen.preset!r}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    figures = {"curves": curves(groups)}
    figures |= {f"saliency_{task}": saliency(methods) for task, methods in groups.items()}
    for path in write_figures(figures, chosen.out):
        print(path)


if __name__ == "__main__":
    main()
