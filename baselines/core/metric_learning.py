"""DQN and SAC whose encoder is shaped by a metric, by self-prediction and by reward prediction, in any combination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import ReplayBufferSamples, Schedule
from torch import nn

from bisimgym.baselines.core.auxiliary import AuxiliaryLosses
from bisimgym.baselines.core.dqn import (
    AuxiliaryDQN,
    EncoderDQNCnnPolicy,
    EncoderDQNMultiInputPolicy,
    EncoderDQNPolicy,
)
from bisimgym.baselines.core.frame_replay import PLACED_REPLAYS, DictFrameReplayBuffer, FrameReplayBuffer
from bisimgym.baselines.core.latents import LatentBatch, effective_rank, embeddings_of
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.core.pixel_policy import PixelSACPolicy
from bisimgym.baselines.core.placement import check_place
from bisimgym.baselines.core.representation import Representation
from bisimgym.baselines.core.sac import (
    AuxiliarySAC,
    EncoderCnnPolicy,
    EncoderMultiInputPolicy,
    EncoderSACPolicy,
)
from bisimgym.baselines.core.settings import (
    DQNSettings,
    MetricChoice,
    SACSettings,
    check_extractor,
    completed,
    declared_signature,
    encoder_settings,
    make_metric,
)


class MetricLearning(AuxiliaryLosses):
    """Mixin that adds a :class:`~bisimgym.baselines.core.representation.Representation`; list it before the parent.

    A method is a subclass with ``defaults``: keyword arguments and their values, which ``help()`` shows. Replays of
    images store each image once unless ``replay_buffer_class`` says otherwise.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a policy with an encoder.
        env: the environment.
        learning_rate: of all networks.
        norm: of the embedding, "layer", "l2", "cap" or "none".
        features_dim: numbers in the embedding; ``None`` is what the convolutions of an encoder of images give.
        metric: a name of :data:`~bisimgym.baselines.learners.METRIC_LOSSES`, a
            :class:`~bisimgym.baselines.core.metric_loss.MetricLoss` (class or object), or ``None``.
        metric_settings: arguments of the metric's class.
        metric_weight: weight of the metric's loss.
        self_prediction: weight of predicting the next embedding; 0 is off.
        reward_prediction: weight of predicting the reward; 0 is off.
        reward_from: "next" or "embedding", see the representation.
        model_kind: of the transition model, see the representation.
        model_weight_decay: of the models' optimizer.
        replay_device: where the replay lives: "cpu" (the host's memory), "device" (all of it on the learner's device,
            where batches are then drawn), or "auto": on a device other than the host, if at most half of its free
            memory is needed. Replays of other classes and of n-step returns are the host's.
        **kwargs: those of the parent.
    """

    #: Keyword arguments whose defaults differ from the parent's; entries of dictionaries are merged with the user's.
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = declared_signature(cls)  # type: ignore[attr-defined]  # what help() and inspect read

    @classmethod
    def complete(cls, learning_rate: float | Schedule | None, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return keyword arguments for the constructor: the class's defaults, and over them the user's settings.

        Raises:
            TypeError: for an argument that the class does not have.
        """
        rate = {} if learning_rate is None else {"learning_rate": learning_rate}
        return completed(cls, {**settings, **rate})

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule,
        *,
        norm: str = "layer",
        features_dim: int | None = 50,
        metric: MetricChoice = None,
        metric_settings: Mapping[str, Any] | None = None,
        metric_weight: float = 0.5,
        self_prediction: float = 0.0,
        reward_prediction: float = 0.0,
        reward_from: str = "next",
        model_kind: str | None = None,
        model_weight_decay: float = 1e-7,
        replay_device: str = "auto",
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        base = self.policy_aliases["MlpPolicy"]
        loading = not kwargs.get("_init_setup_model", True)
        if not loading and isinstance(policy, type) and not issubclass(policy, base):
            raise ValueError(
                f"policy must be one of {list(self.policy_aliases)} or a subclass of {base.__name__}, whose encoder "
                f"losses can shape; got {policy.__module__}.{policy.__name__}"
            )
        make_metric(metric, metric_settings)  # reports mistakes before anything is built
        self.metric, self.metric_settings = metric, dict(metric_settings or {})
        self.representation_settings: dict[str, Any] = {
            "metric_weight": metric_weight,
            "self_prediction": self_prediction,
            "reward_prediction": reward_prediction,
            "reward_from": reward_from,
            "model_kind": model_kind,
        }
        self.model_weight_decay = model_weight_decay
        self.norm, self.features_dim = norm, features_dim
        check_place("replay_device", replay_device)
        self.replay_device = replay_device
        check_extractor((policy_kwargs or {}).get("features_extractor_class"), norm)
        super().__init__(policy, env, learning_rate, policy_kwargs=policy_kwargs, **kwargs)

    def _setup_model(self) -> None:
        beside_host = self.replay_device == "device" or (self.replay_device == "auto" and self.device.type != "cpu")
        if self.replay_buffer_class is None and self.n_steps == 1:
            self.replay_buffer_class = _replay_for(self.observation_space, beside_host)
        asked_of_replay = self.replay_buffer_kwargs
        if issubclass(self.replay_buffer_class or ReplayBuffer, PLACED_REPLAYS):
            self.replay_buffer_kwargs = {"storage_device": self.replay_device, **asked_of_replay}
        elif self.replay_device == "device":
            raise ValueError(
                f'replay_device="device" is for replays that store each observation once, got '
                f"{getattr(self.replay_buffer_class, '__name__', 'n-step returns')}: leave out replay_buffer_class and "
                "n_steps, or replay_device"
            )
        metric, predictions = make_metric(self.metric, self.metric_settings), ("self_prediction", "reward_prediction")
        if self.n_steps > 1 and (metric is not None or any(self.representation_settings[name] for name in predictions)):
            raise ValueError(
                f"n_steps must be 1 with a metric or predictions, got {self.n_steps}: they compare rewards and next "
                "states of single steps"
            )
        # What the policy gets beside what the user asked for is not stored with the latter: files load as SB3's do.
        asked = self.policy_kwargs
        extractor = encoder_settings(self.norm, self.features_dim, self.gamma, metric)
        extractor |= asked.get("features_extractor_kwargs", {})
        self.policy_kwargs = {**asked, "features_extractor_kwargs": extractor, **self.critic_input_settings(metric)}
        super()._setup_model()
        self.policy_kwargs, self.replay_buffer_kwargs = asked, asked_of_replay
        self._last_z: th.Tensor | None = None
        self.representation = Representation(
            self.encoders()[0].features_dim,
            self.action_space,
            self.gamma,
            self.policy.make_features_extractor,
            metric=metric,
            seed=0 if self.seed is None else int(self.seed),
            **self.representation_settings,
        ).to(self.device)
        parameters = list(self.representation.parameters())
        self.representation_optimizer: th.optim.Optimizer | None = None
        if parameters:
            self.representation_optimizer = th.optim.Adam(
                parameters, lr=self.lr_schedule(1), weight_decay=self.model_weight_decay, fused=True
            )

    def critic_input_settings(self, metric: MetricLoss | None) -> dict[str, Any]:
        """Return the policy's arguments for what a metric puts before the critic.

        Raises:
            ValueError: if there is no such critic.
        """
        if metric is None or metric.critic_input is nn.Identity:
            return {}
        raise ValueError(f"{type(metric).__name__} needs an actor and a critic that share an encoder: use SAC")

    def auxiliary_optimizers(self) -> list[th.optim.Optimizer]:
        return [] if self.representation_optimizer is None else [self.representation_optimizer]

    def encoded(self, data: ReplayBufferSamples) -> LatentBatch:
        batch = super().encoded(data)
        # With two optimizers no loss but the auxiliary ones, on a batch of their own, trains it.
        batch.trains_next = self.representation.trains_next and self.own_encoder_optimizer is None
        bonus = self.representation.bonus(batch)
        if bonus is not None:
            batch.rewards = batch.rewards + bonus
        return batch

    def auxiliary_losses(self, batch: LatentBatch) -> dict[str, th.Tensor]:
        built_with = getattr(self.representation.metric, "discount", self.gamma)
        if built_with != self.gamma:
            raise ValueError(
                f"gamma was set to {self.gamma} after the metric had been built with {built_with}: metrics keep their "
                "discount; give gamma at construction or to load()"
            )
        batch.trains_next = self.representation.trains_next
        losses = self.representation(batch)
        if self.record_statistics:
            self._last_z = batch.z.detach()
        return losses

    def statistics(self) -> dict[str, th.Tensor]:
        recorded, z = super().statistics(), self._last_z
        if z is None:  # a subclass that leaves these losses out
            return recorded
        recorded |= {"embedding_norm": z.norm(dim=1).mean(), "effective_rank": effective_rank(z)}
        pairs = self.representation.last
        if pairs is not None:
            recorded |= {
                "distance_mean": pairs.distance.mean(),
                "distance_std": pairs.distance.std(correction=0),
                "target_mean": pairs.target.mean(),
            }
        return recorded

    def embed(self, observation: Any) -> np.ndarray:
        """Return the embeddings of a batch of observations, ``float32[B, features_dim]``.

        Args:
            observation: as the environment gives them, with a leading batch axis.
        """
        return embeddings_of(self.policy, self.encoders()[0], observation)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "representation", "representation_optimizer", "_last_z"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        state_dicts = [*state_dicts, "representation"]
        if self.representation_optimizer is not None:
            state_dicts.append("representation_optimizer")
        return state_dicts, variables


