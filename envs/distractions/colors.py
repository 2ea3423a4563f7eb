"""Colors of a scene that change: the walk of the Distracting Control Suite, and the palettes of DMControl-GB.

Sources: Stone et al. 2021, "The Distracting Control Suite", arXiv 2101.02722 (the walk); Hansen and Wang 2021,
"Generalization in Reinforcement Learning by Soft Data Augmentation", arXiv 2011.13389 (the palettes).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bisimgym.envs.checks import choice, fraction, integer


class ColorWalk:
    """The colors of all materials through one episode: build a new one at each reset.

    With beta the strength and c0 a material's own color, an episode starts uniformly in [c0 - beta, c0 + beta], cut to
    [0, 1], independently for each material and channel. In dynamic episodes each control step then adds Gaussian noise
    of standard deviation 0.03 beta and clips to the same range.

    The published code ignores its seed here, so that its colors cannot be reproduced; these follow from ``rng``.

    Args:
        colors: ``float[M, 3]`` in [0, 1], the model's own RGB of its M materials. Keep a copy from before the first
            episode: colors read back from the scene would carry one episode's into the next.
        strength: beta in [0, 1]; 0.1, 0.2 and 0.3 are the suite's easy, medium and hard.
        dynamic: whether colors change within the episode.
        rng: of this walk alone; with another consumer, walks would depend on when it draws.

    Raises:
        ValueError: for colors of another shape or range, or a strength out of range.
    """

    def __init__(self, colors: np.ndarray, strength: float, dynamic: bool, rng: np.random.Generator):
        pristine = np.asarray(colors, dtype=np.float64)
        if pristine.ndim != 2 or pristine.shape[1] != 3:
            raise ValueError(f"colors must be float[M, 3], the RGB of each material, got shape {pristine.shape}")
        if not ((pristine >= 0) & (pristine <= 1)).all():
            raise ValueError(f"colors must be in [0, 1], got {pristine.min()} to {pristine.max()}: divide bytes by 255")
        fraction("strength of the colors", strength)
        self._low = np.maximum(pristine - strength, 0.0)
        self._high = np.minimum(pristine + strength, 1.0)
        self._std = 0.03 * strength if dynamic else 0.0
        self._rng = rng
        self._colors = self._low + rng.random(pristine.shape) * (self._high - self._low)

    @property
    def colors(self) -> np.ndarray:
        """``float32[M, 3]`` in [0, 1], now, in fresh memory."""
        return self._colors.astype(np.float32)

    def advance(self, steps: int) -> None:
        """Walk on by so many control steps, at least 0. Static colors stay."""
        integer("steps", steps, 0)
        if self._std == 0:
            return
        # Every step clips, so that steps cannot be added up; only their noise is drawn at once.
        for change in self._std * self._rng.standard_normal((steps, *self._colors.shape)):
            self._colors += change
            np.maximum(self._colors, self._low, out=self._colors)
            np.minimum(self._colors, self._high, out=self._colors)


@dataclass(frozen=True, eq=False)
class Palette:
    """Colors of a scene, RGB in [0, 1].

    Attributes:
        floor: ``float64[2, 3]``, the two colors of the checkered floor.
        agent: ``float64[3]``.
        sky: ``float64[3]``.
    """

    floor: np.ndarray
    agent: np.ndarray
    sky: np.ndarray


PALETTES_PER_KIND = 100

#: Lowest and highest RGB of the first floor color, the agent and the sky in the published lists.
PALETTE_RANGES = {
    "color-easy": {
        "floor": ((0.0, 0.0, 0.05), (0.33, 0.52, 0.51)),
        "agent": ((0.43, 0.26, 0.08), (0.96, 0.68, 0.56)),
        "sky": ((0.19, 0.42, 0.44), (0.65, 0.92, 1.0)),
    },
    "color-hard": {
        "floor": ((0.0, 0.0, 0.0), (0.64, 0.72, 0.68)),
        "agent": ((0.27, 0.0, 0.0), (1.0, 0.96, 0.76)),
        "sky": ((0.08, 0.12, 0.32), (0.96, 1.0, 1.0)),
    },
}

#: The second floor color is the first, lighter by this much.
FLOOR_CONTRAST = 0.1


@lru_cache
def palettes(kind: str) -> tuple[Palette, ...]:
    """Return the :data:`PALETTES_PER_KIND` palettes of a kind: always the same ones, in read-only arrays.

    They are ours. Each color is uniform in the range that it has in the published list of the same size
    (:data:`PALETTE_RANGES`), channel by channel; returns on them are therefore comparable with each other, not with
    figures on the published lists. An unknown kind raises ``ValueError``.
    """
    choice("kind", kind, PALETTE_RANGES)
    rng = np.random.default_rng([2021, list(PALETTE_RANGES).index(kind)])
    floor, agent, sky = (rng.uniform(low, high, (PALETTES_PER_KIND, 3)) for low, high in PALETTE_RANGES[kind].values())
    checkers = np.stack([floor, np.clip(floor + FLOOR_CONTRAST, 0.0, 1.0)], axis=1)
    for array in (checkers, agent, sky):
        array.flags.writeable = False
    return tuple(Palette(*colors) for colors in zip(checkers, agent, sky, strict=True))
