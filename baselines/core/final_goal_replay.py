"""Hindsight replay of one goal per episode, where it ended: the replay of recursive state similarity's double DQN."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from bisimgym.baselines.core.frame_replay import HerFrameReplayBuffer


class FinalGoalReplayBuffer(HerFrameReplayBuffer):
    """A replay that adds, at the end of an episode, a copy of it whose goal is where it ended.

    SB3's hindsight replay relabels a fixed share of every batch. Here copies are entries of the replay like the
    originals, and a batch is drawn from both alike:

    * a copy stops with the first transition that enters its goal: what follows there is of another task;
    * an episode that ends where it began has no copy;
    * originals can be sampled at once, before their episode has ended;
    * a batch holds no entry twice, and fewer entries than asked for while there are fewer.

    Copies take no memory: a mark says which transitions have one. It is for tasks that end on reaching the goal, with
    reward 0 there and negative rewards elsewhere, as ``Nav2DGoal``: a copy is done where its reward is 0.

    Source: Black, Chuck and Niekum (2021), the authors' code (its relabeling is not in the paper).

    Args:
        buffer_size: originals. With their copies there are up to twice as many entries.
        observation_space, action_space: see :class:`~bisimgym.baselines.core.frame_replay.HerFrameReplayBuffer`.
        **arguments: of that buffer, but for those that choose goals.

    Raises:
        ValueError: for arguments out of range, or that choose goals.
    """

    def __init__(self, buffer_size: int, observation_space: spaces.Dict, action_space: spaces.Space, **arguments: Any):
        decided = {"n_sampled_goal", "goal_selection_strategy", "recompute_dones"} & arguments.keys()
        if decided:
            raise ValueError(f"{sorted(decided)} are decided by FinalGoalReplayBuffer: leave them out")
        super().__init__(
            buffer_size,
            observation_space,
            action_space,
            goal_selection_strategy="final",
            recompute_dones=True,
            **arguments,
        )
        self._has_copy = np.zeros((self.buffer_size, self.n_envs), dtype=bool)

    def reset(self) -> None:
        super().reset()
        self._has_copy[:] = False

    def add(self, *transition: Any) -> None:
        self._has_copy[self.pos] = False
        super().add(*transition)

    def _compute_episode_length(self, env_idx: int) -> None:
        start = int(self._current_ep_start[env_idx])
        super()._compute_episode_length(env_idx)
        rows = (start + np.arange(self.ep_length[start, env_idx])) % self.buffer_size
        entered = self.next_observations["achieved_goal"][rows, env_idx]
        goal = entered[-1]
        if (self.observations["achieved_goal"][start, env_idx] != goal).any():
            first = int((entered == goal).all(axis=-1).argmax())
            self._has_copy[rows[: first + 1], env_idx] = True

    @property
    def num_entries(self) -> tuple[int, int]:
        """The numbers of originals and of copies."""
        return self.size() * self.n_envs, len(self._copies())

    def _copies(self) -> np.ndarray:
        """Return the flat positions of transitions that have a copy; those of episodes partly overwritten have none."""
        stored = self.size()
        return np.flatnonzero(self._has_copy[:stored] & (self.ep_length[:stored] > 0))

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> DictReplayBufferSamples:  # type: ignore[override]
        """Draw a batch, from ``numpy.random`` as all replays of SB3 do."""
        originals, copies = self.size() * self.n_envs, self._copies()
        drawn = _without_replacement(originals + len(copies), batch_size)
        real, virtual = drawn[drawn < originals], copies[drawn[drawn >= originals] - originals]
        parts = []
        for positions, samples in ((real, self._get_real_samples), (virtual, self._get_virtual_samples)):
            if len(positions):
                rows, envs = np.unravel_index(positions, (self.buffer_size, self.n_envs))
                parts.append(samples(rows, envs, env))
        if len(parts) == 1:
            return parts[0]
        return DictReplayBufferSamples(*(_joined(*pair) for pair in zip(*parts, strict=True)))


def _joined(real: Any, virtual: Any) -> Any:
    if isinstance(real, dict):
        return {key: th.cat([real[key], virtual[key]]) for key in real}
    return None if real is None else th.cat([real, virtual])


def _without_replacement(count: int, size: int) -> np.ndarray:
    """Return distinct numbers below ``count``, ``size`` of them or as many as there are, every choice as likely."""
    if count < 8 * size:
        return np.random.permutation(count)[:size]  # noqa: NPY002
    while True:  # permuting a large replay for a few numbers would cost more than the update
        drawn = np.random.randint(count, size=size)  # noqa: NPY002
        if len(np.unique(drawn)) == size:
            return drawn
