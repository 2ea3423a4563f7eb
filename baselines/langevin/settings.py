"""The settings of a model and of its training, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bisimgym.baselines.langevin.energy import positive

DYNAMICS = ("overdamped", "underdamped", "general")


@dataclass(frozen=True)
class ModelSettings:
    """What a model is made of. The order of the fields is that of saved files.

    Attributes:
        data_dim: D, channels of the signals.
        dynamics: "overdamped" or "underdamped" Langevin dynamics (see :class:`~.dynamics.Overdamped` and
            :class:`~.dynamics.Underdamped`), or "general", a neural SDE whose drift is no gradient
            (:class:`~.dynamics.GeneralDrift`).
        latent_dim: d.
        energy_units, confinement: of the :class:`~.energy.TanhEnergy`, where no energy is given.
        drift_units: of each hidden layer of the drift of "general".
        beta: initial inverse temperature; of "general", ``sqrt(2 / beta)`` is the initial diffusion.
        friction: gamma, initial value (of "overdamped" the value). None: 1, and 3 if underdamped.
        inverse_mass, integrator: of "underdamped" only, None: 4 and "ou". With friction and mass 1 the training takes
            about twice as long.
        hidden: units of the GRU.
        context: size of the contexts.
        control_units: of each hidden layer of the control network.
        control_scale: of its initial output.
        log_std: initial logarithm of the decoder's noise, per channel.
        learn_std: whether that noise is learned.
        min_std: lower bound of that noise.
        step: time units between frames.
        substeps: steps of the chain per frame. More of them come closer to the differential equation, and to
            ``exp(-beta E)`` as its stationary law, and take as many times as long.
        seed: of the initial weights, and of the training unless that is given one.

    Raises:
        ValueError: for settings out of range, or that mean nothing for these dynamics.
    """

    data_dim: int = 15
    dynamics: str = "overdamped"
    latent_dim: int = 2
    energy_units: int = 64
    confinement: float = 0.5
    drift_units: int = 64
    beta: float = 1.0
    friction: float | None = None
    inverse_mass: float | None = None
    integrator: str | None = None
    hidden: int = 64
    context: int = 32
    control_units: int = 64
    control_scale: float = 0.2
    log_std: float = -0.2
    learn_std: bool = True
    min_std: float = 1e-2
    step: float = 0.1
    substeps: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dynamics not in DYNAMICS:
            raise ValueError(f"dynamics must be one of {list(DYNAMICS)}, got {self.dynamics!r}")
        for name in ("data_dim", "latent_dim", "energy_units", "drift_units", "hidden", "context", "control_units"):
            check_integer(name, getattr(self, name), 1)
        check_integer("substeps", self.substeps, 1)
        check_integer("seed", self.seed, 0)
        for name in ("beta", "step", "min_std", "confinement", "control_scale"):
            positive(name, getattr(self, name))
        if not isinstance(self.learn_std, bool):
            raise ValueError(f"learn_std must be true or false, got {self.learn_std!r}")
        if not np.isfinite(self.log_std):
            raise ValueError(f"log_std must be finite, got {self.log_std!r}")
        meaningless = {"overdamped": ("inverse_mass", "integrator"), "underdamped": ()}
        for name in meaningless.get(self.dynamics, ("friction", "inverse_mass", "integrator")):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} means nothing for dynamics={self.dynamics!r}: leave it out")


@dataclass(frozen=True)
class TrainingSettings:
    """What the result of a training depends on. The order of the fields is that of checkpoints.

    Attributes:
        updates: of the weights.
        batch_size: windows per update.
        window: frames of each, up to the last ``long_updates`` updates.
        long_window: frames of each from then on.
        long_updates: 0 to ``updates``.
        learning_rate: of Adam. It rises for ``warm_up`` updates and falls by half a cosine to 5 % of this.
        rate_decay: instead of the cosine, what the learning rate is multiplied by after every update; None: the cosine.
        warm_up: at least 0.
        path_weight: of the divergence of paths, not of their starts. 1 is the paper's formula and the exact bound; 2 is
            what the authors' code comes to, which leaves the 1/2 of ``|u|^2 / 2`` out. The more it is, the less of a
            path is the control's doing. In runs with 2 the energy said better how often states are visited, and paths
            followed the signal less well.
        kl_warm_up: updates in which the weight of the KL divergence rises from 0.02 to 1.
        clip: largest norm of a gradient; inf or None for no clipping.
        curvature_penalty: weight of the mean of ``max(s - 1, 0)^2`` along the encoded paths, where s is the largest
            eigenvalue of ``diag(curvature_gain) Hess E`` (see :class:`~.dynamics.Kernel`; at 2 a well is unstable).
        weight_average: decay, per update, of an exponential average of the weights over the second half of the
            updates, whose result the model has in the end; 0 for the last weights. Of less than ``1 / (1 - decay)``
            updates it is the mean.
        seed: of windows and noise.

    Raises:
        ValueError: for numbers out of range.
    """

    updates: int = 1200
    batch_size: int = 64
    window: int = 50
    long_window: int = 100
    long_updates: int = 500
    learning_rate: float = 6e-3
    warm_up: int = 50
    kl_warm_up: int = 200
    clip: float | None = 1.0
    curvature_penalty: float = 0.0
    weight_average: float = 0.995
    path_weight: float = 1.0
    rate_decay: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        integers = {"updates": 1, "batch_size": 1, "window": 1, "long_window": 1, "long_updates": 0, "warm_up": 0}
        for name, least in {**integers, "kl_warm_up": 0, "seed": 0}.items():
            check_integer(name, getattr(self, name), least)
        if self.long_updates > self.updates:
            raise ValueError(f"long_updates must be at most updates={self.updates}, got {self.long_updates}")
        for name, fits, allowed in (
            ("learning_rate", 0 < self.learning_rate < math.inf, "positive"),
            ("rate_decay", self.rate_decay is None or 0 < self.rate_decay <= 1, "in (0, 1], or None for a cosine"),
            ("clip", self.clip is None or self.clip > 0, "positive (inf or None for no clipping)"),
            ("curvature_penalty", 0 <= self.curvature_penalty < math.inf, "at least 0"),
            ("path_weight", 0 < self.path_weight < math.inf, "positive (1: the exact bound, 2: the authors' code)"),
            ("weight_average", 0 <= self.weight_average < 1, "in [0, 1)"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {allowed}, got {getattr(self, name)!r}")

    def check_frames(self, frames: int) -> None:
        """Raise ``ValueError`` if windows are longer than signals of so many frames."""
        used = {"window": self.long_updates < self.updates, "long_window": self.long_updates > 0}
        for name, is_used in used.items():
            if is_used and getattr(self, name) > frames:
                raise ValueError(f"{name} must be at most {frames}, the frames of a signal, got {getattr(self, name)}")


def check_integer(name: str, value: Any, least: int) -> None:
    """Raise ``ValueError`` unless the value is an integer and not too small."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
