"""Training the network that is pruned, with the agents fixed: phases 1 and 2 and the second half of phase 3."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch as th
from torch.nn import functional as F

from bisimgym.envs.channel_pruning.budgets import Backbone
from bisimgym.envs.channel_pruning.datasets import LabeledImages
from bisimgym.envs.channel_pruning.masks import kept_count, lowest_within
from bisimgym.envs.channel_pruning.network import GatedNetwork, KeepRule

_MAX_NORM = 40.0  # of gradients, as in the authors' code
_EVALUATED = 512  # images at once


def fit(
    network: GatedNetwork,
    data: LabeledImages,
    epochs: int,
    seed: int,
    rule: Callable[[np.random.Generator], KeepRule | None] = lambda rng: None,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
) -> None:
    """Train a network by Adam, in place; incomplete batches are dropped.

    Args:
        network: what is trained, in training mode; it is left in evaluation mode.
        data: the training set.
        epochs: passes over it.
        seed: of the order of images.
        rule: which channels each batch keeps.
        learning_rate: of Adam.
        batch_size: images, of at most the training set.
    """
    rng = np.random.default_rng(seed)
    optimizer = th.optim.Adam(network.parameters(), learning_rate)
    images, labels = th.from_numpy(data.images), th.from_numpy(data.labels)
    batch_size = min(batch_size, len(labels))
    network.train()
    for _ in range(epochs):
        order = th.from_numpy(rng.permutation(len(labels)))
        for rows in order[: len(labels) // batch_size * batch_size].split(batch_size):
            loss = F.cross_entropy(network(images[rows], rule(rng))[0], labels[rows])
            optimizer.zero_grad()
            loss.backward()
            th.nn.utils.clip_grad_norm_(network.parameters(), _MAX_NORM)
            optimizer.step()
    network.eval()


def trained_network(
    backbone: Backbone, data: LabeledImages, epochs: tuple[int, int, int], seed: int, batch_size: int = 128
) -> GatedNetwork:
    """Return a network that can be pruned to any density: trained whole, then with static importance, then at random.

    In the last phase every batch prunes each layer, by unified importance, to a ratio of its own between 0.25 and 1:
    the agents' starting point should not favor one budget.

    Args:
        backbone: what is made.
        data: the training set.
        epochs: of the three phases.
        seed: of everything random.
        batch_size: images.
    """
    with th.random.fork_rng(devices=[]):
        th.manual_seed(seed)
        network = GatedNetwork(backbone)
        fit(network, data, epochs[0], seed, batch_size=batch_size)
        network.release_static(th.from_numpy(data.images), th.from_numpy(data.labels))
        fit(network, data, epochs[1], seed + 1, batch_size=batch_size)
        fit(network, data, epochs[2], seed + 2, random_ratios, batch_size=batch_size)
    return network


def random_ratios(rng: np.random.Generator) -> KeepRule:
    """Return a rule that keeps a fraction of each layer, drawn from [0.25, 1], by unified importance."""
    fractions = rng.uniform(0.25, 1, 64)

    def rule(layer: int, _: th.Tensor, runtime: th.Tensor, static: th.Tensor) -> th.Tensor:
        channels = runtime.shape[1]
        count = channels - kept_count(th.full((len(runtime),), fractions[layer]), channels)
        return ~lowest_within(runtime * static.abs(), th.ones_like(runtime, dtype=th.bool), count)

    return rule


def scored(network: GatedNetwork, data: LabeledImages, rule: KeepRule | None = None) -> dict[str, np.ndarray]:
    """Return "correct", ``bool[N]``, "loss", ``float32[N]``, and "kept", ``int64[N, T]``, of every image."""
    losses, correct, kept = [], [], []
    with th.no_grad():
        for images, labels in zip(
            th.from_numpy(data.images).split(_EVALUATED), th.from_numpy(data.labels).split(_EVALUATED), strict=True
        ):
            logits, counts = network(images, rule)
            losses.append(F.cross_entropy(logits, labels, reduction="none"))
            correct.append(logits.argmax(dim=1) == labels)
            kept.append(counts)
    return {"correct": th.cat(correct).numpy(), "loss": th.cat(losses).numpy(), "kept": th.cat(kept).numpy()}
