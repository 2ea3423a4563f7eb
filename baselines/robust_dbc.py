"""Robust DBC (Kemertas and Aumentado-Armstrong 2021): bounded embeddings, inverse dynamics and an intrinsic reward.

Source: "Towards robust bisimulation metric learning". Distances of the metric are at most ``c_R (largest difference of
rewards) / (1 - c_T)``; those of unbounded embeddings can drift far beyond. Where rewards are sparse, all distances can
shrink to nothing: inverse dynamics keep embeddings separate, and the intrinsic reward, which is the error of
prediction, keeps rewards from being all alike.
"""

from __future__ import annotations

from typing import Literal

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import torch as th

from bisimgym.baselines.core.metric_learning import MetricSAC
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_batch,
    check_clamp,
    check_option,
    check_shape,
    full_precision,
    gaussian_w2,
    huber,
    l1_distance,
    l2_distance,
    pairs,
    safe_sqrt,
)
from bisimgym.baselines.losses.models import InverseModel
from bisimgym.baselines.losses.norms import cap_norm, norm_radius


@full_precision
def inverse_dynamics_loss(predicted: th.Tensor, action: th.Tensor) -> th.Tensor:
    """Return the mean absolute error of predicted actions, a scalar.

    Args:
        predicted: ``float[B, A]``, of an :class:`~bisimgym.baselines.losses.InverseModel`: gradients flow into it and
            into both embeddings.
        action: ``float[B, A]``, without gradient.
    """
    check_shape("action", action, tuple(predicted.shape))
    return (predicted - action.detach()).abs().mean()


@full_precision
def intrinsic_reward(next_mean: th.Tensor, next_z: th.Tensor, weight: float = 1.0, cap: float = 5.0) -> th.Tensor:
    """Return ``0.5 weight min(cap, mean_k (mean_k - z'_k)^2)``, ``float[B]`` without gradient.

    To be added to rewards when transitions are stored. It is at most half of the cap, as in the authors' code, whose
    runs on DeepMind Control have ``cap=0.1``.

    Args:
        next_mean: ``float[B, D]``, the predicted next embedding; ``next_z``: ``float[B, D]``, the embedding it had.

    Raises:
        ValueError: for other shapes, or a cap that is not positive.
    """
    if not cap > 0:
        raise ValueError(f"cap must be positive, got {cap}")
    if next_mean.ndim != 2:
        raise ValueError(f"next_mean must be float[B, D], got shape {tuple(next_mean.shape)}")
    check_shape("next_z", next_z, tuple(next_mean.shape))
    error = (next_mean - next_z).detach().square().mean(dim=-1)
    return weight * 0.5 * error.clamp(max=cap)


