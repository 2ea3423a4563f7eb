"""A batch of transitions with its embeddings, each computed once, when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import preprocess_obs

#: ``encode(observations, target=False)``: embeddings by the encoder or by its slowly moving copy.
Encode = Callable[..., th.Tensor]


@dataclass
class LatentBatch:
    """What auxiliary losses are computed from.

    Attributes:
        observations, next_observations: preprocessed, as the encoder takes them.
        actions: ``float[B, A]``, or ``int64[B, 1]`` of a finite action space.
        rewards, dones: ``float[B]``. An episode cut off by a time limit is not done.
        discounts: a number, or ``float[B, 1]``.
        encode: the encoder and its target.
        second_view: returns observations and next observations in another augmentation.
        balance: ``float[2]``, the weights of the embedding's halves in the critic (AMBS).
    """

    observations: Any
    next_observations: Any
    actions: th.Tensor
    rewards: th.Tensor
    dones: th.Tensor
    discounts: float | th.Tensor
    encode: Encode = field(repr=False)
    second_view: Callable[[], tuple[Any, Any]] | None = field(default=None, repr=False)
    balance: th.Tensor | None = None

    @cached_property
    def z(self) -> th.Tensor:
        """Embeddings of the observations, ``float[B, D]``, with gradients to the encoder."""
        with th.enable_grad():  # whoever asks first may be computing without
            return self.encode(self.observations)

    @cached_property
    def next_z(self) -> th.Tensor:
        """Embeddings of the next observations, without gradients."""
        with th.no_grad():
            return self.encode(self.next_observations)

    @cached_property
    def trained_next_z(self) -> th.Tensor:
        """Embeddings of the next observations with gradients to the encoder, for losses that train it on both sides."""
        with th.enable_grad():
            return self.encode(self.next_observations)

    @cached_property
    def target_z(self) -> th.Tensor:
        """Embeddings of the observations by the target encoder, without gradients."""
        with th.no_grad():
            return self.encode(self.observations, target=True)

    @cached_property
    def next_target_z(self) -> th.Tensor:
        """Embeddings of the next observations by the target encoder, without gradients."""
        with th.no_grad():
            return self.encode(self.next_observations, target=True)

    @cached_property
    def other(self) -> LatentBatch:
        """The same transitions in a second view, augmented independently.

        Raises:
            ValueError: without augmentation.
        """
        if self.second_view is None:
            raise ValueError("there are no two augmented views of this batch: set augmentation=random_shift")
        observations, next_observations = self.second_view()
        return LatentBatch(
            observations, next_observations, self.actions, self.rewards, self.dones, self.discounts, self.encode
        )


def embeddings_of(model: BaseModel, encoder: Callable[[Any], th.Tensor], observation: Any) -> np.ndarray:
    """Return the embeddings of a batch of observations, ``float32[B, D]``.

    Args:
        model: whose observations they are; it is put into evaluation mode.
        encoder: of preprocessed observations.
        observation: as the environment gives them, with a leading batch axis.

    Raises:
        ValueError: for a single observation.
    """
    model.set_training_mode(False)
    tensor, batched = model.obs_to_tensor(observation)
    if not batched:
        raise ValueError("embed() takes a batch of observations: add a leading axis")
    with th.no_grad():
        return encoder(preprocess_obs(tensor, model.observation_space, model.normalize_images)).float().cpu().numpy()


def effective_rank(z: th.Tensor) -> th.Tensor:
    """Return how many dimensions embeddings ``float[B, D]`` fill: the exponential of their spectrum's entropy.

    1 means that all lie on a line: a collapse. NaN if an embedding is not finite. Source: Roy and Vetterli (2007), "The
    effective rank".
    """
    if not th.isfinite(z).all():  # which the decomposition refuses
        return z.new_tensor(float("nan"))
    values = th.linalg.svdvals((z - z.mean(dim=0)).float())
    share = values / values.sum().clamp_min(1e-12)
    return th.exp(-(share * th.log(share.clamp_min(1e-12))).sum())
