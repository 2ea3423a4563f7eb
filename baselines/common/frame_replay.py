"""Replay buffers for images: Stable-Baselines3's, with every frame stored once.

SB3's buffers keep an observation twice: as what followed one step and as what the next step starts from. Here both are
looked up in one store, so that a buffer of images takes half the memory; with ``frame_stack=k``, observations that are
stacks of k frames share those too, and it takes 1 / (2 k). What is sampled is bit for bit what SB3's buffers sample
from the same transitions with the same state of ``numpy.random``.

How a transition is stored: the frames of the last steps lie in a ring, one row for each step of each environment. A
transition holds the row numbers of its k + 1 frames: the first k are its observation, the last k the next one. Where
an observation is not the one that followed the step before (a new episode, a reset from outside), the frames that no
other step has go to a side store: the final frame of the old episode and, of a stack, the older frames of the first
observation. This is decided by comparing bytes, not by the ``done`` flags, so that terminal states, time limits,
environments reset between two calls of ``learn`` and ``truncate_last_trajectory`` are all exact.

Replays that keep single frames and stack them when sampled are common for Atari, as in Castro et al. (2018), "Dopamine:
A Research Framework for Deep Reinforcement Learning". SB3's own ``optimize_memory_usage`` loses the last observation of
every episode and therefore refuses time limits; here nothing is lost.

Example:
    >>> import bisimgym, gymnasium as gym
    >>> from stable_baselines3 import DQN
    >>> from bisimgym.baselines.common.frame_replay import FrameReplayBuffer
    >>> env = gym.make("bisimgym/Nav2D-v0")
    >>> model = DQN("MlpPolicy", env, buffer_size=100_000, replay_buffer_class=FrameReplayBuffer)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.preprocessing import (
    get_action_dim,
    get_obs_shape,
    is_image_space,
    is_image_space_channels_first,
)
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from bisimgym.baselines.metrics.memory import free_memory

#: Entries of a dictionary smaller than this many bytes are stored twice, as SB3 does: row numbers would cost as much.
SMALLEST_FRAME = 64

#: SB3's constructor sees this in place of spaces that are stored here, and allocates nothing.
_NOTHING = spaces.Box(0, 1, (0,), np.uint8)


class MemoryNeed(NamedTuple):
    """Bytes in the host's memory and, with ``storage_device="device"``, in the device's."""

    host: int
    device: int


@dataclass(frozen=True)
class FrameLayout:
    """How an observation is cut into frames.

    Attributes:
        shape: of an observation, as the buffer gets it.
        dtype: of an observation.
        num_frames: in an observation, oldest first (1: the observation is the frame).
        axis: along which they are stacked.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    num_frames: int = 1
    axis: int = 0

    @classmethod
    def of(cls, space: spaces.Space, num_frames: int = 1, axis: int | None = None, name: str = "") -> FrameLayout:
        """Return the layout of a space.

        Args:
            space: of one observation, as the buffer gets it: SB3 has moved an image's channels to the front by then.
            num_frames: stacked in one observation.
            axis: of the stack. None: the channels of an image (the first or the last axis, whichever SB3 takes for
                them), and the first axis of anything else, as in Gymnasium's ``FrameStackObservation``.
            name: of the space, for messages.

        Raises:
            ValueError: if the axis does not exist or does not hold ``num_frames`` frames of equal size.
        """
        shape = get_obs_shape(space)
        where = f" of {name!r}" if name else ""
        if not isinstance(num_frames, (int, np.integer)) or num_frames < 1:
            raise ValueError(f"frame_stack{where} must be an integer of at least 1, got {num_frames!r}")
        if num_frames == 1:
            return cls(shape, np.dtype(space.dtype))
        if axis is None:
            last = is_image_space(space) and not is_image_space_channels_first(space)
            axis = len(shape) - 1 if last else 0
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"stack_axis{where} must be an axis of observations of shape {shape}, got {axis}")
        if shape[axis] % num_frames:
            raise ValueError(
                f"frame_stack={num_frames}{where} does not divide axis {axis % len(shape)} of observations of shape "
                f"{shape}: give the number of frames that are stacked, and stack_axis if they lie on another axis"
            )
        return cls(shape, np.dtype(space.dtype), int(num_frames), axis % len(shape))

    @property
    def frame_shape(self) -> tuple[int, ...]:
        if self.num_frames == 1:
            return self.shape
        return (
            *self.shape[: self.axis],
            self.shape[self.axis] // self.num_frames,
            *self.shape[self.axis + 1 :],
        )

    @property
    def frame_bytes(self) -> int:
        return math.prod(self.frame_shape) * self.dtype.itemsize

    @property
    def observation_bytes(self) -> int:
        return self.frame_bytes * self.num_frames

    def split(self, observations: np.ndarray) -> np.ndarray:
        """Return the bytes of the frames of ``N`` observations, ``uint8[N, num_frames, frame_bytes]``."""
        count, k = len(observations), self.num_frames
        if k > 1:
            frame = self.frame_shape
            stacked = observations.reshape(count, *frame[: self.axis], k, *frame[self.axis :])
            observations = np.moveaxis(stacked, 1 + self.axis, 1)
        return np.ascontiguousarray(observations).reshape(count * k, -1).view(np.uint8).reshape(count, k, -1)

    def join(self, frames: np.ndarray | th.Tensor, lead: tuple[int, ...]) -> np.ndarray | th.Tensor:
        """Return observations ``[*lead, *shape]`` from the bytes of their frames, ``uint8[N * num_frames, bytes]``."""
        if isinstance(frames, th.Tensor):
            frames = frames.view(th.from_numpy(np.empty(0, self.dtype)).dtype)
        else:
            frames = frames.view(self.dtype)
        if self.num_frames == 1 or self.axis == 0:
            return frames.reshape(*lead, *self.shape)
        moveaxis = th.moveaxis if isinstance(frames, th.Tensor) else np.moveaxis
        stacked = frames.reshape(-1, self.num_frames, *self.frame_shape)
        return moveaxis(stacked, 1, 1 + self.axis).reshape(*lead, *self.shape)

    def ring_rows(self, num_steps: int, n_envs: int) -> int:
        """Return how many frames the steps need that can be sampled: one each, older ones of the first, the next."""
        return (num_steps + self.num_frames) * n_envs

    def side_rows(self, num_steps: int, n_envs: int, mean_episode_length: float) -> int:
        """Return how many frames episodes of that length add at most: a final one and the older ones of a start."""
        episodes = math.ceil(num_steps / mean_episode_length) + 1
        return min(self.num_frames * n_envs * episodes, self.most_side_rows(num_steps, n_envs))

    def most_side_rows(self, num_steps: int, n_envs: int) -> int:
        """Return how many frames episodes of a single step would add."""
        return self.num_frames * n_envs * num_steps

    def index_dtype(self, num_steps: int, n_envs: int) -> np.dtype:
        rows = self.ring_rows(num_steps, n_envs) + self.most_side_rows(num_steps, n_envs)
        return np.dtype(np.int32 if rows < 2**31 else np.int64)


