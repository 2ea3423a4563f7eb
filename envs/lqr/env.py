"""LQR with distractors: the system, its exact theory (costs, gradient, optimal gains), task and environments.

The state s follows s' = A s + B f under a force f and is seen as o = W s, where the rows of W are a few features shared
by all systems (Wc) and many that differ between them (Wd, the distractors). A linear policy is a gain K, f = -K o.

Source: Agarwal et al. (2021), section 6.1 and appendix H. How the matrices are drawn follows the repository
``irom-lab/Invariant-Policy-Optimization`` (Sonar et al. 2020), which that paper builds on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from bisimgym.envs import drawing as raster
from bisimgym.envs.array_task import BatchedEnv, BatchedVectorEnv
from bisimgym.envs.seeds import generators

STATE_DIM = 20
DYNAMICS_SCALE = 0.8  # A = 0.8 x orthogonal
INVARIANT_SCALE = 0.1  # Wc = 0.1 x orthogonal
#: Force per unit of the environments' action.
ACTION_SCALE = 10.0
ENTRIES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "uniform": lambda rng, shape: rng.random(shape),
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
}
# First words of the seed sequences: equal seeds of system and distractors still give unrelated numbers.
_SYSTEM_STREAM, _DISTRACTOR_STREAM = 0, 1


@dataclass(frozen=True, eq=False)
class LQRSystem:
    """s' = A s + B f, cost per step s'Qs + f'Rf, observation o = [Wc s, Wd s], start s ~ N(0, I).

    With n states, m forces and n_d distractors, all ``float64``: ``A[n, n]``, ``B[n, m]``, ``Q[n, n]`` (symmetric,
    positive semidefinite), ``R[m, m]`` (symmetric, positive definite), ``Wc[n, n]`` and ``Wd[n_d, n]``.

    Raises:
        ValueError: for matrices whose shapes do not fit.
    """

    A: np.ndarray
    B: np.ndarray
    Q: np.ndarray
    R: np.ndarray
    Wc: np.ndarray
    Wd: np.ndarray

    def __post_init__(self):
        n, m, distractors = self.A.shape[0], self.B.shape[-1], self.Wd.shape[0]
        shapes = {"A": (n, n), "B": (n, m), "Q": (n, n), "R": (m, m), "Wc": (n, n), "Wd": (distractors, n)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape} here, got {getattr(self, name).shape}")

    @property
    def observation_matrix(self) -> np.ndarray:
        """W, ``float64[n + n_d, n]``: the rows of Wc, then those of Wd."""
        return np.concatenate([self.Wc, self.Wd])


def lqr_system(
    num_distractors: int = 500, system_seed: int = 0, distractor_seed: int = 1, entries: str = "uniform"
) -> LQRSystem:
    """Draw a system of 20 states and 20 forces: A = 0.8 x orthogonal, B = Q = R = I, Wc = 0.1 x orthogonal, and a Wd
    with orthonormal columns.

    Systems with the same ``system_seed`` share A and Wc and so need the same behaviour; Wd follows from
    ``distractor_seed`` alone.

    Args:
        num_distractors: n_d, at least 20.
        system_seed: of A and Wc, at least 0.
        distractor_seed: of Wd, at least 0.
        entries: "uniform" (in [0, 1), as in the source) or "gaussian": the entries of the matrices whose QR
            decompositions give A, Wc and Wd. Uniform entries are not centred: every Wd then has a column space close
            to the all-ones vector, so that one of 20 directions carries over from one Wd to another.

    Raises:
        ValueError: for an argument outside its range.
    """
    _check_integer("num_distractors", num_distractors, STATE_DIM)
    _check_integer("system_seed", system_seed, 0)
    _check_integer("distractor_seed", distractor_seed, 0)
    if not isinstance(entries, str) or entries not in ENTRIES:
        raise ValueError(f"entries must be one of {list(ENTRIES)}, got {entries!r}")

    def orthonormal(rng: np.random.Generator, rows: int) -> np.ndarray:
        q, r = np.linalg.qr(ENTRIES[entries](rng, (rows, STATE_DIM)))
        return q * np.where(np.diag(r) < 0, -1.0, 1.0)

    rng = np.random.default_rng([_SYSTEM_STREAM, int(system_seed)])
    dynamics = DYNAMICS_SCALE * orthonormal(rng, STATE_DIM)
    invariant = INVARIANT_SCALE * orthonormal(rng, STATE_DIM)
    distractors = orthonormal(np.random.default_rng([_DISTRACTOR_STREAM, int(distractor_seed)]), int(num_distractors))
    identity = np.eye(STATE_DIM)
    for matrix in (dynamics, identity, invariant, distractors):
        matrix.flags.writeable = False  # environments and callers share them
    return LQRSystem(dynamics, identity, identity, identity, invariant, distractors)


def _check_integer(name: str, value: Any, low: int, high: int | None = None) -> None:
    allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        raise ValueError(f"{name} must be an integer {allowed}, got {value!r}")


@np.errstate(over="ignore", invalid="ignore")  # diverging sums are answers here, not accidents
def infinite_horizon_cost(system: LQRSystem, gain: np.ndarray) -> float:
    """Return the expected cost of f = -K o over infinitely many steps, undiscounted, from s ~ N(0, I): trace(P_K).

    It is infinite where the closed loop A - B K W has a spectral radius of 1 or more.

    Args:
        gain: K, ``float[m, n + n_d]``.

    Raises:
        ValueError: for a gain of another shape or with entries that are not finite.
    """
    return float(np.trace(_cost_matrix(system, _state_gain(system, gain))))


@np.errstate(over="ignore", invalid="ignore")
def cost_gradient(system: LQRSystem, gain: np.ndarray) -> np.ndarray:
    """Return the gradient of :func:`infinite_horizon_cost` in the gain, ``float64[m, n + n_d]``.

    Raises:
        ValueError: as :func:`infinite_horizon_cost`, and for a gain of infinite cost, which has no gradient.
    """
    state_gain = _state_gain(system, gain)
    cost_matrix = _cost_matrix(system, state_gain)
    if not np.isfinite(cost_matrix).all():
        raise ValueError("the closed loop A - B K W of this gain has a spectral radius of at least 1: no gradient")
    step = system.A - system.B @ state_gain
    visits = _power_sum(step.T, np.eye(len(step)))  # the sum over all t of E[s_t s_t^T]
    gradient = 2 * (system.R @ state_gain - system.B.T @ cost_matrix @ step) @ visits
    return np.concatenate([gradient @ system.Wc.T, gradient @ system.Wd.T], axis=1)


@np.errstate(over="ignore", invalid="ignore")
def riccati(system: LQRSystem) -> tuple[np.ndarray, np.ndarray]:
    """Return P, ``float64[n, n]``, and F*, ``float64[m, n]``: f = -F* s is optimal and costs s'Ps from state s.

    Raises:
        ValueError: for a system that no gain stabilises, or whose cost leaves a growing state unseen.
    """
    # Structure-preserving doubling: after k rounds ``cost`` holds the optimal cost of 2^k steps.
    identity = np.eye(len(system.A))
    step, control, cost = system.A, system.B @ np.linalg.solve(system.R, system.B.T), system.Q
    for _ in range(64):
        damped = np.linalg.solve(identity + control @ cost, np.concatenate([step, control], axis=1))
        damped_step, damped_control = np.split(damped, [len(step)], axis=1)
        added = step.T @ cost @ damped_step
        step, control, cost = step @ damped_step, control + step @ damped_control @ step.T, cost + added
        if not np.abs(added).max() > 1e-16 * np.abs(cost).max():
            break
    gain = np.linalg.solve(system.R + system.B.T @ cost @ system.B, system.B.T @ cost @ system.A)
    if not np.isfinite(gain).all() or not np.isfinite(_cost_matrix(system, gain)).all():
        raise ValueError("no optimal gain: (A, B) must be stabilisable and (A, Q) detectable")
    return cost, gain


def optimal_gain(system: LQRSystem) -> np.ndarray:
    """Return K* = [F* Wc^-1, 0], ``float64[m, n + n_d]``: the one gain that is optimal whatever the distractors."""
    return mixed_gain(system, 1.0)


def mixed_gain(system: LQRSystem, share: float) -> np.ndarray:
    """Return K = [share F* Wc^-1, (1 - share) F* Wd^+], ``float64[m, n + n_d]``.

    It is optimal in this system whatever the share, and with other distractors only for a share of 1. Wd^+ is the
    pseudo-inverse of Wd (the transpose of a Wd with orthonormal columns).
    """
    _, gain = riccati(system)
    invariant, distractors = np.linalg.inv(system.Wc), np.linalg.pinv(system.Wd)
    return np.concatenate([share * gain @ invariant, (1 - share) * gain @ distractors], axis=1)


def _state_gain(system: LQRSystem, gain: np.ndarray) -> np.ndarray:
    """Return F = K W, ``float64[m, n]``."""
    gain = np.asarray(gain, dtype=np.float64)
    states, forces = system.B.shape
    if gain.shape != (forces, states + len(system.Wd)):
        raise ValueError(f"gain must have shape {(forces, states + len(system.Wd))}, got {gain.shape}")
    if not np.isfinite(gain).all():
        raise ValueError("gain must be finite, got entries that are not: has the training diverged?")
    return gain[:, :states] @ system.Wc + gain[:, states:] @ system.Wd


def _cost_matrix(system: LQRSystem, state_gain: np.ndarray) -> np.ndarray:
    """Return P such that f = -F s costs s'Ps from state s."""
    weight = system.Q + state_gain.T @ system.R @ state_gain
    return _power_sum(system.A - system.B @ state_gain, weight)


