"""Statistics over seeds and tasks. Every function takes scores as one array, ``float[runs, tasks]``.

Source: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean over the last two axes."""
    return scores.mean(axis=(-2, -1))


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half of all scores over the last two axes (a quarter of them cut at each end).

    As scipy's ``trim_mean(scores, 0.25)``: the count cut at each end is rounded down.
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = int(0.25 * flat.shape[-1])
    return flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)


def stratified_bootstrap(
    scores: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    repetitions: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic when runs are resampled within each task.

    With a single run the interval is that point: it says nothing about other seeds, and tables leave it out.

    Args:
        scores: ``float[runs, tasks]``.
        statistic: maps ``float[..., runs, tasks]`` to ``float[...]``.
        rng: draws the resamples.
        repetitions: number of resamples.
        confidence: in (0, 1).
    """
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"scores must be float[runs, tasks], not empty, got shape {scores.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    runs, tasks = scores.shape
    drawn = rng.integers(runs, size=(repetitions, runs, tasks))
    resampled = statistic(scores[drawn, np.arange(tasks)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)
