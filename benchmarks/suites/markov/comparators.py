"""Unsupervised comparators: k-means on frames, and a hidden Markov model with Gaussian emissions, fitted by EM.

Both find clusters, whose numbers mean nothing; ``names`` gives each the hidden state that it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

from bisimgym.envs.markov_signal import SignalLaw, stationary_distribution
from bisimgym.envs.markov_signal.filters import ExactFilter, filter_posteriors, log_densities, smooth_posteriors

#: Initial clusterings that are tried, and frames that they are tried on.
_STARTS = 10
_MAX_FRAMES = 10_000


class KMeansStates:
    """The nearest of K centers, found by k-means on frames. An agent without memory.

    Args:
        num_states: K.
        seed: of the initial centers and of the frames that are looked at.

    Attributes:
        centers: ``float64[K, D]``, after :meth:`fit`.
        names: ``int64[K]``, what :meth:`predict` says of each cluster; its number unless set.
    """

    def __init__(self, num_states: int = 3, seed: int = 0):
        self.num_states, self.seed = _checked_states(num_states), seed
        self.names = np.arange(num_states)
        self.centers: np.ndarray | None = None

    def fit(self, signals: np.ndarray) -> KMeansStates:
        """Find the centers of signals ``float[N, T, D]`` or ``float[M, D]``: the best of ten starts (k-means++).

        Raises:
            ValueError: for fewer frames than clusters, or numbers that are not finite.
        """
        frames = np.asarray(signals, dtype=np.float64)
        frames = frames.reshape(-1, frames.shape[-1])
        if len(frames) < self.num_states or not np.isfinite(frames).all():
            raise ValueError(f"signals must be finite, with at least {self.num_states} frames, got {len(frames)}")
        rng = np.random.default_rng(self.seed)
        some = frames if len(frames) <= _MAX_FRAMES else rng.choice(frames, _MAX_FRAMES, replace=False)
        found = [kmeans2(some, self.num_states, iter=100, minit="++", seed=rng)[0] for _ in range(_STARTS)]
        inertia = [cdist(some, centers, "sqeuclidean").min(axis=1).sum() for centers in found]
        self.centers = found[int(np.argmin(inertia))]
        return self

    def states(self, signals: np.ndarray) -> np.ndarray:
        """Return the names of the nearest centers, ``int64[...]``, of frames ``float[..., D]``."""
        if self.centers is None:
            raise ValueError("there are no centers yet: call fit() first")
        frames = np.asarray(signals)
        nearest = cdist(frames.reshape(-1, frames.shape[-1]), self.centers, "sqeuclidean").argmin(axis=1)
        return self.names[nearest].reshape(frames.shape[:-1])

    def predict(
        self,
        observation: np.ndarray,
        state: None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, None]:
        """Return ``int64[N]`` names for ``float32[N, D]`` frames, and None; the other arguments have no influence."""
        return self.states(observation), None


@dataclass(frozen=True)
class EMHistory:
    """How the fit of a hidden Markov model went.

    Attributes:
        log_likelihood: ``float64[I]``, nats per frame, before each iteration.
        converged: whether the last gain was below the tolerance.
    """

    log_likelihood: np.ndarray
    converged: bool


class GaussianMixtureHMM:
    """A hidden Markov model with a full covariance per state, fitted by EM (Baum and Welch); guesses by its filter.

    Args:
        num_states: K.
        seed: of the clustering that EM starts from.
        ridge: added to the diagonals of the covariances, as a share of the signals' mean variance.

    Attributes:
        law: the fitted law, after :meth:`fit`: the reference classifiers of
            :mod:`~bisimgym.envs.markov_signal.filters` take it.
        names: ``int64[K]``, what :meth:`predict` says of each state; its number unless set.
    """

    def __init__(self, num_states: int = 3, seed: int = 0, ridge: float = 1e-6):
        if not ridge >= 0:
            raise ValueError(f"ridge must be at least 0, got {ridge!r}")
        self.num_states, self.seed, self.ridge = _checked_states(num_states), seed, ridge
        self.names = np.arange(num_states)
        self.law: SignalLaw | None = None

    def fit(self, signals: np.ndarray, max_iterations: int = 100, tolerance: float = 1e-5) -> EMHistory:
        """Fit the law to signals ``float[N, T, D]``, T at least 2.

        Args:
            max_iterations: at least 1.
            tolerance: gain of log-likelihood, in nats per frame, below which EM stops.

        Raises:
            ValueError: for signals of another shape, too few or not finite, or if a state dies out.
        """
        signals = np.asarray(signals)
        if signals.ndim != 3 or signals.shape[1] < 2:
            raise ValueError(f"signals must be [N, T, D] with at least two frames each, got shape {signals.shape}")
        if max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
        clusters = KMeansStates(self.num_states, self.seed).fit(signals).states(signals)
        smoothed = np.eye(self.num_states)[clusters]
        # Two frames in a row are in a pair of states as often as the clusters say, and in none never.
        pairs = np.einsum("nti,ntj->ij", smoothed[:, :-1], smoothed[:, 1:]) + 1
        ridge = self.ridge * float(signals.var(axis=(0, 1), dtype=np.float64).mean())
        gains: list[float] = []
        for _ in range(max_iterations):
            self.law = _maximised(signals, smoothed, pairs, ridge)
            smoothed, pairs, value = _expected(self.law, signals)
            gains.append(value / smoothed[..., 0].size)
            if len(gains) > 1 and gains[-1] - gains[-2] < tolerance:
                return EMHistory(np.array(gains), True)
        return EMHistory(np.array(gains), False)

    def predict(
        self,
        observation: np.ndarray,
        state: np.ndarray | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``int64[N]`` names of the most probable states and ``float64[N, K]`` beliefs: see ``ExactFilter``."""
        if self.law is None:
            raise ValueError("there is no law yet: call fit() first")
        states, belief = ExactFilter(self.law).predict(observation, state, episode_start, deterministic)
        return self.names[states], belief


