"""Lax bisimulation: states are compared by the best match of their actions, whatever these are called."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from bisimgym.baselines.metrics import checks, processes
from bisimgym.baselines.metrics.fixed_point import Solver, solve
from bisimgym.baselines.metrics.operators import FeatureCost, Operator, reward_cost
from bisimgym.baselines.metrics.stochastic import Pairs


def lax_bisimulation(
    transition: ArrayLike,
    reward: ArrayLike,
    discount: float,
    *,
    other: tuple[ArrayLike, ArrayLike] | None = None,
    **solver: Unpack[Solver],
) -> np.ndarray:
    """Return the lax bisimulation metric, ``float64[S, S]``.

    The fixed point of the Hausdorff distance of the actions' ``d((s, a), (t, b)) = |r(s, a) - r(t, b)| + discount *
    W1(P(s, a), P(t, b); d)``: the largest distance of an action, of either state, to the nearest one of the other. It
    is zero where a homomorphism matches the states, such as mirrored ones, whose actions have other names. It bounds
    differences of optimal values, ``|V*(s) - V*(t)| <= d(s, t)``, and is no larger than bisimulation.

    Source: Taylor, Precup and Panangaden (2009), "Bounding performance loss in approximate MDP homomorphisms", the lax
    bisimulation metric, with weight 1 on rewards and ``discount`` on transitions.

    Args:
        transition: ``float[S, A, S]`` probabilities, ``int[S, A]`` next states, or sparse: see the page of metrics.
        reward: ``float[S, A]`` expected rewards.
        discount: in [0, 1).
        other: ``(transition, reward)`` of a second process with as many actions; distances are then ``float64[S, S']``.
        **solver: see :class:`~bisimgym.baselines.metrics.Solver`.

    Raises:
        ValueError: for bad shapes, probabilities, rewards, discount, or a tolerance that cannot be certified.
        MemoryError: if solving does not fit in memory.
    """
    return solve(lax_bisimulation_operator(transition, reward, discount, other=other), **solver)


def lax_bisimulation_operator(
    transition: ArrayLike, reward: ArrayLike, discount: float, *, other: tuple[ArrayLike, ArrayLike] | None = None
) -> Operator:
    """Return the recursion whose fixed point is :func:`lax_bisimulation`; the arguments are the same."""
    other_transition, other_reward = processes.parts(other, 2, "transition, reward")
    x, y = processes.two_transitions(transition, other_transition)
    reward_x, reward_y = processes.rewards(x, y, reward, other_reward)
    return LaxOperator(
        name="lax bisimulation",
        cost=FeatureCost(reward_x, reward_y, _reward_difference, reward_cost(reward_x, reward_y).largest()),
        successors_x=x,
        successors_y=y,
        discount=checks.discount_factor(discount),
        weights=None,
        independent=False,
        symmetric=other is None,
    )


def _reward_difference(reward_x: np.ndarray, reward_y: np.ndarray, number: int) -> np.ndarray:
    action_x, action_y = divmod(number, reward_x.shape[1])
    return np.abs(reward_x[:, action_x, None] - reward_y[None, :, action_y])


@dataclass(frozen=True)
class LaxOperator(Operator):
    """The recursion of lax bisimulation: all actions of x are coupled with all of y."""

    matches_actions = True

    @property
    def coupled_actions(self) -> list[tuple[int, int]]:
        return [divmod(number, self.num_actions) for number in range(self.num_actions**2)]

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        distance = self.checked(distance)
        rows = np.arange(self.shape[0])
        terms = np.stack([self.cost(number, rows) for number in range(self.num_actions**2)])
        return hausdorff(terms + self.discount * self._transported(distance))

    def pairs(self) -> LaxPairs:
        return LaxPairs(self)


def hausdorff(terms: np.ndarray) -> np.ndarray:
    """Return Hausdorff distances ``float64[...]`` of the actions, by those between them, ``float64[A * A, ...]``."""
    actions = math.isqrt(len(terms))
    by_actions = terms.reshape(actions, actions, *terms.shape[1:])
    return np.maximum(by_actions.min(axis=1).max(axis=0), by_actions.min(axis=0).max(axis=0))


class LaxPairs(Pairs):
    """Pairs whose minimizing player also matches actions.

    The player who maximizes names an action of either state, 2 A options; the other answers with an action of the other
    state, and a coupling.

    Attributes:
        answers: ``int64[2 * A, number]``, the couplings that answer each option.
    """

    answers: np.ndarray

    def improve(self, values: np.ndarray, workers: int, bar: tqdm, note: str = "") -> tuple[np.ndarray, float]:
        every = np.ones(len(self.rows), dtype=bool)
        slack = self._update(self.square(values), [every] * len(self.couplings), workers, bar, note)
        terms = self.terms(values)
        by_actions = terms.reshape(self.operator.num_actions, self.operator.num_actions, -1)
        actions = np.arange(len(by_actions))[:, None]
        # Numbers of couplings: the answer to each action of x, and to each of y.
        self.answers = np.concatenate(
            [actions * len(actions) + by_actions.argmin(axis=1), by_actions.argmin(axis=0) * len(actions) + actions]
        )
        return hausdorff(terms), slack

    def _reduced(self, terms: np.ndarray) -> np.ndarray:
        return hausdorff(terms)

    def _options(self, values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(self.terms(values), self.answers, axis=0)

    def _problems(self, choice: np.ndarray) -> np.ndarray:
        return self.answers[choice, np.arange(self.number)]
