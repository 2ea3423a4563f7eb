"""Networks in files: plain arrays, without code or pickles."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch as th

from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.budgets import Backbone
from bisimgym.envs.channel_pruning.network import GatedNetwork
from bisimgym.envs.files import atomic_write, replaceable_file

_FOLDER = Path(__file__).parent


def save_network(network: GatedNetwork, path: str | os.PathLike[str]) -> None:
    """Write a network's parameters and buffers to a ``.npz`` file, whole or not at all.

    Args:
        network: to write.
        path: of the file; a name without a suffix gets ".npz".

    Raises:
        FileExistsError: if something is there that is no network.
    """
    path = Path(path)
    file = replaceable_file(path if path.suffix else path.with_suffix(".npz"), "a network", _is_network)
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **{name: value.numpy(force=True) for name, value in network.state_dict().items()})


def _is_network(file: Path) -> bool:
    with np.load(file, allow_pickle=False) as arrays:
        return {"features_0", "static.0.weight", "classifier.weight"} <= set(arrays.files)


def load_network(path: str | os.PathLike[str], backbone: Backbone) -> GatedNetwork:
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


def from_torchvision(state: Mapping[str, th.Tensor]) -> GatedNetwork:
    """Return a ResNet-18 with the weights of torchvision's, which it equals until channels are pruned.

    Scales and shifts of batch normalization become biases of the predictors, whose weights are 0, and shifts.

    Args:
        state: the state dictionary, such as ``torch.load("resnet18-f37072fd.pth", weights_only=True)``.

    Raises:
        ValueError: for weights of another network.
    """
    network = GatedNetwork(BACKBONES["resnet-18"])
    names = [("conv1", "bn1")]
    for stage, block in ((stage, block) for stage in range(1, 5) for block in range(2)):
        prefix = f"layer{stage}.{block}."
        if stage > 1 and block == 0:
            names.append((f"{prefix}downsample.0", f"{prefix}downsample.1"))
        names += [(f"{prefix}conv{i}", f"{prefix}bn{i}") for i in (1, 2)]
    try:
        with th.no_grad():
            for index, (conv, norm) in enumerate(names):
                network.conv(index).weight.copy_(state[f"{conv}.weight"])
                buffers = {name: state[f"{norm}.{name}"] for name in ("running_mean", "running_var")}
                network.norms[index].load_state_dict(buffers, strict=False)
                network.predictor(index).weight.zero_()
                network.predictor(index).bias.copy_(state[f"{norm}.weight"])
                network.shifts[index].copy_(state[f"{norm}.bias"])
            network.classifier.load_state_dict({name: state[f"fc.{name}"] for name in ("weight", "bias")})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"these are no weights of torchvision's resnet18 ({error})") from None
    return network.eval()
