"""Distributions of next states, by the states that they can reach: nothing of size S x A x S is held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Distributions:
    """The next states of a stochastic process with S states and A actions; row ``s * A + a`` is of (s, a).

    Attributes:
        first: ``int64[S * A + 1]``: the entries of row r are those from ``first[r]`` to ``first[r + 1]``.
        states: ``int64[K]``, ascending in each row.
        mass: ``float64[K]``, positive; each row sums to one.
        num_actions: A.
    """

    first: np.ndarray
    states: np.ndarray
    mass: np.ndarray
    num_actions: int

    @staticmethod
    def of_matrix(rows: sparse.csr_array, num_actions: int) -> Distributions:
        """Return the distributions of a checked ``[S * A, S]``."""
        rows.sum_duplicates()
        rows.eliminate_zeros()
        return Distributions(rows.indptr.astype(np.int64), rows.indices.astype(np.int64), rows.data, num_actions)

    @staticmethod
    def of_next_states(next_states: np.ndarray) -> Distributions:
        """Return ``int64[S, A]`` next states as distributions."""
        rows = np.arange(next_states.size + 1)
        return Distributions(rows, next_states.ravel(), np.ones(next_states.size), next_states.shape[1])

    def __len__(self) -> int:
        return (len(self.first) - 1) // self.num_actions

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.num_actions

    def matrix(self) -> sparse.csr_array:
        """Return ``[S * A, S]``."""
        return sparse.csr_array((self.mass, self.states, self.first), shape=(len(self.first) - 1, len(self)))

    def of_action(self, action: int) -> sparse.csr_array:
        """Return the probabilities of one action, ``[S, S]``."""
        return self.matrix()[action :: self.num_actions]

    def support(self, action: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the entries of one action's rows begin, and how many they are, ``int64[S]`` each."""
        rows = np.arange(action, len(self.first) - 1, self.num_actions)
        return self.first[rows], self.first[rows + 1] - self.first[rows]

    def row(self, state: int, action: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the next states and their masses."""
        place = state * self.num_actions + action
        part = slice(self.first[place], self.first[place + 1])
        return self.states[part], self.mass[part]

    def successors(self, states: np.ndarray) -> np.ndarray:
        """Return the states that some states lead to, once for each way."""
        start = self.first[states * self.num_actions]
        return self.states[slices(start, self.first[(states + 1) * self.num_actions] - start)]

    def restricted(self, keep: np.ndarray) -> Distributions:
        """Return the process of some states, ascending, that lead to no others."""
        rows = self.matrix()[(keep[:, None] * self.num_actions + np.arange(self.num_actions)).ravel()]
        return Distributions(
            rows.indptr.astype(np.int64), np.searchsorted(keep, rows.indices), rows.data, self.num_actions
        )

    def next_states(self) -> np.ndarray | None:
        """Return ``int64[S, A]`` if every row has one state, else None."""
        return self.states.reshape(self.shape) if len(self.states) == len(self.first) - 1 else None


def slices(start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return ``start[0], start[0] + 1, ...``, ``size[0]`` of them, and so on for the others, in one array."""
    ends = np.cumsum(size)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - (ends - size), size)


def block_sums(rows: np.ndarray, blocks: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the total mass of each (row, block), in that order: rows, blocks and sums.

    Terms are added in ascending order, so that equal masses have equal sums, in whatever order they come.
    """
    key = rows * (blocks.max(initial=0) + 1) + blocks
    order = np.argsort(key, kind="stable")
    key, mass = key[order], mass[order]
    at = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else order
    size = np.diff(np.append(at, len(key)))
    if (size > 1).any():
        several = slices(at[size > 1], size[size > 1])
        mass[several] = mass[several][np.lexsort((mass[several], key[several]))]
        mass = np.add.reduceat(mass, at)
    return rows[order[at]], blocks[order[at]], mass
