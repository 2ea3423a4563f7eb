"""Background videos from a folder of the user: DAVIS 2017, or any folder of frame folders and video files.

Names and files are checked once, when a source is made (:func:`find_videos`); frames are decoded when they are wanted
(:func:`decode`). Frame folders are read with Pillow, video files with PyAV.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")

#: Frames that are kept of a longer video: as many as the natural-video backgrounds of deep_bisim4control use.
MAX_FRAMES = 1000

_DAVIS_TRAIN = """
bear bmx-bumps boat boxing-fisheye breakdance-flare bus car-turn cat-girl classic-car color-run crossing dance-jump
dancing disc-jockey dog-agility dog-gooses dogs-scale drift-turn drone elephant flamingo hike hockey horsejump-low
kid-football kite-walk koala lady-running lindy-hop longboard lucia mallard-fly mallard-water miami-surf
motocross-bumps motorbike night-race paragliding planes-water rallye rhino rollerblade schoolgirls scooter-board
scooter-gray sheep skate-park snowboard soccerball stroller stunt surf swing tennis tractor-sand train tuk-tuk
upside-down varanus-cage walking
"""
_DAVIS_VALIDATION = """
bike-packing blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl dog dogs-jump
drift-chicane drift-straight goat gold-fish horsejump-high india judo kite-surf lab-coat libby loading mbike-trick
motocross-jump paragliding-launch parkour pigs scooter-black shooting soapbox
"""
#: Videos of DAVIS 2017 by split, in the order of the Distracting Control Suite; its validation list is held out.
DAVIS_NAMES = {"train": tuple(_DAVIS_TRAIN.split()), "test": tuple(_DAVIS_VALIDATION.split())}
_DAVIS_ALL = frozenset(DAVIS_NAMES["train"] + DAVIS_NAMES["test"])
#: Resolutions that DAVIS comes in, the preferred one first.
_DAVIS_RESOLUTIONS = ("480p", "Full-Resolution")


@dataclass(frozen=True)
class Video:
    """One video of a folder.

    Attributes:
        name: of the sub-folder or the file.
        files: its frames in order, or the one video file.
    """

    name: str
    files: tuple[Path, ...]

    @property
    def is_file(self) -> bool:
        """Whether it is a video file rather than a folder of frames."""
        return self.files[0].suffix.lower() in VIDEO_SUFFIXES


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sorting key that compares runs of digits as numbers: frame2 before frame10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def find_videos(folder: str | Path, split: str, count: int | None = None) -> tuple[Video, ...]:
    """Return the first ``count`` videos of a split and check that each has its frames.

    A folder is DAVIS 2017 if it has a sub-folder ``JPEGImages``, if it or its parent has this name, or if at least
    half of the 90 names of the train and validation lists are among its sub-folders. Then the splits are DAVIS' own
    lists, in their order, and nothing else is looked at.

    In any other folder each sub-folder of frames and each video file is a video. If there are sub-folders ``train`` and
    ``test``, these are the splits. Otherwise the names are sorted and the last third (rounded up) is held out. Hidden
    entries and files of other types are passed over.

    Args:
        folder: may hold ``~`` and environment variables.
        split: ``"train"`` or ``"test"`` (held out).
        count: at least 1; None is all.

    Raises:
        ValueError: if there is no such folder, DAVIS lacks a video that is needed (all that are missing are listed),
            there are fewer videos than ``count`` or than two to split, or a sub-folder has fewer than two frames.
        ModuleNotFoundError: if Pillow, or PyAV for a video file, is not installed.
    """
    root, names = _names(_expand(folder), split)
    if count is not None and count > len(names):
        raise ValueError(f"count must be at most {len(names)}, the videos of split {split!r} of {root}, got {count}")
    names = names[:count]
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} videos of DAVIS 2017 are missing in {root}: {', '.join(missing)}. "
            'DAVIS can be had at https://davischallenge.org ("TrainVal 480p"). A folder is taken for DAVIS if '
            "JPEGImages is in its path or in it, or if it has half of DAVIS' names; keep other videos elsewhere."
        )
    _require("PIL", "Pillow", "dmc")
    videos = tuple(_video(root / name) for name in names)
    if any(video.is_file for video in videos):
        _require("av", "PyAV", "video")
    return videos


def decode(video: Video, size: tuple[int, int], max_frames: int = MAX_FRAMES) -> np.ndarray:
    """Return the frames of a video, ``uint8[T, height, width, 3]`` RGB, top row first.

    Frames of more than 8 bits are scaled to 8: of 16-bit gray the upper byte is kept, as Pillow does for 16-bit color.
    Frames of other modes are converted to RGB. Those whose range is not stated (32-bit integers that are not from PNG,
    and floats) and those that are not opaque everywhere, and so have no color of their own, are refused.

    Frames are turned as their EXIF orientation says, and resized with Pillow's bilinear filter, which averages over the
    pixels that fall together, without keeping the aspect ratio, as the Distracting Control Suite does.

    Args:
        video: one of :func:`find_videos`.
        size: height and width.
        max_frames: later frames are left out.

    Raises:
        ValueError: if a file cannot be decoded, is of a mode that is refused, or holds fewer than two frames; the
            message names the file.
    """
    from PIL.Image import Resampling

    read = _read_video(video.files[0]) if video.is_file else map(_read_frame, video.files)
    frames = [np.asarray(image.resize(size[::-1], Resampling.BILINEAR)) for image in islice(read, max_frames)]
    if len(frames) < 2:
        raise ValueError(f"a video needs at least 2 frames, {video.files[0]} has {len(frames)}")
    return np.stack(frames)


def _expand(folder: str | Path) -> Path:
    path = Path(os.path.expandvars(folder)).expanduser()
    if not path.is_dir():
        given = "" if str(path) == str(folder) else f" (given as {str(folder)!r})"
        raise ValueError(f"backgrounds must be 'procedural' or a folder of videos; there is no folder {path}{given}")
    return path


def _names(folder: Path, split: str) -> tuple[Path, tuple[str, ...]]:
    """Return the folder that holds the videos of a split, and their names in order."""
    davis = _davis_root(folder)
    if davis is not None:
        return davis, DAVIS_NAMES[split]
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        folder = folder / split
        names = _entries(folder)
        if not names:
            raise ValueError(f"{folder} holds no video; {_EXPECTED}")
        return folder, names
    names = _entries(folder)
    if len(names) < 2:
        raise ValueError(
            f"{folder} must hold at least two videos, one to train on and one held out, or sub-folders train and test; "
            f"found {len(names)}. {_EXPECTED}"
        )
    held_out = math.ceil(len(names) / 3)
    return folder, names[:-held_out] if split == "train" else names[-held_out:]


_EXPECTED = (
    f"A video is a sub-folder of frames ({', '.join(FRAME_SUFFIXES)}) or a video file ({', '.join(VIDEO_SUFFIXES)})."
)


def _davis_root(folder: Path) -> Path | None:
    """Return the folder with the videos if this is DAVIS (see :func:`find_videos`), else None."""
    if (folder / "JPEGImages").is_dir():
        folder = folder / "JPEGImages"
    elif "JPEGImages" not in (folder.absolute().name, folder.absolute().parent.name):
        present = sum(entry.name in _DAVIS_ALL for entry in folder.iterdir() if entry.is_dir())
        return folder if 2 * present >= len(_DAVIS_ALL) else None
    return next((folder / r for r in _DAVIS_RESOLUTIONS if (folder / r).is_dir()), folder)


def _entries(folder: Path) -> tuple[str, ...]:
    """Return the names of the sub-folders and video files, sorted."""
    names = (
        entry.name
        for entry in folder.iterdir()
        if not entry.name.startswith((".", "__")) and (entry.is_dir() or entry.suffix.lower() in VIDEO_SUFFIXES)
    )
    return tuple(sorted(names, key=natural_key))


def _video(path: Path) -> Video:
    if not path.is_dir():
        return Video(path.name, (path,))
    frames = [
        entry for entry in path.iterdir() if entry.suffix.lower() in FRAME_SUFFIXES and not entry.name.startswith(".")
    ]
    if len(frames) < 2:
        raise ValueError(f"a video needs at least 2 frames, {path} has {len(frames)}. {_EXPECTED}")
    return Video(path.name, tuple(sorted(frames, key=lambda frame: natural_key(frame.name))))


def _require(module: str, title: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(
            f'{title} is needed to read these videos: pip install "bisimgym[{extra}]"', name=module
        )


def _read_frame(file: Path) -> Image:
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            turned = ImageOps.exif_transpose(image)  # telephones store pictures sideways and say so
            turned.format = image.format
            return _as_rgb(turned)
    # Pillow reports broken PNG chunks as SyntaxError.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot decode frame {file}: {error}") from error


def _as_rgb(image: Image) -> Image:
    """Return an image in 8-bit RGB, or raise ``ValueError`` for one whose colors are not known."""
    from PIL import Image

    mode = image.mode
    if mode == "F" or (mode == "I" and image.format != "PNG"):
        raise ValueError(f"its mode {mode} has no stated range: save it with 8 bits per channel, or as 16-bit gray PNG")
    if mode == "I" or mode.startswith("I;16"):
        if "transparency" in image.info:
            raise ValueError(f"its mode {mode} has transparency, behind which no color is known: save it without")
        levels = np.asarray(image).astype(np.int64)
        return Image.fromarray((levels >> 8).astype(np.uint8)).convert("RGB")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        straight = {"La": "LA", "RGBa": "RGBA"}.get(mode)  # from premultiplied alpha, which converts to this only
        image = (image.convert(straight) if straight else image).convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ValueError(f"its mode {mode} is not opaque everywhere, and no color behind it is known: flatten it")
    return image.convert("RGB")


#: Formats of frames with transparency, as FFmpeg names them.
_WITH_ALPHA = ("rgba", "bgra", "argb", "abgr", "pal8", "ya8", "yuva420p", "yuva422p", "yuva444p", "gbrap")


def _read_video(file: Path) -> Iterator[Image]:
    import av

    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise ValueError(f"{file} holds no video stream")
            for frame in container.decode(container.streams.video[0]):
                if frame.format.name in _WITH_ALPHA and frame.to_ndarray(format="rgba")[..., 3].min() < 255:
                    raise ValueError(f"{file} is not opaque everywhere, and no color behind it is known: flatten it")
                yield frame.to_image()
    except av.FFmpegError as error:
        raise ValueError(f"cannot decode video {file}: {error}") from error


def fingerprint(files: Sequence[Path]) -> str:
    """Return a digest that changes when a file is replaced: of paths, times of change (ns) and sizes (bytes)."""
    stats = [(file.absolute(), file.stat()) for file in files]
    text = "\n".join(f"{file} {stat.st_mtime_ns} {stat.st_size}" for file, stat in stats)
    return hashlib.sha256(text.encode()).hexdigest()
