"""States of N forward passes, and what the two agents see of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bisimgym.envs.channel_pruning.budgets import Backbone

AGENTS = ("runtime", "static")


@dataclass(frozen=True)
class PruningState:
    """N forward passes through T layers; W is the width of the widest layer.

    Attributes:
        image: ``int64[N]``, which picture of the data set.
        step: ``int64[N]``, layers that are computed.
        features: ``float32[N, M]``, input of the next layer, flat and padded with zeros.
        held: ``float32[N, M']``, what a residual block will add, likewise; M' is 0 for chains.
        pooled: ``float64[N, W]``, its mean over the picture, padded with zeros.
        importance: ``float64[N, W]``, runtime importance of the next layer's channels, padded with zeros.
        ratios: ``float64[N, 2, T]``, what the runtime and the static agent preserve of each layer; 1 where it is open.
        kept: ``int64[N, T]``, channels that were computed; all where it is open.
        masks: ``bool[N, T, W]``, which ones.
        read: ``int64[N, T]``, channels in the input of each layer; all where it is open.
        loss: ``float64[N]``, cross-entropy, not a number before the end.
        correct: ``bool[N]``, whether the picture was classified correctly.
    """

    image: np.ndarray
    step: np.ndarray
    features: np.ndarray
    held: np.ndarray
    pooled: np.ndarray
    importance: np.ndarray
    ratios: np.ndarray
    kept: np.ndarray
    masks: np.ndarray
    read: np.ndarray
    loss: np.ndarray
    correct: np.ndarray


def permanent_counts(backbone: Backbone, ratios: np.ndarray, trust: float) -> np.ndarray:
    """Return ``float64[..., T]``: the channels that are left once the static agent's share is removed for good.

    Layers that are added together lose the same channels, by the mean of their ratios.

    Args:
        backbone: the network's.
        ratios: ``float64[..., T]``, the static agent's.
        trust: R in [0, 1].
    """
    shared = group_means(backbone, ratios)
    removed = np.floor((1 - shared) * (1 - trust) * backbone.channels + 1e-5)
    return np.maximum(backbone.channels - removed, 1)


def group_means(backbone: Backbone, values: np.ndarray) -> np.ndarray:
    """Return ``float64[..., T]``: for each layer the mean over the layers whose outputs are added to its own."""
    means = np.array(values, dtype=np.float64)
    for group in backbone.groups():
        if len(group) > 1:
            means[..., group] = means[..., group].mean(axis=-1, keepdims=True)
    return means


def ratio_of(action: np.ndarray, minimum_ratio: float) -> np.ndarray:
    """Return ``float64[N]``: the fraction that actions, ``float[N, 1]`` in [-1, 1], preserve."""
    return minimum_ratio + (np.asarray(action, np.float64)[:, 0] + 1) / 2 * (1 - minimum_ratio)


def observation(
    backbone: Backbone,
    agent: str,
    cap: float,
    step: np.ndarray,
    spent: np.ndarray,
    kept: np.ndarray,
    pooled: np.ndarray,
    importance: np.ndarray,
) -> np.ndarray:
    """Return what an agent sees of N forward passes, ``float32[N, n]``.

    Args:
        backbone: the network's.
        agent: "runtime" or "static", which does not see the last two.
        cap: the agent's budget, a fraction.
        step: ``int64[N]``, layers that are computed.
        spent: ``float64[N]``, the fraction of the agent's resource that is spent.
        kept: ``float64[N, T]``, channels that the agent's resource is counted by.
        pooled: ``float64[N, W]``, the next layer's input averaged over the picture, padded with zeros.
        importance: ``float64[N, W]``, of the next layer's channels, padded with zeros.
    """
    count, layers = len(step), len(backbone.layers)
    one_hot = np.zeros((count, layers))
    ahead = np.flatnonzero(step < layers)
    one_hot[ahead, step[ahead]] = 1
    before = np.maximum(step - 1, 0)
    last = np.where(step > 0, kept[np.arange(count), before] / backbone.channels[before], 1.0)
    if agent == "runtime":
        seen = [pooled, importance]
    else:
        widths = np.array([layer.in_channels + layer.out_channels for layer in backbone.layers] + [0])
        seen = [widths[step][:, None] / widths.max()]
    return np.column_stack([one_hot, np.full(count, cap), spent, last, *seen]).astype(np.float32)
