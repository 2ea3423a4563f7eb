"""Finite Markov decision processes as arrays, and their enumeration from a task's own dynamics."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from bisimgym.envs.array_task import concatenate, select
from bisimgym.envs.checks import fraction, integer, probabilities, real_array

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A finite process.

    Terminal states are part of the process: they are absorbing (every action leads back) and give no reward, so that
    values of episodes are values of this process.

    Attributes:
        transition: ``float64[S, A, S]`` probabilities, or ``int64[S, A]`` next states of a deterministic process.
            Probabilities may be given in any type; see :func:`bisimgym.envs.checks.probabilities`.
        reward: ``float64[S, A]`` expected rewards, given in any type.
        terminal: ``bool[S]``.
        state_names: S strings.
        offsets: the first state of each part, if the process is a union of several (see :meth:`union`). By
            convention the first state of a part is where its episodes start, if they start in one state.

    Raises:
        ValueError: if shapes do not fit, a row of probabilities is not one, a value is not finite, or a terminal state
            is not absorbing or is rewarded.
    """

    transition: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    state_names: tuple[str, ...]
    offsets: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        # Own copies: what their maker does to the arrays later must not reach a checked process.
        given = np.array(self.transition)
        is_next_states = given.ndim == 2 and np.issubdtype(given.dtype, np.integer)
        transition = given.astype(np.int64) if is_next_states else given
        arrays = {"transition": transition, "reward": real_array("reward", self.reward)}
        for name, array in {**arrays, "terminal": np.array(self.terminal)}.items():
            object.__setattr__(self, name, array)
        if self.reward.ndim != 2 or 0 in self.reward.shape:
            raise ValueError(f"reward must be [S, A] with S, A >= 1, got shape {self.reward.shape}")
        states, actions = self.reward.shape
        if self.terminal.shape != (states,) or self.terminal.dtype != bool:
            raise ValueError(f"terminal must be bool[{states}], got {self.terminal.dtype}{list(self.terminal.shape)}")
        if len(self.state_names) != states:
            raise ValueError(f"state_names must have {states} entries as reward has, got {len(self.state_names)}")
        if not self.offsets or self.offsets[0] != 0 or (np.diff((*self.offsets, states)) <= 0).any():
            raise ValueError(f"offsets must rise from 0 and stay below {states}, got {self.offsets}")
        _check(np.isfinite(self.reward), "reward must be finite", self.reward)
        if is_next_states:
            if self.transition.shape != (states, actions):
                raise ValueError(f"next states must be [{states}, {actions}], got {self.transition.shape}")
            inside = (self.transition >= 0) & (self.transition < states)
            _check(inside, f"next states must be from 0 to {states - 1}", self.transition)
            stays = (self.transition == np.arange(states)[:, None]).all(axis=1)
        else:
            if self.transition.shape != (states, actions, states):
                raise ValueError(f"transition must be [{states}, {actions}, {states}], got {self.transition.shape}")
            object.__setattr__(self, "transition", probabilities("transition", self.transition))
            stays = (self.transition[np.arange(states), :, np.arange(states)] == 1).all(axis=1)
        wrong = self.terminal & (~stays | (self.reward != 0).any(axis=1))
        if wrong.any():
            name = self.state_names[int(wrong.argmax())]
            raise ValueError(
                f"terminal states must be absorbing under every action and give no reward; {name!r} is not"
            )

    @property
    def num_states(self) -> int:
        return self.reward.shape[0]

    @property
    def num_actions(self) -> int:
        return self.reward.shape[1]

    @property
    def deterministic(self) -> bool:
        return self.transition.ndim == 2

    def next_values(self, values: np.ndarray) -> np.ndarray:
        """Return ``float64[S, A]``: the expected value of the next state."""
        return values[self.transition] if self.deterministic else self.transition @ values

    def policy_values(self, policy: np.ndarray, discount: float, tolerance: float | None = None) -> np.ndarray:
        """Return ``float64[S]``: the values of a policy, ``float[S, A]`` probabilities.

        They are within ``tolerance`` of the exact ones (default: 1e-10, or what float64 can certify if that is more).

        Args:
            discount: in [0, 1]; 1 for processes that surely end.
        """
        policy, discount = self._policy(policy), fraction("discount", discount)
        start = np.zeros(self.num_states)
        if discount < 1:
            from bisimgym.envs import planning

            start = planning.policy_values(self._matrix(), self.reward, discount, policy)
        return self._iterate(start, lambda q: (policy * q).sum(axis=1), discount, tolerance)

    def policy_returns(self, policy: np.ndarray, steps: int) -> np.ndarray:
        """Return ``float64[S]``: the expected undiscounted returns of a policy, ``float[S, A]``, in so many steps."""
        policy, values = self._policy(policy), np.zeros(self.num_states)
        for _ in range(integer("steps", steps, 0)):
            new = (policy * (self.reward + self.next_values(values))).sum(axis=1)
            if np.array_equal(new, values):
                break
            values = new
        return values

    def unlimited_return(self, policy: np.ndarray, start: int) -> float:
        """Return the expected undiscounted return of a policy, ``float[S, A]``, from a state to a terminal one.

        Raises:
            ValueError: if from some state that it meets, no terminal state is ever met.
        """
        policy = self._policy(policy)
        met = self.reachable_states(start, policy)
        met = met[~self.terminal[met]]
        ends = self.terminal.copy()
        while (new := self._leads_to(ends, policy) & ~ends).any():
            ends |= new
        if not ends[met].all():
            state = self.state_names[int(met[~ends[met]][0])]
            raise ValueError(f"the policy never ends from state {state!r}, which it meets: give a limit of steps")
        row = np.full(self.num_states, -1)
        row[met] = np.arange(len(met))
        system = np.eye(len(met))
        for action in range(self.num_actions):
            if self.deterministic:
                to = row[self.transition[met, action]]  # terminal states, whose value is 0, are in no row
                system[to >= 0, to[to >= 0]] -= policy[met, action][to >= 0]
            else:
                system -= policy[met, action, None] * self.transition[met, action][:, met]
        values = np.linalg.solve(system, (policy * self.reward)[met].sum(axis=1))
        return float(values[row[start]]) if len(met) and row[start] >= 0 else 0.0

    def optimal_values(self, discount: float, tolerance: float | None = None) -> np.ndarray:
        """Return ``float64[S]``: the optimal values, by policy iteration, as exact as :meth:`policy_values`."""
        discount, start = fraction("discount", discount), np.zeros(self.num_states)
        if discount < 1:
            from bisimgym.envs import planning

            start = planning.optimal_values(self._matrix(), self.reward, discount)
        return self._iterate(start, lambda q: q.max(axis=1), discount, tolerance)

    def optimal_policy(self, discount: float, tolerance: float | None = None) -> np.ndarray:
        """Return ``float64[S, A]``: a deterministic optimal policy, the lowest of equally good actions.

        Actions whose values differ by no more than the error of the computed values count as equally good.

        Args:
            discount: in [0, 1]; 1 for processes that surely end.
            tolerance: error of the values that actions are chosen by, as in :meth:`policy_values`.
        """
        tolerance = self._reachable_tolerance(fraction("discount", discount), tolerance)
        values = self.optimal_values(discount, tolerance)
        quality = self.reward + discount * self.next_values(values)
        slack = 2 * tolerance + 8 * np.finfo(np.float64).eps * np.abs(quality).max()
        best = (quality >= quality.max(axis=1, keepdims=True) - slack).argmax(axis=1)
        return np.eye(self.num_actions)[best]

    def reachable_states(
        self, start: int | Sequence[int] | None = None, policy: np.ndarray | None = None
    ) -> np.ndarray:
        """Return ``int64[K]``, in order: the states that can be reached, those of ``start`` included.

        Args:
            start: state numbers (default: ``offsets``, the first state of each part).
            policy: ``float[S, A]`` probabilities; only actions that it takes count (default: all actions).
        """
        taken = np.ones(self.reward.shape, dtype=bool) if policy is None else self._policy(policy) > 0
        reached = np.zeros(self.num_states, dtype=bool)
        frontier = np.atleast_1d(np.array(self.offsets if start is None else start))
        if frontier.dtype.kind not in "iu" or ((frontier < 0) | (frontier >= self.num_states)).any():
            raise ValueError(f"start must be states from 0 to {self.num_states - 1}, got {start!r}")
        while len(frontier):
            reached[frontier] = True
            if self.deterministic:
                next_states = self.transition[frontier][taken[frontier]]
            else:
                next_states = (self.transition[frontier] * taken[frontier, :, None]).sum(axis=(0, 1)).nonzero()[0]
            frontier = np.unique(next_states[~reached[next_states]])
        return reached.nonzero()[0]

    def _leads_to(self, states: np.ndarray, policy: np.ndarray) -> np.ndarray:
        """Return ``bool[S]``: from where a policy may get to ``bool[S]`` in one step."""
        return np.any((self.next_values(states.astype(np.float64)) > 0) & (policy > 0), axis=1)

    def _matrix(self) -> sparse.csr_array:
        """Return ``[S * A, S]``, probabilities of next states."""
        from scipy import sparse

        if not self.deterministic:
            return sparse.csr_array(self.transition.reshape(-1, self.num_states))
        size = self.transition.size
        return sparse.csr_array(
            (np.ones(size), self.transition.ravel(), np.arange(size + 1)), shape=(size, self.num_states)
        )

    def _policy(self, policy: Any) -> np.ndarray:
        """Return a policy as ``float64[S, A]`` with rows that sum to one."""
        if np.shape(policy) != self.reward.shape:
            raise ValueError(f"policy must be [{self.num_states}, {self.num_actions}], got {np.shape(policy)}")
        return probabilities("policy", policy)

    @staticmethod
    def union(processes: Mapping[str, FiniteMDP]) -> FiniteMDP:
        """Return the processes side by side as one, without a way from one to another.

        ``offsets`` holds the first state of each; states are named ``"<name>: <state>"``.

        Raises:
            ValueError: if there are none, or their numbers of actions differ.
        """
        members = list(processes.values())
        if len({m.num_actions for m in members}) != 1:
            raise ValueError(f"a union needs processes with the same actions, got {[m.num_actions for m in members]}")
        ends = np.cumsum([m.num_states for m in members])
        offsets = [0, *ends[:-1].tolist()]
        if all(m.deterministic for m in members):
            transition = np.concatenate([m.transition + o for m, o in zip(members, offsets, strict=True)])
        else:
            transition = np.zeros((ends[-1], members[0].num_actions, ends[-1]))
            for member, offset, end in zip(members, offsets, ends, strict=True):
                block = member.transition
                if member.deterministic:
                    block = np.eye(member.num_states)[block]
                transition[offset:end, :, offset:end] = block
        return FiniteMDP(
            transition=transition,
            reward=np.concatenate([m.reward for m in members]),
            terminal=np.concatenate([m.terminal for m in members]),
            state_names=tuple(f"{name}: {state}" for name, m in processes.items() for state in m.state_names),
            offsets=tuple(offset + o for m, offset in zip(members, offsets, strict=True) for o in m.offsets),
        )

    def _reachable_tolerance(self, discount: float, tolerance: float | None) -> float:
        """Return the tolerance, or the default for None: 1e-10, or the least that rounding lets residuals certify."""
        least = 0.0
        if discount < 1:
            least = 4 * np.finfo(np.float64).eps * float(np.abs(self.reward).max()) / (1 - discount) ** 2
        if tolerance is None:
            return max(1e-10, least)
        if not isinstance(tolerance, Real) or not max(least, 0) <= float(tolerance) < np.inf or tolerance == 0:
            raise ValueError(
                f"tolerance must be positive and, with discount={discount:g} and these rewards, at least {least:.1e}, "
                f"which is what float64 can certify; got {tolerance!r}"
            )
        return tolerance

    def _iterate(
        self, values: np.ndarray, improve: Callable[[np.ndarray], np.ndarray], discount: float, tolerance: float | None
    ) -> np.ndarray:
        """Iterate values to a residual of ``tolerance * (1 - discount)``: the error is then at most ``tolerance``.

        With ``discount=1`` (episodes that surely end) iteration runs until nothing changes, which an acyclic process
        reaches after as many sweeps as its longest episode.
        """
        tolerance = self._reachable_tolerance(discount, tolerance)
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


def _check(good: np.ndarray, rule: str, values: np.ndarray) -> None:
    """Raise ``ValueError`` with the first value that breaks a rule and its place."""
    if not good.all():
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        raise ValueError(f"{rule}, got {values[where]} at {list(where)}")


def enumerate_deterministic(
    start: Any,
    transition: Callable[[Any, np.ndarray], tuple[Any, np.ndarray, np.ndarray]],
    key: Callable[[Any, int], Hashable],
    name: Callable[[Any], str],
    num_actions: int,
) -> FiniteMDP:
    """Return the states reachable from ``start`` under any actions, breadth first, and one terminal state, last.

    Args:
        start: a task's state (see :mod:`bisimgym.envs.array_task`) with N = 1.
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
        first, batches = len(rows), []
        for action in range(num_actions):
            next_batch, reward, ended = transition(frontier, np.full(len(frontier_ids), action))
            fresh = []
            for i, source in enumerate(frontier_ids):
                target = terminal
                if not ended[i]:
                    target = index.setdefault(key(next_batch, i), len(index))
                    if target == len(rows):
                        rows.append([])
                        fresh.append(i)
                rows[source].append((target, float(reward[i])))
            batches.append(select(next_batch, np.array(fresh, dtype=np.int64)))
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
