"""DBC, deep bisimulation for control (Zhang et al. 2021): distances of embeddings learn on-policy bisimulation."""

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
    check_clamp,
    check_option,
    full_precision,
    gaussian_w2,
    huber,
    l1_distance,
    pairs,
    safe_sqrt,
)


@full_precision
def dbc_loss(
    z: th.Tensor,
    reward: th.Tensor,
    next_mean: th.Tensor,
    next_std: th.Tensor,
    permutation: th.Tensor | None,
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
        permutation: ``int64[B]``, the pairs: see :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1], the weight of the next distances.
        form: see above.
        reward_weight: c.
        clamp: largest next distance, such as ``c * largest reward / (1 - discount)``, which no exact distance exceeds
            (as the study does); None does not clamp.

    Raises:
        ValueError: for other shapes, a discount out of range or an unknown form.
    """
    check_option("form", form, ("paper", "original", "study"))
    check_batch(z, permutation, discount, reward, next_mean=next_mean, next_std=next_std)
    z_i, z_j = pairs(z, permutation)
    r_i, r_j = pairs(reward.detach(), permutation)
    mean_i, mean_j = pairs(next_mean.detach(), permutation)
    std_i, std_j = pairs(next_std.detach(), permutation)

    if form == "original":
        distance = huber(z_i - z_j)
        next_distance = safe_sqrt((mean_i - mean_j).square() + (std_i - std_j).square())
        reward_difference = huber(r_i - r_j).unsqueeze(-1)
    elif form == "study":
        distance = huber(z_i - z_j).mean(dim=-1)
        next_distance = gaussian_w2(mean_i, std_i, mean_j, std_j, reduction="mean")
        reward_difference = huber(r_i - r_j)
    else:
        distance = l1_distance(z_i, z_j)
        next_distance = gaussian_w2(mean_i, std_i, mean_j, std_j)
        reward_difference = (r_i - r_j).abs()
    if clamp is not None:
        check_clamp(clamp)
        next_distance = next_distance.clamp(max=clamp)
    target = reward_weight * reward_difference + discount * next_distance
    loss = (distance - target).square().mean()
    if form == "original":
        distance, target = distance.mean(dim=-1), target.mean(dim=-1)
    return PairLoss.of(loss, distance, target)


class DBC(MetricLoss):
    """:func:`dbc_loss` on an agent's batch.

    Args:
        form: "original" is the released code's loss, "paper" the paper's, "study" that of Luo et al. (2025).
        clamp: upper bound of the distance of next states, or ``None``.
    """

    model_kind = "gaussian"

    def __init__(self, form: Literal["paper", "original", "study"] = "original", clamp: float | None = None):
        super().__init__()
        check_option("form", form, ("paper", "original", "study"))
        self.form, self.clamp = form, clamp

    def forward(self, batch, permutation, model, generator):
        mean, std = batch.predicted(model)
        loss = dbc_loss(batch.z, batch.rewards, mean, std, permutation, self.discount, form=self.form, clamp=self.clamp)
        return loss, {}

    def distance(self, x, y):
        return l1_distance(x, y) if self.form == "paper" else huber(x - y).mean(dim=-1)


_DEFAULTS = {
    "metric": DBC,
    "metric_weight": 0.5,
    "self_prediction": 1.0,
    "reward_prediction": 1.0,
    "encoder_optimizer": "separate",
}


class DBCSAC(MetricSAC):
    """SAC with DBC: the metric's loss, and transition and reward model, which train the encoder too."""

    defaults = _DEFAULTS


class DBCDQN(MetricDQN):
    """DQN with DBC: the metric's loss, and transition and reward model, which train the encoder too."""

    defaults = _DEFAULTS
