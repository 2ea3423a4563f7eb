"""Energies whose wells, weights and rates are known."""

import numpy as np
import torch as th

from bisimgym.baselines.langevin.energy import Energy


class FunctionEnergy(Energy):
    """A function ``float[..., d] -> float[...]`` in torch as an energy, differentiated by autograd."""

    def __init__(self, function, dim):
        super().__init__(dim)
        self.function = function

    def forward(self, z):
        return self.function(z)


def mixture_energy(weights, means, covariances, beta=1.0):
    """Return the energy whose stationary law ``exp(-beta E)`` is a mixture of Gaussians: ``E = -log(density) / beta``.

    The occupancies of its wells are the weights, as far as the Gaussians do not overlap.
    """
    weights, means, covariances = (np.asarray(x, dtype=np.float64) for x in (weights, means, covariances))
    whiten = np.linalg.inv(np.linalg.cholesky(covariances))
    log_peaks = np.log(weights / weights.sum()) - np.linalg.slogdet(covariances).logabsdet / 2
    log_peaks -= means.shape[1] / 2 * np.log(2 * np.pi)
    constants = [th.from_numpy(x) for x in (log_peaks, means, whiten)]

    def function(z):
        peaks, centers, factor = (x.to(z) for x in constants)
        white = ((z[..., None, :] - centers)[..., None, :] * factor).sum(dim=-1)
        return -th.logsumexp(peaks - (white * white).sum(dim=-1) / 2, dim=-1) / beta

    return FunctionEnergy(function, means.shape[1])
