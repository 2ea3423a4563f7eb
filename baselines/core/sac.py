"""SB3's SAC with room for auxiliary losses. With nothing added it is SB3's, to the bit.

What a method adds comes in through :meth:`~bisimgym.baselines.core.auxiliary.AuxiliaryLosses.auxiliary_losses`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples, Schedule
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.sac.policies import SACPolicy
from torch import nn
from torch.nn import functional as F

from bisimgym.baselines.core.auxiliary import AuxiliaryLosses, fused_where_possible, soft_update
from bisimgym.baselines.core.extractors import DictExtractor, ImageExtractor, MLPExtractor, extractor_settings
from bisimgym.baselines.core.latents import LatentBatch


class EncoderSACPolicy(SACPolicy):
    """A policy whose critic and actor see one embedding, which the critic and auxiliary losses train.

    SB3's ``share_features_extractor=True`` trains a shared encoder by the actor's loss; methods that shape embeddings
    need the opposite. Here ``encoder`` belongs to the critic's optimizer, and the actor gets detached embeddings.
    Actor and critics are SB3's own, on the space of embeddings.

    Args:
        features_extractor_class: the encoder; ``net_arch`` and the other arguments are those of SB3's policy.
        optimizer_kwargs: of the optimizer; its fused implementation, if it has one, is used unless this says otherwise.
        critic_input: class of a module, made without arguments, that embeddings pass on their way to the critic, whose
            loss trains it. The actor sees embeddings without it.
    """

    encoder: BaseFeaturesExtractor
    encoder_target: BaseFeaturesExtractor
    critic_input: nn.Module
    critic_input_target: nn.Module
    #: What the actor sees embeddings through, and whether it takes the encoder's ``trunk`` in their place.
    actor_head: nn.Module
    parts_encoder: bool = False

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        features_extractor_class: type[BaseFeaturesExtractor] = MLPExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        share_features_extractor: bool = False,
        critic_input: type[nn.Module] = nn.Identity,
        **kwargs: Any,
    ):
        self.critic_input_class = critic_input
        if share_features_extractor:
            raise ValueError("share_features_extractor=True trains the encoder by the actor's loss: leave it out")
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

    def _build(self, lr_schedule: Schedule) -> None:
        # The device is the encoder's: until there are parameters, SB3 takes the policy to be on the CPU.
        self.encoder = self.make_features_extractor()
        self.encoder_target = self.make_features_extractor()
        self.encoder_target.load_state_dict(self.encoder.state_dict())
        self.critic_input, self.critic_input_target = self.critic_input_class(), self.critic_input_class()
        self.actor_head = nn.Identity()
        latent = spaces.Box(-np.inf, np.inf, (self.encoder.features_dim,), np.float32)
        for arguments in (self.actor_kwargs, self.critic_kwargs):
            arguments["observation_space"] = latent
        self._latent_space = latent
        self.actor = self.make_actor()
        self.critic = self.make_critic()
        self.critic_target = self.make_critic()
        self.critic_target.load_state_dict(self.critic.state_dict())
        settings: dict[str, Any] = {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.actor.optimizer = self.optimizer_class(self.actor.parameters(), **settings)
        trained = [*self.encoder.parameters(), *self.critic_input.parameters(), *self.critic.parameters()]
        self.critic.optimizer = self.optimizer_class(trained, **settings)
        for target in (self.encoder_target, self.critic_input_target, self.critic_target):
            target.train(False)
            for parameter in target.parameters():
                parameter.requires_grad_(False)

    def _update_features_extractor(self, net_kwargs: dict[str, Any], features_extractor: Any = None) -> dict[str, Any]:
        # Actor and critics take embeddings as they are.
        extractor = FlattenExtractor(self._latent_space)
        return {**net_kwargs, "features_extractor": extractor, "features_dim": extractor.features_dim}

    def encode(self, observations: PyTorchObs, target: bool = False) -> th.Tensor:
        """Return embeddings of observations as the replay holds them, ``float[B, features_dim]``."""
        encoder = self.encoder_target if target else self.encoder
        return encoder(preprocess_obs(observations, self.observation_space, self.normalize_images))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "critic_input": self.critic_input_class}

    def trunk(self, observations: PyTorchObs) -> th.Tensor:
        """Return what :attr:`actor_head` takes of observations as the replay holds them: here embeddings."""
        return self.encode(observations)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self.actor(self.actor_head(self.trunk(observation).float()), deterministic)

    def set_training_mode(self, mode: bool) -> None:
        super().set_training_mode(mode)
        self.encoder.train(mode)


class EncoderCnnPolicy(EncoderSACPolicy):
    """:class:`EncoderSACPolicy` for images."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"features_extractor_class": ImageExtractor, **kwargs})


