"""Hidden Markov chains with Gaussian emissions: chain, emission law and sampling of signals.

Source: Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics", arXiv:2211.09537. The
paper states the chain of its first experiment, the stationary distributions, and that each of three states emits
15-dimensional Gaussian vectors with a mean and a covariance of its own; it does not state the emissions' numbers or the
chain of its second experiment. Those are choices made here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from bisimgym.envs.checks import choice, integer, number, probabilities, real_array
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.seeds import generators

NUM_STATES_RANGE = range(2, 21)
MAX_DIMENSION = 1000
MAX_SEPARATION = 1000.0
MAX_EPISODE_LENGTH = 100_000
#: Eigenvalues of the covariances are uniform in this interval, so that the mean variance is 0.5.
VARIANCE_RANGE = (0.2, 0.8)

#: The stationary distributions of the paper's two experiments.
STATIONARY = {"uniform": (1 / 3, 1 / 3, 1 / 3), "skewed": (0.45, 0.35, 0.20)}
#: The family's k in both experiments: 0.025 to each other state in the first, as in the paper. The paper prints no
#: numbers for its second chain; the same k, and so the same relaxation time, is the choice made here.
SWITCHING = 0.075


def family_matrix(stationary: Sequence[float] | np.ndarray, k: float) -> np.ndarray:
    """Return ``float64[n, n]``: the chain ``(1 - k) I + k 1 pi^T``, reversible, with stationary distribution pi.

    With probability k the next state is drawn from pi, whatever the state. The eigenvalues are 1 and, n - 1 times,
    1 - k; state i lasts 1 / (k (1 - pi_i)) steps on average.

    Args:
        stationary: ``float[n]``, positive, sums to one.
        k: in (0, 1].

    Raises:
        ValueError: outside these ranges.
    """
    pi = probabilities("stationary", stationary)
    if pi.ndim != 1 or not (pi > 0).all():
        raise ValueError(f"stationary must be a vector of positive numbers that sum to one, got {stationary}")
    if not 0 < k <= 1:
        raise ValueError(f"k must be in (0, 1], got {k}")
    return (1 - k) * np.eye(len(pi)) + k * pi


#: The transition matrices that ``experiment`` names.
EXPERIMENTS = {name: family_matrix(pi, SWITCHING) for name, pi in STATIONARY.items()}


def stationary_distribution(matrix: Any) -> np.ndarray:
    """Return ``float64[n]``: the one distribution with pi P = pi (the left eigenvector of eigenvalue 1, sum one).

    By the elimination of Grassmann, Taksar and Heyman (1985), which subtracts nothing: every entry has full relative
    accuracy, however rare its state.

    Raises:
        ValueError: unless ``matrix`` is the transition matrix of an irreducible chain of 2 to 20 states.
    """
    reduced = _checked_chain(matrix)
    n = len(reduced)
    for k in range(n - 1, 0, -1):
        reduced[:k, k] /= reduced[k, :k].sum()
        reduced[:k, :k] += reduced[:k, k, None] * reduced[k, :k]
    pi = np.ones(n)
    for k in range(1, n):
        pi[k] = pi[:k] @ reduced[:k, k]
    return pi / pi.sum()


@dataclass(frozen=True, eq=False)
class SignalLaw:
    """A hidden Markov chain and what its states emit: state k emits N(means[k], covariances[k]).

    Attributes:
        transition_matrix: ``float64[n, n]``, rows sum to one.
        stationary: ``float64[n]``, the chain's stationary distribution.
        initial: ``float64[n]``, the distribution of the first state.
        means: ``float64[n, D]``.
        covariances: ``float64[n, D, D]``.
        factors: ``float64[n, D, D]``, lower triangular, with factors[k] factors[k]^T = covariances[k].

    All may be given in any real type.

    Raises:
        ValueError: for probabilities that are none.
    """

    transition_matrix: np.ndarray
    stationary: np.ndarray
    initial: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    factors: np.ndarray

    def __post_init__(self) -> None:
        for name in (field.name for field in dataclasses.fields(self)):
            take = probabilities if name in ("transition_matrix", "stationary", "initial") else real_array
            object.__setattr__(self, name, take(name, getattr(self, name)))
            getattr(self, name).flags.writeable = False

    @property
    def num_states(self) -> int:
        return self.means.shape[0]

    @property
    def dimension(self) -> int:
        return self.means.shape[1]

    @functools.cached_property
    def inverse_factors(self) -> np.ndarray:
        """``float64[n, D, D]``, lower triangular: whitens what a state emits."""
        return np.tril(np.linalg.inv(self.factors))


def signal_law(
    experiment: str | None = None,
    transition_matrix: Any = None,
    dimension: int = 15,
    separation: float = 2.5,
    emission_seed: int = 0,
    initial_state: int | None = None,
) -> SignalLaw:
    """Return the law of the signals, for the arguments of :class:`~bisimgym.envs.markov_signal.MarkovSignalEnv`.

    The means are the corners of a regular simplex around 0 with edge ``separation``, in a random orientation:
    means[k] = separation / sqrt(2) Q (e_k - 1/n), where Q has n orthonormal columns. The covariances are
    R_k diag(lambda) R_k^T with a random orthogonal matrix R_k and lambda uniform in [0.2, 0.8].

    The generator ``PCG64(emission_seed)`` gives, in this order: D x n Gaussians for Q; then, for each state in turn,
    D x D Gaussians for R_k and D uniforms for lambda. Q and R_k are the QR decompositions' orthogonal parts, with the
    signs that make the triangular parts' diagonals positive.

    Raises:
        ValueError: for an argument out of range (the message names it).
    """
    if experiment is not None and transition_matrix is not None:
        raise ValueError(f"give experiment or transition_matrix, not both: got experiment={experiment!r} and a matrix")
    if experiment is not None:
        choice("experiment", experiment, EXPERIMENTS, " (for another chain give transition_matrix)")
    chain = _checked_chain(EXPERIMENTS[experiment or "uniform"] if transition_matrix is None else transition_matrix)
    n = len(chain)
    integer("dimension", dimension, n, MAX_DIMENSION, " (at least the number of states)")
    integer("emission_seed", emission_seed, 0, 2**64 - 1)
    number("separation", separation, 0, MAX_SEPARATION)
    stationary = stationary_distribution(chain)
    initial = stationary.copy()
    if initial_state is not None:
        integer("initial_state", initial_state, 0, n - 1, ", or None to draw it from the stationary law")
        initial = np.eye(n)[initial_state]

    rng = np.random.Generator(np.random.PCG64(int(emission_seed)))
    means = separation / np.sqrt(2) * (np.eye(n) - 1 / n) @ _orthonormal(rng.standard_normal((dimension, n))).T
    covariances = np.empty((n, dimension, dimension))
    for k in range(n):
        axes = _orthonormal(rng.standard_normal((dimension, dimension)))
        covariances[k] = (axes * rng.uniform(*VARIANCE_RANGE, dimension)) @ axes.T
    covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
    return SignalLaw(chain, stationary, initial, means, covariances, np.linalg.cholesky(covariances))


def _orthonormal(gaussian: np.ndarray) -> np.ndarray:
    q, r = np.linalg.qr(gaussian)
    return q * np.sign(np.diagonal(r))


def _checked_chain(matrix: Any) -> np.ndarray:
    """Return a fresh ``float64[n, n]`` copy with rows that sum to one, of an irreducible transition matrix."""
    name = "transition_matrix"
    try:
        chain = real_array(name, matrix)
    except ValueError as error:
        raise ValueError(f"{name} must be a square matrix of numbers (a list of equally long rows): {error}") from None
    if chain.ndim != 2 or chain.shape[0] != chain.shape[1] or len(chain) not in NUM_STATES_RANGE:
        raise ValueError(
            f"{name} must be n x n with n from {NUM_STATES_RANGE[0]} to {NUM_STATES_RANGE[-1]}, got shape {chain.shape}"
        )
    chain = probabilities(name, chain)
    reached = np.linalg.matrix_power((chain > 0) + np.eye(len(chain)), len(chain)) > 0
    if not reached.all():
        lacking = "; ".join(
            f"state {i} cannot reach {np.flatnonzero(~row).tolist()}" for i, row in enumerate(reached) if not row.all()
        )
        raise ValueError(
            f"{name} must be irreducible (every state reachable from every other), but {lacking}: give those "
            "transitions a positive probability, or drop the states that are left for good"
        )
    return chain


def draw_signals(law: SignalLaw, seeds: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``float32[N, length, D]`` signals and ``int8[N, length]`` hidden states, one sequence per seed.

    Each seed's generator gives ``length`` uniforms for the states, then ``length`` x D float32 Gaussians for the
    emissions. The bits of a sequence do not depend on which others are drawn with it.

    Args:
        seeds: ``uint64[N]``.
    """
    uniforms = np.empty((len(seeds), length))
    signals = np.empty((len(seeds), length, law.dimension), dtype=np.float32)
    for i, generator in enumerate(generators(seeds)):
        generator.random(out=uniforms[i])
        generator.standard_normal(dtype=np.float32, out=signals[i])
    hidden = hidden_states(law, uniforms)
    _color(law, hidden.ravel(), signals.reshape(-1, law.dimension))
    return signals, hidden


