"""Deep bisimulation for control: L1 distances of embeddings learn the on-policy bisimulation metric."""

from __future__ import annotations

from typing import Literal

import torch as th

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
    pair_loss,
    pairs,
    safe_sqrt,
)


@full_precision
def dbc_loss(
    z: th.Tensor,
    reward: th.Tensor,
    next_mean: th.Tensor,
    next_std: th.Tensor,
    other: th.Tensor | None,
    discount: float = 0.99,
    *,
    form: Literal["paper", "original", "study"] = "paper",
    reward_weight: float = 1.0,
    clamp: float | None = None,
) -> PairLoss:
    """Return the DBC loss.

    With the Gaussians P predicted for the next embeddings of i and j and H of :func:`huber`, the forms are::

        paper       mean ( ||z_i - z_j||_1 - c |r_i - r_j| - discount W2(P_i, P_j) )^2
        original    mean over coordinates k too ( H(z_ik - z_jk) - c H(r_i - r_j) - discount w_k )^2
        study       mean ( mean_k H(z_ik - z_jk) - c H(r_i - r_j) - discount mean_k w_k )^2

    where ``w_k`` is the W2 of coordinate k. "original" is the released code, "study" that of Luo et al. (2025): neither
    regresses a distance on what the paper prints.

    What is learned: on a deterministic process ``|r_i - r_j| + discount d(next)``, the on-policy bisimulation metric,
    where the Euclidean distance of the targets is the L1 distance of the embeddings (differences along one coordinate),
    and less elsewhere, at least ``1/sqrt(D)`` of the next distances. On a stochastic process W2 of the predicted
    Gaussians stands for the Wasserstein-1 distance.

    Source: Zhang, McAllister, Calandra, Gal and Levine (2021), "Learning invariant representations for reinforcement
    learning without reconstruction", equation 4.

    Args:
        z: ``float[B, D]`` embeddings. Gradients flow into both sides of a pair, and nowhere else.
        reward: ``float[B]``.
        next_mean, next_std: ``float[B, D]``, of the next embeddings, predicted under the actions taken.
        other: ``int64[B]``, the pairs: see :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1], the weight of the next distances.
        form: see above.
        reward_weight: c.
        clamp: largest next distance, such as ``c * largest reward / (1 - discount)``, which no exact distance exceeds
            (as the study does); None does not clamp.

    Raises:
        ValueError: for other shapes, a discount out of range or an unknown form.
    """
    check_option("form", form, ("paper", "original", "study"))
    check_batch(z, other, discount)
    check_shape("reward", reward, z.shape[:1])
    check_shape("next_mean", next_mean, tuple(z.shape))
    check_shape("next_std", next_std, tuple(z.shape))
    z_i, z_j = pairs(z, other)
    r_i, r_j = pairs(reward.detach(), other)
    mean_i, mean_j = pairs(next_mean.detach(), other)
    std_i, std_j = pairs(next_std.detach(), other)

    if form == "original":
        distance = huber(z_i - z_j)
        following = safe_sqrt((mean_i - mean_j).square() + (std_i - std_j).square())
        apart = huber(r_i - r_j).unsqueeze(-1)
    elif form == "study":
        distance = huber(z_i - z_j).mean(dim=-1)
        following = gaussian_w2(mean_i, std_i, mean_j, std_j, reduction="mean")
        apart = huber(r_i - r_j)
    else:
        distance = l1_distance(z_i, z_j)
        following = gaussian_w2(mean_i, std_i, mean_j, std_j)
        apart = (r_i - r_j).abs()
    if clamp is not None:
        check_clamp(clamp)
        following = following.clamp(max=clamp)
    target = reward_weight * apart + discount * following
    loss = (distance - target).square().mean()
    if form == "original":
        distance, target = distance.mean(dim=-1), target.mean(dim=-1)
    return pair_loss(loss, distance, target)
