"""Named settings of distractions, as the literature uses them, and the one dataclass that holds them all.

Sources, by the names used below; settings are those of the code published with them. DCS: Stone et al. 2021, "The
Distracting Control Suite", arXiv 2101.02722. PSE: Agarwal et al. 2021, "Contrastive Behavioral Similarity Embeddings
for Generalization in Reinforcement Learning", arXiv 2101.05265. DBC: Zhang et al. 2021, "Learning Invariant
Representations for Reinforcement Learning without Reconstruction", arXiv 2006.10742. DMControl-GB: the benchmark of
Hansen and Wang 2021, "Generalization in Reinforcement Learning by Soft Data Augmentation", arXiv 2011.13389. Study:
Luo et al. 2025, on metric learning under noise, arXiv 2506.00563; two of its six settings are ``clean`` and
``natural-video``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from bisimgym.envs.checks import choice, fraction, integer

#: DCS difficulties: beta of color and camera.
DISTRACTION_SCALES: Mapping[str, float] = MappingProxyType({"easy": 0.1, "medium": 0.2, "hard": 0.3})

#: DCS difficulties: how many videos of a split, the first ones.
DISTRACTION_VIDEOS: Mapping[str, int | Literal["all"]] = MappingProxyType({"easy": 4, "medium": 8, "hard": "all"})

#: Opacity of the floor by DCS, so that the sky shows through where it would hide the video. Other domains: 1.
DOMAIN_FLOOR_ALPHA: Mapping[str, float] = MappingProxyType(
    {"reacher": 0.0, "walker": 1.0, "cheetah": 1.0, "cartpole": 0.3, "finger": 0.3, "ball_in_cup": 0.3}
)

#: Domains whose floor DBC paints gray and keeps in sight; in the others, its videos replace the floor too.
NEUTRAL_FLOOR_DOMAINS = ("cheetah", "walker", "hopper", "stacker")


@dataclass(frozen=True)
class Distraction:
    """Every setting of the distractions of a task. The defaults are the undisturbed task.

    Settings are plain Python values, so that ``dataclasses.asdict`` gives JSON. A control step is one step of the task
    before action repeat, an agent step one action of the agent.

    Attributes:
        background: opacity of the background video in [0, 1]; 0 is no video (DCS "video alpha").
        content: what the background shows: "video", or "noise", which is drawn anew for each pixel, channel and frame
            (Luo et al. 2025).
        compositing: where the video is. "texture": on the sky's cube map, the same image on each face, so that it
            turns with the camera (DCS). "mask": pasted over the frame's background pixels, which are known exactly
            where DBC and DMControl-GB key them by color.
        background_geoms: what "mask" counts as background. "sky" (DMControl-GB video_easy), "sky+floor" (video_hard),
            or "natural": the sky, and the floor but in :data:`NEUTRAL_FLOOR_DOMAINS` (DBC).
        floor_alpha: opacity of the floor in [0, 1], or "domain": that of :data:`DOMAIN_FLOOR_ALPHA` with a video, 1
            without (DCS; PSE takes 0.3 everywhere).
        num_videos, num_test_videos: how many videos of the training and of the test split, the first ones of each, at
            least 1.
        playback: "bounce": back and forth, from a random direction (DCS); "loop": from the last frame to the first.
        advance: whether videos move on by one frame per "control" (DCS) or per "agent" step (DBC, DMControl-GB).
        start: the frame that an episode starts with: "random" (DCS) or "first" (DMControl-GB).
        order: the video of an episode: "random", independently for each, or "cycle", in order (DMControl-GB).
        dynamic: whether the video plays and camera and colors walk within an episode; otherwise each episode has one
            still frame, pose and set of colors, drawn at its start.
        grayscale: whether videos lose their colors (DBC).
        camera: beta of :class:`bisimgym.envs.distractions.camera.CameraWalk`, in [0, 1]; 0 is the task's camera.
        color: beta of :class:`bisimgym.envs.distractions.colors.ColorWalk`, in [0, 1]; 0 is the task's colors.
        palette: from which of :func:`bisimgym.envs.distractions.colors.palettes` each episode draws its colors ("none":
            the task's).
        neutral_floor: whether floors in :data:`NEUTRAL_FLOOR_DOMAINS` are gray (DBC).

    Raises:
        ValueError: for a setting out of range, or settings that exclude each other.
    """

    background: float = 0.0
    content: Literal["video", "noise"] = "video"
    compositing: Literal["texture", "mask"] = "texture"
    background_geoms: Literal["sky", "sky+floor", "natural"] = "sky"
    floor_alpha: float | Literal["domain"] = 1.0
    num_videos: int | Literal["all"] = "all"
    num_test_videos: int | Literal["all"] = "all"
    playback: Literal["bounce", "loop"] = "bounce"
    advance: Literal["control", "agent"] = "control"
    start: Literal["random", "first"] = "random"
    order: Literal["random", "cycle"] = "random"
    dynamic: bool = False
    grayscale: bool = False
    camera: float = 0.0
    color: float = 0.0
    palette: Literal["none", "color-easy", "color-hard"] = "none"
    neutral_floor: bool = False

    def __post_init__(self):
        for name in ("background", "camera", "color"):
            self._set(name, fraction(name, getattr(self, name)))
        if self.floor_alpha != "domain":
            self._set("floor_alpha", fraction("floor_alpha", self.floor_alpha, ' or "domain"'))
        for name in ("num_videos", "num_test_videos"):
            if getattr(self, name) != "all":
                hint = ' or "all"; no video at all is background=0'
                self._set(name, integer(name, getattr(self, name), 1, hint=hint))
        for name in ("dynamic", "grayscale", "neutral_floor"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
            self._set(name, bool(getattr(self, name)))
        for name, choices in _CHOICES.items():
            choice(name, getattr(self, name), choices)
        if self.compositing == "texture" and self.background_geoms != "sky":
            raise ValueError(
                f'compositing="texture" puts videos on the sky only, got background_geoms={self.background_geoms!r}: '
                'use compositing="mask", or background_geoms="sky"'
            )
        if self.palette != "none" and self.color > 0:
            raise ValueError(
                f'palette={self.palette!r} and color={self.color} both set the colors: use color=0, or palette="none"'
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def floor_alpha_in(self, domain: str) -> float:
        """Return the opacity of the floor in a domain of the suite, in [0, 1]."""
        if self.floor_alpha != "domain":
            return self.floor_alpha
        return DOMAIN_FLOOR_ALPHA.get(domain, 1.0) if self.background > 0 else 1.0

    def video_count(self, split: str) -> int | None:
        """Return how many videos of a split there are, None for all, as ``video_source`` takes it."""
        count = self.num_videos if split == "train" else self.num_test_videos
        return None if count == "all" else count

    def replaces_floor_in(self, domain: str) -> bool:
        """Return whether a mask counts the floor of a domain as background."""
        if self.background_geoms == "natural":
            return domain not in NEUTRAL_FLOOR_DOMAINS
        return self.background_geoms == "sky+floor"

    def neutral_floor_in(self, domain: str) -> bool:
        """Return whether the floor of a domain is gray."""
        return self.neutral_floor and domain in NEUTRAL_FLOOR_DOMAINS


#: What settings that are one of some strings may be.
_CHOICES = {name: get_args(kind) for name, kind in get_type_hints(Distraction).items() if get_origin(kind) is Literal}


def _suite(difficulty: str, dynamic: bool) -> Distraction:
    scale, videos = DISTRACTION_SCALES[difficulty], DISTRACTION_VIDEOS[difficulty]
    return Distraction(
        background=1.0,
        floor_alpha="domain",
        num_videos=videos,
        num_test_videos=videos,
        dynamic=dynamic,
        camera=scale,
        color=scale,
    )


_VIDEO_EASY = Distraction(
    background=1.0,
    compositing="mask",
    num_videos=10,
    num_test_videos=10,
    playback="loop",
    advance="agent",
    start="first",
    order="cycle",
    dynamic=True,
)

_NATURAL_VIDEO = Distraction(
    background=1.0,
    compositing="mask",
    background_geoms="natural",
    playback="loop",
    advance="agent",
    dynamic=True,
    grayscale=True,
    neutral_floor=True,
)
_NATURAL_IMAGE = dataclasses.replace(_NATURAL_VIDEO, num_videos=1, start="first", order="cycle", dynamic=False)

#: The named settings. What differs from the publications:
#:
#: - ``natural-video``: the publications shuffle all clips into one stream that goes on through episodes; here each
#:   episode draws a clip and a frame of it. Training and test clips differ, which the published scripts do not ensure.
#: - ``natural-image``: the publication draws the image of a run; here it is the first of the first training video, so
#:   that runs differ in nothing else. Each episode before held-out videos has the first image of one of them, in order.
#: - ``color-*``: our palettes, in the published ranges.
#: - ``video-hard``: the publication has 100 clips; here, all of a split.
PRESETS: Mapping[str, Distraction] = MappingProxyType(
    {
        "clean": Distraction(),
        **{
            f"dcs-{difficulty}-{mode}": _suite(difficulty, mode == "dynamic")
            for difficulty in DISTRACTION_SCALES
            for mode in ("static", "dynamic")
        },
        "pse-2video": Distraction(background=1.0, floor_alpha=0.3, num_videos=2, dynamic=True),
        "natural-video": _NATURAL_VIDEO,
        "natural-video-color": dataclasses.replace(_NATURAL_VIDEO, grayscale=False),
        "natural-image": _NATURAL_IMAGE,
        "natural-image-color": dataclasses.replace(_NATURAL_IMAGE, grayscale=False),
        "natural-noise": dataclasses.replace(_NATURAL_VIDEO, content="noise", grayscale=False),
        "color-easy": Distraction(palette="color-easy"),
        "color-hard": Distraction(palette="color-hard"),
        "video-easy": _VIDEO_EASY,
        "video-hard": dataclasses.replace(
            _VIDEO_EASY, background_geoms="sky+floor", num_videos="all", num_test_videos="all"
        ),
    }
)

_SOURCES = {"clean": "dm_control", "dcs": "DCS", "pse": "PSE", "natural": "study", "color": "DMControl-GB"}
_SOURCES |= {"natural-video": "DBC", "video": _SOURCES["color"]}


def distraction(preset: str, **overrides: Any) -> Distraction:
    """Return the settings of a preset, changed where asked.

    Args:
        preset: one of :data:`PRESETS`.
        **overrides: fields of :class:`Distraction`. None stands for the preset's.

    Raises:
        ValueError: for an unknown preset or setting, a setting out of range, or settings that exclude each other.
    """
    choice("preset", preset, PRESETS)
    names = [field.name for field in dataclasses.fields(Distraction)]
    unknown = [name for name in overrides if name not in names]
    if unknown:
        raise ValueError(f"unknown settings {unknown}: the known ones are {names}")
    changed = {name: value for name, value in overrides.items() if value is not None}
    return dataclasses.replace(PRESETS[preset], **changed)


def preset_table() -> list[dict[str, Any]]:
    """Return one row per preset: its name, its source and every setting."""
    return [
        {
            "preset": name,
            "source": _SOURCES.get(name) or _SOURCES[name.partition("-")[0]],
            **dataclasses.asdict(settings),
        }
        for name, settings in PRESETS.items()
    ]
