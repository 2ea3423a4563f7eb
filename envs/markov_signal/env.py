"""The hidden state of a Markov chain from its noisy signals, as environments: see :class:`MarkovSignalEnv`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from bisimgym.envs import drawing
from bisimgym.envs.array_task import ArrayTask, BatchedEnv
from bisimgym.envs.arrays import as_type_of, cast, copied, row_numbers
from bisimgym.envs.batched_vector import TaskVectorEnv
from bisimgym.envs.checks import integer
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.markov_signal.hmm import (
    MAX_EPISODE_LENGTH,
    VARIANCE_RANGE,
    SignalLaw,
    draw_signals,
    signal_law,
    signal_mdp,
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


class MarkovSignalTask(ArrayTask[SignalState]):
    """The array task behind both environments."""

    render_fps = 15
    takes_tensors = True

    def __init__(self, law: SignalLaw, episode_length: int):
        self.law = law
        self.episode_length = integer("episode_length", episode_length, 1, MAX_EPISODE_LENGTH)
        bound = np.finfo(np.float32).max
        self.observation_space = spaces.Box(-bound, bound, (law.dimension,), np.float32)
        self.action_space = spaces.Discrete(law.num_states)

    def initial(self, seeds: np.ndarray, options: Mapping[str, Any]) -> SignalState:
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}: this task has none")
        signals, hidden = draw_signals(self.law, seeds, self.episode_length + 1)
        return SignalState(signals, hidden, np.full_like(hidden, -1), np.zeros(len(seeds), dtype=np.int64))

    def transition(self, state: SignalState, action: np.ndarray):
        rows = row_numbers(state.step)
        guesses = copied(state.guesses)
        guesses[rows, state.step] = as_type_of(guesses, action)
        step = state.step + 1
        reward = cast(state.hidden[rows, state.step] == action, "float64")
        next_state = dataclasses.replace(state, guesses=guesses, step=step)
        return next_state, reward, step < 0, step >= self.episode_length  # it never terminates

    def observe(self, state: SignalState) -> np.ndarray:
        return state.signals[row_numbers(state.step), state.step]

    def reset_info(self, state: SignalState) -> dict[str, np.ndarray]:
        return {}

    def final_info(self, state: SignalState) -> dict[str, np.ndarray]:
        return {"accuracy": cast((state.guesses == state.hidden).sum(axis=1), "float64") / state.step.clip(1)}

    def optimal_action(self, state: SignalState) -> np.ndarray:
        return cast(state.hidden[row_numbers(state.step), state.step], "int64")

    def optimal_return(self, state: SignalState, limit: int | None = None) -> np.ndarray:
        length = self.episode_length if limit is None else min(limit, self.episode_length)
        return np.full(len(state.step), float(length))

    def random_return(self, state: SignalState, limit: int | None = None) -> np.ndarray:
        return self.optimal_return(state, limit) / self.law.num_states

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
    """Return an image of one episode up to now for people, ``uint8[360, 640, 3]``; time runs to the right.

    From the top: the last 100 frames, one row per channel, blue below and orange above zero; the true states and the
    guesses, each in its color, with a red tick beneath every wrong guess; and how much of the episode is over. A bright
    cell marks the frame to be guessed, whose true state is not shown. Channels are sorted by the state in which they
    are highest on average, which the colors on the left tell.
    """
    step = int(state.step[index])
    first = max(step + 1 - _COLUMNS, 0)
    guesses, hidden = state.guesses[index, first:step], state.hidden[index, first:step]
    favorite = law.means.argmax(axis=0)
    channels = np.lexsort((-law.means.max(axis=0), favorite))
    lines = channels[np.arange(_SIGNAL_HEIGHT) * law.dimension // _SIGNAL_HEIGHT]
    scale = np.abs(law.means).max() + 2 * np.sqrt(sum(VARIANCE_RANGE) / 2)
    palette = _state_colors(law.num_states)

    left, strips_top = _MARGIN + 2 * _LEGEND_WIDTH, _MARGIN + _SIGNAL_HEIGHT + 12
    height = strips_top + 2 * (_STRIP_HEIGHT + 4) + _TICK_HEIGHT + 12 + _BAR_HEIGHT + _MARGIN
    image = drawing.canvas(left + _COLUMNS * _COLUMN_WIDTH + _MARGIN, height, _BACKGROUND)

    def paint(top: int, pixels: np.ndarray, height: int | None = None) -> None:
        """Paint one color per column, ``[C, 3]``, or an image of C columns, ``[H, C, 3]``."""
        pixels = pixels if height is None else np.broadcast_to(pixels, (height, *pixels.shape))
        wide = pixels.repeat(_COLUMN_WIDTH, axis=1)
        image[top : top + len(wide), left : left + wide.shape[1]] = wide

    blank = np.full((_COLUMNS, 3), _EMPTY)
    image[_MARGIN : _MARGIN + _SIGNAL_HEIGHT, _MARGIN : _MARGIN + _LEGEND_WIDTH] = palette[favorite[lines]][:, None]
    paint(_MARGIN, blank, _SIGNAL_HEIGHT)
    paint(_MARGIN, _value_colors(state.signals[index, first : step + 1].T[lines] / scale))
    for top, labels, now in ((strips_top, hidden, _EMPTY), (strips_top + _STRIP_HEIGHT + 4, guesses, _BAR)):
        paint(top, blank, _STRIP_HEIGHT)
        paint(top, np.vstack([palette[labels], now]), _STRIP_HEIGHT)
    ticks = np.where((guesses != hidden)[:, None], _WRONG, _BACKGROUND)
    paint(strips_top + 2 * (_STRIP_HEIGHT + 4), ticks, _TICK_HEIGHT)
    width = _COLUMNS * _COLUMN_WIDTH
    drawing.rectangle(image, left, _MARGIN, width, _BAR_HEIGHT, _EMPTY)
    drawing.rectangle(image, left, _MARGIN, width * step // (state.hidden.shape[1] - 1), _BAR_HEIGHT, _BAR)
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
    the end ``info["accuracy"]`` is the fraction of right guesses. Nothing shows the hidden state before, except the
    rewards and the rendered image, which shows it once it has been guessed.

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

    task: MarkovSignalTask

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


class MarkovSignalVectorEnv(TaskVectorEnv, of=MarkovSignalEnv):
    @property
    def law(self) -> SignalLaw:
        return self.task.law
