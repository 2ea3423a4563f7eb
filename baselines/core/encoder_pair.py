"""An encoder and its slowly moving copy, without an agent."""

from __future__ import annotations

import copy
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from bisimgym.baselines.core.extractors import DictExtractor, ImageExtractor, MLPExtractor


class EncoderPair(BaseModel):
    """An encoder and its slowly moving copy, with Stable-Baselines3's handling of observations.

    Args:
        observation_space: with the channels of images first.
        action_space: of the data.
        extractor_class: of both encoders.
        extractor_kwargs: their arguments.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        extractor_class: type[BaseFeaturesExtractor],
        extractor_kwargs: dict[str, Any],
    ):
        super().__init__(observation_space, action_space, extractor_class, extractor_kwargs)
        self.encoder = self.make_features_extractor()
        self.encoder_target = copy.deepcopy(self.encoder)
        self.encoder_target.requires_grad_(False)

    def set_training_mode(self, mode: bool) -> None:
        self.encoder.train(mode)
        self.encoder_target.train(False)


def extractor_for(space: spaces.Space) -> type[BaseFeaturesExtractor]:
    if isinstance(space, spaces.Dict):
        return DictExtractor
    return ImageExtractor if is_image_space(space) else MLPExtractor
