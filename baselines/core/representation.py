"""What shapes an embedding beside the critic: a metric loss, self-prediction and reward prediction, in any combination.

A :class:`~bisimgym.baselines.core.metric_losses.Metric` is one behavioural metric's loss with what it needs to learn.
:class:`Representation` puts one together with the predictions that a study found to matter as much (Luo et al. 2025),
so that {metric} x {self-prediction} x {reward prediction} x {norm of the embedding} is a grid of switches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch as th
from gymnasium import spaces
from torch import nn

from bisimgym.baselines.core.actions import action_dim
from bisimgym.baselines.core.latents import LatentBatch
from bisimgym.baselines.core.metric_losses import Metric, ModelKind, ModelOnBatch
from bisimgym.baselines.core.random_stream import RandomStream
from bisimgym.baselines.losses.distances import PairLoss
from bisimgym.baselines.losses.models import RewardModel, TransitionModel
from bisimgym.baselines.losses.self_prediction import reward_prediction_loss


class Representation(nn.Module):
    """A metric's loss and predictions, with their models.

    The transition model learns from embeddings with gradients if ``self_prediction`` is on, and from detached ones if
    only the metric asks for it.

    Args:
        latent_dim: numbers in an embedding.
        action_space: ``Box`` or ``Discrete``.
        discount: of the algorithm.
        make_encoder: returns a fresh encoder like the one that is trained.
        metric: its loss, or ``None``.
        metric_weight: of the metric's loss.
        self_prediction: weight of predicting the next embedding; 0 is off.
        reward_prediction: weight of predicting the reward; 0 is off.
        reward_from: whether the reward is predicted from a sample of the predicted "next" embedding (DBC and its
            family) or from "embedding" and action (DeepMDP).
        model_kind: of the transition model: "gaussian", "deterministic" or "ensemble". ``None``: what the metric asks
            for, or else "gaussian".
        seed: of pairs and samples.
    """

    def __init__(
        self,
        latent_dim: int,
        action_space: spaces.Space,
        discount: float,
        make_encoder: Callable[[], nn.Module],
        metric: Metric | None = None,
        metric_weight: float = 0.5,
        self_prediction: float = 0.0,
        reward_prediction: float = 0.0,
        reward_from: Literal["next", "embedding"] = "next",
        model_kind: ModelKind | None = None,
        seed: int = 0,
    ):
        super().__init__()
        for name, weight in (
            ("metric_weight", metric_weight),
            ("self_prediction", self_prediction),
            ("reward_prediction", reward_prediction),
        ):
            if not weight >= 0:
                raise ValueError(f"{name} must be a weight of at least 0, got {weight!r}")
        if reward_from not in ("next", "embedding"):
            raise ValueError(f"reward_from must be 'next' or 'embedding', got {reward_from!r}")
        self.metric = metric
        self.metric_weight = metric_weight
        self.self_prediction, self.reward_prediction = self_prediction, reward_prediction
        self.reward_from = reward_from
        num_actions = action_dim(action_space)
        if metric is not None:
            if metric.finite_actions and not isinstance(action_space, spaces.Discrete):
                raise ValueError(f"{type(metric).__name__} is for finite action spaces, got {action_space}")
            metric.build(latent_dim, num_actions, discount, make_encoder)
        required = None if metric is None else metric.model_kind
        if None not in (required, model_kind) and required != model_kind:
            raise ValueError(f"model_kind must be {required!r} with {type(metric).__name__}, got {model_kind!r}")
        kind = required or model_kind or "gaussian"
        self._model_dim = latent_dim if metric is None else metric.model_dim(latent_dim)
        predicts_from_next = reward_prediction > 0 and reward_from == "next"
        self.transition: TransitionModel | None = None
        if required is not None or self_prediction > 0 or predicts_from_next:
            self.transition = TransitionModel(self._model_dim, num_actions, kind=kind)
        self.reward: RewardModel | None = None
        if reward_prediction > 0:
            inputs = (self._model_dim,) if reward_from == "next" else (latent_dim, num_actions)
            self.reward = RewardModel(*inputs)
        self._on_batch: ModelOnBatch | None = None
        self.random = RandomStream(seed)

    def forward(self, batch: LatentBatch, actions: th.Tensor) -> dict[str, th.Tensor]:
        """Return the weighted losses of a batch, by name.

        Args:
            batch: with its embeddings.
            actions: ``float[B, A]``, one-hot for finite action spaces.
        """
        generator = self.random.on(batch.z.device)
        model = self._model_on(batch, actions)
        losses: dict[str, th.Tensor] = {}
        #: The last metric loss, for statistics.
        self.last: PairLoss | None = None
        if self.metric is not None and self.metric_weight > 0:
            other = th.randperm(len(batch.z), generator=generator, device=batch.z.device)
            pairs = self.metric.pair_loss(batch, actions, other, model, generator)
            if not isinstance(pairs, PairLoss):
                raise TypeError(
                    f"pair_loss of {type(self.metric).__name__} must return pair_loss(loss, distance, target) of "
                    f"bisimgym.baselines.losses.distances, got {type(pairs).__name__}"
                )
            losses["metric_loss"] = self.metric_weight * pairs.loss
            self.last = pairs._replace(loss=pairs.loss.detach())  # without the graph, which cannot be copied
            losses |= self.metric.own_losses(batch, actions)
        if model is not None:
            likelihood = self.transition.negative_log_likelihood_of(model.predicted, self._modelled(batch.next_z))
            losses["transition_loss"] = (self.self_prediction or 1.0) * likelihood
        if self.reward is not None:
            if self.reward_from == "next":
                if self.self_prediction > 0:
                    following = self.transition.sample_from(model.predicted, generator)
                else:  # the reward's loss trains the encoder, which those predictions leave alone
                    following = self.transition.sample(self._modelled(batch.z), actions, generator)
                predicted = self.reward(following)
            else:
                predicted = self.reward(batch.z, actions)
            losses["reward_loss"] = self.reward_prediction * reward_prediction_loss(predicted, batch.rewards)
        self._on_batch = None
        return losses

    def bonus(self, batch: LatentBatch, actions: th.Tensor) -> th.Tensor | None:
        """Return ``float[B]`` to add to the rewards, or ``None``.

        What it computes of the batch serves :meth:`forward`, if that comes before the next step of an optimiser.
        """
        if self.metric is None or self.metric_weight == 0:
            return None
        return self.metric.bonus(batch, actions, self._model_on(batch, actions))

    def _model_on(self, batch: LatentBatch, actions: th.Tensor) -> ModelOnBatch | None:
        """Return the transition model on a batch, the same whenever the batch is."""
        if self.metric is not None and self.metric.trains_next and self.metric_weight > 0:
            batch.next_z = batch.trained_next_z.detach()
        if self.transition is None:
            return None
        z = self._modelled(batch.z if self.self_prediction > 0 else batch.z.detach())
        if self._on_batch is None or not self._on_batch.is_of(z, actions):
            self._on_batch = ModelOnBatch(self.transition, z, actions)
        return self._on_batch

    def _modelled(self, z: th.Tensor) -> th.Tensor:
        """Return the part of embeddings that the transition model predicts: the last numbers."""
        return z[:, z.shape[1] - self._model_dim :]
