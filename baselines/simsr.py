"""SimSR, simple distance-based state representation (Zang et al. 2022): the cosine distance of embeddings."""

from __future__ import annotations

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import torch as th

from bisimgym.baselines.core.metric_learning import MetricSAC
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_batch,
    cosine_distance,
    full_precision,
    huber,
    pairs,
)


@full_precision
def simsr_loss(
    z: th.Tensor,
    reward: th.Tensor,
    next_sample: th.Tensor,
    permutation: th.Tensor | None = None,
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
    learning". The authors' code does not normalize samples; here the cosine is that of the directions. All pairs are
    the authors'; Luo et al. (2025) take one permutation.

    Args:
        z: ``float[B, D]`` embeddings, of any length. Gradients flow into both sides of a pair, and nowhere else.
        reward: ``float[B]``.
        next_sample: ``float[B, D]``: y, a draw of the predicted next embedding (by a member of an ensemble that sees
            the target encoder's embedding), or the target encoder's of the observed next state.
        permutation: ``int64[B]``, or None for all B x B pairs: see :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1].
        reward_weight: c.

    Raises:
        ValueError: for other shapes or a discount out of range.
    """
    check_batch(z, permutation, discount, reward, next_sample=next_sample)
    r_i, r_j = pairs(reward.detach(), permutation)
    distance = cosine_distance(*pairs(z, permutation))
    next_distance = cosine_distance(*pairs(next_sample.detach(), permutation))
    target = reward_weight * (r_i - r_j).abs() + discount * next_distance
    return PairLoss.of(huber(distance - target).mean(), distance, target)


class SimSR(MetricLoss):
    """:func:`simsr_loss` on an agent's batch, for embeddings of unit length.

    Args:
        all_pairs: compare all rows of a batch, as the publication does, not each with one other.
        reward_weight: c_R; distances are at most 2, so that 1 cannot be met exactly (1 - discount can).
    """

    model_kind = "ensemble"

    def __init__(self, all_pairs: bool = True, reward_weight: float = 1.0):
        super().__init__()
        self.all_pairs, self.reward_weight = all_pairs, reward_weight

    def forward(self, batch, permutation, model, generator):
        with th.no_grad():
            next_sample = model.sample(batch.target_z, batch.actions, generator)
        rows = None if self.all_pairs else permutation
        loss = simsr_loss(batch.z, batch.rewards, next_sample, rows, self.discount, reward_weight=self.reward_weight)
        return loss, {}

    def distance(self, x, y):
        return cosine_distance(x, y)


class SimSRSAC(MetricSAC):
    """SAC with SimSR, next embeddings sampled from an ensemble of models."""

    defaults = {"metric": SimSR, "metric_weight": 1.0, "norm": "l2", "self_prediction": 1.0}
