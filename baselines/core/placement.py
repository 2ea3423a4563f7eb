"""Where stored transitions live: in the host's memory or on the device that learns from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch as th

from bisimgym.baselines.metrics.memory import free_memory, in_units

#: Tensors of a batch, or of all that is stored, with one leading axis; observations may be dictionaries of them.
Columns = tuple[Any, ...]
#: Rows of stored data that are moved to a device at once.
_CHUNK = 4096

#: What ``replay_device`` and ``storage_device`` may be.
PLACES = ("auto", "cpu", "device")
#: The part of a device's free memory that "auto" fills at most: networks and batches want the rest.
AUTO_SHARE = 0.5


def check_place(name: str, place: str) -> None:
    """Raise ``ValueError`` for something that is no place."""
    if place not in PLACES:
        raise ValueError(f'{name} must be "auto", "cpu" (the host\'s memory) or "device", got {place!r}')


def is_placed_on_device(place: str, device: th.device, needed: int) -> bool:
    """Return whether data live on the device; "auto" is there unless it is the host itself or has too little memory.

    Args:
        place: one of :data:`PLACES`.
        device: of the learner.
        needed: bytes.
    """
    if place != "auto":
        return place == "device"
    return device.type != "cpu" and needed <= AUTO_SHARE * free_on(device)


def free_on(device: th.device | None) -> int:
    """Return the bytes that can be allocated on a device; None, and any that is no GPU, is the host's memory."""
    return free_gpu_memory(str(device)) if device is not None and device.type == "cuda" else free_memory()


def free_gpu_memory(device: str) -> int:
    """Return the bytes of a GPU's memory that can be allocated."""
    free, _ = th.cuda.mem_get_info(device)
    # PyTorch keeps memory of freed tensors to use it again.
    return free + th.cuda.memory_reserved(device) - th.cuda.memory_allocated(device)


def check_fits(what: str, count: int, needed: Mapping[th.device | None, int], hint: str) -> None:
    """Raise ``MemoryError`` if data need more memory than there is, before anything is allocated.

    Args:
        what: the data, ``count`` of which there are: "replay of", "data set of".
        needed: bytes by device; None is the host.
        hint: the end of the message: what to change, in which ``{most}`` is how many would fit.
    """
    by_memory: dict[str, int] = {}
    for device, size in needed.items():  # devices other than GPUs share the host's memory
        where = str(device) if device is not None and device.type == "cuda" else "host"
        by_memory[where] = by_memory.get(where, 0) + size
    for where, size in by_memory.items():
        available = free_memory() if where == "host" else free_gpu_memory(where)
        if size > available:
            raise MemoryError(
                f"a {what} {count} transitions needs {in_units(size)} of {where} memory, but {in_units(available)} are "
                f"available: {hint.format(most=int(count * available / size))}"
            )


def placed_rows(
    read: Callable[[np.ndarray], Columns], count: int, place: str, device: th.device
) -> Callable[[np.ndarray], Columns]:
    """Return a function of row numbers that gives what ``read`` gives, from copies on a device if data live there.

    Args:
        read: ``read(rows) -> columns``, of row numbers ``int[K]``.
        count: of all rows, which are read once.
        place: one of :data:`PLACES`.
        device: of the learner.

    Raises:
        MemoryError: if all rows are to live on the device and do not fit.
    """
    if place == "cpu" or (place == "auto" and device.type == "cpu"):
        return read
    first = read(np.arange(1))
    needed = count * sum(part.nbytes for column in first for part in _parts(column).values())
    if not is_placed_on_device(place, device, needed):
        return read
    check_fits("data set of", count, {device: needed}, 'set replay_device="cpu", or take at most {most} of them')

    def like(part: th.Tensor) -> th.Tensor:
        return th.empty((count, *part.shape[1:]), dtype=part.dtype, device=device)

    placed = [{key: like(part) for key, part in _parts(column).items()} for column in first]
    for start in range(0, count, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, count))
        for column, chunk in zip(placed, read(rows), strict=True):
            for key, part in _parts(chunk).items():
                column[key][start : start + len(rows)] = part.to(device)

    def gather(rows: np.ndarray) -> Columns:
        there = th.from_numpy(np.array(rows)).to(device)
        taken = [{key: part.index_select(0, there) for key, part in column.items()} for column in placed]
        return tuple(parts.get("", parts) for parts in taken)

    return gather


def _parts(column: Any) -> dict[str, th.Tensor]:
    return column if isinstance(column, dict) else {"": column}


class DeviceArray:
    """What stands for an array of SB3's replays and lives on a device: rows are written and looked up there.

    Args:
        array: whose shape, dtype and numbers it takes over.
        device: where it lives.
    """

    def __init__(self, array: np.ndarray, device: th.device):
        self.tensor = th.from_numpy(array).to(device)

    def __getitem__(self, key: Any) -> th.Tensor:
        return self.tensor[key]

    def __setitem__(self, key: Any, values: Any) -> None:
        self.tensor[key] = th.as_tensor(values).to(self.tensor.device, self.tensor.dtype)

    def __len__(self) -> int:
        return len(self.tensor)

    @property
    def nbytes(self) -> int:
        return self.tensor.nbytes

    def to(self, device: th.device) -> None:
        """Move to another device."""
        self.tensor = self.tensor.to(device)

    def __getstate__(self) -> dict[str, Any]:
        return {"tensor": self.tensor.cpu()}
