"""Processes with infinitely many states whose metrics are known in closed form: samples of them.

*On-policy bisimulation of random actions.* Both proofs are one. A state s has a number n(s) such that expected rewards
are r n(s) plus a constant, the expected number of the next state is m n(s) plus a constant, and the larger the number,
the larger, in stochastic order, the next one. Then the Wasserstein distance of two next states, where distances are
c |n - n'|, is the difference of their means, c m |n - n'|, and c |n - n'| with c = |r| / (1 - discount m) solves the
recursion.

* Of a hidden chain with two states, n is the belief that it is in the first, r = 1, and m the second eigenvalue of the
  chain. The larger the belief, the likelier the first state is to emit the next signal. The next belief rises with the
  prediction and with the likelihood ratio, which is stochastically larger under the first state, whatever is emitted.
* Of a linear system whose matrix is 0.8 times a rotation, pushed by Gaussian forces that are alike in all directions, n
  is the squared length of the state, r = -1 and m = 0.64. The next squared length is a scaled noncentral chi-squared
  variable, stochastically increasing in its noncentrality, 0.64 n over the variance of a force.

*Of the optimal policy* the linear system is a scaled rotation without noise: bisimulation is the sum of discounted
differences of rewards, and policy similarity that of the Euclidean distances of forces.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, FrameStackObservation, TransformAction
from scipy.spatial.distance import cdist

from bisimgym.benchmarks.measures.finite_processes import OPTIMAL_VALUE, KnownDistances
from bisimgym.envs.lqr.env import ACTION_SCALE, LQRState
from bisimgym.envs.lqr.system import DYNAMICS_SCALE, STATE_DIM
from bisimgym.envs.markov_signal.filters import filter_posteriors

if TYPE_CHECKING:  # it imports torch, which distances do not need
    from bisimgym.baselines.transitions import Transitions

#: Guesses of an episode of the Markov signal, all of whose frames are seen.
HISTORY = 15
#: Episodes of the signal, and states of the linear system in each of its environments: scored, and in the data.
_SCORED_EPISODES, _DATA_EPISODES, _SCORED_STATES, _DATA_STATES = 28, 8192, 200, 65_536
_SCORED_SEED, _DATA_SEED = 1, 2
#: Standard deviation of each random force: with it states stay as they start, s ~ N(0, I).
FORCE = math.sqrt(1 - DYNAMICS_SCALE**2)


@dataclass(frozen=True)
class Metric:
    """A metric that is a multiple of the Euclidean distance of points.

    Attributes:
        scale: ``scale(discount)``.
        coordinates: of the states, the points: what of a state counts.
    """

    scale: Callable[[float], float]
    coordinates: str


@dataclass(frozen=True)
class Sample:
    """Transitions, and points of the states that they start in.

    Attributes:
        observations, next_observations: ``float32[M, D]``.
        actions, rewards: of M transitions.
        points: ``float64[M, K]`` by name.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: np.ndarray
    points: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SampledProcess:
    """States that are scored, and transitions to learn from, none of which starts in a scored state.

    Attributes:
        observations: ``float32[N, D]``.
        images: ``uint8[N, H, W, 3]``, for people.
        points: ``float64[N, K]`` by name, of the states that are scored.
        metrics: by name.
        value: ``value(discount)``, of optimal actions, ``float64[N]``.
        draw_data: returns the data.
    """

    observations: np.ndarray
    images: np.ndarray
    factors: Mapping[str, np.ndarray]
    points: Mapping[str, np.ndarray]
    metrics: Mapping[str, Metric]
    value: Callable[[float], np.ndarray]
    draw_data: Callable[[], Sample]

    next_rows = rewards = None

    @functools.cached_property
    def data(self) -> Sample:
        data = self.draw_data()
        for column in (data.observations, data.actions, data.rewards, data.next_observations, *data.points.values()):
            column.flags.writeable = False
        return data

    def solve(self, metric: str, discount: float) -> np.ndarray:
        """Return an exact metric, ``float64[N, N]``, rounded to six digits behind the point."""
        found = self.metrics[metric]
        points = self.points[found.coordinates]
        return (found.scale(discount) * cdist(points, points)).round(6)

    def values(self, discount: float) -> dict[str, np.ndarray]:
        return {OPTIMAL_VALUE: self.value(discount)}

    def transitions(self) -> Transitions:
        from bisimgym.baselines.transitions import Transitions

        data, never = self.data, np.zeros(len(self.data.rewards), dtype=bool)
        return Transitions(data.observations, data.actions, data.rewards, data.next_observations, never)

    def known_distances(self, metric: str, discount: float) -> KnownDistances:
        """Return the observations of the data, and points whose distances are a metric of them."""
        found = self.metrics[metric]
        points = (found.scale(discount) * self.data.points[found.coordinates]).astype(np.float32)
        return KnownDistances(self.data.observations, points, are_points=True)


def whole_history(env: gym.Env) -> gym.Env:
    """Return a Markov signal that shows all frames since the start, zeros before; its one action guesses state 0."""
    always = TransformAction(env, lambda action: 0, spaces.Discrete(1))
    return FlattenObservation(FrameStackObservation(always, HISTORY + 1, padding_type="zero"))


