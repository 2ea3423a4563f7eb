"""The cheapest couplings of the next states of many pairs, kept while distances change.

A pair with n and m next states has a coupling with n + m - 1 entries at most, so every pair has its own places for them
from the start. A point mass has one coupling with any distribution. Small problems are solved in step and keep their
trees; large ones are solved one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from bisimgym.baselines.metrics import simplex, transport
from bisimgym.baselines.metrics.distributions import Distributions, slices

#: Problems with so many next states on both sides together are solved in step; beyond, a single one is quicker alone.
LARGEST_IN_STEP = 24
#: Problems in step, and problems that one worker solves one by one.
IN_STEP, _ALONE = 4096, 500
#: After so many pivots for each cell a degenerate problem may be cycling, and is solved alone.
PIVOTS_PER_CELL = 4


class Couplings:
    """The couplings of the next states of pairs of states, under an action in each.

    Args:
        x, y: distributions of the next states in both processes.
        actions: that of x, and that of y.
        rows, columns: the pairs, ``int64[P]``.
        number_of: from next states x and y (arrays of one shape) to numbers of their pairs.
        num_pairs: how many numbers there are.
        pivots_per_cell: limits the pivots of a problem in step by the number of its cells.

    Attributes:
        first: ``int[P + 1]``: the entries of pair p are those from ``first[p]`` to ``first[p + 1]``.
        to: ``int[first[-1]]``, the numbers of coupled pairs.
        mass: ``float64[first[-1]]``.
        known: ``bool[P]``: which have a coupling yet; point masses do from the start.
    """

    def __init__(
        self,
        x: Distributions,
        y: Distributions,
        actions: tuple[int, int],
        rows: np.ndarray,
        columns: np.ndarray,
        number_of: Callable[[np.ndarray, np.ndarray], np.ndarray],
        num_pairs: int,
        pivots_per_cell: int = PIVOTS_PER_CELL,
    ) -> None:
        self.number_of, self.num_pairs, self.pivots_per_cell = number_of, num_pairs, pivots_per_cell
        (first_x, size_x), (first_y, size_y) = x.support(actions[0]), y.support(actions[1])
        size_x, size_y = size_x[rows], size_y[columns]
        self.x, self.y, self.first_x, self.first_y = x, y, first_x[rows], first_y[columns]
        first = np.concatenate([[0], np.cumsum(size_x + size_y - 1)])
        # One type for both, or scipy copies them for every matrix.
        index = np.int32 if max(num_pairs, first[-1]) < 2**31 else np.int64
        self.first, self.to = first.astype(index), np.zeros(first[-1], dtype=index)
        self.mass = np.zeros(self.first[-1])
        inside = (size_x > 1) & (size_y > 1)
        points = (~inside).nonzero()[0]
        self._couple_points(points, size_x[points], size_y[points])
        self.known = ~inside
        in_step = inside & (size_x + size_y <= LARGEST_IN_STEP)
        self.sizes = size_x, size_y
        self.alone = (inside & ~in_step).nonzero()[0]
        self.groups: list[_Group] = []
        shape = size_x * LARGEST_IN_STEP + size_y
        for code in np.unique(shape[in_step]):
            pairs, n, m = (in_step & (shape == code)).nonzero()[0], *divmod(int(code), LARGEST_IN_STEP)
            trees = np.empty((2, n + m - 1, len(pairs)), np.uint8)
            self.groups.append(_Group(pairs, n, m, trees, np.zeros(len(pairs), dtype=bool)))

    def matrix(self) -> sparse.csr_array:
        """Return the coupled mass, from pairs to pairs; it is the memory of this object."""
        return sparse.csr_array((self.mass, self.to, self.first), shape=(len(self.first) - 1, self.num_pairs))

    def update(self, distance: np.ndarray, pairs: np.ndarray | None = None) -> Iterator[Job]:
        """Yield the jobs that make the couplings of ``pairs`` (``bool[P]``; default: all) cheapest."""
        for group in self.groups:
            wanted = (~group.single if pairs is None else ~group.single & pairs[group.pairs]).nonzero()[0]
            for start in range(0, len(wanted), IN_STEP):
                yield Job(self, distance, wanted[start : start + IN_STEP], group)
        alone = np.concatenate([self.alone, *(group.pairs[group.single] for group in self.groups)])
        wanted = alone if pairs is None else alone[pairs[alone]]
        for start in range(0, len(wanted), _ALONE):
            yield Job(self, distance, wanted[start : start + _ALONE], None)

    def _couple_points(self, points: np.ndarray, size_x: np.ndarray, size_y: np.ndarray) -> None:
        size = size_x + size_y - 1
        at = slices(self.first[points], size)
        step = slices(np.zeros_like(size), size)
        at_x = np.repeat(self.first_x[points], size) + np.where(np.repeat(size_x, size) > 1, step, 0)
        at_y = np.repeat(self.first_y[points], size) + np.where(np.repeat(size_y, size) > 1, step, 0)
        self.to[at] = self.number_of(self.x.states[at_x], self.y.states[at_y])
        self.mass[at] = self.x.mass[at_x] * self.y.mass[at_y]


@dataclass(frozen=True)
class _Group:
    """Pairs with n and m next states, and their trees: see :mod:`simplex`.

    ``single`` are those that pivots did not solve, which are solved alone from then on.
    """

    pairs: np.ndarray
    n: int
    m: int
    trees: np.ndarray
    single: np.ndarray


@dataclass(frozen=True)
class Job:
    """Some pairs of a group, or single ones, whose couplings are to be made cheapest under ``float64[Sx, Sy]``."""

    couplings: Couplings
    distance: np.ndarray
    which: np.ndarray
    group: _Group | None

    def __len__(self) -> int:
        return len(self.which)

    def run(self) -> float:
        """Do it, and return by how much a coupling may miss the cheapest for rounding."""
        if self.group is None:
            self.couplings.known[self.which] = True
            return self._alone(self.which)
        c, group, which = self.couplings, self.group, self.which
        pairs = group.pairs[which]
        at_x = c.first_x[pairs] + np.arange(group.n)[:, None]
        at_y = c.first_y[pairs] + np.arange(group.m)[:, None]
        states_x, states_y, mass_x, mass_y = c.x.states[at_x], c.y.states[at_y], c.x.mass[at_x], c.y.mass[at_y]
        cost = self.distance.take(states_x[:, None] * self.distance.shape[1] + states_y)
        trees, new = group.trees[..., which], ~c.known[pairs]
        trees[..., new] = simplex.greedy_trees(mass_x[:, new], mass_y[:, new], cost[..., new])
        c.known[pairs] = True
        _, changed, unfinished = simplex.optimize(trees, mass_x, mass_y, cost, c.pivots_per_cell * group.n * group.m)
        new[changed] = True
        group.trees[..., which[new]] = trees[..., new]
        cells, masses = simplex.flows(trees[..., new], mass_x[:, new], mass_y[:, new])
        row, column = np.divmod(cells, group.m)
        at = new.nonzero()[0]
        places = c.first[pairs[at]] + np.arange(len(cells))[:, None]
        c.to[places], c.mass[places] = c.number_of(states_x[row, at], states_y[column, at]), masses
        if len(unfinished):
            group.single[which[unfinished]] = True
            self._alone(pairs[unfinished])
        return simplex.ROUNDING * float(cost.max(initial=0.0))

    def _alone(self, pairs: np.ndarray) -> float:
        c = self.couplings
        for pair in pairs:
            at_x = slice(c.first_x[pair], c.first_x[pair] + c.sizes[0][pair])
            at_y = slice(c.first_y[pair], c.first_y[pair] + c.sizes[1][pair])
            states_x, states_y = c.x.states[at_x], c.y.states[at_y]
            plan = transport.plan(c.x.mass[at_x], c.y.mass[at_y], self.distance[states_x[:, None], states_y])
            row, column = plan.nonzero()
            places = slice(c.first[pair], c.first[pair] + len(row))
            if places.stop > c.first[pair + 1]:
                raise ArithmeticError("optimal transport returned a coupling that is no vertex")
            c.mass[c.first[pair] : c.first[pair + 1]] = 0
            c.to[places], c.mass[places] = c.number_of(states_x[row], states_y[column]), plan[row, column]
        return 0.0
