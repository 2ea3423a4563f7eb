"""Small deterministic processes of which everything is known: observations, transitions, factors, exact metrics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
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

#: Exact metrics of :func:`fidelity_process`. MICo of the optimal policy is not among them: all processes here are
#: deterministic, and there it is bisimulation.
FIDELITY_METRICS = (
    "bisimulation-optimal",
    "bisimulation-random",
    "mico-random",
    "policy-similarity",
    "recursive-similarity",
)
#: Environments of each process: an id, and the arguments of each of its parts.
PROCESSES: dict[str, tuple[str, Sequence[Mapping[str, Any]]]] = {
    "nav2d-8x8": ("bisimgym/Nav2D-v0", [{"size": 8, "num_obstacles": 5, "min_goal_distance": 6}]),
    "nav2d-20x20": ("bisimgym/Nav2D-v0", [{}]),
    "jumping-25": ("bisimgym/JumpingTask-v0", [{"obstacle_position": 25, "floor_height": 10}]),
    "jumping-25-45": (
        "bisimgym/JumpingTask-v0",
        [{"obstacle_position": position, "floor_height": 10} for position in (25, 45)],
    ),
    "dial-irrelevant": ("bisimgym/DistractorDial-v0", [{}]),
    "dial-controllable": ("bisimgym/DistractorDial-v0", [{"controllable": True}]),
    "dial-relevant": ("bisimgym/DistractorDial-v0", [{"correlation": 0.1}]),
}


class FidelityProcess(NamedTuple):
    """A finite process to hold encoders to.

    Attributes:
        observations: ``uint8[N, H, W, C]``, of all states in which an agent can come to act: one for each image that
            the environment can show, so that a state with several images counts as several, at distance 0.
        distances: exact metrics by name, ``float64[N, N]``.
        factors: what a state is made of, by name, ``float64[N]``: where the agent is, and what else can differ.
        next_rows: ``int64[N, A]``: which observation follows each action, -1 where the episode ends.
        rewards: ``float64[N, A]``.
    """

    observations: np.ndarray
    distances: Mapping[str, np.ndarray]
    factors: Mapping[str, np.ndarray]
    next_rows: np.ndarray
    rewards: np.ndarray


@dataclass(frozen=True)
class _Process:
    """States of a process that are observed, what they look like, and what one sees after each action.

    Attributes:
        states: ``int64[N]``, states of ``mdp``.
        observations: ``uint8[N, H, W, C]``.
        next_observations: ``uint8[N, A, H, W, C]``.
        factors: ``float64[N]`` each, see :class:`FidelityProcess`.
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


