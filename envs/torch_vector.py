"""Vector environments of array tasks whose observations never leave a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from bisimgym.envs.array_task import observation_of, put, select
from bisimgym.envs.batched_vector import BatchedVectorEnv, add_info
from bisimgym.envs.checks import taken_action

try:
    import torch as th
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('environments of tensors need torch: pip install "bisimgym[baselines]"') from error


class TorchVectorEnv(BatchedVectorEnv):
    """N sub-environments of an array task as tensors on a device: the dynamics of numpy, seed for seed.

    Observations, rewards and flags are tensors, and ``step`` takes actions as tensors or arrays. Values of actions that
    are tensors are not looked at, which would wait for the device. What crosses between host and device: the start
    states of new episodes, which numpy draws from their seeds, and in every step two flags for each sub-environment,
    from which the host knows whose episodes have ended. ``ends_on_host`` holds them.

    Integers equal those of numpy's vector environment exactly, floats to the rounding of their type. Rewards of the
    jumping task and Nav2D are ``float32`` here; they are whole numbers. ``infos`` are those of resets and of ended
    episodes, as arrays of the host; ``infos["final_obs"]`` has tensors. Infos of single steps are left out.

    Args:
        envs: a native vector environment with ``SAME_STEP`` autoreset, which gives task, number of sub-environments and
            time limit. It is not stepped.
        device: where to live.

    Raises:
        ValueError: for environments of another kind or autoreset mode, or a task that takes no tensors.

    Example:
        >>> import bisimgym, gymnasium as gym
        >>> from bisimgym.envs.torch_vector import TorchVectorEnv
        >>> envs = TorchVectorEnv(gym.make_vec("bisimgym/Nav2D-v0", num_envs=4), device="cpu")
        >>> envs.reset(seed=0)[0].shape
        torch.Size([4, 20, 20, 3])
    """

    def __init__(self, envs: gym.vector.VectorEnv, device: Any):
        native: Any = envs.unwrapped
        task = getattr(native, "task", None)
        if not isinstance(native, BatchedVectorEnv) or not native.task.takes_tensors:
            raise ValueError(
                "TorchVectorEnv takes native vector environments of the jumping task, Nav2D, LQR and Markov signals "
                f"(gym.make_vec makes them), got {type(task or native).__name__}: its dynamics are of numpy alone"
            )
        if native.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f'TorchVectorEnv needs autoreset_mode="SameStep", the default, got {native.autoreset_mode.value!r}'
            )
        super().__init__(native.task, native.num_envs, max_episode_steps=native.max_episode_steps)
        self.device = th.device(device)
        self.spec = native.spec
        self._steps_there = th.zeros(self.num_envs, dtype=th.int64, device=self.device)
        #: ``terminated`` and ``truncated`` of the last step, ``bool[N]`` each.
        self.ends_on_host: tuple[np.ndarray, np.ndarray] = (self._ended, self._ended)

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None):
        """Start new episodes: see :meth:`BatchedVectorEnv.reset`."""
        return super().reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self._require_reset("step")
        self.state, reward, terminated, truncated = self.task.transition(self.state, self._taken(actions))
        if self.max_episode_steps is not None:
            self._steps_there += 1
            truncated = truncated | (self._steps_there >= self.max_episode_steps)
        flags = th.stack([terminated, truncated]).cpu().numpy()  # the one wait for the device
        self.ends_on_host = flags[0], flags[1]
        self._ended = flags[0] | flags[1]
        infos: dict[str, Any] = {}
        rows = np.flatnonzero(self._ended)
        if len(rows):
            last = select(self.state, th.from_numpy(rows).to(self.device))
            observed, final = self.task.observe(last), np.full(self.num_envs, None, dtype=object)
            for i, row in enumerate(rows):
                final[row] = observation_of(observed, i)
            infos |= {"final_obs": final, "_final_obs": self._ended}
            info = {key: value.cpu().numpy() for key, value in self.task.final_info(last).items()}
            infos["final_info"], infos["_final_info"] = add_info({}, info, rows, self.num_envs), self._ended.copy()
            self._start(rows, {}, infos)
            self._ended = np.zeros(self.num_envs, dtype=bool)
        return self.task.observe(self.state), reward, terminated, truncated, infos

    def render(self) -> None:
        """Not there: tensors are for training. Raises ``NotImplementedError``."""
        raise NotImplementedError("TorchVectorEnv draws nothing: render the environment that it was made of")

    def optimal_return(self) -> np.ndarray:
        self._require_reset("optimal_return")
        return self.task.optimal_return(_mapped(self.state, lambda part: part.cpu().numpy()), self.max_episode_steps)

    def random_return(self) -> np.ndarray:
        self._require_reset("random_return")
        return self.task.random_return(_mapped(self.state, lambda part: part.cpu().numpy()), self.max_episode_steps)

    def _taken(self, actions: Any) -> th.Tensor:
        shape = self.action_space.shape
        if not isinstance(actions, th.Tensor):
            actions = th.from_numpy(np.array(taken_action(actions, self.action_space)))
        if actions.shape != shape:
            raise ValueError(f"actions must have shape {shape}, got {tuple(actions.shape)}")
        actions = actions.to(self.device)
        return actions.long() if isinstance(self.single_action_space, spaces.Discrete) else actions

    def _start(self, rows: np.ndarray, options: Mapping[str, Any], infos: dict[str, Any]) -> None:
        drawn = self.new_episodes(rows, options)
        started = _mapped(drawn, lambda part: th.from_numpy(np.ascontiguousarray(part)).to(self.device))
        there = th.from_numpy(rows).to(self.device)
        self._steps_there[there] = 0
        self.state = started if len(rows) == self.num_envs else put(self.state, there, started)
        add_info(infos, self.task.reset_info(drawn), rows, self.num_envs)


def _mapped(state: Any, function: Any) -> Any:
    """Return a state with a function applied to each of its arrays."""
    return type(state)(**{part.name: function(getattr(state, part.name)) for part in dataclasses.fields(state)})
