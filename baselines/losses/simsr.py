"""Simple distance-based state representation (SimSR): the cosine distance of embeddings."""

from __future__ import annotations

import torch as th

from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_batch,
    check_shape,
    cosine_distance,
    full_precision,
    huber,
    pair_loss,
    pairs,
)


@full_precision
def simsr_loss(
    z: th.Tensor,
    reward: th.Tensor,
    next_sample: th.Tensor,
    other: th.Tensor | None = None,
    discount: float = 0.99,
    *,
    reward_weight: float = 1.0,
) -> PairLoss:
    """Return the SimSR loss, ``mean H( d(z_i, z_j) - c |r_i - r_j| - discount d(y_i, y_j) )`` with ``d = 1 - cos``.

    What is learned: distances that follow MICo's recursion (on a deterministic process, on-policy bisimulation's),
    scaled by c, if they fit: ``d`` is at most 2, while the recursion reaches ``c (reward difference) / (1 -
    discount)``. With ``c = 1 - discount`` and rewards in [0, 1] it fits, and on a deterministic process embeddings of
    enough dimensions express it exactly; with the published ``c = 1`` distances are squeezed below 2 and only keep
    something of their order. From a state to itself ``d`` is 0.

    Source: Zang, Li and Wang (2022), "SimSR: Simple distance-based state representation for deep reinforcement
    learning". The authors' code does not normalise samples; here the cosine is that of the directions. All pairs are
    the authors'; Luo et al. (2025) take one permutation.

    Args:
        z: ``float[B, D]`` embeddings, of any length. Gradients flow into both sides of a pair, and nowhere else.
        reward: ``float[B]``.
        next_sample: ``float[B, D]``: y, a draw of the predicted next embedding (by a member of an ensemble that sees
            the target encoder's embedding), or the target encoder's of the observed next state.
        other: ``int64[B]``, or None for all B x B pairs: see :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1].
        reward_weight: c.

    Raises:
        ValueError: for other shapes or a discount out of range.
    """
    check_batch(z, other, discount)
    check_shape("reward", reward, z.shape[:1])
    check_shape("next_sample", next_sample, tuple(z.shape))
    r_i, r_j = pairs(reward.detach(), other)
    distance = cosine_distance(*pairs(z, other))
    following = cosine_distance(*pairs(next_sample.detach(), other))
    target = reward_weight * (r_i - r_j).abs() + discount * following
    return pair_loss(huber(distance - target).mean(), distance, target)
