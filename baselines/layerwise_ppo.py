"""PPO for agents that decide layer by layer: an encoder for each layer, means that start at a budget, a range penalty.

The policy of "Storage Efficient and Dynamic Flexible Runtime Channel Pruning via Deep Reinforcement Learning" (NeurIPS
2020), for :class:`stable_baselines3.PPO`, without its recurrence: what that would have to remember is in the
observation. Initial values and the penalty are those of the authors' code.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F

from bisimgym.baselines import needs_torch  # noqa: F401


class LayerEncoder(BaseFeaturesExtractor):
    """A linear map and a ReLU for each layer; the first entries of an observation say which, one-hot.

    Args:
        observation_space: of vectors.
        num_layers: how many entries say it.
        features_dim: outputs.
    """

    def __init__(self, observation_space: gym.Space, num_layers: int, features_dim: int = 128):
        super().__init__(observation_space, features_dim)
        assert observation_space.shape is not None
        self.num_layers = num_layers
        self.maps = nn.ModuleList(nn.Linear(observation_space.shape[0], features_dim) for _ in range(num_layers))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Return ``float32[B, features_dim]`` of observations, ``float32[B, n]``; zeros where no layer is named."""
        outputs = th.stack([encode(observations) for encode in self.maps], dim=1)
        return F.relu((outputs * observations[:, : self.num_layers, None]).sum(dim=1))


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

    def mean_of_layer(self, layer: int, observations: th.Tensor) -> th.Tensor:
        """Return ``float32[B, A]``: the means for observations that all are of one layer, by its encoder alone."""
        extractor = self.features_extractor
        assert isinstance(extractor, LayerEncoder)
        with th.no_grad():
            return self.action_net(F.relu(extractor.maps[layer](observations)))

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
