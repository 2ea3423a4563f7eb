"""What is recorded of losses in training, and what happens when one of them is no number any more."""

from __future__ import annotations

from collections.abc import Mapping

import torch as th
from stable_baselines3.common.logger import Logger


class DivergedError(RuntimeError):
    """A loss became infinite or not a number."""


class LossLog:
    """Collects losses on the device they are on, and looks at them now and then: looking waits for the device.

    Args:
        every: updates between looks.
    """

    def __init__(self, every: int = 100):
        self._every = every
        self._values: dict[str, list[th.Tensor]] = {}
        self._updates: dict[str, list[int]] = {}

    def add(self, update: int, losses: Mapping[str, th.Tensor]) -> None:
        """Remember the losses of an update."""
        for name, loss in losses.items():
            self._values.setdefault(name, []).append(loss.detach())
            self._updates.setdefault(name, []).append(update)

    def is_due(self) -> bool:
        """Return whether so many updates were remembered that someone should look."""
        return any(len(values) >= self._every for values in self._values.values())

    def flush(self, logger: Logger, cause: Exception | None = None) -> None:
        """Record the means since the last time under ``train/``.

        Args:
            logger: of SB3.
            cause: what a divergence led to, for the traceback.

        Raises:
            DivergedError: if a value is not finite; the message names the first one.
        """
        values, updates = self._values, self._updates
        self._values, self._updates = {}, {}
        first: tuple[int, int, str, float] | None = None
        for order, (name, series) in enumerate(values.items()):
            stacked = th.stack([value.reshape(()) for value in series]).float().cpu()
            finite = th.isfinite(stacked)
            if not finite.all():
                row = int((~finite).nonzero()[0])
                found = (updates[name][row], order, name, float(stacked[row]))
                first = min(first, found) if first is not None else found
            logger.record(f"train/{name}", float(stacked.mean()))
        if first is not None:
            update, _, name, value = first
            raise DivergedError(
                f"{name} is {value} at update {update}: the training has diverged and stops here. Lower learning_rate "
                "or the weight of that loss, set max_grad_norm (10, say), or use precision='float32'"
            ) from cause
