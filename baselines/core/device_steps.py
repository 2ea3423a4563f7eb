"""Steps of environments whose observations are tensors on a device, for learners that keep them there."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces


def on_device(observations: Any) -> bool:
    """Return whether observations, or the entries of a dictionary of them, are tensors."""
    parts = observations.values() if isinstance(observations, dict) else [observations]
    return any(isinstance(part, th.Tensor) for part in parts)


def device_actions(policy: Any, actions: Any) -> tuple[Any, Any]:
    """Return actions for the environment and for the replay, which holds those of a box as numbers in [-1, 1].

    Args:
        policy: of SB3, whose actor gives actions in [-1, 1].
        actions: an array of the action space, or a tensor of what the policy gives.
    """
    if not isinstance(policy.action_space, spaces.Box):
        return actions, actions
    if not isinstance(actions, th.Tensor):
        return actions, policy.scale_action(actions)
    low, high = (
        th.as_tensor(end, device=actions.device) for end in (policy.action_space.low, policy.action_space.high)
    )
    return low + 0.5 * (actions + 1.0) * (high - low), actions


def with_last_observations(observations: Any, dones: np.ndarray, infos: Any) -> Any:
    """Return observations, ``[N, ...]`` on the device, with the last ones of episodes that have ended in their places.

    Args:
        observations: tensors, or a dictionary of them; they stay as they are.
        dones: ``bool[N]`` of the host.
        infos: of each environment, with "terminal_observation" where an episode has ended.
    """
    rows = np.flatnonzero(dones)
    if not len(rows):
        return observations
    last = [infos[i]["terminal_observation"] for i in rows.tolist()]
    if isinstance(observations, dict):
        return {key: _replaced(value, rows, [part[key] for part in last]) for key, value in observations.items()}
    return _replaced(observations, rows, last)


def _replaced(observations: th.Tensor, rows: np.ndarray, last: list[th.Tensor]) -> th.Tensor:
    return observations.index_copy(0, th.from_numpy(rows).to(observations.device), th.stack(last))
