"""Closed-form refit: the maximum-likelihood Langevin model of encoded paths, for fixed features of the energy.

Prior and posterior must share one diffusion, and a part of what encoded paths do is done by the control. So a trained
beta is too large, and ``exp(-beta E)`` exaggerates how much wells differ. With the paths and the features of a
:class:`~bisimgym.baselines.langevin.energy.TanhEnergy` fixed, ``grad E`` is linear in the amplitudes and the
confinement: those that minimise the divergence of the paths from the prior are the solution of a least-squares problem,
and what is left over of the paths is the noise, which tells beta.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch as th

from bisimgym.baselines.langevin.energy import TanhEnergy, diagonal, frozen, inverse_softplus, positive

#: Transitions at once, and the least coefficient of ``|z|^2``: below it the energy would not confine.
_BLOCK, _LEAST_CONFINEMENT = 2**12, 1e-3


@th.no_grad()
def refit(
    energy: TanhEnergy, paths: Any, step: float, friction: Any = 1.0, ridge: float = 1e-5
) -> tuple[TanhEnergy, float]:
    """Return the energy and the inverse temperature that overdamped paths are most likely under.

    A transition of the Euler chain says ``grad E(z_n) = -friction (z_{n+1} - z_n) / step`` up to noise of variance
    ``2 friction / (beta step)``.

    Args:
        energy: gives the features and, as the point that the ridge draws to, the amplitudes and the confinement. It is
            not touched. What is returned is a copy in its precision.
        paths: ``float[N, T, d]``, of N sequences, one position per step of the chain.
        step: time units between two positions; with substeps, that of a substep.
        friction: gamma, a number or ``float[d]``, above 0.
        ridge: strength, as a part of the mean diagonal of the normal matrix.

    Raises:
        ValueError: for paths of another shape, too short, not finite or without noise, or numbers out of range.
    """
    (positions,) = _checked_paths(energy, positions=paths)
    friction = diagonal("friction", friction, energy.dim)
    forces = -friction * np.diff(positions, axis=1) / positive("step", step)
    return _regressed(energy, positions[:, :-1], forces, step / (2 * friction), ridge)


@th.no_grad()
def refit_underdamped(
    energy: TanhEnergy, positions: Any, momenta: Any, step: float, friction: Any, mass: Any, ridge: float = 1e-5
) -> tuple[TanhEnergy, float]:
    """Return the energy and the inverse temperature that underdamped paths are most likely under.

    Friction and mass are taken as they are. With ``r = friction / mass``, ``c = exp(-r step)`` and
    ``kappa = (1 - c) / r``, a step of the integrator "ou" of
    :class:`~bisimgym.baselines.langevin.dynamics.Underdamped` says ``grad E(q_n) = -(p_{n+1} - c p_n) / kappa`` up to
    noise of variance ``mass (1 - c^2) / (beta kappa^2)``: all else of the step is exact. Where r step is about 1 or
    more, the chain of the positions is hotter than beta, refitted or not: look at a simulated chain as well.

    Args:
        energy: as for :func:`refit`.
        positions, momenta: ``float[N, T, d]``, one of each per step of the chain.
        step: time units between two of them; with substeps, that of a substep.
        friction, mass: numbers or ``float[d]``, above 0.
        ridge: as for :func:`refit`.

    Raises:
        ValueError: for paths of another integrator, whose positions do not move by ``step p_{n+1} / mass``, and as for
            :func:`refit`.
    """
    positions, momenta = _checked_paths(energy, positions=positions, momenta=momenta)
    friction, mass = diagonal("friction", friction, energy.dim), diagonal("mass", mass, energy.dim)
    moves = np.diff(positions, axis=1)
    off = np.sqrt(np.mean((moves - positive("step", step) * momenta[:, 1:] / mass) ** 2) / np.mean(moves**2))
    if not off < 1e-2:
        raise ValueError(
            f"positions must move by step * momenta[:, 1:] / mass, they are off by {off:.1%}: take paths of the "
            'integrator "ou" at every (sub)step, with its step and its mass'
        )
    rate = friction / mass
    kept = np.exp(-rate * step)
    kick = -np.expm1(-rate * step) / rate
    forces = -(momenta[:, 1:] - kept * momenta[:, :-1]) / kick
    return _regressed(energy, positions[:, :-1], forces, kick**2 / (mass * -np.expm1(-2 * rate * step)), ridge)


def _regressed(
    energy: TanhEnergy, positions: np.ndarray, forces: np.ndarray, precision: np.ndarray, ridge: float
) -> tuple[TanhEnergy, float]:
    """Return the energy whose gradients at positions are closest to forces, and beta.

    Args:
        positions, forces: ``float64[N, T, d]``.
        precision: ``float64[d]``, over beta, of the noise in the forces.
    """
    if not (np.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be finite and 0 or more, got {ridge!r}")
    exact = frozen(energy)
    z, y = (th.from_numpy(np.ascontiguousarray(x)).reshape(-1, energy.dim) for x in (positions, forces))
    weights = th.from_numpy(np.array(precision))
    units = len(exact.a)
    normal, right = th.zeros(units + 1, units + 1, dtype=th.float64), th.zeros(units + 1, dtype=th.float64)
    for block, wanted in zip(z.split(_BLOCK), y.split(_BLOCK), strict=True):
        for i, design in enumerate(_designs(exact, block)):
            normal += weights[i] * design.T @ design
            right += weights[i] * design.T @ wanted[:, i]
    trained = th.cat([exact.confinement[None], exact.a])
    normal_ridged = normal + ridge * normal.diagonal().mean() * th.eye(units + 1, dtype=th.float64)
    target = right + (normal_ridged - normal) @ trained
    solution = th.linalg.lstsq(normal_ridged, target, driver="gelsd").solution
    if solution[0] < _LEAST_CONFINEMENT:
        # One bound on a convex quadratic: the solution is on it, and the rest is free.
        solution[0] = _LEAST_CONFINEMENT
        rest = target[1:] - normal_ridged[1:, 0] * _LEAST_CONFINEMENT
        solution[1:] = th.linalg.lstsq(normal_ridged[1:, 1:], rest, driver="gelsd").solution
    exact.a.copy_(solution[1:])
    exact.raw_confinement.copy_(inverse_softplus(float(solution[0])))
    squares = sum(
        float(((wanted - exact.gradient(block)).square() @ weights).sum())
        for block, wanted in zip(z.split(_BLOCK), y.split(_BLOCK), strict=True)
    )
    if not squares > 1e-12 * float((y.square() @ weights).sum()):
        raise ValueError("the paths have no noise, which beta would follow from: take sampled paths")
    result = copy.deepcopy(energy)
    result.load_state_dict(exact.state_dict())
    return result, len(z) * energy.dim / squares


def _designs(energy: TanhEnergy, z: th.Tensor) -> list[th.Tensor]:
    """Return for each coordinate ``[N, 1 + units]``: the gradient's derivatives by confinement and amplitudes."""
    slopes = 1 - th.tanh(z @ energy.w.T + energy.b).square()
    return [th.cat([2 * z[:, i : i + 1], slopes * energy.w[:, i]], dim=1) for i in range(energy.dim)]


def _checked_paths(energy: TanhEnergy, **paths: Any) -> list[np.ndarray]:
    if not isinstance(energy, TanhEnergy):
        raise ValueError(f"only a TanhEnergy is linear in what is refitted, got {type(energy).__name__}")
    arrays = []
    for name, path in paths.items():
        if isinstance(path, th.Tensor):
            path = path.detach().cpu().numpy()
        array = np.asarray(path, dtype=np.float64)
        if array.ndim != 3 or array.shape[1] < 2 or array.shape[2] != energy.dim or len(array) == 0:
            raise ValueError(f"{name} must be [N, T, {energy.dim}] with at least two steps, got shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
        arrays.append(array)
    if any(array.shape != arrays[0].shape for array in arrays):
        raise ValueError(f"{' and '.join(paths)} must have one shape, got {[array.shape for array in arrays]}")
    return arrays
