"""Background videos by name: drawn by formula or read from a folder, at the size of the image that shows them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bisimgym.envs.checks import choice, integer
from bisimgym.envs.distractions import procedural_videos, video_folders

PROCEDURAL = "procedural"
SPLITS = ("train", "test")
#: Child of a frame's number, so that noise shares no numbers with an episode of that seed.
_NOISE_STREAM = 0x6E6F6973


class FrameCache:
    """Videos kept in memory up to a number of bytes; the one not used for longest goes first.

    Arrays that went stay valid for those who hold them. Safe to use from several threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._videos: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._videos)

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the video of ``key``, made by ``make`` unless it is here, as a read-only array."""
        with self._lock:
            if key in self._videos:
                self._videos.move_to_end(key)
                return self._videos[key]
        # Outside the lock: two threads may make the same video, which costs time but changes nothing.
        video = make()
        video.flags.writeable = False
        with self._lock:
            if key in self._videos:
                return self._videos[key]
            self._videos[key] = video
            self.nbytes += video.nbytes
            while self.nbytes > self.max_bytes:
                self.nbytes -= self._videos.popitem(last=False)[1].nbytes
        return video

    def clear(self) -> None:
        """Forget all videos."""
        with self._lock:
            self._videos.clear()
            self.nbytes = 0


#: Shared by all sources of the process, so that many environments need little more memory than one. Set ``max_bytes``
#: to change the bound.
CACHE = FrameCache(max_bytes=1 << 30)


def luma(frames: np.ndarray) -> np.ndarray:
    """Return ``uint8[..., 3]`` RGB as gray, in three equal channels: ITU-R BT.601 luma, rounded."""
    # Weights times 2**16, which add up to 2**16: white stays white.
    red, green, blue = (frames[..., i].astype(np.uint32) for i in range(3))
    gray = ((19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)


@dataclass(frozen=True)
class VideoSource:
    """Videos of one split at one size, made when they are first asked for.

    Attributes:
        names: of the videos, in order.
        height, width: of their frames, in pixels.
        grayscale: whether they lose their colors.
        keys: all that each video depends on but its size and colors.
        makers: of each video's frames, in color.
    """

    names: tuple[str, ...]
    height: int
    width: int
    grayscale: bool
    keys: tuple[Hashable, ...]
    makers: tuple[Callable[[], np.ndarray], ...]

    def frames(self, index: int) -> np.ndarray:
        """Return all frames of a video, read-only ``uint8[T, height, width, 3]`` RGB, top row first, T >= 2.

        Raises:
            IndexError: unless 0 <= ``index`` < ``len(names)``.
            ValueError: if a file cannot be decoded; the message names it.
        """
        if not 0 <= index < len(self.names):
            raise IndexError(f"index must be in [0, {len(self.names)}), got {index}")
        make = self.makers[index]
        key = (self.keys[index], self.height, self.width, self.grayscale)
        return CACHE.get(key, lambda: luma(make()) if self.grayscale else make())


@dataclass(frozen=True)
class NoiseSource:
    """One endless video of noise, for what takes a :class:`VideoSource`: every frame is drawn when it is asked for.

    Values are 255 n, n from N(0, 1), cut at 0 and 255: half of them are 0, 16 % are 255. Source: Luo et al. (2025),
    whose code draws from the global generator; here a frame follows from its number alone.

    Attributes:
        height, width: of the frames, in pixels.
        grayscale: whether the three channels are one.
        grain: height and width of the squares that have one value, in pixels.
    """

    height: int
    width: int
    grayscale: bool = False
    grain: int = 1
    names: tuple[str, ...] = ("noise",)

    def frames(self, index: int) -> NoiseSource:
        return self

    def __len__(self) -> int:
        return 1 << 62

    def __getitem__(self, number: int) -> np.ndarray:
        """Return a frame, ``uint8[height, width, 3]``."""
        rng = np.random.default_rng(np.random.SeedSequence(number, spawn_key=(_NOISE_STREAM,)))
        channels = 1 if self.grayscale else 3
        rows, columns = -(-self.height // self.grain), -(-self.width // self.grain)
        drawn = 255 * rng.standard_normal((rows, columns, channels), dtype=np.float32)
        squares = np.repeat(np.clip(drawn, 0, 255).astype(np.uint8), 3 // channels, axis=2)
        return squares.repeat(self.grain, axis=0).repeat(self.grain, axis=1)[: self.height, : self.width]


Backgrounds = VideoSource | NoiseSource


def video_source(
    backgrounds: str | Path = PROCEDURAL,
    *,
    split: str = "train",
    size: tuple[int, int],
    grayscale: bool = False,
    count: int | None = None,
) -> VideoSource:
    """Return the first ``count`` videos of a split.

    Structure is checked now; a video is drawn or decoded when its frames are first asked for, and kept in
    :data:`CACHE`.

    Args:
        backgrounds: ``"procedural"`` (see :mod:`bisimgym.envs.distractions.procedural_videos`), or a folder with
            DAVIS 2017 or with videos of the user's (see :func:`bisimgym.envs.distractions.video_folders.find_videos`);
            ``~`` and environment variables are expanded.
        split: ``"train"``, or ``"test"`` for the held-out videos (of DAVIS: its validation list).
        size: height and width of the frames, at least 1 each.
        grayscale: whether to show ITU-R BT.601 luma in three equal channels, as deep_bisim4control does. An easier
            distraction than color: say which one was used.
        count: number of videos, from the first; None is all.

    Raises:
        ValueError: for a value out of range, a folder that is not there, or a video that is missing or has fewer than
            two frames.
        ModuleNotFoundError: if Pillow (any folder) or PyAV (video files) is not installed.
    """
    choice("split", split, SPLITS)
    if len(size) != 2:
        raise ValueError(f"size must be (height, width), got {size!r}")
    height, width = (integer("height and width in size", side, 1) for side in size)
    if count is not None:
        integer("count", count, 1, hint=" or None for all")
    if not isinstance(backgrounds, (str, os.PathLike)):
        raise ValueError(f"backgrounds must be 'procedural' or a folder of videos, got {backgrounds!r}")
    if backgrounds == PROCEDURAL:
        names = procedural_videos.NAMES[split]
        if count is not None and count > len(names):
            raise ValueError(
                f"count must be at most {len(names)}, the procedural videos of split {split!r}, got {count}"
            )
        names = names[:count]
        keys = tuple((PROCEDURAL, split, index) for index in range(len(names)))
        makers = tuple(partial(procedural_videos.render, split, index, (height, width)) for index in range(len(names)))
        return VideoSource(names, height, width, grayscale, keys, makers)
    videos = video_folders.find_videos(backgrounds, split, count)
    return VideoSource(
        names=tuple(video.name for video in videos),
        height=height,
        width=width,
        grayscale=grayscale,
        keys=tuple(video_folders.fingerprint(video.files) for video in videos),
        makers=tuple(partial(video_folders.decode, video, (height, width)) for video in videos),
    )
