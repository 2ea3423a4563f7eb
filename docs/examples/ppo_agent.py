"""An outside agent that learns: PPO of Stable-Baselines3 on the training tasks of a suite, in a few minutes.

bisimgym evaluate markov --task uniform --agent ppo_agent:PPOAgent --name ppo --budget 300000
"""

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from bisimgym.wrappers.sb3_vec_env import SB3VecEnv


class PPOAgent:
    """Follows the agent protocol with ``learn`` and ``save``; its policy follows the observations."""

    def learn(self, envs, budget, seed):
        space = envs.single_observation_space
        self.model = PPO(
            "CnnPolicy" if space.dtype == np.uint8 else "MlpPolicy",
            VecMonitor(SB3VecEnv(envs)),  # the monitor is what SB3 logs returns of episodes by
            n_steps=128,
            batch_size=256,
            n_epochs=4,
            learning_rate=lambda remaining: 1e-3 * remaining,
            ent_coef=0.01,
            seed=seed,
            device="cpu",
        )
        self.model.learn(budget)

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return self.model.predict(observation, deterministic=deterministic)

    def save(self, path):
        self.model.save(path)
