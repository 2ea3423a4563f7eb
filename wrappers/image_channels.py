"""Which observations are images with their channels last, and the spaces of the same with their channels first."""

from __future__ import annotations

from typing import TypeGuard

from gymnasium import spaces

from bisimgym.envs.extras import missing

try:
    from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
    from stable_baselines3.common.vec_env import VecTransposeImage
except ModuleNotFoundError as error:
    raise missing("adapters for Stable-Baselines3", "baselines", error.name) from None


def has_channels_last(space: spaces.Space) -> TypeGuard[spaces.Box]:
    """Return whether a space is one of images, ``uint8[H, W, C]`` in [0, 255]."""
    return isinstance(space, spaces.Box) and is_image_space(space) and not is_image_space_channels_first(space)


def channels_first(space: spaces.Space) -> spaces.Space:
    """Return the space as replays hold it: SB3 puts the channels of images first."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: channels_first(part) for key, part in space.items()})
    return VecTransposeImage.transpose_space(space) if has_channels_last(space) else space
