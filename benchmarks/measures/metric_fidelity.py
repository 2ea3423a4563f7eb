"""Fidelity: how well the distances of an encoder's embeddings match an exact metric of a process.

A loss that claims to learn a metric can be held to it wherever the metric can be computed. Three numbers say how far
that went: whether pairs of states are in the right order (rank correlation), whether distances are right but for their
unit (distortion), and whether the nearest states are the right ones (neighbor recall).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.stats import rankdata

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
            and :class:`~bisimgym.baselines.offline.OfflineRepresentation`.
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
    square = distance_matrix(distance, embeddings(embed, observations, count))
    return {name: _compared(square, values, int(neighbours)) for name, values in exact.items()}


def distance_matrix(distance: Callable[[np.ndarray, np.ndarray], np.ndarray], embedding: np.ndarray) -> np.ndarray:
    """Return the distances of embeddings ``float[N, D]``, ``float64[N, N]``, with 0 on the diagonal.

    Raises:
        ValueError: if ``distance`` returns another shape, or numbers that are not finite.
    """
    if distance is euclidean:
        return squareform(pdist(embedding))
    first, second = np.triu_indices(len(embedding), 1)
    square = np.zeros((len(embedding), len(embedding)))
    square[first, second] = square[second, first] = _distances(distance, embedding, embedding, first, second)
    return square


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
        raise ValueError(f"exact is {pairs[0]:g} for all pairs of states: such a metric distinguishes nothing")
    return exact


def embeddings(embed: Any, observations: np.ndarray | Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Return the embeddings of N = ``count`` observations, ``float[N, D]``, computed in blocks, as of :func:`fidelity`.

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


def distances_between(
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Return the distances of embeddings ``float[N, D]`` and ``float[M, D]``, ``float64[N, M]``; memory is bounded.

    Raises:
        ValueError: if ``distance`` returns another shape, or numbers that are not finite.
    """
    if distance is euclidean:
        return cdist(x, y)
    first, second = np.divmod(np.arange(len(x) * len(y)), len(y))
    return _distances(distance, x, y, first, second).reshape(len(x), len(y))


def _distances(
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    """Return the distances of pairs of rows, ``float64[P]``, in blocks."""
    found = np.empty(len(first))
    block = max(1, _NUMBERS // max(1, x.shape[1]))
    for start in range(0, len(first), block):
        rows = slice(start, start + block)
        values = np.asarray(distance(x[first[rows]], y[second[rows]]), dtype=np.float64)
        if values.shape != first[rows].shape:
            raise ValueError(f"distance must return float[{len(first[rows])}], one per row, got shape {values.shape}")
        found[rows] = values
    if not np.isfinite(found).all():
        raise ValueError(f"distance returned {int((~np.isfinite(found)).sum())} numbers that are not finite")
    return found


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays, 0 if one of them is constant."""
    x, y = (ranks - ranks.mean() for ranks in (rankdata(x), rankdata(y)))
    norm = math.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else 0.0


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