def _power_sum(step: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the sum over t >= 0 of (step^T)^t weight step^t, infinite if the powers of ``step`` do not vanish."""
    total, power = weight, step
    if np.isfinite(step).all() and np.abs(np.linalg.eigvals(step)).max() < 1:
        for _ in range(64):  # round k adds terms 2^k to 2^(k + 1) - 1
            added = power.T @ total @ power
            total, power = total + added, power @ power
            if np.abs(added).max() <= 1e-16 * np.abs(total).max() < np.inf:
                return total
    return np.full_like(weight, np.inf)


def _finite_cost(system: LQRSystem, gain: np.ndarray, variance: float, horizon: int) -> tuple[np.ndarray, float]:
    """Return P and c: f = -F s + noise of this variance per component costs s'Ps + c over ``horizon`` steps."""
    step, weight = system.A - system.B @ gain, system.Q + gain.T @ system.R @ gain
    quadratic, constant = np.zeros_like(weight), 0.0
    for _ in range(horizon):
        constant += variance * float(np.trace(system.R + system.B.T @ quadratic @ system.B))
        quadratic = weight + step.T @ quadratic @ step
    return quadratic, constant


# Products that are the same to the last bit for one row and for many. BLAS sums in an order that depends on the number
# of rows, so the factors are rounded to few enough bits for every partial sum to be exact: then no order matters. Rows
# count in units of 2^-24 of their largest entry, columns of the matrix in units of 2^-28 of the sum of their entries,
# and 24 + 28 bits fit into the 53 of float64. What the rounding leaves is a second, low part of at most 2^23 units.
_ROW_BITS, _MATRIX_BITS, _LOW_BITS = 24, 28, 24
_TINY = 2.0**-60  # smaller sizes are rounded like this one, which keeps float32 observations clear of subnormal numbers


def _unit(size: np.ndarray, bits: int) -> np.ndarray:
    """Return the power of two in units of which numbers up to ``size`` take ``bits`` bits."""
    return np.ldexp(1.0, np.frexp(np.maximum(size, _TINY))[1] - bits)


def _row_unit(rows: np.ndarray) -> np.ndarray:
    return _unit(np.abs(rows).max(axis=1, keepdims=True), _ROW_BITS)


def _rounded(x: np.ndarray, unit: np.ndarray) -> np.ndarray:
    rounded = x / unit
    np.rint(rounded, out=rounded)
    rounded *= unit
    return rounded


class _RowProduct:
    """``rows @ matrix``, to 48 bits, for up to 40 rows of ``matrix`` (40 x 2^23 low units x 2^24 are below 2^53)."""

    def __init__(self, matrix: np.ndarray):
        unit = _unit(np.abs(matrix).sum(axis=0), _MATRIX_BITS)
        self.high = _rounded(matrix, unit)
        self.low = _rounded(matrix - self.high, unit * 2.0**-_LOW_BITS)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        unit = _row_unit(rows)
        high = _rounded(rows, unit)
        low = _rounded(rows - high, unit * 2.0**-_LOW_BITS)
        product = high @ self.low
        product += low @ self.high
        product += high @ self.high
        return product


@dataclass(frozen=True)
class LQRState:
    """N episodes."""

    coordinates: np.ndarray  # float64[N, 20]: s
    start: np.ndarray  # float64[N, 20]: s at the start
    force: np.ndarray  # float64[N, 20]: of the last step, for the picture
    step: np.ndarray  # int64[N]
    cost: np.ndarray  # float64[N]: so far


class LQRTask:
    """The array task behind both environments."""

    render_fps = 10
    draws_ahead = False
    informs_every_step = False

    def __init__(self, num_distractors: int, system_seed: int, distractor_seed: int, horizon: int, entries: str):
        _check_integer("horizon", horizon, 1, 100_000)
        self.system = lqr_system(num_distractors, system_seed, distractor_seed, entries)
        self.horizon = int(horizon)
        limit = np.finfo(np.float32).max
        self.observation_space = spaces.Box(-limit, limit, (STATE_DIM + int(num_distractors),), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (STATE_DIM,), np.float32)
        system, none = self.system, np.zeros((STATE_DIM, STATE_DIM))
        #: From [s, f] to [A s + B f, Q s, R f].
        self._advance = _RowProduct(np.block([[system.A.T, system.Q, none], [system.B.T, none, system.R]]))
        self._features = _RowProduct(system.observation_matrix.T).high
        self._optimal_gain = riccati(system)[1]
        self._optimal_force = _RowProduct(-self._optimal_gain.T)

    def initial(self, words: np.ndarray, options: Mapping[str, Any]) -> LQRState:
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}: this task has none")
        start = np.array([rng.standard_normal(STATE_DIM) for rng in generators(words)])
        count = len(start)
        return LQRState(
            coordinates=start,
            start=start,
            force=np.zeros_like(start),
            step=np.zeros(count, dtype=np.int64),
            cost=np.zeros(count),
        )

    def transition(self, state: LQRState, action: np.ndarray):
        force = ACTION_SCALE * action.astype(np.float64)
        both = np.concatenate([state.coordinates, force], axis=1)
        following, weighted = np.split(self._advance(both), [STATE_DIM], axis=1)
        cost = (both * weighted).sum(axis=1)
        step = state.step + 1
        advanced = LQRState(following, state.start, force, step, state.cost + cost)
        truncated = step >= self.horizon
        return advanced, -cost, np.zeros_like(truncated), truncated

    def observe(self, state: LQRState) -> np.ndarray:
        rounded = _rounded(state.coordinates, _row_unit(state.coordinates))
        observations = np.empty((len(rounded), self._features.shape[1]), dtype=np.float32)
        rows = 32  # at a time, so that the float64 product is still in the cache when it is converted
        product = np.empty((min(rows, len(rounded)), self._features.shape[1]))
        for first in range(0, len(rounded), rows):
            part = rounded[first : first + rows]
            observations[first : first + rows] = np.matmul(part, self._features, out=product[: len(part)])
        return observations

    def reset_info(self, state: LQRState) -> dict[str, np.ndarray]:
        return {"state": state.start.copy()}

    def final_info(self, state: LQRState) -> dict[str, np.ndarray]:
        return {"cost": state.cost}

    def optimal_action(self, state: LQRState) -> np.ndarray:
        return np.clip(self._optimal_force(state.coordinates) / ACTION_SCALE, -1, 1).astype(np.float32)

    def optimal_return(self, state: LQRState) -> np.ndarray:
        return self._start_returns(state, *self._optimal_cost)

    def random_return(self, state: LQRState) -> np.ndarray:
        return self._start_returns(state, *self._random_cost)

    @functools.cached_property
    def _optimal_cost(self) -> tuple[np.ndarray, float]:
        return _finite_cost(self.system, self._optimal_gain, 0.0, self.horizon)

    @functools.cached_property
    def _random_cost(self) -> tuple[np.ndarray, float]:
        return _finite_cost(self.system, np.zeros((STATE_DIM, STATE_DIM)), ACTION_SCALE**2 / 3, self.horizon)

    def _start_returns(self, state: LQRState, quadratic: np.ndarray, constant: float) -> np.ndarray:
        return -(state.start @ quadratic * state.start).sum(axis=1) - constant

    def frame(self, state: LQRState, index: int) -> np.ndarray:
        features = state.coordinates[index] @ self._features
        progress = state.step[index] / self.horizon
        return draw(state.coordinates[index], state.force[index], features, float(progress))

    def caption(self, state: LQRState, index: int) -> str:
        count = len(self.system.Wd)
        return (
            f"LQR with {count} distractors: step {state.step[index]} of {self.horizon}, "
            f"cost so far {state.cost[index]:.1f}"
        )


