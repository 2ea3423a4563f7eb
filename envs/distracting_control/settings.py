"""What a distracted environment takes by keyword: names and types for callers, and one checked object inside."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from bisimgym.envs.checks import choice, integer
from bisimgym.envs.distractions.presets import Distraction, distraction


class Keywords(TypedDict, total=False):
    """Keywords of :class:`DistractedEnv`: ``preset``, the fields of :class:`Settings`, and those of a preset."""

    preset: str
    observation: Literal["pixels", "state"]
    backgrounds: str
    split: Literal["train", "test"]
    frame_stack: int
    size: int
    supersampling: int
    renderer: Literal["raycast", "opengl", "opengl-fast", "auto"]
    distraction_seed: int | None
    noise_dimensions: int
    noise_std: float
    noise_mean: float
    random_projection: bool
    projection_rows: int | None
    projection_seed: int
    render_mode: str | None
    background: float | None
    content: Literal["video", "noise"] | None
    compositing: Literal["texture", "mask"] | None
    background_geoms: Literal["sky", "sky+floor", "natural"] | None
    floor_alpha: float | Literal["domain"] | None
    num_videos: int | Literal["all"] | None
    num_test_videos: int | Literal["all"] | None
    playback: Literal["bounce", "loop"] | None
    advance: Literal["control", "agent"] | None
    start: Literal["random", "first"] | None
    order: Literal["random", "cycle"] | None
    dynamic: bool | None
    grayscale: bool | None
    camera: float | None
    color: float | None
    palette: Literal["none", "color-easy", "color-hard"] | None
    neutral_floor: bool | None


@dataclass(frozen=True)
class Settings:
    """The checked settings of one environment; :class:`DistractingControlEnv` describes them.

    Raises:
        ValueError: for a setting out of range, or settings that exclude each other.
    """

    distraction: Distraction
    action_repeat: int = 1
    camera_id: int = 0
    observation: str = "pixels"
    backgrounds: str = "procedural"
    split: str = "train"
    frame_stack: int = 3
    size: int = 84
    supersampling: int = 1
    renderer: str = "raycast"
    distraction_seed: int | None = None
    noise_dimensions: int = 0
    noise_std: float = 1.0
    noise_mean: float = 0.0
    random_projection: bool = False
    projection_rows: int | None = None
    projection_seed: int = 0
    render_mode: str | None = None

    def __post_init__(self) -> None:
        choice("observation", self.observation, ["pixels", "state"])
        choice("split", self.split, ["train", "test"])
        choice("renderer", self.renderer, ["raycast", "opengl", "opengl-fast", "auto"])
        if self.render_mode is not None:
            choice("render_mode", self.render_mode, ["human", "rgb_array"])
        least = {
            "action_repeat": 1,
            "frame_stack": 1,
            "size": 1,
            "supersampling": 1,
            "camera_id": 0,
            "noise_dimensions": 0,
        }
        if self.distraction_seed is not None:
            least["distraction_seed"] = 0
        for name, low in least.items():  # numpy's integers become plain ones
            object.__setattr__(self, name, integer(name, getattr(self, name), low))
        noisy = self.noise_dimensions or self.random_projection or self.noise_std != 1.0 or self.noise_mean != 0.0
        if self.observation == "pixels" and noisy:
            raise ValueError('noise_* and random_projection are for observation="state", got "pixels"')
        if self.projection_rows is not None and not self.random_projection:
            raise ValueError(f"projection_rows={self.projection_rows} is for random_projection=True, got False")

    @property
    def visible(self) -> bool:
        """Whether images are drawn at all."""
        return self.observation == "pixels" or self.render_mode is not None


def settings(preset: str = "dcs-easy-dynamic", **keywords: Any) -> Settings:
    """Return settings from the keywords of an environment.

    Raises:
        TypeError: for a keyword that is not known.
        ValueError: for a setting out of range, or settings that exclude each other.
    """
    own = [field.name for field in dataclasses.fields(Settings) if field.name != "distraction"]
    of_preset = [field.name for field in dataclasses.fields(Distraction)]
    unknown = [name for name in keywords if name not in own and name not in of_preset]
    if unknown:
        raise TypeError(f"unexpected keyword arguments {unknown}: the known ones are {['preset', *own, *of_preset]}")
    changes = {name: keywords.pop(name) for name in of_preset if name in keywords}
    return Settings(distraction(preset, **changes), **keywords)
