"""What robust DBC adds to DBC: embeddings of bounded norm, inverse dynamics, and an intrinsic reward.

Source: Kemertas and Aumentado-Armstrong (2021), "Towards robust bisimulation metric learning". Distances of the
metric are at most ``c_R (largest difference of rewards) / (1 - c_T)``; those of unbounded embeddings can drift far
beyond. Where rewards are sparse, all distances can shrink to nothing: inverse dynamics keep embeddings apart, and the
intrinsic reward, which is the error of prediction, keeps rewards from being all alike.
"""

from __future__ import annotations

from typing import Literal

import torch as th

from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_batch,
    check_clamp,
    check_discount,
    check_option,
    check_shape,
    full_precision,
    gaussian_w2,
    huber,
    l1_distance,
    l2_distance,
    pair_loss,
    pairs,
)


def norm_radius(discount: float, reward_weight: float = 1.0) -> float:
    """Return ``0.5 reward_weight / (1 - discount)``, half the largest distance, for rewards in [0, 1].

    Two embeddings within this radius are no farther apart than two states can be.

    Raises:
        ValueError: if ``discount`` is not in [0, 1).
    """
    check_discount(discount)
    if discount == 1:
        raise ValueError("discount must be below 1: without discount distances are not bounded")
    return 0.5 * reward_weight / (1 - discount)


@full_precision
def cap_norm(z: th.Tensor, radius: float, order: Literal[1, 2] = 2) -> th.Tensor:
    """Return ``z / max(1, ||z|| / radius)``, embeddings scaled into a ball; those inside stay.

    It is meant for embeddings and for predicted means alike.

    Args:
        z: ``float[..., D]``; gradients flow through the scale too.
        radius: > 0, see :func:`norm_radius`.
        order: of the norm: 2 (Kemertas and Aumentado-Armstrong 2021) or 1 (Luo et al. 2025).

    Raises:
        ValueError: for a radius that is not positive, or another norm.
    """
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")
    norm = th.linalg.vector_norm(z, ord=order, dim=-1, keepdim=True)
    return z * (radius / norm.clamp_min(radius))


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
    """Return ``weight min(cap, 0.5 mean_k (mean_k - z'_k)^2)``, ``float[B]`` without gradient.

    To be added to rewards when transitions are stored. The authors' runs on DeepMind Control have ``cap=0.1``.

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
    return weight * (0.5 * error).clamp(max=cap)


@full_precision
def robust_dbc_loss(
    z: th.Tensor,
    reward: th.Tensor,
    next_mean: th.Tensor,
    next_std: th.Tensor,
    other: th.Tensor | None,
    discount: float = 0.99,
    *,
    norm: Literal["huber", "study", "l1", "l2"] = "huber",
    reward_weight: float = 1.0,
    clamp: float | None = None,
) -> PairLoss:
    """Return robust DBC's metric loss, on embeddings and means that :func:`cap_norm` was applied to.

    ``mean ( dist(z_i, z_j) - c dist(r_i, r_j) - discount dist(P_i, P_j) )^2`` where ``dist`` is::

        huber   element by element, as is the square: H(z_ik - z_jk); H(r_i - r_j); H(mean_ik - mean_jk) + H(std ...)
        study   of the same, the means over coordinates, before the square ("DBC-normed" of Luo et al. 2025)
        l1      ||z_i - z_j||_1; |r_i - r_j|; ||mean_i - mean_j||_1 + ||std_i - std_j||_1
        l2      ||z_i - z_j||_2; |r_i - r_j|; W2(P_i, P_j)

    "huber" is the released code's default and squares small distances; "l1" on a deterministic process learns the
    on-policy bisimulation metric exactly, and "l2" does where the metric is Euclidean.

    Args:
        z, reward, next_mean, next_std, other, discount, reward_weight, clamp: as in
            :func:`~bisimgym.baselines.losses.dbc_loss`; gradients flow into both sides of ``z`` only.
        norm: see above.

    Raises:
        ValueError: for other shapes (the released code broadcasts rewards [B, 1] to B x B in its L1 and L2 modes), a
            discount out of range or an unknown norm.
    """
    check_option("norm", norm, ("huber", "study", "l1", "l2"))
    check_batch(z, other, discount)
    check_shape("reward", reward, z.shape[:1])
    check_shape("next_mean", next_mean, tuple(z.shape))
    check_shape("next_std", next_std, tuple(z.shape))
    z_i, z_j = pairs(z, other)
    r_i, r_j = pairs(reward.detach(), other)
    mean_i, mean_j = pairs(next_mean.detach(), other)
    std_i, std_j = pairs(next_std.detach(), other)

    if norm == "l1":
        distance = l1_distance(z_i, z_j)
        following = l1_distance(mean_i, mean_j) + l1_distance(std_i, std_j)
        apart = (r_i - r_j).abs()
    elif norm == "l2":
        distance = l2_distance(z_i, z_j)
        following = gaussian_w2(mean_i, std_i, mean_j, std_j)
        apart = (r_i - r_j).abs()
    else:
        distance = huber(z_i - z_j)
        following = huber(mean_i - mean_j) + huber(std_i - std_j)
        apart = huber(r_i - r_j)
        if norm == "study":
            distance, following = distance.mean(dim=-1), following.mean(dim=-1)
        else:
            apart = apart.unsqueeze(-1)
    if clamp is not None:
        check_clamp(clamp)
        following = following.clamp(max=clamp)
    target = reward_weight * apart + discount * following
    loss = (distance - target).square().mean()
    if norm == "huber":
        distance, target = distance.mean(dim=-1), target.mean(dim=-1)
    return pair_loss(loss, distance, target)
