"""PPO for agents that decide layer by layer: an encoder for each layer, means that start at a budget, a range penalty.

The policy of "Storage Efficient and Dynamic Flexible Runtime Channel Pruning via Deep Reinforcement Learning" (NeurIPS
2020), for :class:`stable_baselines3.PPO`, with or without its recurrence. Initial values and the penalty are those of
the authors' code.

The recurrence is one tanh RNN that actor and critic share and both train. Episodes are whole and short, so that it
needs no other algorithm: :class:`EpisodeHistory` puts all observations of the episode into each, and
:class:`LayerRecurrence` reads them in order. (sb3-contrib's RecurrentPPO has LSTMs alone, and what actor and critic
share its critic does not train.)
"""

from __future__ import annotations

from typing import Any

from bisimgym.baselines import core  # noqa: F401

# isort: split
import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F


class LayerEncoder(BaseFeaturesExtractor):
    """A linear map and a ReLU for each layer; the first entries of an observation say which, one-hot.

    Args:
        observation_space: of vectors.
        num_layers: how many entries say it.
        features_dim: outputs.
    """

    #: How many observations of an episode an input holds.
    histories = False

    def __init__(self, observation_space: gym.Space, num_layers: int, features_dim: int = 128):
        super().__init__(observation_space, features_dim)
        assert observation_space.shape is not None
        self.num_layers = num_layers
        inputs = observation_space.shape[0] // (num_layers if self.histories else 1)
        self.maps = nn.ModuleList(nn.Linear(inputs, features_dim) for _ in range(num_layers))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Return ``float32[B, features_dim]`` of observations, ``float32[B, n]``; zeros where no layer is named."""
        outputs = th.stack([encode(observations) for encode in self.maps], dim=1)
        return F.relu((outputs * observations[:, : self.num_layers, None]).sum(dim=1))

    def of_layer(self, layer: int, observations: th.Tensor, memory: th.Tensor | None) -> th.Tensor:
        """Return ``float32[B, features_dim]`` of observations that all are of one layer.

        Args:
            layer: from 0.
            observations: ``float32[B, n]``.
            memory: what this returned for the layer before; None at the first.
        """
        return F.relu(self.maps[layer](observations))


class LayerRecurrence(LayerEncoder):
    """A tanh RNN over the encodings of an episode's layers; inputs are those of :class:`EpisodeHistory`."""

    histories = True

    def __init__(self, observation_space: gym.Space, num_layers: int, features_dim: int = 128):
        super().__init__(observation_space, num_layers, features_dim)
        self.cell = nn.RNNCell(features_dim, features_dim)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Return ``float32[B, features_dim]`` of histories, ``float32[B, T * n]``."""
        rows = observations.unflatten(1, (self.num_layers, -1))
        reached = rows[:, :, : self.num_layers].sum(dim=(1, 2)).long()  # layers that are named so far
        memory, found = None, th.zeros(len(rows), self.features_dim, device=rows.device)
        for layer in range(self.num_layers):
            memory = self.of_layer(layer, rows[:, layer], memory)
            found = th.where((reached == layer + 1)[:, None], memory, found)
        return found

    def of_layer(self, layer: int, observations: th.Tensor, memory: th.Tensor | None) -> th.Tensor:
        return self.cell(super().of_layer(layer, observations, None), memory)


class EpisodeHistory(VecEnvWrapper):
    """Observations that hold all of the episode so far, in order, then zeros: ``float32[T * n]``.

    Args:
        venv: environments with vectors as observations, whose episodes have at most T steps.
        length: T.
    """

    def __init__(self, venv: VecEnv, length: int):
        space = venv.observation_space
        assert isinstance(space, spaces.Box)
        bounds = (np.minimum(np.tile(space.low, length), 0), np.maximum(np.tile(space.high, length), 0))
        super().__init__(venv, spaces.Box(*bounds, dtype=np.float32))
        self._rows = np.zeros((venv.num_envs, length, space.shape[0]), np.float32)
        self._step = np.zeros(venv.num_envs, dtype=np.int64)

    def reset(self) -> np.ndarray:
        observation = self.venv.reset()
        assert isinstance(observation, np.ndarray)
        return self._noted(observation, np.ones(self.num_envs, dtype=bool))

    def step_wait(self) -> VecEnvStepReturn:
        observation, reward, done, infos = self.venv.step_wait()
        assert isinstance(observation, np.ndarray)
        for index in np.flatnonzero(done).tolist():  # no step follows: it is not shown to the critic
            infos[index]["terminal_observation"] = self._rows[index].flatten()
        return self._noted(observation, done), reward, done, infos

    def _noted(self, observation: np.ndarray, begins: np.ndarray) -> np.ndarray:
        self._step = np.where(begins, 0, self._step + 1)
        self._rows[begins] = 0
        self._rows[np.arange(self.num_envs), self._step] = observation
        return self._rows.reshape(self.num_envs, -1).copy()


class LayerwisePolicy(ActorCriticPolicy):
    """A Gaussian policy whose mean starts near ``first_mean`` and whose "entropy" is a penalty on its range.

    The penalty is the smooth L1 distance of the mean from its clip to the action space; ``ent_coef`` of PPO is its
    weight. It takes the place of the entropy, which the authors do not use: PPO adds it to the loss as it is.

    Args:
        first_mean: of actions.
        **keywords: of SB3's policy.
    """

    def __init__(self, *args: Any, first_mean: float = 0.0, **keywords: Any):
        super().__init__(*args, **keywords)
        with th.no_grad():
            assert isinstance(self.action_net, nn.Linear)
            self.action_net.weight.mul_(0.2)
            self.action_net.bias.fill_(first_mean)

    def evaluate_actions(self, obs: Any, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Return values, log-probabilities, and the negative penalty, which PPO weighs by ``ent_coef``."""
        features = self.extract_features(obs)
        assert isinstance(features, th.Tensor)
        policy_latent, value_latent = self.mlp_extractor(features)
        distribution = self._get_action_dist_from_latent(policy_latent)
        assert isinstance(distribution.distribution, Normal)
        mean = distribution.distribution.mean
        penalty = F.smooth_l1_loss(mean, mean.detach().clamp(-1, 1), reduction="none").sum(dim=1)
        return self.value_net(value_latent), distribution.log_prob(actions), -penalty


