"""Latent dynamics as chains of one-step Gaussian kernels: overdamped and underdamped Langevin, and a general drift.

Source: Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics", arXiv:2211.09537. The noise of the
steps is written as standard Gaussian vectors. A control f adds ``u = gain * f`` to them and changes nothing else: prior
and posterior are one map, of other noise, and the Kullback-Leibler divergence of a step is exactly ``|u|^2 / 2``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch as th
from torch import nn
from torch.nn import functional as F

from bisimgym.baselines.langevin.energy import Energy, inverse_softplus, positive

INTEGRATORS = ("ou", "baoab")


class Kernel(NamedTuple):
    """One time step of a chain, with all that does not depend on the state computed.

    Attributes:
        advance: maps a state ``float[..., S]`` and noise ``float[..., d]`` to the next state. Noise ~ N(0, I) gives the
            prior, noise ~ N(u, I) the posterior.
        control_gain: ``float[d]``, what a control is multiplied by to give u.
        curvature_gain: ``float[d]``, positive. Around a minimum of an energy with Hessian H the chain is stable if the
            eigenvalues of ``diag(curvature_gain) H`` are below 2.
    """

    advance: Callable[[th.Tensor, th.Tensor], th.Tensor]
    control_gain: th.Tensor
    curvature_gain: th.Tensor


class Dynamics(nn.Module):
    """Dynamics of states ``float[..., S]``, whose first d coordinates are a position.

    Attributes:
        dim: d, also the number of coordinates of noise and control.
        state_dim: S.
        energy: or None.
    """

    def __init__(self, dim: int, state_dim: int, energy: Energy | None):
        super().__init__()
        self.dim, self.state_dim = dim, state_dim
        self.energy = energy

    def kernel(self, step: float) -> Kernel:
        """Return the step of a length in time units, differentiable by the parameters."""
        raise NotImplementedError

    def drift(self, z: th.Tensor) -> th.Tensor:
        """Return the prior's drift of positions ``float[..., d]``, ``float[..., d]`` per time unit, for plots."""
        raise NotImplementedError

    def at_rest(self, z: th.Tensor, generator: th.Generator) -> th.Tensor:
        """Return states ``float[N, S]`` at positions ``float[N, d]``, with momenta of the stationary law."""
        return z

    @property
    def beta(self) -> th.Tensor | None:
        """Inverse temperature ``float[]``, or None where there is no energy."""
        return None

    @property
    def friction(self) -> th.Tensor | None:
        """gamma, ``float[d]``, or None."""
        return None

    @property
    def mass(self) -> th.Tensor | None:
        """M, ``float[d]``, or None."""
        return None

    @property
    def diffusion(self) -> th.Tensor:
        """Factor of dW, ``float[d]``: of the positions, or of the momenta where there are any."""
        raise NotImplementedError


class Overdamped(Dynamics):
    """``dz = -grad E(z) / gamma dt + f dt + sqrt(2 / (beta gamma)) dW``, by Euler-Maruyama.

    With a free energy, gamma only sets the unit of time, and is not learned.

    Args:
        energy: E.
        beta: inverse temperature at the start, learned.
        friction: gamma.

    Raises:
        ValueError: for numbers that are not above 0.
    """

    energy: Energy
    gamma: th.Tensor

    def __init__(self, energy: Energy, beta: float = 1.0, friction: float = 1.0):
        super().__init__(energy.dim, energy.dim, energy)
        self.raw_beta = nn.Parameter(inverse_softplus(beta, "beta"))
        self.register_buffer("gamma", th.full((energy.dim,), positive("friction", friction)))

    def kernel(self, step: float) -> Kernel:
        scale = step**0.5 * self.diffusion
        mobility = step / self.gamma

        def advance(z: th.Tensor, noise: th.Tensor) -> th.Tensor:
            return z - mobility * self.energy.gradient(z) + scale * noise

        return Kernel(advance, control_gain=step / scale, curvature_gain=mobility)

    def drift(self, z: th.Tensor) -> th.Tensor:
        return -self.energy.gradient(z) / self.gamma

    @property
    def beta(self) -> th.Tensor:
        return F.softplus(self.raw_beta)

    @property
    def friction(self) -> th.Tensor:
        return self.gamma

    @property
    def diffusion(self) -> th.Tensor:
        return (2 / (self.beta * self.gamma)).sqrt()


