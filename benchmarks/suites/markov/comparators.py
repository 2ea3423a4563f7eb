"""Unsupervised comparators: k-means on frames, by scikit-learn, and a Gaussian hidden Markov model, by hmmlearn.

Both find clusters, whose numbers mean nothing: a matching with the true states gives them names.
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from bisimgym.benchmarks.errors import UserError
from bisimgym.envs.markov_signal import SignalLaw, stationary_distribution

#: Gain of log-likelihood, in nats per frame, below which EM stops; and iterations, at most.
_TOLERANCE, _ITERATIONS = 1e-5, 100


class KMeansStates:
    """K clusters of frames ``float[..., D]``, found by k-means: the best of ten starts (k-means++).

    Attributes:
        centers: ``float64[K, D]``.
    """

    def __init__(self, frames: np.ndarray, num_states: int, seed: int):
        self._means = KMeans(num_states, n_init=10, random_state=seed).fit(_rows(frames))
        self.centers: np.ndarray = self._means.cluster_centers_

    def states(self, frames: np.ndarray) -> np.ndarray:
        """Return the nearest centers, ``int64[...]``, of frames ``float[..., D]``."""
        return self._means.predict(_rows(frames)).astype(np.int64).reshape(frames.shape[:-1])


def _rows(frames: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frames.reshape(-1, frames.shape[-1]), dtype=np.float64)


def fitted_law(signals: np.ndarray, num_states: int, seed: int) -> SignalLaw:
    """Return the hidden Markov model, with a full covariance per state, that EM (Baum and Welch) fits to signals.

    EM starts from the clusters of :class:`KMeansStates` and how often they follow each other: from random transitions
    it takes ten times as many iterations. Signals are ``float[N, T, D]``; the classifiers of
    :mod:`~bisimgym.envs.markov_signal.filters` take the law.
    """
    try:
        from hmmlearn.hmm import GaussianHMM
    except ImportError as error:  # it has no wheel for the newest Pythons: what goes without it works there
        raise UserError('the method gmm-hmm needs hmmlearn: pip install "hmmlearn>=0.3.3"') from error
    clusters = KMeansStates(signals, num_states, seed)
    labels = clusters.states(signals)
    pairs = np.ones((num_states, num_states))
    np.add.at(pairs, (labels[:, :-1], labels[:, 1:]), 1)
    frames = _rows(signals)
    # hmmlearn draws the rest of its start: the first state's distribution and covariances, by the letters s and c.
    model = GaussianHMM(
        num_states, "full", random_state=seed, n_iter=_ITERATIONS, tol=_TOLERANCE * len(frames), init_params="sc"
    )
    model.means_, model.transmat_ = clusters.centers, pairs / pairs.sum(axis=1, keepdims=True)
    model.fit(frames, lengths=[signals.shape[1]] * len(signals))
    covariances = np.array(model.covars_)
    return SignalLaw(
        transition_matrix=model.transmat_,
        stationary=stationary_distribution(model.transmat_),
        initial=model.startprob_,
        means=model.means_,
        covariances=covariances,
        factors=np.linalg.cholesky(covariances),
    )
