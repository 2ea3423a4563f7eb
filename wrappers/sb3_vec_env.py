"""Native vector environments for Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from bisimgym.envs.checks import integer
from bisimgym.envs.extras import missing

try:
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn
except ModuleNotFoundError as error:
    raise missing("adapters for Stable-Baselines3", "baselines", error.name) from None


class SB3VecEnv(VecEnv):
    """A Gymnasium ``VectorEnv`` as a Stable-Baselines3 ``VecEnv``.

    Episodes that end by a time limit keep that apart from termination: ``infos[i]["TimeLimit.truncated"]`` is True and
    ``infos[i]["terminal_observation"]`` holds the last observation, so that SB3 bootstraps its value.

    SB3 logs returns and lengths of episodes only if they are recorded: put its ``VecMonitor`` around this.

    Args:
        envs: with ``SAME_STEP`` autoreset, as ``gym.make_vec`` makes the native ones of bisimgym by default. For any
            other environment: ``gym.make_vec(env_id, num_envs=16, vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": "SameStep"})``.

    Raises:
        ValueError: for a single environment, or another autoreset mode, which SB3 cannot work with.

    Example:
        >>> import gymnasium as gym, bisimgym
        >>> from stable_baselines3 import PPO
        >>> from stable_baselines3.common.vec_env import VecMonitor
        >>> from bisimgym.wrappers.sb3_vec_env import SB3VecEnv
        >>> envs = VecMonitor(SB3VecEnv(gym.make_vec("bisimgym/JumpingTask-v0", num_envs=16)))
        >>> model = PPO("CnnPolicy", envs)
    """

    def __init__(self, envs: VectorEnv):
        if not isinstance(envs, VectorEnv):
            raise ValueError(f"SB3VecEnv needs a vector environment, such as gym.make_vec makes, got {envs!r}")
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"SB3VecEnv needs environments with autoreset_mode='SameStep', got {getattr(mode, 'value', mode)!r}: "
                'make them by gym.make_vec(env_id, num_envs=..., vectorization_mode="sync", '
                'vector_kwargs={"autoreset_mode": "SameStep"})'
            )
        self.envs = envs
        self._actions: np.ndarray | None = None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        if seed is not None:
            integer("seed", seed, 0)  # here, or every reset to come would fail
        return super().seed(seed)

    def reset(self) -> VecEnvObs:
        # Unseeded entries must not fall back to fresh entropy once the environments run: None keeps their streams.
        seed: Any = None if all(s is None for s in self._seeds) else list(self._seeds)
        observation, infos = self.envs.reset(seed=seed, options=self._merged_options())
        self.reset_infos = [info_of(infos, i) for i in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observation, reward, terminated, truncated, vector_infos = self.envs.step(self._actions)
        done = terminated | truncated
        final_obs, final_info = vector_infos.pop("final_obs", None), vector_infos.pop("final_info", None)
        vector_infos.pop("_final_obs", None)
        vector_infos.pop("_final_info", None)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        for i in np.flatnonzero(_any_mask(vector_infos, self.num_envs) & ~done).tolist():
            infos[i] |= info_of(vector_infos, i)
        for i in np.flatnonzero(done).tolist():
            self.reset_infos[i] = info_of(vector_infos, i)
            # Gymnasium's RecordEpisodeStatistics puts the ended episode's statistics beside the new one's.
            episode = {"episode": self.reset_infos[i].pop("episode")} if "episode" in self.reset_infos[i] else {}
            infos[i] = {
                **(info_of(final_info, i) if final_info else {}),
                **episode,
                "terminal_observation": final_obs[i],
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
            }
        return observation, reward.astype(np.float32), done, infos

    def close(self) -> None:
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        images: Any = self.envs.render()
        return images or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute for each index; sub-environments of a native vector environment share theirs."""
        envs: Any = self.envs.unwrapped
        if _has_sub_environments(envs):
            values = envs.get_attr(attr_name)
            return [values[i] for i in self._get_indices(indices)]
        value = getattr(envs, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the vector environment, for all sub-environments at once."""
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError("sub-environments of a native vector environment share attributes: leave out indices")
        setattr(self.envs.unwrapped, attr_name, value)

    def env_method(self, method_name: str, *method_args, indices: VecEnvIndices = None, **method_kwargs) -> list[Any]:
        """Call a method that returns one value for each sub-environment, and return those of the indices.

        ``compute_reward``, which hindsight replay calls with a batch of its own, returns the whole batch for each.
        """
        envs: Any = self.envs.unwrapped
        if _has_sub_environments(envs):
            values = envs.call(method_name, *method_args, **method_kwargs)
        else:
            values = getattr(envs, method_name)(*method_args, **method_kwargs)
            if method_name == "compute_reward":
                return [values for _ in self._get_indices(indices)]
        return [values[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        wrapped = False
        env: Any = self.envs
        while isinstance(env, gym.vector.VectorWrapper):
            wrapped = wrapped or isinstance(env, wrapper_class)
            env = env.env
        return [wrapped for _ in self._get_indices(indices)]

    def _merged_options(self) -> dict[str, Any] | None:
        keys = {key for options in self._options for key in options}
        if any(set(options) != keys for options in self._options):
            raise ValueError(f"options of all sub-environments must have the same keys, got {self._options}")
        return {key: [options[key] for options in self._options] for key in keys} or None


def _has_sub_environments(envs: VectorEnv) -> bool:
    """Return whether environments are objects of their own, as in Gymnasium's sync and async vector environments."""
    return hasattr(envs, "call")


def info_of(infos: dict[str, Any], index: int) -> dict[str, Any]:
    """Return the info of one sub-environment. Keys without a mask are meant for all."""
    info = {}
    for key, value in infos.items():
        if key.startswith("_") or (f"_{key}" in infos and not infos[f"_{key}"][index]):
            continue
        item = info_of(value, index) if isinstance(value, dict) else value[index]
        info[key] = item.item() if isinstance(item, np.generic) else item
    return info


def _any_mask(infos: dict[str, Any], num_envs: int) -> np.ndarray:
    """Return ``bool[N]``: which sub-environments have any info."""
    masks = [value for key, value in infos.items() if key.startswith("_")]
    return np.any(masks, axis=0) if masks else np.zeros(num_envs, dtype=bool)
