"""The policy of layer-by-layer agents: which encoder reads what, where means start, and the penalty on their range."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.nn import functional as F

from bisimgym.baselines.layerwise_ppo import (
    EpisodeHistory,
    LayerEncoder,
    LayerRecurrence,
    LayerwiseAgent,
    LayerwisePolicy,
)

SPACE = gym.spaces.Box(-10, 10, (7,))


def policy_of(extractor, space):
    th.manual_seed(0)
    return LayerwisePolicy(
        space,
        gym.spaces.Box(-1, 1, (1,)),
        lambda _: 1e-3,
        first_mean=0.25,
        net_arch=[],
        features_extractor_class=extractor,
        features_extractor_kwargs={"num_layers": 3, "features_dim": 5},
    )


@pytest.fixture
def policy():
    return policy_of(LayerEncoder, SPACE)


def observed(layers):
    return th.cat([th.eye(3)[layers], th.randn(len(layers), 4)], dim=1)


def test_each_layer_has_an_encoder(policy):
    observations = observed([0, 2, 2])
    maps = policy.features_extractor.maps
    expected = F.relu(th.stack([maps[0](observations[0]), maps[2](observations[1]), maps[2](observations[2])]))
    th.testing.assert_close(policy.extract_features(observations), expected)
    action, _ = LayerwiseAgent(policy).predict(observations[1:].numpy())
    th.testing.assert_close(th.from_numpy(action), policy.action_net(expected[1:]).detach())
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


def test_the_recurrence_is_a_tanh_rnn_over_the_layers_so_far():
    policy = policy_of(LayerRecurrence, gym.spaces.Box(-10, 10, (21,)))
    extractor, steps = policy.features_extractor, [observed([layer] * 2) for layer in range(3)]
    memory = th.zeros(2, 5)
    for layer, step in enumerate(steps):
        memory = extractor.cell(F.relu(extractor.maps[layer](step)), memory)
        history = th.cat([*steps[: layer + 1], th.zeros(2, 7 * (2 - layer))], dim=1)
        th.testing.assert_close(extractor(history), memory)
    values, log_probability, _ = policy.evaluate_actions(history, th.zeros(2, 1))
    for loss in (values.sum(), log_probability.sum()):  # critic and actor both train all of it
        policy.zero_grad()
        loss.backward(retain_graph=True)
        assert all((part.grad != 0).any() for part in extractor.parameters())


def test_an_agent_remembers_from_the_first_layer_on():
    policy = policy_of(LayerRecurrence, gym.spaces.Box(-10, 10, (21,)))
    agent, steps = LayerwiseAgent(policy), [observed([layer] * 2) for layer in range(3)]
    with pytest.raises(ValueError, match="plays batches of episodes together, from their first layer on"):
        agent.predict(steps[1].numpy())
    for _ in range(2):
        for layer, step in enumerate(steps):
            action, _ = agent.predict(step.numpy())
            history = th.cat([*steps[: layer + 1], th.zeros(2, 7 * (2 - layer))], dim=1)
            means, _ = policy.predict(history.numpy(), deterministic=True)
            th.testing.assert_close(th.from_numpy(action).clamp(-1, 1), th.from_numpy(means))
    with pytest.raises(ValueError, match="plays batches of episodes together"):
        agent.predict(steps[1][:1].numpy())
    with pytest.raises(ValueError, match="plays batches of episodes together"):
        agent.predict(observed([0, 1]).numpy())


class Counting(DummyVecEnv):
    """Two environments that show the number of the step; the first ends after two, the second after three."""

    def __init__(self):
        super().__init__([lambda: gym.make("CartPole-v1")] * 2)
        self.observation_space = gym.spaces.Box(1, 9, (1,))
        self.at = np.zeros(2)

    def reset(self):
        self.at = np.ones(2)
        return self.at[:, None].astype(np.float32)

    def step_wait(self):
        done = self.at == [2, 3]
        self.at = np.where(done, 1, self.at + 1)
        return self.at[:, None].astype(np.float32), np.zeros(2), done, [{}, {}]


def test_histories_hold_the_episode_and_begin_anew():
    envs = EpisodeHistory(Counting(), 3)
    assert envs.observation_space.low.tolist() == [0, 0, 0]
    assert envs.reset().tolist() == [[1, 0, 0]] * 2
    found = [envs.step(np.zeros(2))[0].tolist() for _ in range(4)]
    assert [of[0] for of in found] == [[1, 2, 0], [1, 0, 0], [1, 2, 0], [1, 0, 0]]
    assert [of[1] for of in found] == [[1, 2, 0], [1, 2, 3], [1, 0, 0], [1, 2, 0]]