class _SameStart(gym.Wrapper):
    """Starts every episode in the same layout, at the same place, whatever the seed."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=0, options=options)


def fidelity_envs(name: str) -> list[Callable[[], gym.Env]]:
    """Return functions that make the environments of one of :data:`PROCESSES`, one for each of its parts.

    Agents that learn in them come to see the states of :func:`fidelity_process` and no others.

    Raises:
        ValueError: for an unknown process.
    """
    if name not in PROCESSES:
        raise ValueError(f"name must be one of {list(PROCESSES)}, got {name!r}")
    env_id, parts = PROCESSES[name]

    def make(arguments: Mapping[str, Any]) -> gym.Env:
        return _SameStart(gym.make(env_id, **arguments))

    return [functools.partial(make, arguments) for arguments in parts]


def fidelity_process(name: str, metrics: Sequence[str] = FIDELITY_METRICS, discount: float = 0.99) -> FidelityProcess:
    """Return the observations of a small process and its exact metrics, which are solved once in a Python process.

    The metrics, of :mod:`bisimgym.baselines.metrics`:

    * "bisimulation-optimal", "bisimulation-random": on-policy bisimulation of an optimal policy (the lowest of equally
      good actions), and of uniformly random actions.
    * "mico-random": MICo of uniformly random actions.
    * "policy-similarity": PSM of the optimal policy.
    * "recursive-similarity": of Nav2D only, mean over actions; its base cost is the share of the actions that move the
      agent in one of two states and not in the other, times ``1 - discount``. The publication learns its base; this one
      is ours: like the learned one it is blind to all that actions do not tell.

    Distances are rounded to six digits behind the point, far above the error of the solver: ties are ties.

    Args:
        name: one of :data:`PROCESSES`: "nav2d-8x8" and "nav2d-20x20" are layouts of Nav2D, the second as registered,
            "jumping-25" and "jumping-25-45" a jumping task with its obstacle there, and two side by side; "dial-..."
            are distractor dials whose distractor is irrelevant, controllable but irrelevant, and relevant.
        metrics: which to solve for; those that are not defined are left out. The slowest, "bisimulation-random", takes
            about a quarter of a minute on "nav2d-20x20" and two seconds or less elsewhere.
        discount: in [0, 1).

    Raises:
        ValueError: for an unknown process or metric, or a discount out of range.
    """
    process = _process(name)
    if unknown := [metric for metric in metrics if metric not in FIDELITY_METRICS]:
        raise ValueError(f"metrics must be of {list(FIDELITY_METRICS)}, got {unknown}")
    if not 0 <= discount < 1:
        raise ValueError(f"discount must be in [0, 1), got {discount!r}")
    distances = {m: _solved(name, m, float(discount)) for m in metrics if m in fidelity_metrics(name)}
    return FidelityProcess(
        process.observations,
        MappingProxyType(distances),
        process.factors,
        process.next_rows,
        process.mdp.reward[process.states],
    )


def fidelity_metrics(name: str) -> tuple[str, ...]:
    """Return the metrics that are defined on a process, of :data:`FIDELITY_METRICS`."""
    return tuple(m for m in FIDELITY_METRICS if m != "recursive-similarity" or name.startswith("nav2d"))


def fidelity_transitions(name: str) -> Transitions:
    """Return every transition of one of :data:`PROCESSES`, once: the data of a random policy that starts anywhere.

    Each of the ``N`` observations of :func:`fidelity_process` has a row for each action, in that order. Rows of the E
    images at which episodes can end follow: every action leads back to them, without reward, as the exact metrics
    have it. Losses that take no notice of an episode's end need them to know how far ends are from other states.

    Returns:
        Of ``(N + E) * A`` rows: observations ``uint8[H, W, C]``, actions ``int64``, rewards ``float64`` as the
        environment gives them, and whether the process has ended.

    Raises:
        ValueError: for an unknown process.
    """
    from bisimgym.baselines.transitions import Transitions

    process = _process(name)
    mdp, states = process.mdp, process.states
    ended = mdp.terminal[mdp.transition[states]]
    ends = np.unique(process.next_observations[ended], axis=0)
    observations = np.concatenate([process.observations, ends])
    stays = np.repeat(ends, mdp.num_actions, axis=0)
    return Transitions(
        observations=np.repeat(observations, mdp.num_actions, axis=0),
        actions=np.tile(np.arange(mdp.num_actions), len(observations)),
        rewards=np.concatenate([mdp.reward[states].ravel(), np.zeros(len(stays))]),
        next_observations=np.concatenate([process.next_observations.reshape(-1, *ends.shape[1:]), stays]),
        dones=np.concatenate([ended.ravel(), np.ones(len(stays), dtype=bool)]),
    )


@functools.cache
def _process(name: str) -> _Process:
    envs = [make() for make in fidelity_envs(name)]
    for env in envs:
        env.reset()
    enumerated = {"nav2d": _nav2d, "jumping": _jumping, "dial": _dial}[name.partition("-")[0]]
    process = enumerated(*(env.unwrapped for env in envs))
    process.observations.flags.writeable = process.next_observations.flags.writeable = False
    return process


@functools.cache
def _solved(name: str, metric: str, discount: float) -> np.ndarray:
    process = _process(name)
    mdp = process.mdp
    key = digest(__version__, metric, discount, process.states, mdp.transition, mdp.reward, mdp.terminal)
    found = solved_once(key, lambda: _solve(process, metric, discount))
    found.flags.writeable = False
    return found


def _solve(process: _Process, metric: str, discount: float) -> np.ndarray:
    mdp, states = process.mdp, process.states
    if metric == "recursive-similarity":
        return similarity_of_moves(mdp.transition, states, states, discount)
    solver: exact_metrics.Solver = {"rows": states, "columns": states, "tolerance": 1e-8, "progress": False}
    uniform = np.full(mdp.reward.shape, 1 / mdp.num_actions)
    policy = uniform if metric.endswith("random") else mdp.optimal_policy(discount)
    if metric == "policy-similarity":
        return exact_metrics.policy_similarity(mdp.transition, policy, discount, **solver).round(6)
    solve = exact_metrics.mico if metric == "mico-random" else exact_metrics.on_policy_bisimulation
    return solve(mdp.transition, mdp.reward, policy, discount, **solver).round(6)


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


def _nav2d(env: Any) -> _Process:
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
    return _Process(mdp, states, env.task.observe(shown), _next_observations(env, shown, step), factors)


def _jumping(*envs: Any) -> _Process:
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
    return _Process(
        mdp,
        np.flatnonzero(~mdp.terminal),
        np.concatenate(observations),
        np.concatenate(next_observations),
        {name: values for name, values in joined.items() if np.ptp(values)},
    )


def _dial(env: Any) -> _Process:
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

    return _Process(mdp, states, env.task.observe(shown), _next_observations(env, shown, step), factors)


def _next_observations(
    env: Any, states: Any, step: Callable[[Any, np.ndarray], tuple[Any, np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Return what one sees after each action, ``uint8[N, A, H, W, C]``, in N states of a task."""
    count = len(env.task.observe(states))
    actions = range(env.action_space.n)
    return np.stack([env.task.observe(step(states, np.full(count, a))[0]) for a in actions], axis=1)