_WALL, _PANEL, _LINE = (24, 28, 48), (36, 41, 66), (92, 100, 134)
_WARM, _COLD = (250, 190, 92), (92, 164, 240)


def draw(coordinates: np.ndarray, force: np.ndarray, features: np.ndarray, progress: float) -> np.ndarray:
    """Return a picture of one state for people, ``uint8[400, 640, 3]``.

    Left: the 20 coordinates of the state as bars around zero, and those of the last force below. Right: the 20
    invariant features as a row of cells, and below them the distractors, in reading order; more than the panel has
    pixels are cut off. Bottom: how much of the episode is over. Positive is warm, negative cold, and zero dark.
    """
    image = raster.canvas(640, 400, _WALL)
    _bars(image, 24, 188, 268, 188, coordinates)
    _bars(image, 24, 48, 268, 116, force)
    invariant, distractors = features[:STATE_DIM], features[STATE_DIM:]
    _cells(image, 316, 361, 300, 15, invariant / INVARIANT_SCALE)
    _cells(image, 316, 48, 300, 300, distractors * np.sqrt(len(distractors) / STATE_DIM))
    raster.rectangle(image, 24, 24, 592, 6, _PANEL)
    raster.rectangle(image, 24, 24, round(592 * progress), 6, _LINE)
    return image


