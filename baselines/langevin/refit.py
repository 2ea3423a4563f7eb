"""Closed-form refit: the maximum-likelihood Langevin model of encoded paths, for fixed features of the energy.

Prior and posterior must share one diffusion, and a part of what encoded paths do is done by the control. So a trained
beta is too large, and ``exp(-beta E)`` exaggerates how much wells differ. With the paths and the features of a
:class:`~bisimgym.baselines.langevin.energy.TanhEnergy` fixed, ``grad E`` is linear in the amplitudes and the
confinement: those that minimize the divergence of the paths from the prior are the solution of a least-squares problem,
and what is left over of the paths is the noise, which tells beta.

Transitions say little of how deep wells are, next to how long paths stay in them. With ``stationarity`` above 0 the
positions count as draws from ``exp(-beta E) / Z`` as well: the negative log-likelihood is convex in ``beta theta`` and
beta, and a few Newton steps find its minimum.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch as th

from bisimgym.baselines.langevin.energy import TanhEnergy, diagonal, frozen, inverse_softplus, positive

#: Transitions at once, and the least coefficient of ``|z|^2``: below it the energy would not confine.
_BLOCK, _LEAST_CONFINEMENT = 2**12, 1e-3
#: Cells along each axis, by dimension, of the integral Z, whose box is so much wider on each side than the positions'.
_CELLS, _MARGIN = {1: 2000, 2: 150, 3: 45}, 0.5
_NEWTON_STEPS, _DECREMENT = 200, 1e-12


@th.no_grad()
def refit(
    energy: TanhEnergy,
    paths: Any,
    step: float,
    friction: Any = 1.0,
    ridge: float = 1e-5,
    stationarity: float = 0.0,
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
        stationarity: how often each position counts as an independent draw from the stationary law, beside its
            transition, which counts once. 0: not at all. One over the number of frames in which the signal forgets
            where it was, such as 0.1, counts every such stretch as one draw. Above 0 for up to three dimensions.

    Raises:
        ValueError: for paths of another shape, too short, not finite or without noise, or numbers out of range.
        RuntimeError: if the likelihood's maximum was not found.
    """
    (positions,) = _checked_paths(energy, positions=paths)
    friction = diagonal("friction", friction, energy.dim)
    forces = -friction * np.diff(positions, axis=1) / positive("step", step)
    return _fitted(energy, positions[:, :-1], forces, step / (2 * friction), ridge, stationarity)


