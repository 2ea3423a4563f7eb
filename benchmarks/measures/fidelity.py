"""Fidelity: how well the distances of an encoder's embeddings match an exact metric of a finite process.

A loss that claims to learn a metric can be held to it wherever the metric can be computed. Three numbers say how far
that went: whether pairs of states are in the right order (rank correlation), whether distances are right but for their
unit (distortion), and whether the nearest states are the right ones (neighbour recall).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines import metrics as exact_metrics
from bisimgym.envs.array_task import concatenate, select
from bisimgym.envs.finite_mdp import FiniteMDP, enumerate_deterministic
from bisimgym.envs.jumping.dynamics import JumpingState
from bisimgym.envs.jumping.dynamics import transition as jumping_transition
from bisimgym.envs.jumping.env import JumpingTaskEnv
from bisimgym.envs.nav2d.env import Nav2DEnv
from bisimgym.envs.nav2d.env import transition as nav2d_transition

if TYPE_CHECKING:  # it imports torch, which distances do not need
    from bisimgym.baselines.isolated import Transitions

#: Observations that are embedded at once, and numbers of embeddings that are compared at once.
_OBSERVATIONS, _NUMBERS = 256, 2**22


@dataclass(frozen=True)
class Fidelity:
    """How well distances of embeddings match an exact metric, over unordered pairs of two different states.

    Distances from a state to itself do not count: those of MICo and RAP are above 0 by design.

    Attributes:
        rank_correlation: Spearman's, with mean ranks for ties: 1 for any increasing function of the metric, about 0
            for distances that have nothing to do with it, 0 for distances that are all the same.
        distortion: ``sum |c d - d*| / sum d*`` of distances d and exact ones d*, with the best factor c >= 0: 0 for the
            metric in any unit, and at most 1, which c = 0 gives.
        neighbour_recall: share of the k nearest states by the metric that are among the k nearest by the distances,
            mean over states. Of states that tie for the last places by the metric, those that are found count; ties of
            the distances are broken at random, and the expectation is taken. k / (states - 1) is chance.
        scale: c.
        states: N.
        neighbours: k.
    """

    rank_correlation: float
    distortion: float
    neighbour_recall: float
    scale: float
    states: int
    neighbours: int


def fidelity(
    embed: Any,
    observations: np.ndarray | Mapping[str, np.ndarray],
    exact: np.ndarray,
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    neighbours: int = 5,
) -> Fidelity:
    """Return how well the distances of an encoder's embeddings match an exact metric.

    Args:
        embed: maps a batch of observations to ``float[B, D]``, or has a method ``embed`` that does, as the agents here
            and :class:`~bisimgym.baselines.isolated.IsolatedRepresentation`.
        observations: ``[N, *shape]``, one of each state; or a dictionary of such arrays.
        exact: ``float[N, N]``, symmetric; its diagonal is not looked at.
        distance: of embeddings ``float[P, D]`` row by row, ``float[P]``, symmetric. None: the method ``distance`` of
            ``embed`` where it has one, else the Euclidean distance.
        neighbours: k, from 1 to N - 1.

    Raises:
        ValueError: for other shapes, numbers that are not finite, fewer than three states, an exact metric that is
            negative, not symmetric, or the same for all pairs, or a k out of range.
    """
    return fidelities(embed, observations, {"exact": exact}, distance, neighbours)["exact"]


def fidelities(
    embed: Any,
    observations: np.ndarray | Mapping[str, np.ndarray],
    exact: Mapping[str, np.ndarray],
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    neighbours: int = 5,
) -> dict[str, Fidelity]:
    """Return how well one encoder's distances match each of several exact metrics, by name: see :func:`fidelity`.

    Observations are embedded, and embeddings compared, once for all.

    Raises:
        ValueError: as :func:`fidelity`, and for no metrics or metrics of different numbers of states.
    """
    exact = {name: _checked_exact(values) for name, values in exact.items()}
    counts = {len(values) for values in exact.values()}
    if len(counts) != 1:
        raise ValueError(f"exact must be metrics of the same states, at least one, got {sorted(counts)} states")
    count = counts.pop()
    if isinstance(neighbours, bool) or not isinstance(neighbours, (int, np.integer)) or not 1 <= neighbours < count:
        raise ValueError(
            f"neighbours must be an integer from 1 to {count - 1}, one below the states, got {neighbours!r}"
        )
    if distance is None:
        distance = getattr(embed, "distance", euclidean)
    first, second = np.triu_indices(count, 1)
    learned = _distances(distance, embeddings(embed, observations, count), first, second)
    square = np.zeros((count, count))
    square[first, second] = square[second, first] = learned
    return {name: _compared(square, values, int(neighbours)) for name, values in exact.items()}


def _compared(learned: np.ndarray, exact: np.ndarray, neighbours: int) -> Fidelity:
    """Return how well distances ``float[N, N]`` match a metric ``float[N, N]``."""
    pairs = np.triu_indices(len(exact), 1)
    scale, distortion = _distortion(learned[pairs], exact[pairs])
    others = ~np.eye(len(exact), dtype=bool)
    found = [_expected_found(learned[i][o], exact[i][o], neighbours) for i, o in enumerate(others)]
    return Fidelity(
        rank_correlation=_rank_correlation(learned[pairs], exact[pairs]),
        distortion=distortion,
        neighbour_recall=float(np.mean(found)) / neighbours,
        scale=scale,
        states=len(exact),
        neighbours=neighbours,
    )


def euclidean(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances of the rows of two arrays ``float[P, D]``, ``float[P]``."""
    return np.linalg.norm(x - y, axis=1)


