"""Random numbers of episodes from their seeds.

All that is random in an episode follows from one seed of 64 bits. Many episodes can then be drawn at once or one by
one, early or late, with the same outcome.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def uniforms(seeds: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """Return ``float64[N, count]`` uniform in [0, 1): numbers ``first`` to ``first + count - 1`` of each seed's stream.

    The streams are those of SplitMix64 (Steele, Lea and Flood 2014), computed for all seeds at once.

    Args:
        seeds: ``uint64[N]``.
    """
    steps = np.arange(first + 1, first + count + 1, dtype=np.uint64) * _GOLDEN
    bits = seeds[:, None] + steps
    bits ^= bits >> np.uint64(30)
    bits *= _MIX[0]
    bits ^= bits >> np.uint64(27)
    bits *= _MIX[1]
    bits ^= bits >> np.uint64(31)
    bits >>= np.uint64(11)
    return bits * 2.0**-53


def uniform_at(seeds: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return ``float64[N]``: of each seed's stream the number at its own place, ``int[N]`` (see :func:`uniforms`)."""
    return uniforms(seeds + index.astype(np.uint64) * _GOLDEN, 1)[:, 0]


def first_uniforms(seeds: np.ndarray) -> np.ndarray:
    """Return ``float64[N]`` uniform in [0, 1), from the seeds' own bits, as numpy's generators make theirs."""
    return (seeds >> np.uint64(11)) * 2.0**-53


def generators(seeds: np.ndarray) -> list[np.random.Generator]:
    """Return a generator for each seed, for draws that numpy makes best, such as Gaussians."""
    return [np.random.Generator(np.random.PCG64(int(seed))) for seed in seeds]
