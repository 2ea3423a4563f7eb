"""Images and networks of the suite's tasks: digits of the package, or what a user's folder holds."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites.pruning.settings import CIFAR10, IMAGENET, Problem
from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.datasets import LabeledImages, load
from bisimgym.envs.channel_pruning.fitting import scored
from bisimgym.envs.channel_pruning.network import GatedNetwork
from bisimgym.envs.channel_pruning.stored import load_network, stored_network

_HOLDS = {
    CIFAR10: "the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin, test_batch.bin)",
    IMAGENET: "folders train and val of one folder of images per class",
}


@dataclass(frozen=True)
class Loaded:
    """Images to train with and to score on, the network that all methods start from, and the density of its budgets."""

    train: LabeledImages
    test: LabeledImages
    network: GatedNetwork
    density: float
    augment: bool

    @functools.cached_property
    def accuracy(self) -> float:
        """Of the whole network on the images to score on."""
        return float(scored(self.network, self.test)["correct"].mean())


def loaded(problem: Problem) -> Loaded:
    """Return what a task is made of.

    Raises:
        UserError: for a folder that is not named, missing or damaged, or holds no network to start from.
    """
    if problem.data == "digits":
        network = stored_network(problem.backbone)
        return Loaded(load("digits", "train"), load("digits", "test"), network, problem.density, problem.augment)
    folder = _folder(problem)
    backbone = BACKBONES[problem.backbone]
    try:
        train, test = (load(folder, split, backbone.image) for split in ("train", "test"))
        network = load_network(folder / f"{problem.backbone}.npz", backbone)
    except ValueError as error:
        raise UserError(str(error)) from None
    if len(test.labels) != problem.test_images or int(test.labels.max()) >= backbone.classes:
        raise UserError(
            f"{folder} must have {problem.test_images} test images of {backbone.classes} classes or fewer, got "
            f"{len(test.labels)} of {int(test.labels.max()) + 1}: results of other images cannot be compared"
        )
    return Loaded(train, test, network, problem.density, problem.augment)


def _folder(problem: Problem) -> Path:
    named = os.environ.get(problem.data)
    wanted = f"a folder with {_HOLDS[problem.data]}, and with {problem.backbone}.npz, the network to prune"
    if not named:
        raise UserError(f"set {problem.data} to {wanted} (docs/pruning.md says how to make that)")
    folder = Path(named)
    if not folder.is_dir():
        raise UserError(f"{problem.data} must be {wanted}, got {named}, which is no folder")
    if not (folder / f"{problem.backbone}.npz").is_file():
        raise UserError(f"{problem.data} must be {wanted}, and {named} has none (docs/pruning.md says how to make it)")
    return folder
