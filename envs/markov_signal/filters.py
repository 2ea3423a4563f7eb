"""Reference classifiers of Markov signals. They know the law and learn nothing.

The agents classify online, one frame at a time, through the agent protocol; the functions classify whole sequences. All
go through the same term-by-term arithmetic, so that online and whole-sequence results are equal to the last bit.
"""

from __future__ import annotations

import numpy as np

from bisimgym.envs.checks import first_bad, real_array
from bisimgym.envs.markov_signal.hmm import SignalLaw, triangular_map


def log_densities(law: SignalLaw, frames: np.ndarray, block: int = 2048) -> np.ndarray:
    """Return ``float64[n, M]``: log N(frame; means[k], covariances[k]) of every state k and frame.

    Args:
        frames: ``float[M, D]``.
    """
    offsets = -np.einsum("kij,kj->ki", law.inverse_factors, law.means)
    log_diagonals = np.log(np.diagonal(law.factors, axis1=1, axis2=2)).sum(axis=1)
    constants = -log_diagonals - law.dimension / 2 * np.log(2 * np.pi)
    result = np.repeat(constants[:, None], len(frames), axis=1)
    for start in range(0, len(frames), block):  # blocks stay in the cache
        columns = frames[start : start + block].T.astype(np.float64)
        white = triangular_map(law.inverse_factors, offsets, columns)
        white *= white
        for channel in range(law.dimension):
            result[:, start : start + block] -= white[:, channel] / 2
    return result


def filter_posteriors(law: SignalLaw, signals: np.ndarray) -> np.ndarray:
    """Return ``float64[B, T, n]``: the probability of each state given the frames up to and with its own.

    Args:
        signals: ``float[B, T, D]``.

    Raises:
        ValueError: for another shape, no frames, and what is not finite; so do the functions below.
    """
    return np.ascontiguousarray(_forward(law, signals)[0].transpose(2, 0, 1))


def smooth_posteriors(law: SignalLaw, signals: np.ndarray) -> np.ndarray:
    """Return ``float64[B, T, n]``: the probability of each state given the whole sequence (forward-backward).

    Args:
        signals: ``float[B, T, D]``.
    """
    smoothed, predicted = _forward(law, signals)
    for t in range(len(smoothed) - 2, -1, -1):
        # Where nothing was predicted there is nothing to smooth: the floor only keeps 0 / 0 away.
        ratio = smoothed[t + 1] / np.maximum(predicted[t + 1], 1e-300)
        smoothed[t] *= _product(law.transition_matrix.T, ratio)
    return np.ascontiguousarray(smoothed.transpose(2, 0, 1))


def filter_states(law: SignalLaw, signals: np.ndarray) -> np.ndarray:
    """Return ``int64[B, T]``: the most probable states of :func:`filter_posteriors`, the online optimum."""
    return filter_posteriors(law, signals).argmax(axis=2)


def smooth_states(law: SignalLaw, signals: np.ndarray) -> np.ndarray:
    """Return ``int64[B, T]``: the most probable states of :func:`smooth_posteriors`, the offline optimum."""
    return smooth_posteriors(law, signals).argmax(axis=2)


def frame_states(law: SignalLaw, signals: np.ndarray) -> np.ndarray:
    """Return ``int64[..., T]``: the most probable state of every frame by itself, with the stationary prior."""
    signals = _checked(law, signals)
    scores = log_densities(law, signals.reshape(-1, law.dimension)) + np.log(law.stationary)[:, None]
    return scores.argmax(axis=0).reshape(signals.shape[:-1])


