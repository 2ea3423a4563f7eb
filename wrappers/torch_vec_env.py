"""Environments of tensors for the off-policy learners of this package."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium import spaces

from bisimgym.wrappers.image_channels import channels_first, has_channels_last
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv, info_of

# isort: split
import torch as th


class TorchSB3VecEnv(SB3VecEnv):
    """A :class:`~bisimgym.envs.torch_vector.TorchVectorEnv` as a ``VecEnv`` whose observations stay on the device.

    The learners of :mod:`bisimgym.baselines` that derive from ``MetricSAC`` and ``MetricDQN`` take it, with a replay on
    the same device; algorithms of Stable-Baselines3 itself compute in numpy and do not. Observations and rewards are
    tensors, ends of episodes arrays of the host. Images have their channels first, which is how they lie in memory.
    Returns and lengths of episodes are recorded, as SB3's ``VecMonitor`` does.

    Args:
        envs: the environments.

    Raises:
        ValueError: for other environments.

    Example:
        >>> import bisimgym, gymnasium as gym
        >>> from bisimgym.baselines.mico import MICoDQN
        >>> from bisimgym.envs.torch_vector import TorchVectorEnv
        >>> from bisimgym.wrappers.torch_vec_env import TorchSB3VecEnv
        >>> envs = TorchSB3VecEnv(TorchVectorEnv(gym.make_vec("bisimgym/Nav2D-v0", num_envs=4), device="cpu"))
        >>> settings = {"buffer_size": 100, "learning_starts": 20, "batch_size": 4, "replay_device": "device"}
        >>> model = MICoDQN("CnnPolicy", envs, device="cpu", **settings).learn(24)
    """

    envs: Any

    def __init__(self, envs: Any):
        if not hasattr(envs, "ends_on_host"):
            raise ValueError(f"TorchSB3VecEnv takes a TorchVectorEnv, got {type(envs).__name__}: use SB3VecEnv for it")
        super().__init__(envs)
        self._start_time = time.time()
        self._images = _last_channels(self.observation_space)
        self.observation_space = channels_first(self.observation_space)
        self._returns = th.zeros(self.num_envs, device=envs.device)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self) -> Any:
        self._returns.zero_()
        self._lengths[:] = 0
        return self._shown(super().reset())

    def step_wait(self) -> Any:
        observations, rewards, _, _, vector_infos = self.envs.step(self._actions)
        terminated, truncated = self.envs.ends_on_host
        done = terminated | truncated
        rewards = rewards.float()
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        rows = np.flatnonzero(done)
        if len(rows):
            there = th.from_numpy(rows).to(self._returns.device)
            returns = self._returns[there].tolist()
            self._returns[there] = 0.0
            now = round(time.time() - self._start_time, 6)
            for i, total in zip(rows.tolist(), returns, strict=True):
                infos[i] = {
                    **info_of(vector_infos["final_info"], i),
                    "episode": {"r": round(total, 6), "l": int(self._lengths[i]), "t": now},
                    "terminal_observation": self._shown(vector_infos["final_obs"][i]),
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                }
                self.reset_infos[i] = {}
            self._lengths[rows] = 0
        return self._shown(observations), rewards, done, infos

    def _shown(self, observations: Any) -> Any:
        """Return observations with channels first, views of the same memory."""
        if isinstance(observations, dict):
            return {k: value.movedim(-1, -3) if k in self._images else value for k, value in observations.items()}
        return observations.movedim(-1, -3) if self._images else observations


def _last_channels(space: Any) -> list[str]:
    """Return the keys of entries that are images with their channels last; "" stands for an image alone."""
    parts: dict[str, Any] = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    return [k for k, part in parts.items() if has_channels_last(part)]
