"""Runtime Neural Pruning (Lin et al. 2017) by SB3's DQN: how many groups of channels each layer computes.

Channels are in four groups per layer, and a layer computes the first ones: groups are of static importance, the same
for every picture. The reward is minus the loss at the end and a penalty for each group that is computed. The paper was
not at hand: four groups is what we know it to have, the penalties are ours, and the agent sees what ours see, without
the paper's recurrence. Nothing in its reward knows the budget.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn
from torch import nn

from bisimgym.baselines.layerwise_ppo import LayerEncoder
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

GROUPS = 4


class GroupChoice(VecEnvWrapper):
    """Pruning environments whose actions are numbers of groups, with the reward of RNP.

    Args:
        venv: of the runtime agent, with ``ranking="static"``.
        task: theirs.
        penalty: for each group that is computed, in units of the mean loss.
    """

    def __init__(self, venv: VecEnv, task: Any, penalty: float):
        super().__init__(venv, action_space=spaces.Discrete(GROUPS))
        self.task, self.penalty = task, penalty
        self._groups = np.zeros(venv.num_envs)

    def reset(self) -> Any:
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        self._groups = actions + 1
        self.venv.step_async(self.task.action(self._groups / GROUPS))

    def step_wait(self) -> VecEnvStepReturn:
        observation, reward, done, infos = self.venv.step_wait()
        reward = -self.penalty * self._groups.astype(np.float32)
        for index in np.flatnonzero(done).tolist():
            reward[index] -= infos[index]["loss"] / self.task.loss_scale
        return observation, reward, done, infos


class GroupAgent:
    """A trained DQN as an agent of the pruning environments: the greedy number of groups as an action of theirs.

    Args:
        model: of :func:`make_dqn`.
        task: of the environments.
    """

    def __init__(self, model: DQN, task: Any):
        self.model, self.task = model, task

    def parts(self) -> tuple[LayerEncoder, nn.Module]:
        """Return the encoders and the head that are computed for every picture."""
        network: Any = self.model.policy.q_net
        return network.features_extractor, network.q_net

    def predict(
        self, observation: np.ndarray, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """Return ``float32[B, 1]`` and ``state``."""
        groups, _ = self.model.predict(observation, deterministic=True)
        return self.task.action((groups + 1) / GROUPS), state


def make_dqn(envs: Any, seed: int, learning_rate: float, features: int, penalty: float) -> DQN:
    """Return DQN with an encoder for each layer and no discount."""
    task, num_envs = envs.unwrapped.task, envs.num_envs
    episode = num_envs * task.num_layers
    return DQN(
        "MlpPolicy",
        GroupChoice(SB3VecEnv(envs), task, penalty),
        learning_rate=learning_rate,
        buffer_size=max(20_000, 4 * episode),
        learning_starts=episode,
        batch_size=256,
        gamma=1.0,
        train_freq=1,
        gradient_steps=8,
        target_update_interval=16 * num_envs,
        exploration_fraction=0.5,
        exploration_final_eps=0.05,
        policy_kwargs={
            "net_arch": [],
            "features_extractor_class": LayerEncoder,
            "features_extractor_kwargs": {"num_layers": task.num_layers, "features_dim": features},
        },
        seed=seed,
        device="cpu",
    )
