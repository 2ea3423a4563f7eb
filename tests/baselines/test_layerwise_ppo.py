"""The policy of layer-by-layer agents: which encoder reads what, where means start, and the penalty on their range."""

import gymnasium as gym
import pytest
import torch as th
from torch.nn import functional as F

from bisimgym.baselines.layerwise_ppo import LayerEncoder, LayerwisePolicy

SPACE = gym.spaces.Box(-10, 10, (7,))


@pytest.fixture
def policy():
    th.manual_seed(0)
    return LayerwisePolicy(
        SPACE,
        gym.spaces.Box(-1, 1, (1,)),
        lambda _: 1e-3,
        first_mean=0.25,
        net_arch=[],
        features_extractor_class=LayerEncoder,
        features_extractor_kwargs={"num_layers": 3, "features_dim": 5},
    )


def observed(layers):
    return th.cat([th.eye(3)[layers], th.randn(len(layers), 4)], dim=1)


def test_each_layer_has_an_encoder(policy):
    observations = observed([0, 2, 2])
    maps = policy.features_extractor.maps
    expected = F.relu(th.stack([maps[0](observations[0]), maps[2](observations[1]), maps[2](observations[2])]))
    th.testing.assert_close(policy.extract_features(observations), expected)
    th.testing.assert_close(policy.mean_of_layer(2, observations[1:]), policy.action_net(expected[1:]).detach())
    assert (policy.features_extractor(th.zeros(1, 7)) == 0).all()


def test_means_start_at_the_budget(policy):
    means, _ = policy.predict(observed([0, 1, 2] * 10).numpy(), deterministic=True)
    assert abs(means - 0.25).max() < 0.05


def test_the_entropy_is_a_penalty_on_the_mean(policy):
    observations, actions = observed([0, 1]), th.zeros(2, 1)
    assert (policy.evaluate_actions(observations, actions)[2] == 0).all()
    with th.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.fill_(1.5)
    values, log_probability, entropy = policy.evaluate_actions(observations, actions)
    th.testing.assert_close(entropy, th.full((2,), -0.5 * 0.5**2))
    assert values.shape == (2, 1)
    th.testing.assert_close(log_probability, policy.get_distribution(observations).log_prob(actions))
    (-entropy.mean()).backward()
    assert policy.action_net.bias.grad.item() == pytest.approx(0.5)
