"""Trains the network that comes with ``bisimgym/ChannelPruning-v0`` and writes it to a file.

pip install ".[pruning]"
python docs/tools/pruning_network.py [FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bisimgym.envs.channel_pruning import save_network
from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.datasets import digits
from bisimgym.envs.channel_pruning.fitting import scored, trained_network

_FILE = Path(__file__).parents[2] / "envs" / "channel_pruning" / "digits-4.npz"
_EPOCHS, _SEED, _BATCH_SIZE = (30, 10, 80), 0, 64


def main(arguments: Sequence[str] | None = None, epochs: tuple[int, int, int] = _EPOCHS) -> None:
    """Train, write the file, and print the accuracy of the whole network on the test split."""
    parser = argparse.ArgumentParser(description="Train the network for digits that is pruned: a minute on one core.")
    parser.add_argument("file", nargs="?", type=Path, default=_FILE)
    file = parser.parse_args(arguments).file
    network = trained_network(BACKBONES["digits-4"], digits("train"), epochs, _SEED, _BATCH_SIZE)
    save_network(network, file)
    print(f"{file}: {scored(network, digits('test'))['correct'].mean():.1%} of the test digits")


if __name__ == "__main__":
    main()
