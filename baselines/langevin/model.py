"""Neural Langevin Dynamics: signals as the noisy image of a latent Langevin equation, learned as an autoencoder.

Source: Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics: towards interpretable Neural
Stochastic Differential Equations", arXiv:2211.09537. Sizes, time stepping and training are choices made here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th

from bisimgym.baselines.langevin.dynamics import Underdamped
from bisimgym.baselines.langevin.energy import Energy
from bisimgym.baselines.langevin.process import LatentProcess
from bisimgym.baselines.langevin.settings import DYNAMICS, ModelSettings, TrainingSettings, check_integer
from bisimgym.baselines.langevin.training import History, save_tensors, train
from bisimgym.envs.checks import real_array
from bisimgym.envs.files import replaceable_file

__all__ = ["DYNAMICS", "NeuralLangevinDynamics", "Paths"]

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


class NeuralLangevinDynamics(LatentProcess):
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
        device: where the networks are.
        **settings: sizes, initial values, time step and seed: the other fields of :class:`~.settings.ModelSettings`.

    Raises:
        ValueError: for settings out of range, or that mean nothing for these dynamics.
        TypeError: for a setting that does not exist.
    """

    def __init__(
        self,
        data_dim: int = 15,
        dynamics: str = "overdamped",
        latent_dim: int = 2,
        energy: Energy | None = None,
        *,
        device: th.device | str = "cpu",
        **settings: Any,
    ):
        super().__init__(ModelSettings(data_dim, dynamics, latent_dim, **settings), energy)
        self.own_energy = energy is not None
        self.to(device)

    def fit(
        self,
        signals: np.ndarray,
        *,
        seed: int | None = None,
        log_path: str | os.PathLike[str] | None = None,
        progress_bar: bool = False,
        checkpoint_path: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 100,
        callback: Callable[[int, dict[str, float]], None] | None = None,
        **settings: Any,
    ) -> History:
        """Train on random windows of signals by Adam, and return what happened.

        The defaults take about a minute on one core; 800 updates with ``long_updates=250, weight_average=0`` take 40
        seconds and cost about 0.4 % of accuracy on ``bisimgym/MarkovSignal-v0``.

        Every call begins a training of its own, from the weights as they are. An update whose gradient is not finite
        is skipped and counted.

        Args:
            signals: ``float32[N, T, D]``.
            seed: of windows and noise. None: that of the model.
            log_path: of a file to write a line of JSON to after every update.
            progress_bar: whether to show one.
            checkpoint_path: of a file to write all of the state to every ``checkpoint_every`` updates and at the end.
                If it is there at the start, the training goes on from it exactly as it would have without a break.
            checkpoint_every: at least 1.
            callback: called after each update with its number, from 1, and its line of the log. It may raise. On a
                device other than the CPU, which the host does not wait for in between, it is called for
                ``checkpoint_every`` updates at once.
            **settings: ``updates``, ``batch_size``, ``learning_rate`` and all other fields of
                :class:`~.settings.TrainingSettings`.

        Raises:
            ValueError: for numbers out of range, signals of another shape or not finite, or the checkpoint of another
                training.
            TypeError: for a setting that does not exist.
            DivergedError: if the gradients of more than five updates in a row are not finite.
        """
        return train(
            self,
            self._checked(signals),
            TrainingSettings(**settings, seed=self.config.seed if seed is None else seed),
            log_path=log_path,
            progress_bar=progress_bar,
            checkpoint_path=checkpoint_path,
            checkpoint_every=checkpoint_every,
            callback=callback,
        )

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
                check_integer(name, value, 1)
        substeps = substeps or self.config.substeps
        kernel = self.kernel(substeps)
        if integrator is not None:
            if not isinstance(self.dynamics, Underdamped):
                raise ValueError(f"integrator={integrator!r} is for underdamped dynamics only: leave it out")
            kernel = self.dynamics.kernel(self.config.step / substeps, integrator)
        generator = th.Generator().manual_seed(seed)
        if start is None:
            noise = th.randn(num, self.dynamics.state_dim, generator=generator).to(self.device)
            state = self.prior_mean + self.prior_log_std.exp() * noise
        else:
            points = self._points(start)
            if points.shape != (num, self.latent_dim):
                raise ValueError(f"start must be [{num}, {self.latent_dim}], got shape {list(points.shape)}")
            state = self.dynamics.at_rest(points, generator)
        states = [state]
        for _ in range(length - 1):
            for noise in th.randn(substeps, num, self.latent_dim, generator=generator).to(self.device):
                state = kernel.advance(state, noise)
            states.append(state)
        return self._paths(th.stack(states, dim=1))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write settings, as JSON, and weights to a file, which holds no code.

        Raises:
            FileExistsError: if something is there that is no such file, see :mod:`bisimgym.envs.files`.
        """
        path = replaceable_file(path, "a model", _is_model)
        content = {"settings": json.dumps(self.settings), "own_energy": self.own_energy, "weights": self.state_dict()}
        save_tensors(path, content)

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

    def _encoded(self, signals: th.Tensor, generator: th.Generator | None) -> th.Tensor:
        """Return states ``float[B, T, S]``."""
        contexts = self.encoder(signals.transpose(0, 1))
        state, log_std = self.initial(contexts[0]).chunk(2, dim=-1)
        noise = None
        if generator is not None:
            first, noise = self._noise(len(signals), signals.shape[1], generator)
            state = state + log_std.exp() * first
        return self._posterior(state, contexts, noise)[0].transpose(0, 1)

    def _paths(self, states: th.Tensor) -> Paths:
        array = states.cpu().numpy()
        d = self.latent_dim
        return Paths(array[..., :d], array[..., d:] if self.dynamics.state_dim > d else None)

    def _points(self, z: np.ndarray) -> th.Tensor:
        array = real_array("positions", z)
        if array.ndim == 0 or array.shape[-1] != self.latent_dim or not np.isfinite(array).all():
            raise ValueError(f"positions must be finite [..., {self.latent_dim}], got shape {list(array.shape)}")
        return th.as_tensor(array.astype(np.float32), device=self.device)

    def _checked(self, signals: np.ndarray) -> th.Tensor:
        with np.errstate(over="ignore"):  # beyond float32 they are not finite there, which is said below
            array = np.ascontiguousarray(real_array("signals", signals), dtype=np.float32)
        if array.ndim != 3 or array.shape[2] != self.config.data_dim or 0 in array.shape:
            raise ValueError(f"signals must be [N, T, {self.config.data_dim}], got shape {array.shape}")
        if not np.isfinite(array).all():
            row, frame, channel = np.argwhere(~np.isfinite(array))[0]
            raise ValueError(
                f"signals must be finite float32: number {row}, frame {frame}, channel {channel} is not; scale them"
            )
        return th.as_tensor(array, device=self.device)


def _is_model(file: Path) -> bool:
    return {"settings", "own_energy", "weights"} <= set(th.load(file, map_location="cpu", weights_only=True))
