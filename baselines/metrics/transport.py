"""Optimal transport of one problem, by the network simplex of POT (Python Optimal Transport)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from bisimgym.envs.checks import probabilities
from bisimgym.envs.extras import require

_MAX_PIVOTS = 10_000_000


def wasserstein(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> float:
    """Return the Wasserstein-1 distance of distributions ``float64[N]`` and ``float64[M]`` under ``float64[N, M]``.

    Raises:
        ValueError: if a distribution is not one or the shapes do not fit.
    """
    x, y, cost = np.asarray(x), np.asarray(y), np.ascontiguousarray(cost, dtype=np.float64)
    if x.ndim != 1 or y.ndim != 1 or cost.shape != (len(x), len(y)):
        raise ValueError(f"expected x[N], y[M], cost[N, M]; got shapes {x.shape}, {y.shape}, {cost.shape}")
    if not np.isfinite(cost).all():
        raise ValueError("cost must be finite")
    x, y = probabilities("x", x), probabilities("y", y)
    at_x, at_y = x.nonzero()[0], y.nonzero()[0]
    cost = np.ascontiguousarray(cost[np.ix_(at_x, at_y)])
    return float((plan(x[at_x], y[at_y], cost) * cost).sum())


def plan(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return the cheapest coupling, ``float64[N, M]``, of positive masses: a vertex, with N + M - 1 entries at most."""
    return solved(x, y, cost)[0]


def solved(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cheapest coupling of positive masses, and potentials ``float64[N]`` and ``float64[M]``."""
    entry = _entry()
    if entry is not None:
        # What ot.emd does around its entry takes longer than a small problem itself.
        coupling, _, u, v, code = entry(x, y * (x.sum() / y.sum()), cost)
    else:
        import ot

        coupling, log = ot.emd(x, y, cost, numItermax=_MAX_PIVOTS, log=True, center_dual=False, check_marginals=False)
        u, v, code = log["u"], log["v"], log["result_code"]
    if code != 1:
        raise ArithmeticError(f"optimal transport failed: POT's network simplex ended with code {code}")
    return coupling, u, v


@functools.cache
def _entry() -> Callable[[np.ndarray, np.ndarray, np.ndarray], tuple] | None:
    """Return POT's compiled solver, or None where it is not as this module knows it.

    It is no public part of POT, so a problem whose solution is known shows whether it takes and returns what it did.
    """
    require("optimal transport solvers", "metrics", "ot")
    import ot  # noqa: F401  (imports torch where that is installed: only those who need it wait for it)

    try:
        from ot.lp.emd_wrap import emd_c

        x, y, cost = np.array([0.75, 0.25]), np.array([0.5, 0.5]), np.array([[0.0, 1.0], [1.0, 0.0]])
        nothing = np.zeros(2), np.zeros(2)
        solved = emd_c(x, y, cost, _MAX_PIVOTS, 1, *nothing)
        right = len(solved) == 5 and solved[4] == 1 and np.allclose(solved[0], [[0.5, 0.25], [0, 0.25]])
    except (ImportError, TypeError, ValueError):
        return None
    if not right:
        return None
    return lambda x, y, cost: emd_c(x, y, cost, _MAX_PIVOTS, 1, np.zeros(len(x)), np.zeros(len(y)))
