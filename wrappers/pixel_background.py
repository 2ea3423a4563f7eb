"""Background videos behind the image observations of any environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from bisimgym.envs.checks import choice, fraction
from bisimgym.envs.distractions.playback import MODES, Playback
from bisimgym.envs.distractions.protocol import check_count, distraction_generator, require_clean
from bisimgym.envs.distractions.videos import video_source

#: Child of the seed of ``reset`` that draws videos and where they start.
_VIDEO_STREAM = 0x76696465

Mask = Callable[[np.ndarray, dict[str, Any]], np.ndarray] | str | Sequence[int]


class MaskedImage(NamedTuple):
    """A clean state of :class:`PixelBackground`.

    Attributes:
        observation: ``uint8[H, W, 3]``, the image without its background video.
        mask: ``bool[H, W]``, True where the video shows.
    """

    observation: np.ndarray
    mask: np.ndarray


class PixelBackground(gym.Wrapper, RecordConstructorArgs):
    """Shows a video in the background of image observations.

    One video is drawn uniformly for each episode and moves by one frame at each step. Videos and starts come from a
    stream of their own that follows from ``reset(seed=)``, so that the wrapped environment runs as it does without the
    video. ``info["clean_observation"]`` is the image without it at every reset and step; ``render()`` is unchanged. The
    wrapper is a :class:`~bisimgym.envs.distractions.protocol.Redistractable`, whose clean states are
    :class:`MaskedImage`.

    Args:
        env: with observations ``uint8[H, W, 3]``, one color image.
        mask: which pixels are background: a function of the clean observation and the info that returns
            ``bool[H, W]``; or the name of an entry of the info that holds it at every reset and step; or a color,
            three integers in 0..255, that all pixels of the background have exactly. With a name or a color the spec
            of the environment can be written to JSON.
        backgrounds: which videos; ``split`` and ``count`` choose among them; ``grayscale`` takes their color away: see
            :func:`~bisimgym.envs.distractions.videos.video_source`.
        playback: ``"bounce"`` (back and forth) or ``"loop"``.
        dynamic: whether the video moves; otherwise an episode shows one frame of it.
        strength: of the video, in [0, 1]: 1 replaces the background, less blends with it, 0 leaves it.

    Raises:
        ValueError: for other observations, an environment that is distracted already, or a value out of range; in
            ``reset`` and ``step``, if the mask is missing or is not ``bool[H, W]``.

    Example:
        >>> import gymnasium as gym
        >>> from bisimgym.wrappers.pixel_background import PixelBackground
        >>> road = gym.make("CarRacing-v3")
        >>> env = PixelBackground(road, mask=lambda image, info: image[..., 1] > 150)
    """

    def __init__(
        self,
        env: gym.Env,
        mask: Mask,
        backgrounds: Any = "procedural",
        split: str = "train",
        count: int | None = None,
        playback: str = "bounce",
        dynamic: bool = True,
        strength: float = 1.0,
        grayscale: bool = False,
    ):
        height, width = _image_size(env)
        mask = _checked_mask(mask)
        choice("playback", playback, MODES)
        fraction("strength", strength)
        for name, value in (("dynamic", dynamic), ("grayscale", grayscale)):
            if not isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{name} must be True or False, got {value!r}")
        backgrounds = os.fspath(backgrounds) if isinstance(backgrounds, os.PathLike) else backgrounds
        source = video_source(backgrounds, split=split, size=(height, width), grayscale=grayscale, count=count)
        RecordConstructorArgs.__init__(
            self,
            mask=mask,
            backgrounds=backgrounds,
            split=split,
            count=None if count is None else int(count),
            playback=playback,
            dynamic=bool(dynamic),
            strength=float(strength),
            grayscale=bool(grayscale),
        )
        gym.Wrapper.__init__(self, env)
        self.source = source
        self._find_mask: Any = mask
        self._mode, self._dynamic, self._strength = playback, bool(dynamic), float(strength)
        self._rng: np.random.Generator | None = None
        self._clean: MaskedImage | None = None
        self._video = 0
        self._playback: Playback | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None or self._rng is None:
            self._rng = distraction_generator(seed, _VIDEO_STREAM)
        self._video = int(self._rng.integers(len(self.source.names)))
        self._playback = Playback(len(self.source.frames(self._video)), self._mode, self._rng, self._dynamic)
        return self._shown(observation, info)

    def step(self, action):
        if self._playback is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._playback.advance(1)
        observation, info = self._shown(observation, info)
        return observation, reward, terminated, truncated, info

    def clean_state(self) -> MaskedImage:
        """Return the current image without its video, and its mask."""
        if self._clean is None:
            raise gym.error.ResetNeeded("call reset() before clean_state()")
        return MaskedImage(self._clean.observation.copy(), self._clean.mask.copy())

    def redistract(self, clean_state: MaskedImage, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``uint8[count, H, W, 3]``: one image before backgrounds as different episodes start with.

        Args:
            clean_state: of :meth:`clean_state`.
            count: at least 1.
            rng: draws a video and a frame for each.

        Raises:
            ValueError: for an image of another shape or a count below 1.
        """
        check_count(count)
        shape = self.observation_space.shape
        if clean_state.observation.shape != shape:
            raise ValueError(f"clean_state must hold an image of shape {shape}, got {clean_state.observation.shape}")
        images = np.empty((count, *shape), np.uint8)
        videos = rng.integers(len(self.source.names), size=count)
        for video in np.unique(videos):  # each is loaded once
            frames = self.source.frames(int(video))
            for row in np.flatnonzero(videos == video):
                index = Playback(len(frames), self._mode, rng, self._dynamic).index
                images[row] = _composite(clean_state, frames[index], self._strength)
        return images

    def _shown(self, observation: np.ndarray, info: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        assert self._playback is not None
        # Copies: some environments write each observation into the same memory.
        self._clean = MaskedImage(np.array(observation), self._mask(observation, info))
        frame = self.source.frames(self._video)[self._playback.index]
        image = _composite(self._clean, frame, self._strength)
        return image, {**info, "clean_observation": self._clean.observation.copy()}

    def _mask(self, observation: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        if isinstance(self._find_mask, list):
            red, green, blue = np.moveaxis(observation, -1, 0)
            color = self._find_mask
            return (red == color[0]) & (green == color[1]) & (blue == color[2])  # ten times as fast as all(axis=-1)
        if isinstance(self._find_mask, str):
            if self._find_mask not in info:
                raise ValueError(f"mask names {self._find_mask!r}, but info has only the entries {sorted(info)}")
            mask = np.array(info[self._find_mask])
        else:
            mask = np.array(self._find_mask(observation, info))
        if mask.dtype != np.bool_ or mask.shape != observation.shape[:2]:
            raise ValueError(f"mask must give bool{list(observation.shape[:2])}, got {mask.dtype}{list(mask.shape)}")
        return mask


def _composite(clean: MaskedImage, frame: np.ndarray, strength: float) -> np.ndarray:
    """Return ``uint8[H, W, 3]``: the image with a frame in its background."""
    if strength < 1:
        frame = np.rint(strength * frame + (1 - strength) * clean.observation).astype(np.uint8)
    return np.where(clean.mask[..., None], frame, clean.observation)


def _image_size(env: gym.Env) -> tuple[int, int]:
    """Return the height and width of the observations, or raise ``ValueError`` if they cannot be wrapped."""
    space = env.observation_space
    if not (isinstance(space, spaces.Box) and space.dtype == np.uint8 and space.shape[2:] == (3,)):
        raise ValueError(
            f"PixelBackground needs observations uint8[H, W, 3], one color image with the channels last, got {space}: "
            "put wrappers that stack, transpose or take the color away on top of it"
        )
    require_clean(env, "PixelBackground", "background")
    return space.shape[0], space.shape[1]


def _checked_mask(mask: Any) -> Any:
    """Return a mask as a function, a name or a list of three integers, which JSON takes."""
    if callable(mask) or isinstance(mask, str):
        return mask
    color = np.asarray(mask)
    if color.shape != (3,) or color.dtype.kind not in "iu" or not ((color >= 0) & (color <= 255)).all():
        raise ValueError(
            "mask must be a function (observation, info) -> bool[H, W], the name of an entry of the info, or a color "
            f"of three integers in 0..255, got {mask!r}"
        )
    return color.tolist()
