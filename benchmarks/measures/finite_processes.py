"""Finite deterministic processes of the tasks: every state, what it looks like, and its exact metrics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bisimgym import __version__
from bisimgym.baselines import metrics as exact_metrics
from bisimgym.benchmarks.measures.exact_cache import digest, solved_once
from bisimgym.envs.array_task import concatenate, select
from bisimgym.envs.distractor_dial.process import PHASES, is_lit
from bisimgym.envs.finite_mdp import FiniteMDP, enumerate_deterministic
from bisimgym.envs.jumping.dynamics import JumpingState
from bisimgym.envs.jumping.dynamics import transition as jumping_transition
from bisimgym.envs.nav2d.env import transition as nav2d_transition

if TYPE_CHECKING:  # it imports torch, which distances do not need
    from bisimgym.baselines.transitions import Transitions

#: Names of the values of states.
OPTIMAL_VALUE, RANDOM_VALUE = "optimal value", "value of random actions"


class KnownDistances(NamedTuple):
    """Exact distances of data, for losses that are told a metric.

    Attributes:
        observations: M different ones.
        distances: ``float32[M, M]``; or points ``float32[M, K]``, whose Euclidean distances they are.
        are_points: whether ``distances`` are points.
    """

    observations: np.ndarray
    distances: np.ndarray
    are_points: bool


@dataclass(frozen=True)
class FiniteProcess:
    """States of a process that are observed, what they look like, and what one sees after each action.

    Attributes:
        states: ``int64[N]``, states of ``mdp``.
        observations: ``uint8[N, H, W, C]``.
        next_observations: ``uint8[N, A, H, W, C]``.
        factors: ``float64[N]`` each, see :class:`~bisimgym.benchmarks.measures.processes.FidelityProcess`.
    """

    mdp: FiniteMDP
    states: np.ndarray
    observations: np.ndarray
    next_observations: np.ndarray
    factors: Mapping[str, np.ndarray]

    @functools.cached_property
    def next_rows(self) -> np.ndarray:
        row_of = {image.tobytes(): row for row, image in enumerate(self.observations)}
        rows = [[row_of.get(image.tobytes(), -1) for image in images] for images in self.next_observations]
        found = np.array(rows, dtype=np.int64)
        found[self.mdp.terminal[self.mdp.transition[self.states]]] = -1
        return found

    @property
    def images(self) -> np.ndarray:
        return self.observations

    @property
    def rewards(self) -> np.ndarray:
        return self.mdp.reward[self.states]

    def solve(self, metric: str, discount: float) -> np.ndarray:
        """Return an exact metric, ``float64[N, N]``, rounded to six digits behind the point; it is solved once."""
        mdp = self.mdp
        key = digest(__version__, metric, discount, self.states, mdp.transition, mdp.reward, mdp.terminal)
        return solved_once(key, len(self.states), lambda: self._solved(metric, discount))

    def _solved(self, metric: str, discount: float) -> np.ndarray:
        mdp, states = self.mdp, self.states
        if metric == "recursive-similarity":
            return similarity_of_moves(mdp.transition, states, states, discount)
        solver: exact_metrics.Solver = {"rows": states, "columns": states, "tolerance": 1e-8, "progress": False}
        uniform = np.full(mdp.reward.shape, 1 / mdp.num_actions)
        policy = uniform if metric.endswith("random") else mdp.optimal_policy(discount)
        if metric == "policy-similarity":
            return exact_metrics.policy_similarity(mdp.transition, policy, discount, **solver).round(6)
        solve = exact_metrics.mico if metric == "mico-random" else exact_metrics.on_policy_bisimulation
        return solve(mdp.transition, mdp.reward, policy, discount, **solver).round(6)

    def values(self, discount: float) -> dict[str, np.ndarray]:
        """Return the values of states under the optimal and the random policy, ``float64[N]`` each."""
        uniform = np.full(self.mdp.reward.shape, 1 / self.mdp.num_actions)
        return {
            OPTIMAL_VALUE: self.mdp.optimal_values(discount)[self.states],
            RANDOM_VALUE: self.mdp.policy_values(uniform, discount)[self.states],
        }

    def transitions(self) -> Transitions:
        """Return every action in every state, once, and the same at the ends, where they lead back without reward."""
        from bisimgym.baselines.transitions import Transitions

        mdp, states = self.mdp, self.states
        ended = mdp.terminal[mdp.transition[states]]
        ends = np.unique(self.next_observations[ended], axis=0)
        observations = np.concatenate([self.observations, ends])
        stays = np.repeat(ends, mdp.num_actions, axis=0)
        return Transitions(
            observations=np.repeat(observations, mdp.num_actions, axis=0),
            actions=np.tile(np.arange(mdp.num_actions), len(observations)),
            rewards=np.concatenate([self.rewards.ravel(), np.zeros(len(stays))]),
            next_observations=np.concatenate([self.next_observations.reshape(-1, *ends.shape[1:]), stays]),
            dones=np.concatenate([ended.ravel(), np.ones(len(stays), dtype=bool)]),
        )

    def known_distances(self, metric: str, discount: float) -> KnownDistances:
        """Return the observations and a metric of them."""
        return KnownDistances(self.observations, self.solve(metric, discount).astype(np.float32), are_points=False)


def similarity_of_moves(
    transition: np.ndarray, rows: np.ndarray, columns: np.ndarray, discount: float = 0.99
) -> np.ndarray:
    """Return the exact recursive state similarity of states of a process ``int64[S, A]``, ``float64[R, C]``.

    Its base is the share of the actions that move the agent in one of two states and not in the other, times
    ``1 - discount``. Distances are rounded to six digits behind the point.
    """
    moves = transition != np.arange(len(transition))[:, None]
    base = (1 - discount) * (moves[:, None] != moves[None]).mean(axis=2)
    solver: exact_metrics.Solver = {"rows": rows, "columns": columns, "tolerance": 1e-8, "progress": False}
    return exact_metrics.recursive_similarity(transition, base, discount, **solver).round(6)


def nav2d(env: Any) -> FiniteProcess:
    """Return a layout. The goal is left out: an episode is over there, and no loss sees what would follow."""
    mdp, layout = env.mdp(), env.state
    free = np.flatnonzero(layout.obstacles[0] == 0)
    start = int(np.searchsorted(free, layout.start[0]))
    states = mdp.reachable_states(start)
    states = states[~mdp.terminal[states]]
    shown = dataclasses.replace(select(layout, np.zeros(len(states), dtype=np.int64)), cell=free[states])
    step = functools.partial(nav2d_transition, size=env.task.size)
    row, column = np.divmod(shown.cell.astype(np.float64), env.task.size)
    factors = {"row": row, "column": column}
    return FiniteProcess(mdp, states, env.task.observe(shown), _next_observations(env, shown, step), factors)


def jumping(*envs: Any) -> FiniteProcess:
    """Return jumping tasks side by side.

    An image also shows the frame before, so that an agent on the ground looks otherwise when it has just landed: its
    states here are images, more than those of :func:`bisimgym.envs.jumping.jumping_mdp`.
    """
    parts: dict[str, FiniteMDP] = {}
    observations: list[np.ndarray] = []
    next_observations: list[np.ndarray] = []
    factors: dict[str, list[np.ndarray]] = {"x": [], "height": [], "obstacle_position": []}
    for env in envs:
        found: dict[tuple[int, ...], JumpingState] = {}

        def key(state: JumpingState, i: int, found: dict[tuple[int, ...], JumpingState] = found) -> tuple[int, ...]:
            values = tuple(int(getattr(state, field)[i]) for field in ("x", "height", "phase", "previous_height"))
            found.setdefault(values, select(state, np.array([i])))
            return values

        name = str(env.state.obstacle_position[0])
        parts[name] = enumerate_deterministic(env.state, jumping_transition, key, str, env.action_space.n)
        states = concatenate(list(found.values()))
        observations.append(env.task.observe(states))
        for field, values in factors.items():
            values.append(np.asarray(getattr(states, field), dtype=np.float64))
        next_observations.append(_next_observations(env, states, jumping_transition))
    mdp = FiniteMDP.union(parts)
    joined = {name: np.concatenate(values) for name, values in factors.items()}
    return FiniteProcess(
        mdp,
        np.flatnonzero(~mdp.terminal),
        np.concatenate(observations),
        np.concatenate(next_observations),
        {name: values for name, values in joined.items() if np.ptp(values)},
    )


def dial(env: Any) -> FiniteProcess:
    """Return a distractor dial whose distractor is predictable: every state, and each has one picture."""
    mdp = env.mdp()
    states = np.arange(mdp.num_states)
    cell, phase = np.divmod(states, PHASES)
    shown = dataclasses.replace(select(env.state, np.zeros_like(states)), cell=cell, phase=phase)
    row, column = np.divmod(cell.astype(np.float64), env.task.dials.size)
    angle = 2 * np.pi * phase / PHASES  # phases are a circle
    circle = {"phase, cosine": np.cos(angle), "phase, sine": np.sin(angle)}
    factors = {"row": row, "column": column, **circle, "lit": is_lit(phase).astype(np.float64)}

    def step(state: Any, action: np.ndarray) -> Any:
        return env.task.transition(state, action)[:3]

    return FiniteProcess(mdp, states, env.task.observe(shown), _next_observations(env, shown, step), factors)


def _next_observations(
    env: Any, states: Any, step: Callable[[Any, np.ndarray], tuple[Any, np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Return what one sees after each action, ``uint8[N, A, H, W, C]``, in N states of a task."""
    count = len(env.task.observe(states))
    actions = range(env.action_space.n)
    return np.stack([env.task.observe(step(states, np.full(count, a))[0]) for a in actions], axis=1)
