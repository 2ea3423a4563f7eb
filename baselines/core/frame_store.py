"""Where replays keep the frames of images, each of them once.

How a transition is stored: the frames of the last steps lie in a ring, one row for each step of each environment. A
transition holds the row numbers of its k + 1 frames: the first k are its observation, the last k the next one. Where
an observation is not the next observation of the step before (a new episode, a reset from outside), the frames that no
other step has go to a side store: the final frame of the old episode and, of a stack, the older frames of the first
observation. This is decided by comparing bytes, not by the ``done`` flags, so that terminal states, time limits,
environments reset between two calls of ``learn`` and ``truncate_last_trajectory`` are all exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_obs_shape, is_image_space, is_image_space_channels_first

#: The side store has room at first for the ends of episodes of this many steps; it doubles when they are shorter.
EPISODE_STEPS = 50


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
        shape: Any = get_obs_shape(space)  # no dictionary, for which it returns one
        where = f" of {name!r}" if name else ""
        if not isinstance(num_frames, (int, np.integer)) or num_frames < 1:
            raise ValueError(f"frame_stack{where} must be an integer of at least 1, got {num_frames!r}")
        if num_frames == 1:
            return cls(shape, np.dtype(space.dtype))
        if axis is None:
            last = isinstance(space, spaces.Box) and is_image_space(space) and not is_image_space_channels_first(space)
            axis = -1 if last else 0
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"stack_axis{where} must be an axis of observations of shape {shape}, got {axis}")
        if shape[axis] % num_frames:
            raise ValueError(
                f"frame_stack={num_frames}{where} does not divide axis {axis % len(shape)} of observations of shape "
                f"{shape}: give the number of frames that are stacked, and stack_axis if they lie on another axis"
            )
        return cls(shape, np.dtype(space.dtype), int(num_frames), axis % len(shape))

    @property
    def tensor_dtype(self) -> th.dtype:
        return th.from_numpy(np.empty(0, self.dtype)).dtype

    @property
    def observation_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def frame_bytes(self) -> int:
        return self.observation_bytes // self.num_frames

    @property
    def _around(self) -> tuple[int, int]:
        """The numbers of values of a frame before the stacked axis and from there on."""
        return math.prod(self.shape[: self.axis]), math.prod(self.shape[self.axis :]) // self.num_frames

    def split(self, observations: Any) -> Any:
        """Return the bytes of the frames of ``N`` observations, ``uint8[N, num_frames, frame_bytes]``, as they came.

        That is as an array or, of a tensor, as a tensor on its device.
        """
        count, k, (before, after) = len(observations), self.num_frames, self._around
        frames = observations.reshape(count, before, k, after).swapaxes(1, 2)
        if isinstance(frames, th.Tensor):
            return frames.reshape(count, k, before * after).contiguous().view(th.uint8)
        return np.ascontiguousarray(frames).reshape(count, k, before * after).view(np.uint8)

    def join(self, frames: np.ndarray | th.Tensor, lead: tuple[int, ...]) -> np.ndarray | th.Tensor:
        """Return observations ``[*lead, *shape]`` from the bytes of their frames, ``uint8[N * num_frames, bytes]``."""
        values: Any  # both kinds of arrays have the methods below
        values = frames.view(self.tensor_dtype) if isinstance(frames, th.Tensor) else frames.view(self.dtype)
        stacked = values.reshape(math.prod(lead), self.num_frames, *self._around)
        return stacked.swapaxes(1, 2).reshape(*lead, *self.shape)

    def sizes(self, num_steps: int, n_envs: int) -> tuple[int, int, np.dtype]:
        """Return how many frames the ring and at first the side store hold, and the dtype of row numbers."""
        k = self.num_frames
        ring = (num_steps + k) * n_envs  # one for each step, the older ones of the first and the next one of the last
        side = k * n_envs * min(math.ceil(num_steps / EPISODE_STEPS) + 1, num_steps)
        most = ring + k * n_envs * num_steps  # when every episode has a single step
        return ring, side, np.dtype(np.int32 if most < 2**31 else np.int64)


class FrameStore:
    """The observations and next observations of the last ``num_steps`` steps of ``n_envs`` environments.

    Args:
        layout: of an observation.
        num_steps: that can be looked up, at least 2.
        n_envs: number of environments.
        device: where frames live and observations are returned as tensors; None: in the host's memory, and they are
            returned as numpy arrays.
    """

    def __init__(self, layout: FrameLayout, num_steps: int, n_envs: int, device: th.device | None):
        self.layout = layout
        self.num_steps = num_steps
        self.n_envs = n_envs
        self.device = device
        self._ring_rows, side_rows, index_dtype = layout.sizes(num_steps, n_envs)
        self._ring, self._side = self._empty(self._ring_rows), self._empty(side_rows)
        #: ``int[num_steps, n_envs, num_frames + 1]``: rows of the ring and, from ``_ring_rows`` on, of the side store.
        self.rows = np.zeros((num_steps, n_envs, layout.num_frames + 1), index_dtype)
        #: The same on the device, for look-ups that the host takes no part in.
        self._rows_there = None if device is None else th.from_numpy(self.rows).to(device)
        # The newest next observations, with which each step compares: where observations come from.
        self._newest: Any = np.zeros((n_envs, layout.num_frames, layout.frame_bytes), np.uint8)
        self._staged: Any = None
        self._envs = np.arange(n_envs)
        self.reset()

    def reset(self) -> None:
        """Forget every step."""
        self._count = 0
        self._side_used = 0  # rows of the side store that were ever in use, and those of them that are free again
        self._side_free: list[int] = []

    @property
    def memory(self) -> tuple[int, int]:
        """The bytes held in the host's memory and in the device's."""
        host, frames = self.rows.nbytes + self._newest.nbytes, self._ring.nbytes + self._side.nbytes
        return (host + frames, 0) if self._rows_there is None else (host, frames + self._rows_there.nbytes)

    def stage(self, position: int, observations: Any) -> None:
        """Take the observations of the step that the next :meth:`add` completes."""
        if position != self._count % self.num_steps:
            raise ValueError(
                f"steps are written one after the other, the next at {self._count % self.num_steps}, got {position}: "
                "use the buffer's add(), and reset() to start again"
            )
        self._staged = self._frames_of(observations)

    def add(self, next_observations: Any) -> None:
        """Append the step whose observations were staged, both as arrays or both as tensors on the store's device.

        Raises:
            ValueError: if a next observation does not hold the newer frames of its observation.
        """
        k, slot = self.layout.num_frames, self._count % self.num_steps
        frames, next_frames = self._staged, self._frames_of(next_observations)
        if frames is None:
            raise ValueError("the observations of a step are written before the next observations: use add()")
        if k > 1 and not bool((frames[:, 1:] == next_frames[:, :-1]).all()):
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
            goes_on = _on_host((frames == self._like(frames)).reshape(self.n_envs, -1).all(axis=1))
            rows[goes_on, : k - 1] = previous[goes_on, 1:k]
            starts = starts[~goes_on]
            if len(starts):  # the row that held their final frames is taken by the first ones of new episodes
                previous[starts, k] = self._put_aside(self._newest[starts, -1])
                self._mirror((self._count - 1) % self.num_steps)
        if len(starts):
            _write(self._ring, row[starts], frames[starts, -1])
            rows[starts, : k - 1] = self._put_aside_older(frames[starts], row[starts])
        self._ring[next_row[0] : next_row[0] + self.n_envs] = _tensor(next_frames[:, -1])
        self.rows[slot] = rows
        self._mirror(slot)
        self._like(next_frames)[:] = next_frames
        self._count += 1

    def _like(self, frames: Any) -> Any:
        """Return the newest next observations where these frames are, the host or the device."""
        if isinstance(frames, th.Tensor) != isinstance(self._newest, th.Tensor):
            there = isinstance(frames, th.Tensor)
            self._newest = _tensor(self._newest).to(frames.device) if there else _on_host(self._newest)
        return self._newest

    def _mirror(self, slot: int) -> None:
        if self._rows_there is not None:
            self._rows_there[slot] = th.from_numpy(self.rows[slot])

    def gather_there(self, steps: th.Tensor, envs: th.Tensor, is_next: bool) -> th.Tensor:
        """Return what :meth:`gather` does for steps and environments, ``int64[B]``, that the device has: no waiting."""
        assert self._rows_there is not None
        rows = self._rows_there[steps, envs]
        flat = (rows[:, 1:] if is_next else rows[:, :-1]).reshape(-1).long()
        aside = flat >= self._ring_rows
        frames = self._ring.index_select(0, flat.clamp(max=self._ring_rows - 1))
        beside = self._side.index_select(0, (flat - self._ring_rows).clamp(min=0))
        joined = self.layout.join(th.where(aside[:, None], beside, frames), tuple(steps.shape))
        assert isinstance(joined, th.Tensor)
        return joined

    def gather(self, rows: np.ndarray) -> np.ndarray | th.Tensor:
        """Return the observations ``[..., *shape]`` whose frames lie in ``rows[..., num_frames]``: new memory."""
        flat = rows.reshape(-1).astype(np.int64)
        frames = _take(self._ring, np.minimum(flat, self._ring_rows - 1))
        aside = np.flatnonzero(flat >= self._ring_rows)
        if len(aside):
            side = _take(self._side, flat[aside] - self._ring_rows)
            frames[th.from_numpy(aside).to(frames.device)] = side
        return self.layout.join(frames.numpy() if self.device is None else frames, rows.shape[:-1])

    def to(self, device: th.device) -> None:
        """Move frames to another device (those of a store in the host's memory stay there)."""
        if self.device is not None:
            self.device = device
            self._ring, self._side = self._ring.to(device), self._side.to(device)
            self._rows_there = th.from_numpy(self.rows).to(device)
            self._newest = _on_host(self._newest)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with frames as numpy arrays, those that were ever written: any machine can load it."""
        state = {**self.__dict__, "_rows_there": None, "_newest": _on_host(self._newest)}
        written = min((self._count + 1) * self.n_envs, self._ring_rows) if self._count else 0
        for name, used in (("_ring", written), ("_side", self._side_used)):
            state[name] = (len(state[name]), state[name][:used].cpu().numpy())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state; frames of a device wait in the host's memory for :meth:`to`."""
        self.__dict__.update(state)
        self.device = None if state["device"] is None else th.device("cpu")
        for name in ("_ring", "_side"):
            length, frames = state[name]
            setattr(self, name, self._empty(length))
            getattr(self, name)[: len(frames)] = th.from_numpy(frames)
        self._rows_there = None if self.device is None else th.from_numpy(self.rows).clone()

    def _empty(self, rows: int) -> th.Tensor:
        """Return rows of bytes. On a host, pages are taken when first written, as those of SB3's arrays."""
        return th.empty((rows, self.layout.frame_bytes), dtype=th.uint8, device=self.device or "cpu")

    def _frames_of(self, observations: Any) -> Any:
        if isinstance(observations, th.Tensor):
            return self.layout.split(observations.to(self.device or "cpu", self.layout.tensor_dtype))
        observations, shape = np.asarray(observations, self.layout.dtype), (self.n_envs, *self.layout.shape)
        if observations.shape != shape:  # one environment's without the leading axis, as SB3 takes them
            observations = np.broadcast_to(observations, shape).copy()
        return self.layout.split(observations)

    def _rows_of_step(self, step: int) -> np.ndarray:
        return step * self.n_envs % self._ring_rows + self._envs

    def _put_aside(self, frames: Any) -> np.ndarray:
        """Write frames ``uint8[N, bytes]`` into free rows of the side store and return their numbers."""
        missing = len(frames) - len(self._side_free)
        if missing > 0:
            used = self._side_used + missing
            if used > len(self._side):
                grown = self._empty(max(used, 2 * len(self._side)))
                grown[: len(self._side)] = self._side
                self._side = grown
            self._side_free.extend(range(self._side_used, used))
            self._side_used = used
        free = np.array([self._side_free.pop() for _ in range(len(frames))], dtype=np.int64)
        _write(self._side, free, frames)
        return self._ring_rows + free

    def _put_aside_older(self, frames: Any, newest_row: np.ndarray) -> np.ndarray:
        """Return rows ``[N, num_frames - 1]`` of the older frames of first observations ``[N, num_frames, bytes]``."""
        rows = np.repeat(newest_row[:, None], self.layout.num_frames, axis=1)
        for i in reversed(range(self.layout.num_frames - 1)):
            rows[:, i] = rows[:, i + 1]
            # At a reset most wrappers repeat the first frame, or pad with zeros: equal neighbors share a row.
            new = np.flatnonzero(_on_host((frames[:, i] != frames[:, i + 1]).any(axis=1)))
            if len(new):
                rows[new, i] = self._put_aside(frames[new, i])
        return rows[:, :-1]

    def _release(self, slot: int) -> None:
        """Free the rows of the side store that only the oldest step uses; the step after it is the next to go."""
        oldest, next_oldest = self.rows[slot], self.rows[(slot + 1) % self.num_steps]
        aside = (oldest >= self._ring_rows) & ~(oldest[:, :, None] == next_oldest[:, None, :]).any(axis=-1)
        self._side_free.extend((np.unique(oldest[aside]) - self._ring_rows).tolist())


class FrameView:
    """What SB3 reads and writes as ``buffer.observations`` or ``buffer.next_observations``: an array over a store.

    ``view[steps, envs]`` gives observations of new memory; ``view[position] = observations`` is for the buffer's
    ``add``, which writes the observations of a step and then the next ones.
    """

    def __init__(self, store: FrameStore, is_next: bool):
        self._store = store
        self._is_next = is_next

    def __getitem__(self, key: Any) -> np.ndarray | th.Tensor:
        key = key if isinstance(key, tuple) else (key,)
        if len(key) == 2 and all(isinstance(item, th.Tensor) for item in key):
            return self._store.gather_there(key[0], key[1], self._is_next)
        if any(not isinstance(item, slice) or item != slice(None) for item in key[2:]):
            raise IndexError(f"index by step and environment, then the observations that this gives; got {key}")
        rows = self._store.rows[key[:2]]
        return self._store.gather(rows[..., 1:] if self._is_next else rows[..., :-1])

    def __setitem__(self, position: int, observations: Any) -> None:
        if self._is_next:
            self._store.add(observations)
        else:
            self._store.stage(position, observations)


def _take(frames: th.Tensor, rows: np.ndarray) -> th.Tensor:
    return frames.index_select(0, th.from_numpy(rows).to(frames.device))


def _write(frames: th.Tensor, rows: np.ndarray, values: Any) -> None:
    frames.index_copy_(0, th.from_numpy(rows).to(frames.device), _tensor(values).to(frames.device))


def _tensor(values: Any) -> th.Tensor:
    return values if isinstance(values, th.Tensor) else th.from_numpy(values)


def _on_host(values: Any) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, th.Tensor) else values
