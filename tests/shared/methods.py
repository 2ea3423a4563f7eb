"""All agents with metric losses, small."""

import gymnasium as gym
import pytest
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv

import bisimgym  # noqa: F401
from bisimgym.baselines.ambs import AMBSSAC
from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC
from bisimgym.baselines.dbc import DBCDQN, DBCSAC
from bisimgym.baselines.deepmdp import DeepMDPSAC
from bisimgym.baselines.mico import MICoDQN, MICoSAC
from bisimgym.baselines.rap import RAPDQN, RAPSAC
from bisimgym.baselines.recursive_similarity import RSSDQN
from bisimgym.baselines.robust_dbc import RobustDBCSAC
from bisimgym.baselines.self_prediction import SelfPredictionSAC
from bisimgym.baselines.simsr import SimSRSAC

SACS = [MetricSAC, MICoSAC, DBCSAC, RobustDBCSAC, RAPSAC, AMBSSAC, SimSRSAC, DeepMDPSAC, SelfPredictionSAC]


DQNS = [MetricDQN, MICoDQN, DBCDQN, RAPDQN, RSSDQN]


METHODS = SACS + DQNS


every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)


def env_of(method, count=1):
    return DummyVecEnv([lambda: gym.make("Pendulum-v1" if method in SACS else "CartPole-v1")] * count)


def make(method, env=None, policy="MlpPolicy", **arguments):
    settings = {"learning_starts": 20, "train_freq": 1, "buffer_size": 500, "batch_size": 16, "seed": 2}
    return method(policy, env or env_of(method), device="cpu", **{**settings, **arguments})


def parameters(model):
    both = {**model.policy.state_dict(), **model.representation.state_dict()}
    return {name: value.clone() for name, value in both.items() if isinstance(value, th.Tensor)}
