"""Encoders that were trained offline, in agents: frozen or fine-tuned."""

from __future__ import annotations

import copy
import os
from typing import Any, Literal

from bisimgym.baselines import core  # noqa: F401

# isort: split
import gymnasium as gym
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from bisimgym.baselines.core.auxiliary import AuxiliaryLosses
from bisimgym.baselines.core.extractors import GoalPlaneExtractor
from bisimgym.baselines.offline import OfflineRepresentation

#: The encoder that the metric's loss trains, or the one whose distances are its base (recursive state similarity).
Part = Literal["encoder", "base"]
Source = OfflineRepresentation | str | os.PathLike[str]


def pretrained_encoder(source: Source, part: Part = "encoder") -> BaseFeaturesExtractor:
    """Return an encoder that was trained offline.

    Args:
        source: an :class:`~bisimgym.baselines.offline.OfflineRepresentation`, or the path of its file.
        part: "encoder" (phi of recursive state similarity) or "base" (its psi).

    Raises:
        ValueError: for another part, or a metric without a base.
    """
    trained = source if isinstance(source, OfflineRepresentation) else OfflineRepresentation.load(source, "cpu")
    if part == "encoder":
        return trained.encoders.encoder
    base = getattr(trained.representation.metric, "base_encoder", None)
    if part != "base" or base is None:
        raise ValueError(f"part must be 'encoder', or 'base' where a metric has a base_encoder, got {part!r}")
    return base


def load_encoder(model: OffPolicyAlgorithm, source: Source, part: Part = "encoder", freeze: bool = False) -> None:
    """Put an encoder that was trained offline into an agent, in place of the agent's own and of its target's.

    The agent's optimizers stay as they are: call it before training.

    Args:
        model: a learner of this package, whose encoder is built like the one that was trained.
        source, part: see :func:`pretrained_encoder`.
        freeze: whether the agent leaves the encoder as it is; else its losses fine-tune it.

    Raises:
        ValueError: for another algorithm, or an encoder of other layers.
    """
    if not isinstance(model, AuxiliaryLosses):
        raise ValueError(
            f"load_encoder is for learners of bisimgym, got {type(model).__name__}: give an algorithm of "
            "Stable-Baselines3 policy_kwargs={'features_extractor_class': PretrainedExtractor, ...}"
        )
    state = pretrained_encoder(source, part).state_dict()
    for encoder in model.encoders():
        _fill(encoder, state)
    if freeze:
        model.encoders()[0].requires_grad_(False)


class PretrainedExtractor(BaseFeaturesExtractor):
    """An encoder that was trained offline, as features extractor of an algorithm of Stable-Baselines3.

    Args:
        observation_space: that of the data.
        source, part: see :func:`pretrained_encoder`. A path must be there too when the saved algorithm is loaded.
        freeze: whether the algorithm leaves the encoder as it is.

    Raises:
        ValueError: for an observation space other than that of the data.

    Example:
        >>> from stable_baselines3 import DQN
        >>> encoder = {"features_extractor_class": PretrainedExtractor}
        >>> kwargs = encoder | {"features_extractor_kwargs": {"source": "phi.zip", "freeze": True}}
        >>> model = DQN("CnnPolicy", env, policy_kwargs=kwargs)  # doctest: +SKIP
    """

    def __init__(self, observation_space: gym.Space, source: Source, part: Part = "encoder", freeze: bool = False):
        trained = source if isinstance(source, OfflineRepresentation) else OfflineRepresentation.load(source, "cpu")
        expected = trained.encoders.observation_space
        if observation_space != expected:
            raise ValueError(f"the encoder was trained on {expected}, and this agent sees {observation_space}")
        encoder = copy.deepcopy(pretrained_encoder(trained, part))  # an algorithm makes several, of its own each
        super().__init__(observation_space, encoder.features_dim)
        self.encoder = encoder
        if freeze:
            self.encoder.requires_grad_(False)

    def forward(self, observations: Any) -> th.Tensor:
        return self.encoder(observations)


def _fill(encoder: nn.Module, state: dict[str, th.Tensor]) -> None:
    """Copy weights into an encoder of the same layers; of one that draws the goal itself, into its images' part."""
    target = encoder.image if isinstance(encoder, GoalPlaneExtractor) else encoder
    shapes = {name: tuple(value.shape) for name, value in target.state_dict().items()}
    trained = {name: tuple(value.shape) for name, value in state.items()}
    if shapes != trained:
        name = next(name for name in {**shapes, **trained} if shapes.get(name) != trained.get(name))
        raise ValueError(
            f"the agent's encoder and the one that was trained differ: {name} is {shapes.get(name, 'not there')} and "
            f"{trained.get(name, 'not there')}; give both the same architecture, features_dim and norm"
        )
    target.load_state_dict(state)