class FrameStore:
    """The observations and next observations of the last ``num_steps`` steps of ``n_envs`` environments.

    Args:
        layout: of an observation.
        num_steps: that can be looked up, at least 2.
        n_envs: number of environments.
        mean_episode_length: expected, in steps; sets the first size of the side store, which grows as needed.
        device: where frames live; None: in numpy arrays.
    """

    def __init__(
        self, layout: FrameLayout, num_steps: int, n_envs: int, mean_episode_length: float, device: th.device | None
    ):
        self.layout = layout
        self.num_steps = num_steps
        self.n_envs = n_envs
        self.device = device
        self._ring_rows = layout.ring_rows(num_steps, n_envs)
        self._ring = _empty(self._ring_rows, layout.frame_bytes, device)
        self._side = _empty(layout.side_rows(num_steps, n_envs, mean_episode_length), layout.frame_bytes, device)
        #: ``int[num_steps, n_envs, num_frames + 1]``: rows of the ring and, from ``_ring_rows`` on, of the side store.
        self.rows = np.zeros((num_steps, n_envs, layout.num_frames + 1), layout.index_dtype(num_steps, n_envs))
        # The newest next observations: on the host, because each step compares with them.
        self._newest = np.zeros((n_envs, layout.num_frames, layout.frame_bytes), np.uint8)
        self._staged: np.ndarray | None = None
        self._envs = np.arange(n_envs)
        self.reset()

    def reset(self) -> None:
        """Forget every step."""
        self._count = 0
        self._side_used = 0  # rows of the side store that were ever in use, and those of them that are free again
        self._side_free: list[int] = []

    @property
    def memory(self) -> MemoryNeed:
        host, frames = self.rows.nbytes + self._newest.nbytes, self._ring.nbytes + self._side.nbytes
        return MemoryNeed(host + frames, 0) if self.device is None else MemoryNeed(host, frames)

    def stage(self, position: int, observations: np.ndarray) -> None:
        """Take the observations of the step that the following :meth:`add` completes."""
        if position != self._count % self.num_steps:
            raise ValueError(
                f"steps are written one after the other, the next at {self._count % self.num_steps}, got {position}: "
                "use the buffer's add(), and reset() to start again"
            )
        self._staged = self._frames_of(observations)

    def add(self, next_observations: np.ndarray) -> None:
        """Append the step whose observations were staged.

        Raises:
            ValueError: if a next observation does not hold the newer frames of its observation.
        """
        k, slot = self.layout.num_frames, self._count % self.num_steps
        now, following = self._staged, self._frames_of(next_observations)
        if now is None:
            raise ValueError("the observations of a step are written before the next observations: use add()")
        if k > 1 and not np.array_equal(now[:, 1:], following[:, :-1]):
            raise ValueError(
                f"frame_stack={k}: the older {k - 1} of the {k} frames along axis {self.layout.axis} of a next "
                f"observation, shape {self.layout.shape}, are not the newer ones of its observation. Set frame_stack=1 "
                "for observations that are no stack of consecutive frames, or frame_stack and stack_axis as they are"
            )
        self._staged = None
        if self._count >= self.num_steps:
            self._release(slot)
        row, next_row = self._rows_of_step(self._count), self._rows_of_step(self._count + 1)
        rows = np.empty((self.n_envs, k + 1), self.rows.dtype)
        rows[:, k - 1], rows[:, k] = row, next_row
        starts = self._envs
        if self._count:
            previous = self.rows[(self._count - 1) % self.num_steps]
            goes_on = (now == self._newest).reshape(self.n_envs, -1).all(axis=1)
            rows[goes_on, : k - 1] = previous[goes_on, 1:k]
            starts = starts[~goes_on]
            if len(starts):  # the row that held their final frames is taken by the first ones of new episodes
                previous[starts, k] = self._put_aside(self._newest[starts, -1])
        if len(starts):
            _write(self._ring, row[starts], now[starts, -1])
            rows[starts, : k - 1] = self._put_aside_older(now[starts], row[starts])
        _write(self._ring, slice(next_row[0], next_row[0] + self.n_envs), following[:, -1])
        self.rows[slot] = rows
        self._newest[:] = following
        self._count += 1

    def gather(self, rows: np.ndarray) -> np.ndarray | th.Tensor:
        """Return the observations ``[..., *shape]`` whose frames lie in ``rows[..., num_frames]``: new memory."""
        flat = rows.reshape(-1).astype(np.intp)
        frames = _take(self._ring, np.minimum(flat, self._ring_rows - 1))
        aside = np.flatnonzero(flat >= self._ring_rows)
        if len(aside):
            _write(frames, aside, _take(self._side, flat[aside] - self._ring_rows))
        return self.layout.join(frames, rows.shape[:-1])

    def to(self, device: th.device) -> None:
        """Move frames to another device (those of a store that lives in numpy arrays stay there)."""
        if self.device is not None:
            self.device = device
            self._ring, self._side = self._ring.to(device), self._side.to(device)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with frames as numpy arrays, those that were ever written: any machine can load it."""
        state = self.__dict__.copy()
        written = min((self._count + 1) * self.n_envs, self._ring_rows) if self._count else 0
        for name, used in (("_ring", written), ("_side", self._side_used)):
            state[name] = (len(state[name]), _to_numpy(state[name][:used]))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state; frames of a device wait in the host's memory for :meth:`to`."""
        self.__dict__.update(state)
        self.device = None if state["device"] is None else th.device("cpu")
        for name in ("_ring", "_side"):
            length, frames = state[name]
            array = _empty(length, self.layout.frame_bytes, self.device)
            _write(array, slice(0, len(frames)), frames)
            setattr(self, name, array)

    def _frames_of(self, observations: np.ndarray) -> np.ndarray:
        observations, shape = np.asarray(observations, self.layout.dtype), (self.n_envs, *self.layout.shape)
        if observations.shape != shape:  # one environment's without the leading axis, as SB3 takes them
            observations = np.broadcast_to(observations, shape).copy()
        return self.layout.split(observations)

    def _rows_of_step(self, step: int) -> np.ndarray:
        return step * self.n_envs % self._ring_rows + self._envs

    def _put_aside(self, frames: np.ndarray) -> np.ndarray:
        """Write frames ``uint8[N, bytes]`` into free rows of the side store and return their numbers."""
        missing = len(frames) - len(self._side_free)
        if missing > 0:
            if self._side_used + missing > len(self._side):
                self._grow(self._side_used + missing)
            self._side_free.extend(range(self._side_used, self._side_used + missing))
            self._side_used += missing
        free = np.array([self._side_free.pop() for _ in range(len(frames))], dtype=np.intp)
        _write(self._side, free, frames)
        return self._ring_rows + free

    def _put_aside_older(self, frames: np.ndarray, newest_row: np.ndarray) -> np.ndarray:
        """Return rows ``[N, num_frames - 1]`` of the older frames of first observations ``[N, num_frames, bytes]``."""
        rows = np.empty((len(frames), self.layout.num_frames - 1), self.rows.dtype)
        following = newest_row
        for i in reversed(range(self.layout.num_frames - 1)):
            rows[:, i] = following
            # At a reset most wrappers repeat the first frame, or pad with zeros: equal neighbours share a row.
            new = np.flatnonzero((frames[:, i] != frames[:, i + 1]).any(axis=1))
            if len(new):
                rows[new, i] = self._put_aside(frames[new, i])
            following = rows[:, i]
        return rows

    def _release(self, slot: int) -> None:
        """Free the rows of the side store that only the oldest step uses; the step after it is the next to go."""
        oldest = self.rows[slot]
        aside = oldest >= self._ring_rows
        if aside.any():
            following = self.rows[(slot + 1) % self.num_steps]
            aside &= ~(oldest[:, :, None] == following[:, None, :]).any(axis=-1)
            self._side_free.extend((np.unique(oldest[aside]) - self._ring_rows).tolist())

    def _grow(self, needed: int) -> None:
        rows = min(max(needed, 2 * len(self._side)), self.layout.most_side_rows(self.num_steps, self.n_envs))
        need = rows * self.layout.frame_bytes
        available = _available_bytes(self.device)
        if need > available:
            raise MemoryError(
                "the replay's side store, which holds the frames at the ends of episodes, is full with "
                f"{len(self._side)} of them. It would grow to {_size(need)}, but {_size(available)} are available: "
                "episodes are shorter than mean_episode_length says. Use a smaller buffer_size, and the true "
                "mean_episode_length so that this is known before training"
            )
        side = _empty(rows, self.layout.frame_bytes, self.device)
        _write(side, slice(0, len(self._side)), self._side)
        self._side = side


