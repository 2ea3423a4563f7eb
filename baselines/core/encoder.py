"""Convolutional encoders for the small images of the array tasks."""

from __future__ import annotations

import torch as th
from torch import nn
from torch.nn import functional as F


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the pixels before and after an axis with which a convolution has ``ceil(size / stride)`` outputs."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A convolution whose output has ``ceil(size / stride)`` pixels, padded as TensorFlow's "same" does.

    An odd amount of padding puts the larger half after the image, which ``padding="same"`` of torch does not offer
    together with a stride.
    """

    def forward(self, images: th.Tensor) -> th.Tensor:
        padding: list[int] = []
        for size, kernel, stride in zip(images.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            padding += same_padding(size, kernel, stride)
        return super().forward(F.pad(images, padding))


class JumpingEncoder(nn.Sequential):
    """Maps ``float[B, C, H, W]`` images in [0, 1] to a representation, ``float[B, 256]``.

    Source: Agarwal et al. (2021), appendix G: convolutions of 32 8x8 / 4, 64 4x4 / 2 and 64 3x3 / 1, then 256 units,
    all rectified.

    Args:
        image_shape: (C, H, W).
    """

    features_dim = 256

    def __init__(self, image_shape: tuple[int, int, int]):
        channels, height, width = image_shape
        pixels = -(-height // 8) * -(-width // 8)
        super().__init__(
            SameConv2d(channels, 32, 8, stride=4),
            nn.ReLU(),
            SameConv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            SameConv2d(64, 64, 3, stride=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * pixels, self.features_dim),
            nn.ReLU(),
        )

    @property
    def convolutions(self) -> list[SameConv2d]:
        """The three convolutions, each followed by a rectifier."""
        return [layer for layer in self if isinstance(layer, SameConv2d)]

    def head(self, maps: th.Tensor) -> th.Tensor:
        """Return the representations of the last maps, ``float[B, 64, pixels]``."""
        *_, flatten, linear, rectifier = self
        return rectifier(linear(flatten(maps)))


def glorot_uniform(module: nn.Module, generator: th.Generator) -> None:
    """Draw Glorot uniform weights and zero biases for every layer, from an explicit generator."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
