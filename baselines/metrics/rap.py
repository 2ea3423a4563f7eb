"""The RAP distance: rewards compared along the expected next states of independently drawn actions."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks
from bisimgym.baselines.metrics.bisimulation import reward_operator
from bisimgym.baselines.metrics.fixed_point import Solver, solve
from bisimgym.baselines.metrics.operators import Operator
from bisimgym.baselines.metrics.processes import parts
from bisimgym.envs.checks import real_array


def rap(
    transition: ArrayLike,
    reward: ArrayLike,
    policy: ArrayLike,
    discount: float,
    coordinates: ArrayLike | None = None,
    *,
    other: tuple | None = None,
    **solver: Unpack[Solver],
) -> np.ndarray:
    """Return the RAP distance (reducing the approximation gap), ``float64[S, S]``.

    The fixed point of ``d(s, t) = |r_pi(s) - r_pi(t)| + discount * E_{a, b}[ d(m(s, a), m(t, b)) ]`` with independent
    actions of the policy and ``m(s, a)`` the expected next state. On a deterministic process ``m`` is the next state
    and the metric is that of MICo. On a stochastic one states need ``coordinates``, in which ``m`` is an average; it
    stands for the state whose coordinates are nearest (Euclidean; the first of equally near ones), which is exact
    wherever the average is a state.

    Source: Chen and Pan (2022), "Learning representations via a robust behavioral metric for deep reinforcement
    learning", Definition 3.1. Representing a mean by the nearest state is ours: the paper works in R^n, where every
    mean is a state.

    Args:
        transition: ``float[S, A, S]`` probabilities or ``int[S, A]`` next states.
        reward: ``float[S, A]`` expected rewards.
        policy: ``float[S, A]`` action probabilities.
        discount: in [0, 1).
        coordinates: ``float[S, K]``, needed where the process is stochastic.
        other: ``(transition, reward, policy, coordinates)`` of a second process (coordinates may be None); distances
            are then ``float64[S, S']``.
        **solver: see :class:`~bisimgym.baselines.metrics.Solver`.

    Raises:
        ValueError: for missing coordinates, bad shapes, probabilities, rewards, discount or tolerance.
        MemoryError: if solving does not fit in memory.
    """
    return solve(rap_operator(transition, reward, policy, discount, coordinates, other=other), **solver)


def rap_operator(
    transition: ArrayLike,
    reward: ArrayLike,
    policy: ArrayLike,
    discount: float,
    coordinates: ArrayLike | None = None,
    *,
    other: tuple | None = None,
) -> Operator:
    """Return the recursion whose fixed point is :func:`rap`; the arguments are the same."""
    moved = expected_next_states(transition, coordinates)
    if other is not None:
        other_transition, other_reward, other_policy, other_coordinates = parts(
            other, 4, "transition, reward, policy, coordinates"
        )
        other_moved = expected_next_states(other_transition, other_coordinates, "the other ")
        other = (other_moved, other_reward, other_policy)
    return reward_operator("RAP", moved, reward, policy, discount, other, independent=True)


def expected_next_states(transition: ArrayLike, coordinates: ArrayLike | None, prefix: str = "") -> np.ndarray:
    """Return ``int64[S, A]``: the state nearest to the expected coordinates of the next state.

    Raises:
        ValueError: for bad transitions or coordinates, or if a stochastic process has no coordinates.
    """
    moves = checks.next_states_or_distributions(transition, f"{prefix}transition")
    states = len(moves)
    if coordinates is not None:
        coordinates = real_array("coordinates", coordinates)
        if (
            coordinates.ndim != 2
            or len(coordinates) != states
            or not coordinates.shape[1]
            or not np.isfinite(coordinates).all()
        ):
            raise ValueError(f"{prefix}coordinates must be finite float[{states}, K], got shape {coordinates.shape}")
    if isinstance(moves, np.ndarray):
        return moves
    if coordinates is None:
        raise ValueError(
            f"{prefix}transition is stochastic, and RAP compares expected next states: give the coordinates of the "
            f"states, float[{states}, K], in which expectations are taken"
        )
    means = moves.matrix() @ coordinates
    summed = moves.matrix() @ np.abs(coordinates).max(axis=1)
    nearest = np.empty(len(means), dtype=np.int64)
    for i, mean in enumerate(means):
        away = np.linalg.norm(coordinates - mean, axis=1)
        # Rounding, of the numbers that are subtracted, must not decide between states that are equally near.
        slack = 16 * np.finfo(np.float64).eps * (summed[i] + away.min())
        nearest[i] = (away <= away.min() + slack).argmax()
    return nearest.reshape(moves.shape)
