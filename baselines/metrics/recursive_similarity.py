"""Recursive state similarity: any base cost, carried back through the same actions in both states."""

from __future__ import annotations

from typing import Literal, Unpack

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks, processes
from bisimgym.baselines.metrics.fixed_point import Solver, solve
from bisimgym.baselines.metrics.operators import Operator, TableCost


def recursive_similarity(
    transition: ArrayLike,
    base_cost: ArrayLike,
    discount: float,
    reduction: Literal["mean", "max"] | ArrayLike = "mean",
    *,
    other: ArrayLike | None = None,
    **solver: Unpack[Solver],
) -> np.ndarray:
    """Return the recursive state similarity, ``float64[S, S]``.

    The fixed point of ``d(s, t) = reduce_a [ C(s, t) + discount * W1(P(s, a), P(t, a); d) ]``. No reward and no policy
    enters. The metric is proportional to ``C``: for the scale ``(1 - discount) C`` of the authors' code, which keeps
    distances in the range of ``C``, scale the cost.

    Source: the interaction-based representations paper, Equation 1, for deterministic processes; on stochastic ones
    the Wasserstein-1 distance stands for the distance of next states.

    Args:
        transition: ``float[S, A, S]`` probabilities or ``int[S, A]`` next states.
        base_cost: ``float[S, S]``, or ``float[A, S, S]`` if it depends on the action; non-negative. It need not be
            symmetric. (``[S, S']`` with ``other``.)
        discount: in [0, 1).
        reduction: over actions: "mean", "max", or weights ``float[A]`` that sum to one.
        other: the transition of a second process with the same actions; distances are then ``float64[S, S']``.
        **solver: see :class:`~bisimgym.baselines.metrics.Solver`.

    Raises:
        ValueError: for bad shapes, probabilities, costs, discount, or a tolerance that cannot be certified.
        MemoryError: if solving does not fit in memory.
    """
    return solve(recursive_similarity_operator(transition, base_cost, discount, reduction, other=other), **solver)


def recursive_similarity_operator(
    transition: ArrayLike,
    base_cost: ArrayLike,
    discount: float,
    reduction: Literal["mean", "max"] | ArrayLike = "mean",
    *,
    other: ArrayLike | None = None,
) -> Operator:
    """Return the recursion whose fixed point is :func:`recursive_similarity`; the arguments are the same."""
    x, y = processes.two_transitions(transition, other)
    actions = x.shape[1]
    shape = (len(x), len(y))
    by_action = np.ndim(base_cost) == 3
    table = checks.costs(base_cost, (actions, *shape) if by_action else shape, "base_cost")
    cost = TableCost(table if by_action else table[None])
    return Operator(
        name="recursive similarity",
        cost=cost,
        successors_x=x,
        successors_y=y,
        discount=checks.discount_factor(discount),
        weights=_weights(reduction, actions),
        independent=False,
        symmetric=other is None and cost.is_semimetric(),
    )


def _weights(reduction: Literal["mean", "max"] | ArrayLike, actions: int) -> np.ndarray | None:
    if isinstance(reduction, str):
        if reduction not in ("mean", "max"):
            raise ValueError(f'reduction must be "mean", "max" or weights float[{actions}], got {reduction!r}')
        return None if reduction == "max" else np.full(actions, 1 / actions)
    weights = np.asarray(reduction, dtype=np.float64)
    if weights.shape != (actions,):
        raise ValueError(f"reduction: weights must be float[{actions}], one per action, got shape {weights.shape}")
    return checks.action_probabilities(weights[None], 1, actions, "reduction")[0]
