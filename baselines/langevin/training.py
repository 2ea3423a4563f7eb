"""The training of Neural Langevin Dynamics: random windows, Adam, schedules, and what happens when numbers diverge."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from torch import nn
from tqdm import tqdm

from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.baselines.langevin.process import LatentProcess
from bisimgym.baselines.langevin.settings import TrainingSettings, check_integer
from bisimgym.envs.files import atomic_write, replaceable_file

#: Updates in a row that may be skipped.
MAX_SKIPPED = 5
FIRST_KL_WEIGHT = 0.02
LAST_LEARNING_RATE = 0.05  # of the highest
#: Points of a batch at which the curvature of the energy is penalized.
_CURVATURE_POINTS = 256


@dataclass(frozen=True, eq=False)
class History:
    """What happened in a training, update by update.

    Attributes:
        loss: ``float64[U]``, what was minimized: ``reconstruction + kl_weight * kl``, in which paths count
            ``path_weight`` times, and the penalty.
        reconstruction: ``float64[U]``, ``-log p(y | z)`` in nats per frame.
        kl: ``float64[U]``, divergence of the paths from the prior in nats per frame.
        kl_weight: ``float64[U]``.
        learning_rate: ``float64[U]``.
        gradient_norm: ``float64[U]``, before clipping.
        beta: ``float64[U]``, after the update; not a number of the general dynamics.
        skipped: ``bool[U]``, updates left out because their gradient was not finite.
        seconds: that the training took.
    """

    loss: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray
    kl_weight: np.ndarray
    learning_rate: np.ndarray
    gradient_norm: np.ndarray
    beta: np.ndarray
    skipped: np.ndarray
    seconds: float


_SERIES = tuple(field.name for field in dataclasses.fields(History) if field.name != "seconds")


def train(
    model: LatentProcess,
    signals: th.Tensor,
    settings: TrainingSettings,
    log_path: str | os.PathLike[str] | None = None,
    progress_bar: bool = False,
    checkpoint_path: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    callback: Callable[[int, dict[str, float]], None] | None = None,
) -> History:
    """Train a model in place, on signals ``float32[N, T, D]`` on its device.

    For the other arguments see :meth:`~.model.NeuralLangevinDynamics.fit`.
    """
    settings.check_frames(signals.shape[1])
    check_integer("checkpoint_every", checkpoint_every, 1)
    if settings.curvature_penalty and model.energy is None:
        raise ValueError("curvature_penalty is for an energy, which the general dynamics has none of: set it to 0")
    if log_path is not None:
        log_path = replaceable_file(log_path, "a log of a training", _is_log)
    if checkpoint_path is not None:
        checkpoint_path = replaceable_file(checkpoint_path, "the state of a training", _is_state)
    if None is not log_path == checkpoint_path:
        raise ValueError(f"log_path and checkpoint_path must be two files, got {log_path} for both")
    training = _Training(model, signals, settings)
    if checkpoint_path is not None and Path(checkpoint_path).exists() and Path(checkpoint_path).stat().st_size:
        training.restore(checkpoint_path)
    with contextlib.ExitStack() as stack:
        log = None
        if log_path is not None:
            log = stack.enter_context(open(log_path, "w", encoding="utf-8", buffering=1))
            log.writelines(map(_line, training.records))
        bar = stack.enter_context(
            tqdm(
                desc="training",
                initial=len(training.records),
                total=settings.updates,
                disable=not progress_bar,
                delay=2,
                leave=False,
            )
        )
        # The host waits for a device where it looks at numbers. A CPU it never waits for.
        read_every = 1 if model.device.type == "cpu" else checkpoint_every
        while (before := len(training.records)) < settings.updates:
            for _ in range(min(read_every - before % read_every, settings.updates - before)):
                training.update()
            training.read()
            done = len(training.records)
            if checkpoint_path is not None and (done % checkpoint_every == 0 or done == settings.updates):
                training.store(checkpoint_path)
            for number, record in enumerate(training.records[before:], start=before + 1):
                if log is not None:
                    log.write(_line(record))
                bar.update()
                if callback is not None:
                    callback(number, record)
    training.finish()
    return training.history()


def learning_rate_factor(update: int, updates: int, warm_up: int, decay: float | None = None) -> float:
    """Return what the learning rate of an update, from 0, is multiplied by: a rise, then half a cosine to 5 %.

    With a ``decay`` a power of that stands in for the cosine.
    """
    if update < warm_up:
        return (update + 1) / warm_up
    if decay is not None:
        return decay ** (update - warm_up)
    share = (update - warm_up) / max(updates - warm_up, 1)
    return LAST_LEARNING_RATE + (1 - LAST_LEARNING_RATE) * (1 + math.cos(math.pi * share)) / 2


def kl_weight(update: int, kl_warm_up: int) -> float:
    """Return the weight of the divergence in an update, from 0."""
    return 1.0 if update >= kl_warm_up else FIRST_KL_WEIGHT + (1 - FIRST_KL_WEIGHT) * update / kl_warm_up


class _Training:
    """All the state of a training."""

    def __init__(self, model: LatentProcess, signals: th.Tensor, settings: TrainingSettings):
        self.model, self.signals, self.settings = model, signals, settings
        # Another stream than that of the initial weights, which the same seed gives.
        seed = np.random.SeedSequence([settings.seed, 1]).generate_state(1, np.uint64)[0]
        self.generator = th.Generator().manual_seed(int(seed))
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # About a third of the time of a loop over parameters, and it skips an update without the host.
        self.optimizer: Any = th.optim.Adam(self.parameters, lr=settings.learning_rate, fused=True)
        self.averages: list[th.Tensor] = []
        self.records: list[dict[str, float]] = []
        self.unread: list[tuple[dict[str, float], th.Tensor]] = []
        self.in_a_row = 0
        self.seconds = 0.0

    def update(self) -> None:
        """Do one update, without a look at its numbers."""
        begin = time.perf_counter()
        s, number = self.settings, len(self.records) + len(self.unread)
        weight = kl_weight(number, s.kl_warm_up)
        rate = s.learning_rate * learning_rate_factor(number, s.updates, s.warm_up, s.rate_decay)
        windows = self._windows(s.long_window if number >= s.updates - s.long_updates else s.window)
        terms = self.model.terms(windows, self.generator)
        frames = windows.shape[1]
        reconstruction, kl = terms.reconstruction.mean() / frames, terms.kl.mean() / frames
        weighted = (s.path_weight * terms.path_kl + terms.start_kl).mean() / frames
        loss = reconstruction + weight * weighted
        if s.curvature_penalty:
            loss = loss + s.curvature_penalty * excess_curvature(self.model, terms.positions)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, math.inf if s.clip is None else s.clip)
        skipped = (~(norm.isfinite() & loss.isfinite())).to(loss.dtype)
        self.optimizer.found_inf = skipped  # as a gradient scaler tells it: where it is 1, nothing changes
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self._average(number)
        beta = self.model.dynamics.beta
        beta = th.full_like(loss, math.nan) if beta is None else beta
        values = th.stack([x.detach() for x in (loss, reconstruction, kl, norm, beta, skipped)])
        self.unread.append(({"kl_weight": weight, "learning_rate": rate}, values))
        self.seconds += time.perf_counter() - begin

    def read(self) -> None:
        """Make records of the updates since the last call.

        Raises:
            DivergedError: if too many updates in a row were skipped.
        """
        begin = time.perf_counter()
        values = th.stack([values for _, values in self.unread]).tolist()
        known, self.unread = [known for known, _ in self.unread], []
        self.seconds += time.perf_counter() - begin
        for numbers, (loss, reconstruction, kl, norm, beta, skipped) in zip(known, values, strict=True):
            record = {"loss": loss, "reconstruction": reconstruction, "kl": kl, **numbers, "gradient_norm": norm}
            self.records.append({**record, "beta": beta, "skipped": bool(skipped)})
            self.in_a_row = self.in_a_row + 1 if skipped else 0
            if self.in_a_row > MAX_SKIPPED:
                raise DivergedError(
                    f"the gradients of {self.in_a_row} updates in a row, up to update {len(self.records)}, are not "
                    "finite: the training has diverged and stops here. Lower learning_rate or clip, raise substeps of "
                    "the model or curvature_penalty, shorten window and long_window, or scale the signals to unit "
                    "variance"
                )

    def history(self) -> History:
        series = {name: np.array([record[name] for record in self.records]) for name in _SERIES}
        return History(**series, seconds=self.seconds)

    def finish(self) -> None:
        """Give the model its averaged weights."""
        with th.no_grad():
            for parameter, average in zip(self.parameters if self.averages else [], self.averages, strict=True):
                parameter.copy_(average)

    def store(self, path: str | os.PathLike[str]) -> None:
        content = {
            **self._identity(),
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "averages": self.averages,
            "records": self.records,
            "in_a_row": self.in_a_row,
            "seconds": self.seconds,
        }
        save_tensors(path, content)

    def restore(self, path: str | os.PathLike[str]) -> None:
        content = th.load(os.fspath(path), map_location=self.model.device, weights_only=True)
        for name, here in self._identity().items():
            if content[name] != here:
                raise ValueError(
                    f"{os.fspath(path)} is the checkpoint of another training: its {name} differ. They were "
                    f"{content[name]} and are {here}. Give another checkpoint_path, or remove the file"
                )
        self.model.load_state_dict(content["weights"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.generator.set_state(content["generator"].cpu())
        self.averages, self.records = content["averages"], content["records"]
        self.in_a_row, self.seconds = content["in_a_row"], content["seconds"]

    def _identity(self) -> dict[str, str]:
        data = self.signals.cpu().numpy()
        return {
            "model settings": json.dumps(self.model.settings),
            "settings of fit": json.dumps(dataclasses.asdict(self.settings)),
            "signals": f"{data.shape} with checksum {zlib.crc32(data.data):08x}",
        }

    def _windows(self, length: int) -> th.Tensor:
        """Return ``float[B, length, D]`` random windows."""
        count, frames = self.signals.shape[:2]
        batch = self.settings.batch_size
        rows = th.randint(count, (batch, 1), generator=self.generator)
        columns = th.randint(frames - length + 1, (batch, 1), generator=self.generator) + th.arange(length)
        return self.signals[rows.to(self.signals.device), columns.to(self.signals.device)]

    @th.no_grad()
    def _average(self, number: int) -> None:
        decay, begin = self.settings.weight_average, self.settings.updates // 2
        if not decay or number < begin:
            return
        # A plain mean until there are enough updates: the first of them must not count more than the others.
        rate = max(1 - decay, 1 / (number - begin + 1))
        if not self.averages:
            self.averages = [parameter.clone() for parameter in self.parameters]
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            average.lerp_(parameter, rate)


def excess_curvature(model: LatentProcess, positions: th.Tensor) -> th.Tensor:
    """Return the mean square by which the energy is too curved for the time step, ``float[]``.

    Args:
        positions: ``float[..., d]``; at most 256 of them, evenly spaced, are looked at. No gradient goes back to them.
    """
    assert model.energy is not None, "a penalty on the curvature is of an energy"
    points = positions.detach().reshape(-1, positions.shape[-1])
    points = points[:: -(-len(points) // _CURVATURE_POINTS)]
    root = model.kernel().curvature_gain.sqrt()
    largest = th.linalg.eigvalsh(root[:, None] * model.energy.hessian(points) * root)[..., -1]
    return (largest - 1).clamp_min(0).square().mean()


def save_tensors(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write what ``torch.load(..., weights_only=True)`` can read to a file that is never half written."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        th.save(content, file)


def _is_state(file: Path) -> bool:
    return {"weights", "optimizer", "records"} <= set(th.load(file, map_location="cpu", weights_only=True))


def _is_log(file: Path) -> bool:
    with file.open(encoding="utf-8") as lines:
        return set(_SERIES) <= set(json.loads(next(lines)))


def _line(record: dict[str, float]) -> str:
    return json.dumps({name: value if math.isfinite(value) else None for name, value in record.items()}) + "\n"
