"""Transitions between wells: saddles, minimum-energy paths, and rates by Eyring and Kramers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th

from bisimgym.baselines.langevin.energy import Energy, as_points, diagonal, frozen, positive
from bisimgym.baselines.langevin.landscape import Wells, refine_minimum


@dataclass(frozen=True)
class Saddle:
    """A point at rest from which the energy falls in exactly one direction.

    Attributes:
        position: ``float64[d]``.
        energy: there.
        hessian: ``float64[d, d]``, with one negative eigenvalue.
    """

    position: np.ndarray
    energy: float
    hessian: np.ndarray


@dataclass(frozen=True)
class MinimumEnergyPath:
    """The way between two minima that climbs least.

    Attributes:
        images: ``float64[n, d]``, from start to end, at equal distances.
        energies: ``float64[n]``.
        saddle: the highest point, or None if the way passes through a third well.
        intermediate: ``float64[m, d]``, minima of third wells on the way; empty for neighbors.
        straight_top: highest energy on the straight line, an upper bound of the saddle's.
        converged: whether the images came to rest.
    """

    images: np.ndarray
    energies: np.ndarray
    saddle: Saddle | None
    intermediate: np.ndarray
    straight_top: float
    converged: bool

    @property
    def direct(self) -> bool:
        """Whether the two wells are neighbors: one saddle from which the flow leads to both."""
        return self.saddle is not None


@dataclass(frozen=True)
class RateMatrix:
    """Rates between wells, and what they come from.

    Attributes:
        rates: ``float64[K, K]`` per unit of time, a generator: rates from i to j off the diagonal, 0 for wells that are
            no neighbors, and rows that sum to 0.
        saddles: of neighbors (i, j), i < j.
        barriers: ``float64[K, K]``, energy of the saddle above that of well i; inf for wells that are no neighbors, 0
            on the diagonal.
        unresolved: pairs (i, j), i < j, whose path did not come to rest: a rate of 0 there means nothing.
    """

    rates: np.ndarray
    saddles: dict[tuple[int, int], Saddle]
    barriers: np.ndarray
    unresolved: tuple[tuple[int, int], ...]


@th.no_grad()
def minimum_energy_path(
    energy: Energy, start: Any, end: Any, images: int = 41, tolerance: float = 1e-5, max_steps: int = 20000
) -> MinimumEnergyPath:
    """Return the minimum-energy path between two minima, by the simplified string method.

    Images on the straight line take steps of descent and are then spaced equally again (E, Ren and Vanden-Eijnden
    2007). The highest one is brought to the saddle by steps of Newton that climb along the lowest eigenvector and
    descend along the others. Two wells are neighbors if the flow from there leads to one on the one side and to the
    other on the other.

    Args:
        energy: of any dimension d.
        start, end: ``float[d]``, two minima, such as two rows of ``Wells.minima``.
        images: on the path, ends included; 5 or more.
        tolerance: the string is at rest when no image moves in a step by this part of the distance between images.
        max_steps: of the string.

    Raises:
        ValueError: for points that are no minima or the same, or arguments out of range.
    """
    if images < 5:
        raise ValueError(f"images must be 5 or more, got {images}")
    energy = frozen(energy)
    ends = as_points(np.stack([np.asarray(start), np.asarray(end)]), energy.dim, "start and end")
    length = float((ends[1] - ends[0]).norm())
    if length == 0:
        raise ValueError("start and end must be two minima, they are the same point")
    _check_minima(energy, ends, length)
    weights = th.linspace(0, 1, images, dtype=th.float64)[:, None]
    string = (1 - weights) * ends[0] + weights * ends[1]
    straight_top = float(energy((1 - _FINE) * ends[0] + _FINE * ends[1]).max())
    converged = False
    for _ in range(max_steps):
        step = 1 / energy.hessian(string).flatten(start_dim=1).norm(dim=1).max()
        move = -step * energy.gradient(string)
        move[0] = move[-1] = 0
        # No image passes its neighbor.
        move = move / (1 + move.norm(dim=1, keepdim=True) * images / length)
        new = _respaced(string + move)
        converged = float((new - string).norm(dim=1).max()) < tolerance * length / images
        string = new
        if converged:
            break
    energies = energy(string)
    saddle, intermediate = _inspected(energy, string, energies, ends, length)
    return MinimumEnergyPath(string.numpy(), energies.numpy(), saddle, intermediate, straight_top, converged)


def eyring_kramers(wells: Wells, saddle: Saddle, beta: float, friction: Any, mass: Any = None) -> np.ndarray:
    """Return ``float64[K]``: rates of escape through a saddle, per unit of time, of each well if it is next to it.

    ``k_i = lambda_+ / (2 pi) sqrt(det H_i / |det H_s|) exp(-beta (E_s - E_i))``, where ``lambda_+`` is the rate
    at which the dynamics without noise leave the saddle: the positive eigenvalue of ``-H_s / friction`` if overdamped,
    and of ``[[0, 1 / mass], [-H_s, -friction / mass]]`` if underdamped (Kramers 1940, Langer 1969). With Laplace's
    weights s, ``s_i k_ij = s_j k_ji``. It holds for beta times the barrier well above 1; at 1 to 3 expect a factor of
    two.

    Args:
        wells: of the energy.
        saddle: between two of them; entries of other wells mean nothing.
        beta: inverse temperature, above 0.
        friction: a number or ``float[d]``, above 0.
        mass: None if overdamped, else a number or ``float[d]``, above 0.

    Raises:
        ValueError: for a saddle whose Hessian has not exactly one negative eigenvalue, or numbers out of range.
    """
    beta = positive("beta", beta)
    friction = diagonal("friction", friction, wells.dim)
    if int((np.linalg.eigvalsh(saddle.hessian) < 0).sum()) != 1:
        raise ValueError(
            f"a saddle's Hessian has one negative eigenvalue, got {np.linalg.eigvalsh(saddle.hessian).tolist()}"
        )
    if mass is None:
        root = np.sqrt(friction)
        growth = -np.linalg.eigvalsh(saddle.hessian / np.outer(root, root))[0]
    else:
        mass = diagonal("mass", mass, wells.dim)
        dynamics = np.block(
            [[np.zeros((wells.dim, wells.dim)), np.diag(1 / mass)], [-saddle.hessian, -np.diag(friction / mass)]]
        )
        growth = np.linalg.eigvals(dynamics).real.max()
    log_ratios = np.linalg.slogdet(wells.hessians).logabsdet - np.linalg.slogdet(saddle.hessian).logabsdet
    return growth / (2 * np.pi) * np.exp(log_ratios / 2 - beta * (saddle.energy - wells.energies))


def rate_matrix(
    energy: Energy, wells: Wells, beta: float, friction: Any, mass: Any = None, images: int = 41
) -> RateMatrix:
    """Return the rates between all wells by Eyring and Kramers, each pair through the saddle of its own path.

    Args:
        energy: the energy that the wells are those of.
        wells: K, any number.
        beta, friction, mass: see :func:`eyring_kramers`.
        images: see :func:`minimum_energy_path`.

    Raises:
        ValueError: for arguments out of range.
    """
    count = len(wells)
    rates, barriers, saddles, unresolved = np.zeros((count, count)), np.full((count, count), np.inf), {}, []
    np.fill_diagonal(barriers, 0)
    for i, j in itertools.combinations(range(count), 2):
        path = minimum_energy_path(energy, wells.minima[i], wells.minima[j], images)
        if path.saddle is not None:
            saddles[i, j] = path.saddle
            escape = eyring_kramers(wells, path.saddle, beta, friction, mass)
            rates[i, j], rates[j, i] = escape[i], escape[j]
            barriers[i, j], barriers[j, i] = path.saddle.energy - wells.energies[[i, j]]
        elif not path.converged or len(path.intermediate) == 0:
            unresolved.append((i, j))
    np.fill_diagonal(rates, -rates.sum(axis=1))
    return RateMatrix(rates, saddles, barriers, tuple(unresolved))


#: Part of the distance between two minima within which a third is one of them, and where their line is looked at.
_SAME = 0.05
_FINE = th.linspace(0, 1, 1001, dtype=th.float64)[:, None]


def _check_minima(energy: Energy, ends: th.Tensor, length: float) -> None:
    eigenvalues = th.linalg.eigvalsh(energy.hessian(ends))
    away = energy.gradient(ends).norm(dim=1) / eigenvalues[:, 0].abs()
    for name, lowest, distance in zip(("start", "end"), eigenvalues[:, 0], away, strict=True):
        if lowest <= 0 or distance > 1e-3 * length:
            raise ValueError(
                f"{name} must be a minimum: the lowest eigenvalue of its Hessian is {float(lowest):g} and the nearest "
                f"point at rest about {float(distance):g} away; take minima of find_wells"
            )


def _respaced(string: th.Tensor) -> th.Tensor:
    """Return images ``[n, d]`` at equal distances along the same polygon."""
    lengths = (string[1:] - string[:-1]).norm(dim=1)
    reached = th.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    wanted = th.linspace(0, 1, len(string), dtype=string.dtype) * reached[-1]
    left = (th.searchsorted(reached, wanted, right=True) - 1).clamp(0, len(string) - 2)
    share = ((wanted - reached[left]) / lengths[left].clamp_min(1e-300)).clamp(0, 1)[:, None]
    return th.cat([string[:1], ((1 - share) * string[left] + share * string[left + 1])[1:-1], string[-1:]])


def _inspected(
    energy: Energy, string: th.Tensor, energies: th.Tensor, ends: th.Tensor, length: float
) -> tuple[Saddle | None, np.ndarray]:
    """Return the saddle if there is one between the two ends, and the minima of third wells otherwise."""
    spacing = float((string[1] - string[0]).norm())
    low = (energies[1:-1] < energies[:-2]) & (energies[1:-1] < energies[2:])
    passed = [refine_minimum(energy, string[1:-1][i].numpy(), spacing) for i in th.nonzero(low).ravel()]
    beside = []
    position = _climbed(energy, string[int(energies[1:-1].argmax()) + 1], spacing)
    if position is not None:
        hessian = energy.hessian(position)
        downhill = 1e-2 * spacing * th.linalg.eigh(hessian).eigenvectors[:, 0]
        beside = [refine_minimum(energy, (position + sign * downhill).numpy(), spacing) for sign in (1, -1)]
    third: list[np.ndarray] = []
    reached: set[int] = set()
    for minimum in passed + beside:
        if minimum is None:
            continue
        if np.linalg.norm(np.stack([*ends.numpy(), *third]) - minimum, axis=1).min() > _SAME * length:
            third.append(minimum)
    for minimum in beside:
        if minimum is not None:
            reached |= set(np.flatnonzero(np.linalg.norm(ends.numpy() - minimum, axis=1) <= _SAME * length).tolist())
    if position is None or third or reached != {0, 1}:
        return None, np.array(third).reshape(-1, energy.dim)
    return Saddle(position.numpy(), float(energy(position)), hessian.numpy()), np.zeros((0, energy.dim))


def _climbed(energy: Energy, z: th.Tensor, max_move: float, max_steps: int = 1000) -> th.Tensor | None:
    """Return the saddle of index 1 that a point is led to, or None."""
    for _ in range(max_steps):
        eigenvalues, vectors = th.linalg.eigh(energy.hessian(z))
        along = vectors.mT @ energy.gradient(z) / eigenvalues.abs().clamp_min(1e-12)
        along[1:] *= -1
        length = float(along.norm())
        if length < 1e-9 * max_move:
            return z if eigenvalues[0] < 0 and (len(eigenvalues) == 1 or eigenvalues[1] > 0) else None
        z = z + vectors @ along / max(1.0, length / (0.5 * max_move))
    return None