class Underdamped(Dynamics):
    """Langevin dynamics of positions q and momenta p, with states ``[q, p]``; beta, gamma and M are learned.

    ``dq = p / M dt``, ``dp = (-grad E(q) - gamma p / M + f) dt + sqrt(2 gamma / beta) dW``, per coordinate. The
    stationary law is ``exp(-beta E(q)) N(p; 0, M / beta)``; the paper prints the covariance ``1 / M``, which is an
    error.

    Args:
        energy: E.
        beta: inverse temperature at the start.
        friction: gamma of each coordinate at the start.
        inverse_mass: 1 / M of each coordinate at the start.
        integrator: "ou": friction and noise exactly, then the positions with the new momenta: one step of lag less
            than Euler-Maruyama, and stable for any friction, but biased. "baoab" (Leimkuhler and Matthews 2013) takes
            about twice the time, and samples positions in a quadratic energy without bias.

    Raises:
        ValueError: for numbers that are not above 0, or another integrator.
    """

    energy: Energy

    def __init__(
        self,
        energy: Energy,
        beta: float = 1.0,
        friction: float = 3.0,
        inverse_mass: float = 4.0,
        integrator: str = "ou",
    ):
        super().__init__(energy.dim, 2 * energy.dim, energy)
        self.raw_beta = nn.Parameter(inverse_softplus(beta, "beta"))
        self.raw_friction = nn.Parameter(inverse_softplus(friction, "friction").repeat(energy.dim))
        self.raw_inverse_mass = nn.Parameter(inverse_softplus(inverse_mass, "inverse_mass").repeat(energy.dim))
        self.integrator = _checked_integrator(integrator)

    def kernel(self, step: float, integrator: str | None = None) -> Kernel:
        """Return the step of a length in time units; ``integrator`` stands in for the one of the constructor."""
        integrator = _checked_integrator(integrator or self.integrator)
        gradient, velocity = self.energy.gradient, self.inverse_mass
        rate = self.friction * velocity
        kept = th.exp(-rate * step)
        kick = -th.expm1(-rate * step) / rate
        scale = (-th.expm1(-2 * rate * step) / (velocity * self.beta)).sqrt()
        move, half_move, half_kick = step * velocity, step / 2 * velocity, step / 2

        def ou(state: th.Tensor, noise: th.Tensor) -> th.Tensor:
            q, p = state.chunk(2, dim=-1)
            p = kept * p - kick * gradient(q) + scale * noise
            return th.cat([q + move * p, p], dim=-1)

        def baoab(state: th.Tensor, noise: th.Tensor) -> th.Tensor:
            q, p = state.chunk(2, dim=-1)
            p = p - half_kick * gradient(q)
            q = q + half_move * p
            p = kept * p + scale * noise
            q = q + half_move * p
            return th.cat([q, p - half_kick * gradient(q)], dim=-1)

        if integrator == "ou":
            return Kernel(ou, control_gain=kick / scale, curvature_gain=kick * move / (1 + kept))
        return Kernel(baoab, control_gain=kick / scale, curvature_gain=step * move / 2)

    def drift(self, z: th.Tensor) -> th.Tensor:
        """Return the drift ``-grad E / gamma`` of positions, which that of the limit of high friction is."""
        return -self.energy.gradient(z) / self.friction

    def at_rest(self, z: th.Tensor, generator: th.Generator) -> th.Tensor:
        noise = th.randn(z.shape, generator=generator).to(z)
        return th.cat([z, (self.mass / self.beta).sqrt() * noise], dim=-1)

    @property
    def beta(self) -> th.Tensor:
        return F.softplus(self.raw_beta)

    @property
    def friction(self) -> th.Tensor:
        return F.softplus(self.raw_friction)

    @property
    def inverse_mass(self) -> th.Tensor:
        """1 / M, ``float[d]``."""
        return F.softplus(self.raw_inverse_mass)

    @property
    def mass(self) -> th.Tensor:
        return 1 / self.inverse_mass

    @property
    def diffusion(self) -> th.Tensor:
        return (2 * self.friction / self.beta).sqrt()


class GeneralDrift(Dynamics):
    """A neural SDE: ``dz = h(z) dt + f dt + sigma dW``, whose drift h is any network. It has no energy.

    Args:
        drift: maps ``float[..., d]`` to ``float[..., d]``.
        dim: d.
        diffusion: sigma of each coordinate at the start, learned.

    Raises:
        ValueError: for a diffusion that is not above 0.
    """

    def __init__(self, drift: nn.Module, dim: int, diffusion: float = 2**0.5):
        super().__init__(dim, dim, None)
        self.network = drift
        self.raw_diffusion = nn.Parameter(inverse_softplus(diffusion, "diffusion").repeat(dim))

    def kernel(self, step: float) -> Kernel:
        scale = step**0.5 * self.diffusion

        def advance(z: th.Tensor, noise: th.Tensor) -> th.Tensor:
            return z + step * self.network(z) + scale * noise

        return Kernel(advance, control_gain=step / scale, curvature_gain=th.full_like(scale, step))

    def drift(self, z: th.Tensor) -> th.Tensor:
        return self.network(z)

    @property
    def diffusion(self) -> th.Tensor:
        return F.softplus(self.raw_diffusion)


def path_kl(whitened: th.Tensor) -> th.Tensor:
    """Return the divergence of posterior paths from the prior, ``float[B]`` nats: the sum of ``|u|^2 / 2`` over steps.

    For the chain that is simulated this is exact. The authors' code leaves the factor 1/2 out.

    Args:
        whitened: ``float[steps, B, d]``, the controls times ``control_gain``.
    """
    return whitened.square().sum(dim=(0, 2)) / 2


def gaussian_kl(mean: th.Tensor, log_std: th.Tensor, prior_mean: th.Tensor, prior_log_std: th.Tensor) -> th.Tensor:
    """Return ``float[B]``: the divergence of diagonal Gaussians ``float[B, S]`` from one, ``float[S]``, in nats."""
    shift = (mean - prior_mean) * (-prior_log_std).exp()
    ratio = 2 * (log_std - prior_log_std)
    return (shift.square() + ratio.exp() - 1 - ratio).sum(dim=1) / 2


def _checked_integrator(integrator: str) -> str:
    """Return the name, or raise ``ValueError``."""
    if integrator not in INTEGRATORS:
        raise ValueError(f"integrator must be one of {list(INTEGRATORS)}, got {integrator!r}")
    return integrator


def to_array(value: th.Tensor) -> np.ndarray:
    """Return ``float64`` numbers of a tensor."""
    return value.detach().cpu().numpy().astype(np.float64)
