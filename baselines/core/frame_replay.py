"""Replay buffers for images: Stable-Baselines3's, with every frame stored once.

SB3's buffers keep an observation twice: as the next observation of one step and as the observation of the step after.
Here both are looked up in one store (:mod:`~bisimgym.baselines.core.frame_store`): a buffer of images takes half the
memory; with ``frame_stack=k``, observations that are stacks of k frames share those too, and it takes 1 / (2 k). What
is sampled is bit for bit what SB3's buffers sample from the same transitions with the same state of ``numpy.random``.

With ``storage_device="device"`` all of a replay lives on the learner's device, states as well as images. Batches are
then drawn there, from a generator of the replay's own, and gathered there: nothing crosses to the host and nothing
waits for it. For the same places in the replay they are the same batches.

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
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from bisimgym.baselines.core.device_steps import on_device
from bisimgym.baselines.core.frame_store import FrameLayout, FrameStore, FrameView
from bisimgym.baselines.core.placement import DeviceArray, check_fits, check_place, is_placed_on_device
from bisimgym.baselines.core.random_stream import RandomStream

#: Entries of a dictionary smaller than this many bytes are stored twice, as SB3 does: row numbers would cost as much.
SMALLEST_FRAME = 64

#: SB3's constructor sees this in place of spaces that are stored here, and allocates nothing.
_NOTHING = spaces.Box(0, 1, (0,), np.uint8)


class _FramesOnce(BaseBuffer):
    """What the buffers below add to SB3's: the arrays of observations are views of frame stores."""

    #: Keys whose frames stay in the host's memory with any storage.
    host_keys: frozenset[str] = frozenset()
    #: Whether a replay on the device is sampled there too.
    samples_there = True
    # Views that stand for SB3's arrays, or dictionaries of views and arrays.
    observations: Any
    next_observations: Any

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
        **sb3_arguments: Any,
    ):
        if optimize_memory_usage:
            raise ValueError("optimize_memory_usage must stay False: this buffer stores each frame once in any case")
        check_place("storage_device", storage_device)
        layouts = _layouts(observation_space, frame_stack, stack_axis)
        num_steps = max(buffer_size // n_envs, 2)  # rounded as SB3 does
        there = get_device(device)
        rest = _bytes_beside(observation_space, action_space, layouts) if self.samples_there else 0
        devices: dict[str, th.device | None] = {k: None if k in self.host_keys else there for k in layouts}
        needed = _needed(layouts, devices, num_steps, n_envs)
        needed[there] = needed.get(there, 0) + num_steps * n_envs * rest
        self.on_device = is_placed_on_device(storage_device, there, needed.get(there, 0))
        if not self.on_device:
            devices = dict.fromkeys(layouts)
            needed = _needed(layouts, devices, num_steps, n_envs)
        hint = (
            "set buffer_size to at most about {most}, frame_stack if observations are stacks of frames, or "
            "storage_device (a learner's replay_device) to keep frames elsewhere"
        )
        check_fits("replay of", num_steps * n_envs, needed, hint)

        self._stores: dict[str, FrameStore] = {}
        self._device_arrays: list[DeviceArray] = []
        sb3_space: spaces.Space = _NOTHING
        if isinstance(observation_space, spaces.Dict):
            sb3_space = spaces.Dict({k: _NOTHING if k in layouts else part for k, part in observation_space.items()})
        super().__init__(num_steps * n_envs, sb3_space, action_space, device=device, n_envs=n_envs, **sb3_arguments)
        self.observation_space = observation_space
        self.obs_shape = get_obs_shape(observation_space)  # type: ignore[assignment]  # as in SB3
        self._stores = {key: FrameStore(part, num_steps, n_envs, devices[key]) for key, part in layouts.items()}
        for name, is_next in (("observations", False), ("next_observations", True)):
            arrays: Any = {key: FrameView(store, is_next) for key, store in self._stores.items()}
            if isinstance(observation_space, spaces.Dict):
                # In the order of the space, which gymnasium does not keep when it makes one of a dictionary.
                setattr(self, name, {key: (getattr(self, name) | arrays)[key] for key in observation_space})
            else:
                setattr(self, name, arrays[""])
        if self.on_device and self.samples_there:
            self._move_arrays()
            # The seed is what comes next in the stream that SB3's replays sample from, which the learner has seeded; it
            # is only looked at, so that exploration draws what it draws with a replay of the host.
            twister: Any = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
            self.stream = RandomStream(int(twister["key"][twister["pos"] % len(twister["key"])]))

    def _move_arrays(self) -> None:
        """Have the small arrays of SB3's buffer live on the device too."""
        for name in ("actions", "rewards", "dones", "timeouts"):
            self._device_arrays.append(DeviceArray(getattr(self, name), self.device))
            setattr(self, name, self._device_arrays[-1])
        for arrays in (self.observations, self.next_observations):
            for key in arrays if isinstance(arrays, dict) else ():
                if isinstance(arrays[key], np.ndarray):
                    self._device_arrays.append(DeviceArray(arrays[key], self.device))
                    arrays[key] = self._device_arrays[-1]

    @property
    def device(self) -> th.device:
        """Where samples go. SB3 sets it after loading a buffer, which also moves frames that live on the device."""
        return self._device

    @device.setter
    def device(self, device: th.device) -> None:
        self._device = device
        held: list[Any] = [*self._stores.values(), *self._device_arrays]
        for part in held:
            part.to(device)

    @property
    def memory(self) -> tuple[int, int]:
        """The bytes that the buffer holds in the host's memory and, with ``storage_device="device"``, the device's."""
        values = list(vars(self).values())
        for observations in (self.observations, self.next_observations):
            values += observations.values() if isinstance(observations, dict) else []
        arrays = sum(value.nbytes for value in values if isinstance(value, np.ndarray))
        held = [store.memory for store in self._stores.values()]
        there = sum(array.nbytes for array in self._device_arrays)
        return arrays + sum(host for host, _ in held), there + sum(device for _, device in held)

    def reset(self) -> None:
        super().reset()
        for store in self._stores.values():
            store.reset()

    def add(self, *transition: Any) -> None:
        """As SB3's. With frames on the device, observations, actions and rewards may be tensors there."""
        observations, next_observations, *rest = transition
        if not on_device(observations):
            super().add(*transition)
            return
        if not (self.on_device and self.samples_there):
            raise ValueError('a replay takes tensors with storage_device="device" only, a learner with replay_device')
        action, reward, done, infos = rest
        held: Any = self
        for stored, new in ((self.observations, observations), (self.next_observations, next_observations)):
            for key in stored if isinstance(stored, dict) else ():
                stored[key][self.pos] = new[key].reshape(self.n_envs, *held.obs_shape[key])
            if not isinstance(stored, dict):
                stored[self.pos] = new
        held.actions[self.pos] = action.reshape(self.n_envs, self.action_dim)
        held.rewards[self.pos], held.dones[self.pos] = reward, done
        if held.handle_timeout_termination:
            held.timeouts[self.pos] = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, 0

    def draw(self, batch_size: int) -> tuple[th.Tensor, th.Tensor]:
        """Return steps and environments of a batch, ``int64[batch_size]`` each, drawn on the device."""
        drawn: Any = {"generator": self.stream.on(self.device), "device": self.device}
        steps = th.randint(self.size(), (batch_size,), **drawn)
        return steps, th.randint(self.n_envs, (batch_size,), **drawn)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Draw a batch: from ``numpy.random``, or with all of the replay on the device there, from its own stream."""
        if not (self.on_device and self.samples_there):
            return super().sample(batch_size, env)
        return self.sample_at(*self.draw(batch_size), env)

    def sample_at(self, steps: th.Tensor, envs: th.Tensor, env: VecNormalize | None = None) -> Any:
        """Return the transitions of steps and environments, ``int64[B]`` each, of a replay that is on the device."""
        held: Any = self
        observations, next_observations = (
            self._normalize_obs(_looked_up(part, steps, envs), env)
            for part in (self.observations, self.next_observations)
        )
        rewards = held.rewards[steps, envs].reshape(-1, 1)
        if env is not None:
            rewards = self._normalize_reward(_to_numpy(rewards), env)
        samples = DictReplayBufferSamples if isinstance(self.observations, dict) else ReplayBufferSamples
        return samples(
            self._tensors(observations),
            held.actions[steps, envs],
            self._tensors(next_observations),
            # Ends by a time limit are no ends, as in SB3.
            (held.dones[steps, envs] * (1 - held.timeouts[steps, envs])).reshape(-1, 1),
            self.to_torch(rewards),
        )

    def _tensors(self, observations: Any) -> Any:
        if isinstance(observations, dict):
            return {key: self.to_torch(value) for key, value in observations.items()}
        return self.to_torch(observations)

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
            return env.normalize_obs({key: _to_numpy(value) for key, value in obs.items()})
        return env.normalize_obs(_to_numpy(obs))


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
        storage_device: "cpu" (the host's memory), "device" (all of it on ``device``, and sampled there) or "auto": on
            the device if that is not the host and at most half of its free memory is needed.
        frame_stack: number of frames, oldest first, of which an observation is a stack, if consecutive observations of
            an episode share all but one. Each is then stored once. Checked whenever a transition is added.
        stack_axis: of observations as the buffer gets them. None: the channels of an image, wherever SB3 has put them
            (``VecTransposeImage`` moves them from the last axis to the first), and the first axis of anything else.

    Raises:
        ValueError: for arguments outside these ranges.
        MemoryError: if the frames would not fit into the memory that is free when the buffer is made. The part for the
            frames at episodes' ends, about 2 % of it, doubles whenever episodes are too short for it.
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

    Goals, and all else but images, live in the host's memory with any storage, because environments compute rewards
    there; batches are drawn there too. ``infos`` are kept only with ``copy_info_dict=True``, which alone reads them.
    ``reset`` forgets episodes too, unlike SB3's.

    Source: Andrychowicz et al. (2017), "Hindsight Experience Replay".

    Args:
        env: the training environment; SB3's algorithms pass it.
        n_sampled_goal, goal_selection_strategy, copy_info_dict: as in SB3.
        recompute_dones: whether relabeled transitions are done exactly where their new reward is 0. False, as in SB3,
            keeps the flag of the original goal, so that a transition that reaches its new goal still bootstraps, and
            one that ended at the original goal does not. True is for tasks that end on reaching the goal and for
            nothing else but time, with reward 0 there and negative rewards elsewhere, as ``Nav2DGoal``; it is what
            the double DQN of recursive state similarity on that task was trained with.

    The other arguments and the errors are those of :class:`DictFrameReplayBuffer`.
    """

    host_keys = frozenset({"achieved_goal", "desired_goal"})
    samples_there = False

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
                f"{len(batch_indices)} relabeled transitions: it must take goals [B, ...] and return rewards [B], and "
                "env_method must return this for each environment"
            )
        if not self.recompute_dones:
            return samples
        # VecNormalize scales rewards and does not shift them: 0 stays 0.
        return samples._replace(dones=(samples.rewards == 0).to(samples.dones.dtype))


