"""Networks in files: plain arrays, without code or pickles."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch as th

from bisimgym.envs.channel_pruning.budgets import BACKBONES, Backbone
from bisimgym.envs.channel_pruning.network import GatedNetwork

_FOLDER = Path(__file__).parent


def save_network(network: GatedNetwork, path: str | Path) -> None:
    """Write a network's parameters and buffers to a ``.npz`` file."""
    np.savez_compressed(path, **{name: value.numpy(force=True) for name, value in network.state_dict().items()})


def load_network(path: str | Path, backbone: Backbone) -> GatedNetwork:
    """Return the network of a file, in evaluation mode.

    Raises:
        ValueError: for a file that is damaged, or holds another network than ``backbone``.
    """
    network = GatedNetwork(backbone)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            network.load_state_dict({name: th.from_numpy(arrays[name]) for name in arrays.files})
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} holds no network with these layers ({reason}): make it with save_network") from None
    return network.eval()


def stored_network(name: str) -> GatedNetwork:
    """Return the network that comes with the package, trained to be pruned to any density.

    Raises:
        ValueError: for a backbone of :data:`BACKBONES` without one.
    """
    path = _FOLDER / f"{name}.npz"
    if not path.is_file():
        raise ValueError(f"no weights of backbone {name!r} come with the package: train one and give network=...")
    return load_network(path, BACKBONES[name])
