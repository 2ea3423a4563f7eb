"""The network of the imitation learner, and how the paper scored it."""

from __future__ import annotations

import functools
from typing import Any, Protocol

from bisimgym.baselines import core  # noqa: F401

# isort: split
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from bisimgym.baselines.core.encoder import JumpingEncoder, glorot_uniform
from bisimgym.baselines.core.precision import autocast
from bisimgym.baselines.pse.augmentation import convolve_frames, random_kernel


class ImitationPolicy(BasePolicy):
    """Encoder, actor and, for contrastive alignment, a projection. Predicts from channel-last uint8 images.

    Ties of the two logits go to the lower action.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Discrete,
        projection_dim: int | None = None,
        precision: str = "float32",
        generator: th.Generator | None = None,
    ):
        super().__init__(observation_space, action_space)
        height, width, channels = observation_space.shape
        self.projection_dim, self.precision = projection_dim, precision
        self.encoder = JumpingEncoder((channels, height, width))
        self.actor = nn.Linear(self.encoder.features_dim, int(action_space.n))
        self.projection = None
        if projection_dim is not None:
            self.projection = nn.Sequential(nn.Linear(self.encoder.features_dim, projection_dim), nn.ReLU())
        glorot_uniform(self, generator or th.Generator().manual_seed(0))
        self.to(memory_format=th.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form

    def images(self, observation: th.Tensor) -> th.Tensor:
        """Return ``uint8[B, H, W, C]`` observations as images in [0, 1], ``[B, C, H, W]`` in channel-last memory."""
        dtype = th.bfloat16 if self.precision == "bfloat16" else th.float32
        # Laid out as bytes first: environments hand out channel-first memory, and bytes are the least to move.
        images = observation.permute(0, 3, 1, 2).contiguous(memory_format=th.channels_last)
        return (images.float() / 255).to(dtype)

    def represent(self, images: th.Tensor) -> th.Tensor:
        """Return the representations of images in [0, 1], ``float32[B, 256]``."""
        with autocast(self.precision, images.device):
            return self.encoder(images).float()

    def forward(self, observation: th.Tensor, deterministic: bool = True) -> th.Tensor:
        return self._predict(observation, deterministic)

    def logits(self, images: th.Tensor) -> th.Tensor:
        """Return ``float32[B, A]`` from images in [0, 1]."""
        return self.actor(self.represent(images))

    def _predict(self, observation: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        logits = self.logits(self.images(observation))
        if deterministic:
            return logits.argmax(dim=1)
        return th.distributions.Categorical(logits=logits).sample()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        return {**parameters, "projection_dim": self.projection_dim, "precision": self.precision}


class _Filtered(Protocol):
    """What the voter needs of a learner."""

    policy: ImitationPolicy
    device: th.device
    frame_channels: int
    clean_probability: float


class RandConvVoter:
    """A trained policy as the paper scored it: RandConv stays on, and probabilities are averaged over 5 filters.

    Follows the agent protocol: its ``state`` holds the filters of each environment, drawn when its episode starts, as
    the authors' code makes one call per task and pass.

    Args:
        model: a learner with ``augmentation="randconv"``.
        rng: draws the filters.
        samples: number of filters.
    """

    def __init__(self, model: _Filtered, rng: np.random.Generator, samples: int = 5):
        self._model, self._rng, self._samples = model, rng, samples

    def predict(
        self,
        observation: np.ndarray,
        state: np.ndarray | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the likelier actions, ``int64[B]`` (a tie is the lower one), and the filters."""
        model, count = self._model, len(observation)
        fresh = np.ones(count, dtype=bool) if episode_start is None and state is None else episode_start
        kernels = (
            np.zeros((count, self._samples, *[model.frame_channels] * 2, 2, 2), np.float32)
            if state is None
            else state.copy()
        )
        for i in np.flatnonzero(fresh if fresh is not None else []):
            kernels[i] = [
                random_kernel(model.frame_channels, model.clean_probability, self._rng) for _ in range(self._samples)
            ]
        filters = th.from_numpy(kernels).to(model.device)
        with th.no_grad():
            images = model.policy.images(th.as_tensor(observation, device=model.device))
            passes = [
                model.policy.logits(convolve_frames(images, filters[:, s])).softmax(dim=1) for s in range(self._samples)
            ]
        return functools.reduce(th.add, passes).argmax(dim=1).cpu().numpy(), kernels