def _replay_for(space: spaces.Space, beside_host: bool) -> type[ReplayBuffer] | None:
    """Return a replay that stores each observation once, or ``None`` (SB3's own) for states in the host's memory."""
    if isinstance(space, spaces.Dict):
        once = beside_host or any(is_image_space(part) for part in space.values())
        return DictFrameReplayBuffer if once else None
    return FrameReplayBuffer if beside_host or is_image_space(space) else None


class MetricSAC(MetricLearning, AuxiliarySAC):
    """SAC with a shaped encoder; with no metric and no predictions, SAC with an encoder that the critic trains.

    Defaults are those of Luo et al. (2025) for states, which follow SAC-AE. Actor and targets move at every update, as
    they do in that study.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy", "PixelPolicy" (:class:`PixelSACPolicy`) or an
            :class:`EncoderSACPolicy`.
        env: the environment.
        learning_rate: of all networks; ``None`` is the default of the class.
        **settings: of :class:`MetricLearning`, :class:`AuxiliarySAC` and SB3's SAC; ``help()`` lists them.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for a value out of range.
    """

    policy_aliases = {
        "MlpPolicy": EncoderSACPolicy,
        "CnnPolicy": EncoderCnnPolicy,
        "MultiInputPolicy": EncoderMultiInputPolicy,
        "PixelPolicy": PixelSACPolicy,
    }
    defaults = {
        "learning_rate": 1e-3,
        "batch_size": 128,
        "learning_starts": 1000,
        "tau": 0.01,
        "encoder_tau": 0.05,
        "ent_coef": "auto_0.1",
    }

    def __init__(
        self,
        policy: str | type[EncoderSACPolicy],
        env: Any,
        learning_rate: float | Schedule | None = None,
        **settings: Unpack[SACSettings],
    ):
        super().__init__(policy, env, **self.complete(learning_rate, settings))

    def critic_input_settings(self, metric: MetricLoss | None) -> dict[str, Any]:
        return {} if metric is None else {"critic_input": metric.critic_input}


class MetricDQN(MetricLearning, AuxiliaryDQN):
    """DQN with a shaped encoder; with no metric and no predictions, DQN.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or an :class:`EncoderDQNPolicy`.
        env: the environment.
        learning_rate: of all networks; ``None`` is the default of the class.
        **settings: of :class:`MetricLearning`, :class:`AuxiliaryDQN` and SB3's DQN; ``help()`` lists them.

    Raises:
        TypeError: for an argument that there is not.
        ValueError: for a value out of range.
    """

    policy_aliases = {
        "MlpPolicy": EncoderDQNPolicy,
        "CnnPolicy": EncoderDQNCnnPolicy,
        "MultiInputPolicy": EncoderDQNMultiInputPolicy,
    }
    defaults = {"learning_rate": 1e-4}

    def __init__(
        self,
        policy: str | type[EncoderDQNPolicy],
        env: Any,
        learning_rate: float | Schedule | None = None,
        **settings: Unpack[DQNSettings],
    ):
        super().__init__(policy, env, **self.complete(learning_rate, settings))
