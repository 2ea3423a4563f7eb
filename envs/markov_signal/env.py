"""Noisy signals of a hidden Markov chain: chain, emission law, generation, task and environments.

Source: Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics", arXiv:2211.09537. The
paper states the chain of its first experiment, the stationary distributions, and that each of three states emits
15-dimensional Gaussian vectors with a mean and a covariance of its own; it does not state the emissions' numbers or the
chain of its second experiment. Those are choices made here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode

from bisimgym.envs import drawing as raster
from bisimgym.envs.array_task import BatchedEnv, BatchedVectorEnv
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

    With probability k the next state is drawn anew from pi. The eigenvalues are 1 and, n - 1 times, 1 - k; state i
    lasts 1 / (k (1 - pi_i)) steps on average.

    Args:
        stationary: ``float[n]``, positive, sums to one.
        k: in (0, 1].

    Raises:
        ValueError: outside these ranges.
    """
    pi = np.asarray(stationary, dtype=np.float64)
    if pi.ndim != 1 or not (pi > 0).all() or not abs(pi.sum() - 1) <= 1e-8:
        raise ValueError(f"stationary must be a vector of positive numbers that sum to one, got {stationary}")
    if not 0 < k <= 1:
        raise ValueError(f"k must be in (0, 1], got {k}")
    return (1 - k) * np.eye(len(pi)) + k * pi / pi.sum()


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
    """

    transition_matrix: np.ndarray
    stationary: np.ndarray
    initial: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    factors: np.ndarray

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            getattr(self, field.name).flags.writeable = False

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
    """Return the law of the signals, for the arguments of :class:`MarkovSignalEnv`.

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
    if experiment not in (None, *EXPERIMENTS):
        raise ValueError(
            f"experiment must be one of {list(EXPERIMENTS)}, got {experiment!r}; for another chain give "
            "transition_matrix"
        )
    chain = _checked_chain(EXPERIMENTS[experiment or "uniform"] if transition_matrix is None else transition_matrix)
    n = len(chain)
    _check_integer("dimension", dimension, n, MAX_DIMENSION, " (at least the number of states)")
    _check_integer("emission_seed", emission_seed, 0, 2**64 - 1)
    number = isinstance(separation, (int, float, np.integer, np.floating)) and not isinstance(separation, bool)
    if not number or not 0 <= separation <= MAX_SEPARATION:
        raise ValueError(f"separation must be a number from 0 to {MAX_SEPARATION:g}, got {separation!r}")
    stationary = stationary_distribution(chain)
    initial = stationary.copy()
    if initial_state is not None:
        _check_integer("initial_state", initial_state, 0, n - 1, ", or None to draw it from the stationary law")
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


def _check_integer(name: str, value: Any, low: int, high: int, hint: str = "") -> None:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}{hint}, got {value!r}")


def _checked_chain(matrix: Any) -> np.ndarray:
    """Return a fresh ``float64[n, n]`` copy with rows that sum to one, of an irreducible transition matrix."""
    name = "transition_matrix"
    try:
        chain = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a square matrix of numbers (a list of equally long rows)") from None
    if chain.ndim != 2 or chain.shape[0] != chain.shape[1] or len(chain) not in NUM_STATES_RANGE:
        raise ValueError(
            f"{name} must be n x n with n from {NUM_STATES_RANGE[0]} to {NUM_STATES_RANGE[-1]}, got shape {chain.shape}"
        )
    bad = ~(np.isfinite(chain) & (chain >= 0))
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise ValueError(f"{name} must hold probabilities from 0 to 1, got {chain[i, j]} in row {i}, column {j}")
    total = chain.sum(axis=1)
    row = int(np.abs(total - 1).argmax())
    if abs(total[row] - 1) > 1e-8:
        raise ValueError(
            f"every row of {name} must sum to one, row {row} sums to {total[row]:.10g}: divide each row by its sum"
        )
    reached = np.linalg.matrix_power((chain > 0) + np.eye(len(chain)), len(chain)) > 0
    if not reached.all():
        lacking = "; ".join(
            f"state {i} cannot reach {np.flatnonzero(~row).tolist()}" for i, row in enumerate(reached) if not row.all()
        )
        raise ValueError(
            f"{name} must be irreducible (every state reachable from every other), but {lacking}: give those "
            "transitions a positive probability, or drop the states that are left for good"
        )
    return chain / total[:, None]


