"""What shapes an embedding beside the critic: a metric loss, self-prediction and reward prediction, in any combination.

A :class:`~bisimgym.baselines.core.metric_loss.MetricLoss` is put together with the predictions that a study found to
matter as much (Luo et al. 2025), so that {metric} x {self-prediction} x {reward prediction} x {norm of the embedding}
is a grid of switches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, cast

import torch as th
from gymnasium import spaces
from torch import nn

from bisimgym.baselines.core.actions import action_dim
from bisimgym.baselines.core.latents import LatentBatch, modeled
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.core.random_stream import RandomStream
from bisimgym.baselines.losses.distances import PairLoss
from bisimgym.baselines.losses.models import MODEL_KINDS, RewardModel, TransitionModel
from bisimgym.baselines.losses.predictions import reward_prediction_loss
from bisimgym.envs.checks import choice


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
        metric: MetricLoss | None = None,
        metric_weight: float = 0.5,
        self_prediction: float = 0.0,
        reward_prediction: float = 0.0,
        reward_from: str = "next",
        model_kind: str | None = None,
        seed: int = 0,
    ):
        super().__init__()
        for name, weight in (
            ("metric_weight", metric_weight),
            ("self_prediction", self_prediction),
            ("reward_prediction", reward_prediction),
        ):
            if not isinstance(weight, Real) or not 0 <= float(weight) < math.inf:
                raise ValueError(f"{name} must be a finite weight of at least 0, got {weight!r}")
        if model_kind is not None:
            choice("model_kind", model_kind, MODEL_KINDS)
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
            metric.finite = isinstance(action_space, spaces.Discrete)
            metric.build(latent_dim, num_actions, discount, make_encoder)
        required = None if metric is None else metric.model_kind
        if None not in (required, model_kind) and required != model_kind:
            raise ValueError(f"model_kind must be {required!r} with {type(metric).__name__}, got {model_kind!r}")
        kind: Any = required or model_kind or "gaussian"
        model_dim = latent_dim if metric is None else metric.model_dim(latent_dim)
        predicts_from_next = reward_prediction > 0 and reward_from == "next"
        self.transition: TransitionModel | None = None
        if required is not None or self_prediction > 0 or predicts_from_next:
            trains = self_prediction > 0
            self.transition = TransitionModel(model_dim, num_actions, kind=kind, trains_encoder=trains)
        self.reward: RewardModel | None = None
        if reward_prediction > 0:
            inputs = (model_dim,) if reward_from == "next" else (latent_dim, num_actions)
            self.reward = RewardModel(*inputs)
        self.random = RandomStream(seed)
        #: The last metric loss, for statistics.
        self.last: PairLoss | None = None

    @property
    def shaping(self) -> MetricLoss | None:
        """The metric's loss, if it has a weight."""
        return self.metric if self.metric_weight > 0 else None

    @property
    def trains_next(self) -> bool:
        """Whether a loss trains the encoder on next observations."""
        return self.shaping is not None and self.shaping.trains_next

    def forward(self, batch: LatentBatch) -> dict[str, th.Tensor]:
        """Return the weighted losses of a batch, by name."""
        generator = self.random.on(batch.z.device)
        model = self.transition
        members = None if model is None else batch.members(model)
        losses: dict[str, th.Tensor] = {}
        self.last = None
        if self.shaping is not None:
            permutation = th.randperm(len(batch.z), generator=generator, device=batch.z.device)
            returned = self.shaping(batch, permutation, model, generator)
            kinds = PairLoss | th.Tensor
            if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], kinds)):
                raise TypeError(
                    f"forward of {type(self.shaping).__name__} must return a PairLoss of "
                    "bisimgym.baselines.losses.distances (or a tensor, where no pairs are compared) and a dictionary "
                    f"of the losses of its own networks, which may be empty; got {type(returned).__name__}"
                )
            found, own_losses = returned
            if isinstance(found, PairLoss):  # without its graph, which has no copies
                self.last = PairLoss.of(found.loss.detach(), found.distance, found.target)
            losses["metric_loss"] = self.metric_weight * (found.loss if isinstance(found, PairLoss) else found)
            losses |= own_losses
        if model is not None and members is not None:
            likelihood = model.negative_log_likelihood(members, modeled(batch.next_z, model))
            losses["transition_loss"] = (self.self_prediction or 1.0) * likelihood
        if self.reward is not None:
            if self.reward_from == "embedding" or model is None or members is None:
                predicted = self.reward(batch.z, batch.actions)
            elif model.trains_encoder:
                predicted = self.reward(model.sample_from(members, generator))
            else:  # the reward's loss trains the encoder, which those predictions leave alone
                predicted = self.reward(model.sample(modeled(batch.z, model), batch.actions, generator))
            losses["reward_loss"] = self.reward_prediction * reward_prediction_loss(predicted, batch.rewards)
        return losses

    def bonus(self, batch: LatentBatch) -> th.Tensor | None:
        """Return ``float[B]`` to add to the rewards, or ``None``."""
        return None if self.shaping is None else self.shaping.bonus(batch, cast(TransitionModel, self.transition))
