"""Convolutions of images that repeat each other, each computed once for all windows that look alike.

Demonstrations of an array task are drawn from few shapes: of the windows that the three convolutions of
:class:`~bisimgym.baselines.core.encoder.JumpingEncoder` see in the 18 demonstrations of the jumping task, 1, 12 and
37 % are distinct. On a processor an update is about twice as fast for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.lib.stride_tricks import sliding_window_view
from scipy import sparse
from torch.nn import functional as F

from bisimgym.baselines.core.encoder import JumpingEncoder, SameConv2d, same_padding
from bisimgym.baselines.pse.augmentation import KERNEL_SIZE, convolve_frames

#: Of the windows of the last convolution, how many may be distinct for the detour to pay.
_DISTINCT = 0.5
#: Bytes of all windows of the first convolution, which are compared once.
_LARGEST = 2**29
#: Stands for a place outside of the image.
_OUTSIDE = -1


@dataclass(frozen=True)
class RepeatedWindows:
    """Which windows of a fixed set of images look alike.

    Attributes:
        pixels: the distinct windows of the first convolution, each with the further pixels that a random filter looks
            at, ``float32[D, C, k + 1, k + 1]``, in [0, 1] and 0 outside of the image.
        inside: which of their pixels lie in the image, ``float32[D, 1, k, k]``.
        taps: for each further convolution, the outputs of the one before that its distinct windows look at, ``int64[D',
            taps]``; -1 is padding.
        places: the distinct window of the last convolution at every place of every image, ``int64[N, P]``.
    """

    pixels: th.Tensor
    inside: th.Tensor
    taps: tuple[np.ndarray, ...]
    places: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, encoder: JumpingEncoder) -> RepeatedWindows | None:
        """Return the windows of ``uint8[N, H, W, C]``, or None if too many differ, or there are too many to compare."""
        count, height, width, channels = images.shape
        first, *others = encoder.convolutions
        edge = _edge(first) + KERNEL_SIZE - 1
        shape = [-(-height // first.stride[0]), -(-width // first.stride[0])]
        if count * shape[0] * shape[1] * edge**2 * (channels + 1) > _LARGEST:
            return None
        marked = np.concatenate([images, np.ones_like(images[..., :1])], axis=3)
        (top, bottom), (left, right) = (same_padding(n, _edge(first), first.stride[0]) for n in (height, width))
        padded = np.pad(marked, ((0, 0), (top, bottom + KERNEL_SIZE - 1), (left, right + KERNEL_SIZE - 1), (0, 0)))
        places, windows = _distinct(_windows(padded, edge, first.stride[0]))
        windows = windows.reshape(-1, channels + 1, edge, edge)
        taps = []
        for layer in others:
            size, stride = _edge(layer), layer.stride[0]
            margins = [same_padding(n, size, stride) for n in places.shape[1:]]
            padded = np.pad(places, ((0, 0), *margins), constant_values=_OUTSIDE)
            places, seen = _distinct(_windows(padded[..., None], size, stride))
            taps.append(seen)
        if len(taps[-1]) > _DISTINCT * places.size:
            return None
        cut = _edge(first)
        return cls(
            pixels=th.from_numpy(windows[:, :channels]).float() / 255,
            inside=th.from_numpy(windows[:, channels:, :cut, :cut]).float(),
            taps=tuple(taps),
            places=places.reshape(count, -1),
        )

    def represent(self, encoder: JumpingEncoder, parts: Sequence[tuple[np.ndarray, th.Tensor | None]]) -> th.Tensor:
        """Return the representations of images, ``float32[B, 256]``, equal to the encoder's up to rounding.

        Args:
            encoder: of the kind that the windows are of.
            parts: the indices of distinct images, and the filter that they are seen through (see
                :func:`~.augmentation.convolve_frames`) or None. Parts share no window, as their filters differ.
        """
        found = [self._part(*part) for part in parts]
        first, *others = encoder.convolutions
        pixels = th.cat([pixels for pixels, _ in found])
        values = F.relu(F.linear(pixels.flatten(1), first.weight.flatten(1), first.bias))
        for layer, seen in zip(others, zip(*(taps for _, taps in found), strict=True), strict=False):
            outputs, inputs = layer.weight.shape[:2]
            # What each output of the layer before adds to a window that looks at it, for every tap.
            products = values @ layer.weight.flatten(2).permute(1, 2, 0).reshape(inputs, -1)
            values = F.relu(_Sum.apply(products.view(-1, outputs), _look_up(_joined(seen))) + layer.bias)
        places = _joined([taps[-1] for _, taps in found])
        maps = values.index_select(0, th.from_numpy(places.ravel())).view(*places.shape, -1)
        return encoder.head(maps.transpose(1, 2))

    def _part(self, images: np.ndarray, kernel: th.Tensor | None) -> tuple[th.Tensor, list[np.ndarray]]:
        """Return the first windows of some images, filtered, and what each later layer, and each place, looks at."""
        looked_at = [self.places[images]]
        for taps in reversed(self.taps):
            used, looked_at[-1] = _numbered(looked_at[-1], len(taps))
            looked_at.append(taps[used])
        used, looked_at[-1] = _numbered(looked_at[-1], len(self.pixels))
        pixels = self.pixels[used]
        if kernel is not None:
            pixels = convolve_frames(pixels, kernel)
        cut = self.inside.shape[-1]
        return pixels[..., :cut, :cut] * self.inside[used], looked_at[::-1]


def _edge(layer: SameConv2d) -> int:
    return layer.kernel_size[0]


def _windows(padded: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Return the windows of ``[N, H, W, C]``, a view ``[N, rows, columns, C, size, size]``."""
    return sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]