def draw_signals(law: SignalLaw, words: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``float32[N, length, D]`` signals and ``int8[N, length]`` hidden states, one sequence per word.

    Each word's generator gives ``length`` uniforms for the states, then ``length`` x D float32 Gaussians for the
    emissions. The bits of a sequence do not depend on which others are drawn with it.

    Args:
        words: ``uint64[N]``.
    """
    uniforms = np.empty((len(words), length))
    signals = np.empty((len(words), length, law.dimension), dtype=np.float32)
    for i, generator in enumerate(generators(words)):
        generator.random(out=uniforms[i])
        generator.standard_normal(dtype=np.float32, out=signals[i])
    hidden = _chains(law, uniforms)
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
    _check_integer("num_sequences", num_sequences, 1, 2**31 - 1)
    _check_integer("length", length, 1, MAX_EPISODE_LENGTH + 1)
    _check_integer("seed", seed, 0, 2**64 - 1)
    words = seeding.np_random(seed)[0].bit_generator.random_raw(int(num_sequences))
    signals, hidden = draw_signals(law, words, int(length))
    return signals, hidden.astype(np.int64)


def _chains(law: SignalLaw, uniforms: np.ndarray) -> np.ndarray:
    """Return ``int8[N, T]``: the states that uniforms, ``float64[N, T]``, lead through by inversion.

    The cumulative probabilities of all rows together cut [0, 1) into intervals, within which a uniform has one
    meaning: what is left to do step by step is one look-up, ``following[interval, state]``. The first uniform is read
    in an extra row, which holds the initial distribution.
    """
    rows = np.vstack([law.transition_matrix, law.initial])
    cumulative = rows.cumsum(axis=1)
    cumulative[rows[:, ::-1].cumsum(axis=1)[:, ::-1] - rows <= 0] = 1.0  # rounding must not leave room for more states
    cuts = np.unique(cumulative)
    lower = np.concatenate([[0.0], cuts])
    following = (cumulative[:, :-1] <= lower[:, None, None]).sum(axis=2)  # [interval, row]
    num_rows = len(rows)
    interval = np.searchsorted(cuts, uniforms.T, side="right") * num_rows
    hidden = np.empty(interval.shape, dtype=np.int8)
    state = np.full(interval.shape[1], num_rows - 1)
    for t, offset in enumerate(interval):
        state = following.take(offset + state)
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

    It goes on for ever (the episode's length is a time limit), and actions do not move it.
    """
    n = law.num_states
    return FiniteMDP(
        transition=np.repeat(law.transition_matrix[:, None], n, axis=1),
        reward=np.eye(n),
        terminal=np.zeros(n, dtype=bool),
        state_names=tuple(f"state {k}" for k in range(n)),
    )


@dataclass(frozen=True)
class SignalState:
    """N episodes of T guesses.

    Attributes:
        signals: ``float32[N, T + 1, D]``, all frames of the episode, drawn at its start.
        hidden: ``int8[N, T + 1]``, the states that emitted them.
        guesses: ``int8[N, T + 1]``, -1 where none was made; none is made of the last frame.
        step: ``int64[N]``, guesses made so far.
    """

    signals: np.ndarray
    hidden: np.ndarray
    guesses: np.ndarray
    step: np.ndarray


class MarkovSignalTask:
    """The array task behind both environments."""

    render_fps = 15
    draws_ahead = False
    informs_every_step = False

    def __init__(self, law: SignalLaw, episode_length: int):
        _check_integer("episode_length", episode_length, 1, MAX_EPISODE_LENGTH)
        self.law = law
        self.episode_length = int(episode_length)
        bound = np.finfo(np.float32).max
        self.observation_space = spaces.Box(-bound, bound, (law.dimension,), np.float32)
        self.action_space = spaces.Discrete(law.num_states)

    def initial(self, words: np.ndarray, options: Mapping[str, Any]) -> SignalState:
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}: this task has none")
        signals, hidden = draw_signals(self.law, words, self.episode_length + 1)
        return SignalState(signals, hidden, np.full_like(hidden, -1), np.zeros(len(words), dtype=np.int64))

    def transition(self, state: SignalState, action: np.ndarray):
        rows = np.arange(len(state.step))
        guesses = state.guesses.copy()
        guesses[rows, state.step] = action
        step = state.step + 1
        reward = (state.hidden[rows, state.step] == action).astype(np.float64)
        following = dataclasses.replace(state, guesses=guesses, step=step)
        return following, reward, np.zeros(len(rows), dtype=bool), step >= self.episode_length

    def observe(self, state: SignalState) -> np.ndarray:
        return state.signals[np.arange(len(state.step)), state.step]

    def reset_info(self, state: SignalState) -> dict[str, np.ndarray]:
        return {}

    def final_info(self, state: SignalState) -> dict[str, np.ndarray]:
        return {"accuracy": (state.guesses == state.hidden).sum(axis=1) / self.episode_length}

    def optimal_action(self, state: SignalState) -> np.ndarray:
        return state.hidden[np.arange(len(state.step)), state.step].astype(np.int64)

    def optimal_return(self, state: SignalState) -> np.ndarray:
        return np.full(len(state.step), float(self.episode_length))

    def random_return(self, state: SignalState) -> np.ndarray:
        return np.full(len(state.step), self.episode_length / self.law.num_states)

    def frame(self, state: SignalState, index: int) -> np.ndarray:
        return draw(self.law, state, index)

    def caption(self, state: SignalState, index: int) -> str:
        step = int(state.step[index])
        right = int((state.guesses[index] == state.hidden[index]).sum())
        accuracy = f", {right / step:.1%} right" if step else ""
        return f"Markov signal: guess {step} of {self.episode_length}{accuracy}"