class LayerwiseAgent:
    """What a trained policy does at its mean, layer by layer, for batches that are all at one layer.

    It follows the agent protocol, but remembers by itself: what it is shown at the first layer begins new episodes, and
    each call after that must be of the next layer, and of the same episodes.

    Args:
        policy: with a :class:`LayerEncoder`.
    """

    def __init__(self, policy: LayerwisePolicy):
        self.policy = policy
        self._memory: th.Tensor | None = None

    def parts(self) -> tuple[LayerEncoder, nn.Module]:
        """Return the encoders and the head of the mean: what is computed for every picture."""
        extractor = self.policy.features_extractor
        assert isinstance(extractor, LayerEncoder)
        return extractor, self.policy.action_net

    def predict(
        self, observation: np.ndarray, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """Return ``float32[B, A]``, not clipped, and ``state``.

        Raises:
            ValueError: for observations of several layers, or of other episodes than those that are under way.
        """
        extractor = self.policy.features_extractor
        assert isinstance(extractor, LayerEncoder)
        layers = np.asarray(observation)[:, : extractor.num_layers].argmax(axis=1)
        layer = int(layers[0])
        known = layer == 0 or not extractor.histories or (self._memory is not None and len(self._memory) == len(layers))
        if (layers != layer).any() or not known:
            raise ValueError("a layerwise agent plays batches of episodes together, from their first layer on")
        with th.no_grad():
            memory = self._memory if layer else None
            self._memory = extractor.of_layer(layer, th.from_numpy(np.asarray(observation, np.float32)), memory)
            return self.policy.action_net(self._memory).numpy(), state
