"""Encoders as Stable-Baselines3's feature extractors: any algorithm of SB3 takes them as ``features_extractor_class``.

All end in a linear layer to ``features_dim`` numbers and a normalization of the embedding, which a study of metric
losses found to matter as much as the losses (Luo et al. 2025): "layer" (LayerNorm), "l2" (unit length), "cap"
(bounded length) or "none".
"""

from __future__ import annotations

import itertools
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.nn import functional as F

from bisimgym.baselines.core.coordconv import CoordConvNet
from bisimgym.baselines.core.encoder import JumpingEncoder
from bisimgym.baselines.losses.norms import cap_norm, norm_radius
from bisimgym.envs.checks import integer

NORMS = ("layer", "l2", "cap", "none")
#: Largest norm under "cap", unless another is given: that of Robust DBC at discount 0.99.
CAP_RADIUS = norm_radius(0.99)
ARCHITECTURES = ("auto", "compact", "coordconv", "jumping", "minatar", "sac-ae", "strided")

#: Channels of every layer of the architectures that take another number.
_CHANNELS = {"compact": 32, "sac-ae": 32, "strided": 64}
#: Images up to this size are seen whole by the CoordConv net.
_SMALL = 32
#: The convolutions of SAC-AE leave nothing of smaller images.
_SMALLEST_OF_SAC_AE = 20


class UnitLength(nn.Module):
    """Scales every embedding to length 1; embeddings near zero to less, with a finite gradient."""

    def forward(self, z: th.Tensor) -> th.Tensor:
        return F.normalize(z, dim=-1, eps=1e-6)


class CappedLength(nn.Module):
    """Shortens embeddings that are longer than ``radius`` to that length."""

    def __init__(self, radius: float):
        super().__init__()
        self.radius = radius

    def forward(self, z: th.Tensor) -> th.Tensor:
        return cap_norm(z, self.radius)


