"""The networks of Neural Langevin Dynamics, and the loss of one posterior path per signal.

Source: Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics: towards interpretable Neural
Stochastic Differential Equations", arXiv:2211.09537. Sizes, time stepping and training are choices made here.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch as th
from torch import nn

from bisimgym.baselines.langevin.dynamics import (
    Dynamics,
    GeneralDrift,
    Kernel,
    Overdamped,
    Underdamped,
    gaussian_kl,
    path_kl,
    to_array,
)
from bisimgym.baselines.langevin.encoder import Control, Encoder, drift_network, linear
from bisimgym.baselines.langevin.energy import Energy, TanhEnergy
from bisimgym.baselines.langevin.settings import ModelSettings


class Terms(NamedTuple):
    """The parts of a negative evidence lower bound, in nats, and where the paths went.

    Attributes:
        reconstruction: ``float[B]``, ``-log p(y | z)`` of whole sequences.
        path_kl: ``float[B]``, divergence of paths from the prior, given where they start.
        start_kl: ``float[B]``, divergence of initial states from the prior.
        positions: ``float[T, B, d]``.
    """

    reconstruction: th.Tensor
    path_kl: th.Tensor
    start_kl: th.Tensor
    positions: th.Tensor

    @property
    def kl(self) -> th.Tensor:
        """Divergence of the whole posterior from the prior, ``float[B]``."""
        return self.path_kl + self.start_kl


class LatentProcess(nn.Module):
    """A latent stochastic differential equation, a recognition network and a decoder: what is trained.

    See :class:`~.model.NeuralLangevinDynamics`, which adds what one does with it.

    Args:
        config: sizes and initial values.
        energy: E of the Langevin dynamics; not copied. None: a :class:`~.energy.TanhEnergy`.

    Raises:
        ValueError: for an energy of another dimension, or of dynamics that have none.
    """

    def __init__(self, config: ModelSettings, energy: Energy | None = None):
        super().__init__()
        if energy is not None and config.dynamics == "general":
            raise ValueError("energy means nothing for dynamics='general': leave it out")
        if energy is not None and energy.dim != config.latent_dim:
            raise ValueError(
                f"the energy is one of {energy.dim} dimensions, but latent_dim is {config.latent_dim}: make them equal"
            )
        self.config = config
        generator = th.Generator().manual_seed(config.seed)
        self.dynamics = self._make_dynamics(energy, generator)
        state_dim = self.dynamics.state_dim
        self.encoder = Encoder(config.data_dim, config.hidden, config.context, generator)
        self.control = Control(
            state_dim, config.context, config.latent_dim, config.control_units, config.control_scale, generator
        )
        self.initial = linear(config.context, 2 * state_dim, generator)
        self.prior_mean = nn.Parameter(th.zeros(state_dim))
        self.prior_log_std = nn.Parameter(th.zeros(state_dim))
        self.decoder = linear(config.latent_dim, config.data_dim, generator)
        self.log_std = nn.Parameter(th.full((config.data_dim,), float(config.log_std)), requires_grad=config.learn_std)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, as the constructor takes them and files keep them."""
        return dataclasses.asdict(self.config)

    def _make_dynamics(self, energy: Energy | None, generator: th.Generator) -> Dynamics:
        c = self.config
        if c.dynamics == "general":
            network = drift_network(c.latent_dim, c.drift_units, c.control_scale, generator)
            return GeneralDrift(network, c.latent_dim, diffusion=(2 / c.beta) ** 0.5)
        if energy is None:
            energy = TanhEnergy(c.latent_dim, c.energy_units, c.confinement, generator)
        names = ("beta", "friction", "inverse_mass", "integrator")
        given = {name: getattr(c, name) for name in names if getattr(c, name) is not None}
        return (Overdamped if c.dynamics == "overdamped" else Underdamped)(energy, **given)

    @property
    def device(self) -> th.device:
        return self.log_std.device

    @property
    def latent_dim(self) -> int:
        """d."""
        return self.dynamics.dim

    @property
    def energy(self) -> Energy | None:
        """E, or None of the general dynamics."""
        return self.dynamics.energy

    @property
    def beta(self) -> float | None:
        """Inverse temperature, or None of the general dynamics."""
        beta = self.dynamics.beta
        return None if beta is None else beta.item()

    @property
    def friction(self) -> np.ndarray | None:
        """gamma of each coordinate, ``float64[d]``, or None of the general dynamics."""
        friction = self.dynamics.friction
        return None if friction is None else to_array(friction)

    @property
    def mass(self) -> np.ndarray | None:
        """M of each coordinate, ``float64[d]``, or None unless underdamped."""
        mass = self.dynamics.mass
        return None if mass is None else to_array(mass)

    @property
    def diffusion(self) -> np.ndarray:
        """Factor of dW of each coordinate, ``float64[d]``: of momenta if underdamped, else of positions."""
        return to_array(self.dynamics.diffusion)

    def std(self) -> th.Tensor:
        """Return the noise of the decoder, ``float[D]``."""
        return self.log_std.exp().clamp_min(self.config.min_std)

    def terms(self, signals: th.Tensor, generator: th.Generator) -> Terms:
        """Return the parts of the loss of one posterior path per signal.

        Args:
            signals: ``float[B, T, D]``, on the model's device.
            generator: of the noise, on the CPU.
        """
        signals = signals.transpose(0, 1)
        contexts = self.encoder(signals)
        mean, log_std = self.initial(contexts[0]).chunk(2, dim=-1)
        first, noise = self._noise(signals.shape[1], signals.shape[0], generator)
        states, whitened = self._posterior(mean + log_std.exp() * first, contexts, noise)
        positions = states[..., : self.latent_dim]
        std = self.std()
        white = (signals - self.decoder(positions)) / std
        constant = signals.shape[0] * (std.log().sum() + 0.5 * np.log(2 * np.pi) * len(std))
        reconstruction = white.square().sum(dim=(0, 2)) / 2 + constant
        start = gaussian_kl(mean, log_std, self.prior_mean, self.prior_log_std)
        return Terms(reconstruction, path_kl(whitened), start, positions)

    def _posterior(self, state: th.Tensor, contexts: th.Tensor, noise: th.Tensor | None) -> tuple[th.Tensor, th.Tensor]:
        """Return states ``float[T, B, S]`` and whitened controls ``float[(T - 1) * substeps, B, d]``.

        Args:
            state: ``float[B, S]``, the first.
            contexts: ``float[T, B, C]``.
            noise: ``float[(T - 1) * substeps, B, d]``, or None for none.
        """
        substeps = self.config.substeps
        kernel = self.kernel()
        # unbind, because the gradient of indexing writes a whole tensor of zeros for every step.
        driven = self.control.context(contexts[1:]).unbind()
        states, whitened = [state], []
        for n, row in enumerate(driven):
            for k in range(n * substeps, (n + 1) * substeps):
                u = kernel.control_gain * self.control(state, row)
                state = kernel.advance(state, u if noise is None else u + noise[k])
                whitened.append(u)
            states.append(state)
        empty = state.new_zeros(0, len(state), self.latent_dim)
        return th.stack(states), th.stack(whitened) if whitened else empty

    def kernel(self, substeps: int | None = None) -> Kernel:
        """Return one step of the chain, ``step / substeps`` time units long; None for the substeps of the training."""
        return self.dynamics.kernel(self.config.step / (substeps or self.config.substeps))

    def _noise(self, batch: int, length: int, generator: th.Generator) -> tuple[th.Tensor, th.Tensor]:
        """Return standard Gaussians for initial states, ``float[B, S]``, and for steps."""
        first = th.randn(batch, self.dynamics.state_dim, generator=generator)
        steps = (length - 1) * self.config.substeps
        return first.to(self.device), th.randn(steps, batch, self.latent_dim, generator=generator).to(self.device)
