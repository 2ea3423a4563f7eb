"""Linear-quadratic systems seen through distractors: matrices, and their exact theory (costs, gradient, optimal gain).

The state s follows s' = A s + B f under a force f and is seen as o = W s, where the rows of W are a few features shared
by all systems (Wc) and many that differ between them (Wd, the distractors). A linear policy is a gain K, f = -K o.

Source: Agarwal et al. (2021), section 6.1 and appendix H. How the matrices are drawn follows the repository
``irom-lab/Invariant-Policy-Optimization`` (Sonar et al. 2020), which that paper builds on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bisimgym.envs.checks import choice, integer, real_array

STATE_DIM = 20
DYNAMICS_SCALE = 0.8  # A = 0.8 x orthogonal
INVARIANT_SCALE = 0.1  # Wc = 0.1 x orthogonal
ENTRIES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "uniform": lambda rng, shape: rng.random(shape),
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
}
# First entries of the seed sequences: equal seeds of system and distractors still give unrelated numbers.
_SYSTEM_STREAM, _DISTRACTOR_STREAM = 0, 1


@dataclass(frozen=True, eq=False)
class LQRSystem:
    """s' = A s + B f, cost per step s'Qs + f'Rf, observation o = [Wc s, Wd s], start s ~ N(0, I).

    With n states, m forces and n_d distractors, all ``float64``: ``A[n, n]``, ``B[n, m]``, ``Q[n, n]`` (symmetric,
    positive semidefinite), ``R[m, m]`` (symmetric, positive definite), ``Wc[n, n]`` and ``Wd[n_d, n]``.

    Raises:
        ValueError: for matrices whose shapes do not fit, or that are not finite real numbers.
    """

    A: np.ndarray
    B: np.ndarray
    Q: np.ndarray
    R: np.ndarray
    Wc: np.ndarray
    Wd: np.ndarray

    def __post_init__(self):
        for name in ("A", "B", "Q", "R", "Wc", "Wd"):
            matrix = real_array(name, getattr(self, name))
            if matrix.ndim != 2 or not np.isfinite(matrix).all():
                raise ValueError(f"{name} must be a matrix of finite numbers, got shape {matrix.shape}")
            object.__setattr__(self, name, matrix)
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

    Systems with the same ``system_seed`` share A and Wc and so need the same behavior; Wd follows from
    ``distractor_seed`` alone.

    Args:
        num_distractors: n_d, at least 20.
        system_seed: of A and Wc, at least 0.
        distractor_seed: of Wd, at least 0.
        entries: "uniform" (in [0, 1), as in the source) or "gaussian": the entries of the matrices whose QR
            decompositions give A, Wc and Wd. Uniform entries are not centered: every Wd then has a column space close
            to the all-ones vector, so that one of 20 directions carries over from one Wd to another.

    Raises:
        ValueError: for an argument outside its range.
    """
    num_distractors = integer("num_distractors", num_distractors, STATE_DIM)
    system_seed = integer("system_seed", system_seed, 0)
    distractor_seed = integer("distractor_seed", distractor_seed, 0)
    choice("entries", entries, ENTRIES)

    def orthonormal(rng: np.random.Generator, rows: int) -> np.ndarray:
        q, r = np.linalg.qr(ENTRIES[entries](rng, (rows, STATE_DIM)))
        return q * np.where(np.diag(r) < 0, -1.0, 1.0)

    rng = np.random.default_rng([_SYSTEM_STREAM, system_seed])
    dynamics = DYNAMICS_SCALE * orthonormal(rng, STATE_DIM)
    invariant = INVARIANT_SCALE * orthonormal(rng, STATE_DIM)
    distractors = orthonormal(np.random.default_rng([_DISTRACTOR_STREAM, distractor_seed]), num_distractors)
    identity = np.eye(STATE_DIM)
    for matrix in (dynamics, identity, invariant, distractors):
        matrix.flags.writeable = False  # environments and callers share them
    return LQRSystem(dynamics, identity, identity, identity, invariant, distractors)


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


def riccati(system: LQRSystem) -> tuple[np.ndarray, np.ndarray]:
    """Return P, ``float64[n, n]``, and F*, ``float64[m, n]``: f = -F* s is optimal and costs s'Ps from state s.

    Raises:
        ValueError: for a system that no gain stabilizes, or whose cost leaves a growing state unseen.
        ImportError: without scipy.
    """
    try:
        from scipy.linalg import solve_discrete_are
    except ImportError as error:
        raise ImportError('the Riccati solution needs scipy: pip install "bisimgym[metrics]"') from error
    no_gain = ValueError("no optimal gain: (A, B) must be stabilizable and (A, Q) detectable")
    try:
        cost = solve_discrete_are(system.A, system.B, system.Q, system.R)
    except np.linalg.LinAlgError:
        raise no_gain from None
    gain = np.linalg.solve(system.R + system.B.T @ cost @ system.B, system.B.T @ cost @ system.A)
    if not np.isfinite(_cost_matrix(system, gain)).all():
        raise no_gain
    return cost, gain


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


def finite_horizon_cost(system: LQRSystem, gain: np.ndarray, variance: float, horizon: int) -> tuple[np.ndarray, float]:
    """Return P and c: f = -F s + noise of this variance per component costs s'Ps + c over ``horizon`` steps."""
    step, weight = system.A - system.B @ gain, system.Q + gain.T @ system.R @ gain
    quadratic, constant = np.zeros_like(weight), 0.0
    for _ in range(horizon):
        constant += variance * float(np.trace(system.R + system.B.T @ quadratic @ system.B))
        quadratic = weight + step.T @ quadratic @ step
    return quadratic, constant