def make_norm(norm: str, features_dim: int, cap_radius: float = CAP_RADIUS) -> nn.Module:
    """Return the normalization of embeddings ``float[B, features_dim]``; "cap" bounds them to ``cap_radius``.

    Raises:
        ValueError: for an unknown name.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {list(NORMS)}, got {norm!r}")
    layers = {
        "layer": nn.LayerNorm(features_dim),
        "l2": UnitLength(),
        "cap": CappedLength(cap_radius),
        "none": nn.Identity(),
    }
    return layers[norm]


class MLPExtractor(BaseFeaturesExtractor):
    """Embeds flat observations: two hidden layers, LeakyReLU, and a linear layer.

    Source: Luo et al. (2025), the study's encoder of states: in-256-256-50.

    Args:
        observation_space: any space that flattens to a vector.
        features_dim: numbers in the embedding.
        hidden: widths of the hidden layers.
        norm: of the embedding, one of :data:`NORMS`.
        cap_radius: largest norm under "cap".
    """

    def __init__(
        self,
        observation_space: gym.Space,
        features_dim: int = 50,
        hidden: tuple[int, ...] = (256, 256),
        norm: str = "layer",
        cap_radius: float = CAP_RADIUS,
    ):
        super().__init__(observation_space, integer("features_dim", features_dim, 1))
        widths = [get_flattened_obs_dim(observation_space), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for width, next_width in itertools.pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.LeakyReLU(0.01)]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], features_dim))
        self.norm = make_norm(norm, features_dim, cap_radius)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.norm(self.net(observations))


class ImageExtractor(BaseFeaturesExtractor):
    """Embeds images of any size that the tasks here have, 20 x 20 included.

    Args:
        observation_space: images, channels first (as SB3 hands them over).
        features_dim: numbers in the embedding; ``None`` leaves out the linear layer, so that the embedding is what the
            convolutions give (128 numbers for "coordconv", 256 for "jumping").
        norm: of the embedding, one of :data:`NORMS`.
        cap_radius: largest norm under "cap".
        architecture: "compact" (two 4 x 4 layers with stride 2, of 32 and 64 channels; for a processor, and images of
            some 24 x 24), "coordconv" (six layers with coordinates, for images up to 32 x 32; the Nav2D paper's net),
            "jumping" (Agarwal et al. 2021, appendix G), "minatar" (one 3 x 3 layer of 16 channels, for grids of a few
            cells; Young and Tian 2019), "sac-ae" (four 3 x 3 layers of 32 channels; DrQ, DBC and their
            family), "strided" (four layers of 64 channels with stride 2, for wide images; DBC and RAP on CARLA), or
            "auto": "coordconv" up to 32 x 32, "jumping" up to 64 x 64, else "sac-ae".
        normalized_image: whether images are scaled already, so that they may be of any type and range. SB3's name;
            policies with ``normalize_images=False`` say so by themselves.
        signed: whether images in [0, 1] are mapped to [-1, 1] first, as the Nav2D paper has them.
        channels: of every layer of "sac-ae" and "strided", and of the first of "compact", whose second has twice as
            many; these alone take another number; None: their own.
        squash: whether a tanh follows the norm, as in DrQ and PSE.

    Raises:
        ValueError: for a space that is not one of images, channels first.
    """

    def __init__(
        self,
        observation_space: gym.Space,
        features_dim: int | None = 50,
        norm: str = "layer",
        architecture: str = "auto",
        cap_radius: float = CAP_RADIUS,
        normalized_image: bool = False,
        signed: bool = False,
        channels: int | None = None,
        squash: bool = False,
    ):
        if not is_image_space(observation_space, normalized_image=normalized_image):
            raise ValueError(
                f"ImageExtractor needs images, uint8[C, H, W] in [0, 255], got {observation_space}: use MLPExtractor "
                "(policy 'MlpPolicy') for vectors, and policy_kwargs={'normalize_images': False} for images that are "
                "scaled already, such as float32[C, H, W]"
            )
        assert observation_space.shape is not None
        if normalized_image and np.argmin(observation_space.shape) == 2:
            raise ValueError(f"images must have their channels first, [C, H, W], got {observation_space}")
        planes, height, width = observation_space.shape
        name = _architecture_for(architecture, height, width)
        own = _CHANNELS.get(name, 32)
        if channels is not None and (channels < 1 or (channels != own and name not in _CHANNELS)):
            raise ValueError(
                f"channels must be at least 1, and {own} but with architecture 'compact', 'sac-ae' or 'strided', got "
                f"{channels} with {name!r}"
            )
        try:
            convolutions = _convolutions(name, (planes, height, width), own if channels is None else channels)
            with th.no_grad():
                count = convolutions(th.zeros(1, planes, height, width)).shape[1]
        except (RuntimeError, ValueError) as error:  # of PyTorch, for kernels larger than what there is
            raise ValueError(
                f"images of {height} x {width} pixels are too small for architecture {name!r} ({error}): scale them, "
                "choose another of 'coordconv' (from 4 x 4 pixels), 'jumping' and 'sac-ae' (from 20 x 20), or use "
                "MLPExtractor (policy 'MlpPolicy'), which flattens them"
            ) from None
        super().__init__(observation_space, features_dim or count)
        self.convolutions, self.signed, self.squash = convolutions, signed, squash
        self.linear = nn.Identity() if features_dim is None else nn.Linear(count, features_dim)
        self.norm = make_norm(norm, self.features_dim, cap_radius)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.head(self.trunk(observations))

    def trunk(self, observations: th.Tensor) -> th.Tensor:
        """Return what the convolutions give, ``float[B, F]``, from images ``float[B, C, H, W]``."""
        # Convolutions are quicker with channels last, on processors too.
        images = observations.contiguous(memory_format=th.channels_last)
        if self.signed:
            images = 2 * images - 1
        return self.convolutions(images)

    def head(self, features: th.Tensor) -> th.Tensor:
        """Return embeddings, ``float[B, features_dim]``, from what the convolutions give."""
        z = self.norm(self.linear(features))
        return z.tanh() if self.squash else z


class DictExtractor(BaseFeaturesExtractor):
    """Embeds dictionaries: images by :class:`ImageExtractor`'s convolutions, the rest flattened, then one layer.

    Args:
        observation_space: a dictionary of images and spaces that flatten to vectors.
        features_dim: numbers in the embedding.
        norm: of the embedding, one of :data:`NORMS`.
        cap_radius: largest norm under "cap".
        architecture: as of :class:`ImageExtractor`, for every image.
        normalized_image: as of :class:`ImageExtractor`; if so, all arrays of three axes are images.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        features_dim: int = 50,
        norm: str = "layer",
        architecture: str = "auto",
        cap_radius: float = CAP_RADIUS,
        normalized_image: bool = False,
    ):
        if not isinstance(observation_space, spaces.Dict):
            raise ValueError(
                f"DictExtractor needs a dictionary of spaces, got {observation_space}: use ImageExtractor (policy "
                "'CnnPolicy') for images and MLPExtractor ('MlpPolicy') for vectors"
            )
        super().__init__(observation_space, integer("features_dim", features_dim, 1))
        parts: dict[str, nn.Module] = {}
        count = 0
        for key, space in observation_space.spaces.items():
            if is_image_space(space, normalized_image=normalized_image):
                image = ImageExtractor(space, None, "none", architecture, normalized_image=normalized_image)
                parts[key] = image
                count += image.features_dim
            else:
                parts[key] = nn.Flatten()
                count += get_flattened_obs_dim(space)
        self.parts = nn.ModuleDict(parts)
        self.linear = nn.Linear(count, features_dim)
        self.norm = make_norm(norm, features_dim, cap_radius)

    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        features = [part(observations[key]) for key, part in self.parts.items()]
        return self.norm(self.linear(th.cat(features, dim=1)))