@th.no_grad()
def refit_underdamped(
    energy: TanhEnergy,
    positions: Any,
    momenta: Any,
    step: float,
    friction: Any,
    mass: Any,
    ridge: float = 1e-5,
    stationarity: float = 0.0,
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
        ridge, stationarity: as for :func:`refit`.

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
    precision = kick**2 / (mass * -np.expm1(-2 * rate * step))
    return _fitted(energy, positions[:, :-1], forces, precision, ridge, stationarity)


def _fitted(
    energy: TanhEnergy,
    positions: np.ndarray,
    forces: np.ndarray,
    precision: np.ndarray,
    ridge: float,
    stationarity: float,
) -> tuple[TanhEnergy, float]:
    """Return the energy whose gradients at positions are closest to forces, and beta.

    Args:
        positions, forces: ``float64[N, T, d]``.
        precision: ``float64[d]``, over beta, of the noise in the forces.
    """
    for name, value in (("ridge", ridge), ("stationarity", stationarity)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and 0 or more, got {value!r}")
    if stationarity > 0 and energy.dim not in _CELLS:
        raise ValueError(
            f"stationarity takes an integral over space, in up to 3 dimensions; this energy has {energy.dim}: use 0"
        )
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
    drawn = ridge * normal.diagonal().mean()
    normal += drawn * th.eye(units + 1, dtype=th.float64)
    right += drawn * trained
    solution = th.linalg.lstsq(normal, right, driver="gelsd").solution
    if solution[0] < _LEAST_CONFINEMENT:
        # One bound on a convex quadratic: the solution is on it, and the rest is free.
        solution[0] = _LEAST_CONFINEMENT
        rest = right[1:] - normal[1:, 0] * _LEAST_CONFINEMENT
        solution[1:] = th.linalg.lstsq(normal[1:, 1:], rest, driver="gelsd").solution
    _set(exact, solution)
    squares = sum(
        float(((wanted - exact.gradient(block)).square() @ weights).sum())
        for block, wanted in zip(z.split(_BLOCK), y.split(_BLOCK), strict=True)
    )
    total = float((y.square() @ weights).sum())
    if not squares > 1e-12 * total:
        raise ValueError("the paths have no noise, which beta would follow from: take sampled paths")
    beta = len(z) * energy.dim / squares
    if stationarity > 0:
        # The ridge is a sum of squares as well: as if so many more transitions had been seen.
        squared = total + drawn * trained.square().sum()
        statistics = normal / len(z), right / len(z), squared / len(z)
        solution, beta = _at_rest(exact, z, *statistics, stationarity, solution, beta)
        _set(exact, solution)
    result = copy.deepcopy(energy)
    result.load_state_dict(exact.state_dict())
    return result, beta


def _set(energy: TanhEnergy, solution: th.Tensor) -> None:
    """Write the confinement and the amplitudes, ``float64[1 + units]``, into an energy."""
    energy.raw_confinement.copy_(inverse_softplus(float(solution[0])))
    energy.a.copy_(solution[1:])


def _at_rest(
    energy: TanhEnergy,
    z: th.Tensor,
    normal: th.Tensor,
    right: th.Tensor,
    total: th.Tensor,
    stationarity: float,
    solution: th.Tensor,
    start: float,
) -> tuple[th.Tensor, float]:
    """Return the confinement and amplitudes theta, and beta, that transitions and the law at rest make most likely.

    Per transition, with ``phi = beta theta``, features F and their mean over the positions m, this minimizes
    ``(beta total - 2 phi.right + phi.normal.phi / beta - d log(beta)) / 2 + stationarity (phi.m + log Z(phi))``, by
    Newton steps that are projected on the bound of the confinement.

    Args:
        z: ``float64[N, d]``.
        normal, right, total: ``float64[U, U]``, ``float64[U]``, ``float64[]``: of the least squares, per transition.
        solution, start: theta and beta of the transitions alone, where Newton starts.
    """
    corners = th.stack([z.amin(dim=0), z.amax(dim=0)])
    margin = _MARGIN * (corners[1] - corners[0])
    low, high, cells = corners[0] - margin, corners[1] + margin, _CELLS[energy.dim]
    middles = (th.arange(cells, dtype=th.float64) + 0.5) / cells
    grid = th.cartesian_prod(*(low[i] + (high - low)[i] * middles for i in range(energy.dim)))
    features = _features(energy, grid.reshape(-1, energy.dim))
    mean = sum(_features(energy, block).sum(dim=0) for block in z.split(_BLOCK)) / len(z)

    def value(phi: th.Tensor, beta: th.Tensor) -> th.Tensor:
        paths = beta * total - 2 * phi @ right + phi @ normal @ phi / beta - energy.dim * beta.log()
        return paths / 2 + stationarity * (phi @ mean + th.logsumexp(-(features @ phi), dim=0))

    def split(x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return x[:-1], x[-1]

    least = th.full((len(solution) + 1,), -th.inf, dtype=th.float64)
    least[0], least[-1] = _LEAST_CONFINEMENT, 1e-6
    x = th.cat([start * solution, th.tensor([start], dtype=th.float64)]).maximum(least)
    for _ in range(_NEWTON_STEPS):
        phi, beta = split(x)
        density = th.softmax(-(features @ phi), dim=0)
        expected = density @ features
        covariance = features.T @ (density[:, None] * features) - th.outer(expected, expected)
        slope = normal @ phi / beta
        gradient = th.cat(
            [
                slope - right + stationarity * (mean - expected),
                ((total - slope @ phi / beta - energy.dim / beta) / 2)[None],
            ]
        )
        hessian = th.empty(len(x), len(x), dtype=th.float64)
        hessian[:-1, :-1] = normal / beta + stationarity * covariance
        hessian[:-1, -1] = hessian[-1, :-1] = -slope / beta
        hessian[-1, -1] = (slope @ phi + energy.dim / 2) / beta**2
        free = (x > least) | (gradient < 0)
        step = th.zeros_like(x)
        step[free] = -th.linalg.lstsq(hessian[free][:, free], gradient[free], driver="gelsd").solution
        if -(gradient @ step) < _DECREMENT:
            return phi / beta, float(beta)
        now, length = value(phi, beta), 1.0
        while not value(*split(after := (x + length * step).maximum(least))) <= now + 1e-4 * gradient @ (after - x):
            length /= 2
            if length < 1e-12:
                break
        x = after
    raise RuntimeError(f"the refit has not converged in {_NEWTON_STEPS} Newton steps: give it a larger ridge")


def _features(energy: TanhEnergy, z: th.Tensor) -> th.Tensor:
    """Return ``[N, 1 + units]``: what the energy is linear in."""
    return th.cat([z.square().sum(dim=1, keepdim=True), th.tanh(z @ energy.w.T + energy.b)], dim=1)


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