def _soft(x: np.ndarray) -> np.ndarray:
    """Squeeze numbers into (-1, 1), so that both a wild episode and the small end of a good one can be seen."""
    return x / (1 + np.abs(x))


def _bars(image: np.ndarray, x: int, y: int, width: int, height: int, values: np.ndarray) -> None:
    raster.rectangle(image, x, y, width, height, _PANEL)
    middle, pitch, margin = y + height // 2, 12, 14
    for i, value in enumerate(_soft(values).tolist()):
        length = round(abs(value) * (height // 2 - 6))
        below = middle - length if value < 0 else middle
        color = _WARM if value > 0 else _COLD
        raster.rectangle(image, x + margin + i * pitch + 2, below, pitch - 4, length, color)
    raster.rectangle(image, x + margin, middle, width - 2 * margin, 1, _LINE)


def _cells(image: np.ndarray, x: int, y: int, width: int, height: int, values: np.ndarray) -> None:
    sides = range(1, height + 1)
    side = max((s for s in sides if (width // s) * (height // s) >= len(values)), default=1)
    columns = width // side
    values = _soft(values[: columns * (height // side), None])
    rows = -(-len(values) // columns)
    grid = np.full((rows * columns, 3), _PANEL, dtype=np.uint8)
    grid[: len(values)] = _PANEL + np.abs(values) * (np.where(values > 0, _WARM, _COLD) - np.array(_PANEL))
    block = raster.enlarge(grid.reshape(rows, columns, 3), side)
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
    s ~ N(0, I) at the start, told by ``reset`` as ``info["state"]`` (``float64[20]``). The episode is truncated after
    ``horizon`` steps, with the sum of all costs in ``info["cost"]``, and never terminates. Left alone it costs 55.6 on
    average, and 27.4 under the oracle: the policy that is best for an infinite horizon (at horizons of a few steps,
    smaller forces are better). Its actions stay well inside the box unless others drove the state far away.

    ## Arguments
    * ``num_distractors``: at least 20 (default 500; the source also uses 1000 and 10000).
    * ``system_seed`` (default 0): of A and Wc. ``distractor_seed`` (default 1): of Wd.
    * ``horizon``: steps per episode, 1 to 100000 (default 100).
    * ``entries``: "uniform" (default) or "gaussian", how the matrices are drawn (see
      :func:`bisimgym.envs.lqr.lqr_system`).
    * ``render_mode``: "rgb_array" or "human". The picture shows the state and the last force as bars, the invariant
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
        """The system that is steered, for :func:`infinite_horizon_cost` and its neighbours."""
        return self.task.system


class LQRDistractorsVectorEnv(BatchedVectorEnv):
    __doc__ = LQRDistractorsEnv.__doc__

    def __init__(
        self,
        num_envs: int = 1,
        num_distractors: int = 500,
        system_seed: int = 0,
        distractor_seed: int = 1,
        horizon: int = 100,
        entries: str = "uniform",
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
    ):
        task = LQRTask(num_distractors, system_seed, distractor_seed, horizon, entries)
        super().__init__(task, num_envs, render_mode, autoreset_mode)

    @property
    def system(self) -> LQRSystem:
        """The system that is steered, for :func:`infinite_horizon_cost` and its neighbours."""
        return self.task.system
