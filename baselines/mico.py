"""MICo, matching under independent couplings (Castro et al. 2021): no model, only samples.

Distances of embeddings learn how far apart values under the policy are.
"""

from __future__ import annotations

from typing import Literal

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import torch as th

from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_batch,
    check_option,
    check_shape,
    full_precision,
    huber,
    mico_distance,
    pairs,
)


@full_precision
def mico_loss(
    z: th.Tensor,
    reward: th.Tensor,
    next_target_z: th.Tensor,
    permutation: th.Tensor | None,
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
    permutation (passed as ``permutation``) and gradients into both arguments.

    Args:
        z: ``float[B, D]`` embeddings, with gradients.
        reward: ``float[B]``.
        next_target_z: ``float[B, D]``, no gradient flows into it.
        permutation: ``int64[B]``, or None for all B x B pairs: see :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1].
        beta, norm_factor: of the distance; other implementations sum squared norms (``norm_factor=1``).
        second_z: ``float[B, D]``, embeddings of the same states for the second of each pair, into which no gradient
            flows: of the target encoder, or ``z`` itself. ``None``: ``z``, with gradients.

    Raises:
        ValueError: for other shapes or a discount out of range.
    """
    check_batch(z, permutation, discount, reward, next_target_z=next_target_z)
    z_i, z_j = pairs(z, permutation)
    if second_z is not None:
        check_shape("second_z", second_z, tuple(z.shape))
        z_j = pairs(second_z.detach(), permutation)[1]
    r_i, r_j = pairs(reward.detach(), permutation)
    next_i, next_j = pairs(next_target_z.detach(), permutation)
    distance = mico_distance(z_i, z_j, beta, norm_factor)
    target = (r_i - r_j).abs() + discount * mico_distance(next_i, next_j, beta, norm_factor)
    return PairLoss.of(huber(distance - target).mean(), distance, target)


class MICo(MetricLoss):
    """:func:`mico_loss` on an agent's batch.

    Args:
        beta: weight of the angle.
        norm_factor: of the sum of squared norms: 0.5 (the paper) or 1 (Luo et al. 2025).
        all_pairs: compare all rows of a batch, not each with one other.
        second: embeddings that a pair's second side has: "online", of the encoder, which learns from both sides;
            "detached", the same without gradient; or "target", of the target encoder, as in the authors' Atari agents
            and in Luo et al. (2025).
    """

    def __init__(
        self,
        beta: float = 0.1,
        norm_factor: float = 0.5,
        all_pairs: bool = False,
        second: Literal["online", "detached", "target"] = "online",
    ):
        super().__init__()
        check_option("second", second, ("online", "detached", "target"))
        self.beta, self.norm_factor = beta, norm_factor
        self.all_pairs, self.second = all_pairs, second

    def forward(self, batch, permutation, model, generator):
        second_z = None if self.second == "online" else batch.z if self.second == "detached" else batch.target_z
        loss = mico_loss(
            batch.z,
            batch.rewards,
            batch.next_target_z,
            None if self.all_pairs else permutation,
            self.discount,
            beta=self.beta,
            norm_factor=self.norm_factor,
            second_z=second_z,
        )
        return loss, {}

    def distance(self, x, y):
        return mico_distance(x, y, self.beta, self.norm_factor)


class MICoSAC(MetricSAC):
    """SAC with the MICo loss on one permutation of the batch, gradients through both sides."""

    defaults = {"metric": MICo, "metric_weight": 0.5}


class MICoDQN(MetricDQN):
    """DQN with the MICo loss on all pairs, the second side embedded by the target, as in the authors' Atari agents."""

    defaults = {
        "metric": MICo,
        "metric_weight": 0.01,
        "metric_settings": {"all_pairs": True, "second": "target"},
    }