_COLUMNS, _COLUMN_WIDTH = 100, 6  # frames shown, pixels of each
_MARGIN, _LEGEND_WIDTH, _SIGNAL_HEIGHT, _STRIP_HEIGHT, _TICK_HEIGHT, _BAR_HEIGHT = 14, 6, 240, 24, 6, 6
_BACKGROUND, _EMPTY, _BAR, _WRONG = (24, 28, 48), (36, 41, 64), (196, 202, 220), (240, 60, 60)
#: Colors of values from -1 to 1, interpolated between these.
_VALUES = np.array([(190, 226, 255), (58, 124, 200), (18, 21, 36), (200, 92, 52), (255, 222, 160)])


def draw(law: SignalLaw, state: SignalState, index: int) -> np.ndarray:
    """Return a picture of one episode up to now for people, ``uint8[360, 640, 3]``; time runs to the right.

    From the top: the last 100 frames, one row per channel, blue below and orange above zero; the true states and the
    guesses, each in its color, with a red tick beneath every wrong guess; and how much of the episode is over. A bright
    cell marks the frame to be guessed, whose true state is not shown. Channels are sorted by the state in which they
    are highest on average, which the colors on the left tell.
    """
    step = int(state.step[index])
    first = max(step + 1 - _COLUMNS, 0)
    guesses, hidden = state.guesses[index, first:step], state.hidden[index, first:step]
    favourite = law.means.argmax(axis=0)
    channels = np.lexsort((-law.means.max(axis=0), favourite))
    lines = channels[np.arange(_SIGNAL_HEIGHT) * law.dimension // _SIGNAL_HEIGHT]
    scale = np.abs(law.means).max() + 2 * np.sqrt(sum(VARIANCE_RANGE) / 2)
    palette = _state_colors(law.num_states)

    left, strips_top = _MARGIN + 2 * _LEGEND_WIDTH, _MARGIN + _SIGNAL_HEIGHT + 12
    height = strips_top + 2 * (_STRIP_HEIGHT + 4) + _TICK_HEIGHT + 12 + _BAR_HEIGHT + _MARGIN
    image = raster.canvas(left + _COLUMNS * _COLUMN_WIDTH + _MARGIN, height, _BACKGROUND)

    def paint(top: int, pixels: np.ndarray, height: int | None = None) -> None:
        """Paint one color per column, ``[C, 3]``, or a picture of C columns, ``[H, C, 3]``."""
        pixels = pixels if height is None else np.broadcast_to(pixels, (height, *pixels.shape))
        wide = pixels.repeat(_COLUMN_WIDTH, axis=1)
        image[top : top + len(wide), left : left + wide.shape[1]] = wide

    blank = np.full((_COLUMNS, 3), _EMPTY)
    image[_MARGIN : _MARGIN + _SIGNAL_HEIGHT, _MARGIN : _MARGIN + _LEGEND_WIDTH] = palette[favourite[lines]][:, None]
    paint(_MARGIN, blank, _SIGNAL_HEIGHT)
    paint(_MARGIN, _value_colors(state.signals[index, first : step + 1].T[lines] / scale))
    for top, labels, now in ((strips_top, hidden, _EMPTY), (strips_top + _STRIP_HEIGHT + 4, guesses, _BAR)):
        paint(top, blank, _STRIP_HEIGHT)
        paint(top, np.vstack([palette[labels], now]), _STRIP_HEIGHT)
    ticks = np.where((guesses != hidden)[:, None], _WRONG, _BACKGROUND)
    paint(strips_top + 2 * (_STRIP_HEIGHT + 4), ticks, _TICK_HEIGHT)
    width = _COLUMNS * _COLUMN_WIDTH
    raster.rectangle(image, left, _MARGIN, width, _BAR_HEIGHT, _EMPTY)
    raster.rectangle(image, left, _MARGIN, width * step // (state.hidden.shape[1] - 1), _BAR_HEIGHT, _BAR)
    return image


def _value_colors(values: np.ndarray) -> np.ndarray:
    """Return ``uint8[..., 3]``: diverging colors of values from -1 to 1, dark at zero."""
    positions = np.linspace(-1, 1, len(_VALUES))
    return np.stack([np.interp(values, positions, channel) for channel in _VALUES.T], axis=-1).astype(np.uint8)


def _state_colors(count: int) -> np.ndarray:
    """Return ``uint8[count, 3]``: hues a golden ratio of the circle apart, so that any few of them differ well."""
    hue = (0.13 + np.arange(count) * 0.6180339887) % 1
    pure = np.clip(np.abs((hue[:, None] * 6 + [0, 4, 2]) % 6 - 3) - 1, 0, 1)
    return (255 * (0.36 + 0.52 * pure)).astype(np.uint8)


class MarkovSignalEnv(BatchedEnv):
    """Tell the hidden state of a Markov chain from its noisy signals, online.

    ## Description
    A hidden Markov chain of three states takes one step per time step. In each state it emits a 15-dimensional Gaussian
    vector whose mean and covariance belong to the state. The agent sees one vector at a time and says which state
    emitted it. A single vector leaves doubt (at best 95.4 % of the guesses are right with the default settings); states
    last 20 steps on average, so an agent that remembers does better (at best 98.7 %). Two histories behave alike when
    they leave the same belief about the hidden state.

    ## Action space
    ``Discrete(3)``, or as many as there are states: the guess of the state that emitted the frame just shown. Guesses
    have no influence on the chain or on what is shown.

    ## Observation space
    ``Box(-3.4e38, 3.4e38, (15,), float32)``: one frame of the signal, without a unit. With the default settings the
    means lie 1.44 from the origin and 2.5 from each other, and the noise of a channel has a variance of 0.2 to 0.8.

    ## Reward
    1 if the guess is the hidden state, else 0. The best return is ``episode_length``. Only the oracle
    (``optimal_action``), which sees the hidden state, reaches it: no agent that sees the signals can. Their bound is
    the exact filter, :class:`bisimgym.envs.markov_signal.filters.ExactFilter`.

    ## Start and end
    The first state is drawn from the stationary distribution (or is ``initial_state``). The episode is truncated after
    ``episode_length`` guesses and never terminates; its last observation is a real next frame, which is not guessed. At
    the end ``info["accuracy"]`` is the fraction of right guesses. Nothing tells the hidden state before, except the
    rewards and the picture, which shows it once it has been guessed.

    ## Arguments
    * ``experiment``: "uniform" (default; each state goes to each other one with probability 0.025) or "skewed"
      (stationary distribution 0.45, 0.35, 0.20); or
    * ``transition_matrix``: any irreducible chain of 2 to 20 states, a list of rows that sum to one.
    * ``dimension``: of the signal, from the number of states to 1000 (default 15).
    * ``separation``: distance of any two means, 0 to 1000 (default 2.5).
    * ``emission_seed``: of means and covariances (default 0), apart from the seeds of episodes: training and test
      episodes share what the states emit.
    * ``episode_length``: guesses, 1 to 100000 (default 200).
    * ``initial_state``: a state's number, or None (default).
    * ``render_mode``: "rgb_array" or "human".

    Vector environments also take ``num_envs`` and ``autoreset_mode`` ("SameStep", the default, "NextStep" or
    "Disabled"). ``env.unwrapped.law`` is the :class:`SignalLaw`.

    ## Source
    Koop et al. (2022), arXiv:2211.09537: the chain of "uniform", both stationary distributions and the shape of the
    emissions. The numbers of the emissions and the chain of "skewed" (its matrix is (1 - k) I + k 1 pi^T with the k of
    "uniform", 0.075) are choices made here, because the paper does not print its own. Accuracies are therefore not
    comparable with the paper's number by number: compare with the exact filter.

    ## Version history
    * v0: first version.
    """

    def __init__(
        self,
        experiment: str | None = None,
        transition_matrix: Any = None,
        dimension: int = 15,
        separation: float = 2.5,
        emission_seed: int = 0,
        episode_length: int = 200,
        initial_state: int | None = None,
        render_mode: str | None = None,
    ):
        law = signal_law(experiment, transition_matrix, dimension, separation, emission_seed, initial_state)
        super().__init__(MarkovSignalTask(law, episode_length), render_mode)

    @property
    def law(self) -> SignalLaw:
        return self.task.law

    def mdp(self) -> FiniteMDP:
        """Return the hidden process as arrays (see :func:`signal_mdp`)."""
        return signal_mdp(self.law)


class MarkovSignalVectorEnv(BatchedVectorEnv):
    __doc__ = MarkovSignalEnv.__doc__

    def __init__(
        self,
        num_envs: int = 1,
        experiment: str | None = None,
        transition_matrix: Any = None,
        dimension: int = 15,
        separation: float = 2.5,
        emission_seed: int = 0,
        episode_length: int = 200,
        initial_state: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
    ):
        law = signal_law(experiment, transition_matrix, dimension, separation, emission_seed, initial_state)
        super().__init__(MarkovSignalTask(law, episode_length), num_envs, render_mode, autoreset_mode)

    @property
    def law(self) -> SignalLaw:
        return self.task.law
