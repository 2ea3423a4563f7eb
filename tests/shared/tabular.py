"""Embeddings as tables, which losses descend on."""

import numpy as np
import torch as th
from scipy.stats import spearmanr

GAMMA = 0.8


def table(states, dim, scale, seed=0):
    generator = th.Generator().manual_seed(seed)
    return (scale * th.randn(states, dim, generator=generator, dtype=th.float64)).requires_grad_()


def descend(loss, parameters, steps=2000, rate=0.005):
    """Minimise by Adam with a cosine schedule: targets move with the embeddings, as in training."""
    optimizer = th.optim.Adam(parameters, lr=rate)
    schedule = th.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        schedule.step()
    return value.item()


def all_pairs(distance, z, *options):
    return distance(z[:, None], z[None], *options).detach().numpy()


def error(learned, exact):
    """Return the largest error, as a share of the largest distance."""
    return np.abs(learned - exact).max() / exact.max()


def rank_correlation(learned, exact):
    """Return Spearman's, over pairs of different states, with differences below a thousandth as ties."""
    pairs = ~np.eye(len(exact), dtype=bool)
    rounded = (np.round(d[pairs] / exact.max(), 3) for d in (learned, exact))
    return spearmanr(*rounded).statistic
