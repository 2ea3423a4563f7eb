"""An outside agent in one file, as CleanRL writes them: DQN for any suite with finite actions and arrays to see.

bisimgym evaluate markov --task uniform --agent single_file_dqn:make --name dqn --budget 100000
"""

from dataclasses import dataclass

import numpy as np
import torch as th
from torch import nn


@dataclass
class Args:
    learning_rate: float = 5e-4
    gamma: float = 0.9
    buffer_size: int = 20_000
    batch_size: int = 128
    start_epsilon: float = 1.0
    end_epsilon: float = 0.05
    exploration_fraction: float = 0.5
    learning_starts: int = 1_000
    target_interval: int = 200  # updates


def network(space, actions):
    width = int(np.prod(space.shape))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, actions)
    )


class DQN:
    """Follows the agent protocol with ``learn``."""

    def __init__(self, args=None):
        self.args = args or Args()

    def _values(self, net, observation):
        observation = th.as_tensor(np.asarray(observation), dtype=th.float32)
        return net(observation / 255 if self.is_image else observation)

    def learn(self, envs, budget, seed):
        args, n = self.args, envs.num_envs
        th.manual_seed(seed)
        rng = np.random.default_rng(seed)
        space, actions = envs.single_observation_space, int(envs.single_action_space.n)
        self.is_image = space.dtype == np.uint8
        self.net, target = network(space, actions), network(space, actions)
        target.load_state_dict(self.net.state_dict())
        optimizer = th.optim.Adam(self.net.parameters(), lr=args.learning_rate)
        size = max(args.buffer_size // n, 2)
        seen, following = (np.zeros((size, n, *space.shape), space.dtype) for _ in range(2))
        acts, rewards, ends = np.zeros((size, n), np.int64), np.zeros((size, n), np.float32), np.zeros((size, n), bool)
        observation, _ = envs.reset(seed=seed)
        for step in range(budget // n):
            decay = min(step * n / max(args.exploration_fraction * budget, 1), 1)
            epsilon = args.start_epsilon + (args.end_epsilon - args.start_epsilon) * decay
            action = np.where(rng.random(n) < epsilon, rng.integers(actions, size=n), self.predict(observation)[0])
            after, reward, terminated, truncated, info = envs.step(action)
            at = step % size
            seen[at], acts[at], rewards[at], ends[at], following[at] = observation, action, reward, terminated, after
            for i in np.flatnonzero(terminated | truncated):  # these environments have started over already
                following[at, i] = info["final_obs"][i]
            observation = after
            if step * n < args.learning_starts:
                continue
            rows, columns = (
                rng.integers(min(step + 1, size), size=args.batch_size),
                rng.integers(n, size=args.batch_size),
            )
            with th.no_grad():
                best = self._values(target, following[rows, columns]).max(dim=1).values
                goal = th.as_tensor(rewards[rows, columns]) + args.gamma * best * th.as_tensor(~ends[rows, columns])
            value = self._values(self.net, seen[rows, columns]).gather(1, th.as_tensor(acts[rows, columns])[:, None])
            loss = nn.functional.mse_loss(value[:, 0], goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % args.target_interval == 0:
                target.load_state_dict(self.net.state_dict())

    @th.no_grad()
    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return self._values(self.net, observation).argmax(dim=1).numpy(), state


def make():
    return DQN()
