"""The recursion that all behavioral metrics share, as a function from distances to distances.

    F(d)(x, y) = reduce over a of [ cost_a(x, y) + discount * coupling(P_a(x), P_a(y))(d) ]

A metric chooses the cost, the reduction (the maximum or weights) and the coupling of the two distributions of next
states: the cheapest one (Wasserstein-1) or independent draws (Lukaszyk-Karmowski). Since the reduction and the coupling
do not stretch differences, F is a contraction by ``discount`` in the maximum norm, and the metric is its only fixed
point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from bisimgym.baselines.metrics import partition
from bisimgym.baselines.metrics.checks import next_states_or_distributions
from bisimgym.baselines.metrics.distributions import Distributions
from bisimgym.baselines.metrics.processes import Transitions, as_distributions

if TYPE_CHECKING:
    from bisimgym.baselines.metrics.stochastic import Pairs

#: Work on blocks of rows of about this many bytes, which stay in the cache.
BLOCK_BYTES = 2**18
EPS = float(np.finfo(np.float64).eps)


class Cost(Protocol):
    """Local distances of pairs of states."""

    def __call__(self, action: int, rows: np.ndarray, first: int = 0) -> np.ndarray:
        """Return ``float64[len(rows), Sy - first]``, a new array: costs of ``rows`` of x and y from ``first``."""

    def largest(self) -> float:
        """Return an upper bound of all costs."""

    def restricted(self, keep_x: np.ndarray, keep_y: np.ndarray) -> Cost:
        """Return the costs between some states only."""


@dataclass(frozen=True)
class FeatureCost:
    """A cost that depends on a state's features only, so that states with equal ones can be merged.

    Attributes:
        features_x, features_y: ``float64[S, K]``, for example rewards.
        distance: from features ``[R, K]`` and ``[Sy, K]`` and an action to ``float64[R, Sy]``.
        bound: an upper bound of all costs.
    """

    features_x: np.ndarray
    features_y: np.ndarray
    distance: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    bound: float

    def __call__(self, action: int, rows: np.ndarray, first: int = 0) -> np.ndarray:
        return self.distance(self.features_x[rows], self.features_y[first:], action)

    def largest(self) -> float:
        return self.bound

    def restricted(self, keep_x: np.ndarray, keep_y: np.ndarray) -> FeatureCost:
        return replace(self, features_x=self.features_x[keep_x], features_y=self.features_y[keep_y])


@dataclass(frozen=True)
class TableCost:
    """Given costs, ``float64[1 or A, Sx, Sy]``."""

    table: np.ndarray

    def __call__(self, action: int, rows: np.ndarray, first: int = 0) -> np.ndarray:
        return self.table[min(action, len(self.table) - 1), rows, first:].copy()

    def largest(self) -> float:
        return float(self.table.max())

    def restricted(self, keep_x: np.ndarray, keep_y: np.ndarray) -> TableCost:
        return TableCost(self.table[:, keep_x][:, :, keep_y])

    def is_semimetric(self) -> bool:
        """Return whether the costs are symmetric and zero from each state to itself."""
        return not (
            (self.table != self.table.transpose(0, 2, 1)).any() or np.diagonal(self.table, axis1=1, axis2=2).any()
        )


def reward_cost(reward_x: np.ndarray, reward_y: np.ndarray) -> FeatureCost:
    """Return the absolute differences of rewards ``float64[S, A]``, action by action."""
    spread = max(float(np.max(reward_x) - np.min(reward_y)), float(np.max(reward_y) - np.min(reward_x)))
    return FeatureCost(reward_x, reward_y, _reward_difference, spread)


def _reward_difference(reward_x: np.ndarray, reward_y: np.ndarray, action: int) -> np.ndarray:
    difference = reward_x[:, action, None] - reward_y[None, :, action]
    return np.abs(difference, out=difference)


def policy_total_variation(policy_x: np.ndarray, policy_y: np.ndarray) -> FeatureCost:
    """Return the total variation distances of policies ``float64[S, A]``."""
    return FeatureCost(policy_x, policy_y, lambda x, y, _: total_variation(x, y), 1.0)


def total_variation(policy_x: np.ndarray, policy_y: np.ndarray) -> np.ndarray:
    """Return ``float64[N, M]``, half the l1 distances of distributions ``float64[N, A]`` and ``float64[M, A]``."""
    distance = np.zeros((len(policy_x), len(policy_y)))
    for x, y in zip(policy_x.T, policy_y.T, strict=True):
        distance += np.abs(x[:, None] - y[None, :])
    distance /= 2
    return distance


@dataclass(frozen=True)
class Operator:
    """A metric's recursion on one process, or between two; call it with ``float64[Sx, Sy]`` distances.

    Attributes:
        name: the metric's, for messages.
        cost: local distances.
        successors_x, successors_y: ``int64[S, A]`` next states (both) or distributions (both); probabilities
            ``float[S, A, S]`` are taken too.
        discount: in [0, 1).
        weights: ``float64[A]`` that sum to one, or None for the maximum over actions.
        independent: whether next states are drawn independently; else by the cheapest coupling.
        symmetric: whether x and y are the same process, and the cost is symmetric and zero from a state to itself.
        block_bytes: about how many bytes of a row block are worked on at a time.
    """

    name: str
    cost: Cost
    successors_x: Transitions
    successors_y: Transitions
    discount: float
    weights: np.ndarray | None
    independent: bool
    symmetric: bool
    block_bytes: int = BLOCK_BYTES

    #: Whether pairs choose which actions to compare, so that states do not move to one pair each.
    matches_actions: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("successors_x", "successors_y"):
            given = getattr(self, name)
            if isinstance(given, np.ndarray) and given.ndim == 3:
                object.__setattr__(self, name, as_distributions(next_states_or_distributions(given, name)))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.successors_x), len(self.successors_y)

    @property
    def num_actions(self) -> int:
        return self.successors_x.shape[1]

    @property
    def coupled_actions(self) -> list[tuple[int, int]]:
        """Return the actions of x and y whose next states are coupled; costs are numbered likewise."""
        return [(action, action) for action in range(self.num_actions)]

    @property
    def deterministic(self) -> bool:
        return isinstance(self.successors_x, np.ndarray)

    @property
    def next_states(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the next states of a deterministic process."""
        if not isinstance(self.successors_x, np.ndarray) or not isinstance(self.successors_y, np.ndarray):
            raise TypeError(f"{self.name} is between stochastic processes, which have no single next states")
        return self.successors_x, self.successors_y

    @property
    def distributions(self) -> tuple[Distributions, Distributions]:
        """Return the next states as distributions."""
        return as_distributions(self.successors_x), as_distributions(self.successors_y)

    def largest_distance(self) -> float:
        """Return an upper bound of the metric."""
        return self.cost.largest() / (1 - self.discount)

    def row_blocks(self) -> list[np.ndarray]:
        rows, columns = self.shape
        size = max(1, self.block_bytes // (8 * columns))
        return [np.arange(start, min(start + size, rows)) for start in range(0, rows, size)]

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """Return ``float64[Sx, Sy]``: one application of the recursion.

        Raises:
            ValueError: if ``distance`` has the wrong shape.
        """
        distance = self.checked(distance)
        return self._apply(distance, self._expectation(distance))

    def checked(self, distance: np.ndarray) -> np.ndarray:
        """Return distances as ``float64[Sx, Sy]``, or raise ``ValueError``."""
        distance = np.ascontiguousarray(distance, dtype=np.float64)
        if distance.shape != self.shape:
            raise ValueError(f"distance must be float{list(self.shape)}, got shape {distance.shape}")
        return distance

    def _apply(self, distance: np.ndarray, expectation: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
        result = np.empty(self.shape)
        for rows in self.row_blocks():
            for action in range(self.num_actions):
                term = self.cost(action, rows)
                expected = expectation(action, rows)
                expected *= self.discount
                term += expected
                if action == 0:
                    block = term if self.weights is None else self.weights[0] * term
                elif self.weights is None:
                    np.maximum(block, term, out=block)
                else:
                    block += self.weights[action] * term
            result[rows[0] : rows[-1] + 1] = block
        return result

    def _expectation(self, distance: np.ndarray) -> Callable[[int, np.ndarray], np.ndarray]:
        """Return the expected distance of coupled next states, by action and rows."""
        if self.deterministic:
            to_x, to_y = self.next_states
            return lambda action, rows: next_distances(distance, to_x, to_y, action, rows)
        if self.independent:
            left, right = ([side.of_action(a) for a in range(self.num_actions)] for side in self.distributions)
            return lambda action, rows: (right[action] @ (left[action][rows] @ distance).T).T
        cheapest = self._transported(distance)
        return lambda action, rows: cheapest[action][rows]

    def _transported(self, distance: np.ndarray) -> np.ndarray:
        """Return ``float64[len(coupled_actions), Sx, Sy]``: the Wasserstein-1 distances of next states."""
        once = self.symmetric and bool((distance == distance.T).all()) and not distance.diagonal().any()
        return replace(self, symmetric=once).pairs().transported(distance)

    def pairs(self) -> Pairs:
        """Return the pairs of states with their couplings, as which the metric is solved."""
        from bisimgym.baselines.metrics.stochastic import Pairs  # which needs this module

        return Pairs(self)

    def error_bound(self, distance: np.ndarray) -> float:
        """Return how far any distances ``float64[Sx, Sy]`` can be from the metric, in the maximum norm.

        By the contraction, ``|d - d*| <= |F(d) - d| / (1 - discount)``; rounding of one application is added.
        """
        return self.bound_of(float(np.abs(self(distance) - distance).max()))

    def bound_of(self, residual: float) -> float:
        """Return the error bound that a residual ``|F(d) - d|`` certifies."""
        return (residual + self.rounding()) / (1 - self.discount)

    def rounding(self) -> float:
        """Return how much rounding can change one application: a few units in the last place of the largest value."""
        return 4 * EPS * self.largest_distance()

    def reduced(self, rows: np.ndarray, columns: np.ndarray) -> tuple[Operator, np.ndarray, np.ndarray]:
        """Return a smaller operator that holds the distances of ``rows`` of x and ``columns`` of y, and where it does.

        States that the wanted ones never reach are left out. Of a deterministic process, states that are exactly
        alike are merged, unless the cost is a table.
        """
        keep_x, keep_y = closure(self.successors_x, rows), closure(self.successors_y, columns)
        if self.symmetric:
            keep_x = keep_y = closure(self.successors_x, np.union1d(rows, columns))
        small = self._restricted(keep_x, keep_y)
        at_x, at_y = np.searchsorted(keep_x, rows), np.searchsorted(keep_y, columns)
        if not isinstance(small.cost, FeatureCost):
            return small, at_x, at_y
        classes_x, first_x = partition.refine(small.successors_x, small.cost.features_x)
        classes_y, first_y = classes_x, first_x
        if not self.symmetric:
            classes_y, first_y = partition.refine(small.successors_y, small.cost.features_y)
        merged_x = partition.merged(small.successors_x, classes_x, first_x)
        merged_y = merged_x if self.symmetric else partition.merged(small.successors_y, classes_y, first_y)
        merged_x, merged_y = simplest(merged_x, merged_y)
        merged = replace(
            small, cost=small.cost.restricted(first_x, first_y), successors_x=merged_x, successors_y=merged_y
        )
        return merged, classes_x[at_x], classes_y[at_y]

    def _restricted(self, keep_x: np.ndarray, keep_y: np.ndarray) -> Operator:
        if (len(keep_x), len(keep_y)) == self.shape:
            return self
        successors_x = _renumbered(self.successors_x, keep_x)
        successors_y = successors_x if self.symmetric else _renumbered(self.successors_y, keep_y)
        successors_x, successors_y = simplest(successors_x, successors_y)
        return replace(
            self,
            cost=self.cost.restricted(keep_x, keep_y),
            successors_x=successors_x,
            successors_y=successors_y,
        )


def closure(successors: Transitions, start: np.ndarray) -> np.ndarray:
    """Return ``int64[K]``, in order: the states that ``start`` reaches by any actions, itself included."""
    reached = np.zeros(len(successors), dtype=bool)
    frontier = np.unique(start)
    while len(frontier):
        reached[frontier] = True
        if isinstance(successors, np.ndarray):
            next_states = successors[frontier].ravel()
        else:
            next_states = successors.successors(frontier)
        frontier = np.unique(next_states[~reached[next_states]])
    return reached.nonzero()[0]


def _renumbered(successors: Transitions, keep: np.ndarray) -> Transitions:
    if isinstance(successors, np.ndarray):
        return np.searchsorted(keep, successors[keep])
    return successors.restricted(keep)


def simplest(x: Transitions, y: Transitions) -> tuple[Transitions, Transitions]:
    """Return distributions as next states if all of both processes have one each."""
    if isinstance(x, Distributions) and isinstance(y, Distributions):
        next_x, next_y = x.next_states(), y.next_states()
        if next_x is not None and next_y is not None:
            return next_x, next_y
    return x, y


def next_distances(
    distance: np.ndarray, successors_x: np.ndarray, successors_y: np.ndarray, action: int, rows: np.ndarray
) -> np.ndarray:
    """Return ``float64[R, Sy]``, a new array: the distances between the next states of ``rows`` and of every y."""
    return distance[successors_x[rows, action]].take(successors_y[:, action], axis=1)
