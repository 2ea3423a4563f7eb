"""Random numbers of an episode, from the 64 bits that it is given.

All that is random in an episode follows from one ``uint64`` word. Many episodes can then be drawn at once or one by
one, early or late, with the same outcome.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def uniforms(words: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """Return ``float64[N, count]`` uniform in [0, 1): numbers ``first`` to ``first + count - 1`` of each word's stream.

    The streams are those of SplitMix64 (Steele, Lea and Flood 2014), computed for all words at once.

    Args:
        words: ``uint64[N]``.
    """
    steps = np.arange(first + 1, first + count + 1, dtype=np.uint64) * _GOLDEN
    bits = words[:, None] + steps
    bits ^= bits >> np.uint64(30)
    bits *= _MIX[0]
    bits ^= bits >> np.uint64(27)
    bits *= _MIX[1]
    bits ^= bits >> np.uint64(31)
    bits >>= np.uint64(11)
    return bits * 2.0**-53


def first_uniforms(words: np.ndarray) -> np.ndarray:
    """Return ``float64[N]`` uniform in [0, 1), from the words themselves, as numpy's generators make theirs."""
    return (words >> np.uint64(11)) * 2.0**-53


def generators(words: np.ndarray) -> list[np.random.Generator]:
    """Return a generator for each word, for draws that numpy makes best, such as Gaussians."""
    return [np.random.Generator(np.random.PCG64(int(word))) for word in words]
