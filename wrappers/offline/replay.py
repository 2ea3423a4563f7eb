"""Offline data in the replay of an off-policy algorithm: of Stable-Baselines3 or of this package."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from bisimgym.envs.checks import integer
from bisimgym.envs.extras import missing
from bisimgym.wrappers.image_channels import channels_first
from bisimgym.wrappers.offline.data import OfflineData
from bisimgym.wrappers.offline.spaces import require_same

try:
    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
    from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
    from stable_baselines3.common.vec_env import VecTransposeImage
    from stable_baselines3.her.her_replay_buffer import HerReplayBuffer
except ModuleNotFoundError as error:
    raise missing("replays of offline data", "baselines", error.name) from None

#: Transitions that are drawn at once.
_CHUNK = 4096


def fill_replay(model: OffPolicyAlgorithm, data: OfflineData, num_steps: int | None = None) -> int:
    """Put a data set into a model's replay, in order of time, as if the model had collected it.

    Images are transposed and actions scaled where the algorithm does so itself. Ends by a time limit are marked as
    ``TimeLimit.truncated``, so that values bootstrap through them. With n environments, the replay's n tracks get equal
    shares of the rows, one after the other; an episode that two tracks share counts as cut off where the first one
    ends, and fewer than n rows at the end are left out.

    Args:
        model: with a replay large enough; stock buffers, those that store frames once, and hindsight replays of
            goal environments.
        data: of the spaces of the model's environment.
        num_steps: only so many of the first rows.

    Returns:
        The number of transitions put in.

    Raises:
        ValueError: if the spaces differ, or the replay would lose what it holds.
    """
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        raise ValueError(f"{type(model).__name__} has no replay buffer: use an off-policy model with an environment")
    require_same("action space", model.action_space, data.action_space)
    transposed = _check_observations(model.observation_space, data.observation_space)
    rows = min(len(data), len(data) if num_steps is None else integer("num_steps", num_steps, 1))
    share, tracks = rows // model.n_envs, model.n_envs
    free = buffer.buffer_size - (buffer.buffer_size if buffer.full else buffer.pos)
    if share > free or share == 0:
        raise ValueError(
            f"the replay has room for {free * tracks:,} transitions, and {rows:,} are to go in: make the model with a "
            f"larger buffer_size (now {buffer.buffer_size * tracks:,}), or give num_steps"
        )
    if isinstance(buffer, HerReplayBuffer):
        buffer.truncate_last_trajectory()  # what the model's own last episode left open ends here
    first = np.arange(tracks) * share
    chunk = max(_CHUNK // tracks, 1)
    for begin in range(0, share, chunk):
        times = np.arange(begin, min(begin + chunk, share))
        batch = data.sample((first + times[:, None]).ravel())
        length = len(times)
        before, after = (_tracks(part, length, transposed) for part in (batch.observations, batch.next_observations))
        actions = batch.actions.reshape(length, tracks, *batch.actions.shape[1:])
        if isinstance(model.action_space, gym.spaces.Box):
            actions = model.policy.scale_action(actions)
        rewards, terminated, truncated = (
            part.reshape(length, tracks) for part in (batch.rewards, batch.terminated, batch.truncated)
        )
        truncated = truncated | (times[:, None] == share - 1)  # where a track ends
        for t in range(length):
            limits = (truncated[t] & ~terminated[t]).tolist()
            buffer.add(
                _at(before, t),
                _at(after, t),
                actions[t],
                rewards[t],
                terminated[t] | truncated[t],
                [{"TimeLimit.truncated": limit} for limit in limits],
            )
    return share * tracks


def train_offline(model: OffPolicyAlgorithm, num_steps: int) -> None:
    """Train on what the replay holds, as in ``num_steps`` steps of an environment that adds nothing.

    Updates and updates of target networks follow the model's own schedule (``train_freq``, ``gradient_steps``,
    ``target_update_interval``); ``learn`` can go on afterwards.

    Raises:
        ValueError: if the replay is empty, training goes by episodes, which there are none of, or, with learners of
            this package, if a loss is not finite because the replay holds what is not.
    """
    integer("num_steps", num_steps, 1)
    if model.replay_buffer is None or model.replay_buffer.size() == 0:
        raise ValueError("the replay is empty: fill_replay(model, data) first")
    frequency = model.train_freq
    if not isinstance(frequency, TrainFreq) or frequency.unit is not TrainFrequencyUnit.STEP:
        raise ValueError(f"train_freq must count steps to train offline, got {frequency!r}")
    if not hasattr(model, "_logger"):
        model.set_logger(configure(None, []))
    each = frequency.frequency * model.n_envs
    for _ in range(0, num_steps, each):
        for _ in range(frequency.frequency):
            model.num_timesteps += model.n_envs
            model._on_step()  # target networks
        updates = model.gradient_steps if model.gradient_steps >= 0 else each
        if updates > 0:
            model.train(gradient_steps=updates, batch_size=model.batch_size)
    if (record := getattr(model, "record_losses", None)) is not None:
        record()  # learners of this package look at the last losses, too


def _check_observations(wanted: Any, found: Any) -> bool:
    """Return whether images must be transposed for the model, whose environment SB3 may have wrapped to do so."""
    if wanted == found:
        return False
    if channels_first(found) != wanted:
        require_same("observation space", wanted, found)
    return True


def _tracks(observations: Any, length: int, transposed: bool) -> Any:
    """Return observations ``[length, tracks, *shape]`` in the model's order of channels."""
    if isinstance(observations, dict):
        return {key: _tracks(value, length, transposed and value.ndim == 4) for key, value in observations.items()}
    if transposed:
        observations = VecTransposeImage.transpose_image(observations)
    return observations.reshape(length, -1, *observations.shape[1:])


def _at(values: Any, time: int) -> Any:
    return {key: value[time] for key, value in values.items()} if isinstance(values, dict) else values[time]
