"""Labeled images to prune networks on: digits of scikit-learn, CIFAR-10 from a folder, and folders as of ImageNet.

Nothing is downloaded and nothing is unpickled. Images are ``float32[N, C, H, W]``, normalized by the mean and the
standard deviation of each channel.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bisimgym.envs.checks import choice, integer
from bisimgym.envs.extras import require

SPLITS = ("train", "test")
_DIGITS_TRAIN = 1297  # of 1797
_CIFAR_FILES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_CIFAR_IMAGES, _CIFAR_RECORD = 10_000, 1 + 3 * 32 * 32
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class LabeledImages:
    """Images and their classes.

    Attributes:
        images: ``float32[N, C, H, W]``, normalized; or :class:`FolderImages`, which are indexed like it.
        labels: ``int64[N]``.
        shown: ``uint8[N, H, W, 3]``, the images for people.
    """

    images: np.ndarray | FolderImages
    labels: np.ndarray
    shown: np.ndarray | FolderImages


class FolderImages:
    """Images of files that are read when they are asked for, so that a data set need not fit into memory.

    Args:
        files: one for each image.
        size: of the images, pixels.
        normalized: whether they are ``float32[3, size, size]``, as networks see them, or ``uint8[size, size, 3]``.
    """

    def __init__(self, files: Sequence[Path], size: int, normalized: bool):
        self._files, self._size, self._normalized = list(files), size, normalized
        self.shape = (len(files), *((3, size, size) if normalized else (size, size, 3)))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return one image for an integer, several for a slice or an array of integers.

        Raises:
            ValueError: for a file that is no image.
        """
        chosen = np.arange(len(self._files))[rows]
        found = [_middle(self._files[row], self._size) for row in np.atleast_1d(chosen).tolist()]
        images = np.stack(found) if found else np.zeros((0, self._size, self._size, 3), np.uint8)
        if self._normalized:
            images = _normalized(images.transpose(0, 3, 1, 2), _IMAGENET_MEAN, _IMAGENET_STD)
        return images if np.ndim(chosen) else images[0]


