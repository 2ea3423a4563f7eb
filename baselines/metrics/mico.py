"""MICo distances: rewards compared along independent draws of the next states."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks, processes
from bisimgym.baselines.metrics.bisimulation import reward_operator
from bisimgym.baselines.metrics.fixed_point import Solver, solve
from bisimgym.baselines.metrics.operators import Operator, TableCost
from bisimgym.envs.checks import probabilities, real_array


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


def shifted_mico(
    transition: ArrayLike,
    reward: ArrayLike,
    policy: ArrayLike,
    discount: float,
    *,
    chances: ArrayLike | None = None,
    **solver: Unpack[Solver],
) -> np.ndarray:
    """Return the shifted MICo distance, ``float64[S, S]``: what losses learn that see single rewards.

    The fixed point of ``U(s, t) = E|R(s) - R(t)| + discount * E[ U(s', t') ]``, all drawn independently: actions of the
    policy, their rewards, next states. It is MICo where every state has one reward, and larger where rewards vary, from
    a state to itself too: a sampled difference of rewards is no estimate of the difference of their means.

    Source: the expected target of the sampled loss of Castro et al. (2021), whose :func:`mico` takes means first.

    Args:
        transition: ``float[S, A, S]`` probabilities, ``int[S, A]`` next states, or sparse.
        reward: ``float[S, A]``, or ``float[S, A, K]``: rewards that an action may give.
        policy: ``float[S, A]`` action probabilities.
        discount: in [0, 1).
        chances: ``float[S, A, K]``, the probabilities of an action's rewards (default: equal ones).
        **solver: see :class:`~bisimgym.baselines.metrics.Solver`.

    Raises:
        ValueError: for bad shapes, probabilities, rewards, discount, or a tolerance that cannot be certified.
        MemoryError: if solving does not fit in memory.
    """
    moves = checks.next_states_or_distributions(transition)
    policy = checks.action_probabilities(policy, *moves.shape)
    rewards = real_array("reward", reward)
    rewards = rewards[..., None] if rewards.ndim == 2 else rewards
    if rewards.ndim != 3 or rewards.shape[:2] != moves.shape or not rewards.size or not np.isfinite(rewards).all():
        shape = f"float[{moves.shape[0]}, {moves.shape[1]}]"
        raise ValueError(f"reward must be finite {shape}, or with a third axis of rewards, got {rewards.shape}")
    given = np.full(rewards.shape, 1 / rewards.shape[2]) if chances is None else probabilities("chances", chances)
    if given.shape != rewards.shape:
        raise ValueError(f"chances must be float{list(rewards.shape)} as reward is, got shape {given.shape}")
    mass = (policy[..., None] * given).reshape(len(policy), -1)
    successors = processes.under_policy(moves, policy)
    operator = Operator(
        name="shifted MICo",
        cost=TableCost(_expected_differences(rewards.reshape(len(policy), -1), mass)[None]),
        successors_x=successors,
        successors_y=successors,
        discount=checks.discount_factor(discount),
        weights=None,
        independent=True,
        symmetric=False,
    )
    return solve(operator, **solver)


def _expected_differences(values: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Return ``float64[S, S]``: the mean of ``|X - Y|`` for independent draws from values ``[S, K]`` with their masses.

    It is the integral of ``F (1 - G) + (1 - F) G`` with the two distribution functions.
    """
    points, place = np.unique(values, return_inverse=True)
    below = np.zeros((len(values), len(points)))
    np.add.at(below, (np.arange(len(values))[:, None], place.reshape(values.shape)), mass)
    below = np.minimum(below.cumsum(axis=1)[:, :-1], 1)
    return (below * np.diff(points)) @ (1 - below).T + ((1 - below) * np.diff(points)) @ below.T
