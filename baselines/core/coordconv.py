"""The convolutions of the Nav2D paper, and a quicker way through them for grids."""

from __future__ import annotations

from typing import Any

import torch as th
from torch import nn
from torch.nn import functional as F

#: Below this many cells, finding out which of them are empty costs more than it saves.
_WORTHWHILE = 6_000


class Coordinates(nn.Module):
    """Appends two channels: every pixel's row and column, linear from -1 to 1."""

    def forward(self, images: th.Tensor) -> th.Tensor:
        batch, _, height, width = images.shape
        rows, columns = (th.linspace(-1, 1, n, device=images.device, dtype=images.dtype) for n in (height, width))
        rows, columns = rows[:, None].expand(batch, 1, height, width), columns.expand(batch, 1, height, width)
        # What is put together of several layouts comes out with channels first: say again that they are last.
        return th.cat([images, rows, columns], dim=1).contiguous(memory_format=th.channels_last)


class CoordConvNet(nn.Sequential):
    """Maps ``float[B, C, H, W]`` to ``float[B, 128]``, non-negative; 211,744 parameters for three channels.

    Source: the six layers of the Nav2D paper, section V-B, with sizes from its code: three 1x1 and one 3x3 of 64
    channels, 3x3 of 96 and of 128, pooled by 2, 2 and 5. Images of another size than 20 x 20 are pooled to one pixel
    at the end.

    Batches of grids (all numbers are one of two, as those of Nav2D) take less time on a processor, see
    :meth:`fourth_of_grids`; the numbers are the same up to rounding.

    Args:
        image_shape: (C, H, W), H and W at least 4.
    """

    def __init__(self, image_shape: tuple[int, int, int]):
        channels, height, width = image_shape
        if min(height, width) < 4:
            raise ValueError(f"images must have at least 4 x 4 pixels, got {height} x {width}")
        super().__init__(
            Coordinates(),
            nn.Conv2d(channels + 2, 64, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.MaxPool2d(2),  # before ReLU: the same numbers, from a quarter of the pixels
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 96, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(96, 128, 3, padding=1),
            nn.AdaptiveMaxPool2d(1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )

    def forward(self, images: th.Tensor) -> th.Tensor:
        batch, _, height, width = images.shape
        # On a GPU, convolutions are cheap and the look at the numbers would wait for them.
        if images.device.type == "cpu" and batch * height * width >= _WORTHWHILE:
            low, high = images.amin(), images.amax()
            if low < high and bool(((images == low) | (images == high)).all()):
                x = self.fourth_of_grids(images, images > low, low, high)
                for layer in list(self)[8:]:
                    x = layer(x)
                return x
        return super().forward(images)

    def fourth_of_grids(self, images: th.Tensor, on: th.Tensor, low: th.Tensor, high: th.Tensor) -> th.Tensor:
        """Return what the fourth convolution gives, ``float[B, 64, H, W]``, for images of two numbers.

        Before it come 1x1 convolutions, so that a pixel's 64 numbers depend on its channels and its place alone: they
        are computed once for every pair of these that the batch has. The fourth convolution is linear: to what it
        gives for the empty grid, every pixel that is not empty adds its difference to nine pixels around.

        Args:
            images: ``float[B, C, H, W]``.
            on: ``bool[B, C, H, W]``, where they have their higher number. A pixel without any is empty.
            low, high: the two numbers.
        """
        batch, channels, height, width = images.shape
        layers: list[Any] = list(self)
        coordinates, *pointwise, conv = layers[:8]
        powers = 2 ** th.arange(channels)
        codes = (on * powers.view(1, channels, 1, 1)).sum(dim=1)
        filled = codes > 0
        keys = codes * (height * width) + th.arange(height * width).view(height, width)
        present, inverse = th.unique(keys[filled], return_inverse=True)
        place = present % (height * width)

        empty = coordinates(low.expand(1, channels, height, width))
        pixels = empty.flatten(2)[0].t()[place]
        pixels[:, :channels] = th.where(present[:, None] // (height * width) // powers % 2 > 0, high, low)
        x, x_empty = pixels[:, :, None, None], empty
        for layer in pointwise:
            x, x_empty = layer(x), layer(x_empty)
        difference = x.flatten(1) - x_empty.flatten(2)[0].t()[place]
        taps = conv.weight.permute(2, 3, 0, 1).flatten(0, 2)  # of the pixel (ky - 1, kx - 1) away
        added = F.linear(difference, taps).view(-1, conv.out_channels)

        index = th.full((batch, height, width), -1)
        index[filled] = inverse
        around = F.pad(index, (1, 1, 1, 1), value=-1).unfold(1, 3, 1).unfold(2, 3, 1).reshape(-1, 9)
        found = around >= 0
        ends = found.sum(dim=1).cumsum(dim=0)
        sums = F.embedding_bag(
            (9 * around + th.arange(9))[found], added, F.pad(ends, (1, 0)), mode="sum", include_last_offset=True
        )
        at_empty: th.Tensor = conv(x_empty).flatten(2)[0].t()
        sums = sums.view(batch, height * width, -1).add_(at_empty)
        return sums.view(batch, height, width, -1).permute(0, 3, 1, 2)