class EncoderMultiInputPolicy(EncoderSACPolicy):
    """:class:`EncoderSACPolicy` for dictionaries."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"features_extractor_class": DictExtractor, **kwargs})


class AuxiliarySAC(AuxiliaryLosses, SAC):
    """SB3's SAC with room for auxiliary losses, in one backward pass with the critic's or in one of their own.

    With a policy of SB3 and these arguments at their defaults, parameters are those of SB3's SAC, to the bit. With
    :class:`EncoderSACPolicy`, embeddings of a batch are computed once and shared: the actor's loss takes those that the
    critic's loss was computed from, from before the critic's step.

    Args:
        policy: any of SB3's SAC, or an :class:`EncoderSACPolicy`.
        env: the environment.
        views: augmentations of the observations (DrQ's K), over which the critic's loss is summed.
        target_views: augmentations of the next observations (DrQ's M), over which its target is averaged, each with an
            action of its own. Both take an ``augmentation``; the actor sees the first view.
        ent_coef_learning_rate: of the temperature; ``None``: that of all else.
        ent_coef_beta1: first constant of the temperature's Adam.
        actor_period: updates per update of actor and temperature.
        target_update_interval: updates per update of targets. Counted over the whole training, where SB3 starts again
            in every call of ``train``.
        max_grad_norm: largest norm of the gradients of the critic (with the encoder), of the auxiliary networks, of the
            encoder where it has an optimizer of its own, and of the actor, each; ``None`` is no limit.
        **kwargs: of :class:`AuxiliaryLosses`, of which all need an encoder policy, and of SB3's SAC.
    """

    policy: Any  # SB3's, or one with an encoder
    action_space_class = spaces.Box

    def __init__(
        self,
        policy: str | type[SACPolicy],
        env: Any,
        learning_rate: float | Schedule = 3e-4,
        *,
        views: int = 1,
        target_views: int = 1,
        actor_period: int = 1,
        max_grad_norm: float | None = None,
        ent_coef_learning_rate: float | None = None,
        ent_coef_beta1: float = 0.9,
        **kwargs: Any,
    ):
        for name, count in (("actor_period", actor_period), ("views", views), ("target_views", target_views)):
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {count!r}")
        for name, value in (("max_grad_norm", max_grad_norm), ("ent_coef_learning_rate", ent_coef_learning_rate)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive or None, got {value!r}")
        if not 0 <= ent_coef_beta1 < 1:
            raise ValueError(f"ent_coef_beta1 must be in [0, 1), got {ent_coef_beta1!r}")
        self.views, self.target_views = views, target_views
        self.actor_period, self.max_grad_norm = actor_period, max_grad_norm
        self.ent_coef_learning_rate, self.ent_coef_beta1 = ent_coef_learning_rate, ent_coef_beta1
        super().__init__(policy, env, learning_rate, **kwargs)

    def _setup_model(self) -> None:
        if max(self.views, self.target_views) > 1 and self.augmentation is None:
            raise ValueError(
                f"views={self.views} and target_views={self.target_views} need an augmentation, such as random_shift"
            )
        super()._setup_model()
        self._encodes = isinstance(self.policy, EncoderSACPolicy)
        if not self._encodes and (self.augmentation is not None or self.encoder_tau is not None or self.compile):
            raise ValueError("augmentation, encoder_tau and compile need a policy with an encoder (EncoderSACPolicy)")
        if self.ent_coef_optimizer is not None:
            for group in self.ent_coef_optimizer.param_groups:
                group["betas"] = (self.ent_coef_beta1, group["betas"][1])
                if self.ent_coef_learning_rate is not None:
                    group["lr"] = self.ent_coef_learning_rate

    def encoded(self, data: ReplayBufferSamples) -> LatentBatch:
        batch = super().encoded(data)
        batch.critic_input = self.policy.critic_input
        if self._encodes and self.policy.parts_encoder:
            batch.encode, batch.head = partial(self.encoder_pass, "trunk"), partial(self.encoder_pass, "head")
        return batch

    def encoders(self) -> tuple[BaseFeaturesExtractor, BaseFeaturesExtractor]:
        if not isinstance(self.policy, EncoderSACPolicy):
            raise ValueError("encoder_optimizer='separate' needs a policy with an encoder (EncoderSACPolicy)")
        return self.policy.encoder, self.policy.encoder_target

    def statistics(self) -> dict[str, th.Tensor]:
        return super().statistics() if self._encodes else {}  # SB3's policies share no encoder

    def main_optimizers(self) -> list[th.optim.Optimizer]:
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is None or self.ent_coef_learning_rate is not None:
            return optimizers
        return [*optimizers, self.ent_coef_optimizer]

    def update(self, data: ReplayBufferSamples, number: int) -> dict[str, th.Tensor]:
        """Do one update, in the order of SB3: temperature, critic with auxiliary losses, actor, targets."""
        if self.use_sde:
            self.actor.reset_noise()
        losses: dict[str, th.Tensor] = {}
        batch: LatentBatch | None = None
        # What the networks take, view by view: embeddings, or with SB3's policies the observations themselves.
        if self._encodes:
            batch = self.encoded(data)
            policy = self.policy
            seen = [policy.critic_input(view.z) for view in batch.views(self.views)]
            z_actor = policy.actor_head(batch.features.detach())
            rewards = batch.rewards.unsqueeze(1)
        else:
            seen, z_actor, rewards = [data.observations], data.observations, data.rewards

        update_actor = number % self.actor_period == 0
        if update_actor:
            actions_pi, log_prob = self.actor.action_log_prob(z_actor)
            log_prob = log_prob.reshape(-1, 1)
        ent_coef: th.Tensor
        if self.ent_coef_optimizer is not None and self.log_ent_coef is not None:
            ent_coef = th.exp(self.log_ent_coef.detach())
            if update_actor:
                losses["ent_coef_loss"] = -(self.log_ent_coef * (log_prob + float(self.target_entropy)).detach()).mean()
                self.optimize(losses["ent_coef_loss"], [self.ent_coef_optimizer])
        else:
            ent_coef = self.ent_coef_tensor
        losses["ent_coef"] = ent_coef

        with th.no_grad():
            next_value = th.stack([self._value(*inputs, ent_coef) for inputs in self._next_inputs(data, batch)]).mean(0)
            target_q = rewards + (1 - data.dones) * self.discounts_of(data) * next_value
        errors = [F.mse_loss(q, target_q) for z in seen for q in self.critic(z, data.actions)]
        losses["critic_loss"] = 0.5 * th.stack(errors).sum()
        losses |= self.minimize(losses["critic_loss"], self.critic.optimizer, batch, self.max_grad_norm)

        if update_actor:
            z_critic = z_actor if batch is None else self.policy.critic_input(batch.z.detach()).detach()
            q_pi = th.cat(self.critic(z_critic, actions_pi), dim=1).amin(dim=1, keepdim=True)
            losses["actor_loss"] = (ent_coef * log_prob - q_pi).mean()
            self.optimize(losses["actor_loss"], [self.actor.optimizer], self.max_grad_norm)
        losses |= self.further_steps()
        if number % self.target_update_interval == 0:
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
            polyak_update(self.batch_norm_stats, self.batch_norm_stats_target, 1.0)
            if self._encodes:
                tau = self.tau if self.encoder_tau is None else self.encoder_tau
                soft_update(self.policy.encoder, self.policy.encoder_target, tau)
                soft_update(self.policy.critic_input, self.policy.critic_input_target, tau)
        return losses

    def further_steps(self) -> dict[str, th.Tensor]:
        """Take the steps of losses on other data than the batch, after the actor's and before targets move.

        Returns them by name: a method's place to add some.
        """
        return {}

    def _next_inputs(self, data: ReplayBufferSamples, batch: LatentBatch | None) -> list[tuple[Any, Any]]:
        """Return what actor and target critic take of the next observations, view by view."""
        if batch is None:
            return [(data.next_observations, data.next_observations)]
        policy = self.policy
        return [
            (policy.actor_head(view.next_features), policy.critic_input_target(view.next_target_z))
            for view in batch.views(self.target_views)
        ]

    def _value(self, z_actor: Any, z_critic: Any, ent_coef: th.Tensor) -> th.Tensor:
        """Return the soft value of states, ``float[B, 1]``, by the target critic and one action of each."""
        actions, log_prob = self.actor.action_log_prob(z_actor)
        q = th.cat(self.critic_target(z_critic, actions), dim=1).amin(dim=1, keepdim=True)
        return q - ent_coef * log_prob.reshape(-1, 1)
