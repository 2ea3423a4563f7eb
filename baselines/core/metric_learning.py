"""DQN and SAC whose encoder is shaped by a metric, by self-prediction and by reward prediction, in any combination."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import ReplayBufferSamples, Schedule
from torch import nn

from bisimgym.baselines.core.actions import action_features
from bisimgym.baselines.core.dqn import (
    AuxiliaryDQN,
    EncoderDQNCnnPolicy,
    EncoderDQNMultiInputPolicy,
    EncoderDQNPolicy,
)
from bisimgym.baselines.core.frame_replay import DictFrameReplayBuffer, FrameReplayBuffer
from bisimgym.baselines.core.latents import LatentBatch, effective_rank, embeddings_of
from bisimgym.baselines.core.metric_losses import (
    AMBS,
    DBC,
    RAP,
    Metric,
    MICo,
    RecursiveSimilarity,
    RobustDBC,
    SimSR,
)
from bisimgym.baselines.core.representation import Representation
from bisimgym.baselines.core.sac import (
    AuxiliarySAC,
    EncoderCnnPolicy,
    EncoderMultiInputPolicy,
    EncoderSACPolicy,
)
from bisimgym.baselines.losses import norm_radius

#: Metrics by name. Add yours, or override :meth:`MetricLearning.make_metric`.
METRICS: dict[str, type[Metric]] = {
    "mico": MICo,
    "dbc": DBC,
    "robust-dbc": RobustDBC,
    "rap": RAP,
    "ambs": AMBS,
    "simsr": SimSR,
    "recursive-similarity": RecursiveSimilarity,
}


def named_metric(name: str, settings: Mapping[str, Any]) -> Metric:
    """Return a metric of :data:`METRICS`.

    Raises:
        ValueError: for an unknown name, or settings that its class does not take.
    """
    if not isinstance(name, str) or name not in METRICS:
        raise ValueError(f"metric must be None or one of {list(METRICS)}, got {name!r}; for your own see make_metric()")
    known = list(inspect.signature(METRICS[name]).parameters)
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise ValueError(f"metric_settings of {name!r} are {known}, got {unknown}")
    for key, hint in get_type_hints(METRICS[name].__init__).items():
        if key in settings and get_origin(hint) is Literal and settings[key] not in get_args(hint):
            raise ValueError(f"metric_settings[{key!r}] must be one of {list(get_args(hint))}, got {settings[key]!r}")
    return METRICS[name](**settings)


def encoder_settings(norm: str, features_dim: int, discount: float, metric: Metric | None) -> dict[str, Any]:
    """Return arguments of an encoder; "cap" is the bound of Robust DBC's metric, for other metrics at rewards of 1."""
    settings: dict[str, Any] = {"norm": norm, "features_dim": features_dim}
    if norm == "cap":
        settings["cap_radius"] = norm_radius(discount, getattr(metric, "max_reward", 1.0))
    return settings


def check_extractor(extractor: type[nn.Module] | None, norm: str) -> None:
    """Raise ``ValueError`` if a feature extractor does not take what :func:`encoder_settings` has for it."""
    if extractor is None:
        return
    needed = ["features_dim", "norm"] + (["cap_radius"] if norm == "cap" else [])
    parameters = inspect.signature(extractor).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    missing = [name for name in needed if name not in parameters]
    if missing and not takes_all:
        raise ValueError(
            f"features_extractor_class must take {' and '.join(needed)}, got {extractor.__name__} without {missing}: "
            "see those of bisimgym.baselines.core.extractors"
        )


