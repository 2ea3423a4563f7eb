"""Statistics over seeds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


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
