"""The MICo distance: rewards compared along independent draws of the next states."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics.bisimulation import reward_operator
from bisimgym.baselines.metrics.fixed_point import Solver, solve
from bisimgym.baselines.metrics.operators import Operator


def mico(
    transition: ArrayLike,
    reward: ArrayLike,
    policy: ArrayLike,
    discount: float,
    *,
    other: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    **solver: Unpack[Solver],
) -> np.ndarray:
    """Return the MICo distance (matching under independent couplings), ``float64[S, S]``.

    The fixed point of ``U(s, t) = |r_pi(s) - r_pi(t)| + discount * E[ U(s', t') ]`` with independent
    ``s' ~ P_pi(s)`` and ``t' ~ P_pi(t)``. It bounds differences of the policy's values as on-policy bisimulation does.
    It is symmetric and keeps the triangle inequality, but a state is at a positive distance from itself where the
    policy leads to differently rewarded states.

    Source: Castro, Kastner, Panangaden and Rowland (2021), "MICo: Improved representations via sampling-based state
    similarity for Markov decision processes", Definition 4.1 and Proposition 4.8.

    Args:
        transition: ``float[S, A, S]`` probabilities or ``int[S, A]`` next states.
        reward: ``float[S, A]`` expected rewards.
        policy: ``float[S, A]`` action probabilities.
        discount: in [0, 1).
        other: ``(transition, reward, policy)`` of a second process; distances are then ``float64[S, S']``.
        **solver: see :class:`~bisimgym.baselines.metrics.Solver`.

    Raises:
        ValueError: for bad shapes, probabilities, rewards, discount, or a tolerance that cannot be certified.
        MemoryError: if solving does not fit in memory.
    """
    return solve(mico_operator(transition, reward, policy, discount, other=other), **solver)


def mico_operator(
    transition: ArrayLike,
    reward: ArrayLike,
    policy: ArrayLike,
    discount: float,
    *,
    other: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
) -> Operator:
    """Return the recursion whose fixed point is :func:`mico`; the arguments are the same."""
    return reward_operator("MICo", transition, reward, policy, discount, other, independent=True)
