"""One call for anything that embeds: is the geometry of a representation that of a process whose truth is exact?

Any encoder will do, of any library: a function from observations to numbers. What is measured, over all states of a
small process or over a sample: whether distances are those of exact metrics, what can be read off an embedding, whether
its geometry supports control, and, of a world model, whether imagined futures are the true ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from bisimgym.baselines.metrics.aggregation import merged
from bisimgym.benchmarks.measures.metric_fidelity import (
    Fidelity,
    distance_matrix,
    distances_between,
    embeddings,
    euclidean,
    fidelities,
)
from bisimgym.benchmarks.measures.processes import FidelityProcess, fidelity_process
from bisimgym.envs.finite_mdp import FiniteMDP

#: The metric that everything is compared with: on-policy bisimulation of random actions, those of the data.
REFERENCE = "bisimulation-random"
#: Of exact metrics and values.
DISCOUNT = 0.99
#: Of states whose factors are averaged, of folds of the linear readout, of parts that aggregation leaves.
_NEIGHBORS, _FOLDS, _SHARE = 5, 5, 0.25
_RIDGE = 1e-3
#: How far below 0 a distance may be, as a share of the largest: the cosine of a vector with itself can be above 1.
_ROUNDING = 1e-4
#: Imagined futures that are compared with true ones.
_FUTURES = 256
_NO_FUTURES = "leave out predict: the states of this process are a sample, among which none is a predicted one"

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class EncoderScore:
    """What :func:`score_encoder` finds.

    Attributes:
        task: of the process.
        metrics: by name of the exact metric.
        effective_rank: dimensions that the embeddings fill; 0 for distances without embeddings.
        linear: by factor of the state, the share of its variance that a linear readout of the embedding explains on
            states that it was not fitted to: 1 is all, 0 none.
        nearest: the same of the mean over the five nearest other states.
        control: value of acting by the states' geometry: 1 is optimal, 0 as random actions; see :func:`control`. None
            of the processes with infinitely many states.
        imagination: of a world model, by steps ahead: exact distance of the nearest true state to the imagined one
            from the state that comes, over the mean distance of two states: 0 is perfect, 1 chance.
    """

    task: str
    metrics: Mapping[str, Fidelity]
    effective_rank: float
    linear: Mapping[str, float]
    nearest: Mapping[str, float]
    control: float | None
    imagination: Mapping[int, float]

    @property
    def score(self) -> float:
        """Rank correlation with the reference: the score of the fidelity suite."""
        return self.metrics[REFERENCE].rank_correlation

    def rows(self) -> dict[str, float]:
        """Return everything that was measured by name, the score first."""
        reference = self.metrics[REFERENCE]
        found = {
            "rank correlation": self.score,
            "distortion": reference.distortion,
            "neighbor recall": reference.neighbour_recall,
        }
        others = {name: values for name, values in self.metrics.items() if name != REFERENCE}
        found |= {f"rank correlation, {name}": values.rank_correlation for name, values in others.items()}
        found |= {"effective rank": self.effective_rank} if self.effective_rank else {}
        found |= {} if self.control is None else {"control": self.control}
        found |= {f"{factor}, linear readout": value for factor, value in self.linear.items()}
        found |= {f"{factor}, nearest states": value for factor, value in self.nearest.items()}
        return found | {f"imagined, {k} ahead": value for k, value in self.imagination.items()}


def score_encoder(
    encode: Any,
    task: str,
    *,
    distance: Distance | None = None,
    predict: Callable[[np.ndarray, np.ndarray], Any] | None = None,
    steps: Sequence[int] = (1, 5),
) -> EncoderScore:
    """Return how well an encoder's geometry is that of a process.

    Args:
        encode: maps ``uint8[B, H, W, C]``, or the ``float32[B, F]`` of "markov-signal" and "lqr", to ``float[B, D]``,
            numpy or torch; or has a method ``embed`` that does.
        task: one of :data:`~bisimgym.benchmarks.measures.processes.PROCESSES`.
        distance: of embeddings, from two ``float[P, D]`` to ``float[P]``; ``None``: the method ``distance`` of
            ``encode`` where it has one, else the Euclidean distance.
        predict: the transition of a world model, from ``float[B, D]`` and actions ``int64[B]`` to ``float[B, D]``.
        steps: how many steps ahead its futures are compared.

    Raises:
        ValueError: for an unknown task, embeddings, distances or predictions of other shapes or not finite, negative
            distances, or predictions for a process with infinitely many states.
    """
    import torch as th

    from bisimgym.baselines.core.latents import effective_rank

    process = fidelity_process(task, discount=DISCOUNT)
    if predict is not None and moves_of(process) is None:  # before anything is computed
        raise ValueError(_NO_FUTURES)
    distance = distance_of(encode, distance)
    z = embeddings(encode, process.observations, len(process.observations))
    learned, factors = distance_matrix(distance, z), factors_of(process)
    if learned.min() < -_ROUNDING * np.abs(learned).max():
        raise ValueError(f"distances must be at least 0, got {learned.min():.3g}: give a distance, not a similarity")
    learned = np.maximum(learned, 0.0)
    return EncoderScore(
        task=task,
        metrics=fidelities(lambda rows: rows, z, process.distances, distance),
        effective_rank=float(effective_rank(th.as_tensor(z))),
        linear={name: linear_readout(z, values) for name, values in factors.items()},
        nearest={name: nearest_readout(learned, values) for name, values in factors.items()},
        control=control(learned, process),
        imagination={} if predict is None else imagination(z, process, distance, predict, steps),
    )


def distance_of(encode: Any, distance: Distance | None) -> Distance:
    """Return the distance that embeddings are compared by: one that is given, the encoder's own, or the Euclidean."""
    own: Distance = getattr(encode, "distance", euclidean)
    return own if distance is None else distance