def _expected(law: SignalLaw, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return ``float64[N, T, K]`` posteriors, ``float64[K, K]`` expected transitions and the log-likelihood."""
    filtered, smoothed = filter_posteriors(law, signals), smooth_posteriors(law, signals)
    predicted = np.empty_like(filtered)
    predicted[:, 0] = law.initial
    predicted[:, 1:] = filtered[:, :-1] @ law.transition_matrix
    predicted = np.maximum(predicted, 1e-300)
    densities = log_densities(law, signals.reshape(-1, law.dimension)).T.reshape(predicted.shape)
    highest = densities.max(axis=2, keepdims=True)
    likelihoods = np.log((predicted * np.exp(densities - highest)).sum(axis=2)) + highest[..., 0]
    ratio = smoothed[:, 1:] / predicted[:, 1:]
    pairs = law.transition_matrix * np.einsum("nti,ntj->ij", filtered[:, :-1], ratio)
    return smoothed, pairs, float(likelihoods.sum())


def _maximised(signals: np.ndarray, smoothed: np.ndarray, pairs: np.ndarray, ridge: float) -> SignalLaw:
    """Return the law that makes the expected log-likelihood largest."""
    dim = signals.shape[2]
    frames = signals.reshape(-1, dim).astype(np.float64)
    weights = smoothed.reshape(len(frames), -1)
    totals = weights.sum(axis=0)
    if totals.min() <= dim:
        raise ValueError(
            f"state {int(totals.argmin())} explains {totals.min():.1f} frames, too few for a covariance of {dim} "
            "channels: give more signals, fewer num_states or another seed"
        )
    means = weights.T @ frames / totals[:, None]
    covariances = np.empty((len(means), dim, dim))
    for k, mean in enumerate(means):
        centered = frames - mean
        covariances[k] = (centered * weights[:, k, None]).T @ centered / totals[k] + ridge * np.eye(dim)
    transition_matrix = pairs / pairs.sum(axis=1, keepdims=True)
    stationary = stationary_distribution(transition_matrix)
    initial = smoothed[:, 0].mean(axis=0)
    return SignalLaw(transition_matrix, stationary, initial, means, covariances, np.linalg.cholesky(covariances))


def _checked_states(num_states: Any) -> int:
    if isinstance(num_states, bool) or not isinstance(num_states, (int, np.integer)) or num_states < 2:
        raise ValueError(f"num_states must be an integer of at least 2, got {num_states!r}")
    return int(num_states)
