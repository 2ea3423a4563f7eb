"""Bisimulation metrics: how differently two states are rewarded, now and later."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks, processes
from bisimgym.baselines.metrics.fixed_point import Solver, solve
from bisimgym.baselines.metrics.operators import Operator, reward_cost


def bisimulation(
    transition: ArrayLike,
    reward: ArrayLike,
    discount: float,
    *,
    other: tuple[ArrayLike, ArrayLike] | None = None,
    **solver: Unpack[Solver],
) -> np.ndarray:
    """Return the bisimulation metric, ``float64[S, S]``.

    The fixed point of ``d(s, t) = max_a [ |r(s, a) - r(t, a)| + discount * W1(P(s, a), P(t, a); d) ]``. It bounds
    differences of optimal values, ``|V*(s) - V*(t)| <= d(s, t)``, and with a positive discount is zero exactly for
    bisimilar states.

    Source: Ferns, Panangaden and Precup (2004), Theorem 4.5, with weight 1 on rewards and ``discount`` on transitions.

    Args:
        transition: ``float[S, A, S]`` probabilities, or ``int[S, A]`` next states of a deterministic process, which is
            far faster.
        reward: ``float[S, A]`` expected rewards.
        discount: in [0, 1).
        other: ``(transition, reward)`` of a second process with the same actions; the distances are then between the
            states of both, ``float64[S, S']``.
        **solver: see :class:`~bisimgym.baselines.metrics.Solver`.

    Raises:
        ValueError: for bad shapes, probabilities, rewards, discount, or a tolerance that cannot be certified.
        MemoryError: if solving does not fit in memory.
    """
    return solve(bisimulation_operator(transition, reward, discount, other=other), **solver)


def bisimulation_operator(
    transition: ArrayLike, reward: ArrayLike, discount: float, *, other: tuple[ArrayLike, ArrayLike] | None = None
) -> Operator:
    """Return the recursion whose fixed point is :func:`bisimulation`; the arguments are the same."""
    other_transition, other_reward = processes.parts(other, 2, "transition, reward")
    x, y = processes.two_transitions(transition, other_transition)
    return Operator(
        name="bisimulation",
        cost=reward_cost(*processes.rewards(x, y, reward, other_reward)),
        successors_x=x,
        successors_y=y,
        discount=checks.discount_factor(discount),
        weights=None,
        independent=False,
        symmetric=other is None,
    )


def on_policy_bisimulation(
    transition: ArrayLike,
    reward: ArrayLike,
    policy: ArrayLike,
    discount: float,
    *,
    other: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    **solver: Unpack[Solver],
) -> np.ndarray:
    """Return the on-policy bisimulation metric, ``float64[S, S]``.

    The fixed point of ``d(s, t) = |r_pi(s) - r_pi(t)| + discount * W1(P_pi(s), P_pi(t); d)``, where ``r_pi`` and
    ``P_pi`` are averages over the policy's actions. It bounds differences of the policy's values,
    ``|V_pi(s) - V_pi(t)| <= d(s, t)``.

    Source: Castro (2020), "Scalable methods for computing state similarity in deterministic Markov decision
    processes", Theorem 2. With an optimal policy it is the pi*-bisimulation of Agarwal et al. (2021).

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
    return solve(on_policy_bisimulation_operator(transition, reward, policy, discount, other=other), **solver)


def on_policy_bisimulation_operator(
    transition: ArrayLike,
    reward: ArrayLike,
    policy: ArrayLike,
    discount: float,
    *,
    other: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
) -> Operator:
    """Return the recursion whose fixed point is :func:`on_policy_bisimulation`; the arguments are the same."""
    return reward_operator("on-policy bisimulation", transition, reward, policy, discount, other, independent=False)


def reward_operator(
    name: str,
    transition: ArrayLike,
    reward: ArrayLike,
    policy: ArrayLike,
    discount: float,
    other: tuple | None,
    independent: bool,
) -> Operator:
    """Return the recursion of a metric that compares the expected rewards of policies."""
    other_transition, other_reward, other_policy = processes.parts(other, 3, "transition, reward, policy")
    x, y = processes.two_transitions(transition, other_transition)
    reward_x, reward_y = processes.rewards(x, y, reward, other_reward)
    policy_x, policy_y = processes.policies(x, y, policy, other_policy)
    successors_x = processes.under_policy(x, policy_x)
    successors_y = successors_x if other is None else processes.under_policy(y, policy_y)
    successors_x, successors_y = processes.same_form(successors_x, successors_y)
    # A constant common to all rewards only costs digits.
    middle = (max(reward_x.max(), reward_y.max()) + min(reward_x.min(), reward_y.min())) / 2
    reward_x, reward_y = reward_x - middle, reward_y - middle
    mean_x = (policy_x * reward_x).sum(axis=1, keepdims=True)
    mean_y = (policy_y * reward_y).sum(axis=1, keepdims=True)
    return Operator(
        name=name,
        cost=reward_cost(mean_x, mean_y),
        successors_x=successors_x,
        successors_y=successors_y,
        discount=checks.discount_factor(discount),
        weights=None,
        independent=independent,
        symmetric=other is None,
    )