def _checked_exact(exact: np.ndarray) -> np.ndarray:
    exact = np.asarray(exact, dtype=np.float64)
    if exact.ndim != 2 or exact.shape[0] != exact.shape[1] or len(exact) < 3:
        raise ValueError(f"exact must be float[N, N] with at least three states, got shape {exact.shape}")
    pairs = exact[np.triu_indices(len(exact), 1)]
    if not np.isfinite(pairs).all() or pairs.min() < 0:
        raise ValueError("exact must be finite and not negative")
    if np.abs(pairs - exact.T[np.triu_indices(len(exact), 1)]).max() > 1e-6 * pairs.max():
        raise ValueError("exact must be symmetric: pairs of states are not ordered")
    if pairs.min() == pairs.max():
        raise ValueError(f"exact is {pairs[0]:g} for all pairs of states: nothing can be told from such a metric")
    return exact


def embeddings(embed: Any, observations: np.ndarray | Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Return the embeddings of ``count`` observations, ``float[N, D]``, computed in blocks.

    Args:
        embed, observations: as of :func:`fidelity`.
        count: N.

    Raises:
        ValueError: for observations of another number, or embeddings of another shape or not finite.
    """
    function = getattr(embed, "embed", embed)
    parts = observations.values() if isinstance(observations, Mapping) else [observations]
    lengths = [len(part) for part in parts]
    if set(lengths) != {count}:
        raise ValueError(f"observations must be those of the {count} states of exact, got lengths {lengths}")
    blocks = []
    for start in range(0, count, _OBSERVATIONS):
        rows = slice(start, start + _OBSERVATIONS)
        if isinstance(observations, Mapping):
            output = function({key: np.array(part[rows]) for key, part in observations.items()})
        else:
            output = function(np.array(observations[rows]))  # torch dislikes arrays that are read only
        if hasattr(output, "detach"):  # a torch tensor, of any floating type and on any device
            output = output.detach().cpu().double().numpy()
        blocks.append(np.asarray(output))
    shapes = [block.shape for block in blocks]
    if any(len(s) != 2 or s[1:] != shapes[0][1:] for s in shapes) or sum(s[0] for s in shapes) != count:
        raise ValueError(f"embed must map observations [B, ...] to float[B, D], got shapes {shapes} of {count} in all")
    embedding = np.concatenate(blocks)
    if not np.isfinite(embedding).all():
        wrong = int((~np.isfinite(embedding)).sum())
        raise ValueError(f"embed returned {wrong} of {embedding.size} numbers that are not finite")
    return embedding


def _distances(
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
    embedding: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    """Return the distances of pairs, ``float64[P]``, in blocks: memory is bounded."""
    found = np.empty(len(first))
    block = max(1, _NUMBERS // max(1, embedding.shape[1]))
    for start in range(0, len(first), block):
        rows = slice(start, start + block)
        values = np.asarray(distance(embedding[first[rows]], embedding[second[rows]]), dtype=np.float64)
        if values.shape != first[rows].shape:
            raise ValueError(f"distance must return float[{len(first[rows])}], one per row, got shape {values.shape}")
        found[rows] = values
    if not np.isfinite(found).all():
        raise ValueError(f"distance returned {int((~np.isfinite(found)).sum())} numbers that are not finite")
    return found


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays, 0 if one of them is constant."""
    x, y = (ranks - ranks.mean() for ranks in (_mean_ranks(x), _mean_ranks(y)))
    norm = math.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else 0.0


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    """Return the places of values in order, from 1, and of equal ones the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]


def _distortion(learned: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """Return the factor c >= 0 with the least ``sum |c learned - exact|``, and that sum over ``sum exact``.

    The sum is convex in c and bends at the ratios of distances: the best is their median, weighted by ``learned``.
    """
    moves = learned != 0
    scale = 0.0
    if moves.any():
        ratio, weight = exact[moves] / learned[moves], np.abs(learned[moves])
        order = np.argsort(ratio)
        below = np.cumsum(weight[order])
        scale = max(0.0, float(ratio[order[np.searchsorted(below, below[-1] / 2)]]))
    return scale, float(np.abs(scale * learned - exact).sum() / exact.sum())


def _expected_found(learned: np.ndarray, exact: np.ndarray, k: int) -> float:
    """Return how many of the k nearest by ``exact`` are expected among the k nearest by ``learned``, of ``float[M]``.

    States that are nearer by ``exact`` than the k-th all count; of those as near as the k-th, as many as have room.
    """
    near, as_near = _nearest(exact, k)
    sure, drawn = _nearest(learned, k)
    room, slots, group = k - int(near.sum()), k - int(sure.sum()), int(drawn.sum())
    found = (sure & near).sum() + slots * (drawn & near).sum() / group
    certain, good = int((sure & as_near).sum()), int((drawn & as_near).sum())
    # The slots left are filled from the drawn without replacement: a hypergeometric number of them is good.
    ways = (
        math.comb(good, hits) * math.comb(group - good, slots - hits) * min(certain + hits, room)
        for hits in range(min(good, slots) + 1)
    )
    return float(found + sum(ways) / math.comb(group, slots))


def _nearest(distance: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which states are nearer than the k-th, and which as near, ``bool[M]`` each."""
    last = np.partition(distance, k - 1)[k - 1]
    return distance < last, distance == last


class FidelityProcess(NamedTuple):
    """A finite process to hold encoders to.

    Attributes:
        observations: ``uint8[N, H, W, C]``, of all states in which an agent can come to act: one for each picture that
            the environment can show, so that a state with several pictures counts as several, at distance 0.
        distances: exact metrics by name, ``float64[N, N]``.
    """

    observations: np.ndarray
    distances: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Process:
    """States of a process that are observed, what they look like, and what one sees after each action.

    Attributes:
        states: ``int64[N]``, states of ``mdp``.
        observations: ``uint8[N, H, W, C]``.
        following: ``uint8[N, A, H, W, C]``.
    """

    mdp: FiniteMDP
    states: np.ndarray
    observations: np.ndarray
    following: np.ndarray


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
_PROCESSES: dict[str, tuple[str, Sequence[Mapping[str, int]]]] = {
    "nav2d-8x8": ("bisimgym/Nav2D-v0", [{"size": 8, "num_obstacles": 5, "min_goal_distance": 6}]),
    "nav2d-20x20": ("bisimgym/Nav2D-v0", [{}]),
    "jumping-25": ("bisimgym/JumpingTask-v0", [{"obstacle_position": 25, "floor_height": 10}]),
    "jumping-25-45": (
        "bisimgym/JumpingTask-v0",
        [{"obstacle_position": position, "floor_height": 10} for position in (25, 45)],
    ),
}
#: Of the layouts.
_SEED = 0


def fidelity_processes() -> tuple[str, ...]:
    """Return the names of the processes that :func:`fidelity_process` knows."""
    return tuple(_PROCESSES)


class _SameStart(gym.Wrapper):
    """Starts every episode in the same layout, at the same place, whatever the seed."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=_SEED, options=options)


def fidelity_envs(name: str) -> list[Callable[[], gym.Env]]:
    """Return functions that make the environments of a process, one for each of its parts.

    Agents that learn in them come to see the states of :func:`fidelity_process` and no others.

    Args:
        name: one of :func:`fidelity_processes`.

    Raises:
        ValueError: for an unknown process.
    """
    if name not in _PROCESSES:
        raise ValueError(f"name must be one of {list(_PROCESSES)}, got {name!r}")
    env_id, parts = _PROCESSES[name]
    return [functools.partial(_make, env_id, **arguments) for arguments in parts]


def _make(env_id: str, **arguments: int) -> gym.Env:
    return _SameStart(gym.make(env_id, **arguments))


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
        name: one of :func:`fidelity_processes`: "nav2d-8x8" and "nav2d-20x20" are layouts of Nav2D, the second as
            registered, and "jumping-25" and "jumping-25-45" a jumping task with its obstacle there, and two side by
            side.
        metrics: which to solve for; those that are not defined are left out. The slowest, "bisimulation-random", takes
            about half a minute on "nav2d-20x20" and seconds or less elsewhere.
        discount: in [0, 1).

    Raises:
        ValueError: for an unknown process or metric, or a discount out of range.
    """
    process = _process(name)
    unknown = [metric for metric in metrics if metric not in FIDELITY_METRICS]
    if unknown:
        raise ValueError(f"metrics must be of {list(FIDELITY_METRICS)}, got {unknown}")
    if not 0 <= discount < 1:
        raise ValueError(f"discount must be in [0, 1), got {discount!r}")
    distances = {m: _solved(name, m, float(discount)) for m in metrics if m in fidelity_metrics(name)}
    return FidelityProcess(process.observations, MappingProxyType(distances))


def fidelity_metrics(name: str) -> tuple[str, ...]:
    """Return the metrics that are defined on a process, of :data:`FIDELITY_METRICS`."""
    return tuple(m for m in FIDELITY_METRICS if m != "recursive-similarity" or name.startswith("nav2d"))


def fidelity_transitions(name: str) -> Transitions:
    """Return every transition of a process, once: the data of a uniformly random policy that starts anywhere.

    Each of the ``N`` observations of :func:`fidelity_process` has a row for each action, in that order. Rows of the E
    pictures at which episodes can end follow: every action leads back to them, without reward, as the exact metrics
    have it. Losses that take no notice of an episode's end need them to know how far ends are from other states.

    Args:
        name: one of :func:`fidelity_processes`.

    Returns:
        Of ``(N + E) * A`` rows: observations ``uint8[H, W, C]``, actions ``int64``, rewards ``float64`` as the
        environment gives them, and whether the process has ended.

    Raises:
        ValueError: for an unknown process.
    """
    from bisimgym.baselines.isolated import Transitions

    process = _process(name)
    mdp, states = process.mdp, process.states
    ended = mdp.terminal[mdp.transition[states]]
    ends = np.unique(process.following[ended], axis=0)
    observations = np.concatenate([process.observations, ends])
    stays = np.repeat(ends, mdp.num_actions, axis=0)
    return Transitions(
        observations=np.repeat(observations, mdp.num_actions, axis=0),
        actions=np.tile(np.arange(mdp.num_actions), len(observations)),
        rewards=np.concatenate([mdp.reward[states].ravel(), np.zeros(len(stays))]),
        next_observations=np.concatenate([process.following.reshape(-1, *ends.shape[1:]), stays]),
        dones=np.concatenate([ended.ravel(), np.ones(len(stays), dtype=bool)]),
    )


@functools.cache
def _process(name: str) -> _Process:
    envs = [make() for make in fidelity_envs(name)]
    for env in envs:
        env.reset()
    enumerated = _nav2d if name.startswith("nav2d") else _jumping
    process = enumerated(*(env.unwrapped for env in envs))
    process.observations.flags.writeable = process.following.flags.writeable = False
    return process


@functools.cache
def _solved(name: str, metric: str, discount: float) -> np.ndarray:
    process = _process(name)
    mdp, states = process.mdp, process.states
    solver: exact_metrics.Solver = {"rows": states, "columns": states, "tolerance": 1e-8, "progress": False}
    if metric == "recursive-similarity":
        moves = mdp.transition != np.arange(mdp.num_states)[:, None]
        base = (1 - discount) * (moves[:, None] != moves[None]).mean(axis=2)
        found = exact_metrics.recursive_similarity(mdp.transition, base, discount, **solver)
    elif metric == "policy-similarity":
        policy = mdp.optimal_policy(discount)
        found = exact_metrics.policy_similarity(mdp.transition, policy, discount, **solver)
    else:
        solve = exact_metrics.mico if metric == "mico-random" else exact_metrics.on_policy_bisimulation
        uniform = np.full(mdp.reward.shape, 1 / mdp.num_actions)
        policy = mdp.optimal_policy(discount) if metric == "bisimulation-optimal" else uniform
        found = solve(mdp.transition, mdp.reward, policy, discount, **solver)
    found = found.round(6)
    found.flags.writeable = False
    return found


def _nav2d(env: Nav2DEnv) -> _Process:
    """Return a layout. The goal is left out: an episode is over there, and no loss sees what would follow."""
    mdp, layout = env.mdp(), env.state
    free = np.flatnonzero(layout.obstacles[0] == 0)
    start = int(np.searchsorted(free, layout.start[0]))
    states = mdp.reachable_states(start)
    states = states[~mdp.terminal[states]]
    shown = dataclasses.replace(select(layout, np.zeros(len(states), dtype=np.int64)), cell=free[states])
    step = functools.partial(nav2d_transition, size=env.task.size)
    return _Process(mdp, states, env.task.observe(shown), _following(env, shown, step))


def _jumping(*envs: JumpingTaskEnv) -> _Process:
    """Return jumping tasks side by side.

    A picture also shows the frame before, so that an agent on the ground looks otherwise when it has just landed: its
    states here are pictures, more than those of :func:`bisimgym.envs.jumping.jumping_mdp`.
    """
    parts: dict[str, FiniteMDP] = {}
    pictures: list[np.ndarray] = []
    following: list[np.ndarray] = []
    for env in envs:
        found: dict[tuple[int, ...], JumpingState] = {}

        def key(state: JumpingState, i: int, found: dict[tuple[int, ...], JumpingState] = found) -> tuple[int, ...]:
            values = tuple(int(getattr(state, field)[i]) for field in ("x", "height", "phase", "previous_height"))
            found.setdefault(values, select(state, np.array([i])))
            return values

        name = str(env.state.obstacle_position[0])
        parts[name] = enumerate_deterministic(env.state, jumping_transition, key, str, env.action_space.n)
        states = concatenate(list(found.values()))
        pictures.append(env.task.observe(states))
        following.append(_following(env, states, jumping_transition))
    mdp = FiniteMDP.union(parts)
    return _Process(mdp, np.flatnonzero(~mdp.terminal), np.concatenate(pictures), np.concatenate(following))


def _following(
    env: Nav2DEnv | JumpingTaskEnv, states: Any, step: Callable[[Any, np.ndarray], tuple[Any, np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Return what one sees after each action, ``uint8[N, A, H, W, C]``, in N states of a task."""
    count = len(env.task.observe(states))
    actions = range(env.action_space.n)
    return np.stack([env.task.observe(step(states, np.full(count, a))[0]) for a in actions], axis=1)
