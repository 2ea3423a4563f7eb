"""Wells of an energy: where its gradient flow ends, and which points it brings there.

Analyses work on a copy in float64, on the CPU, in blocks that bound the memory; the energy itself stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th

from bisimgym.baselines.langevin.energy import Energy, as_points, frozen, positive

#: Points that flow at once, starts that are followed to the very end, and steps between two looks at the Hessian.
_BLOCK, _FOLLOWED, _ROUND = 2**12, 2000, 5

#: What becomes of a point, if it does not come into a ball.
_MOVING, _AT_REST = -2, -1


@dataclass(frozen=True)
class Flow:
    """Where points came to by gradient flow.

    Attributes:
        end_points: ``float64[N, d]``.
        converged: ``bool[N]``, whether the gradient there is below the tolerance. A point at rest need not be a
            minimum: saddles hold the points that start on their ridge.
        steps: taken by the slowest.
    """

    end_points: np.ndarray
    converged: np.ndarray
    steps: int


@dataclass(frozen=True)
class Wells:
    """Minima of an energy, in the order of their coordinates: by the first one, ties by the next.

    Attributes:
        minima: ``float64[K, d]``. K is found, not assumed; it can be 0.
        energies: ``float64[K]``.
        hessians: ``float64[K, d, d]``, positive definite.
        shares: ``float64[K]``, of the starts, that flow into each well.
        dropped: share of the starts that flow into wells too small to count, or to no minimum at all.
        unconverged: share of the starts followed to the very end whose gradient was still above the tolerance when the
            steps were used up.
        tolerance: distance below which minima count as one.
    """

    minima: np.ndarray
    energies: np.ndarray
    hessians: np.ndarray
    shares: np.ndarray
    dropped: float
    unconverged: float
    tolerance: float

    def __len__(self) -> int:
        """Return K."""
        return len(self.minima)

    @property
    def dim(self) -> int:
        """d."""
        return self.minima.shape[1]


@th.no_grad()
def gradient_flow(
    energy: Energy, starts: Any, tolerance: float = 1e-5, max_steps: int = 5000, max_move: float | None = None
) -> Flow:
    """Return where points come to by gradient flow, ``dz/dt = -grad E``.

    Steps are ``h g / (1 + h |g| / max_move)``. A point's h is one over the Frobenius norm of its Hessian, which is no
    less than the largest eigenvalue, so that no stiff direction is overshot; a step that would raise the energy is
    halved instead. A step of a fixed h is a trap: where h times the curvature is above 2, points jump to and fro
    between two places.

    Args:
        energy: of any dimension d.
        starts: ``float[N, d]``.
        tolerance: of ``|grad E|``, at which a point is at rest.
        max_steps: after which points are left where they are.
        max_move: length that no step reaches. None: a tenth of the spread of the starts (root mean square distance
            from their mean), or 0.1 if they are all the same.

    Raises:
        ValueError: for starts of another shape or not finite, or arguments out of range.
    """
    energy, starts = frozen(energy), as_points(starts, energy.dim, "starts")
    max_move = 0.1 * (spread(starts) or 1.0) if max_move is None else positive("max_move", max_move)
    return _flow(energy, starts, positive("tolerance", tolerance), max_steps, max_move)


@th.no_grad()
def find_wells(
    energy: Energy,
    starts: Any,
    tolerance: float = 1e-5,
    max_steps: int = 5000,
    merge: float = 0.1,
    min_share: float = 0.02,
) -> Wells:
    """Return the wells that starts flow into.

    Up to 2000 starts, drawn at random with a fixed seed, are followed to the very end, which damped Newton steps make
    exact; more than these cannot miss a well that counts. Only end points with a positive definite Hessian are minima.
    Those closer to a deeper one than a tolerance are one with it. All starts are then assigned to the minima, as by
    :func:`assign_wells`, and wells that hold too few are dropped.

    Args:
        energy: of any dimension d.
        starts: ``float[N, d]``; encoded data, not draws from a Gaussian: what counts is where the data flow to.
        tolerance: of ``|grad E|``, as for :func:`gradient_flow`.
        max_steps: as for :func:`gradient_flow`.
        merge: minima merge that are closer than this part of the spread of the end points; or of half the spread of the
            starts, or half the distance they travel, if one of these is more, as it is for a single well.
        min_share: of the starts, below which a well does not count.

    Raises:
        ValueError: for starts of another shape or not finite, or arguments out of range.
    """
    energy, starts = frozen(energy), as_points(starts, energy.dim, "starts")
    merge, tolerance = positive("merge", merge), positive("tolerance", tolerance)
    if not 0 <= min_share < 1:
        raise ValueError(f"min_share must be at least 0 and below 1, got {min_share}")
    max_move = 0.1 * (spread(starts) or 1.0)
    chosen = np.random.default_rng(0).permutation(len(starts))[:_FOLLOWED]
    flow = _flow(energy, starts[chosen], tolerance, max_steps, max_move)
    ends, exact = _newton(energy, th.from_numpy(flow.end_points), max_move)
    travelled = float((ends - starts[chosen]).square().sum(dim=1).mean().sqrt())
    ends = ends[exact]
    distance = merge * (max(spread(ends), spread(starts) / 2, travelled / 2) or 1.0)
    minima = _merged(energy, ends, distance)
    labels = _assigned(energy, minima, distance, starts)
    shares = np.bincount(labels[labels >= 0], minlength=len(minima)) / len(starts)
    minima, shares = minima[th.from_numpy(shares >= min_share)], shares[shares >= min_share]
    order = np.lexsort(np.round(minima.numpy() / distance).T[::-1])
    minima, shares = minima[th.from_numpy(order)], shares[order]
    return Wells(
        minima=minima.numpy(),
        energies=energy(minima).numpy(),
        hessians=energy.hessian(minima).numpy(),
        shares=shares,
        dropped=float(1 - shares.sum()) if len(shares) else 1.0,
        unconverged=float(1 - flow.converged.mean()),
        tolerance=distance,
    )


@th.no_grad()
def assign_wells(energy: Energy, wells: Wells, points: Any) -> np.ndarray:
    """Return ``int64[N]``: the well that each point flows into, -1 where it flows into none of them.

    The flow of a point stops where the energy is convex in a ball around a minimum: descent cannot leave that again.
    A quarter of a million points in two dimensions take about a second.

    Args:
        energy: the energy that the wells are those of.
        points: ``float[N, d]``.

    Raises:
        ValueError: for points of another shape or not finite, or wells of another dimension.
    """
    if wells.dim != energy.dim:
        raise ValueError(f"the wells are those of an energy of {wells.dim} dimensions, this one has {energy.dim}")
    energy, points = frozen(energy), as_points(points, energy.dim)
    return _assigned(energy, th.from_numpy(wells.minima), wells.tolerance, points)


def spread(points: th.Tensor) -> float:
    """Return the root mean square distance of points ``float[N, d]`` from their mean; 0 for no points."""
    if len(points) == 0:
        return 0.0
    return float((points - points.mean(dim=0)).square().sum(dim=1).mean().sqrt())


@th.no_grad()
def refine_minimum(energy: Energy, point: np.ndarray, max_move: float) -> np.ndarray | None:
    """Return the minimum ``float64[d]`` that a point flows to, exactly, or None if it is not one.

    Args:
        energy: in float64, see :func:`~bisimgym.baselines.langevin.energy.frozen`.
        point: ``float64[d]``.
        max_move: length that no step reaches.
    """
    flow = _flow(energy, as_points(point[None], energy.dim), 1e-5, 5000, max_move)
    ends, exact = _newton(energy, th.from_numpy(flow.end_points), max_move)
    return ends[0].numpy() if exact[0] else None


def _flow(energy: Energy, starts: th.Tensor, tolerance: float, max_steps: int, max_move: float) -> Flow:
    ends, status, steps = _descend(energy, starts, tolerance, max_steps, max_move)
    return Flow(ends.numpy(), (status == _AT_REST).numpy(), steps)


def _descend(
    energy: Energy,
    starts: th.Tensor,
    tolerance: float,
    max_steps: int,
    max_move: float,
    balls: tuple[th.Tensor, th.Tensor] | None = None,
) -> tuple[th.Tensor, th.Tensor, int]:
    """Return end points ``[N, d]``, ``int64[N]`` what became of them, and the steps of the slowest.

    A point that comes into one of the balls (centers ``[K, d]``, radii ``[K]``) stops there; its status is the ball's
    number.
    """
    ends, status = starts.clone(), th.full((len(starts),), _MOVING)
    rows = th.arange(0)  # of the points that flow now; others take the place of those that have come to an end
    step, steps = starts.new_empty(0), th.zeros(len(starts), dtype=th.int64)
    begun = 0
    while True:
        if len(rows) <= _BLOCK // 2 and begun < len(starts):
            fresh = th.arange(begun, min(begun + _BLOCK - len(rows), len(starts)))
            rows, step = th.cat([rows, fresh]), th.cat([step, starts.new_full((len(fresh),), th.inf)])
            begun += len(fresh)
        z = ends[rows]
        value, gradient = energy.value_and_gradient(z)
        norm = gradient.norm(dim=1)
        state = th.where(norm < tolerance, _AT_REST, _MOVING)
        if balls is not None:
            centers, radii = balls
            nearest = th.cdist(z, centers).sub_(radii).min(dim=1)
            state = th.where(nearest.values < 0, nearest.indices, state)
        status[rows] = state
        moving = (state == _MOVING) & (steps[rows] < max_steps)
        if not moving.all():
            rows, z, value, gradient, step = rows[moving], z[moving], value[moving], gradient[moving], step[moving]
        if len(rows) == 0 and begun == len(starts):
            return ends, status, int(steps.max())
        limit = 1 / energy.hessian(z).flatten(start_dim=1).norm(dim=1).clamp_min(1e-300)
        for _ in range(_ROUND):
            step = th.minimum(step, limit)
            moved = z - (step / (1 + step * gradient.norm(dim=1) / max_move))[:, None] * gradient
            new_value, new_gradient = energy.value_and_gradient(moved)
            # Not "lower by so much": close to a minimum, differences drown in rounding.
            better = new_value <= value + 1e-14 * value.abs()
            step = th.where(better, 2 * step, step / 2)
            z, gradient = th.where(better[:, None], moved, z), th.where(better[:, None], new_gradient, gradient)
            value = th.where(better, new_value, value)
        ends[rows] = z
        steps[rows] += _ROUND


def _newton(energy: Energy, z: th.Tensor, max_move: float, max_steps: int = 50) -> tuple[th.Tensor, th.Tensor]:
    """Return points after damped Newton steps, and ``bool[N]``, which of them are exact minima."""
    z = z.clone()
    exact = th.zeros(len(z), dtype=th.bool)
    rows = th.arange(len(z))  # where the Hessian is positive definite and the steps are not yet down to rounding
    scale = th.ones(len(z), dtype=z.dtype)
    for _ in range(max_steps):
        if len(rows) == 0:
            break
        value, gradient = energy.value_and_gradient(z[rows])
        eigenvalues, vectors = th.linalg.eigh(energy.hessian(z[rows]))
        definite = eigenvalues[:, 0] > 1e-8 * eigenvalues[:, -1].abs()
        rows, value, gradient, scale = rows[definite], value[definite], gradient[definite], scale[definite]
        eigenvalues, vectors = eigenvalues[definite], vectors[definite]
        move = -(vectors @ ((vectors.mT @ gradient[..., None]) / eigenvalues[..., None]))[..., 0]
        length = move.norm(dim=1)
        move = move * (scale / (1 + length / max_move))[:, None]
        done = length < 1e-8 * max_move
        better = energy(z[rows] + move) <= value + 1e-14 * value.abs()
        z[rows] = th.where((better | done)[:, None], z[rows] + move, z[rows])
        exact[rows[done]] = True
        rows, scale = rows[~done], th.where(better, th.ones_like(scale), scale / 2)[~done]
    return z, exact


def _merged(energy: Energy, minima: th.Tensor, distance: float) -> th.Tensor:
    """Return the minima ``[K, d]`` that are no closer than a distance to a deeper one."""
    left = minima[energy(minima).argsort(stable=True)]
    kept = []
    while len(left):
        kept.append(left[0])
        left = left[(left - left[0]).norm(dim=1) > distance]
    return th.stack(kept) if kept else minima.new_zeros(0, energy.dim)


def _assigned(energy: Energy, minima: th.Tensor, tolerance: float, points: th.Tensor) -> np.ndarray:
    if len(minima) == 0:
        return np.full(len(points), -1)
    radii = _convex_radii(energy, minima, points)
    max_move = max(2 * tolerance, 0.1 * spread(points))  # minima tell no scale if there is only one
    ends, status, _ = _descend(energy, points, 1e-5, 5000, max_move, (minima, radii))
    nearest = th.cdist(ends, minima).min(dim=1)
    # Minima that were merged may lie outside of the ball of their well, but within the tolerance.
    within = th.where((status == _AT_REST) & (nearest.values <= tolerance), nearest.indices, -1)
    return th.where(status >= 0, status, within).numpy()


def _convex_radii(energy: Energy, minima: th.Tensor, points: th.Tensor) -> th.Tensor:
    """Return radii ``[K]`` of balls around minima in which the energy is convex, as far as samples of the Hessian tell.

    There, ``(z - minimum) . grad E >= |grad E|^2 / L``: a step of descent of at most 2 / L comes closer to the minimum.
    """
    dim = energy.dim
    draws = np.random.default_rng(0).standard_normal((64 * dim, dim))
    directions = th.from_numpy(draws / np.linalg.norm(draws, axis=1, keepdims=True))
    fractions = th.linspace(0.125, 1, 8, dtype=th.float64)
    shell = (fractions[:, None, None] * directions).flatten(end_dim=1)
    radii = th.cdist(minima, minima).fill_diagonal_(th.inf).min(dim=1).values / 2
    radii = radii.clamp_max(3 * spread(points) or 1.0)
    floor = 0.05 * th.linalg.eigvalsh(energy.hessian(minima))[:, 0]
    for i, center in enumerate(minima):
        while th.linalg.eigvalsh(energy.hessian(center + radii[i] * shell)).min() < floor[i]:
            radii[i] *= 0.8
    return radii