class FrameView:
    """What SB3 reads and writes as ``buffer.observations`` or ``buffer.next_observations``: an array over a store.

    ``view[steps, envs]`` gives observations of new memory; ``view[position] = observations`` is for the buffer's
    ``add``, which writes the observations of a step and then the next ones.
    """

    def __init__(self, store: FrameStore, following: bool):
        self._store = store
        self._following = following

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._store.num_steps, self._store.n_envs, *self._store.layout.shape)

    @property
    def dtype(self) -> np.dtype:
        return self._store.layout.dtype

    def __len__(self) -> int:
        return self._store.num_steps

    def __getitem__(self, key: Any) -> np.ndarray | th.Tensor:
        key = key if isinstance(key, tuple) else (key,)
        if any(not isinstance(item, slice) or item != slice(None) for item in key[2:]):
            raise IndexError(f"index by step and environment, then the observations that this gives; got {key}")
        rows = self._store.rows[key[:2]]
        return self._store.gather(rows[..., 1:] if self._following else rows[..., :-1])

    def __setitem__(self, position: int, observations: np.ndarray) -> None:
        if self._following:
            self._store.add(observations)
        else:
            self._store.stage(position, observations)


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


def _available_bytes(device: th.device | None) -> int:
    if device is None or device.type != "cuda":
        return min(psutil.virtual_memory().available, free_memory())  # the latter knows the limits of containers
    free, _ = th.cuda.mem_get_info(device)
    # PyTorch keeps memory of freed tensors to use it again.
    return free + th.cuda.memory_reserved(device) - th.cuda.memory_allocated(device)


