"""What users of Stable-Baselines3 do with a model works with these, or says why not."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize, VecTransposeImage
from torch import nn

import bisimgym  # noqa: F401
from bisimgym.baselines.ambs import AMBSSAC
from bisimgym.baselines.core.checkpoint import load_checkpoint, save_checkpoint
from bisimgym.baselines.core.extractors import ImageExtractor
from bisimgym.baselines.mico import MICoDQN, MICoSAC
from bisimgym.baselines.offline import OfflineRepresentation
from bisimgym.baselines.robust_dbc import RobustDBCSAC

SMALL = {"learning_starts": 8, "batch_size": 4, "buffer_size": 200, "seed": 1, "device": "cpu"}


class Random(gym.Env):
    """Random observations of a space, episodes of 5 steps."""

    def __init__(self, observation_space, action_space=None):
        self.observation_space = observation_space
        self.action_space = action_space or spaces.Discrete(2)

    def _observation(self):
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        return self._observation(), {}

    def step(self, action):
        self.left -= 1
        return self._observation(), float(self.np_random.random()), self.left == 0, False, {}


def copies(make, count=2):
    return DummyVecEnv([make] * count)


def pendulums(count=2):
    return copies(lambda: gym.make("Pendulum-v1"), count)


def pictures(shape=(40, 40, 3), kind=np.uint8, high=255):
    return lambda: Random(spaces.Box(0, high, shape, kind))


def equal(one, two):
    return all(th.equal(a, b) for a, b in zip(one.policy.parameters(), two.policy.parameters(), strict=True))


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda: (MICoSAC, "MlpPolicy", VecNormalize(pendulums())),
        lambda: (MICoSAC, "MlpPolicy", VecNormalize(VecFrameStack(pendulums(), 2))),
        lambda: (MICoDQN, "CnnPolicy", VecNormalize(VecTransposeImage(copies(pictures())), norm_obs=False)),
    ],
)
def test_checkpoints_keep_the_wrappers_of_sb3(wrapped, tmp_path):
    def start():
        algorithm, policy, env = wrapped()
        return algorithm(policy, env, **SMALL)

    whole = start().learn(40).learn(40, reset_num_timesteps=False)
    parted = start().learn(40)
    save_checkpoint(parted, tmp_path / "checkpoint")
    statistics = parted.get_vec_normalize_env().ret_rms.mean
    again = load_checkpoint(type(parted), tmp_path / "checkpoint", "cpu")
    assert again.get_vec_normalize_env().ret_rms.mean == statistics != 0
    again.learn(40, reset_num_timesteps=False)
    assert not equal(again, parted)
    assert equal(again, whole)


class Normalized(BaseFeaturesExtractor):
    def __init__(self, observation_space, features_dim=8, norm="none"):
        super().__init__(observation_space, features_dim)
        count = int(np.prod(observation_space.shape))
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(count, features_dim), nn.BatchNorm1d(features_dim))

    def forward(self, observations):
        return self.net(observations)


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [
        (MICoSAC, {}),
        (MICoDQN, {"encoder_tau": 0.05, "target_update_interval": 10_000}),
    ],
)
def test_targets_have_the_statistics_of_batch_norm(algorithm, arguments):
    action_space = spaces.Box(-1, 1, (2,)) if algorithm is MICoSAC else None
    env = Random(spaces.Box(-1, 1, (3, 4)), action_space)
    policy_kwargs = {"features_extractor_class": Normalized}
    model = algorithm("MlpPolicy", env, policy_kwargs=policy_kwargs, **SMALL, **arguments).learn(60)
    online, target = (encoder.net[2].running_var for encoder in model.encoders())
    assert not th.equal(online, th.ones(8))
    assert th.equal(online, target)


@pytest.mark.parametrize("envs", [1, 2])
def test_a_model_of_pictures_is_loaded_with_next_to_no_replay(envs, tmp_path):
    model = MICoDQN("CnnPolicy", copies(pictures(), envs), **SMALL).learn(20)
    model.save(tmp_path / "model")
    loaded = MICoDQN.load(tmp_path / "model", env=model.env, buffer_size=1, device="cpu")
    assert equal(loaded, model)
    assert loaded.replay_buffer.buffer_size == 2
    loaded.learn(12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Random(spaces.Box(-10, 10, (40, 40, 3))),
        lambda: VecNormalize(copies(pictures())),
        lambda: Random(spaces.Box(-1, 1, (5,))),
    ],
)
def test_what_is_no_picture_is_refused(make):
    with pytest.raises(ValueError, match=r"needs images, uint8\[C, H, W\].*MlpPolicy.*normalize_images"):
        MICoDQN("CnnPolicy", make(), **SMALL)


def test_pictures_that_are_scaled_already():
    scaled = {"policy_kwargs": {"normalize_images": False}, **SMALL}
    model = MICoDQN("CnnPolicy", pictures((3, 40, 40), np.float32, 1)(), **scaled).learn(20)
    assert model.encoders()[0].convolutions[0].in_channels == 3
    with pytest.raises(ValueError, match=r"channels first, \[C, H, W\], got Box"):
        MICoDQN("CnnPolicy", pictures((40, 40, 3), np.float32, 1)(), **scaled)
    space = spaces.Dict(picture=spaces.Box(0, 1, (3, 40, 40)), vector=spaces.Box(-1, 1, (3,)))
    for algorithm, actions in ((MICoDQN, None), (MICoSAC, spaces.Box(-1, 1, (2,)))):
        model = algorithm("MultiInputPolicy", Random(space, actions), **scaled).learn(20)
        parts = model.encoders()[0].parts
        assert isinstance(parts["picture"], ImageExtractor)
        assert isinstance(parts["vector"], nn.Flatten)


@pytest.mark.parametrize("algorithm", [MICoSAC, AMBSSAC, RobustDBCSAC])
def test_trained_models_are_copied(algorithm):
    model = algorithm("MlpPolicy", pendulums(1), **SMALL).learn(20)
    twin = copy.deepcopy(model)
    assert equal(twin, model)
    twin.learn(20, reset_num_timesteps=False)
    assert not equal(twin, model)


def test_batches_of_one_train():
    model = MICoSAC("MlpPolicy", pendulums(1), **{**SMALL, "batch_size": 1}).learn(20)
    assert model.logger.name_to_value["train/distance_std"] == 0


@pytest.mark.parametrize(("asked", "fused"), [({"foreach": True}, None), ({"fused": False}, False), ({}, True)])
def test_another_implementation_of_the_optimizer_can_be_asked_for(asked, fused):
    policy_kwargs = {"optimizer_kwargs": asked}
    model = MICoSAC("MlpPolicy", pendulums(1), policy_kwargs=policy_kwargs, **SMALL).learn(20)
    assert model.critic.optimizer.defaults["fused"] is fused


def test_policies_without_an_encoder_are_refused():
    for policy in (stable_baselines3.sac.MlpPolicy, stable_baselines3.dqn.MlpPolicy):
        with pytest.raises(ValueError, match=r"subclass of EncoderSACPolicy.*got stable_baselines3"):
            MICoSAC(policy, pendulums(1), **SMALL)


def test_files_are_loaded_with_the_arguments_of_the_policy(tmp_path):
    policy_kwargs = {"net_arch": [8]}
    model = MICoDQN("MlpPolicy", gym.make("CartPole-v1"), policy_kwargs=policy_kwargs, features_dim=6, **SMALL)
    model.save(tmp_path / "model")
    loaded = MICoDQN.load(tmp_path / "model", policy_kwargs={"net_arch": [8]}, device="cpu")
    assert equal(loaded, model)
    assert loaded.encoders()[0].features_dim == 6


def test_files_of_sb3_are_told_apart(tmp_path):
    SAC("MlpPolicy", pendulums(1), **SMALL).save(tmp_path / "stock")
    with pytest.raises(ValueError, match="saved by another algorithm: load it with that class, not MICoSAC"):
        MICoSAC.load(tmp_path / "stock")


def test_vector_environments_are_refused_wherever_they_are_given(tmp_path):
    model = MICoDQN("MlpPolicy", gym.make("CartPole-v1"), **SMALL)
    model.save(tmp_path / "model")
    envs = gym.make_vec("CartPole-v1", num_envs=2)
    for give in (
        lambda: MICoDQN("MlpPolicy", envs),
        lambda: model.set_env(envs),
        lambda: MICoDQN.load(tmp_path / "model", env=envs),
    ):
        with pytest.raises(ValueError, match="must be wrapped: .*SB3VecEnv"):
            give()


def test_encoders_of_ones_own_take_the_bound_that_they_are_told():
    env = Random(spaces.Box(-1, 1, (3, 4)), spaces.Box(-1, 1, (2,)))
    message = r"must take features_dim and norm and cap_radius, got Normalized without \['cap_radius'\]"
    with pytest.raises(ValueError, match=message):
        MICoSAC("MlpPolicy", env, norm="cap", policy_kwargs={"features_extractor_class": Normalized}, **SMALL)
    with pytest.raises(ValueError, match=message):
        OfflineRepresentation(env.observation_space, env.action_space, "mico", norm="cap", extractor_class=Normalized)


def test_the_discount_is_one_for_all(tmp_path):
    model = RobustDBCSAC("MlpPolicy", pendulums(1), **SMALL)
    assert model.representation.metric.radius == model.policy.encoder.norm.radius == pytest.approx(50)
    model.save(tmp_path / "model")
    loaded = RobustDBCSAC.load(tmp_path / "model", env=model.env, gamma=0.9, device="cpu")
    assert loaded.representation.metric.radius == loaded.policy.encoder.norm.radius == pytest.approx(5)
    loaded.learn(12)
    loaded.gamma = 0.5
    with pytest.raises(ValueError, match="gamma was set to 0.5 after the metric had been built with 0.9"):
        loaded.learn(12)


def test_losses_are_logged_to_the_last_update(tmp_path):
    model = MICoSAC("MlpPolicy", pendulums(1), **SMALL)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(20)
    assert {"train/critic_loss", "train/metric_loss", "train/effective_rank"} <= set(model.logger.name_to_value)


def test_subclasses_may_leave_the_losses_out():
    class Plain(MICoSAC):
        def auxiliary_losses(self, batch):
            return {"size": 1e-3 * batch.z.square().mean()}

    logged = Plain("MlpPolicy", pendulums(1), **SMALL).learn(20).logger.name_to_value
    assert logged["train/size"] > 0
    assert "train/metric_loss" not in logged
