"""Stock DQN with hindsight experience replay learns to find goals on small Nav2D grids.

python docs/examples/dqn_her_nav2d.py
"""

import argparse

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import DQN, HerReplayBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

import bisimgym  # noqa: F401  (registers the ids)


class GridExtractor(BaseFeaturesExtractor):
    """Three planes of -1 and +1 (obstacles, agent, goal), and a small convolution over them."""

    def __init__(self, space: gym.spaces.Dict, features: int = 128):
        super().__init__(space, features)
        self.size = space["observation"].shape[-1]
        self.net = th.nn.Sequential(
            th.nn.Conv2d(3, 32, 3, padding=1),
            th.nn.ReLU(),
            th.nn.Conv2d(32, 32, 3, padding=1),
            th.nn.ReLU(),
            th.nn.Flatten(),
            th.nn.Linear(32 * self.size**2, features),
            th.nn.ReLU(),
        )

    def forward(self, observation):
        # SB3 hands images channel first and divides them by 255.
        image, goal = observation["observation"], observation["desired_goal"].long()
        plane = th.zeros_like(image[:, :1])
        plane[th.arange(len(image)), 0, goal[:, 0], goal[:, 1]] = 1.0
        return self.net(th.cat([image, plane], dim=1) * 2 - 1)


def success(env: gym.Env, model: DQN | None, episodes: int = 200) -> float:
    """Return the fraction of held-out layouts on which the goal is reached (random actions without a model)."""
    reached = []
    env.action_space.seed(0)
    for episode in range(episodes):
        observation, _ = env.reset(seed=1_000_000 + episode)
        terminated = truncated = False
        while not (terminated or truncated):
            action = (
                env.action_space.sample() if model is None else int(model.predict(observation, deterministic=True)[0])
            )
            observation, _, terminated, truncated, info = env.step(action)
        reached.append(info["is_success"])
    return float(np.mean(reached))


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--size", type=int, default=8)
parser.add_argument("--steps", type=int, default=20_000)
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

task = {"size": arguments.size, "num_obstacles": 3, "min_goal_distance": arguments.size // 2, "max_episode_steps": 30}
env = gym.make("bisimgym/Nav2DGoal-v0", **task)
model = DQN(
    "MultiInputPolicy",
    env,
    replay_buffer_class=HerReplayBuffer,
    replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
    policy_kwargs={"features_extractor_class": GridExtractor, "net_arch": [128]},
    learning_rate=5e-4,
    buffer_size=40_000,
    learning_starts=1_000,
    batch_size=128,
    gamma=0.95,
    train_freq=4,
    target_update_interval=500,
    exploration_fraction=0.3,
    exploration_final_eps=0.1,
    seed=arguments.seed,
    device="cpu",
)
print(f"random actions reach {100 * success(env, None):.0f} % of the goals of 200 unseen layouts")
model.learn(arguments.steps, progress_bar=True)
print(f"DQN + HER reaches {100 * success(env, model):.0f} %")
