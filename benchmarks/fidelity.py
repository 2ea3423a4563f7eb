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
from typing import Any, NamedTuple

import numpy as np

from bisimgym.baselines import metrics as exact_metrics
from bisimgym.envs.batched import concatenate, select
from bisimgym.envs.finite_mdp import FiniteMDP, enumerate_deterministic
from bisimgym.envs.jumping import JumpingTaskEnv
from bisimgym.envs.jumping_dynamics import JumpingState, transition
from bisimgym.envs.nav2d import Nav2DEnv

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
    exact = _checked_exact(exact)
    count = len(exact)
    if isinstance(neighbours, bool) or not isinstance(neighbours, (int, np.integer)) or not 1 <= neighbours < count:
        raise ValueError(
            f"neighbours must be an integer from 1 to {count - 1}, one below the states, got {neighbours!r}"
        )
    if distance is None:
        distance = getattr(embed, "distance", euclidean)
    first, second = np.triu_indices(count, 1)
    learned = _distances(distance, _embeddings(embed, observations, count), first, second)
    wanted = exact[first, second]
    scale, distortion = _distortion(learned, wanted)
    square = np.zeros((count, count))
    square[first, second] = square[second, first] = learned
    others = ~np.eye(count, dtype=bool)
    found = [_expected_found(square[i][o], exact[i][o], int(neighbours)) for i, o in enumerate(others)]
    return Fidelity(
        rank_correlation=_rank_correlation(learned, wanted),
        distortion=distortion,
        neighbour_recall=float(np.mean(found)) / neighbours,
        scale=scale,
        states=count,
        neighbours=int(neighbours),
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


def _embeddings(embed: Any, observations: np.ndarray | Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Return ``float[N, D]``."""
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
    """States of a process that are observed, and what they look like."""

    mdp: FiniteMDP
    states: np.ndarray
    observations: np.ndarray


#: Exact metrics of :func:`fidelity_process`. MICo of the optimal policy is not among them: all processes here are
#: deterministic, and there it is bisimulation.
FIDELITY_METRICS = (
    "bisimulation-optimal",
    "bisimulation-random",
    "mico-random",
    "policy-similarity",
    "recursive-similarity",
)


def fidelity_processes() -> tuple[str, ...]:
    """Return the names of the processes that :func:`fidelity_process` knows."""
    return tuple(_PROCESSES)


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
    if name not in _PROCESSES:
        raise ValueError(f"name must be one of {list(_PROCESSES)}, got {name!r}")
    unknown = [metric for metric in metrics if metric not in FIDELITY_METRICS]
    if unknown:
        raise ValueError(f"metrics must be of {list(FIDELITY_METRICS)}, got {unknown}")
    if not 0 <= discount < 1:
        raise ValueError(f"discount must be in [0, 1), got {discount!r}")
    defined = [metric for metric in metrics if metric != "recursive-similarity" or name.startswith("nav2d")]
    distances = {metric: _solved(name, metric, float(discount)) for metric in defined}
    return FidelityProcess(_process(name).observations, MappingProxyType(distances))


@functools.cache
def _process(name: str) -> _Process:
    process = _PROCESSES[name]()
    process.observations.flags.writeable = False
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


def _nav2d(seed: int, **arguments: int) -> _Process:
    """Return a layout. The goal is left out: an episode is over there, and no loss sees what would follow."""
    env = Nav2DEnv(**arguments)
    env.reset(seed=seed)
    mdp, layout = env.mdp(), env.state
    free = np.flatnonzero(layout.obstacles[0] == 0)
    start = int(np.searchsorted(free, layout.start[0]))
    states = mdp.reachable_states(start)
    states = states[~mdp.terminal[states]]
    shown = dataclasses.replace(select(layout, np.zeros(len(states), dtype=np.int64)), cell=free[states])
    return _Process(mdp, states, env.task.observe(shown))


def _jumping(*positions: int) -> _Process:
    """Return jumping tasks side by side.

    A picture also shows the frame before, so that an agent on the ground looks otherwise when it has just landed: its
    states here are pictures, more than those of :func:`bisimgym.envs.jumping.jumping_mdp`.
    """
    parts: dict[str, FiniteMDP] = {}
    pictures: list[np.ndarray] = []
    for position in positions:
        env = JumpingTaskEnv(obstacle_position=position, floor_height=10)
        env.reset(seed=0)
        found: dict[tuple[int, ...], JumpingState] = {}

        def key(state: JumpingState, i: int, found: dict[tuple[int, ...], JumpingState] = found) -> tuple[int, ...]:
            values = tuple(int(getattr(state, field)[i]) for field in ("x", "height", "phase", "previous_height"))
            found.setdefault(values, select(state, np.array([i])))
            return values

        parts[str(position)] = enumerate_deterministic(env.state, transition, key, str, env.action_space.n)
        pictures.append(env.task.observe(concatenate(list(found.values()))))
    mdp = FiniteMDP.union(parts)
    return _Process(mdp, np.flatnonzero(~mdp.terminal), np.concatenate(pictures))


_PROCESSES: dict[str, Callable[[], _Process]] = {
    "nav2d-8x8": functools.partial(_nav2d, seed=0, size=8, num_obstacles=5, min_goal_distance=6),
    "nav2d-20x20": functools.partial(_nav2d, seed=0),
    "jumping-25": functools.partial(_jumping, 25),
    "jumping-25-45": functools.partial(_jumping, 25, 45),
}
