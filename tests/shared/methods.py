"""All agents with metric losses, small."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv

import bisimgym  # noqa: F401
from bisimgym.baselines.ambs import AMBSSAC
from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC
from bisimgym.baselines.curl import CURLSAC
from bisimgym.baselines.dbc import DBCDQN, DBCSAC
from bisimgym.baselines.deepmdp import DeepMDPSAC
from bisimgym.baselines.drq import DrQSAC
from bisimgym.baselines.mico import MICoDQN, MICoSAC
from bisimgym.baselines.rap import RAPDQN, RAPSAC
from bisimgym.baselines.recursive_similarity import RSSDQN
from bisimgym.baselines.robust_dbc import RobustDBCSAC
from bisimgym.baselines.self_prediction import SelfPredictionSAC
from bisimgym.baselines.simsr import SimSRSAC
from bisimgym.baselines.slac import SLACSAC

#: Methods that are for images, with the networks of such.
ON_PICTURES = [DrQSAC, CURLSAC, SLACSAC]
SACS = [MetricSAC, MICoSAC, DBCSAC, RobustDBCSAC, RAPSAC, AMBSSAC, SimSRSAC, DeepMDPSAC, SelfPredictionSAC]
SACS += ON_PICTURES


DQNS = [MetricDQN, MICoDQN, DBCDQN, RAPDQN, RSSDQN]


METHODS = SACS + DQNS


every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)


class Picture(gym.Env):
    """Pictures of noise, continuous actions."""

    action_space = gym.spaces.Box(-1, 1, (2,))

    def __init__(self, size=20):
        self.observation_space = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)

    def _picture(self):
        return self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._picture(), {}

    def step(self, action):
        return self._picture(), float(action[0]), False, bool(self.np_random.random() < 0.1), {}


def env_of(method, count=1):
    if method in ON_PICTURES:
        return DummyVecEnv([Picture] * count)
    return DummyVecEnv([lambda: gym.make("Pendulum-v1" if method in SACS else "CartPole-v1")] * count)


def make(method, env=None, policy=None, **arguments):
    settings = {"learning_starts": 20, "train_freq": 1, "buffer_size": 500, "batch_size": 16, "seed": 2}
    if method in ON_PICTURES:
        small = {"net_arch": [8], "features_extractor_kwargs": {"channels": 4}}
        settings |= {"train_freq": 4, "batch_size": 4, "features_dim": 8, "policy_kwargs": small}
    policy = policy or ("PixelPolicy" if method in ON_PICTURES else "MlpPolicy")
    return method(policy, env or env_of(method), device="cpu", **{**settings, **arguments})


def parameters(model):
    both = {**model.policy.state_dict(), **model.representation.state_dict()}
    return {name: value.clone() for name, value in both.items() if isinstance(value, th.Tensor)}
