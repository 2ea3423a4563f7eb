"""Batches of offline data as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from bisimgym.envs.extras import missing
from bisimgym.wrappers.offline.data import Batch

try:
    import torch as th
except ModuleNotFoundError as error:
    raise missing("batches of tensors", "baselines", error.name) from None


def to_torch(batch: Batch, device: th.device | str = "cpu") -> Batch:
    """Return a batch as tensors on a device.

    On a CPU they share the batch's memory: nothing is copied. To a GPU they go through pinned memory, without waiting.
    """
    return Batch(*(_tensors(part, th.device(device)) for part in batch))


def _tensors(values: Any, device: th.device) -> Any:
    if isinstance(values, dict):
        return {key: _tensors(value, device) for key, value in values.items()}
    tensor = th.from_numpy(np.asarray(values))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
