"""What a trained model says of hidden states: wells or clusters as states, and how much time is spent in each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch as th

from bisimgym.baselines.langevin.energy import inverse_softplus
from bisimgym.baselines.langevin.landscape import Wells, assign_wells, find_wells
from bisimgym.baselines.langevin.model import Paths
from bisimgym.baselines.langevin.occupancy import (
    empirical_weights,
    laplace_weights,
    matched_l1,
    matched_weights,
    quadrature_weights,
    sampled_weights,
)
from bisimgym.baselines.langevin.refit import refit, refit_underdamped
from bisimgym.baselines.langevin.segmentation import best_permutation
from bisimgym.benchmarks.suites.markov.comparators import KMeansStates
from bisimgym.benchmarks.suites.markov.settings import NUM_STATES, PAPER_ESTIMATES, PROTOCOL, STATES, Protocol
from bisimgym.envs.markov_signal import signal_law

#: How often an encoded frame counts as a draw from the law at rest in the second refit: once in ten frames, about the
#: time in which the chains forget (13 frames).
STATIONARITY = 0.1


class Regions(NamedTuple):
    """What divides latent space into K states.

    Attributes:
        centers: ``float64[K, d]``, minima of the energy, or centers of clusters.
        labels: returns ``int64[...]`` regions of positions ``float[..., d]``, -1 for none.
        wells: of the energy, or None.
    """

    centers: np.ndarray
    labels: Callable[[np.ndarray], np.ndarray]
    wells: Wells | None


def find_regions(model: Any, encoded: np.ndarray, seed: int) -> Regions:
    """Return the wells of a model's energy that hold encoded paths ``float[..., d]``.

    A model without an energy has three clusters instead, whose number is given and not found.
    """
    energy = model.energy
    if energy is None:
        clusters = KMeansStates(encoded, NUM_STATES, seed)
        return Regions(clusters.centers, clusters.states, None)
    wells = find_wells(energy, encoded.reshape(-1, encoded.shape[-1]))

    def labels(positions: np.ndarray) -> np.ndarray:
        return assign_wells(energy, wells, positions.reshape(-1, positions.shape[-1])).reshape(positions.shape[:-1])

    return Regions(wells.minima, labels, wells)


def occupancy(
    model: Any,
    regions: Regions,
    matching: np.ndarray,
    signals: np.ndarray,
    task: str,
    seed: int,
    protocol: Protocol = PROTOCOL,
) -> dict[str, float]:
    """Return the l1 errors of all estimates of how much time is spent in each state, but that of encoded signals.

    Of the paper's three estimates there are the shares of the states as well.

    The model was trained on the signals ``float[N, T, D]``, and the regions, which ``matching`` matches with states,
    were found on the first of them.
    """
    stationary = signal_law(task).stationary
    encoded = model.encode(signals[: protocol.naming_sequences]).positions.reshape(-1, model.latent_dim)

    def chain(of: Any, cut: Regions) -> np.ndarray:
        paths = of.sample(protocol.chains, protocol.chain_length, seed=seed).positions
        counted = paths[:, protocol.chain_warm_up :: protocol.chain_stride]
        return empirical_weights(cut.labels(counted), len(cut.centers))

    if len(regions.centers) == 0:
        return {}
    weights = {"chain": chain(model, regions)}
    wells = regions.wells
    if wells is not None:
        sampler = {
            "num_chains": protocol.sampler_chains,
            "warm_up": protocol.sampler_warm_up,
            "num_steps": protocol.sampler_steps,
        }
        weights |= {
            "order0": laplace_weights(wells, model.beta, order=0),
            "order2": laplace_weights(wells, model.beta),
            "quadrature": quadrature_weights(model.energy, model.beta, wells, protocol.cells).weights,
            "sampling": sampled_weights(model.energy, model.beta, wells, encoded, seed, **sampler).weights,
        }
    errors = {f"l1_{name}": matched_l1(w, stationary, matching) for name, w in weights.items()}
    for name in PAPER_ESTIMATES if wells is not None else ():
        shares = matched_weights(weights[name], matching)
        errors |= {f"share_{name}_{state}": float(share) for state, share in zip(STATES, shares, strict=True)}
    # What the control does within a frame is not part of a path: no refit then.
    if wells is None or model.settings["substeps"] > 1:
        return errors
    paths = model.encode(signals, sample=True, seed=seed)
    before = regions.labels(encoded)
    known = before >= 0
    for kind, stationarity in (("refit", 0.0), ("stationary", STATIONARITY)):
        refitted = _refitted(model, paths, stationarity)
        errors[f"{kind}_beta"] = refitted.beta
        recut = find_regions(refitted, encoded[None], seed)
        if recut.wells is None or len(recut.centers) == 0:
            continue
        # The refit moves wells: they are those of the states whose frames flow into them.
        after = recut.labels(encoded)
        counts = len(recut.centers), len(regions.centers)
        rematching = best_permutation(after[None, known], before[None, known], *counts)
        rematching = np.where(matching >= 0, np.append(rematching, -1)[matching], -1)
        found = {
            "order2": laplace_weights(recut.wells, refitted.beta),
            "quadrature": quadrature_weights(refitted.energy, refitted.beta, recut.wells, protocol.cells).weights,
            "chain": chain(refitted, recut),
        }
        errors |= {f"l1_{kind}_{name}": matched_l1(w, stationary, rematching) for name, w in found.items()}
    return errors


def _refitted(model: Any, paths: Paths, stationarity: float) -> Any:
    """Return a copy of a model with the energy and beta that sampled paths are most likely under."""
    step, friction = model.settings["step"], model.friction
    if paths.momenta is None:
        energy, beta = refit(model.energy, paths.positions, step, friction, stationarity=stationarity)
    else:
        states = (paths.positions, paths.momenta)
        energy, beta = refit_underdamped(model.energy, *states, step, friction, model.mass, stationarity=stationarity)
    refitted = copy.deepcopy(model)
    refitted.dynamics.energy = energy
    with th.no_grad():
        refitted.dynamics.raw_beta.copy_(inverse_softplus(beta, "beta"))
    return refitted