def load(data: str | Path, split: str, image: tuple[int, int, int] = (3, 32, 32)) -> LabeledImages:
    """Return the images of a split by what ``data`` names.

    Args:
        data: "digits"; a folder with the binary CIFAR-10; or, for images of another size than its 32 x 32, a folder as
            ImageNet's, with folders ``train`` and ``val`` (the split "test") of one folder of images per class.
        split: "train" or "test".
        image: channels, height and width of what the network sees.

    Raises:
        ValueError: for another split, or a folder that is missing or damaged.
    """
    choice("split", split, SPLITS)
    if data == "digits":
        return digits(split)
    if image[1:] == (32, 32):
        return cifar10(data, split)
    folder = Path(data, "train" if split == "train" else "val")
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not there: data must be 'digits' or a folder, with the binary version of CIFAR-10 for "
            "networks of 32 x 32 pixels, else with folders train and val of one folder of images per class"
        )
    return image_folder(folder, image[1], in_memory=False)


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images that are mirrored at random and shifted by up to an eighth of their side, zeros moving in.

    For CIFAR-10 that is the usual crop of 32 pixels from 40.

    Args:
        images: ``float32[N, C, H, W]``.
        rng: what decides.
    """
    count, _, height, width = images.shape
    pad = height // 8
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    top, left = rng.integers(2 * pad + 1, size=(2, count))
    shifted = windows[np.arange(count), :, top, left]
    mirrored = rng.random((count, 1, 1, 1)) < 0.5
    return np.where(mirrored, shifted[..., ::-1], shifted)


def digits(split: str) -> LabeledImages:
    """Return the 8 x 8 digits that come with scikit-learn: 1297 to train with and 500 to test on, drawn once."""
    pictures, target = _digits()
    order = np.random.default_rng(0).permutation(len(target))
    rows = order[:_DIGITS_TRAIN] if choice("split", split, SPLITS) == "train" else order[_DIGITS_TRAIN:]
    gray, train = pictures[rows] / 16, pictures[order[:_DIGITS_TRAIN]] / 16
    images = ((gray - train.mean()) / train.std()).astype(np.float32)[:, None]
    shown = np.repeat((gray * 255).astype(np.uint8)[..., None], 3, axis=-1)
    return LabeledImages(images, target[rows].astype(np.int64), shown)


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    require("digits", "pruning", "sklearn")
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images, found.target


def cifar10(folder: str | Path, split: str, limit: int | None = None) -> LabeledImages:
    """Return CIFAR-10 (Krizhevsky 2009) from a folder with its binary version, ``cifar-10-batches-bin``.

    Args:
        folder: with ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, 10,000 records of a label and
            3072 bytes each.
        split: "train" or "test".
        limit: images of each file, the first ones; None reads all.

    Raises:
        ValueError: for a file that is missing, of another size, or with labels above 9.
    """
    names = _CIFAR_FILES[choice("split", split, SPLITS)]
    count = _CIFAR_IMAGES if limit is None else integer("limit", limit, 1, _CIFAR_IMAGES)
    records = np.concatenate([_cifar_records(Path(folder, name), count) for name in names])
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return LabeledImages(
        _normalized(planes, _CIFAR_MEAN, _CIFAR_STD), records[:, 0].astype(np.int64), planes.transpose(0, 2, 3, 1)
    )


def _cifar_records(path: Path, count: int) -> np.ndarray:
    if not path.is_file():
        raise ValueError(
            f"{path} is not there: data must be 'digits' or a folder with the binary version of CIFAR-10 "
            "(cifar-10-batches-bin)"
        )
    size, expected = path.stat().st_size, _CIFAR_IMAGES * _CIFAR_RECORD
    if size != expected:
        raise ValueError(f"{path} is damaged: it has {size} bytes and must have {expected}: copy it again")
    records = np.fromfile(path, np.uint8, count * _CIFAR_RECORD).reshape(count, _CIFAR_RECORD)
    if (wrong := records[records[:, 0] > 9, 0]).size:
        raise ValueError(f"{path} is damaged: labels must be 0 to 9, got {wrong[0]}: copy it again")
    return records


def image_folder(
    folder: str | Path, size: int = 224, limit: int | None = None, in_memory: bool = True
) -> LabeledImages:
    """Return images from a folder with one subfolder per class, as ImageNet's, the classes in the order of their names.

    The shorter side is scaled to 256/224 of ``size`` and the middle is cut out.

    Args:
        folder: the folder of a split, such as ``imagenet/val``.
        size: of the images, pixels.
        limit: images of each class, the first ones by name; None takes all.
        in_memory: whether all are read now; else each is read whenever it is asked for, and what is damaged is found
            then (ImageNet does not fit into memory).

    Raises:
        ValueError: for a folder without subfolders, a class without images, or a file that is no image.
    """
    size = integer("size", size, 1)
    limit = None if limit is None else integer("limit", limit, 1)
    classes = sorted(path for path in Path(folder).glob("*") if path.is_dir())
    if not classes:
        raise ValueError(f"{folder} must be a folder with one subfolder of images per class, got none")
    files: list[Path] = []
    labels: list[int] = []
    for label, of_class in enumerate(classes):
        found = sorted(path for path in of_class.iterdir() if path.suffix.lower() in _SUFFIXES)[:limit]
        if not found:
            raise ValueError(f"{of_class} holds no image: its files must end in one of {', '.join(_SUFFIXES)}")
        files += found
        labels += [label] * len(found)
    images, shown = (FolderImages(files, size, normalized) for normalized in (True, False))
    if not in_memory:
        return LabeledImages(images, np.array(labels, np.int64), shown)
    pixels = shown[:]
    planes = _normalized(pixels.transpose(0, 3, 1, 2), _IMAGENET_MEAN, _IMAGENET_STD)
    return LabeledImages(planes, np.array(labels, np.int64), pixels)


def _middle(path: Path, size: int) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError as error:
        raise ValueError(f"{path} is damaged ({error}): copy it again or take it away") from None
    scale = size * 256 / 224 / min(image.size)
    scaled = image.resize([max(round(side * scale), size) for side in image.size])
    left, top = ((side - size) // 2 for side in scaled.size)
    return np.asarray(scaled.crop((left, top, left + size, top + size)))


def _normalized(planes: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    shift, scale = (np.array(values, np.float32)[:, None, None] for values in (mean, std))
    return (planes.astype(np.float32) / 255 - shift) / scale