def sample_as_on_host(replay: Any, batch_size: int, env: VecNormalize | None = None) -> Any:
    """Return what a replay in the host's memory samples, from ``numpy.random``, wherever this one lives."""
    if not (getattr(replay, "on_device", False) and replay.samples_there):
        return replay.sample(batch_size, env)
    drawn = [np.random.randint(most, size=batch_size) for most in (replay.size(), replay.n_envs)]  # noqa: NPY002
    return replay.sample_at(*(th.from_numpy(places).to(replay.device) for places in drawn), env)


#: The classes that take ``storage_device``.
PLACED_REPLAYS = (FrameReplayBuffer, DictFrameReplayBuffer, HerFrameReplayBuffer)


def _to_numpy(array: np.ndarray | th.Tensor) -> np.ndarray:
    return array.cpu().numpy() if isinstance(array, th.Tensor) else array


def _layouts(space: spaces.Space, frame_stack: Any, stack_axis: Any) -> dict[str, FrameLayout]:
    """Return the layout of every entry that is stored once."""
    if not isinstance(space, spaces.Dict):
        if isinstance(frame_stack, Mapping) or isinstance(stack_axis, Mapping):
            raise ValueError(f"frame_stack and stack_axis must be numbers for {space}, got {frame_stack}, {stack_axis}")
        return {"": FrameLayout.of(space, frame_stack, stack_axis)}
    stacks = {} if frame_stack == 1 else frame_stack
    axes = {} if stack_axis is None else stack_axis
    for name, value in (("frame_stack", stacks), ("stack_axis", axes)):
        if not isinstance(value, Mapping) or not set(value) <= set(space.spaces):
            raise ValueError(f"{name} of a dictionary must map some of its keys {list(space.spaces)}, got {value!r}")
    layouts = {key: FrameLayout.of(part, stacks.get(key, 1), axes.get(key), key) for key, part in space.spaces.items()}
    return {key: layout for key, layout in layouts.items() if layout.observation_bytes >= SMALLEST_FRAME}


