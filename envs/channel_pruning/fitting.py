"""Training the network that is pruned, with the agents fixed: phases 1 and 2 and the second half of phase 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch as th
from torch.nn import functional as F

from bisimgym.envs.channel_pruning.budgets import Backbone
from bisimgym.envs.channel_pruning.datasets import LabeledImages, augmented
from bisimgym.envs.channel_pruning.masks import kept_count, lowest_within
from bisimgym.envs.channel_pruning.network import GatedNetwork, KeepRule, inputs_read

_MAX_NORM = 40.0  # of gradients, as in the authors' code
BATCH_SIZE = 128
_EVALUATED = 512  # images at once


def fit(
    network: GatedNetwork,
    data: LabeledImages,
    batches: int,
    seed: int,
    rule: Callable[[np.random.Generator], KeepRule | None] = lambda rng: None,
    learning_rate: float = 1e-3,
    batch_size: int = BATCH_SIZE,
    augment: bool = False,
) -> None:
    """Train a network by Adam, in place; incomplete batches are dropped.

    Args:
        network: what is trained, in training mode; it is left in evaluation mode.
        data: the training set.
        batches: of all; every pass over the training set has an order of its own.
        seed: of the order of images, and of what changes them.
        rule: which channels each batch keeps.
        learning_rate: of Adam.
        batch_size: images, of at most the training set.
        augment: whether images are shifted and mirrored, see :func:`~bisimgym.envs.channel_pruning.datasets.augmented`.
    """
    rng = np.random.default_rng(seed)
    optimizer = th.optim.Adam(network.parameters(), learning_rate)
    batch_size = min(batch_size, len(data.labels))
    network.train()
    for rows in _batches(rng, len(data.labels), batch_size, batches):
        images = augmented(data.images[rows], rng) if augment else data.images[rows]
        # Arrays with one channel can have any stride there, from which torch concludes that channels come last.
        inputs = th.from_numpy(images).clone(memory_format=th.contiguous_format)
        logits, _ = network(inputs, rule(rng))
        loss = F.cross_entropy(logits, th.from_numpy(data.labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        th.nn.utils.clip_grad_norm_(network.parameters(), _MAX_NORM)
        optimizer.step()
    network.eval()


def _batches(rng: np.random.Generator, images: int, size: int, count: int) -> Iterator[np.ndarray]:
    """Yield ``int64[size]`` for each batch: which images it has."""
    order = np.zeros(0, dtype=np.int64)
    for _ in range(count):
        if len(order) < size:
            order = rng.permutation(images)
        yield order[:size]
        order = order[size:]


def trained_network(
    backbone: Backbone,
    data: LabeledImages,
    epochs: tuple[int, int, int],
    seed: int,
    batch_size: int = BATCH_SIZE,
    augment: bool = False,
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
        augment: as of :func:`fit`.
    """
    whole, static, pruned = (count * max(len(data.labels) // batch_size, 1) for count in epochs)
    with th.random.fork_rng(devices=[]):
        th.manual_seed(seed)
        network = GatedNetwork(backbone)
        fit(network, data, whole, seed, batch_size=batch_size, augment=augment)
        network.release_static(data.images, data.labels)
        fit(network, data, static, seed + 1, batch_size=batch_size, augment=augment)
        fit(network, data, pruned, seed + 2, random_ratios, batch_size=batch_size, augment=augment)
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
    """Return what a network makes of every image.

    "correct" is ``bool[N]``, "loss" ``float32[N]``, "kept" and "read" are ``int64[N, T]``: channels that each layer
    computed, and channels of its input.
    """
    found: dict[str, list[th.Tensor]] = {"correct": [], "loss": [], "kept": [], "read": []}
    with th.no_grad():
        for start in range(0, len(data.labels), _EVALUATED):
            rows = slice(start, start + _EVALUATED)
            labels = th.from_numpy(data.labels[rows])
            logits, keeps = network.passed(th.from_numpy(data.images[rows]), rule)
            found["loss"].append(F.cross_entropy(logits, labels, reduction="none"))
            found["correct"].append(logits.argmax(dim=1) == labels)
            read = [inputs_read(network.backbone, layer, keeps).sum(dim=1) for layer in range(len(keeps))]
            found["kept"].append(th.stack([keep.sum(dim=1) for keep in keeps], dim=1))
            found["read"].append(th.stack([count.expand(len(labels)) for count in read], dim=1))
    return {name: th.cat(parts).numpy() for name, parts in found.items()}
