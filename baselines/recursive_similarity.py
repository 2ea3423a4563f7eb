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
    gaussian_w1,
    l1_distance,
    pairs,
)
from bisimgym.baselines.losses.models import InverseModel, TransitionModel, check_sizes


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
    next_target_std: th.Tensor | None = None,
) -> PairLoss:
    """Return the loss of recursive state similarity.

    ``mean rho( ||z_i - z_j||_1 - c C_ij - discount reduce_a ||y_ai - y_aj||_1 )`` with ``C_ij = ||b_i - b_j||_1``, the
    distance of base embeddings. No reward enters.

    What is learned: ``c`` times the recursive similarity of the base distance, on a deterministic process. With
    ``next_target_std`` next embeddings are Gaussians, and their 1-Wasserstein distance under the L1 distance takes the
    place of ``||y_ai - y_aj||_1``: the paper leaves stochastic transitions to future work.

    Source: the interaction-based representations paper, equations 2 and 3. The paper prints ``c = 1`` and a squared
    rho; the authors' code has ``c = 1 - discount``, which keeps distances in the range of C, and a Huber function:
    these are the defaults.

    Args:
        z: ``float[B, D]`` embeddings. Gradients flow into both sides of a pair, and nowhere else.
        base_z: ``float[B, K]``, b, trained by :func:`interaction_loss`.
        next_target_z: ``float[A, B, D]``, y, the next embedding under every action, predicted from the target encoder's
            embedding (:meth:`~bisimgym.baselines.losses.TransitionModel.each_action`). Of infinitely many actions, A
            that were drawn.
        permutation: ``int64[B]``, or None for all B x B ordered pairs, as the source: see
            :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1].
        base_weight: c; None for ``1 - discount``.
        reduction: over actions.
        outer: rho.
        next_target_std: ``float[A, B, D]``, or None for point masses.

    Raises:
        ValueError: for other shapes, a discount out of range or an unknown option.
    """
    check_option("reduction", reduction, ("mean", "max"))
    check_batch(z, permutation, discount)
    check_shape("base_z", base_z, (len(z), base_z.shape[-1]))
    check_shape("next_target_z", next_target_z, (*next_target_z.shape[:1], *z.shape))
    distance = l1_distance(*pairs(z, permutation))
    base = l1_distance(*pairs(base_z.detach(), permutation))
    mean, other_mean = pairs(next_target_z.detach(), permutation, dim=1)
    if next_target_std is None:
        next_distance = l1_distance(mean, other_mean)
    else:
        check_shape("next_target_std", next_target_std, tuple(next_target_z.shape))
        std, other_std = pairs(next_target_std.detach(), permutation, dim=1)
        next_distance = gaussian_w1(mean, std, other_mean, other_std)
    next_distance = next_distance.mean(dim=0) if reduction == "mean" else next_distance.amax(dim=0)
    target = (1 - discount if base_weight is None else base_weight) * base + discount * next_distance
    return PairLoss.of(deviation(distance - target, outer), distance, target)


@full_precision
def interaction_loss(
    predicted_action: th.Tensor,
    action: th.Tensor,
    predicted_next: th.Tensor,
    next_z: th.Tensor,
    inverse_weight: float = 0.2,
) -> th.Tensor:
    """Return the loss of interaction-based embeddings, a scalar.

    ``inverse_weight CE(action) + (1 - inverse_weight) MSE(next embedding)``: which action led from here to there, and
    where an action leads. What no action changes and what changes no action's effect is left out.

    Source: the interaction-based representations paper, equation 4, with its 0.2 and 0.8, for finitely many actions.
    For actions of numbers the cross-entropy gives way to a mean squared error.

    Args:
        predicted_action: ``float[B, A]``, logits or actions, predicted from the embeddings before and after.
        action: ``int64[B]``, or ``float[B, A]`` where actions are numbers.
        predicted_next: ``float[B, K]``, predicted from embedding and action.
        next_z: ``float[B, K]``. Unlike in other losses gradients flow into it, as into the predictions: the inverse
            model keeps embeddings from meeting in a point.
        inverse_weight: in [0, 1].

    Raises:
        ValueError: for other shapes or a weight out of range.
    """
    if not 0 <= inverse_weight <= 1:
        raise ValueError(f"inverse_weight must be in [0, 1], got {inverse_weight}")
    if predicted_action.ndim != 2:
        raise ValueError(f"predicted_action must be float[B, A], got shape {tuple(predicted_action.shape)}")
    rows = len(predicted_action)
    finite = not action.is_floating_point()
    if finite and (action.dtype != th.int64 or action.shape != (rows,)):
        raise ValueError(f"action must be int64[{rows}], got {action.dtype} of shape {tuple(action.shape)}")
    if not finite:
        check_shape("action", action, tuple(predicted_action.shape))
    check_shape("predicted_next", predicted_next, (rows, *predicted_next.shape[1:]))
    check_shape("next_z", next_z, tuple(predicted_next.shape))
    inverse = (F.cross_entropy if finite else F.mse_loss)(predicted_action, action)
    return inverse_weight * inverse + (1 - inverse_weight) * F.mse_loss(predicted_next, next_z)


