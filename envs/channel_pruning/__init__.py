"""Pruning the channels of a convolutional network, layer by layer: see :class:`ChannelPruningEnv`."""

from bisimgym.envs.channel_pruning import needs_torch  # noqa: F401
from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.env import ChannelPruningEnv, ChannelPruningVectorEnv
from bisimgym.envs.channel_pruning.network import GatedNetwork
from bisimgym.envs.channel_pruning.stored import from_torchvision, load_network, save_network

__all__ = [
    "BACKBONES",
    "ChannelPruningEnv",
    "ChannelPruningVectorEnv",
    "GatedNetwork",
    "from_torchvision",
    "load_network",
    "save_network",
]
