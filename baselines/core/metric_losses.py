"""Behavioural metrics as losses: each with its settings, its networks and the embeddings that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch as th
from torch import nn
from torch.nn import functional as F

from bisimgym.baselines.core.latents import LatentBatch
from bisimgym.baselines.losses.ambs import ambs_loss, two_view_distances
from bisimgym.baselines.losses.dbc import dbc_loss
from bisimgym.baselines.losses.distances import PairLoss, check_option
from bisimgym.baselines.losses.mico import mico_loss
from bisimgym.baselines.losses.models import (
    Gaussian,
    GaussianRewardModel,
    InverseModel,
    PairModel,
    TransitionModel,
)
from bisimgym.baselines.losses.rap import rap_loss
from bisimgym.baselines.losses.recursive_similarity import interaction_loss, recursive_similarity_loss
from bisimgym.baselines.losses.robust_dbc import (
    cap_norm,
    intrinsic_reward,
    inverse_dynamics_loss,
    norm_radius,
    robust_dbc_loss,
)
from bisimgym.baselines.losses.self_prediction import gaussian_nll
from bisimgym.baselines.losses.simsr import simsr_loss

ModelKind = Literal["gaussian", "deterministic", "ensemble"]
Computed = TypeVar("Computed")


class ModelOnBatch:
    """A transition model that predicts from the embeddings of a batch once, whoever asks.

    What the loss of self-prediction needs with gradients answers metrics, which ask without.

    Args:
        model: which answers everything else.
        z: ``float[B, D]``, the modelled part of the batch's embeddings, with gradients if the model trains the encoder.
        actions: ``float[B, A]``.
    """

    def __init__(self, model: TransitionModel, z: th.Tensor, actions: th.Tensor):
        self.model, self.z, self.actions = model, z, actions

    @cached_property
    def predicted(self) -> Gaussian:
        """What each member predicts, ``float[M, B, D]``, with gradients."""
        with th.enable_grad():
            return self.model.members(self.z, self.actions)

    def is_of(self, z: th.Tensor, actions: th.Tensor) -> bool:
        """Return whether these are the embeddings and actions of the batch, gradients aside."""
        return _same_memory(z, self.z) and _same_memory(actions, self.actions)

    def __call__(self, z: th.Tensor, actions: th.Tensor) -> Gaussian:
        if th.is_grad_enabled() or not self.is_of(z, actions):
            return self.model(z, actions)
        return self.model.mixture(self.predicted)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def _same_memory(x: th.Tensor, y: th.Tensor) -> bool:
    return (x.data_ptr(), x.shape, x.stride()) == (y.data_ptr(), y.shape, y.stride())


class Metric(nn.Module):
    """A behavioural metric's loss, with the networks of its own.

    Attributes:
        model_kind: the transition model that the loss asks for next embeddings, or ``None``.
        finite_actions: whether the loss is for finite action spaces only.
        trains_next: whether losses take ``trained_next_z``. That pass of the encoder then serves as ``next_z`` too.
    """

    model_kind: ModelKind | None = None
    finite_actions = False
    trains_next: bool = False
    _kept: tuple[LatentBatch, Any] | None = None

    def build(self, latent_dim: int, action_dim: int, discount: float, make_encoder: Callable[[], nn.Module]) -> None:
        """Make the networks, once the sizes are known.

        Args:
            latent_dim: numbers in an embedding.
            action_dim: numbers in an action; of a finite action space, how many there are.
            discount: of the algorithm.
            make_encoder: returns a fresh encoder like the one that is trained.
        """
        self.discount = discount

    def model_dim(self, latent_dim: int) -> int:
        """Return how many numbers of an embedding the transition model predicts."""
        return latent_dim

    def pair_loss(
        self,
        batch: LatentBatch,
        actions: th.Tensor,
        other: th.Tensor,
        model: TransitionModel | ModelOnBatch | None,
        generator: th.Generator,
    ) -> PairLoss:
        """Return the metric's loss.

        Args:
            batch: with its embeddings.
            actions: ``float[B, A]``, one-hot for finite action spaces.
            other: ``int64[B]``, a permutation: whom each row is compared with.
            model: the transition model, if the metric asks for one.
            generator: of what is drawn.
        """
        raise NotImplementedError(f"{type(self).__name__} has no pair_loss(batch, actions, other, model, generator)")

    def own_losses(self, batch: LatentBatch, actions: th.Tensor) -> dict[str, th.Tensor]:
        """Return the losses that train the metric's own networks, by name and weighted."""
        return {}

    def bonus(
        self, batch: LatentBatch, actions: th.Tensor, model: TransitionModel | ModelOnBatch | None
    ) -> th.Tensor | None:
        """Return ``float[B]`` to add to the rewards, or ``None``."""
        return None

    def once(self, batch: LatentBatch, compute: Callable[[], Computed]) -> Computed:
        """Return what ``compute`` does, with gradients; the next call for the same batch returns the same and ends it.

        For what both :meth:`pair_loss` and :meth:`own_losses` need.
        """
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] is batch:
            return kept[1]
        with th.enable_grad():
            self._kept = batch, compute()
        return self._kept[1]


