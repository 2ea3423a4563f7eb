"""RAP, reducing the approximation gap (Chen and Pan 2022): MICo's recursion on expected next states.

The variance of rewards is taken out.
"""

from __future__ import annotations

from typing import Literal

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import torch as th
from torch import nn

from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_batch,
    check_option,
    check_shape,
    deviation,
    full_precision,
    pairs,
    rap_distance,
    safe_sqrt,
)
from bisimgym.baselines.losses.models import Gaussian, check_sizes, checked_range, linear_head, squash
from bisimgym.baselines.losses.predictions import gaussian_nll


@full_precision
def rap_loss(
    z: th.Tensor,
    reward: th.Tensor,
    reward_std: th.Tensor,
    next_mean: th.Tensor,
    permutation: th.Tensor | None,
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
            :class:`GaussianRewardModel` predicts it.
        next_mean: ``float[B, D]``, the mean next embedding predicted from the target encoder's embedding and the
            action taken.
        permutation: ``int64[B]``, the pairs: see :func:`~bisimgym.baselines.losses.distances.pairs`.
        discount: in [0, 1].
        beta: weight of the angle, k in the source.
        outer: rho.

    Returns:
        The ``target`` for logs is the larger solution, ``discount D_ij + sqrt(max(0, reward term))``.

    Raises:
        ValueError: for other shapes, a discount out of range or an unknown ``outer``.
    """
    check_batch(z, permutation, discount, reward, next_mean=next_mean)
    check_shape("reward_std", reward_std, z.shape[:1])
    check_shape("next_mean", next_mean, tuple(z.shape))
    z_i, z_j = pairs(z, permutation)
    r_i, r_j = pairs(reward.detach(), permutation)
    variance_i, variance_j = pairs(reward_std.detach().square(), permutation)
    next_i, next_j = pairs(next_mean.detach(), permutation)
    distance = rap_distance(z_i, z_j, beta)
    next_distance = discount * rap_distance(next_i, next_j, beta)
    reward_difference = (r_i - r_j).square() - variance_i - variance_j
    loss = deviation((distance - next_distance).square() - reward_difference, outer)
    return PairLoss.of(loss, distance, next_distance + safe_sqrt(reward_difference))


class GaussianRewardModel(nn.Module):
    """Predicts the mean and standard deviation of rewards from embeddings alone.

    The variance is that over the policy's actions, which RAP needs. Source: Chen and Pan (2022).

    Args:
        latent_dim: D, of embeddings.
        hidden: units.
        std_range: least and largest standard deviation.
    """

    def __init__(self, latent_dim: int, hidden: int = 512, std_range: tuple[float, float] = (1e-4, 1.0)):
        super().__init__()
        check_sizes(latent_dim=latent_dim, hidden=hidden)
        self.std_range = checked_range(std_range)
        self.net = linear_head(latent_dim, hidden, 2)

    def forward(self, z: th.Tensor) -> Gaussian:
        """Return mean and standard deviation of rewards, ``float[B]``, from embeddings ``float[B, D]``."""
        mean, raw = self.net(z).unbind(dim=-1)
        return Gaussian(mean.float(), squash(raw, self.std_range))


class RAP(MetricLoss):
    """:func:`rap_loss` on an agent's batch, with a model of the rewards.

    Args:
        beta: weight of the angle.
        outer: "huber" or "square".
    """

    model_kind = "gaussian"

    def __init__(self, beta: float = 1e-5, outer: Literal["huber", "square"] = "huber"):
        super().__init__()
        check_option("outer", outer, ("huber", "square"))
        self.beta, self.outer = beta, outer

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.state_reward = GaussianRewardModel(latent_dim)

    def forward(self, batch, permutation, model, generator):
        with th.no_grad():
            next_mean = model.expected(batch.target_z, batch.actions)
        reward = self.state_reward(batch.z.detach())
        loss = rap_loss(
            batch.z, batch.rewards, reward.std, next_mean, permutation, self.discount, beta=self.beta, outer=self.outer
        )
        return loss, {"state_reward_loss": gaussian_nll(*reward, batch.rewards)}

    def distance(self, x, y):
        return rap_distance(x, y, self.beta)


_DEFAULTS = {
    "metric": RAP,
    "metric_weight": 0.5,
    "self_prediction": 1e-4,
    "features_dim": 100,
    "encoder_optimizer": "separate",
}


class RAPSAC(MetricSAC):
    """SAC with RAP."""

    defaults = {**_DEFAULTS, "learning_rate": 5e-4}


class RAPDQN(MetricDQN):
    """DQN with RAP."""

    defaults = _DEFAULTS