class ExactFilter:
    """The Bayes-optimal online classifier: the forward filter. No agent that sees only signals does better on average.

    An agent of the protocol of Stable-Baselines3. It keeps nothing between calls: what it believes, ``float64[N, n]``
    probabilities, is the ``state`` that ``predict`` takes and returns.
    """

    def __init__(self, law: SignalLaw):
        self.law = law

    def predict(
        self,
        observation: np.ndarray,
        state: np.ndarray | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``int64[N]`` most probable states and ``float64[N, n]`` beliefs.

        Args:
            observation: ``float32[N, D]``.
            state: what the last call returned, or None at the start.
            episode_start: ``bool[N]``, rows whose belief starts from the law's initial distribution (all if ``state``
                is None).
            deterministic: has no influence; the classifier draws nothing.
        """
        frames = _frames(self.law, observation)
        predicted = np.repeat(self.law.initial[:, None], len(frames), axis=1)
        if state is not None:
            going_on = ~np.asarray(np.zeros(len(frames)) if episode_start is None else episode_start, dtype=bool)
            predicted[:, going_on] = _product(self.law.transition_matrix, np.ascontiguousarray(state[going_on].T))
        belief = _updated(predicted, log_densities(self.law, frames))
        return belief.argmax(axis=0), np.ascontiguousarray(belief.T)


class FrameMAP:
    """The most probable state of each frame by itself, with the stationary prior: the best without memory."""

    def __init__(self, law: SignalLaw):
        self.law = law

    def predict(
        self,
        observation: np.ndarray,
        state: None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, None]:
        """Return ``int64[N]`` states of ``float32[N, D]`` frames, and None; the other arguments have no influence."""
        return frame_states(self.law, _frames(self.law, observation)), None


def _frames(law: SignalLaw, observation: np.ndarray) -> np.ndarray:
    frames = np.asarray(observation)
    if frames.ndim != 2 or frames.shape[1] != law.dimension:
        raise ValueError(f"observation must be [N, {law.dimension}], one frame per environment, got {frames.shape}")
    return frames


def _forward(law: SignalLaw, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``float64[T, n, B]`` probabilities of the states: given the frames up to now, and up to the one before."""
    signals = _checked(law, signals)
    if signals.ndim != 3:
        raise ValueError(f"signals must be [B, T, {law.dimension}], got {signals.shape}")
    batch, length = signals.shape[:2]
    densities = log_densities(law, signals.swapaxes(0, 1).reshape(-1, law.dimension))
    densities = np.ascontiguousarray(densities.reshape(-1, length, batch).swapaxes(0, 1))
    filtered, predicted = np.empty_like(densities), np.empty_like(densities)
    next_belief = np.repeat(law.initial[:, None], batch, axis=1)
    for t in range(length):
        predicted[t] = next_belief
        filtered[t] = _updated(next_belief, densities[t])
        next_belief = _product(law.transition_matrix, filtered[t])
    return filtered, predicted


def _checked(law: SignalLaw, signals: np.ndarray) -> np.ndarray:
    """Return signals as ``float64[..., T, D]``, or raise ``ValueError``."""
    signals = real_array("signals", signals)
    if signals.ndim < 2 or signals.shape[-1] != law.dimension or 0 in signals.shape:
        raise ValueError(f"signals must be [..., T, {law.dimension}] of at least one frame, got {signals.shape}")
    if not np.isfinite(signals).all():
        raise ValueError(f"signals must be finite, got {first_bad(signals, ~np.isfinite(signals))}")
    return signals


def _product(matrix: np.ndarray, belief: np.ndarray) -> np.ndarray:
    """Return ``float64[n, N]``: ``matrix.T @ belief``, term by term (see :func:`triangular_map`)."""
    result = matrix[0, :, None] * belief[0]
    for row, probability in zip(matrix[1:], belief[1:], strict=True):
        result += row[:, None] * probability
    return result


def _updated(predicted: np.ndarray, densities: np.ndarray) -> np.ndarray:
    """Return ``float64[n, N]``: Bayes' rule with log densities, shifted so that the likeliest state cannot vanish."""
    with np.errstate(divide="ignore"):
        scores = np.log(predicted) + densities
    weights = np.exp(scores - scores.max(axis=0))
    return weights / weights.cumsum(axis=0)[-1]  # unlike sum, cumsum adds in one order whatever the shape
