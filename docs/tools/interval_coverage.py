"""Simulates how often intervals over seeds hold the true mean, and writes the tables of docs/statistics.md.

pip install ".[all]"
python docs/tools/interval_coverage.py

The same tables come out each time: every cell draws from a generator of its own, seeded by its names.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap
from write_tables import write_between_markers

from bisimgym.benchmarks.measures.aggregates import mean_interval
from bisimgym.benchmarks.report.tables import pipe_table
from bisimgym.benchmarks.running.run_folder import committed_runs

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
REPETITIONS = 10_000
RESAMPLES = 999
SEEDS = (2, 3, 5, 10)
#: Rows of benchmarks/results with ten seeds or more: (suite, task, method, preset).
ROWS = (
    ("markov", "uniform", "nld-overdamped", "short"),
    ("markov", "uniform", "nld-underdamped", "short"),
    ("jumping", "random", "bisimulation-transfer", "paper"),
)

#: Draws scores of a shape.
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def failing(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return success rates of a method that fails for one seed in five."""
    fails = rng.random(shape) < 0.2
    return np.where(fails, 0.1, 0.85) + 0.04 * rng.uniform(-1, 1, shape)


DISTRIBUTIONS: Mapping[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "success rates near the top, Beta(9, 1)": (lambda rng, shape: rng.beta(9, 1, shape), 0.9),
    "success rates at both ends, Beta(0.5, 0.5)": (lambda rng, shape: rng.beta(0.5, 0.5, shape), 0.5),
    "one seed in five fails": (failing, 0.7),
}


@functools.cache
def committed_distributions() -> dict[str, tuple[Draw, float]]:
    """Return draws with replacement from the scores of committed rows."""
    found, runs = {}, committed_runs()
    for row in ROWS:
        scores = np.array(
            [
                run.score
                for run in runs
                if (run.spec.suite, run.spec.task, run.spec.method_folder, run.spec.preset) == row
            ]
        )

        def draw(rng: np.random.Generator, shape: tuple[int, ...], scores: np.ndarray = scores) -> np.ndarray:
            return rng.choice(scores, shape)

        found[f"the {len(scores)} seeds of {row[2]}, {row[1]}"] = draw, float(scores.mean())
    return found


def generator(*names: object) -> np.random.Generator:
    """Return the generator of one cell."""
    return np.random.default_rng(zlib.crc32(repr(names).encode()))


def student(scores: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the package's interval of each row of ``float[rows, seeds]``."""
    return mean_interval(scores)


def resampled(method: str) -> Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]:
    """Return the same for a bootstrap: "percentile" or "BCa". Rows whose seeds are equal have their point."""

    def interval(scores: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ends = np.repeat(scores.mean(axis=1)[None], 2, axis=0)
        spread = np.ptp(scores, axis=1) > 0
        found = bootstrap(
            (scores[spread],), np.mean, axis=1, n_resamples=RESAMPLES, batch=50, method=method, rng=rng
        ).confidence_interval
        ends[:, spread] = found.low, found.high
        return ends[0], ends[1]

    return interval


METHODS = {"percentile bootstrap": resampled("percentile"), "BCa": resampled("BCa"), "Student's t": student}


def coverage(name: str, draw: Draw, mean: float, seeds: int, method: str) -> float:
    """Return the share of simulated rows whose 95 % interval holds the true mean."""
    rng = generator(name, seeds, method)
    low, high = METHODS[method](draw(rng, (REPETITIONS, seeds)), rng)
    # Rounding alone must not decide where all seeds are equal.
    return float(np.mean((low <= mean + 1e-12) & (mean - 1e-12 <= high)))


def coverage_table() -> str:
    """Return the coverage by distribution, method and number of seeds as Markdown, in percent."""
    lines = [
        [name, method, *(f"{100 * coverage(name, draw, mean, seeds, method):.1f}" for seeds in SEEDS)]
        for name, (draw, mean) in {**DISTRIBUTIONS, **committed_distributions()}.items()
        for method in METHODS
    ]
    return pipe_table(["scores", "interval", *(f"{seeds} seeds" for seeds in SEEDS)], lines, texts=2)


def set_apart(rows: int, seeds: int, method: str) -> float:
    """Return how often, among equal methods, an interval lies wholly apart from that of the highest mean."""
    rng = generator("equal", rows, seeds, method)
    scores = rng.normal(size=(REPETITIONS * rows, seeds))
    low, high = (end.reshape(REPETITIONS, rows) for end in METHODS[method](scores, rng))
    best = scores.mean(axis=1).reshape(REPETITIONS, rows).argmax(axis=1)[:, None]
    apart = (high < np.take_along_axis(low, best, 1)) | (np.take_along_axis(high, best, 1) < low)
    return float(apart.any(axis=1).mean())


def set_apart_table() -> str:
    """Return how often equal methods are told apart as Markdown, in percent."""
    lines = [
        [f"{rows} equal methods", method, *(f"{100 * set_apart(rows, seeds, method):.1f}" for seeds in SEEDS)]
        for rows in (2, 10)
        for method in ("percentile bootstrap", "Student's t")
    ]
    return pipe_table(["normal scores", "interval", *(f"{seeds} seeds" for seeds in SEEDS)], lines, texts=2)


def both_tables() -> dict[str, str]:
    """Return both tables as Markdown, by the name of their markers."""
    return {"interval coverage": coverage_table(), "equal methods": set_apart_table()}


def main() -> None:
    """Write both tables."""
    write_between_markers(both_tables(), PAGE)


if __name__ == "__main__":
    main()
