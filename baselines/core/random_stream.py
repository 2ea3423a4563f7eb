"""A generator of random numbers that is saved with the weights of networks."""

from __future__ import annotations

from typing import Any

import torch as th
from torch import nn


class RandomStream(nn.Module):
    """A generator whose state is part of ``state_dict``, so that a loaded model draws on where it was saved.

    It is made on the device that first draws from it. States are those of one kind of device: after loading on another,
    the stream starts from its seed.

    Args:
        seed: of the generator.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed
        self._generator: th.Generator | None = None
        self._loaded: th.Tensor | None = None

    def on(self, device: th.device) -> th.Generator:
        """Return the generator on a device."""
        if self._generator is None or self._generator.device != device:
            self._generator = th.Generator(device)
            self._generator.manual_seed(self.seed)
            if self._loaded is not None and self._loaded.shape == self._generator.get_state().shape:
                self._generator.set_state(self._loaded)
            self._loaded = None
        return self._generator

    def __getstate__(self) -> dict[str, Any]:
        state = self.get_extra_state()
        return {**self.__dict__, "_generator": None, "_loaded": None if state is None else state.cpu()}

    def get_extra_state(self) -> th.Tensor | None:
        return self._loaded if self._generator is None else self._generator.get_state()

    def set_extra_state(self, state: th.Tensor | None) -> None:
        self._generator, self._loaded = None, None if state is None else state.cpu()
