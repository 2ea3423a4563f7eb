"""AMBS: two meta-learners predict how far rewards and dynamics are apart, and the critic learns how to balance them."""

from __future__ import annotations

from typing import Literal

import torch as th

from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_discount,
    check_shape,
    full_precision,
    gaussian_w2,
    pair_loss,
)
from bisimgym.baselines.losses.models import PairModel


def two_view_distances(model: PairModel, view: th.Tensor, second_view: th.Tensor, other: th.Tensor) -> th.Tensor:
    """Return the learned distances of a batch's pairs in two views, ``float[2, B]``.

    The second view's pairs have their order swapped, for symmetry (equation 4.8 of the thesis; 4.10 prints them
    unswapped, the released code mixes views).

    Args:
        model: the meta-learner.
        view, second_view: ``float[B, D]``, embeddings of the same observations in two augmentations.
        other: ``int64[B]``: row i is compared with row ``other[i]``.
    """
    return th.stack([model(view, view[other]), model(second_view[other], second_view)])


@full_precision
def ambs_loss(
    reward_distance: th.Tensor,
    transition_distance: th.Tensor,
    balance: th.Tensor,
    reward: th.Tensor,
    next_mean: th.Tensor,
    next_std: th.Tensor,
    other: th.Tensor,
    discount: float = 1.0,
    *,
    reduction: Literal["norm", "rms", "mean"] = "norm",
) -> PairLoss:
    """Return the AMBS loss: over views the sum, over pairs the mean, of

    ``(1 - c) (f_r - |r_i - r_j|)^2 + c (f_d - discount W2(P_i, P_j))^2``.

    What is learned: f_r is the distance of rewards and f_d that of predicted dynamics, the metric of equation 4.5 being
    ``(1 - c) f_r + c f_d``. The scale of f_d is that of the embeddings: the loss fixes none, and is content with
    dynamics embeddings that coincide. It is the critic's loss that keeps them apart.

    Source: Chen and Pan (2022), "Learning generalizable representations for reinforcement learning via adaptive
    meta-learner of behavioral similarities"; equations 4.7, 4.8 and 4.10 of Chen's thesis: weights outside the square
    (the released code has them inside), the absolute difference of rewards (there a Huber function), W2 of vectors
    (there a mean over coordinates), no discount (there 0.99).

    Args:
        reward_distance: ``float[V, B]``, f_r of each pair in each view (:func:`two_view_distances`);
            ``transition_distance``: ``float[V, B]``, f_d. Gradients flow into these, so into the meta-learners and the
            embeddings of both sides, and nowhere else.
        balance: ``float[2]``, the weights ``(1 - c, c)``, as of :class:`~bisimgym.baselines.losses.Balance`.
        reward: ``float[B]``.
        next_mean, next_std: ``float[B, D]``, of the next dynamics embeddings, predicted from the first view; all views
            have the same targets.
        other: ``int64[B]``, as in :func:`two_view_distances`.
        discount: in [0, 1], multiplies W2.
        reduction: of W2, see :func:`~bisimgym.baselines.losses.gaussian_w2`.

    Returns:
        The ``distance`` and ``target`` for logs are those of equation 4.5, ``float[V * B]``.

    Raises:
        ValueError: for other shapes or a discount out of range.
    """
    if reward_distance.ndim != 2:
        raise ValueError(f"reward_distance must be float[views, B], got shape {tuple(reward_distance.shape)}")
    check_discount(discount)
    views, rows = reward_distance.shape
    check_shape("transition_distance", transition_distance, (views, rows))
    check_shape("balance", balance, (2,))
    check_shape("reward", reward, (rows,))
    check_shape("next_mean", next_mean, (rows, *next_mean.shape[1:]))
    check_shape("next_std", next_std, tuple(next_mean.shape))
    if other.dtype != th.int64 or other.shape != (rows,):
        raise ValueError(f"other must be int64[{rows}], got {other.dtype} of shape {tuple(other.shape)}")
    mean, std, reward, (of_reward, of_dynamics) = (x.detach() for x in (next_mean, next_std, reward, balance))
    apart = (reward - reward[other]).abs()
    following = discount * gaussian_w2(mean, std, mean[other], std[other], reduction)
    reward_error, transition_error = reward_distance - apart, transition_distance - following
    loss = of_reward * reward_error.square() + of_dynamics * transition_error.square()
    distance = of_reward * reward_distance + of_dynamics * transition_distance
    target = (of_reward * apart + of_dynamics * following).expand(views, rows)
    return pair_loss(loss.mean(dim=1).sum(), distance, target)
