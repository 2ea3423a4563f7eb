"""SB3's DQN with room for auxiliary losses and double Q-learning. With nothing added it is SB3's, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import ReplayBufferSamples, Schedule
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.dqn.policies import DQNPolicy
from torch.nn import functional as F

from bisimgym.baselines.core.auxiliary import AuxiliaryLosses, fused_where_possible, soft_update
from bisimgym.baselines.core.extractors import DictExtractor, ImageExtractor, MLPExtractor, extractor_settings


class EncoderDQNPolicy(DQNPolicy):
    """SB3's policy of DQN with the encoders of this package: the Q network's feature extractor is the encoder.

    Args:
        features_extractor_class: the encoder; the other arguments are those of SB3's policy.
        optimizer_kwargs: of the optimizer; its fused implementation, if it has one, is used unless this says otherwise.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        features_extractor_class: type[BaseFeaturesExtractor] = MLPExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=extractor_settings(
                features_extractor_class, features_extractor_kwargs, normalize_images
            ),
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=fused_where_possible(optimizer_class, optimizer_kwargs),
            **kwargs,
        )


class EncoderDQNCnnPolicy(EncoderDQNPolicy):
    """:class:`EncoderDQNPolicy` for images."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"features_extractor_class": ImageExtractor, **kwargs})


class EncoderDQNMultiInputPolicy(EncoderDQNPolicy):
    """:class:`EncoderDQNPolicy` for dictionaries."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"features_extractor_class": DictExtractor, **kwargs})


class AuxiliaryDQN(AuxiliaryLosses, DQN):
    """SB3's DQN with room for auxiliary losses, in one backward pass with that of the Q network or in one of their own.

    With these arguments at their defaults, parameters are those of SB3's DQN, to the bit.

    Args:
        policy: any of SB3's DQN; the Q network's feature extractor is the encoder.
        env: the environment.
        double_q: whether the online network chooses the action that the target network values (van Hasselt et al.
            2016).
        **kwargs: of :class:`AuxiliaryLosses` (an ``encoder_tau`` moves the target encoder after every update) and of
            SB3's DQN.
    """

    action_space_class = spaces.Discrete

    def __init__(
        self,
        policy: str | type[DQNPolicy],
        env: Any,
        learning_rate: float | Schedule = 1e-4,
        *,
        double_q: bool = False,
        **kwargs: Any,
    ):
        self.double_q = bool(double_q)
        super().__init__(policy, env, learning_rate, **kwargs)

    def explores_by_chance(self) -> bool:
        return bool(np.random.rand() < self.exploration_rate)  # noqa: NPY002  # the stream and the rule of SB3

    def encoders(self) -> tuple[BaseFeaturesExtractor, BaseFeaturesExtractor]:
        return self.q_net.features_extractor, self.q_net_target.features_extractor

    def main_optimizers(self) -> list[th.optim.Optimizer]:
        return [self.policy.optimizer]

    def _on_step(self) -> None:
        if self.encoder_tau is None:
            super()._on_step()
            return
        # SB3 updates all of the target network at once: keep the encoder's share out of it.
        target = self.encoders()[1]
        kept = [parameter.detach().clone() for parameter in target.parameters()]
        super()._on_step()
        polyak_update(kept, target.parameters(), 1.0)

    def update(self, data: ReplayBufferSamples, number: int) -> dict[str, th.Tensor]:
        """Do one update of the Q network with the auxiliary losses."""
        batch = self.encoded(data)
        with th.no_grad():
            next_q = self.q_net_target.q_net(batch.next_target_z)
            if self.double_q:
                next_q = next_q.gather(1, self.q_net.q_net(batch.next_z).argmax(dim=1, keepdim=True))
            else:
                next_q = next_q.amax(dim=1, keepdim=True)
            target_q = batch.rewards.unsqueeze(1) + (1 - data.dones) * batch.discounts * next_q
        current_q = self.q_net.q_net(batch.z).gather(1, data.actions.long())
        losses = {"loss": F.smooth_l1_loss(current_q, target_q)}
        losses |= self.minimize(losses["loss"], self.policy.optimizer, batch, self.max_grad_norm)
        if self.encoder_tau is not None:
            soft_update(*self.encoders(), self.encoder_tau)
        return losses