def _check_fits(need: MemoryNeed, device: th.device, buffer_size: int) -> None:
    shared = device.type != "cuda"  # frames on such a device lie in the same memory as all else
    parts = [("host", sum(need) if shared else need.host, None), (str(device), 0 if shared else need.device, device)]
    for name, needed, where in parts:
        if needed and needed > (available := _available_bytes(where)):
            raise MemoryError(
                f"a replay of {buffer_size} transitions needs {_size(needed)} of {name} memory, but {_size(available)} "
                f"are available: set buffer_size to at most about {int(buffer_size * available / needed)}, frame_stack "
                "if observations are stacks of frames, or storage_device to keep frames elsewhere"
            )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.3f} MB"


def _empty(rows: int, num_bytes: int, device: th.device | None) -> np.ndarray | th.Tensor:
    """Return rows of bytes. On a host pages are taken when first written, as those of SB3's arrays."""
    if device is None:
        return np.empty((rows, num_bytes), np.uint8)
    return th.empty((rows, num_bytes), dtype=th.uint8, device=device)


def _take(frames: np.ndarray | th.Tensor, rows: np.ndarray) -> np.ndarray | th.Tensor:
    if isinstance(frames, th.Tensor):
        return frames.index_select(0, th.from_numpy(rows).to(frames.device))
    return frames.take(rows, axis=0, mode="clip")  # rows are right by construction, and "raise" copies twice


def _write(frames: np.ndarray | th.Tensor, rows: np.ndarray | slice, values: np.ndarray | th.Tensor) -> None:
    if isinstance(frames, th.Tensor):
        rows = rows if isinstance(rows, slice) else th.from_numpy(rows).to(frames.device)
        frames[rows] = values if isinstance(values, th.Tensor) else th.from_numpy(values).to(frames.device)
    else:
        frames[rows] = values


def _to_numpy(array: np.ndarray | th.Tensor) -> np.ndarray:
    return array.cpu().numpy() if isinstance(array, th.Tensor) else array