def _distinct(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each window among the distinct ones, ``int64[N, rows, columns]``, and those, flat."""
    numbers: dict[bytes, int] = {}  # by hash: sorting long rows takes twice as long
    number = []
    for image in windows:  # all windows at once would be a hundred times the images
        rows = np.ascontiguousarray(image).reshape(image.shape[0] * image.shape[1], -1)
        whole = rows.view(f"V{rows.strides[0]}").ravel().tolist()
        number += [numbers.setdefault(row, len(numbers)) for row in whole]
    distinct = np.frombuffer(bytearray().join(numbers), windows.dtype).reshape(len(numbers), -1)
    return np.array(number).reshape(windows.shape[:3]), distinct


def _numbered(items: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct items below ``total``, in order, and every item's number among them; -1 stays."""
    used = np.zeros(total + 1, dtype=bool)
    used[items] = True
    used[_OUTSIDE] = False
    numbers = np.full(total + 1, _OUTSIDE)
    numbers[:-1][used[:-1]] = np.arange(np.count_nonzero(used))
    return np.flatnonzero(used), numbers[items]


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return what several parts look at as one array: the numbers of each part follow those of the one before."""
    joined, total = [], 0
    for part in parts:
        joined.append(np.where(part == _OUTSIDE, _OUTSIDE, part + total))
        total += part.max() + 1
    return np.concatenate(joined)


def _look_up(taps: np.ndarray) -> sparse.csr_matrix:
    """Return the matrix that sums, for each window, the products of its taps, ``[windows, outputs before * taps]``."""
    seen = taps != _OUTSIDE
    columns = (taps * taps.shape[1] + np.arange(taps.shape[1]))[seen]
    starts = np.concatenate([[0], np.cumsum(seen.sum(axis=1))])
    shape = (len(taps), (taps.max() + 1) * taps.shape[1])
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=shape)


class _Sum(th.autograd.Function):
    """A constant sparse matrix times a dense one: SciPy's, as PyTorch has no gradient of its own that is as fast."""

    @staticmethod
    def forward(ctx: Any, dense: th.Tensor, matrix: sparse.csr_matrix) -> th.Tensor:
        ctx.matrix = matrix
        return th.from_numpy(matrix @ dense.detach().numpy())

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor, None]:
        return th.from_numpy(ctx.matrix.T @ gradient.contiguous().numpy()), None
