"""Replay buffers for images: Stable-Baselines3's, with every frame stored once.

SB3's buffers keep an observation twice: as what followed one step and as what the next step starts from. Here both are
looked up in one store, so that a buffer of images takes half the memory; with ``frame_stack=k``, observations that are
stacks of k frames share those too, and it takes 1 / (2 k). What is sampled is bit for bit what SB3's buffers sample
from the same transitions with the same state of ``numpy.random``. How frames are stored is told in
:mod:`~bisimgym.baselines.core.frame_store`.

Replays that keep single frames and stack them when sampled are common for Atari, as in Castro et al. (2018), "Dopamine:
A Research Framework for Deep Reinforcement Learning". SB3's own ``optimize_memory_usage`` loses the last observation of
every episode and therefore refuses time limits; here nothing is lost.

Example:
    >>> import bisimgym, gymnasium as gym
    >>> from stable_baselines3 import DQN
    >>> from bisimgym.baselines.core.frame_replay import FrameReplayBuffer
    >>> env = gym.make("bisimgym/Nav2D-v0")
    >>> model = DQN("MlpPolicy", env, buffer_size=100_000, replay_buffer_class=FrameReplayBuffer)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.preprocessing import get_action_dim, get_obs_shape
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from bisimgym.baselines.core.frame_store import (
    FrameLayout,
    FrameStore,
    FrameView,
    MemoryNeed,
    available_bytes,
    size_text,
    to_numpy,
)

#: Entries of a dictionary smaller than this many bytes are stored twice, as SB3 does: row numbers would cost as much.
SMALLEST_FRAME = 64

#: SB3's constructor sees this in place of spaces that are stored here, and allocates nothing.
_NOTHING = spaces.Box(0, 1, (0,), np.uint8)


def required_bytes(
    buffer_size: int,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    n_envs: int = 1,
    *,
    storage_device: str = "cpu",
    frame_stack: int | Mapping[str, int] = 1,
    stack_axis: int | Mapping[str, int] | None = None,
    mean_episode_length: float = 50.0,
    hindsight: bool = False,
) -> MemoryNeed:
    """Return the bytes of a buffer, before it is made.

    Every step costs one frame and 4 (frame_stack + 1) bytes of row numbers in place of two observations; every episode
    costs at most ``frame_stack`` frames more. Episodes of a single step, the worst case, make a buffer without stacks
    as large as SB3's.

    Args:
        buffer_size: transitions, of all environments together.
        observation_space: as the buffer gets it.
        action_space: as the buffer gets it.
        n_envs: number of environments.
        storage_device, frame_stack, stack_axis, mean_episode_length: as for :class:`FrameReplayBuffer`.
        hindsight: count what :class:`HerFrameReplayBuffer` keeps of episodes (without ``copy_info_dict``).

    Raises:
        ValueError: for arguments that the buffers do not take.
    """
    if storage_device not in ("cpu", "device"):
        raise ValueError(f'storage_device must be "cpu" or "device", got {storage_device!r}')
    if not mean_episode_length >= 1:
        raise ValueError(f"mean_episode_length must be at least 1 step, got {mean_episode_length}")
    layouts = _layouts(observation_space, frame_stack, stack_axis)
    num_steps = _num_steps(buffer_size, n_envs)
    host = device = 0
    for name, space in _subspaces(observation_space).items():
        if name not in layouts:
            host += 2 * num_steps * n_envs * FrameLayout.of(space).observation_bytes
            continue
        layout = layouts[name]
        rows = layout.ring_rows(num_steps, n_envs) + layout.side_rows(num_steps, n_envs, mean_episode_length)
        index = num_steps * (layout.num_frames + 1) * layout.index_dtype(num_steps, n_envs).itemsize
        host += n_envs * (index + layout.observation_bytes)
        if storage_device == "device" and not (hindsight and name in HerFrameReplayBuffer.host_keys):
            device += rows * layout.frame_bytes
        else:
            host += rows * layout.frame_bytes
    action_bytes = get_action_dim(action_space) * ReplayBuffer._maybe_cast_dtype(action_space.dtype).itemsize
    step_bytes = action_bytes + 3 * 4  # reward, done, timeout
    if hindsight:
        step_bytes += 2 * 8  # start and length of the episode
        host += 8 * n_envs
    return MemoryNeed(host + num_steps * n_envs * step_bytes, device)


class _FramesOnce(BaseBuffer):
    """What the buffers below add to SB3's: the arrays of observations are views of frame stores."""

    #: Keys whose frames stay in the host's memory with any storage.
    host_keys: frozenset[str] = frozenset()

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        storage_device: str = "cpu",
        frame_stack: int | Mapping[str, int] = 1,
        stack_axis: int | Mapping[str, int] | None = None,
        mean_episode_length: float = 50.0,
        **sb3_arguments: Any,
    ):
        if optimize_memory_usage:
            raise ValueError("optimize_memory_usage must stay False: this buffer stores each frame once in any case")
        layouts = _layouts(observation_space, frame_stack, stack_axis)
        need = required_bytes(
            buffer_size,
            observation_space,
            action_space,
            n_envs,
            storage_device=storage_device,
            frame_stack=frame_stack,
            stack_axis=stack_axis,
            mean_episode_length=mean_episode_length,
            hindsight=isinstance(self, HerReplayBuffer),
        )
        _check_fits(need, get_device(device), buffer_size)

        self._stores: dict[str, FrameStore] = {}
        single = not isinstance(observation_space, spaces.Dict)
        rest = {key: _NOTHING if key in layouts else part for key, part in _subspaces(observation_space).items()}
        allocated = _NOTHING if single else spaces.Dict(rest)
        transitions = _num_steps(buffer_size, n_envs) * n_envs
        super().__init__(transitions, allocated, action_space, device=device, n_envs=n_envs, **sb3_arguments)
        self.observation_space = observation_space
        self.obs_shape = get_obs_shape(observation_space)
        for key, layout in layouts.items():
            where = None if storage_device == "cpu" or key in self.host_keys else self.device
            self._stores[key] = FrameStore(layout, self.buffer_size, n_envs, mean_episode_length, where)
        observations = {key: FrameView(store, following=False) for key, store in self._stores.items()}
        next_observations = {key: FrameView(store, following=True) for key, store in self._stores.items()}
        if single:
            self.observations, self.next_observations = observations[""], next_observations[""]
        else:  # in the order of the space, which gymnasium does not keep when it makes one of a dictionary
            self.observations = {k: observations.get(k, self.observations[k]) for k in observation_space}
            self.next_observations = {k: next_observations.get(k, self.next_observations[k]) for k in observation_space}

    @property
    def device(self) -> th.device:
        """Where samples go. SB3 sets it after loading a buffer, which also moves frames that live on the device."""
        return self._device

    @device.setter
    def device(self, device: th.device) -> None:
        self._device = device
        for store in self._stores.values():
            store.to(device)

    @property
    def memory(self) -> MemoryNeed:
        """The bytes that the buffer holds: :func:`required_bytes`, and more once the side store had to grow."""
        held = [array for array in vars(self).values() if isinstance(array, np.ndarray)]
        if isinstance(self.observations, dict):
            for arrays in (self.observations, self.next_observations):
                held += [array for array in arrays.values() if isinstance(array, np.ndarray)]
        needs = [store.memory for store in self._stores.values()]
        return MemoryNeed(
            sum(array.nbytes for array in held) + sum(n.host for n in needs), sum(n.device for n in needs)
        )

    def reset(self) -> None:
        super().reset()
        for store in self._stores.values():
            store.reset()

    def to_torch(self, array: np.ndarray | th.Tensor, copy: bool = False) -> th.Tensor:
        """Return a tensor on the buffer's device. Samples are gathered into new memory: no copy by default."""
        if isinstance(array, th.Tensor):
            return array.to(self.device, copy=copy)
        return super().to_torch(array, copy=copy)

    @staticmethod
    def _normalize_obs(obs: Any, env: VecNormalize | None = None) -> Any:
        if env is None:
            return obs
        # VecNormalize computes in numpy, whatever holds the frames.
        if isinstance(obs, dict):
            return env.normalize_obs({key: to_numpy(value) for key, value in obs.items()})
        return env.normalize_obs(to_numpy(obs))