def exact_score(task: str) -> EncoderScore:
    """Return the score of the exact reference itself: the ceiling of what distances can reach."""
    process = fidelity_process(task, discount=DISCOUNT)
    exact = process.distances[REFERENCE]
    rows = np.arange(len(exact), dtype=np.float64)[:, None]

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return exact[x[:, 0].astype(int), y[:, 0].astype(int)]

    return EncoderScore(
        task=task,
        metrics=fidelities(lambda block: block, rows, process.distances, distance),
        effective_rank=0.0,
        linear={},
        nearest={name: nearest_readout(exact, values) for name, values in factors_of(process).items()},
        control=control(exact, process),
        imagination={},
    )


def random_projections(observations: np.ndarray) -> np.ndarray:
    """Return 50 random projections of observations ``[B, ...]``, ``float64[B, 50]``: what to do better than."""
    flat = observations.reshape(len(observations), -1) / 255
    return flat @ np.random.default_rng(0).normal(size=(flat.shape[1], 50))


def factors_of(process: FidelityProcess) -> dict[str, np.ndarray]:
    """Return what is read off embeddings, ``float64[N]`` each: what a state is made of, and its values."""
    return {**process.factors, **process.values}


def linear_readout(z: np.ndarray, factor: np.ndarray) -> float:
    """Return the share of a factor's variance that ridge regression from ``float[N, D]`` explains out of sample.

    Five folds, drawn once for all encoders; embeddings are standardized; at least 0.
    """
    order = np.random.default_rng(0).permutation(len(z))
    spread = z.std(axis=0)
    x = (z - z.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    predicted = np.empty(len(z))
    for fold in np.array_split(order, _FOLDS):
        rest = np.setdiff1d(order, fold)
        at, mean = x[rest].mean(axis=0), factor[rest].mean()
        centered, penalty = x[rest] - at, _RIDGE * len(rest)
        if z.shape[1] < len(rest):
            gram = centered.T @ centered + penalty * np.eye(z.shape[1])
            weights = np.linalg.solve(gram, centered.T @ (factor[rest] - mean))
        else:  # the same, by the smaller matrix
            gram = centered @ centered.T + penalty * np.eye(len(rest))
            weights = centered.T @ np.linalg.solve(gram, factor[rest] - mean)
        predicted[fold] = mean + (x[fold] - at) @ weights
    return _explained(factor, predicted)


def nearest_readout(distances: np.ndarray, factor: np.ndarray) -> float:
    """Return the share of a factor's variance that its mean over the five nearest other states explains; at least 0."""
    others = distances + np.where(np.eye(len(distances), dtype=bool), np.inf, 0.0)
    nearest = np.argsort(others, axis=1, kind="stable")[:, :_NEIGHBORS]
    return _explained(factor, factor[nearest].mean(axis=1))


def _explained(factor: np.ndarray, predicted: np.ndarray) -> float:
    left = np.square(factor - predicted).sum() / np.square(factor - factor.mean()).sum()
    return float(max(0.0, 1.0 - left))


def control(distances: np.ndarray, process: FidelityProcess) -> float | None:
    """Return what acting by the geometry of states is worth: 1 is optimal, 0 as uniformly random actions, at least -1.

    None of a process with infinitely many states.

    States are merged by average linkage of the distances into a quarter as many groups, which are one state each (its
    members count the same). The optimal values of these then stand for those of their members: an agent looks one step
    ahead and takes the action after which they are best, any of equally good ones. Its value is compared, from all
    states on average.
    """
    if (moves := moves_of(process)) is None:
        return None
    count = len(distances)
    square = np.minimum(distances, distances.T).astype(np.float64)
    np.fill_diagonal(square, 0.0)
    tree = linkage(squareform(square, checks=False), "average")
    group = fcluster(tree, max(1, round(_SHARE * count)), "maxclust") - 1
    mdp = _process_of(moves)
    classes = np.append(group, group.max() + 1)
    merged_values = merged(mdp, classes).optimal_values(DISCOUNT)[classes]
    uniform = np.full(mdp.reward.shape, 1 / mdp.num_actions)
    policies = (_greedy(mdp, merged_values), uniform, _greedy(mdp, mdp.optimal_values(DISCOUNT)))
    ours, random, top = (mdp.policy_values(policy, DISCOUNT)[:count].mean() for policy in policies)
    return float(max(-1.0, (ours - random) / (top - random)))


class Moves(NamedTuple):
    """What follows the actions in N states: rows ``int64[N, A]``, -1 at an end, and rewards ``float64[N, A]``."""

    next_rows: np.ndarray
    rewards: np.ndarray


def moves_of(process: FidelityProcess) -> Moves | None:
    """Return what follows the actions of a finite process; ``None`` of a sample."""
    if process.next_rows is None or process.rewards is None:
        return None
    return Moves(process.next_rows, process.rewards)


def _process_of(moves: Moves) -> FiniteMDP:
    """Return the process of N states, after which its end comes as the last state."""
    count, actions = moves.next_rows.shape
    return FiniteMDP(
        transition=np.vstack([np.where(moves.next_rows < 0, count, moves.next_rows), np.full(actions, count)]),
        reward=np.vstack([moves.rewards, np.zeros(actions)]),
        terminal=np.arange(count + 1) == count,
        state_names=tuple(map(str, range(count + 1))),
    )


def _greedy(mdp: FiniteMDP, values: np.ndarray) -> np.ndarray:
    """Return the policy ``float64[S, A]`` that takes any action of the best reward and next value, alike."""
    returns = mdp.reward + DISCOUNT * mdp.next_values(values)
    best = returns >= returns.max(axis=1, keepdims=True) - 1e-6 * max(1.0, np.abs(values).max())
    return best / best.sum(axis=1, keepdims=True)


def imagination(
    z: np.ndarray,
    process: FidelityProcess,
    distance: Distance,
    predict: Callable[[np.ndarray, np.ndarray], Any],
    steps: Sequence[int],
) -> dict[int, float]:
    """Return how far imagined futures are from the true ones, by steps ahead.

    Of 256 futures under random actions, those that the process ends before count no further. An imagined embedding
    stands for the nearest true state; the error is the exact distance of that from the state that comes, over the mean
    of all pairs.

    Raises:
        ValueError: for steps below 1, predictions of another shape or not finite, or a process with infinitely many
            states.
    """
    if (moves := moves_of(process)) is None:
        raise ValueError(_NO_FUTURES)
    if not steps or min(steps) < 1:
        raise ValueError(f"steps must be numbers of at least 1, got {list(steps)}")
    exact = process.distances[REFERENCE]
    chance = exact[np.triu_indices(len(exact), 1)].mean()
    rng = np.random.default_rng(0)
    state = rng.integers(len(z), size=_FUTURES)
    imagined, found = z[state], {}
    for step in range(1, max(steps) + 1):
        actions = rng.integers(moves.next_rows.shape[1], size=len(state))
        output = predict(imagined, actions)
        output = output.detach().cpu().double().numpy() if hasattr(output, "detach") else np.asarray(output)
        if output.shape != imagined.shape or not np.isfinite(output).all():
            raise ValueError(f"predict must return finite numbers of shape {imagined.shape}, got {output.shape}")
        state = moves.next_rows[state, actions]
        goes_on = state >= 0
        state, imagined = state[goes_on], output[goes_on]
        if step in steps and len(state):
            apart = distances_between(distance, imagined, z)
            found[step] = float(exact[apart.argmin(axis=1), state].mean() / chance)
    return found