def _needed(
    layouts: dict[str, FrameLayout], devices: dict[str, th.device | None], num_steps: int, n_envs: int
) -> dict[th.device | None, int]:
    """Return the bytes that frames and their row numbers take by device (None: the host)."""
    transitions = num_steps * n_envs
    needed: dict[th.device | None, int] = {None: 0}
    for key, layout in layouts.items():
        ring, side, index_dtype = layout.sizes(num_steps, n_envs)
        rows = transitions * (layout.num_frames + 1) * index_dtype.itemsize
        needed[None] += rows
        device = devices[key]
        mirrored = rows if device is not None else 0
        needed[device] = needed.get(device, 0) + (ring + side) * layout.frame_bytes + mirrored
    return needed


def _bytes_beside(observations: spaces.Space, actions: spaces.Space, layouts: Mapping[str, FrameLayout]) -> int:
    """Return the bytes of a transition that are no frames: action, reward, flags and small entries of a dictionary."""
    action = get_action_dim(actions) * np.dtype(actions.dtype).itemsize
    parts = observations.spaces if isinstance(observations, spaces.Dict) else {}
    small = [FrameLayout.of(part).observation_bytes for key, part in parts.items() if key not in layouts]
    return action + 3 * np.dtype(np.float32).itemsize + 2 * sum(small)


def _looked_up(stored: Any, steps: th.Tensor, envs: th.Tensor) -> Any:
    if isinstance(stored, dict):
        return {key: array[steps, envs] for key, array in stored.items()}
    return stored[steps, envs]