class FrameReplayBuffer(_FramesOnce, ReplayBuffer):
    """SB3's ``ReplayBuffer`` with every frame stored once; time limits are handled as there.

    Give it to an algorithm as ``replay_buffer_class``, its own arguments as ``replay_buffer_kwargs``.

    Args:
        buffer_size: transitions of all environments together; 2 for each are the fewest that are kept.
        observation_space: any that SB3 takes and that is no dictionary.
        action_space: any that SB3 takes.
        device: of samples.
        n_envs: number of environments.
        optimize_memory_usage: must be False; what it promises is done here, and with time limits.
        handle_timeout_termination: as in SB3: an episode ended by a time limit is sampled as not done.
        storage_device: "cpu" (numpy arrays in the host's memory) or "device" (byte tensors on ``device``: samples cross
            no bus).
        frame_stack: number of frames, oldest first, of which an observation is stacked, if consecutive observations of
            an episode share all but one. Each is then stored once. Checked whenever a transition is added.
        stack_axis: of observations as the buffer gets them. None: the channels of an image, wherever SB3 has put them
            (``VecTransposeImage`` moves them from the last axis to the first), and the first axis of anything else.
        mean_episode_length: expected, in steps. The store for the frames at episodes' ends starts at the size that
            such episodes need, doubles when they turn out shorter, and is never larger than ``frame_stack`` frames
            for each transition.

    Raises:
        ValueError: for arguments outside these ranges.
        MemoryError: if the buffer would not fit (see :func:`required_bytes`); from ``add`` too, if the side store has
            to grow and cannot.
    """


