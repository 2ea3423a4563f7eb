"""Random convolutions (RandConv): images seen through a random filter.

Source: Lee et al. (2020), "Network Randomization", as used by Agarwal et al. (2021), section 5 and appendix G.
"""

from __future__ import annotations

import math

import numpy as np
import torch as th
from torch.nn import functional as F

KERNEL_SIZE = 2
#: Standard deviation of a standard normal truncated at two standard deviations.
_TRUNCATED_STD = 0.87962566103423978


def random_kernel(channels: int, clean_probability: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random filter, ``float32[channels, channels, 2, 2]``; with ``clean_probability`` the identity.

    Weights are Glorot normal, truncated at two standard deviations.
    """
    kernel = np.zeros((channels, channels, KERNEL_SIZE, KERNEL_SIZE), dtype=np.float32)
    if rng.random() < clean_probability:
        kernel[np.arange(channels), np.arange(channels), 0, 0] = 1
        return kernel
    draws = rng.standard_normal(kernel.size)
    while (outside := np.abs(draws) > 2).any():
        draws[outside] = rng.standard_normal(outside.sum())
    fan = channels * KERNEL_SIZE**2
    kernel[:] = (draws * (math.sqrt(2 / (fan + fan)) / _TRUNCATED_STD)).reshape(kernel.shape)
    return kernel


def convolve_frames(images: th.Tensor, kernel: th.Tensor) -> th.Tensor:
    """Return every frame of a stack filtered by the same kernel, in the shape of ``images``.

    Args:
        images: ``float[B, frames * channels, H, W]``.
        kernel: ``float[channels, channels, 2, 2]``, or one for each image, ``float[B, channels, channels, 2, 2]``.
            Output pixels see their right and lower neighbors ("same" padding, none before and one after).
    """
    channels = kernel.shape[-3]
    frames = images.shape[1] // channels
    padded = F.pad(images, (0, KERNEL_SIZE - 1, 0, KERNEL_SIZE - 1))
    if kernel.ndim == 4:
        # One filter for all: a single convolution, block diagonal over the frames.
        same_frame = th.eye(frames, dtype=kernel.dtype, device=kernel.device)
        blocks = th.einsum("fg,oiyx->fogiyx", same_frame, kernel).flatten(2, 3).flatten(0, 1)
        return F.conv2d(padded, blocks.to(images.dtype))
    # A filter for each image: one grouped convolution, in which every frame is a group.
    groups = images.shape[0] * frames
    weights = kernel[:, None].expand(-1, frames, -1, -1, -1, -1).reshape(-1, channels, KERNEL_SIZE, KERNEL_SIZE)
    stacked = padded.reshape(1, -1, *padded.shape[2:])
    return F.conv2d(stacked, weights.to(images.dtype), groups=groups).reshape(images.shape)


def random_shift(images: th.Tensor, generator: th.Generator, pad: int = 4) -> th.Tensor:
    """Return every image shifted by up to ``pad`` pixels in each direction, repeating its edges.

    All channels of an image, and so all frames of a stack, are shifted alike.

    Source: Kostrikov et al. (2021), "Image Augmentation Is All You Need", the random shift of DrQ.

    Args:
        images: ``float[B, C, H, W]``.
        generator: on the device of the images.
        pad: in pixels, at least 0.
    """
    if pad < 0:
        raise ValueError(f"pad must be at least 0, got {pad}")
    if images.ndim != 4:
        raise ValueError(f"random_shift is for images float[B, C, H, W], got observations of shape {images.shape}")
    batch, _, height, width = images.shape
    offsets = th.randint(-pad, pad + 1, (2, batch, 1), generator=generator, device=images.device)
    rows = (th.arange(height, device=images.device) + offsets[0]).clamp(0, height - 1)
    columns = (th.arange(width, device=images.device) + offsets[1]).clamp(0, width - 1)
    which = th.arange(batch, device=images.device)
    # Advanced indices apart from each other put the channels last.
    return images[which[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
