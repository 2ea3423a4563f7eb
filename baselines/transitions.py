"""Stored transitions as arrays, and the checks that they fit a learner."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from bisimgym.baselines import core  # noqa: F401  (says what to install where Stable-Baselines3 is missing)

# isort: split
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import PyTorchObs

from bisimgym.baselines.core.actions import action_dim
from bisimgym.baselines.core.env_checks import check_finite, check_replay
from bisimgym.wrappers.image_channels import channels_first
from bisimgym.wrappers.offline import OfflineData


class Transitions(NamedTuple):
    """N transitions as arrays, in any order.

    Attributes:
        observations, next_observations: ``[N, *shape]`` as the environment gives them, or dictionaries of such arrays.
            What follows the last step of an episode is that episode's end, not the next one's start.
        actions: ``float[N, A]``, or ``int[N]`` of a finite action space.
        rewards: ``float[N]``.
        dones: ``bool[N]``, whether the process ended; not where a time limit cut it off.
    """

    observations: Any
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: Any
    dones: np.ndarray


def count_of(data: Transitions) -> int:
    """Return the number of transitions, or raise ``ValueError`` where arrays differ in length."""
    arrays: list[np.ndarray] = []
    for part in data:
        arrays += part.values() if isinstance(part, dict) else [part]
    lengths = sorted({len(array) for array in arrays})
    if len(lengths) != 1 or lengths[0] == 0:
        raise ValueError(f"transitions must be arrays of one length of at least 1, got lengths {lengths}")
    return lengths[0]


def read_rows(
    data: OfflineData | Transitions, to_tensor: Callable[[Any], tuple[PyTorchObs, bool]], rows: np.ndarray
) -> tuple[Any, ...]:
    """Return the columns of rows, ``int[K]``, as tensors: observations, next observations, actions, rewards, dones.

    Args:
        to_tensor: ``obs_to_tensor`` of the policy that takes the observations.
    """
    if isinstance(data, OfflineData):
        batch = data.sample(rows)
        data, rows = Transitions(*batch[:4], batch.terminated), np.arange(len(rows))
    seen = []
    for part in (data.observations, data.next_observations):
        taken = {key: array[rows] for key, array in part.items()} if isinstance(part, dict) else part[rows]
        seen.append(to_tensor(taken)[0])
    return *seen, *(th.as_tensor(np.asarray(part)[rows]) for part in (data.actions, data.rewards, data.dones))


def check_actions(actions: np.ndarray, space: spaces.Space) -> None:
    """Raise ``ValueError`` for actions, ``[N, ...]``, that are not of a space."""
    array = np.asarray(actions)
    width = int(np.prod(array.shape[1:]))
    if width != (1 if isinstance(space, spaces.Discrete) else action_dim(space)):
        raise ValueError(f"actions must be those of {space}, got {array.dtype}{list(array.shape)}")
    if isinstance(space, spaces.Discrete) and not ((array >= 0) & (array < space.n) & (array == np.rint(array))).all():
        raise ValueError(f"actions must be integers from 0 to {space.n - 1}, got {array.min()} to {array.max()}")
    if isinstance(space, spaces.Box) and not np.isfinite(array).all():
        raise ValueError(f"actions must be finite numbers of {space}")


def check_data(
    data: OfflineData | ReplayBuffer | Transitions, observation_space: spaces.Space, action_space: spaces.Space
) -> None:
    """Raise ``ValueError`` for data that a learner of these spaces, images channels first, cannot take."""
    if isinstance(data, Transitions):
        count_of(data)
        for what, part in zip(data._fields, data, strict=True):
            for array in part.values() if isinstance(part, dict) else [part]:
                dtype = np.asarray(array).dtype
                if dtype.kind not in "biuf" or not dtype.isnative:
                    raise ValueError(f"{what} must be numbers in this machine's order of bytes, got {dtype.str}")
        check_actions(data.actions, action_space)
        for what in ("observations", "next_observations", "rewards", "dones"):
            check_finite(what, getattr(data, what), "in the transitions")
        if not np.isin(data.dones, (0, 1)).all():
            raise ValueError("dones must be bool[N], or 0 and 1")
        return
    if not isinstance(data, OfflineData | ReplayBuffer):
        raise ValueError(
            "data must be a data set of bisimgym.wrappers.offline, a replay buffer of Stable-Baselines3 or "
            f"Transitions, got {type(data).__name__}"
        )
    if isinstance(data, NStepReplayBuffer):
        raise ValueError("a replay of n-step returns holds no single steps, which metrics compare: use n_steps=1")
    if isinstance(data, ReplayBuffer) and data.size() == 0:
        raise ValueError("the replay buffer is empty: collect transitions first")
    kind, given = "replay", data.observation_space
    if isinstance(data, OfflineData):
        kind, given = "data set", channels_first(given)
    if given != observation_space or data.action_space != action_space:
        raise ValueError(
            f"the {kind} holds {given} and {data.action_space}, but this encoder is for {observation_space} and "
            f"{action_space}: make it with the spaces of the environment that the data are of"
        )


def check_numbers(data: OfflineData | ReplayBuffer | Transitions) -> None:
    """Raise ``ValueError`` if data sets or replays hold what is not finite: looked at where a training has diverged."""
    if isinstance(data, OfflineData):
        data.columns.check_numbers("the data set", data.action_space)
    if isinstance(data, ReplayBuffer):
        check_replay(data)


@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the permutation ``int64[count]`` in which a learner of a seed goes through a data set in an epoch."""
    order = np.random.default_rng([seed, 2, epoch]).permutation(count)
    order.flags.writeable = False  # it is shared
    return order


def rows_of_epoch(seed: int, update: int, count: int, batch_size: int) -> np.ndarray:
    """Return the rows, ``int64[K]``, of an update's batch, which follow from its number; K is less in the last one."""
    epoch, place = divmod(update, -(-count // batch_size))
    return epoch_order(seed, epoch, count)[place * batch_size : (place + 1) * batch_size]


def moved(observations: PyTorchObs, device: th.device) -> PyTorchObs:
    """Return observations on a device."""
    if isinstance(observations, dict):
        return {key: value.to(device) for key, value in observations.items()}
    return observations.to(device)


@contextmanager
def global_stream_of(rng: np.random.Generator) -> Iterator[None]:
    """Let numpy's global stream, which SB3's replays draw from, be that of a Mersenne twister for a while."""
    kept = np.random.get_state(legacy=False)  # noqa: NPY002
    state: Any = rng.bit_generator.state
    np.random.set_state(state)  # noqa: NPY002
    try:
        yield
    finally:
        rng.bit_generator.state = np.random.get_state(legacy=False)  # noqa: NPY002
        np.random.set_state(kept)  # noqa: NPY002