class DictFrameReplayBuffer(_FramesOnce, DictReplayBuffer):
    """SB3's ``DictReplayBuffer`` with every frame stored once.

    Entries of the dictionary below 64 bytes are stored twice as in SB3: row numbers would take as much memory.

    Args:
        frame_stack: a mapping from keys to numbers of frames; keys left out hold no stacks.
        stack_axis: a mapping from keys to axes; None and keys left out as in :class:`FrameReplayBuffer`.

    The other arguments and the errors are those of :class:`FrameReplayBuffer`.
    """


class HerFrameReplayBuffer(_FramesOnce, HerReplayBuffer):
    """SB3's ``HerReplayBuffer`` (hindsight experience replay) with every frame stored once.

    Goals live in the host's memory with any storage, because environments compute rewards there. ``infos`` are kept
    only with ``copy_info_dict=True``, which alone reads them; their contents do not count in :func:`required_bytes`.
    ``reset`` forgets episodes too (SB3's leaves their bookkeeping behind).

    Source: Andrychowicz et al. (2017), "Hindsight Experience Replay".

    Args:
        env: the training environment; SB3's algorithms pass it.
        n_sampled_goal, goal_selection_strategy, copy_info_dict: as in SB3.
        recompute_dones: whether relabelled transitions are done exactly where their new reward is 0. False, as in SB3,
            keeps the flag of the original goal, so that a transition that reaches its new goal still bootstraps, and
            one that ended at the original goal does not. True is for tasks that end on reaching the goal and for
            nothing else but time, with reward 0 there and negative rewards elsewhere, as ``Nav2DGoal``; it is what
            the double DQN of recursive state similarity on that task was trained with.

    The other arguments and the errors are those of :class:`DictFrameReplayBuffer`.
    """

    host_keys = frozenset({"achieved_goal", "desired_goal"})

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Dict,
        action_space: spaces.Space,
        *,
        recompute_dones: bool = False,
        **arguments: Any,
    ):
        super().__init__(buffer_size, observation_space, action_space, **arguments)
        self.recompute_dones = recompute_dones
        if not self.copy_info_dict:
            self.infos = np.empty((0, self.n_envs), dtype=object)

    def reset(self) -> None:
        super().reset()
        self.ep_start[:] = 0
        self.ep_length[:] = 0
        self._current_ep_start[:] = 0

    def _get_virtual_samples(
        self, batch_indices: np.ndarray, env_indices: np.ndarray, env: VecNormalize | None = None
    ) -> DictReplayBufferSamples:
        samples = super()._get_virtual_samples(batch_indices, env_indices, env)
        if len(samples.rewards) != len(batch_indices):  # SB3 would fail later, or broadcast
            raise ValueError(
                f"compute_reward of the training environment gave {len(samples.rewards)} reward for "
                f"{len(batch_indices)} relabelled transitions: it must take goals [B, ...] and return rewards [B], and "
                "env_method must return this for each environment"
            )
        if not self.recompute_dones:
            return samples
        # VecNormalize scales rewards and does not shift them: 0 stays 0.
        return samples._replace(dones=(samples.rewards == 0).to(samples.dones.dtype))


def _subspaces(space: spaces.Space) -> dict[str, spaces.Space]:
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}


def _layouts(
    space: spaces.Space, frame_stack: int | Mapping[str, int], stack_axis: int | Mapping[str, int] | None
) -> dict[str, FrameLayout]:
    """Return the layout of every entry that is stored once."""
    if not isinstance(space, spaces.Dict):
        if isinstance(frame_stack, Mapping) or isinstance(stack_axis, Mapping):
            raise ValueError(f"frame_stack and stack_axis must be numbers for {space}, got {frame_stack}, {stack_axis}")
        return {"": FrameLayout.of(space, frame_stack, stack_axis)}
    stacks = {} if isinstance(frame_stack, int) and frame_stack == 1 else frame_stack
    axes = {} if stack_axis is None else stack_axis
    for name, value in (("frame_stack", stacks), ("stack_axis", axes)):
        if not isinstance(value, Mapping) or not set(value) <= set(space.spaces):
            raise ValueError(f"{name} of a dictionary must map some of its keys {list(space.spaces)}, got {value!r}")
    layouts = {key: FrameLayout.of(part, stacks.get(key, 1), axes.get(key), key) for key, part in space.spaces.items()}
    return {k: layout for k, layout in layouts.items() if layout.observation_bytes >= SMALLEST_FRAME}


def _num_steps(buffer_size: int, n_envs: int) -> int:
    """Return the steps that are kept of each environment, rounded as SB3 does, but at least 2."""
    return max(buffer_size // n_envs, 2)


def _check_fits(need: MemoryNeed, device: th.device, buffer_size: int) -> None:
    shared = device.type != "cuda"  # frames on such a device lie in the same memory as all else
    parts = [("host", sum(need) if shared else need.host, None), (str(device), 0 if shared else need.device, device)]
    for name, needed, where in parts:
        if needed and needed > (available := available_bytes(where)):
            raise MemoryError(
                f"a replay of {buffer_size} transitions needs {size_text(needed)} of {name} memory, but "
                f"{size_text(available)} are available: set buffer_size to at most about "
                f"{int(buffer_size * available / needed)}, frame_stack if observations are stacks of frames, or "
                "storage_device to keep frames elsewhere"
            )
