"""Recursive state similarity (RSS): a base distance of interaction-based embeddings, carried back through actions."""

from __future__ import annotations

from typing import Literal

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import torch as th
from torch import nn
from torch.nn import functional as F

from bisimgym.baselines.core.metric_learning import MetricDQN
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_batch,
    check_option,
    check_shape,
    deviation,
    full_precision,
    l1_distance,
    pairs,
)
from bisimgym.baselines.losses.models import InverseModel, TransitionModel


@full_precision
def recursive_similarity_loss(
    z: th.Tensor,
    base_z: th.Tensor,
    next_target_z: th.Tensor,
    permutation: th.Tensor | None = None,
    discount: float = 0.99,
    *,
    base_weight: float | None = None,
    reduction: Literal["mean", "max"] = "mean",
    outer: Literal["huber", "square"] = "huber",
) -> PairLoss:
    """Return the loss of recursive state similarity.

    ``mean rho( ||z_i - z_j||_1 - c C_ij - discount reduce_a ||y_ai - y_aj||_1 )`` with ``C_ij = ||b_i - b_j||_1``, the
    distance of base embeddings. No reward enters.

    What is learned: ``c`` times the recursive similarity of the base distance, on a deterministic process.

    Source: the interaction-based representations paper, equations 2 and 3. The paper prints ``c = 1`` and a squared
    rho; the authors' code has ``c = 1 - discount``, which keeps distances in the range of C, and a Huber function:
    these are the defaults.

    Args:
        z: ``float[B, D]`` embeddings. Gradients flow into both sides of a pair, and nowhere else.
        base_z: ``float[B, K]``, b, trained by :func:`interaction_loss`.
        next_target_z: ``float[A, B, D]``, y, the next embedding under every action, predicted from the target encoder's
            embedding (:meth:`~bisimgym.baselines.losses.TransitionModel.each_action`).
        permutation: ``int64[B]``, or None for all B x B ordered pairs, as the source: see
            :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1].
        base_weight: c; None for ``1 - discount``.
        reduction: over actions.
        outer: rho.

    Raises:
        ValueError: for other shapes, a discount out of range or an unknown option.
    """
    check_option("reduction", reduction, ("mean", "max"))
    check_batch(z, permutation, discount)
    check_shape("base_z", base_z, (len(z), base_z.shape[-1]))
    check_shape("next_target_z", next_target_z, (*next_target_z.shape[:1], *z.shape))
    distance = l1_distance(*pairs(z, permutation))
    base = l1_distance(*pairs(base_z.detach(), permutation))
    next_distance = l1_distance(*pairs(next_target_z.detach(), permutation, dim=1))
    next_distance = next_distance.mean(dim=0) if reduction == "mean" else next_distance.amax(dim=0)
    target = (1 - discount if base_weight is None else base_weight) * base + discount * next_distance
    return PairLoss.of(deviation(distance - target, outer), distance, target)


@full_precision
def interaction_loss(
    action_logits: th.Tensor,
    action: th.Tensor,
    predicted_next: th.Tensor,
    next_z: th.Tensor,
    inverse_weight: float = 0.2,
) -> th.Tensor:
    """Return the loss of interaction-based embeddings, a scalar.

    ``inverse_weight CE(action) + (1 - inverse_weight) MSE(next embedding)``: which action led from here to there, and
    where an action leads. What no action changes and what changes no action's effect is left out.

    Source: the interaction-based representations paper, equation 4, with its 0.2 and 0.8.

    Args:
        action_logits: ``float[B, A]``, predicted from the embeddings before and after.
        action: ``int64[B]``.
        predicted_next: ``float[B, K]``, predicted from embedding and action.
        next_z: ``float[B, K]``. Unlike in other losses gradients flow into it, as into the predictions: the inverse
            model keeps embeddings from meeting in a point.
        inverse_weight: in [0, 1].

    Raises:
        ValueError: for other shapes or a weight out of range.
    """
    if not 0 <= inverse_weight <= 1:
        raise ValueError(f"inverse_weight must be in [0, 1], got {inverse_weight}")
    if action_logits.ndim != 2:
        raise ValueError(f"action_logits must be float[B, A], got shape {tuple(action_logits.shape)}")
    rows = len(action_logits)
    if action.dtype != th.int64 or action.shape != (rows,):
        raise ValueError(f"action must be int64[{rows}], got {action.dtype} of shape {tuple(action.shape)}")
    check_shape("predicted_next", predicted_next, (rows, *predicted_next.shape[1:]))
    check_shape("next_z", next_z, tuple(predicted_next.shape))
    inverse = F.cross_entropy(action_logits, action)
    return inverse_weight * inverse + (1 - inverse_weight) * F.mse_loss(predicted_next, next_z)


class RecursiveSimilarity(MetricLoss):
    """:func:`recursive_similarity_loss` on an agent's batch, for finite action spaces.

    A second encoder learns to tell actions from what they do; its distances are the base of the recursion.

    Args:
        reduction: over actions, "mean" or "max".
        inverse_weight: of the inverse against the forward loss of the second encoder.
        base_weight: of the base distance; ``None`` is 1 - discount (the published code), 1 is the paper's.
        outer: "huber" (the published code) or "square" (the paper).
    """

    finite_actions = True

    def __init__(
        self,
        reduction: Literal["mean", "max"] = "mean",
        inverse_weight: float = 0.2,
        base_weight: float | None = None,
        outer: Literal["huber", "square"] = "huber",
    ):
        super().__init__()
        check_option("reduction", reduction, ("mean", "max"))
        check_option("outer", outer, ("huber", "square"))
        self.reduction, self.inverse_weight = reduction, inverse_weight
        self.base_weight, self.outer = base_weight, outer

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.base_encoder = make_encoder()
        self.inverse = InverseModel(latent_dim, action_dim, hidden=(256,), activation=nn.ReLU)
        self.forward_model, self.next_model = (
            TransitionModel(latent_dim, action_dim, kind="deterministic", hidden=256, layer_norm=False)
            for _ in range(2)
        )

    def forward(self, batch, permutation, model, generator):
        base = self.base_encoder(batch.observations)
        with th.no_grad():
            next_z = self.next_model.each_action(batch.target_z)
        loss = recursive_similarity_loss(
            batch.z,
            base,
            next_z,
            None,
            self.discount,
            base_weight=self.base_weight,
            reduction=self.reduction,
            outer=self.outer,
        )
        next_base = self.base_encoder(batch.next_observations)
        predicted = self.next_model.expected(batch.target_z, batch.actions)
        interaction = interaction_loss(
            self.inverse(base, next_base),
            batch.actions.argmax(dim=1),
            self.forward_model.expected(base, batch.actions),
            next_base,
            self.inverse_weight,
        )
        return loss, {
            "interaction_loss": interaction,
            "next_model_loss": F.mse_loss(predicted, batch.next_target_z),
        }

    def distance(self, x, y):
        return l1_distance(x, y)


class RSSDQN(MetricDQN):
    """DQN with recursive state similarity, for finite action spaces."""

    defaults = {
        "metric": RecursiveSimilarity,
        "metric_weight": 1.0,
        "norm": "none",
        "features_dim": 128,
        "encoder_optimizer": "separate",
    }
