"""The policy similarity metric: how differently two states are acted in, now and later."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks, processes
from bisimgym.baselines.metrics.fixed_point import Solver, solve
from bisimgym.baselines.metrics.operators import Cost, Operator, TableCost, policy_total_variation


def policy_similarity(
    transition: ArrayLike,
    policy: ArrayLike,
    discount: float,
    *,
    cost: ArrayLike | None = None,
    other: tuple[ArrayLike, ArrayLike] | None = None,
    **solver: Unpack[Solver],
) -> np.ndarray:
    """Return the policy similarity metric (PSM), ``float64[S, S]``.

    The fixed point of ``d(s, t) = TV(pi(s), pi(t)) + discount * W1(P_pi(s), P_pi(t); d)``, usually for optimal
    policies. Between two processes it tells in which states of both one acts alike for good, whatever the rewards.

    Source: Agarwal, Machado, Castro and Bellemare (2021), "Contrastive Behavioral Similarity Embeddings for
    Generalization in Reinforcement Learning", Equation 2. Along two given trajectories
    :func:`~bisimgym.baselines.metrics.trajectory_similarity` is quicker.

    Args:
        transition: ``float[S, A, S]`` probabilities or ``int[S, A]`` next states.
        policy: ``float[S, A]`` action probabilities, of terminal states too.
        discount: in [0, 1).
        cost: ``float[S, S]`` (``[S, S']`` with ``other``), a distance between the policies of two states to use in
            place of total variation, such as the difference of mean actions.
        other: ``(transition, policy)`` of a second process with the same actions; distances are then
            ``float64[S, S']``.
        **solver: see :class:`~bisimgym.baselines.metrics.Solver`.

    Raises:
        ValueError: for bad shapes, probabilities, costs, discount, or a tolerance that cannot be certified.
        MemoryError: if solving does not fit in memory.
    """
    return solve(policy_similarity_operator(transition, policy, discount, cost=cost, other=other), **solver)


def policy_similarity_operator(
    transition: ArrayLike,
    policy: ArrayLike,
    discount: float,
    *,
    cost: ArrayLike | None = None,
    other: tuple[ArrayLike, ArrayLike] | None = None,
) -> Operator:
    """Return the recursion whose fixed point is :func:`policy_similarity`; the arguments are the same."""
    other_transition, other_policy = processes.parts(other, 2, "transition, policy")
    x, y = processes.two_transitions(transition, other_transition)
    policy_x, policy_y = processes.policies(x, y, policy, other_policy)
    successors_x = processes.under_policy(x, policy_x)
    successors_y = successors_x if other is None else processes.under_policy(y, policy_y)
    successors_x, successors_y = processes.same_form(successors_x, successors_y)
    local: Cost
    if cost is None:
        local, symmetric = policy_total_variation(policy_x, policy_y), other is None
    else:
        local = table = TableCost(checks.costs(cost, (len(x), len(y)), "cost")[None])
        symmetric = other is None and table.is_semimetric()
    return Operator(
        name="PSM",
        cost=local,
        successors_x=successors_x,
        successors_y=successors_y,
        discount=checks.discount_factor(discount),
        weights=None,
        independent=False,
        symmetric=symmetric,
    )