def markov_signal(env: Any) -> SampledProcess:
    """Return histories of a hidden chain of two states, whose one action guesses that it is in the first."""
    law = env.task.law
    kept = float(np.trace(law.transition_matrix) - 1)  # of a belief's distance from the stationary one, by a step

    def drawn(seed: int, episodes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return observations ``[E, T + 1, D]``, beliefs ``[E, T, 1]`` and rewards ``[E, T]``."""
        seeds = np.random.default_rng(seed).integers(2**32, size=episodes)
        state = env.task.initial(seeds, {})
        frames = np.concatenate([np.zeros_like(state.signals[:, 1:]), state.signals], axis=1)
        windows = [frames[:, t : t + HISTORY + 1].reshape(episodes, -1) for t in range(HISTORY + 1)]
        beliefs = filter_posteriors(law, state.signals[:, :-1])[..., :1]
        return np.stack(windows, axis=1), beliefs, (state.hidden[:, :-1] == 0).astype(np.float64)

    def data() -> Sample:
        windows, beliefs, rewards = drawn(_DATA_SEED, _DATA_EPISODES)
        return Sample(
            observations=windows[:, :-1].reshape(rewards.size, -1),
            actions=np.zeros(rewards.size, dtype=np.int64),
            rewards=rewards.ravel(),
            # The last one of an episode has a frame more than any state that transitions start in.
            next_observations=windows[:, 1:].reshape(rewards.size, -1),
            points=points_of(beliefs),
        )

    def points_of(beliefs: np.ndarray) -> dict[str, np.ndarray]:
        belief = beliefs.reshape(-1, 1)
        return {"belief": belief, "nothing": np.zeros_like(belief)}

    def scale(discount: float) -> float:
        return 1 / (1 - discount * kept)

    def value(discount: float) -> np.ndarray:
        stationary = law.stationary[0]
        return stationary / (1 - discount) + (belief - stationary) * scale(discount)

    windows, beliefs, _ = drawn(_SCORED_SEED, _SCORED_EPISODES)
    windows, belief = windows[:, :-1].reshape(beliefs.size, -1), beliefs.ravel()
    return SampledProcess(
        observations=windows,
        images=_colors(windows.reshape(len(windows), HISTORY + 1, -1).transpose(0, 2, 1) / 2),
        factors={"belief": belief, "frames seen": np.tile(np.arange(1.0, HISTORY + 1), _SCORED_EPISODES)},
        points=points_of(beliefs),
        metrics={
            "bisimulation-random": Metric(scale, "belief"),
            "policy-similarity": Metric(scale, "nothing"),  # of one action: for losses that are told it
        },
        value=value,
        draw_data=data,
    )


def lqr(*envs: Any) -> SampledProcess:
    """Return states of a linear system, each of the scored ones seen in all environments, and random forces."""

    def shown(states: np.ndarray) -> LQRState:
        nothing = np.zeros(len(states))
        return LQRState(states, states, np.zeros_like(states), nothing.astype(np.int64), nothing)

    def points_of(states: np.ndarray) -> dict[str, np.ndarray]:
        return {"state": states, "squared length": np.square(states).sum(axis=1, keepdims=True)}

    def data() -> Sample:
        rng = np.random.default_rng(_DATA_SEED)
        states = rng.standard_normal((len(envs), _DATA_STATES, STATE_DIM))
        actions = (rng.standard_normal(states.shape) * FORCE / ACTION_SCALE).astype(np.float32)
        steps = []
        for env, some, forces in zip(envs, states, actions, strict=True):
            next_state, rewards, *_ = env.task.transition(shown(some), forces)
            steps.append((env.task.observe(shown(some)), forces, rewards, env.task.observe(next_state)))
        observations, forces, rewards, next_observations = (np.concatenate(part) for part in zip(*steps, strict=True))
        points = points_of(states.reshape(-1, STATE_DIM))
        return Sample(observations, forces, rewards, next_observations, points)

    states = np.random.default_rng(_SCORED_SEED).standard_normal((_SCORED_STATES, STATE_DIM))
    observations = np.concatenate([env.task.observe(shown(states)) for env in envs])
    states = np.tile(states, (len(envs), 1))
    points = points_of(states)
    size = points["squared length"]

    def optimal(discount: float) -> float:
        _, forces, moves = optimal_control(discount)
        return (1 + forces**2) / (1 - discount * moves**2)

    def policy(discount: float) -> float:
        _, forces, moves = optimal_control(discount)
        return forces / (1 - discount * moves)

    return SampledProcess(
        observations=observations,
        images=_colors(states.reshape(-1, 4, STATE_DIM // 4) / 3),
        factors={
            "squared length": size[:, 0],
            "first coordinate": states[:, 0],
            "environment": np.repeat(np.arange(float(len(envs))), _SCORED_STATES),
        },
        points=points,
        metrics={
            "bisimulation-optimal": Metric(optimal, "squared length"),
            "bisimulation-random": Metric(lambda discount: 1 / (1 - discount * DYNAMICS_SCALE**2), "squared length"),
            "policy-similarity": Metric(policy, "state"),
        },
        value=lambda discount: -optimal_control(discount)[0] * size[:, 0],
        draw_data=data,
    )


def optimal_control(discount: float) -> tuple[float, float, float]:
    """Return p of -p |s|^2, the optimal value, and the lengths of force and next state over that of the state.

    The solution of the Riccati equation of s' = A s + f and rewards -|s|^2 - |f|^2, with A a rotation times 0.8, is p
    times the identity: p = 1 + 0.64 discount p / (1 + discount p).
    """
    k = 1 - (1 + DYNAMICS_SCALE**2) * discount
    p = 2 / (k + math.sqrt(k**2 + 4 * discount))
    rest = DYNAMICS_SCALE / (1 + discount * p)
    return p, DYNAMICS_SCALE - rest, rest


def _colors(values: np.ndarray) -> np.ndarray:
    """Return ``uint8[N, H, W, 3]``: values below 0 blue, above orange, those from -1 to 1 the stronger the larger."""
    white, warm, cold = (np.array(color) for color in ((255, 255, 255), (214, 96, 30), (38, 100, 180)))
    strength = np.abs(values).clip(0, 1)[..., None]
    return (white + strength * (np.where(values[..., None] > 0, warm, cold) - white)).astype(np.uint8)