class MetricLearning:
    """To inherit from before a parent: adds a :class:`~bisimgym.baselines.core.representation.Representation`.

    Replays of pictures store each picture once unless ``replay_buffer_class`` says otherwise.

    Args:
        norm: of the embedding, "layer", "l2", "cap" or "none".
        features_dim: numbers in the embedding.
        metric: a name in :data:`METRICS`, or ``None``.
        metric_settings: arguments of the metric's class.
        metric_weight: of its loss.
        self_prediction: weight of predicting the next embedding; 0 is off.
        reward_prediction: weight of predicting the reward; 0 is off.
        reward_from: "next" or "embedding", see the representation.
        model_kind: of the transition model, see the representation.
        model_weight_decay: of the models' optimiser.
        **kwargs: of the parent.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule,
        *,
        norm: str = "layer",
        features_dim: int = 50,
        metric: str | None = None,
        metric_settings: Mapping[str, Any] | None = None,
        metric_weight: float = 0.5,
        self_prediction: float = 0.0,
        reward_prediction: float = 0.0,
        reward_from: str = "next",
        model_kind: str | None = None,
        model_weight_decay: float = 1e-7,
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
        if metric is not None:
            named_metric(metric, metric_settings or {})  # mistakes are told before anything is built
        self.metric, self.metric_settings = metric, dict(metric_settings or {})
        self.representation_settings = {
            "metric_weight": metric_weight,
            "self_prediction": self_prediction,
            "reward_prediction": reward_prediction,
            "reward_from": reward_from,
            "model_kind": model_kind,
        }
        self.model_weight_decay = model_weight_decay
        self.norm, self.features_dim = norm, features_dim
        check_extractor((policy_kwargs or {}).get("features_extractor_class"), norm)
        super().__init__(policy, env, learning_rate, policy_kwargs=policy_kwargs, **kwargs)

    def make_metric(self) -> Metric | None:
        """Return the metric's loss: the place for one of your own."""
        return None if self.metric is None else named_metric(self.metric, self.metric_settings)

    def _setup_model(self) -> None:
        if self.replay_buffer_class is None and self.n_steps == 1:
            self.replay_buffer_class = _replay_for(self.observation_space)
        # What the policy is told beside what the user says is not stored with the latter: files load as SB3's do.
        given = self.policy_kwargs
        metric, predictions = self.make_metric(), ("self_prediction", "reward_prediction")
        settings = encoder_settings(self.norm, self.features_dim, self.gamma, metric)
        settings |= given.get("features_extractor_kwargs", {})
        self.policy_kwargs = {**given, "features_extractor_kwargs": settings}
        super()._setup_model()
        self.policy_kwargs = given
        self._last_z: th.Tensor | None = None
        if self.n_steps > 1 and (metric is not None or any(self.representation_settings[name] for name in predictions)):
            raise ValueError(
                f"n_steps must be 1 with a metric or predictions, got {self.n_steps}: they compare rewards and next "
                "states of single steps"
            )
        self.representation = Representation(
            self.encoders()[0].features_dim,
            self.action_space,
            self.gamma,
            self.policy.make_features_extractor,
            metric=metric,
            seed=0 if self.seed is None else int(self.seed),
            **self.representation_settings,
        ).to(self.device)
        if isinstance(metric, AMBS) and not getattr(self.policy, "balanced", False):
            raise ValueError(
                "AMBS learns the balance of an embedding's halves from SAC's critic: use AMBSSAC, or SAC with "
                "policy_kwargs={'balanced': True}"
            )
        parameters = list(self.representation.parameters())
        self.representation_optimizer: th.optim.Optimizer | None = None
        if parameters:
            self.representation_optimizer = th.optim.Adam(
                parameters, lr=self.lr_schedule(1), weight_decay=self.model_weight_decay, fused=True
            )

    def auxiliary_optimizers(self) -> list[th.optim.Optimizer]:
        return [] if self.representation_optimizer is None else [self.representation_optimizer]

    def encoded(self, data: ReplayBufferSamples) -> LatentBatch:
        batch = super().encoded(data)
        if getattr(self.policy, "balanced", False):
            batch.balance = self.policy.balance.weights()
        bonus = self.representation.bonus(batch, action_features(self.action_space, batch.actions))
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
        losses = self.representation(batch, action_features(self.action_space, batch.actions))
        if self.looks:
            self._last_z = batch.z.detach()
        return losses

    def statistics(self) -> dict[str, th.Tensor]:
        found, z = super().statistics(), self._last_z
        if z is None:  # a subclass that leaves these losses out
            return found
        pairs = self.representation.last
        found |= {
            "embedding_norm": z.norm(dim=1).mean(),
            "effective_rank": effective_rank(z),
        }
        if pairs is not None:
            found |= {
                "distance_mean": pairs.distance.mean(),
                "distance_std": pairs.distance.std(correction=0),
                "target_mean": pairs.target.mean(),
            }
        return found

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


def _replay_for(space: spaces.Space) -> type[ReplayBuffer] | None:
    """Return a replay that stores each picture once, or ``None`` (SB3's own) where there are no pictures."""
    if isinstance(space, spaces.Dict):
        return DictFrameReplayBuffer if any(is_image_space(part) for part in space.values()) else None
    return FrameReplayBuffer if is_image_space(space) else None


class MetricSAC(MetricLearning, AuxiliarySAC):
    """SAC with a shaped encoder; with no metric and no predictions, SAC with an encoder that the critic trains.

    Defaults are those of Luo et al. (2025) for states, which follow SAC-AE: learning rate 1e-3, batches of 128, target
    rates 0.01 and 0.05, initial temperature 0.1. Actor and targets move at every update, as they do in that study.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or an :class:`EncoderSACPolicy`.
        env: the environment.
        **kwargs: of :class:`MetricLearning` and :class:`AuxiliarySAC`.
    """

    policy_aliases = {
        "MlpPolicy": EncoderSACPolicy,
        "CnnPolicy": EncoderCnnPolicy,
        "MultiInputPolicy": EncoderMultiInputPolicy,
    }

    def __init__(
        self,
        policy: str | type[EncoderSACPolicy],
        env: Any,
        learning_rate: float | Schedule = 1e-3,
        *,
        batch_size: int = 128,
        learning_starts: int = 1000,
        tau: float = 0.01,
        encoder_tau: float | None = 0.05,
        ent_coef: str | float = "auto_0.1",
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            batch_size=batch_size,
            learning_starts=learning_starts,
            tau=tau,
            encoder_tau=encoder_tau,
            ent_coef=ent_coef,
            **kwargs,
        )


class MetricDQN(MetricLearning, AuxiliaryDQN):
    """DQN with a shaped encoder; with no metric and no predictions, DQN.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or an :class:`EncoderDQNPolicy`.
        env: the environment.
        **kwargs: of :class:`MetricLearning` and :class:`AuxiliaryDQN`.
    """

    policy_aliases = {
        "MlpPolicy": EncoderDQNPolicy,
        "CnnPolicy": EncoderDQNCnnPolicy,
        "MultiInputPolicy": EncoderDQNMultiInputPolicy,
    }

    def __init__(
        self,
        policy: str | type[EncoderDQNPolicy],
        env: Any,
        learning_rate: float | Schedule = 1e-4,
        **kwargs: Any,
    ):
        super().__init__(policy, env, learning_rate, **kwargs)
