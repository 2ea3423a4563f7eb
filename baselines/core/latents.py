"""A batch of transitions with its embeddings, each computed once, when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import preprocess_obs
from torch import nn

from bisimgym.baselines.losses.models import Gaussian, TransitionModel

#: ``encode(observations, target=False)``: embeddings by the encoder or by its slowly moving copy.
Encode = Callable[..., th.Tensor]


def whole(features: th.Tensor, target: bool = False) -> th.Tensor:
    """Return embeddings of an encoder that is not parted: what it gives."""
    return features


@dataclass
class LatentBatch:
    """What auxiliary losses are computed from. A batch lives for one update and owns what is computed of it.

    Attributes:
        observations, next_observations: preprocessed, as the encoder takes them.
        actions: ``float[B, A]``, one-hot for finite action spaces.
        rewards, dones: ``float[B]``. An episode cut off by a time limit is not done.
        discounts: a number, or ``float[B, 1]``.
        encode: the encoder and its target; of one that is parted, what lies before ``head``.
        head: ``head(features, target=False)``: embeddings from what ``encode`` gives, where an actor has a head of its
            own on that.
        make_second_view: returns observations and next observations in another augmentation.
        critic_input: what embeddings pass on their way to the critic.
        trains_next: whether a loss trains the encoder on next observations too. That pass then serves as ``next_z``.
        in_tandem: whether networks that only the metric has have taken their step on this batch already.
    """

    observations: Any
    next_observations: Any
    actions: th.Tensor
    rewards: th.Tensor
    dones: th.Tensor
    discounts: float | th.Tensor
    encode: Encode = field(repr=False)
    head: Encode = field(default=whole, repr=False)
    make_second_view: Callable[[], tuple[Any, Any]] | None = field(default=None, repr=False)
    critic_input: nn.Module = field(default_factory=nn.Identity, repr=False)
    trains_next: bool = False
    in_tandem: bool = False
    _predicted: dict[TransitionModel, Gaussian] = field(default_factory=dict, init=False, repr=False)
    _further_views: list[LatentBatch] = field(default_factory=list, init=False, repr=False)

    @cached_property
    def features(self) -> th.Tensor:
        """What an actor's own head takes, ``float[B, F]``, with gradients to the encoder; else the embeddings."""
        with th.enable_grad():  # whoever asks first may be computing without
            return self.encode(self.observations)

    @cached_property
    def z(self) -> th.Tensor:
        """Embeddings of the observations, ``float[B, D]``, with gradients to the encoder."""
        with th.enable_grad():
            return self.head(self.features)

    @cached_property
    def next_features(self) -> th.Tensor:
        """:attr:`features` of the next observations, without gradients."""
        if self.trains_next:
            return self._trained_next_features.detach()
        with th.no_grad():
            return self.encode(self.next_observations)

    @cached_property
    def next_z(self) -> th.Tensor:
        """Embeddings of the next observations, without gradients."""
        if self.trains_next:
            return self.trained_next_z.detach()
        with th.no_grad():
            return self.head(self.next_features)

    @cached_property
    def _trained_next_features(self) -> th.Tensor:
        with th.enable_grad():
            return self.encode(self.next_observations)

    @cached_property
    def trained_next_z(self) -> th.Tensor:
        """Embeddings of the next observations with gradients to the encoder, for losses that train it on both sides."""
        with th.enable_grad():
            return self.head(self._trained_next_features)

    @cached_property
    def target_z(self) -> th.Tensor:
        """Embeddings of the observations by the target encoder, without gradients."""
        with th.no_grad():
            return self.head(self.encode(self.observations, target=True), target=True)

    @cached_property
    def next_target_z(self) -> th.Tensor:
        """Embeddings of the next observations by the target encoder, without gradients."""
        with th.no_grad():
            return self.head(self.encode(self.next_observations, target=True), target=True)

    def members(self, model: TransitionModel) -> Gaussian:
        """Return what each member of a model predicts, ``float[M, B, D]``, with gradients. Computed once.

        A model of fewer numbers than an embedding has predicts the last ones.
        """
        if model not in self._predicted:
            with th.enable_grad():
                z = modeled(self.z if model.trains_encoder else self.z.detach(), model)
                self._predicted[model] = model.members(z, self.actions)
        return self._predicted[model]

    def predicted(self, model: TransitionModel) -> Gaussian:
        """Return the mean and standard deviation of the next embeddings, ``float[B, D]``, without gradients."""
        with th.no_grad():
            return model.mixture(self.members(model))

    def encoded_again(self) -> LatentBatch:
        """Return the batch for an encoder that has moved since; what its target made of the batch is kept."""
        again = replace(self)
        vars(again).update({name: vars(self)[name] for name in ("target_z", "next_target_z") if name in vars(self)})
        return again

    def views(self, count: int) -> list[LatentBatch]:
        """Return the transitions in ``count`` views, this one and others augmented independently; each is made once.

        Raises:
            ValueError: for more than one without augmentation.
        """
        further = self._further_views
        while len(further) < count - 1:
            if self.make_second_view is None:
                raise ValueError("there are no two augmented views of this batch: set augmentation=random_shift")
            one, two = self.make_second_view()
            made = replace(self, observations=one, next_observations=two, make_second_view=None, trains_next=False)
            further.append(made)
        return [self, *further[: count - 1]]

    @property
    def second_view(self) -> LatentBatch:
        """The second of :meth:`views`."""
        return self.views(2)[1]


def modeled(z: th.Tensor, model: TransitionModel) -> th.Tensor:
    """Return the part of embeddings that a model predicts: the last numbers."""
    return z[:, z.shape[1] - model.latent_dim :]


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