class GoalPlaneExtractor(BaseFeaturesExtractor):
    """Embeds ``Nav2DGoal``'s dictionaries: the goal's cell is drawn as a further channel of the image.

    A net that gets the goal as two numbers must learn what rows and columns are; the channel is what ``Nav2D`` itself
    shows. ``achieved_goal`` is in the image already.

    Args:
        observation_space: a dictionary of ``observation``, an image of one pixel per cell, and ``desired_goal``, the
            row and column of a cell.
        **kwargs: of :class:`ImageExtractor`.

    Raises:
        ValueError: for another dictionary.
    """

    def __init__(self, observation_space: spaces.Dict, features_dim: int | None = 50, **kwargs: Any):
        images, goal = (cast(Any, observation_space.spaces.get(key)) for key in ("observation", "desired_goal"))
        boxes = isinstance(images, spaces.Box) and isinstance(goal, spaces.Box) and is_image_space(images)
        if not (boxes and goal.shape == (2,) and (goal.low >= 0).all() and (goal.high < images.shape[1:]).all()):
            raise ValueError(
                "GoalPlaneExtractor needs an image 'observation' and the row and column of one of its pixels, "
                f"'desired_goal', got {observation_space}: use DictExtractor for other dictionaries"
            )
        channels, height, width = images.shape
        extractor = ImageExtractor(spaces.Box(0, 255, (channels + 1, height, width), np.uint8), features_dim, **kwargs)
        super().__init__(observation_space, extractor.features_dim)
        self.image = extractor

    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        images, (rows, columns) = observations["observation"], observations["desired_goal"].long().unbind(dim=1)
        plane = th.zeros_like(images[:, :1])
        plane[th.arange(len(plane), device=plane.device), 0, rows, columns] = 1
        return self.image(th.cat([images, plane], dim=1))


def extractor_settings(
    extractor: type[BaseFeaturesExtractor], settings: dict[str, Any] | None, normalize_images: bool
) -> dict[str, Any]:
    """Return arguments of an extractor, told whether images are scaled already, as SB3's policies tell their own."""
    settings = dict(settings or {})
    if not normalize_images and issubclass(extractor, ImageExtractor | DictExtractor):
        settings["normalized_image"] = True
    return settings


def _architecture_for(architecture: str, height: int, width: int) -> str:
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {list(ARCHITECTURES)}, got {architecture!r}")
    size = max(height, width)
    if architecture != "auto":
        return architecture
    return "coordconv" if size <= _SMALL else "jumping" if size <= 64 else "sac-ae"


def _convolutions(architecture: str, shape: tuple[int, int, int], width: int) -> nn.Sequential:
    if architecture == "coordconv":
        return CoordConvNet(shape)
    if architecture == "jumping":
        return JumpingEncoder(shape)
    if architecture == "minatar":
        return nn.Sequential(nn.Conv2d(shape[0], 16, 3), nn.ReLU(), nn.Flatten())
    if architecture == "compact":
        first_layer = nn.Conv2d(shape[0], width, 4, stride=2, padding=1)
        second_layer = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        return nn.Sequential(first_layer, nn.ReLU(inplace=True), second_layer, nn.ReLU(inplace=True), nn.Flatten())
    if architecture == "sac-ae" and min(shape[1:]) < _SMALLEST_OF_SAC_AE:
        raise ValueError(f"architecture 'sac-ae' needs images of at least {_SMALLEST_OF_SAC_AE} pixels, got {shape}")
    layers: list[nn.Module] = []
    channels, first, stride_of_rest = (shape[0], 5, 2) if architecture == "strided" else (shape[0], 3, 1)
    for kernel, stride in ((first, 2), *[(3, stride_of_rest)] * 3):
        layers += [nn.Conv2d(channels, width, kernel, stride=stride), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten())