@full_precision
def robust_dbc_loss(
    z: th.Tensor,
    reward: th.Tensor,
    next_mean: th.Tensor,
    next_std: th.Tensor,
    permutation: th.Tensor | None,
    discount: float = 0.99,
    *,
    norm: Literal["huber", "study", "l1", "l1-original", "l2"] = "huber",
    reward_weight: float = 1.0,
    clamp: float | None = None,
) -> PairLoss:
    """Return robust DBC's metric loss, on embeddings and means that :func:`cap_norm` was applied to.

    ``mean ( dist(z_i, z_j) - c dist(r_i, r_j) - discount dist(P_i, P_j) )^2`` where ``dist`` is::

        huber   element by element, as is the square: H(z_ik - z_jk); H(r_i - r_j); H(mean_ik - mean_jk) + H(std ...)
        study   of the same, the means over coordinates, before the square ("DBC-normed" of Luo et al. 2025)
        l1      ||z_i - z_j||_1; |r_i - r_j|; ||mean_i - mean_j||_1 + ||std_i - std_j||_1
        l2      ||z_i - z_j||_2; |r_i - r_j|; W2(P_i, P_j)

    "l1-original" is "l1" with the released code's distance of the predictions, the square root of
    ``||mean_i - mean_j||_1^2 + ||std_i - std_j||_1^2``. "huber" is the released code's default and squares small
    distances; "l1" on a deterministic process learns the on-policy bisimulation metric exactly, as there
    "l1-original" does, and "l2" does where the metric is Euclidean.

    Args:
        z, reward, next_mean, next_std, permutation, discount, reward_weight, clamp: as in
            :func:`~bisimgym.baselines.dbc.dbc_loss`; gradients flow into both sides of ``z`` only.
        norm: see above.

    Raises:
        ValueError: for other shapes (the released code broadcasts rewards [B, 1] to B x B in its L1 and L2 modes), a
            discount out of range or an unknown norm.
    """
    check_option("norm", norm, ("huber", "study", "l1", "l1-original", "l2"))
    check_batch(z, permutation, discount, reward, next_mean=next_mean, next_std=next_std)
    z_i, z_j = pairs(z, permutation)
    r_i, r_j = pairs(reward.detach(), permutation)
    mean_i, mean_j = pairs(next_mean.detach(), permutation)
    std_i, std_j = pairs(next_std.detach(), permutation)

    if norm in ("l1", "l1-original"):
        distance = l1_distance(z_i, z_j)
        of_means, of_deviations = l1_distance(mean_i, mean_j), l1_distance(std_i, std_j)
        next_distance = (
            of_means + of_deviations if norm == "l1" else safe_sqrt(of_means.square() + of_deviations.square())
        )
        reward_difference = (r_i - r_j).abs()
    elif norm == "l2":
        distance = l2_distance(z_i, z_j)
        next_distance = gaussian_w2(mean_i, std_i, mean_j, std_j)
        reward_difference = (r_i - r_j).abs()
    else:
        distance = huber(z_i - z_j)
        next_distance = huber(mean_i - mean_j) + huber(std_i - std_j)
        reward_difference = huber(r_i - r_j)
        if norm == "study":
            distance, next_distance = distance.mean(dim=-1), next_distance.mean(dim=-1)
        else:
            reward_difference = reward_difference.unsqueeze(-1)
    if clamp is not None:
        check_clamp(clamp)
        next_distance = next_distance.clamp(max=clamp)
    target = reward_weight * reward_difference + discount * next_distance
    loss = (distance - target).square().mean()
    if norm == "huber":
        distance, target = distance.mean(dim=-1), target.mean(dim=-1)
    return PairLoss.of(loss, distance, target)


class RobustDBC(MetricLoss):
    """:func:`robust_dbc_loss` on an agent's batch, with inverse dynamics and an intrinsic reward.

    The encoder must bound its embeddings to the same norm (norm="cap").

    Args:
        norm: how embeddings are compared, see :func:`robust_dbc_loss`.
        inverse_weight: weight of the loss of inverse dynamics.
        bonus_weight, bonus_cap: of the intrinsic reward. It is computed when a transition is sampled, with the model
            as it is then; the published code computes it once, when the transition is stored.
        max_reward: largest difference of two rewards, by which the bound of the norm grows.
    """

    model_kind = "gaussian"
    trains_next = True

    def __init__(
        self,
        norm: Literal["huber", "study", "l1", "l1-original", "l2"] = "huber",
        inverse_weight: float = 0.05,
        bonus_weight: float = 1.0,
        bonus_cap: float = 0.1,
        max_reward: float = 1.0,
    ):
        super().__init__()
        check_option("norm", norm, ("huber", "study", "l1", "l1-original", "l2"))
        self.max_reward = max_reward
        self.norm, self.inverse_weight = norm, inverse_weight
        self.bonus_weight, self.bonus_cap = bonus_weight, bonus_cap

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.radius = norm_radius(discount, self.max_reward)
        self.inverse = InverseModel(latent_dim, action_dim)

    def forward(self, batch, permutation, model, generator):
        mean, std = batch.predicted(model)
        loss = robust_dbc_loss(
            batch.z, batch.rewards, cap_norm(mean, self.radius), std, permutation, self.discount, norm=self.norm
        )
        action = self.inverse(batch.z, batch.trained_next_z)
        inverse_loss = self.inverse_weight * inverse_dynamics_loss(action, batch.actions)
        return loss, {"inverse_loss": inverse_loss}

    def bonus(self, batch, model):
        if self.bonus_weight == 0:
            return None
        mean = cap_norm(batch.predicted(model).mean, self.radius)
        return intrinsic_reward(mean, batch.next_z, self.bonus_weight, self.bonus_cap)

    def distance(self, x, y):
        if self.norm in ("l1", "l1-original", "l2"):
            return l2_distance(x, y) if self.norm == "l2" else l1_distance(x, y)
        return huber(x - y).mean(dim=-1)


class RobustDBCSAC(MetricSAC):
    """SAC with Robust DBC. Embeddings are bounded to the norm that distances can have at most."""

    defaults = {
        "metric": RobustDBC,
        "metric_weight": 0.5,
        "norm": "cap",
        "self_prediction": 1.0,
        "reward_prediction": 1.0,
        "encoder_optimizer": "separate",
    }
