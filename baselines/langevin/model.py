"""Neural Langevin Dynamics: signals as the noisy image of a latent Langevin equation, learned as an autoencoder.

Source: Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics: towards interpretable Neural
Stochastic Differential Equations", arXiv:2211.09537. Sizes, time stepping and training are choices made here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
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
from bisimgym.baselines.langevin.energy import Energy, TanhEnergy, positive
from bisimgym.baselines.langevin.training import History, train, write_atomically

DYNAMICS = ("overdamped", "underdamped", "general")
#: Sequences that are encoded at once.
_BLOCK = 512


class Paths(NamedTuple):
    """Latent paths.

    Attributes:
        positions: ``float32[N, T, d]``.
        momenta: ``float32[N, T, d]``, or None where the dynamics has none.
    """

    positions: np.ndarray
    momenta: np.ndarray | None


class Terms(NamedTuple):
    """The parts of a negative evidence lower bound, in nats, and where the paths went.

    Attributes:
        reconstruction: ``float[B]``, ``-log p(y | z)`` of whole sequences.
        kl: ``float[B]``, divergence of paths and initial states from the prior.
        positions: ``float[T, B, d]``.
    """

    reconstruction: th.Tensor
    kl: th.Tensor
    positions: th.Tensor


class NeuralLangevinDynamics(nn.Module):
    """A latent stochastic differential equation, a recognition network and a decoder, trained together.

    Frame n is ``y_n ~ N(W z_n + b, diag(std^2))`` for the position z_n at time ``n * step``. The prior of paths is the
    dynamics; the posterior adds a control, a network of the state and the context c_{n+1} on the way from frame n to
    n + 1. c_n depends on y_0 to y_n only, so z_n does, and paths can be encoded online. The loss is the exact negative
    evidence lower bound of the chain that is simulated (for the KL weight 1).

    Signals should be of about unit scale. Global random generators are not used.

    Args:
        data_dim: D, channels of the signals.
        dynamics: "overdamped" or "underdamped" Langevin dynamics (see :class:`~.dynamics.Overdamped` and
            :class:`~.dynamics.Underdamped`), or "general", a neural SDE whose drift is no gradient
            (:class:`~.dynamics.GeneralDrift`).
        latent_dim: d.
        energy: E of the Langevin dynamics; not copied. None: a :class:`~.energy.TanhEnergy`.
        energy_units, confinement: of that TanhEnergy.
        drift_units: of each hidden layer of the drift of "general".
        beta: initial inverse temperature; of "general", ``sqrt(2 / beta)`` is the initial diffusion.
        friction: gamma, initial value (of "overdamped" the value). None: 1, and 3 if underdamped.
        inverse_mass, integrator: of "underdamped" only, None: 4 and "ou". With friction and mass 1 the training takes
            about twice as long.
        hidden: units of the GRU.
        context: size of the contexts.
        control_units: of each hidden layer of the control network.
        control_scale: of its initial output.
        log_std: initial logarithm of the decoder's noise, learned per channel.
        min_std: lower bound of that noise.
        step: time units between frames.
        substeps: steps of the chain per frame. More of them come closer to the differential equation, and to
            ``exp(-beta E)`` as its stationary law, and take as many times as long.
        seed: of the initial weights, and of the training unless that is given one.
        device: where the networks are.

    Raises:
        ValueError: for settings out of range, or that mean nothing for these dynamics.
    """

    def __init__(
        self,
        data_dim: int = 15,
        dynamics: str = "overdamped",
        latent_dim: int = 2,
        energy: Energy | None = None,
        *,
        energy_units: int = 64,
        confinement: float = 0.5,
        drift_units: int = 64,
        beta: float = 1.0,
        friction: float | None = None,
        inverse_mass: float | None = None,
        integrator: str | None = None,
        hidden: int = 64,
        context: int = 32,
        control_units: int = 64,
        control_scale: float = 0.2,
        log_std: float = -0.2,
        min_std: float = 1e-2,
        step: float = 0.1,
        substeps: int = 1,
        seed: int = 0,
        device: th.device | str = "cpu",
    ):
        super().__init__()
        self.settings: dict[str, Any] = {
            "data_dim": data_dim,
            "dynamics": dynamics,
            "latent_dim": latent_dim,
            "energy_units": energy_units,
            "confinement": confinement,
            "drift_units": drift_units,
            "beta": beta,
            "friction": friction,
            "inverse_mass": inverse_mass,
            "integrator": integrator,
            "hidden": hidden,
            "context": context,
            "control_units": control_units,
            "control_scale": control_scale,
            "log_std": log_std,
            "min_std": min_std,
            "step": step,
            "substeps": substeps,
            "seed": seed,
        }
        _check_settings(self.settings, energy)
        self.own_energy = energy is not None
        generator = th.Generator().manual_seed(seed)
        self.dynamics = self._make_dynamics(energy, generator)
        state_dim = self.dynamics.state_dim
        self.encoder = Encoder(data_dim, hidden, context, generator)
        self.control = Control(state_dim, context, latent_dim, control_units, control_scale, generator)
        self.initial = linear(context, 2 * state_dim, generator)
        self.prior_mean = nn.Parameter(th.zeros(state_dim))
        self.prior_log_std = nn.Parameter(th.zeros(state_dim))
        self.decoder = linear(latent_dim, data_dim, generator)
        self.log_std = nn.Parameter(th.full((data_dim,), float(log_std)))
        self.to(device)

    def _make_dynamics(self, energy: Energy | None, generator: th.Generator) -> Dynamics:
        s = self.settings
        if s["dynamics"] == "general":
            network = drift_network(s["latent_dim"], s["drift_units"], s["control_scale"], generator)
            return GeneralDrift(network, s["latent_dim"], diffusion=(2 / s["beta"]) ** 0.5)
        if energy is None:
            energy = TanhEnergy(s["latent_dim"], s["energy_units"], s["confinement"], generator)
        given = {name: s[name] for name in ("beta", "friction", "inverse_mass", "integrator") if s[name] is not None}
        return (Overdamped if s["dynamics"] == "overdamped" else Underdamped)(energy, **given)

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
        return to_array(self.dynamics.friction)

    @property
    def mass(self) -> np.ndarray | None:
        """M of each coordinate, ``float64[d]``, or None unless underdamped."""
        return to_array(self.dynamics.mass)

    @property
    def diffusion(self) -> np.ndarray:
        """Factor of dW of each coordinate, ``float64[d]``: of momenta if underdamped, else of positions."""
        return to_array(self.dynamics.diffusion)

    def std(self) -> th.Tensor:
        """Return the noise of the decoder, ``float[D]``."""
        return self.log_std.exp().clamp_min(self.settings["min_std"])

    def fit(
        self,
        signals: np.ndarray,
        *,
        updates: int = 1200,
        batch_size: int = 64,
        window: int = 50,
        long_window: int = 100,
        long_updates: int = 500,
        learning_rate: float = 6e-3,
        warm_up: int = 50,
        kl_warm_up: int = 200,
        clip: float = 1.0,
        curvature_penalty: float = 0.0,
        weight_average: float = 0.995,
        seed: int | None = None,
        log_path: str | os.PathLike[str] | None = None,
        progress_bar: bool = False,
        checkpoint_path: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 100,
        callback: Callable[[int, dict[str, float]], None] | None = None,
    ) -> History:
        """Train on random windows of signals by Adam, and return what happened.

        The defaults take about a minute on one core; 800 updates with ``long_updates=250, weight_average=0`` take 40
        seconds and cost about 0.4 % of accuracy on ``bisimgym/MarkovSignal-v0``.

        Every call begins a training of its own, from the weights as they are. An update whose gradient is not finite
        is skipped and counted.

        Args:
            signals: ``float32[N, T, D]``.
            updates: of the weights.
            batch_size: windows per update.
            window: frames of each, up to the last ``long_updates`` updates.
            long_window: frames of each from then on.
            long_updates: 0 to ``updates``.
            learning_rate: of Adam. It rises for ``warm_up`` updates and falls by half a cosine to 5 % of this.
            warm_up: at least 0.
            kl_warm_up: updates in which the weight of the KL divergence rises from 0.02 to 1.
            clip: largest norm of a gradient.
            curvature_penalty: weight of the mean of ``max(s - 1, 0)^2`` along the encoded paths, where s is the largest
                eigenvalue of ``diag(curvature_gain) Hess E`` (see :class:`~.dynamics.Kernel`; at 2 a well is unstable).
            weight_average: decay, per update, of an exponential average of the weights over the second half of the
                updates, whose result the model has in the end; 0 for the last weights. Of less than ``1 / (1 - decay)``
                updates it is the mean.
            seed: of windows and noise. None: that of the model.
            log_path: of a file to write a line of JSON to after every update.
            progress_bar: whether to show one.
            checkpoint_path: of a file to write all of the state to every ``checkpoint_every`` updates and at the end.
                If it is there at the start, the training goes on from it exactly as it would have without a break.
            checkpoint_every: at least 1.
            callback: called after each update with its number, from 1, and its line of the log. It may raise.

        Raises:
            ValueError: for numbers out of range, signals of another shape or not finite, or the checkpoint of another
                training.
            DivergedError: if the gradients of more than five updates in a row are not finite.
        """
        settings = {
            "updates": updates,
            "batch_size": batch_size,
            "window": window,
            "long_window": long_window,
            "long_updates": long_updates,
            "learning_rate": learning_rate,
            "warm_up": warm_up,
            "kl_warm_up": kl_warm_up,
            "clip": clip,
            "curvature_penalty": curvature_penalty,
            "weight_average": weight_average,
            "seed": self.settings["seed"] if seed is None else seed,
        }
        if curvature_penalty and self.energy is None:
            raise ValueError("curvature_penalty is for an energy, which the general dynamics has none of: set it to 0")
        return train(
            self,
            self._checked(signals),
            settings,
            log_path=log_path,
            progress_bar=progress_bar,
            checkpoint_path=checkpoint_path,
            checkpoint_every=checkpoint_every,
            callback=callback,
        )

    def terms(self, signals: th.Tensor, generator: th.Generator) -> Terms:
        """Return the parts of the loss of one posterior path per signal.

        Args:
            signals: ``float[B, T, D]``, on the model's device.
            generator: of the noise, on the CPU.
        """
        signals = signals.transpose(0, 1)
        contexts, _ = self.encoder(signals)
        mean, log_std = self.initial(contexts[0]).chunk(2, dim=-1)
        first, noise = self._noise(signals.shape[1], signals.shape[0], generator)
        states, whitened = self._posterior(mean + log_std.exp() * first, contexts, noise)
        positions = states[..., : self.latent_dim]
        std = self.std()
        white = (signals - self.decoder(positions)) / std
        constant = signals.shape[0] * (std.log().sum() + 0.5 * np.log(2 * np.pi) * len(std))
        reconstruction = white.square().sum(dim=(0, 2)) / 2 + constant
        kl = path_kl(whitened) + gaussian_kl(mean, log_std, self.prior_mean, self.prior_log_std)
        return Terms(reconstruction, kl, positions)

    @th.no_grad()
    def encode(self, signals: np.ndarray, sample: bool = False, seed: int | None = None) -> Paths:
        """Return latent paths of signals. Point n depends on the frames up to n only.

        Args:
            signals: ``float32[N, T, D]``.
            sample: whether to draw the paths from the posterior. By default they are without noise, from the mean of
                the initial states.
            seed: of the noise; needed with ``sample``, and only then.

        Raises:
            ValueError: for signals of another shape or not finite, or a seed missing or without use.
        """
        if sample != (seed is not None):
            raise ValueError(f"sampled paths need a seed, others take none: got sample={sample} and seed={seed}")
        generator = None if seed is None else th.Generator().manual_seed(seed)
        blocks = [self._encoded(block, generator) for block in self._checked(signals).split(_BLOCK)]
        return self._paths(th.cat(blocks))

    @th.no_grad()
    def elbo(self, signals: np.ndarray, seed: int) -> np.ndarray:
        """Return evidence lower bounds ``log p(y | z) - KL`` of whole sequences by one path each, ``float64[N]`` nats.

        Args:
            signals: ``float32[N, T, D]``.
            seed: of the paths.
        """
        generator = th.Generator().manual_seed(seed)
        terms = [self.terms(block, generator) for block in self._checked(signals).split(_BLOCK)]
        return to_array(th.cat([-(t.reconstruction + t.kl) for t in terms]))

    @th.no_grad()
    def decode(self, z: np.ndarray) -> np.ndarray:
        """Return the mean signals of positions ``float[..., d]``, ``float32[..., D]``."""
        return self.decoder(self._points(z)).cpu().numpy()

    @th.no_grad()
    def drift(self, z: np.ndarray) -> np.ndarray:
        """Return the prior's drift of positions ``float[..., d]``, ``float32[..., d]`` per time unit.

        ``-grad E / gamma``, also if underdamped, where it is the drift in the limit of high friction; of the general
        dynamics the network's.
        """
        return self.dynamics.drift(self._points(z)).cpu().numpy()

    @th.no_grad()
    def sample(
        self,
        num: int,
        length: int,
        seed: int,
        start: np.ndarray | None = None,
        substeps: int | None = None,
        integrator: str | None = None,
    ) -> Paths:
        """Return paths of the prior chain, as it was trained or with a finer time step.

        Args:
            num: N, of paths.
            length: T, points of each, the first included; ``step`` time units apart.
            seed: of initial states and noise.
            start: ``float[N, d]`` first positions (momenta are then drawn from their stationary law). None: initial
                states from the learned prior.
            substeps: per point. None: as in training.
            integrator: if underdamped. None: as in training. "baoab" with several substeps comes closest to
                ``exp(-beta E)``.

        Raises:
            ValueError: for numbers below 1, starts of another shape, or an integrator of dynamics that have none.
        """
        for name, value in (("num", num), ("length", length), ("substeps", substeps)):
            if not (name == "substeps" and value is None):
                _check_integer(name, value, 1)
        if integrator is not None and not isinstance(self.dynamics, Underdamped):
            raise ValueError(f"integrator={integrator!r} is for underdamped dynamics only: leave it out")
        generator = th.Generator().manual_seed(seed)
        if start is None:
            noise = th.randn(num, self.dynamics.state_dim, generator=generator).to(self.device)
            state = self.prior_mean + self.prior_log_std.exp() * noise
        else:
            points = self._points(start)
            if points.shape != (num, self.latent_dim):
                raise ValueError(f"start must be [{num}, {self.latent_dim}], got shape {list(points.shape)}")
            state = self.dynamics.at_rest(points, generator)
        substeps = substeps or self.settings["substeps"]
        kernel = self.kernel(substeps, integrator)
        states = [state]
        for _ in range(length - 1):
            for noise in th.randn(substeps, num, self.latent_dim, generator=generator).to(self.device):
                state = kernel.advance(state, noise)
            states.append(state)
        return self._paths(th.stack(states, dim=1))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write settings, as JSON, and weights to a file, which holds no code."""
        content = {"settings": json.dumps(self.settings), "own_energy": self.own_energy, "weights": self.state_dict()}
        write_atomically(path, content)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], energy: Energy | None = None, device: th.device | str = "cpu"
    ) -> NeuralLangevinDynamics:
        """Return what :meth:`save` has written.

        Args:
            path: of the file.
            energy: an energy of the same form, if the model was made with one; its parameters are replaced.
            device: to put the networks on.

        Raises:
            ValueError: if the model was made with an energy and none is given, or the other way round.
        """
        content = th.load(os.fspath(path), map_location="cpu", weights_only=True)
        if content["own_energy"] != (energy is not None):
            hint = "with an energy given: give one of the same form" if energy is None else "without: leave energy out"
            raise ValueError(f"the model in {os.fspath(path)} was made {hint}")
        model = cls(**json.loads(content["settings"]), energy=energy)
        model.load_state_dict(content["weights"])
        return model.to(device)

    @th.no_grad()
    def online_step(
        self, frames: th.Tensor, hidden: th.Tensor, state: th.Tensor, begins: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """Return the next GRU states and latent states, one frame further along paths without noise.

        Args:
            frames: ``float[N, D]``.
            hidden: ``float[N, H]``, GRU states.
            state: ``float[N, S]``.
            begins: ``bool[N]``, rows that are a first frame: what they held before does not count.
        """
        hidden = hidden.masked_fill(begins[:, None], 0)
        contexts, hidden = self.encoder(frames[None], hidden[None])
        mean = self.initial(contexts[0])[:, : self.dynamics.state_dim]
        moved, _ = self._posterior(th.where(begins[:, None], mean, state), contexts.expand(2, -1, -1), None)
        return hidden[0], th.where(begins[:, None], mean, moved[1])

    def _encoded(self, signals: th.Tensor, generator: th.Generator | None) -> th.Tensor:
        """Return states ``float[B, T, S]``."""
        contexts, _ = self.encoder(signals.transpose(0, 1))
        state, log_std = self.initial(contexts[0]).chunk(2, dim=-1)
        noise = None
        if generator is not None:
            first, noise = self._noise(len(signals), signals.shape[1], generator)
            state = state + log_std.exp() * first
        return self._posterior(state, contexts, noise)[0].transpose(0, 1)

    def _posterior(self, state: th.Tensor, contexts: th.Tensor, noise: th.Tensor | None) -> tuple[th.Tensor, th.Tensor]:
        """Return states ``float[T, B, S]`` and whitened controls ``float[(T - 1) * substeps, B, d]``.

        Args:
            state: ``float[B, S]``, the first.
            contexts: ``float[T, B, C]``.
            noise: ``float[(T - 1) * substeps, B, d]``, or None for none.
        """
        substeps = self.settings["substeps"]
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

    def kernel(self, substeps: int | None = None, integrator: str | None = None) -> Kernel:
        """Return one step of the chain, ``step / substeps`` time units long; None for the settings of the training."""
        step = self.settings["step"] / (substeps or self.settings["substeps"])
        return self.dynamics.kernel(step) if integrator is None else self.dynamics.kernel(step, integrator)

    def _noise(self, batch: int, length: int, generator: th.Generator) -> tuple[th.Tensor, th.Tensor]:
        """Return standard Gaussians for initial states, ``float[B, S]``, and for steps."""
        first = th.randn(batch, self.dynamics.state_dim, generator=generator)
        steps = (length - 1) * self.settings["substeps"]
        return first.to(self.device), th.randn(steps, batch, self.latent_dim, generator=generator).to(self.device)

    def _paths(self, states: th.Tensor) -> Paths:
        array = states.cpu().numpy()
        d = self.latent_dim
        return Paths(array[..., :d], array[..., d:] if self.dynamics.state_dim > d else None)

    def _points(self, z: np.ndarray) -> th.Tensor:
        points = th.as_tensor(np.asarray(z, dtype=np.float32), device=self.device)
        if points.ndim == 0 or points.shape[-1] != self.latent_dim:
            raise ValueError(f"positions must be [..., {self.latent_dim}], got shape {list(points.shape)}")
        return points

    def _checked(self, signals: np.ndarray) -> th.Tensor:
        array = np.ascontiguousarray(signals, dtype=np.float32)
        if array.ndim != 3 or array.shape[2] != self.settings["data_dim"] or 0 in array.shape:
            raise ValueError(f"signals must be [N, T, {self.settings['data_dim']}], got shape {array.shape}")
        if not np.isfinite(array).all():
            row, frame, channel = np.argwhere(~np.isfinite(array))[0]
            raise ValueError(f"signals must be finite: number {row}, frame {frame}, channel {channel} is not")
        return th.as_tensor(array, device=self.device)


def _check_settings(settings: dict[str, Any], energy: Energy | None) -> None:
    dynamics = settings["dynamics"]
    if dynamics not in DYNAMICS:
        raise ValueError(f"dynamics must be one of {list(DYNAMICS)}, got {dynamics!r}")
    for name in ("data_dim", "latent_dim", "energy_units", "drift_units", "hidden", "context", "control_units"):
        _check_integer(name, settings[name], 1)
    _check_integer("substeps", settings["substeps"], 1)
    _check_integer("seed", settings["seed"], 0)
    for name in ("beta", "step", "min_std", "confinement", "control_scale"):
        positive(name, settings[name])
    if not np.isfinite(settings["log_std"]):
        raise ValueError(f"log_std must be finite, got {settings['log_std']!r}")
    if energy is not None and energy.dim != settings["latent_dim"]:
        raise ValueError(
            f"the energy is one of {energy.dim} dimensions, but latent_dim is {settings['latent_dim']}: make them equal"
        )
    useless = {
        "energy": dynamics == "general" and energy is not None,
        "friction": dynamics == "general" and settings["friction"] is not None,
        "inverse_mass": dynamics != "underdamped" and settings["inverse_mass"] is not None,
        "integrator": dynamics != "underdamped" and settings["integrator"] is not None,
    }
    for name, given in useless.items():
        if given:
            raise ValueError(f"{name} means nothing for dynamics={dynamics!r}: leave it out")


def _check_integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
