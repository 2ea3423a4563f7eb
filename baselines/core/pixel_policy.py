"""The networks of agents that learn control from images: those of DrQ, and of the SAC-AE family.

Sources: Yarats et al. (2021), "Improving sample efficiency in model-free reinforcement learning from images" (SAC-AE);
Kostrikov et al. (2021), "Image Augmentation Is All You Need" (DrQ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.sac.policies import Actor
from torch import nn

from bisimgym.baselines.core.extractors import ImageExtractor
from bisimgym.baselines.core.sac import EncoderSACPolicy

#: How layers start. "torch": as PyTorch's; "orthogonal": DrQ; "delta-orthogonal": SAC-AE.
INITIALIZATIONS = ("torch", "orthogonal", "delta-orthogonal")


def initialize(module: nn.Module, how: str) -> None:
    """Set the weights of all linear and convolutional layers of a module; biases become 0, but not with "torch".

    Linear layers become orthogonal. Convolutions become orthogonal with the gain of ReLU, or with "delta-orthogonal"
    (Xiao et al. 2018) so at the center of their kernel and 0 around it.

    Raises:
        ValueError: for a name that is none of :data:`INITIALIZATIONS`.
    """
    if how not in INITIALIZATIONS:
        raise ValueError(f"initialization must be one of {list(INITIALIZATIONS)}, got {how!r}")
    for layer in module.modules() if how != "torch" else ():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
        elif isinstance(layer, nn.Conv2d) and how == "orthogonal":
            nn.init.orthogonal_(layer.weight, math.sqrt(2))
        elif isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            height, width = layer.kernel_size
            nn.init.orthogonal_(layer.weight.data[:, :, height // 2, width // 2], math.sqrt(2))
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class BoundedActor(Actor):
    """SB3's actor with log standard deviations squashed into bounds by a tanh, where SB3's are cut at [-20, 2].

    Args:
        log_std_bounds: the least and the greatest.
        **kwargs: of SB3's.
    """

    def __init__(self, *args: Any, log_std_bounds: tuple[float, float], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.log_std_bounds = log_std_bounds

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, dict[str, th.Tensor]]:
        hidden = self.latent_pi(obs)
        low, high = self.log_std_bounds
        log_std: Any = self.log_std
        return self.mu(hidden), low + 0.5 * (high - low) * (log_std(hidden).tanh() + 1), {}


class PixelSACPolicy(EncoderSACPolicy):
    """A policy for images whose actor has a head of its own on the critic's convolutions.

    The critic's loss and auxiliary losses train the encoder: convolutions and head (a linear layer and a norm). The
    actor's loss trains the actor and its head; it gets what the convolutions give detached.

    Args:
        initialization: of all layers, one of :data:`INITIALIZATIONS`: "orthogonal" is DrQ's, "delta-orthogonal" that of
            the SAC-AE family.
        log_std_bounds: of the actor's log standard deviations, which a tanh squashes into them; ``None`` cuts them at
            [-20, 2], as SB3 does.
        features_extractor_class: :class:`ImageExtractor` or a subclass.
        features_extractor_kwargs: of the encoder; here its architecture is "sac-ae".
        **kwargs: of :class:`EncoderSACPolicy`; here ``net_arch`` is [1024, 1024].

    Raises:
        ValueError: for another encoder, an unknown initialization or bounds out of order.
    """

    parts_encoder = True

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *,
        initialization: str = "orthogonal",
        log_std_bounds: Sequence[float] | None = (-10.0, 2.0),
        features_extractor_class: type[ImageExtractor] = ImageExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        **kwargs: Any,
    ):
        if not issubclass(features_extractor_class, ImageExtractor):
            raise ValueError(
                "features_extractor_class must be ImageExtractor or a subclass, whose convolutions actor and critic "
                f"share, got {features_extractor_class.__name__}"
            )
        if kwargs.get("use_sde") and log_std_bounds is not None:
            raise ValueError("use_sde=True has no standard deviations to squash: set log_std_bounds=None")
        if initialization not in INITIALIZATIONS:
            raise ValueError(f"initialization must be one of {list(INITIALIZATIONS)}, got {initialization!r}")
        if log_std_bounds is not None and not (len(log_std_bounds) == 2 and log_std_bounds[0] < log_std_bounds[1]):
            raise ValueError(f"log_std_bounds must be (low, high) with low < high, or None, got {log_std_bounds!r}")
        self.initialization, self.log_std_bounds = initialization, log_std_bounds
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs={"architecture": "sac-ae", **(features_extractor_kwargs or {})},
            net_arch=[1024, 1024] if net_arch is None else net_arch,
            **kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        # The head of an encoder that is nobody else's: its convolutions are not kept.
        extractor: Any = self.make_features_extractor()
        squash = nn.Tanh() if extractor.squash else nn.Identity()
        self.actor_head = nn.Sequential(extractor.linear, extractor.norm, squash)
        for module in (self.encoder, self.actor, self.actor_head, self.critic):
            initialize(module, self.initialization)
        self.encoder_target.load_state_dict(self.encoder.state_dict())
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.actor_head.to(self.device)
        self.actor.optimizer.add_param_group({"params": list(self.actor_head.parameters())})

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        if self.log_std_bounds is None:
            return super().make_actor(features_extractor)
        low, high = self.log_std_bounds
        settings = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return BoundedActor(**settings, log_std_bounds=(low, high)).to(self.device)

    def trunk(self, observations: PyTorchObs) -> th.Tensor:
        """Return what the convolutions give of observations as the replay holds them, ``float[B, F]``."""
        encoder: Any = self.encoder
        return encoder.trunk(preprocess_obs(observations, self.observation_space, self.normalize_images))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"initialization": self.initialization, "log_std_bounds": self.log_std_bounds}
        return {**super()._get_constructor_parameters(), **own}