def sample_signals(law: SignalLaw, num_sequences: int, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a data set: ``float32[B, T, D]`` signals and ``int64[B, T]`` hidden states.

    Sequence b is the episode of ``MarkovSignalEnv(..., episode_length=length - 1)`` after b + 1 resets, the first of
    them ``reset(seed=seed)``: what ``reset`` and the ``length - 1`` steps show. Different seeds give different data.

    Args:
        num_sequences: B, at least 1.
        length: T in frames, at least 1.
        seed: of the trajectories, at least 0; the emissions belong to the law.
    """
    integer("num_sequences", num_sequences, 1, 2**31 - 1)
    integer("length", length, 1, MAX_EPISODE_LENGTH + 1)
    integer("seed", seed, 0, 2**64 - 1)
    seeds = seeding.np_random(seed)[0].bit_generator.random_raw(int(num_sequences))
    signals, hidden = draw_signals(law, seeds, int(length))
    return signals, hidden.astype(np.int64)


def hidden_states(law: SignalLaw, uniforms: np.ndarray) -> np.ndarray:
    """Return ``int8[N, T]``: the states that uniforms, ``float64[N, T]``, lead through by inversion.

    The cumulative probabilities of all rows together cut [0, 1) into intervals, within which a uniform has one
    meaning: what is left to do step by step is one look-up, ``lookup[interval, state]``. The first uniform is read
    in an extra row, which holds the initial distribution.
    """
    rows = np.vstack([law.transition_matrix, law.initial])
    cumulative = rows.cumsum(axis=1)
    cumulative[rows[:, ::-1].cumsum(axis=1)[:, ::-1] - rows <= 0] = 1.0  # rounding must not leave room for more states
    cuts = np.unique(cumulative)
    lower = np.concatenate([[0.0], cuts])
    lookup = (cumulative[:, :-1] <= lower[:, None, None]).sum(axis=2)  # [interval, row]
    num_rows = len(rows)
    interval = np.searchsorted(cuts, uniforms.T, side="right") * num_rows
    hidden = np.empty(interval.shape, dtype=np.int8)
    state = np.full(interval.shape[1], num_rows - 1)
    for t, offset in enumerate(interval):
        state = lookup.take(offset + state)
        hidden[t] = state
    return np.ascontiguousarray(hidden.T)


def _color(law: SignalLaw, hidden: np.ndarray, frames: np.ndarray, block: int = 16384) -> None:
    """Turn standard Gaussians, ``float32[M, D]``, into emissions of the states, ``int[M]``, in place."""
    means, factors = law.means.astype(np.float32), law.factors.astype(np.float32)
    for start in range(0, len(frames), block):  # blocks stay in the cache
        for k in range(law.num_states):
            rows = start + np.flatnonzero(hidden[start : start + block] == k)
            frames[rows] = triangular_map(factors[k], means[k], frames[rows].T).T


def triangular_map(lower: np.ndarray, offset: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return ``float[..., D, M]``: ``offset + lower @ columns`` for lower triangular matrices.

    Sums are taken term by term. The last bits of a column then depend on that column alone, which BLAS does not
    promise: its kernels differ with the number of columns and between machines.

    Args:
        lower: ``float[..., D, D]``.
        offset: ``float[..., D]``.
        columns: ``float[D, M]``.
    """
    columns = np.ascontiguousarray(columns)
    result = np.repeat(offset[..., None], columns.shape[1], axis=-1)
    for i, column in enumerate(columns):
        result[..., i:, :] += lower[..., i:, i, None] * column
    return result


def signal_mdp(law: SignalLaw) -> FiniteMDP:
    """Return the hidden process behind the task: the state is hidden no more, and a right guess earns 1.

    It never ends (the episode's length is a time limit), and actions do not move it.
    """
    n = law.num_states
    return FiniteMDP(
        transition=np.repeat(law.transition_matrix[:, None], n, axis=1),
        reward=np.eye(n),
        terminal=np.zeros(n, dtype=bool),
        state_names=tuple(f"state {k}" for k in range(n)),
    )
