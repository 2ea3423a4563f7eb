"""Environments whose observations are noise beside numbers that are known."""

import gymnasium as gym
import numpy as np

SIZE = 17


class Fresh(gym.Env):
    """The state is drawn anew from N(0, I) at each step of an episode of ``length`` steps."""

    action_space = gym.spaces.Discrete(3)

    def __init__(self, length=100, size=SIZE):
        self.length, self.size = length, size
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.actions = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.standard_normal(self.size), {}

    def step(self, action):
        self.actions.append(int(action))
        self.time += 1
        return self.np_random.standard_normal(self.size), 0.0, False, self.time == self.length, {}


def identity(observations):
    return observations
