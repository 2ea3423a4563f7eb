"""Stock PPO learns to tell the hidden state of a Markov chain from its noisy signals.

A single frame leaves doubt, so PPO sees the last eight of them, by SB3's own frame stacking. Its accuracy is printed
beside those of uniform guesses, of the best classifier without memory and of the exact filter, the bound of all.

python docs/examples/ppo_markov_signal.py
"""

import argparse

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor
from torch import nn

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.envs.markov_signal.filters import ExactFilter, FrameMAP
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

TEST_EPISODES, TEST_SEED = 500, 1_000_000

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=1_000_000)
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
th.set_num_threads(1)  # more only wait for each other on networks this small


def make(num_envs, frames):
    envs = SB3VecEnv(gym.make_vec("bisimgym/MarkovSignal-v0", num_envs=num_envs))
    return VecMonitor(VecFrameStack(envs, frames))


model = PPO(
    "MlpPolicy",
    make(64, frames=8),
    n_steps=64,
    batch_size=512,
    n_epochs=4,
    learning_rate=lambda remaining: 2e-3 * remaining,
    gamma=0.0,  # guesses do not move the chain: each is a problem of its own
    policy_kwargs={"net_arch": [64, 64], "activation_fn": nn.ReLU},
    seed=arguments.seed,
    device="cpu",
)
model.learn(arguments.steps, progress_bar=True)


class Uniform:
    rng = np.random.default_rng(arguments.seed)

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return self.rng.integers(law.num_states, size=len(observation)), None


law = gym.make("bisimgym/MarkovSignal-v0").unwrapped.law
agents = {
    "uniform guesses": (Uniform(), 1),
    "best on single frames": (FrameMAP(law), 1),
    "PPO on eight frames": (model, 8),
    "exact filter": (ExactFilter(law), 1),
}
for name, (agent, frames) in agents.items():
    envs = make(TEST_EPISODES, frames)
    envs.seed(TEST_SEED)  # the same held-out episodes for all
    returns, lengths = evaluate_policy(agent, envs, TEST_EPISODES, return_episode_rewards=True)
    print(f"{name:<22} {np.sum(returns) / np.sum(lengths):.1%}")
