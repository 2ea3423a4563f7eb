"""What a behavioral metric's loss is to an agent: the base class of those on the methods' pages and of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch as th
from torch import nn

from bisimgym.baselines.core.latents import LatentBatch
from bisimgym.baselines.losses.distances import PairLoss, l2_distance
from bisimgym.baselines.losses.models import TransitionModel

ModelKind = Literal["gaussian", "deterministic", "ensemble"]


class MetricLoss(nn.Module):
    """A behavioral metric's loss, with the networks that only it has.

    Attributes:
        model_kind: the transition model that the loss asks for next embeddings, or ``None``.
        finite_actions: whether the loss is for finite action spaces only.
        finite: whether the action space is finite; set before :meth:`build`.
        trains_next: whether losses take ``batch.trained_next_z``.
        critic_input: class of a module, made without arguments, that embeddings pass on their way to SAC's critic,
            whose loss trains it. Losses find it as ``batch.critic_input``.
    """

    model_kind: ModelKind | None = None
    finite_actions: bool = False
    finite: bool = True
    trains_next: bool = False
    critic_input: type[nn.Module] = nn.Identity

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
        """Return how many numbers of an embedding, the last ones, the transition model predicts."""
        return latent_dim

    def forward(
        self, batch: LatentBatch, permutation: th.Tensor, model: TransitionModel, generator: th.Generator
    ) -> tuple[PairLoss | th.Tensor, Mapping[str, th.Tensor]]:
        """Return the metric's loss, and by name and weighted those of networks that only the metric has.

        A loss that compares no pairs is returned as a tensor.

        Args:
            batch: with its embeddings; ``batch.predicted(model)`` are the next ones that the model predicts.
            permutation: ``int64[B]``: row i may be compared with row ``permutation[i]``.
            model: the transition model, if ``model_kind`` asks for one.
            generator: of what is drawn.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward(batch, permutation, model, generator)")

    def own_losses(self, batch: LatentBatch) -> Mapping[str, th.Tensor]:
        """Return, by name and weighted, losses of networks that only the metric has, which do not reach the encoder.

        A learner that trains these networks in tandem takes a step on them first, and sets ``batch.in_tandem``:
        ``forward`` then leaves them out. Others get them from ``forward``.
        """
        return {}

    def rate_factors(self) -> Mapping[nn.Module, float]:
        """Return modules that offline learning trains at another rate than the encoder, as a multiple of that."""
        return {}

    def bonus(self, batch: LatentBatch, model: TransitionModel) -> th.Tensor | None:
        """Return ``float[B]`` to add to the rewards, or ``None``."""
        return None

    def distance(self, x: th.Tensor, y: th.Tensor) -> th.Tensor:
        """Return the distance of embeddings that the loss fits, ``float[P]``, from ``float[P, D]`` each.

        Raises:
            ValueError: for a metric that does not say.
        """
        raise ValueError(f"the distance of {type(self).__name__} is not known: define its distance(x, y)")


class AuxiliaryTask(MetricLoss):
    """A loss that shapes an embedding and names no metric: embeddings are compared by their Euclidean distance."""

    def distance(self, x: th.Tensor, y: th.Tensor) -> th.Tensor:
        return l2_distance(x, y)
