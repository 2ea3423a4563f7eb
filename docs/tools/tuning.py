"""The table of runs that a setting was chosen by: their seed is not among those that are reported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bisimgym.benchmarks.report import summary
from bisimgym.benchmarks.running.run_folder import RunResult, find_runs
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import Spec

#: Folders of runs, by suite, made with commands such as
#: bisimgym run small-images --task nav2d-8x8 --method rap --seed 101 --set encoder_optimizer=shared
#: --set metric_weight=0.1
FOLDER = Path(__file__).parents[1] / "tuning"


def weight_of(spec: Spec) -> float:
    """Return the weight of the loss that a method adds."""
    name = "self_prediction" if spec.method == "self-prediction" else "metric_weight"
    suite = load_suite(spec.suite)
    return float(spec.settings[name] if name in spec.settings else suite.further_settings(spec.settings)[name].value)


def scores_by_weight(runs: Sequence[RunResult]) -> dict[str, dict[float, float]]:
    """Return the scores of tuning runs by method and weight."""
    scores: dict[str, dict[float, float]] = defaultdict(dict)
    for run in runs:
        scores[run.spec.method][weight_of(run.spec)] = run.score
    return scores


def weights_table(suite: str) -> str:
    """Return the scores of a suite's tuning runs as Markdown, a row for each method, the best in bold."""
    scores = scores_by_weight(find_runs([FOLDER / suite]))
    weights = sorted({weight for found in scores.values() for weight in found}, reverse=True)
    lines = [f"| method | {' | '.join(f'{weight:g}' for weight in weights)} |", f"| --- |{' ---: |' * len(weights)}"]
    for method, found in sorted(scores.items()):
        best = max(found.values())
        shown = {w: summary.number(load_suite(suite), score) for w, score in found.items()}
        cells = [f"**{shown[w]}**" if found.get(w) == best else shown.get(w, "") for w in weights]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
