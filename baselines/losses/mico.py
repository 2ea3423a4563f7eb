"""Matching under independent couplings (MICo): no model, only samples."""

from __future__ import annotations

import torch as th

from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_batch,
    check_shape,
    full_precision,
    huber,
    mico_distance,
    pair_loss,
    pairs,
)


@full_precision
def mico_loss(
    z: th.Tensor,
    reward: th.Tensor,
    next_target_z: th.Tensor,
    other: th.Tensor | None,
    discount: float = 0.99,
    *,
    beta: float = 0.1,
    norm_factor: float = 0.5,
    second_z: th.Tensor | None = None,
) -> PairLoss:
    """Return the MICo loss, ``mean H( U(z_i, z_j) - |r_i - r_j| - discount U(z'_i, z'_j) )``.

    U is :func:`~bisimgym.baselines.losses.mico_distance`, H is :func:`~bisimgym.baselines.losses.huber`, and ``z'`` are
    embeddings of the observed next states by the target encoder.

    What is learned: the MICo distance of the policy that acted, where rewards are deterministic and residuals stay
    below 1, as H is the square there. With stochastic rewards it is larger: sampled rewards differ by
    ``E|r_i - r_j|`` of independent draws, more than their means do, and from a state to itself too. With large
    residuals H estimates a median of sampled targets rather than their mean.

    Source: Castro, Kastner, Panangaden and Rowland (2021), "MICo: Improved representations via sampling-based state
    similarity for Markov decision processes", section 5. The authors' Atari agents compare all pairs, embed the
    second of a pair by the target encoder (``second_z``) and train with weight 0.01; the defaults here are one
    permutation (passed as ``other``) and gradients into both arguments.

    Args:
        z: ``float[B, D]`` embeddings, with gradients.
        reward: ``float[B]``.
        next_target_z: ``float[B, D]``, no gradient flows into it.
        other: ``int64[B]``, or None for all B x B pairs: see :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1].
        beta, norm_factor: of the distance; other implementations sum squared norms (``norm_factor=1``).
        second_z: ``float[B, D]``, embeddings of the same states for the second of each pair, into which no gradient
            flows: of the target encoder, or ``z`` itself. ``None``: ``z``, with gradients.

    Raises:
        ValueError: for other shapes or a discount out of range.
    """
    check_batch(z, other, discount)
    check_shape("reward", reward, z.shape[:1])
    check_shape("next_target_z", next_target_z, tuple(z.shape))
    z_i, z_j = pairs(z, other)
    if second_z is not None:
        check_shape("second_z", second_z, tuple(z.shape))
        z_j = pairs(second_z.detach(), other)[1]
    r_i, r_j = pairs(reward.detach(), other)
    next_i, next_j = pairs(next_target_z.detach(), other)
    distance = mico_distance(z_i, z_j, beta, norm_factor)
    target = (r_i - r_j).abs() + discount * mico_distance(next_i, next_j, beta, norm_factor)
    return pair_loss(huber(distance - target).mean(), distance, target)
