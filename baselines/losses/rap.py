"""Reducing the approximation gap (RAP): MICo's recursion on expected next states, with rewards' variance taken out."""

from __future__ import annotations

from typing import Literal

import torch as th

from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_batch,
    check_shape,
    deviation,
    full_precision,
    pair_loss,
    pairs,
    rap_distance,
    safe_sqrt,
)


@full_precision
def rap_loss(
    z: th.Tensor,
    reward: th.Tensor,
    reward_std: th.Tensor,
    next_mean: th.Tensor,
    other: th.Tensor | None,
    discount: float = 0.99,
    *,
    beta: float = 1e-5,
    outer: Literal["huber", "square"] = "huber",
) -> PairLoss:
    """Return the RAP loss.

    ``mean rho( (d(z_i, z_j) - discount D_ij)^2 - ((r_i - r_j)^2 - std_i^2 - std_j^2) )`` with d of
    :func:`~bisimgym.baselines.losses.rap_distance` and ``D_ij = d(mean_i, mean_j)``. Squared differences of sampled
    rewards exceed those of their means by both variances, which are subtracted; the difference may be negative and is
    not clipped.

    What is learned: the RAP distance, as far as d can express it. With the published ``beta`` 1e-5, d is a sum
    ``||z_i||^2 + ||z_j||^2`` of a number per state, whatever the metric. The equation has two solutions for each pair,
    ``discount D_ij`` plus or minus the difference of rewards, with a hill between them: near the metric embeddings
    return to it, from random ones they often settle elsewhere. Squaring a sampled ``D_ij`` adds its variance where the
    policy's actions lead to different places.

    Source: Chen and Pan (2022), "Learning representations via a robust behavioral metric for deep reinforcement
    learning", equation 5.15 of Chen's thesis with its ``D_ij`` (the released code falls through to another distance of
    the predictions) and ``beta``; the Huber function is the released code's, the square the thesis's: targets are of
    fourth order in the embeddings.

    Args:
        z: ``float[B, D]`` embeddings. Gradients flow into both sides of a pair, and nowhere else.
        reward: ``float[B]``; ``reward_std``: ``float[B]``, the standard deviation over the policy's actions, as a
            :class:`~bisimgym.baselines.losses.GaussianRewardModel` predicts it.
        next_mean: ``float[B, D]``, the mean next embedding predicted from the target encoder's embedding and the
            action taken.
        other: ``int64[B]``, the pairs: see :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1].
        beta: weight of the angle, k in the source.
        outer: rho.

    Returns:
        The ``target`` for logs is the larger solution, ``discount D_ij + sqrt(max(0, reward term))``.

    Raises:
        ValueError: for other shapes, a discount out of range or an unknown ``outer``.
    """
    check_batch(z, other, discount)
    check_shape("reward", reward, z.shape[:1])
    check_shape("reward_std", reward_std, z.shape[:1])
    check_shape("next_mean", next_mean, tuple(z.shape))
    z_i, z_j = pairs(z, other)
    r_i, r_j = pairs(reward.detach(), other)
    variance_i, variance_j = pairs(reward_std.detach().square(), other)
    next_i, next_j = pairs(next_mean.detach(), other)
    distance = rap_distance(z_i, z_j, beta)
    following = discount * rap_distance(next_i, next_j, beta)
    apart = (r_i - r_j).square() - variance_i - variance_j
    loss = deviation((distance - following).square() - apart, outer)
    return pair_loss(loss, distance, following + safe_sqrt(apart))
