"""Statistics over seeds, and over seeds and tasks together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

#: Resamples of an interval.
RESAMPLES = 2000
#: Numbers that are held in memory at once.
AT_ONCE = 2**22
#: What is left out at each end by the interquartile mean.
_QUARTER = 0.25


def mean_interval(
    scores: ArrayLike, bounds: tuple[float, float] = (-math.inf, math.inf), confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return Student's t interval of the mean over seeds, cut to the range that scores can have.

    Bootstraps of few seeds are too narrow: docs/statistics.md has the coverage of each. Where all seeds are equal the
    interval is that point, which says nothing of the seeds that were not run.

    Args:
        scores: ``float[..., seeds]``, at least two seeds.
        bounds: the least and the largest score there can be.
        confidence: in (0, 1).

    Returns:
        ``float[...]`` and ``float[...]``, the lower and the upper end.
    """
    from scipy.stats import t  # half a second to import: most commands need no statistics

    values = np.asarray(scores, dtype=float)
    if values.ndim == 0 or values.shape[-1] < 2:
        raise ValueError(f"scores must be float[..., seeds] of two seeds or more, got shape {values.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    seeds = values.shape[-1]
    mean, error = values.mean(axis=-1), values.std(axis=-1, ddof=1) / math.sqrt(seeds)
    half = t.ppf((1 + confidence) / 2, seeds - 1) * error
    return np.clip(mean - half, *bounds), np.clip(mean + half, *bounds)


def interquartile_mean(scores: ArrayLike) -> np.ndarray:
    """Return the mean of the middle half of all runs on all tasks: Agarwal et al. (2021, NeurIPS), IQM.

    Args:
        scores: ``float[..., runs, tasks]``.

    Returns:
        ``float[...]``.
    """
    values = _runs_and_tasks(scores)
    flat = values.reshape(*values.shape[:-2], -1)
    cut = int(_QUARTER * flat.shape[-1])
    middle = np.partition(flat, [cut, flat.shape[-1] - cut - 1], axis=-1)[..., cut : flat.shape[-1] - cut]
    return middle.mean(axis=-1)


def optimality_gap(scores: ArrayLike, optimum: float = 1.0) -> np.ndarray:
    """Return how far runs fall short of the optimum on average; what exceeds it makes up for nothing.

    Args:
        scores: ``float[..., runs, tasks]``.
        optimum: the score at which nothing is missing.

    Returns:
        ``float[...]``, at least 0.
    """
    return optimum - np.minimum(_runs_and_tasks(scores), optimum).mean(axis=(-2, -1))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """Return the share of runs, on all tasks alike, whose score exceeds each threshold.

    Args:
        scores: ``float[..., runs, tasks]``.
        thresholds: ``float[K]``.

    Returns:
        ``float[..., K]``.
    """
    values, marks = _runs_and_tasks(scores), np.asarray(thresholds, dtype=float)
    return np.stack([(values > mark).mean(axis=(-2, -1)) for mark in marks], axis=-1)


def improvement_probability(scores: ArrayLike, other: ArrayLike) -> np.ndarray:
    """Return how often a run of one method beats one of another on the same task, ties counting half.

    The mean over tasks of P(X > Y) + P(X = Y) / 2 over all pairs of runs: Mann and Whitney's U, scaled.

    Args:
        scores: ``float[..., runs, tasks]``.
        other: ``float[..., runs', tasks]``.

    Returns:
        ``float[...]``, in [0, 1].
    """
    one, two = _runs_and_tasks(scores)[..., :, None, :], _runs_and_tasks(other)[..., None, :, :]
    if one.shape[-1] != two.shape[-1]:
        raise ValueError(f"both must be of the same tasks, got {one.shape[-1]} and {two.shape[-1]}")
    return ((one > two).mean(axis=(-3, -2)) + (one == two).mean(axis=(-3, -2)) / 2).mean(axis=-1)


def bootstrap_interval(
    statistic: Callable[..., np.ndarray],
    *scores: ArrayLike,
    paired: bool = False,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
    at_once: int = AT_ONCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stratified percentile bootstrap interval of a statistic: runs are drawn anew within every task.

    With few runs it is too narrow: docs/statistics.md. It speaks of these tasks, not of others.

    Args:
        statistic: a function of arrays ``float[resamples, runs, tasks]``, such as those above.
        scores: ``float[runs, tasks]`` of each method.
        paired: whether run i of each method has the same seed: the same runs are then drawn of all methods.
        resamples: how many.
        confidence: in (0, 1).
        seed: of the drawing: the same scores give the same interval.
        at_once: numbers that are held in memory at once; large samples go in parts.

    Returns:
        The lower and the upper end, each of the shape that the statistic has for one resample.
    """
    arrays = [_runs_and_tasks(of) for of in scores]
    if any(array.ndim != 2 for array in arrays):
        raise ValueError(f"scores must be float[runs, tasks], got shapes {[array.shape for array in arrays]}")
    if paired and len({array.shape for array in arrays}) > 1:
        raise ValueError(f"paired scores must have one shape, got {[array.shape for array in arrays]}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    found = [
        statistic(*(array[of, np.arange(array.shape[1])] for array, of in zip(arrays, chosen, strict=True)))
        for chosen in _resampled([array.shape for array in arrays], paired, resamples, seed, at_once)
    ]
    edge = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(found), [edge, 1 - edge], axis=0)
    return low, high


def improvement_interval(scores: ArrayLike, other: ArrayLike, paired: bool = False) -> tuple[float, float]:
    """Return ``bootstrap_interval(improvement_probability, scores, other, paired=paired)``, tens of times as fast.

    Which run beats which is looked up once: a resample counts how often it has each.

    Args:
        scores: ``float[runs, tasks]``.
        other: ``float[runs', tasks]``.
        paired: whether run i of both has the same seed.
    """
    one, two = _runs_and_tasks(scores).T, _runs_and_tasks(other).T
    beaten = (one[:, :, None] > two[:, None, :]) + (one[:, :, None] == two[:, None, :]) / 2
    found = []
    for chosen in _resampled([one.T.shape, two.T.shape], paired, RESAMPLES, 0, AT_ONCE):
        counts = [_counts(of, runs) for of, runs in zip(chosen, beaten.shape[1:], strict=True)]
        found.append((counts[0] @ beaten * counts[1]).sum(axis=-1).mean(axis=0) / (one.shape[1] * two.shape[1]))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def _resampled(
    shapes: Sequence[tuple[int, int]], paired: bool, resamples: int, seed: int, at_once: int
) -> Iterator[list[np.ndarray]]:
    """Yield which runs are drawn, ``int[R, runs, tasks]`` for each of some arrays of runs and tasks, part by part."""
    rng = np.random.default_rng(seed)
    runs = [shape[0] for shape in shapes]
    largest = max(math.prod(shape) for shape in shapes) * (max(runs) if len(runs) > 1 else 1)
    for start in range(0, resamples, part := max(at_once // largest, 1)):
        count = min(part, resamples - start)
        first = rng.integers(runs[0], size=(count, *shapes[0]))
        yield [first, *(first if paired else rng.integers(shape[0], size=(count, *shape)) for shape in shapes[1:])]


def _counts(chosen: np.ndarray, runs: int) -> np.ndarray:
    """Return how often each run was drawn, ``float[tasks, R, runs]``, of ``int[R, ..., tasks]``."""
    resamples, _, tasks = chosen.shape
    place = np.arange(tasks) * resamples + np.arange(resamples)[:, None, None]
    counts = np.bincount((place * runs + chosen).ravel(), minlength=tasks * resamples * runs)
    return counts.reshape(tasks, resamples, runs).astype(float)


def _runs_and_tasks(scores: ArrayLike) -> np.ndarray:
    values = np.asarray(scores, dtype=float)
    if values.ndim < 2 or 0 in values.shape[-2:]:
        raise ValueError(f"scores must be float[..., runs, tasks] of a run and a task or more, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    return values