class MICo(Metric):
    """MICo (Castro et al. 2021): see :func:`bisimgym.baselines.losses.mico.mico_loss`.

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

    def pair_loss(self, batch, actions, other, model, generator):
        second = None if self.second == "online" else batch.z if self.second == "detached" else batch.target_z
        return mico_loss(
            batch.z,
            batch.rewards,
            batch.next_target_z,
            None if self.all_pairs else other,
            self.discount,
            beta=self.beta,
            norm_factor=self.norm_factor,
            second_z=second,
        )


class DBC(Metric):
    """Deep bisimulation for control (Zhang et al. 2021): see :func:`bisimgym.baselines.losses.dbc.dbc_loss`.

    Args:
        form: "original" is the released code's loss, "paper" the paper's, "study" that of Luo et al. (2025).
        clamp: upper bound of the distance of next states, or ``None``.
    """

    model_kind = "gaussian"

    def __init__(self, form: Literal["paper", "original", "study"] = "original", clamp: float | None = None):
        super().__init__()
        self.form, self.clamp = form, clamp

    def pair_loss(self, batch, actions, other, model, generator):
        with th.no_grad():
            mean, std = model(batch.z, actions)
        return dbc_loss(batch.z, batch.rewards, mean, std, other, self.discount, form=self.form, clamp=self.clamp)


class RobustDBC(Metric):
    """Robust DBC (Kemertas and Aumentado-Armstrong 2021): a bounded norm, inverse dynamics and an intrinsic reward.

    The encoder must bound its embeddings to the same norm (norm="cap").

    Args:
        norm: how embeddings are compared, see :func:`bisimgym.baselines.losses.robust_dbc.robust_dbc_loss`.
        inverse_weight: of the inverse dynamics' loss.
        bonus_weight, bonus_cap: of the intrinsic reward. It is computed when a transition is sampled, with the model
            as it is then; the published code computes it once, when the transition is stored.
        max_reward: largest difference of two rewards, by which the bound of the norm grows.
    """

    model_kind = "gaussian"
    trains_next = True

    def __init__(
        self,
        norm: Literal["huber", "study", "l1", "l2"] = "huber",
        inverse_weight: float = 0.05,
        bonus_weight: float = 1.0,
        bonus_cap: float = 0.1,
        max_reward: float = 1.0,
    ):
        super().__init__()
        self.max_reward = max_reward
        self.norm, self.inverse_weight = norm, inverse_weight
        self.bonus_weight, self.bonus_cap = bonus_weight, bonus_cap

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.radius = norm_radius(discount, self.max_reward)
        self.inverse = InverseModel(latent_dim, action_dim)

    def pair_loss(self, batch, actions, other, model, generator):
        with th.no_grad():
            mean, std = model(batch.z, actions)
        mean = cap_norm(mean, self.radius)
        return robust_dbc_loss(batch.z, batch.rewards, mean, std, other, self.discount, norm=self.norm)

    def own_losses(self, batch, actions):
        predicted = self.inverse(batch.z, batch.trained_next_z)
        return {"inverse_loss": self.inverse_weight * inverse_dynamics_loss(predicted, actions)}

    def bonus(self, batch, actions, model):
        if self.bonus_weight == 0:
            return None
        with th.no_grad():
            mean = cap_norm(model(batch.z, actions).mean, self.radius)
            return intrinsic_reward(mean, batch.next_z, self.bonus_weight, self.bonus_cap)


class RAP(Metric):
    """The reducing approximation gap metric (Chen and Pan 2022): see :func:`bisimgym.baselines.losses.rap.rap_loss`.

    Args:
        beta: weight of the angle.
        outer: "huber" or "square".
    """

    model_kind = "gaussian"

    def __init__(self, beta: float = 1e-5, outer: Literal["huber", "square"] = "huber"):
        super().__init__()
        self.beta, self.outer = beta, outer

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.state_reward = GaussianRewardModel(latent_dim)

    def pair_loss(self, batch, actions, other, model, generator):
        with th.no_grad():
            following = model.expected(batch.target_z, actions)
        std = self._rewards(batch).std
        return rap_loss(batch.z, batch.rewards, std, following, other, self.discount, beta=self.beta, outer=self.outer)

    def own_losses(self, batch, actions):
        return {"state_reward_loss": gaussian_nll(*self._rewards(batch), batch.rewards)}

    def _rewards(self, batch: LatentBatch) -> Gaussian:
        return self.once(batch, lambda: self.state_reward(batch.z.detach()))


class AMBS(Metric):
    """Adaptive meta-learned behavioural similarity (Chen and Pan 2022), for embeddings of two halves.

    See :func:`bisimgym.baselines.losses.ambs.ambs_loss`. With augmentation, pairs are compared in two views; without,
    a batch is its own second view.

    Args:
        discount: of the dynamics' distance; 1 as printed.
        reduction: of the distance of Gaussians, "norm", "rms" or "mean".
    """

    model_kind = "gaussian"

    def __init__(self, discount: float = 1.0, reduction: Literal["norm", "rms", "mean"] = "norm"):
        super().__init__()
        self.next_discount, self.reduction = discount, reduction

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        if latent_dim % 2:
            raise ValueError(f"AMBS splits embeddings in two halves: features_dim must be even, got {latent_dim}")
        self.reward_model, self.transition_model = PairModel(latent_dim // 2), PairModel(latent_dim // 2)

    def model_dim(self, latent_dim):
        return latent_dim // 2

    def pair_loss(self, batch, actions, other, model, generator):
        if batch.balance is None:
            raise ValueError("AMBS learns the balance of an embedding's halves: use SAC's policy with balanced=True")
        second = batch.z if batch.second_view is None else batch.other.z
        half = batch.z.shape[1] // 2
        reward_distance = two_view_distances(self.reward_model, batch.z[:, :half], second[:, :half], other)
        transition_distance = two_view_distances(self.transition_model, batch.z[:, half:], second[:, half:], other)
        with th.no_grad():
            mean, std = model(batch.z[:, half:], actions)
        return ambs_loss(
            reward_distance,
            transition_distance,
            batch.balance,
            batch.rewards,
            mean,
            std,
            other,
            self.next_discount,
            reduction=self.reduction,
        )


class SimSR(Metric):
    """Simple distance-based state representation (Zang et al. 2022), for embeddings of unit length.

    See :func:`bisimgym.baselines.losses.simsr.simsr_loss`.

    Args:
        all_pairs: compare all rows of a batch, as the publication does, not each with one other.
        reward_weight: c_R; distances are at most 2, so that 1 cannot be met exactly (1 - discount can).
    """

    model_kind = "ensemble"

    def __init__(self, all_pairs: bool = True, reward_weight: float = 1.0):
        super().__init__()
        self.all_pairs, self.reward_weight = all_pairs, reward_weight

    def pair_loss(self, batch, actions, other, model, generator):
        with th.no_grad():
            following = model.sample(batch.target_z, actions, generator)
        other = None if self.all_pairs else other
        return simsr_loss(batch.z, batch.rewards, following, other, self.discount, reward_weight=self.reward_weight)


class RecursiveSimilarity(Metric):
    """Recursive state similarity over interaction-based embeddings, for finite action spaces.

    See :func:`bisimgym.baselines.losses.recursive_similarity.recursive_similarity_loss`. A second encoder learns to
    tell actions from what they do; its distances are the base of the recursion.

    Args:
        reduction: over actions, "mean" or "max".
        inverse_weight: of the inverse against the forward loss of the second encoder.
        base_weight: of the base distance; ``None`` is 1 - discount (the published code), 1 is the paper's.
        outer: "huber" (the published code) or "square" (the paper).
    """

    finite_actions = True

    def __init__(
        self,
        reduction: Literal["mean", "max"] = "mean",
        inverse_weight: float = 0.2,
        base_weight: float | None = None,
        outer: Literal["huber", "square"] = "huber",
    ):
        super().__init__()
        self.reduction, self.inverse_weight = reduction, inverse_weight
        self.base_weight, self.outer = base_weight, outer

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.base_encoder = make_encoder()
        self.inverse = InverseModel(latent_dim, action_dim, hidden=(256,), activation=nn.ReLU)
        plain = {"kind": "deterministic", "hidden": 256, "layer_norm": False}
        self.forward_model = TransitionModel(latent_dim, action_dim, **plain)
        self.next_model = TransitionModel(latent_dim, action_dim, **plain)

    def pair_loss(self, batch, actions, other, model, generator):
        with th.no_grad():
            following = self.next_model.each_action(batch.target_z)
        return recursive_similarity_loss(
            batch.z,
            self._base(batch),
            following,
            None,
            self.discount,
            base_weight=self.base_weight,
            reduction=self.reduction,
            outer=self.outer,
        )

    def own_losses(self, batch, actions):
        base, next_base = self._base(batch), self.base_encoder(batch.next_observations)
        predicted = self.next_model.expected(batch.target_z, actions)
        return {
            "interaction_loss": interaction_loss(
                self.inverse(base, next_base),
                actions.argmax(dim=1),
                self.forward_model.expected(base, actions),
                next_base,
                self.inverse_weight,
            ),
            "next_model_loss": F.mse_loss(predicted, batch.next_target_z),
        }

    def _base(self, batch: LatentBatch) -> th.Tensor:
        return self.once(batch, lambda: self.base_encoder(batch.observations))
