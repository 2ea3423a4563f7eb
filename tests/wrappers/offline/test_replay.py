"""Offline data in replays: what is sampled is what the data set holds, and learners learn from it."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

import bisimgym  # noqa: F401
from bisimgym.baselines.core.frame_replay import FrameReplayBuffer, HerFrameReplayBuffer
from bisimgym.baselines.mico import MICoDQN, MICoSAC
from bisimgym.wrappers.offline import collect
from bisimgym.wrappers.offline.replay import fill_replay, train_offline

NAV2D = "bisimgym/Nav2D-v0"


@pytest.fixture(scope="module")
def data():
    return collect(NAV2D, "epsilon-greedy", 700, num_envs=3, epsilon=0.8)


class FlattenDict(BaseFeaturesExtractor):
    """The image alone: smaller than the stock network for images accepts."""

    def __init__(self, space):
        super().__init__(space, spaces.flatdim(space["observation"]))

    def forward(self, observations):
        return observations["observation"].flatten(1)


def sampled(model, rows, env_rows=None):
    """Return what the replay gives at some positions of one track each."""
    buffer = model.replay_buffer
    tracks = np.zeros(len(rows), dtype=int) if env_rows is None else env_rows
    before, after = buffer.observations[rows, tracks], buffer.next_observations[rows, tracks]
    dones = buffer.dones[rows, tracks] * (1 - buffer.timeouts[rows, tracks])
    return before, buffer.actions[rows, tracks], buffer.rewards[rows, tracks], after, dones


@pytest.mark.parametrize("replay", [None, FrameReplayBuffer])
def test_a_replay_holds_the_data(data, replay):
    model = DQN("MlpPolicy", gym.make(NAV2D), buffer_size=1000, replay_buffer_class=replay)
    assert fill_replay(model, data) == len(data)
    rows = np.random.default_rng(0).permutation(len(data))
    batch = data.sample(rows)
    before, actions, rewards, after, dones = sampled(model, rows)
    np.testing.assert_array_equal(before, batch.observations.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(after, batch.next_observations.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(actions[:, 0], batch.actions)
    np.testing.assert_array_equal(rewards, batch.rewards)
    np.testing.assert_array_equal(dones, batch.terminated)
    assert batch.truncated.any()
    samples = model.replay_buffer.sample(64)
    assert samples.observations.shape == (64, 3, 20, 20)


@pytest.mark.parametrize("replay", [None, FrameReplayBuffer])
def test_several_environments_share_the_rows(data, replay):
    model = DQN("MlpPolicy", make_vec_env(NAV2D, 4), buffer_size=1200, replay_buffer_class=replay)
    count = fill_replay(model, data)
    assert count == len(data) - len(data) % 4
    share = count // 4
    rows = np.arange(count)
    batch = data.sample(rows)
    before, actions, rewards, after, dones = sampled(model, rows % share, rows // share)
    np.testing.assert_array_equal(before, batch.observations.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(after, batch.next_observations.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(actions[:, 0], batch.actions)
    np.testing.assert_array_equal(rewards, batch.rewards)
    np.testing.assert_array_equal(dones, batch.terminated)


def test_actions_are_scaled_as_the_algorithm_scales_them():
    data = collect("Pendulum-v1", "random", 300, num_envs=2)
    model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=1000, policy_kwargs={"net_arch": [8]}, learning_starts=0)
    assert fill_replay(model, data, num_steps=250) == 250
    actions = model.replay_buffer.actions[:250, 0]
    np.testing.assert_allclose(actions, data.actions[:250] / 2, atol=1e-6)
    assert not sampled(model, np.arange(250))[4].any()  # pendulums never end but by time
    old = model.actor.state_dict()["mu.weight"].clone()
    train_offline(model, 20)
    assert model.num_timesteps == 20
    assert (model.actor.state_dict()["mu.weight"] != old).any()
    model.learn(10)


@pytest.mark.parametrize("replay", [HerReplayBuffer, HerFrameReplayBuffer])
def test_hindsight_relabels_it(replay):
    data = collect("bisimgym/Nav2DGoal-v0", "random", 400, num_envs=2)
    model = DQN(
        "MultiInputPolicy",
        gym.make("bisimgym/Nav2DGoal-v0"),
        buffer_size=1000,
        replay_buffer_class=replay,
        replay_buffer_kwargs={"goal_selection_strategy": "final"},
        policy_kwargs={"net_arch": [8], "features_extractor_class": FlattenDict},
    )
    assert fill_replay(model, data) == len(data)
    samples = model.replay_buffer.sample(200)
    reached = (samples.next_observations["achieved_goal"] == samples.next_observations["desired_goal"]).all(dim=1)
    np.testing.assert_array_equal(samples.rewards[:, 0].numpy() == 0, reached.numpy())
    assert reached.any()
    real = np.unique(data.sample(np.arange(len(data))).observations["desired_goal"], axis=0)
    wished = np.unique(samples.observations["desired_goal"].numpy(), axis=0)
    assert len(np.unique(np.concatenate([real, wished]), axis=0)) > len(real)


def test_hindsight_keeps_what_the_model_collected_apart():
    """An episode that the model has not finished is not joined with the first one of the data."""
    data = collect("bisimgym/Nav2DGoal-v0", "random", 100, num_envs=2)
    model = DQN(
        "MultiInputPolicy",
        gym.make("bisimgym/Nav2DGoal-v0"),
        buffer_size=1000,
        learning_starts=1000,
        replay_buffer_class=HerReplayBuffer,
        policy_kwargs={"net_arch": [8], "features_extractor_class": FlattenDict},
    )
    model.learn(8)
    fill_replay(model, data)
    lengths = model.replay_buffer.ep_length[: 8 + len(data), 0]
    np.testing.assert_array_equal(lengths[:8], 8)
    np.testing.assert_array_equal(lengths[8:], data.lengths[data.episode])


@pytest.mark.parametrize(("learner", "env_id"), [(MICoSAC, "bisimgym/LQRDistractors-v0"), (MICoDQN, "CartPole-v1")])
def test_methods_of_this_package_train_on_it(learner, env_id):
    data = collect(env_id, "random", 200, num_envs=2)
    model = learner("MlpPolicy", gym.make(env_id), buffer_size=1000, batch_size=16, seed=0)
    assert fill_replay(model, data) == len(data)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    train_offline(model, 20)
    after = list(model.policy.parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def test_target_networks_follow_the_schedule(data):
    model = DQN("MlpPolicy", gym.make(NAV2D), buffer_size=1000, train_freq=4, target_update_interval=40, seed=0)
    fill_replay(model, data)
    target = model.q_net_target.state_dict()
    first = {key: value.clone() for key, value in target.items()}
    train_offline(model, 36)
    assert all((target[key] == first[key]).all() for key in first)
    assert any((model.q_net.state_dict()[key] != first[key]).any() for key in first)
    train_offline(model, 4)
    assert any((target[key] != first[key]).any() for key in first)


def test_a_stock_dqn_learns_from_random_data_alone():
    lake = {"is_slippery": False}
    data = collect("FrozenLake-v1", "random", 6000, num_envs=20, env_kwargs=lake, seed=1)
    model = DQN(
        "MlpPolicy",
        gym.make("FrozenLake-v1", **lake),
        buffer_size=10_000,
        learning_rate=3e-3,
        gamma=0.9,
        train_freq=1,
        target_update_interval=50,
        policy_kwargs={"net_arch": [32]},
        seed=0,
    )
    fill_replay(model, data)
    train_offline(model, 1500)
    played = collect("FrozenLake-v1", model, 100, num_envs=2, env_kwargs=lake)
    assert data.rewards.sum() / data.num_episodes < 0.1
    assert played.rewards.sum() == played.num_episodes
    assert played.lengths.max() == 6  # the shortest way


def test_bad_input(data):
    model = DQN("MlpPolicy", gym.make(NAV2D), buffer_size=500)
    with pytest.raises(ValueError, match="room for 500 transitions, and 7.. are to go in"):
        fill_replay(model, data)
    assert model.replay_buffer.size() == 0
    with pytest.raises(ValueError, match="the replay is empty"):
        train_offline(model, 10)
    fill_replay(model, data, num_steps=400)
    with pytest.raises(ValueError, match="room for 100"):
        fill_replay(model, data, num_steps=101)
    other = DQN("MlpPolicy", gym.make(NAV2D, size=12), buffer_size=1000)
    with pytest.raises(ValueError, match="has other observation spaces"):
        fill_replay(other, data)
    with pytest.raises(ValueError, match="has other action spaces"):
        fill_replay(DQN("MlpPolicy", "CartPole-v1", buffer_size=1000), data)
    with pytest.raises(ValueError, match="has other observation spaces|the data set has other"):
        fill_replay(DQN("MlpPolicy", "CartPole-v1", buffer_size=1000), collect("Acrobot-v1", "random", 50))
    with pytest.raises(ValueError, match="PPO has no replay buffer"):
        fill_replay(PPO("MlpPolicy", gym.make("CartPole-v1")), data)
