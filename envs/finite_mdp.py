"""Finite Markov decision processes as arrays, and their enumeration from a task's own dynamics."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bisimgym.envs.batched import concatenate, select


@dataclass(frozen=True)
class FiniteMDP:
    """A finite process.

    Terminal states are part of the process: they are absorbing (every action leads back) and give no reward, so that
    values of episodes are values of this process.

    Attributes:
        transition: ``float64[S, A, S]`` probabilities, or ``int64[S, A]`` next states of a deterministic process.
        reward: ``float64[S, A]`` expected rewards.
        terminal: ``bool[S]``.
        state_names: S strings.
    """

    transition: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    state_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.reward.ndim != 2 or 0 in self.reward.shape:
            raise ValueError(f"reward must be [S, A] with S, A >= 1, got shape {self.reward.shape}")
        states, actions = self.reward.shape
        if self.terminal.shape != (states,) or len(self.state_names) != states:
            raise ValueError(
                f"terminal and state_names must have {states} entries as reward has, got "
                f"{self.terminal.shape[0]} and {len(self.state_names)}"
            )
        if not np.isfinite(self.reward).all():
            raise ValueError("reward must be finite")
        if self.deterministic:
            if self.transition.shape != (states, actions):
                raise ValueError(f"next states must be [{states}, {actions}], got {self.transition.shape}")
            if self.transition.min() < 0 or self.transition.max() >= states:
                raise ValueError(f"next states must be from 0 to {states - 1}")
            stays = (self.transition == np.arange(states)[:, None]).all(axis=1)
        else:
            if self.transition.shape != (states, actions, states):
                raise ValueError(f"transition must be [{states}, {actions}, {states}], got {self.transition.shape}")
            if (self.transition < 0).any() or not np.allclose(self.transition.sum(axis=2), 1):
                raise ValueError("every transition[s, a] must be non-negative and sum to one")
            stays = (self.transition[np.arange(states), :, np.arange(states)] == 1).all(axis=1)
        if (self.terminal & ~stays).any() or (self.reward[self.terminal] != 0).any():
            raise ValueError("terminal states must be absorbing under every action and give no reward")

    @property
    def num_states(self) -> int:
        return self.reward.shape[0]

    @property
    def num_actions(self) -> int:
        return self.reward.shape[1]

    @property
    def deterministic(self) -> bool:
        return bool(np.issubdtype(self.transition.dtype, np.integer))

    def next_values(self, values: np.ndarray) -> np.ndarray:
        """Return ``float64[S, A]``: the expected value of the next state."""
        return values[self.transition] if self.deterministic else self.transition @ values

    def policy_values(self, policy: np.ndarray, discount: float, tolerance: float = 1e-10) -> np.ndarray:
        """Return ``float64[S]``: the values of a policy, ``float64[S, A]``, by fixed-point iteration."""
        return self._iterate(lambda q: (policy * q).sum(axis=1), discount, tolerance)

    def optimal_values(self, discount: float, tolerance: float = 1e-10) -> np.ndarray:
        """Return ``float64[S]``: the optimal values, by value iteration."""
        return self._iterate(lambda q: q.max(axis=1), discount, tolerance)

    def _iterate(self, improve: Callable[[np.ndarray], np.ndarray], discount: float, tolerance: float) -> np.ndarray:
        """Iterate to a residual of at most ``tolerance * (1 - discount)``: the error is then at most ``tolerance``.

        With ``discount=1`` (episodes that surely end) iteration runs until nothing changes, which an acyclic process
        reaches after as many sweeps as its longest episode.
        """
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must be in [0, 1], got {discount}")
        values = np.zeros(self.num_states)
        sweeps = self.num_states + 1 if discount == 1 else 10 + int(np.log(1e-30) / np.log(max(discount, 1e-9)))
        for _ in range(sweeps):
            new = improve(self.reward + discount * self.next_values(values))
            residual = np.abs(new - values).max()
            values = new
            if residual <= tolerance * (1 - discount):
                return values
        raise ValueError(
            f"values did not settle in {sweeps} sweeps (residual {residual:.2g}): with discount=1 the process must "
            "have no cycles but its terminal states; use discount < 1"
        )


def enumerate_deterministic(
    start: Any,
    transition: Callable[[Any, np.ndarray], tuple[Any, np.ndarray, np.ndarray]],
    key: Callable[[Any, int], Hashable],
    name: Callable[[Any], str],
    num_actions: int,
) -> FiniteMDP:
    """Return the states reachable from ``start`` under any actions, breadth first, and one terminal state, last.

    Args:
        start: a task's state (see :mod:`bisimgym.envs.batched`) with N = 1.
        transition: the task's batched dynamics: state, action ``int[N]`` to next state, reward, terminated.
        key: what identifies state i of a batch; equal keys must behave alike.
        name: a name for people, from a key.
        num_actions: number of actions.
    """
    index = {key(start, 0): 0}
    rows: list[list[tuple[int, float]]] = [[]]  # per state: (next state, reward) of each action
    frontier, frontier_ids = start, [0]
    terminal = -1
    while frontier_ids:
        found: list[np.ndarray] = []
        batches = []
        for action in range(num_actions):
            following, reward, ended = transition(frontier, np.full(len(frontier_ids), action))
            fresh = []
            for i, source in enumerate(frontier_ids):
                target = terminal
                if not ended[i]:
                    target = index.setdefault(key(following, i), len(index))
                    if target == len(rows):
                        rows.append([])
                        fresh.append(i)
                rows[source].append((target, float(reward[i])))
            found.append(np.array(fresh, dtype=np.int64))
            batches.append(select(following, found[-1]))
        first = len(rows) - sum(len(f) for f in found)
        frontier_ids = list(range(first, len(rows)))
        frontier = concatenate(batches)
    last = len(rows)
    table = np.array(rows + [[(last, 0.0)] * num_actions])
    next_state = table[:, :, 0].astype(np.int64)
    next_state[next_state == terminal] = last
    return FiniteMDP(
        transition=next_state,
        reward=table[:, :, 1],
        terminal=np.arange(last + 1) == last,
        state_names=(*(name(k) for k in index), "terminal"),
    )
