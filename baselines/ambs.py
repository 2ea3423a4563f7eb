"""AMBS, adaptive meta-learned behavioral similarity (Chen and Pan 2022).

Two meta-learners predict how much rewards and dynamics differ, and the critic learns how to balance them.
"""

from __future__ import annotations

from typing import Literal

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import torch as th
from torch import nn

from bisimgym.baselines.core.metric_learning import MetricSAC
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.losses.distances import (
    PairLoss,
    check_discount,
    check_option,
    check_shape,
    full_precision,
    gaussian_w2,
    huber,
)
from bisimgym.baselines.losses.models import check_sizes


class PairModel(nn.Sequential):
    """A learned distance of two embeddings, not negative: an MLP on both, squared. AMBS's meta-learners.

    It is not symmetric by construction; AMBS trains it on both orders. Source: Chen and Pan (2022), AMBS; squaring is
    that of the released code.

    Args:
        latent_dim: D, of embeddings (50, half of AMBS's).
        hidden: units (50).
    """

    def __init__(self, latent_dim: int, hidden: int = 50):
        check_sizes(latent_dim=latent_dim, hidden=hidden)
        super().__init__(nn.Linear(2 * latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, x: th.Tensor, y: th.Tensor) -> th.Tensor:  # type: ignore[override]  # two inputs
        """Return ``float[P]`` from embeddings ``float[P, D]``; gradients flow into both."""
        return super().forward(th.cat([x, y], dim=1)).float().squeeze(-1).square()


class Balance(nn.Module):
    """AMBS's learned balance of the reward and the dynamics half of an embedding.

    The weights are ``softmax(eta)`` with eta in R^2, 0 at first. It belongs to the critic's encoder: the critic's loss
    trains it, and metric losses read it. Source: Chen and Pan (2022), AMBS, equation 4.11 of the thesis.
    """

    def __init__(self) -> None:
        super().__init__()
        self.eta = nn.Parameter(th.zeros(2))

    def weights(self) -> th.Tensor:
        """Return ``float[2]``, of rewards and of dynamics (c); they sum to one."""
        return self.eta.softmax(dim=0)

    def forward(self, z: th.Tensor) -> th.Tensor:
        """Return an embedding ``float[B, 2 D]`` with its halves scaled."""
        if z.ndim != 2 or z.shape[1] % 2:
            raise ValueError(f"z must be float[B, 2 D], a reward half and a dynamics half, got shape {tuple(z.shape)}")
        return z * self.weights().to(z.dtype).repeat_interleave(z.shape[1] // 2)


def two_view_distances(model: PairModel, view: th.Tensor, second_view: th.Tensor, permutation: th.Tensor) -> th.Tensor:
    """Return the learned distances of a batch's pairs in two views, ``float[2, B]``.

    The second view's pairs have their order swapped, for symmetry (equation 4.8 of the thesis; 4.10 prints them
    unswapped, the released code mixes views).

    Args:
        model: the meta-learner.
        view, second_view: ``float[B, D]``, embeddings of the same observations in two augmentations.
        permutation: ``int64[B]``: row i is compared with row ``permutation[i]``.
    """
    return th.stack([model(view, view[permutation]), model(second_view[permutation], second_view)])


def crossed_view_distances(
    model: PairModel, view: th.Tensor, second_view: th.Tensor, permutation: th.Tensor
) -> th.Tensor:
    """Return the learned distances of a batch's pairs as the released code forms them, ``float[2, B]``.

    First those of the first view, then those from the first view of one to the second view of the other. Arguments as
    of :func:`two_view_distances`.
    """
    return th.stack([model(view, view[permutation]), model(view[permutation], second_view)])


@full_precision
def ambs_loss(
    reward_distance: th.Tensor,
    transition_distance: th.Tensor,
    balance: th.Tensor,
    reward: th.Tensor,
    next_mean: th.Tensor,
    next_std: th.Tensor,
    permutation: th.Tensor,
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
        balance: ``float[2]``, the weights ``(1 - c, c)``, as of :class:`Balance`.
        reward: ``float[B]``.
        next_mean, next_std: ``float[B, D]``, of the next dynamics embeddings, predicted from the first view; all views
            have the same targets.
        permutation: ``int64[B]``, as in :func:`two_view_distances`.
        discount: in [0, 1], multiplies W2.
        reduction: of W2, see :func:`~bisimgym.baselines.losses.gaussian_w2`.

    Returns:
        The ``distance`` and ``target`` for logs are those of equation 4.5, ``float[V * B]``.

    Raises:
        ValueError: for other shapes or a discount out of range.
    """
    _check(reward_distance, transition_distance, balance, reward, next_mean, next_std, permutation, discount)
    views, rows = reward_distance.shape
    mean, std, reward, (of_reward, of_dynamics) = (x.detach() for x in (next_mean, next_std, reward, balance))
    reward_difference = (reward - reward[permutation]).abs()
    next_distance = discount * gaussian_w2(mean, std, mean[permutation], std[permutation], reduction)
    reward_error, transition_error = reward_distance - reward_difference, transition_distance - next_distance
    loss = of_reward * reward_error.square() + of_dynamics * transition_error.square()
    distance = of_reward * reward_distance + of_dynamics * transition_distance
    target = (of_reward * reward_difference + of_dynamics * next_distance).expand(views, rows)
    return PairLoss.of(loss.mean(dim=1).sum(), distance, target)


@full_precision
def ambs_original_loss(
    reward_distance: th.Tensor,
    transition_distance: th.Tensor,
    balance: th.Tensor,
    reward: th.Tensor,
    next_mean: th.Tensor,
    next_std: th.Tensor,
    permutation: th.Tensor,
    discount: float = 0.99,
) -> PairLoss:
    """Return the loss of AMBS's released code: over views half the sum, over pairs the mean, of

    ``((1 - c) (f_r - H(r_i - r_j)))^2 + (c (f_d - discount mean_k W2(P_ik, P_jk)))^2``

    with H of :func:`~bisimgym.baselines.losses.distances.huber`. Weights are inside the squares: equal ones make the
    loss a quarter of :func:`ambs_loss`'s for the same errors.

    Source: the code of Chen and Pan (2022), as of its run script; there the metric's weight is 0.5, the views are those
    of :func:`crossed_view_distances`, and the model is asked about the policy's mean action.

    Args:
        reward_distance, transition_distance, balance, reward, next_mean, next_std, permutation: as of
            :func:`ambs_loss`.
        discount: in [0, 1], multiplies W2.

    Raises:
        ValueError: for other shapes or a discount out of range.
    """
    _check(reward_distance, transition_distance, balance, reward, next_mean, next_std, permutation, discount)
    mean, std, reward, (of_reward, of_dynamics) = (x.detach() for x in (next_mean, next_std, reward, balance))
    reward_difference = huber(reward - reward[permutation])
    next_distance = discount * gaussian_w2(mean, std, mean[permutation], std[permutation], "mean")
    reward_error = of_reward * (reward_distance - reward_difference)
    transition_error = of_dynamics * (transition_distance - next_distance)
    loss = 0.5 * (reward_error.square() + transition_error.square())
    distance = of_reward * reward_distance + of_dynamics * transition_distance
    target = (of_reward * reward_difference + of_dynamics * next_distance).expand_as(distance)
    return PairLoss.of(loss.mean(dim=1).sum(), distance, target)


def _check(
    reward_distance: th.Tensor,
    transition_distance: th.Tensor,
    balance: th.Tensor,
    reward: th.Tensor,
    next_mean: th.Tensor,
    next_std: th.Tensor,
    permutation: th.Tensor,
    discount: float,
) -> None:
    if reward_distance.ndim != 2:
        raise ValueError(f"reward_distance must be float[views, B], got shape {tuple(reward_distance.shape)}")
    check_discount(discount)
    views, rows = reward_distance.shape
    check_shape("transition_distance", transition_distance, (views, rows))
    check_shape("balance", balance, (2,))
    check_shape("reward", reward, (rows,))
    check_shape("next_mean", next_mean, (rows, *next_mean.shape[1:]))
    check_shape("next_std", next_std, tuple(next_mean.shape))
    if permutation.dtype != th.int64 or permutation.shape != (rows,):
        shape = tuple(permutation.shape)
        raise ValueError(f"permutation must be int64[{rows}], got {permutation.dtype} of shape {shape}")


class AMBS(MetricLoss):
    """:func:`ambs_loss` on an agent's batch, for embeddings of two halves.

    With augmentation, pairs are compared in two views; without, a batch is its own second view.

    Args:
        discount: of the dynamics' distance; ``None``: 1, as printed, and with ``form="original"`` the agent's.
        reduction: of the distance of Gaussians, "norm", "rms" or "mean"; "mean" with ``form="original"``.
        form: "thesis", or "original": :func:`ambs_original_loss` on :func:`crossed_view_distances`, the released code's
            loss (which has ``metric_weight=0.5``).
    """

    model_kind = "gaussian"
    critic_input = Balance

    def __init__(
        self,
        discount: float | None = None,
        reduction: Literal["norm", "rms", "mean"] | None = None,
        form: Literal["thesis", "original"] = "thesis",
    ):
        super().__init__()
        check_option("form", form, ("thesis", "original"))
        if reduction is None:
            reduction = "norm" if form == "thesis" else "mean"
        check_option("reduction", reduction, ("norm", "rms", "mean") if form == "thesis" else ("mean",))
        if discount is not None:
            check_discount(discount)
        self.next_discount, self.reduction, self.form = discount, reduction, form

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        if latent_dim % 2:
            raise ValueError(f"AMBS splits embeddings in two halves: features_dim must be even, got {latent_dim}")
        self.reward_model, self.transition_model = PairModel(latent_dim // 2), PairModel(latent_dim // 2)

    def model_dim(self, latent_dim):
        return latent_dim // 2

    def forward(self, batch, permutation, model, generator):
        second = batch.z if batch.make_second_view is None else batch.second_view.z
        half = batch.z.shape[1] // 2
        original = self.form == "original"
        distances = crossed_view_distances if original else two_view_distances
        reward_distance = distances(self.reward_model, batch.z[:, :half], second[:, :half], permutation)
        transition_distance = distances(self.transition_model, batch.z[:, half:], second[:, half:], permutation)
        mean, std = batch.predicted(model)
        data = (batch.critic_input.weights(), batch.rewards, mean, std, permutation)
        if original:
            discount = self.discount if self.next_discount is None else self.next_discount
            loss = ambs_original_loss(reward_distance, transition_distance, *data, discount)
        else:
            discount = 1.0 if self.next_discount is None else self.next_discount
            loss = ambs_loss(reward_distance, transition_distance, *data, discount, reduction=self.reduction)
        return loss, {}

    def distance(self, x, y):
        # Both halves count the same, and both orders, which the loss trains alike.
        half = x.shape[-1] // 2
        of_reward = self.reward_model(x[:, :half], y[:, :half]) + self.reward_model(y[:, :half], x[:, :half])
        of_dynamics = self.transition_model(x[:, half:], y[:, half:]) + self.transition_model(y[:, half:], x[:, half:])
        return (of_reward + of_dynamics) / 4


class AMBSSAC(MetricSAC):
    """SAC with AMBS. With ``augmentation``, pairs are compared in two views, as in the publication."""

    defaults = {
        "metric": AMBS,
        "metric_weight": 1.0,
        "features_dim": 100,
        "learning_rate": 5e-4,
        "encoder_optimizer": "separate",
    }
