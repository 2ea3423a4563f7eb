"""How much of the stationary law ``exp(-beta E)`` is in each well: four estimates, and their error.

=========================== ===============================================================================
:func:`laplace_weights`     from the minima alone: depths (order 0), and depths and curvatures (order 2)
:func:`sampled_weights`     a Markov chain whose stationary law is exact (MALA)
:func:`quadrature_weights`  the number that the others approximate, up to three dimensions
:func:`empirical_weights`   of labels: of encoded data, or of a simulated chain; needs no energy
=========================== ===============================================================================

All weights are normalized over the wells.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th

from bisimgym.baselines.langevin.energy import Energy, as_points, frozen, positive
from bisimgym.baselines.langevin.landscape import Wells, assign_wells
from bisimgym.envs.checks import probabilities

#: Share of the starting distribution that may be left when a chain's samples begin to count.
_MIXED = 0.01

#: Acceptance of proposals that warm-up aims at, and beta times the height at which quadrature ends.
_ACCEPTANCE, _HEIGHT = 0.65, 25.0


@dataclass(frozen=True)
class SampledWeights:
    """Weights of wells by sampling, and what tells whether to believe them.

    Attributes:
        weights: ``float64[K]``; nan where no sample is in any well.
        acceptance: share of proposals accepted after warm-up.
        step_size: of the Langevin proposals.
        crossings: ``int64[K, K]``, how often a chain was in one well at one record and in another at the next.
        memory: share of the starting distribution that is left when the samples begin to count, by the second
            eigenvalue of the chain of wells from record to record: 0 at best, 1 if a well was never left.
        mixed: whether ``memory`` is below 1 % and the acceptance between 0.5 and 0.8.
        unassigned: share of the samples that flow into no well.
        samples: ``float64[S, d]``, of the stationary law.
        labels: ``int64[S]``, their wells, -1 for none.
    """

    weights: np.ndarray
    acceptance: float
    step_size: float
    crossings: np.ndarray
    memory: float
    mixed: bool
    unassigned: float
    samples: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class QuadratureWeights:
    """Weights of wells by quadrature.

    Attributes:
        weights: ``float64[K]``.
        unassigned: share of the stationary law that flows into no well; it is not part of the weights.
        log_partition: log of the integral of ``exp(-beta E)``.
    """

    weights: np.ndarray
    unassigned: float
    log_partition: float


def laplace_weights(wells: Wells, beta: float, order: int = 2) -> np.ndarray:
    """Return ``float64[K]`` weights by Laplace's approximation: every well is a Gaussian.

    ``s_i ~ exp(-beta E_i) det(H_i)^(-1/2)`` in order 2, ``~ exp(-beta E_i)`` in order 0. A narrow well weighs less than
    a wide one of the same depth.

    Args:
        wells: of the energy.
        beta: inverse temperature, above 0.
        order: 0 or 2.

    Raises:
        ValueError: for another order, or a beta that is not above 0.
    """
    beta = positive("beta", beta)
    if order not in (0, 2):
        raise ValueError(f"order must be 0 (depths) or 2 (depths and curvatures), got {order!r}")
    log_weights = -beta * wells.energies
    if order == 2:
        log_weights = log_weights - np.linalg.slogdet(wells.hessians).logabsdet / 2
    weights = np.exp(log_weights - log_weights.max(initial=-np.inf))
    return weights / weights.sum()


@th.no_grad()
def sampled_weights(
    energy: Energy,
    beta: float,
    wells: Wells,
    starts: Any,
    seed: int,
    num_chains: int = 1000,
    warm_up: int = 500,
    num_steps: int = 2000,
    num_records: int = 50,
) -> SampledWeights:
    """Return weights by the Metropolis-adjusted Langevin algorithm (MALA; Roberts and Tweedie 1996).

    Chains start from data. During warm-up the step adapts to an acceptance of 0.65, and is frozen then. Positions are
    recorded at equal distances; those of the second half are the samples. If chains do not cross between wells, their
    weights are those of the starts, whatever the energy: this is measured, and warned of.

    Args:
        energy: of any dimension d.
        beta: inverse temperature, above 0.
        wells: of the energy.
        starts: ``float[N, d]``, from which the chains' starts are drawn with replacement.
        seed: of all that is drawn.
        num_chains: 1 or more.
        warm_up: steps, 1 or more.
        num_steps: after warm-up, at least ``num_records``.
        num_records: of each chain, 4 or more; every second one counts towards the weights.

    Raises:
        ValueError: for starts of another shape or not finite, or arguments out of range.

    Warns:
        RuntimeWarning: if the chains have not mixed.
    """
    beta = positive("beta", beta)
    for name, count, low in (("num_chains", num_chains, 1), ("warm_up", warm_up, 1), ("num_records", num_records, 4)):
        if count < low:
            raise ValueError(f"{name} must be {low} or more, got {count}")
    if num_steps < num_records:
        raise ValueError(f"num_steps must be at least num_records, {num_records}, got {num_steps}")
    energy = frozen(energy)
    starts = as_points(starts, energy.dim, "starts")
    generator = th.Generator().manual_seed(seed)
    z = starts[th.randint(len(starts), (num_chains,), generator=generator)]
    value, gradient = energy.value_and_gradient(z)
    step = 1 / (beta * float(energy.hessian(z).flatten(start_dim=1).norm(dim=1).median().clamp_min(1e-12)))
    accepted, records = [], []
    keep_at = set(np.linspace(0, num_steps, num_records + 1).astype(int)[1:].tolist())
    for n in range(warm_up + num_steps):
        noise = th.randn(z.shape, generator=generator, dtype=z.dtype)
        uniform = th.rand(len(z), generator=generator, dtype=z.dtype)
        proposal = z - step * beta * gradient + (2 * step) ** 0.5 * noise
        new_value, new_gradient = energy.value_and_gradient(proposal)
        back = z - proposal + step * beta * new_gradient
        log_ratio = beta * (value - new_value) + (noise * noise).sum(dim=1) / 2 - (back * back).sum(dim=1) / (4 * step)
        accept = uniform.log() < log_ratio
        z, gradient = th.where(accept[:, None], proposal, z), th.where(accept[:, None], new_gradient, gradient)
        value = th.where(accept, new_value, value)
        share = float(accept.double().mean())
        if n < warm_up:
            step *= float(np.exp((share - _ACCEPTANCE) / (1 + n) ** 0.5))
        else:
            accepted.append(share)
            if n + 1 - warm_up in keep_at:
                records.append(z)
    recorded = th.stack(records)
    labels = assign_wells(energy, wells, recorded.flatten(end_dim=1)).reshape(recorded.shape[:2])
    half = len(labels) // 2
    crossings, memory = _memory(labels, len(wells), half)
    acceptance = float(np.mean(accepted))
    mixed = memory < _MIXED and 0.5 <= acceptance <= 0.8
    if not mixed:
        warnings.warn(
            f"the chains have not mixed: {memory:.1%} of the starting distribution is left and the acceptance is "
            f"{acceptance:.2f}; take more steps, now {num_steps}, or another estimate",
            RuntimeWarning,
            stacklevel=3,  # no_grad is in between
        )
    samples, found = recorded[half:].flatten(end_dim=1).numpy(), labels[half:].ravel()
    return SampledWeights(
        weights=empirical_weights(found, len(wells)),
        acceptance=acceptance,
        step_size=step,
        crossings=crossings,
        memory=memory,
        mixed=mixed,
        unassigned=float((found < 0).mean()),
        samples=samples,
        labels=found,
    )


@th.no_grad()
def quadrature_weights(energy: Energy, beta: float, wells: Wells, cells: int | None = None) -> QuadratureWeights:
    """Return weights by the midpoint rule on a grid, each cell in the well that its center flows into.

    The box grows around the minima until ``beta E`` on its faces is 25 above the lowest: what is outside is of the
    order of ``exp(-25)``.

    Args:
        energy: of one to three dimensions.
        beta: inverse temperature, above 0.
        wells: of the energy, one at least.
        cells: along each axis; None: 20000 in one dimension, 300 in two, 60 in three.

    Raises:
        ValueError: for more dimensions, no wells, an energy that does not rise on all sides, or arguments out of range.
    """
    beta = positive("beta", beta)
    if energy.dim > 3:
        raise ValueError(f"quadrature is for up to 3 dimensions, this energy has {energy.dim}: use sampled_weights")
    if len(wells) == 0:
        raise ValueError("quadrature_weights needs one well at least, to know where to integrate")
    cells = {1: 20000, 2: 300, 3: 60}[energy.dim] if cells is None else cells
    if cells < 2:
        raise ValueError(f"cells must be 2 or more, got {cells}")
    energy = frozen(energy)
    low, high = _box(energy, beta, wells)
    width = (high - low) / cells
    axes = [low[i] + width[i] * (th.arange(cells, dtype=th.float64) + 0.5) for i in range(energy.dim)]
    centers = th.cartesian_prod(*axes).reshape(-1, energy.dim)
    log_density = th.cat([-beta * energy(block) for block in centers.split(2**14)])
    density = th.exp(log_density - log_density.max())
    counts = density > 1e-14  # the rest could flow from far for nothing
    labels = assign_wells(energy, wells, centers[counts])
    mass = density[counts].numpy()
    weights = np.bincount(labels[labels >= 0], weights=mass[labels >= 0], minlength=len(wells))
    return QuadratureWeights(
        weights=weights / weights.sum(),
        unassigned=float(mass[labels < 0].sum() / mass.sum()),
        log_partition=float(th.logsumexp(log_density, dim=0) + width.log().sum()),
    )


def empirical_weights(labels: Any, num_wells: int) -> np.ndarray:
    """Return ``float64[num_wells]``: the share of each well among labels that have one; nan if none has.

    Args:
        labels: ``int[...]`` wells, -1 for none.
        num_wells: K.

    Raises:
        ValueError: for labels out of range.
    """
    labels = np.asarray(labels).ravel()
    if len(labels) and (labels.min() < -1 or labels.max() >= num_wells):
        raise ValueError(f"labels must be from -1 to {num_wells - 1}, got {labels.min()} to {labels.max()}")
    counts = np.bincount(labels[labels >= 0], minlength=num_wells)
    return counts / counts.sum() if counts.sum() else np.full(num_wells, np.nan)


def matched_weights(weights: Any, matching: Any) -> np.ndarray:
    """Return the weights of states, ``float64[S]``: those of their wells, 0 for states without one.

    Args:
        weights: ``float[K]``, of wells.
        matching: ``int[S]``, the well of each state or -1, see
            :func:`~bisimgym.baselines.langevin.segmentation.best_permutation`.

    Raises:
        ValueError: for a matching of another shape, out of range or with a well twice.
    """
    weights, matching = np.asarray(weights, dtype=np.float64), np.asarray(matching)
    used = matching[matching >= 0].tolist()
    in_range = matching.ndim == 1 and matching.min() >= -1 and matching.max() < len(weights)
    if not in_range or len(set(used)) < len(used):
        raise ValueError(f"matching must name wells from 0 to {len(weights) - 1} once, or -1, got {matching.tolist()}")
    return np.where(matching >= 0, np.append(weights, 0.0)[matching], 0.0)


def matched_l1(weights: Any, stationary: Any, matching: Any) -> float:
    """Return the l1 distance of weights of wells from the true distribution over states, from 0 to 2.

    ``sum_s |w_matching(s) - pi_s|``; states without a well have weight 0, and weights of wells without a state are
    error in full. A model that says the same for every state is right where the truth is uniform: print the error of
    that answer as well.

    Args:
        weights: ``float[K]``.
        stationary: ``float[S]``, pi.
        matching: ``int[S]``, the well of each state or -1, as in :func:`matched_weights`.

    Raises:
        ValueError: for shapes that differ, or a matching out of range or with a well twice.
    """
    weights, stationary = np.asarray(weights, dtype=np.float64), probabilities("stationary", stationary)
    matching = np.asarray(matching)
    if stationary.ndim != 1 or matching.shape != stationary.shape:
        raise ValueError(f"stationary and matching must both be [S], got {stationary.shape} and {matching.shape}")
    of_states = matched_weights(weights, matching)
    others = np.delete(weights, matching[matching >= 0])
    return float(np.abs(of_states - stationary).sum() + others.sum())


def _memory(labels: np.ndarray, num_wells: int, records: int) -> tuple[np.ndarray, float]:
    """Return crossings ``int64[K, K]`` and what is left of the starting distribution after so many records."""
    before, after = labels[:-1].ravel(), labels[1:].ravel()
    both = (before >= 0) & (after >= 0)
    counts = np.bincount(before[both] * num_wells + after[both], minlength=num_wells**2).reshape(num_wells, num_wells)
    crossings = counts * ~np.eye(num_wells, dtype=bool)
    if num_wells == 0:
        return crossings, 1.0
    # A well that no chain has been to says nothing about itself: it may be one that cannot be reached.
    matrix = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, np.eye(num_wells))
    moduli = np.sort(np.abs(np.linalg.eigvals(matrix / matrix.sum(axis=1, keepdims=True))))
    return crossings, float(moduli[-2] ** records) if num_wells > 1 else 0.0


def _box(energy: Energy, beta: float, wells: Wells) -> tuple[th.Tensor, th.Tensor]:
    """Return corners ``[d]`` of a box on whose faces beta E is high."""
    minima, floor = th.from_numpy(wells.minima), float(wells.energies.min())
    # Widths of a Gaussian well, the start of what grows.
    reach = float((np.linalg.eigvalsh(wells.hessians)[:, 0] * beta).min() ** -0.5)
    low, high = minima.min(dim=0).values - reach, minima.max(dim=0).values + reach
    fractions = th.linspace(0, 1, {1: 1, 2: 200, 3: 40}[energy.dim], dtype=th.float64)
    for _ in range(200):
        done = True
        for axis in range(energy.dim):
            others = [low[i] + fractions * (high - low)[i] for i in range(energy.dim) if i != axis]
            grid = th.cartesian_prod(*others).reshape(-1, len(others)) if others else th.zeros(1, 0, dtype=th.float64)
            for side, sign in ((low, -1), (high, 1)):
                face = th.cat([grid[:, :axis], side[axis].expand(len(grid), 1), grid[:, axis:]], dim=1)
                if float(energy(face).min() - floor) * beta < _HEIGHT:
                    side[axis] += sign * 0.2 * (high - low)[axis]
                    done = False
        if done:
            return low, high
    raise ValueError(f"the energy does not rise on all sides: its law cannot be normalized (box from {low} to {high})")
