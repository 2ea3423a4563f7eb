"""Exact metrics the straightforward way, to check the fast ones and to compare their speed.

Plain fixed-point iteration from zero until its last change guarantees the tolerance; optimal transport is a linear
program per pair of states.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from bisimgym.benchmarks.speed.harness import now


class Iteration(NamedTuple):
    """A plain iteration, to its end or cut off.

    Attributes:
        distance: ``float64[S, S]``, the last.
        sweeps: that were done.
        needed: sweeps until the end: as many, or, if cut off, extrapolated.
        seconds: that the sweeps took.
    """

    distance: np.ndarray
    sweeps: int
    needed: int
    seconds: float


def iterate_until(
    sweep: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, int],
    discount: float,
    tolerance: float,
    seconds: float = math.inf,
) -> Iteration:
    """Iterate from zero until the last change D is at most ``tolerance * (1 - discount) / discount``.

    By the contraction, distances are then within ``tolerance`` of the fixed point. After so many seconds, and 20 sweeps
    at least, the iteration is cut off; the sweeps left are those in which D would reach its bound if it went on to
    shrink as it did in the last ten.
    """
    distance, changes, start = np.zeros(shape), [], now()
    bound = tolerance * (1 - discount) / max(discount, tolerance)
    while True:
        new = sweep(distance)
        changes.append(float(np.abs(new - distance).max()))
        distance, sweeps, took = new, len(changes), now() - start
        if changes[-1] <= bound:
            return Iteration(distance, sweeps, sweeps, took)
        if took >= seconds and sweeps >= 20:
            log_rate = min(math.log(changes[-1] / changes[-11]) / 10, math.log(discount))
            return Iteration(distance, sweeps, sweeps + math.ceil(math.log(bound / changes[-1]) / log_rate), took)


def deterministic_sweep(
    distance: np.ndarray, next_states: np.ndarray, costs: np.ndarray, discount: float
) -> np.ndarray:
    """Return one sweep of the maximum over actions; ``costs`` is ``float64[A, S, S]``."""
    new = np.zeros_like(distance)
    for action, to in enumerate(next_states.T):
        new = np.maximum(new, costs[action] + discount * distance[np.ix_(to, to)])
    return new


def mean_sweep(distance: np.ndarray, next_states: np.ndarray, cost: np.ndarray, discount: float) -> np.ndarray:
    """Return one sweep of the mean over actions; ``cost`` is ``float64[S, S]``."""
    return cost + discount * np.mean([distance[np.ix_(to, to)] for to in next_states.T], axis=0)


def independent_sweep(distance: np.ndarray, probabilities: np.ndarray, cost: np.ndarray, discount: float) -> np.ndarray:
    """Return one sweep with independent next states; ``probabilities`` is ``float64[S, S]``."""
    return cost + discount * probabilities @ distance @ probabilities.T


def transport_sweep(distance: np.ndarray, probabilities: np.ndarray, costs: np.ndarray, discount: float) -> np.ndarray:
    """Return one sweep of the maximum over actions with a linear program per pair and action.

    ``probabilities`` is ``float64[S, A, S]`` and ``costs`` ``float64[A, S, S]``.
    """
    states, actions = probabilities.shape[:2]
    new = np.zeros_like(distance)
    for x in range(states):
        for y in range(x + 1, states):
            terms = [
                costs[a, x, y] + discount * transport_by_program(probabilities[x, a], probabilities[y, a], distance)
                for a in range(actions)
            ]
            new[x, y] = new[y, x] = max(terms)
    return new


def transport_by_program(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> float:
    """Return the Wasserstein-1 distance of distributions ``float64[S]``, by a linear program on their supports."""
    at_x, at_y = x.nonzero()[0], y.nonzero()[0]
    n, m = len(at_x), len(at_y)
    marginals = np.zeros((n + m, n * m))
    for i in range(n):
        marginals[i, i * m : (i + 1) * m] = 1
    for j in range(m):
        marginals[n + j, j::m] = 1
    solution = linprog(
        cost[np.ix_(at_x, at_y)].ravel(), A_eq=marginals, b_eq=np.concatenate([x[at_x], y[at_y]]), bounds=(0, None)
    )
    if solution.status != 0 or solution.fun is None:
        raise ArithmeticError(f"the linear program failed: {solution.message}")
    return float(solution.fun)


def trajectory_arrays(cost: np.ndarray, discount: float, tolerance: float = 1e-7) -> np.ndarray:
    """Return the distances along two trajectories by fixed-point iteration on whole arrays."""
    distance = np.zeros_like(cost)
    while True:
        new = cost.copy()
        new[:-1, :-1] += discount * distance[1:, 1:]
        new[-1, :-1] += discount * distance[-1, 1:]
        new[:-1, -1] += discount * distance[1:, -1]
        if np.abs(new - distance).sum() <= tolerance:
            return new
        distance = new


def trajectory_loops(cost: list[list[float]], discount: float, tolerance: float = 1e-7) -> list[list[float]]:
    """Return the distances along two trajectories by fixed-point iteration, pair by pair."""
    rows, columns = len(cost), len(cost[0])
    distance = [[0.0] * columns for _ in range(rows)]
    while True:
        change = 0.0
        new = []
        for i in range(rows):
            row = []
            for j in range(columns):
                value = cost[i][j]
                if (i, j) != (rows - 1, columns - 1):
                    value += discount * distance[min(i + 1, rows - 1)][min(j + 1, columns - 1)]
                change += abs(value - distance[i][j])
                row.append(value)
            new.append(row)
        if change <= tolerance:
            return new
        distance = new


def sinkhorn_value_iteration(
    x: np.ndarray, y: np.ndarray, cost: np.ndarray, discount: float, sweeps: int, step: float = 1.0, scalings: int = 20
) -> np.ndarray:
    """Return distances between the states of two Markov chains by so many sweeps of Sinkhorn value iteration.

    Every pair of states keeps a coupling of its next states. A sweep multiplies it by ``exp(-step * value)`` (mirror
    descent), scales rows and columns to their marginals in turn, and takes the expected values under it.

    Source: Calo, Jonsson, Neu, Schwartz and Segovia-Aguas (2024), "Bisimulation metrics are optimal transport
    distances, and can be computed efficiently", NeurIPS. Written from the paper's description, on whole arrays; the
    step, relative to the mean of values so far, and the number of scalings are ours.

    Args:
        x, y: ``float64[S, S]`` and ``float64[S', S']``.
        cost: ``float64[S, S']``.
        discount: in [0, 1).
        sweeps: at least 1.
        step: of mirror descent, over the mean of values.
        scalings: of rows and of columns, in each sweep.
    """
    (states_x, mass_x), (states_y, mass_y) = _supports(x), _supports(y)
    coupling = mass_x[:, None, :, None] * mass_y[None, :, None, :]
    values = cost.copy()
    for _ in range(sweeps):
        ahead = values[states_x[:, None, :, None], states_y[None, :, None, :]]
        coupling *= np.exp(-step / max(float(values.mean()), 1e-300) * ahead)
        for _ in range(scalings):
            total = coupling.sum(axis=3)
            coupling *= np.divide(mass_x[:, None], total, out=np.zeros_like(total), where=total > 0)[..., None]
            total = coupling.sum(axis=2)
            coupling *= np.divide(mass_y[None], total, out=np.zeros_like(total), where=total > 0)[:, :, None]
        values = cost + discount * np.einsum("xyij,xyij->xy", coupling, ahead)
    return values


def _supports(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the next states and their masses, ``[S, K]`` each, the largest number K of all rows; others have none."""
    size = int((probabilities > 0).sum(axis=1).max())
    states = np.argsort(-probabilities, axis=1, kind="stable")[:, :size]
    return states, np.take_along_axis(probabilities, states, axis=1)
