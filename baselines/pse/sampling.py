"""Sampling from fixed data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class ShuffledStream:
    """An endless stream of items, in a new random order in every pass."""

    items: np.ndarray
    order: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def take(self, count: int, rng: np.random.Generator) -> np.ndarray:
        while len(self.order) < count:
            self.order = np.concatenate([self.order, rng.permutation(self.items)])
        taken, self.order = self.order[:count], self.order[count:]
        return taken