class RecursiveSimilarity(MetricLoss):
    """:func:`recursive_similarity_loss` on a batch.

    A second encoder learns to tell actions from what they do; its distances are the base of the recursion. The paper
    has finitely many actions and deterministic transitions; the rest here is what it leaves to future work.

    Args:
        reduction: over actions, "mean" or "max".
        inverse_weight: of the inverse against the forward loss of the second encoder.
        base_weight: of the base distance; ``None`` is 1 - discount (the published code), 1 is the paper's.
        outer: "huber" (the published code) or "square" (the paper).
        transition: "deterministic", or "gaussian" for next embeddings with a standard deviation.
        sampled_actions: where actions are numbers, how many of a batch's are tried on every state.
        interaction_rate: learning rate of the interaction's networks in offline learning, as a multiple of the
            encoder's; 10 in the paper.
    """

    def __init__(
        self,
        reduction: Literal["mean", "max"] = "mean",
        inverse_weight: float = 0.2,
        base_weight: float | None = None,
        outer: Literal["huber", "square"] = "huber",
        transition: Literal["deterministic", "gaussian"] = "deterministic",
        sampled_actions: int = 8,
        interaction_rate: float = 1.0,
    ):
        super().__init__()
        check_option("reduction", reduction, ("mean", "max"))
        check_option("outer", outer, ("huber", "square"))
        check_option("transition", transition, ("deterministic", "gaussian"))
        check_sizes(sampled_actions=sampled_actions)
        if not interaction_rate > 0:
            raise ValueError(f"interaction_rate must be positive, got {interaction_rate!r}")
        self.reduction, self.inverse_weight = reduction, inverse_weight
        self.base_weight, self.outer = base_weight, outer
        self.transition, self.sampled_actions = transition, sampled_actions
        self.interaction_rate = interaction_rate

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.base_encoder = make_encoder()
        self.inverse = InverseModel(latent_dim, action_dim, hidden=(256,), activation=nn.ReLU)
        self.forward_model, self.next_model = (
            TransitionModel(latent_dim, action_dim, kind=kind, hidden=256, layer_norm=False)
            for kind in ("deterministic", self.transition)
        )

    def forward(self, batch, permutation, model, generator):
        own = {}
        if batch.in_tandem:  # the base has just been trained: its distances are those after that
            with th.no_grad():
                base = self.base_encoder(batch.observations)
        else:
            base, own = self._interaction(batch)
        with th.no_grad():
            mean, std = self._next(batch, generator)
        loss = recursive_similarity_loss(
            batch.z,
            base,
            mean,
            None,
            self.discount,
            base_weight=self.base_weight,
            reduction=self.reduction,
            outer=self.outer,
            next_target_std=std,
        )
        return loss, own

    def _next(self, batch, generator):
        """Return mean and standard deviation (or None) of next embeddings under each action, ``float[A, B, D]``."""
        if self.finite and self.transition == "deterministic":
            return self.next_model.each_action(batch.target_z), None
        if self.finite:
            actions = th.eye(batch.actions.shape[1], device=batch.actions.device)
        else:
            rows = th.randint(len(batch.actions), (self.sampled_actions,), generator=generator, device=generator.device)
            actions = batch.actions[rows.to(batch.actions.device)]
        mean, std = self.next_model.under(batch.target_z, actions)
        return mean, None if self.transition == "deterministic" else std

    def own_losses(self, batch):
        return self._interaction(batch)[1]

    def _interaction(self, batch):
        """Return the base embeddings and the losses of all networks beside the encoder."""
        base, next_base = self.base_encoder(batch.observations), self.base_encoder(batch.next_observations)
        interaction = interaction_loss(
            self.inverse(base, next_base),
            batch.actions.argmax(dim=1) if self.finite else batch.actions,
            self.forward_model.expected(base, batch.actions),
            next_base,
            self.inverse_weight,
        )
        if self.transition == "deterministic":
            predicted = self.next_model.expected(batch.target_z, batch.actions)
            next_loss = F.mse_loss(predicted, batch.next_target_z)
        else:
            members = self.next_model.members(batch.target_z, batch.actions)
            next_loss = self.next_model.negative_log_likelihood(members, batch.next_target_z)
        return base, {"interaction_loss": interaction, "next_model_loss": next_loss}

    def rate_factors(self):
        if self.interaction_rate == 1:
            return {}
        return dict.fromkeys((self.base_encoder, self.inverse, self.forward_model), self.interaction_rate)

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
