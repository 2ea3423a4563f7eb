"""LQR with distractors as environments: see :class:`LQRDistractorsEnv`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from bisimgym.envs import drawing
from bisimgym.envs.array_task import ArrayTask, BatchedEnv
from bisimgym.envs.arrays import cast, like
from bisimgym.envs.batched_vector import TaskVectorEnv
from bisimgym.envs.checks import integer
from bisimgym.envs.lqr.system import INVARIANT_SCALE, STATE_DIM, LQRSystem, finite_horizon_cost, lqr_system, riccati
from bisimgym.envs.seeds import generators

#: Force per unit of the environments' action.
ACTION_SCALE = 10.0


@dataclass(frozen=True)
class LQRState:
    """N episodes."""

    coordinates: np.ndarray  # float64[N, 20]: s
    start: np.ndarray  # float64[N, 20]: s at the start
    force: np.ndarray  # float64[N, 20]: of the last step, for the image
    step: np.ndarray  # int64[N]
    cost: np.ndarray  # float64[N]: so far


class LQRTask(ArrayTask[LQRState]):
    """The array task behind both environments.

    Matrix products sum in an order that depends on the number of rows, so that one environment and many agree to the
    rounding of float64 (states, rewards) and of float32 (observations), not to the last bit.
    """

    render_fps = 10
    takes_tensors = True

    def __init__(self, num_distractors: int, system_seed: int, distractor_seed: int, horizon: int, entries: str):
        self.horizon = integer("horizon", horizon, 1, 100_000)
        self.system = lqr_system(num_distractors, system_seed, distractor_seed, entries)
        self._features = self.system.observation_matrix.T.copy()
        self._costs: dict[tuple[int, float], tuple[np.ndarray, float]] = {}
        limit = np.finfo(np.float32).max
        self.observation_space = spaces.Box(-limit, limit, (self._features.shape[1],), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (STATE_DIM,), np.float32)

    def initial(self, seeds: np.ndarray, options: Mapping[str, Any]) -> LQRState:
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}: this task has none")
        start = np.array([rng.standard_normal(STATE_DIM) for rng in generators(seeds)])
        step, cost = np.zeros(len(start), dtype=np.int64), np.zeros(len(start))
        return LQRState(coordinates=start, start=start, force=np.zeros_like(start), step=step, cost=cost)

    def transition(self, state: LQRState, action: np.ndarray):
        s, force = state.coordinates, ACTION_SCALE * cast(action, "float64")
        system = like(self.system, s)
        cost = (s @ system.Q * s).sum(axis=1) + (force @ system.R * force).sum(axis=1)
        next_coordinates = s @ system.A.T + force @ system.B.T
        step = state.step + 1
        truncated = step >= self.horizon
        next_state = LQRState(next_coordinates, state.start, force, step, state.cost + cost)
        return next_state, -cost, step < 0, truncated  # it never terminates

    def observe(self, state: LQRState) -> np.ndarray:
        return cast(state.coordinates @ like(self._features, state.coordinates), "float32")

    def reset_info(self, state: LQRState) -> dict[str, np.ndarray]:
        return {"state": state.start.copy()}

    def final_info(self, state: LQRState) -> dict[str, np.ndarray]:
        return {"cost": state.cost}

    def optimal_action(self, state: LQRState) -> np.ndarray:
        force = -state.coordinates @ like(self._optimal_gain, state.coordinates).T
        return cast((force / ACTION_SCALE).clip(-1, 1), "float32")

    def optimal_return(self, state: LQRState, limit: int | None = None) -> np.ndarray:
        return self._start_returns(state, self._optimal_gain, 0.0, limit)

    def random_return(self, state: LQRState, limit: int | None = None) -> np.ndarray:
        return self._start_returns(state, np.zeros((STATE_DIM, STATE_DIM)), ACTION_SCALE**2 / 3, limit)

    @functools.cached_property
    def _optimal_gain(self) -> np.ndarray:
        return riccati(self.system)[1]

    def _start_returns(self, state: LQRState, gain: np.ndarray, variance: float, limit: int | None) -> np.ndarray:
        horizon = self.horizon if limit is None else min(limit, self.horizon)
        key = horizon, variance
        if key not in self._costs:  # optimal and random forces differ in their variance
            self._costs[key] = finite_horizon_cost(self.system, gain, variance, horizon)
        quadratic, constant = self._costs[key]
        return -(state.start @ quadratic * state.start).sum(axis=1) - constant

    def frame(self, state: LQRState, index: int) -> np.ndarray:
        features = state.coordinates[index] @ self._features
        progress = state.step[index] / self.horizon
        return draw(state.coordinates[index], state.force[index], features, float(progress))

    def caption(self, state: LQRState, index: int) -> str:
        count, step, cost = len(self.system.Wd), state.step[index], state.cost[index]
        return f"LQR with {count} distractors: step {step} of {self.horizon}, cost so far {cost:.1f}"


_WALL, _PANEL, _LINE = (24, 28, 48), (36, 41, 66), (92, 100, 134)
_WARM, _COLD = (250, 190, 92), (92, 164, 240)


def draw(coordinates: np.ndarray, force: np.ndarray, features: np.ndarray, progress: float) -> np.ndarray:
    """Return an image of one state for people, ``uint8[400, 640, 3]``.

    Left: the 20 coordinates of the state as bars around zero, and those of the last force below. Right: the 20
    invariant features as a row of cells, and below them the distractors, in reading order; more than the panel has
    pixels are cut off. Bottom: how much of the episode is over. Positive is warm, negative cold, and zero dark.
    """
    image = drawing.canvas(640, 400, _WALL)
    _bars(image, 24, 188, 268, 188, coordinates)
    _bars(image, 24, 48, 268, 116, force)
    invariant, distractors = features[:STATE_DIM], features[STATE_DIM:]
    _cells(image, 316, 361, 300, 15, invariant / INVARIANT_SCALE)
    _cells(image, 316, 48, 300, 300, distractors * np.sqrt(len(distractors) / STATE_DIM))
    drawing.rectangle(image, 24, 24, 592, 6, _PANEL)
    drawing.rectangle(image, 24, 24, round(592 * progress), 6, _LINE)
    return image


def _soft(x: np.ndarray) -> np.ndarray:
    """Squeeze numbers into (-1, 1), so that both a wild episode and the small end of a good one can be seen."""
    return x / (1 + np.abs(x))


def _bars(image: np.ndarray, x: int, y: int, width: int, height: int, values: np.ndarray) -> None:
    drawing.rectangle(image, x, y, width, height, _PANEL)
    middle, pitch, margin = y + height // 2, 12, 14
    for i, value in enumerate(_soft(values).tolist()):
        length = round(abs(value) * (height // 2 - 6))
        below = middle - length if value < 0 else middle
        color = _WARM if value > 0 else _COLD
        drawing.rectangle(image, x + margin + i * pitch + 2, below, pitch - 4, length, color)
    drawing.rectangle(image, x + margin, middle, width - 2 * margin, 1, _LINE)


def _cells(image: np.ndarray, x: int, y: int, width: int, height: int, values: np.ndarray) -> None:
    sides = range(1, height + 1)
    side = max((s for s in sides if (width // s) * (height // s) >= len(values)), default=1)
    columns = width // side
    values = _soft(values[: columns * (height // side), None])
    rows = -(-len(values) // columns)
    grid = np.full((rows * columns, 3), _PANEL, dtype=np.uint8)
    grid[: len(values)] = _PANEL + np.abs(values) * (np.where(values > 0, _WARM, _COLD) - np.array(_PANEL))
    block = drawing.enlarge(grid.reshape(rows, columns, 3), side)
    if side > 5:  # lines between cells that are large enough for them
        block[side - 1 :: side] = block[:, side - 1 :: side] = _WALL
    top, left = len(image) - y - height, x + (width - columns * side) // 2
    image[top : top + rows * side, left : left + columns * side] = block


class LQRDistractorsEnv(BatchedEnv):
    """Steer a linear system to rest, seen through a few features that stay and many that change with the environment.

    ## Description
    A state s of 20 numbers follows s' = A s + f, with A = 0.8 x an orthogonal matrix and a force f = 10 x action. The
    agent observes Wc s, 20 features that all environments of one ``system_seed`` share, and Wd s, ``num_distractors``
    features of this ``distractor_seed``. Both tell the whole state, and the distractors ten times louder, so that
    training on few environments tempts a policy to read the state from them; with another Wd that fails. Observations
    of two environments behave alike when they come from the same state. ``env.unwrapped.system`` holds the matrices,
    and :mod:`bisimgym.envs.lqr` the exact cost of any linear policy, its gradient, and the optimal one.

    ## Action space
    ``Box(-1, 1, (20,), float32)``, in tenths of the force.

    ## Observation space
    ``Box(-3.4e38, 3.4e38, (20 + num_distractors,), float32)``; the bounds are those of float32.

    | index | content | size at the start (standard deviation) |
    | --- | --- | --- |
    | 0 to 19 | invariant features, Wc s with Wc = 0.1 x orthogonal | 0.1 |
    | 20 and up | distractors, Wd s with orthonormal columns | about (20 / num_distractors)^(1/2) |

    ## Reward
    -(|s|^2 + |f|^2), of the state before the step and the force of the step.

    ## Start and end
    s ~ N(0, I) at the start, given by ``reset`` as ``info["state"]`` (``float64[20]``). The episode is truncated after
    ``horizon`` steps, with the sum of all costs in ``info["cost"]``, and never terminates. Left alone it costs 55.6 on
    average, and 27.4 under the oracle: the policy that is best for an infinite horizon (at horizons of a few steps,
    smaller forces are better). Its actions stay well inside the box unless others drove the state far away.

    ## Arguments
    * ``num_distractors``: at least 20 (default 500; the source also uses 1000 and 10000).
    * ``system_seed`` (default 0): of A and Wc. ``distractor_seed`` (default 1): of Wd.
    * ``horizon``: steps per episode, 1 to 100000 (default 100).
    * ``entries``: "uniform" (default) or "gaussian", how the matrices are drawn (see
      :func:`bisimgym.envs.lqr.lqr_system`).
    * ``render_mode``: "rgb_array" or "human". The image shows the state and the last force as bars, the invariant
      features as a row of cells and the distractors as a block of them; warm is positive, cold negative, dark zero.

    Vector environments also take ``num_envs`` and ``autoreset_mode`` ("SameStep", the default, "NextStep" or
    "Disabled"). There are no reset options.

    ## Source
    Agarwal et al. (2021), section 6.1 and appendix H, with infinite horizon and without sampling. Where the paper is
    silent, the matrices are drawn as in the repository ``irom-lab/Invariant-Policy-Optimization``. The scale of the
    action, the box around it and the finite horizon are additions that make it an environment.

    ## Version history
    * v0: first version.
    """

    task: LQRTask

    def __init__(
        self,
        num_distractors: int = 500,
        system_seed: int = 0,
        distractor_seed: int = 1,
        horizon: int = 100,
        entries: str = "uniform",
        render_mode: str | None = None,
    ):
        super().__init__(LQRTask(num_distractors, system_seed, distractor_seed, horizon, entries), render_mode)

    @property
    def system(self) -> LQRSystem:
        """The system that is steered, for :func:`~bisimgym.envs.lqr.infinite_horizon_cost` and what goes with it."""
        return self.task.system


class LQRDistractorsVectorEnv(TaskVectorEnv, of=LQRDistractorsEnv):
    @property
    def system(self) -> LQRSystem:
        """The system that is steered, for :func:`~bisimgym.envs.lqr.infinite_horizon_cost` and what goes with it."""
        return self.task.system
