"""Stock PPO learns one fixed jumping task from pixels, on a native vector environment.

python docs/examples/ppo_fixed_task.py
"""

import argparse

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--obstacle-position", type=int, default=20)
parser.add_argument("--floor-height", type=int, default=10)
parser.add_argument("--steps", type=int, default=60_000)
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

task = {"obstacle_position": arguments.obstacle_position, "floor_height": arguments.floor_height}
envs = VecMonitor(SB3VecEnv(gym.make_vec("bisimgym/JumpingTask-v0", num_envs=32, **task)))
model = PPO(
    "CnnPolicy",
    envs,
    n_steps=64,
    batch_size=256,
    n_epochs=4,
    ent_coef=0.01,
    seed=arguments.seed,
    device="cpu",
    verbose=1,
)
model.learn(arguments.steps, progress_bar=True)

test = gym.make("bisimgym/JumpingTask-v0", **task)
test.reset()
mean, _ = evaluate_policy(model, VecMonitor(SB3VecEnv(gym.make_vec("bisimgym/JumpingTask-v0", **task))), 1)
print(f"return {mean:.0f}; optimal {test.unwrapped.optimal_return():.0f}, random {test.unwrapped.random_return():.1f}")
