"""Demonstrations: the trajectories of an oracle, as arrays for imitation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv


@dataclass(frozen=True)
class Demonstrations:
    """K trajectories of M steps in all, one after the other.

    Attributes:
        observations: ``uint8[M, H, W, C]``, before each action.
        actions: ``int64[M]``.
        rewards: ``float64[M]``.
        lengths: ``int64[K]``, steps of each trajectory.
        aligned: ``bool[K]``, which trajectories a metric may compare (all by default).
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    lengths: np.ndarray
    aligned: np.ndarray | None = None

    def __post_init__(self) -> None:
        steps = len(self.observations)
        if self.observations.ndim != 4 or self.observations.dtype != np.uint8:
            raise ValueError(
                f"observations must be uint8[M, H, W, C], got {self.observations.dtype}{list(self.observations.shape)}"
            )
        if self.actions.shape != (steps,) or self.rewards.shape != (steps,):
            raise ValueError(
                f"actions and rewards must have {steps} entries as observations has, got shapes "
                f"{self.actions.shape} and {self.rewards.shape}"
            )
        if (self.lengths < 1).any() or self.lengths.sum() != steps:
            raise ValueError(f"lengths must be positive and sum to {steps}, got a sum of {self.lengths.sum()}")
        if self.aligned is None:
            object.__setattr__(self, "aligned", np.ones(len(self.lengths), dtype=bool))
        elif self.aligned.shape != self.lengths.shape:
            raise ValueError(f"aligned must have {len(self.lengths)} entries, got shape {self.aligned.shape}")

    def __len__(self) -> int:
        return len(self.lengths)

    def slices(self) -> list[slice]:
        """Return where each trajectory stands in the arrays."""
        ends = np.cumsum(self.lengths)
        return [slice(int(end - length), int(end)) for end, length in zip(ends, self.lengths, strict=True)]


def collect_demonstrations(
    envs: VectorEnv, options: Mapping[str, Any] | None = None, aligned: np.ndarray | None = None
) -> Demonstrations:
    """Return one episode of the oracle in every sub-environment.

    Args:
        envs: made with ``autoreset_mode="Disabled"``, and with an ``optimal_action()``.
        options: reset options, such as the task of each sub-environment.
        aligned: see :class:`Demonstrations`.

    Raises:
        ValueError: if the environments reset by themselves.
    """
    if envs.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
        raise ValueError("collect_demonstrations needs environments made with autoreset_mode='Disabled'")
    observation, _ = envs.reset(options=dict(options or {}))
    oracle: Any = envs.unwrapped
    running = np.ones(envs.num_envs, dtype=bool)
    steps: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    while running.any():
        action = np.asarray(oracle.optimal_action())
        next_observation, reward, terminated, truncated, _ = envs.step(action)
        steps.append((running, observation, action, reward))
        observation, ended = next_observation, terminated | truncated
        running = running & ~ended
        if ended.any() and running.any():
            # Disabled autoreset forbids stepping an ended episode: it starts over, and is not recorded again.
            observation, _ = envs.reset(options={"reset_mask": ended})
    return Demonstrations(
        observations=_per_trajectory(steps, 1),
        actions=_per_trajectory(steps, 2).astype(np.int64),
        rewards=_per_trajectory(steps, 3),
        lengths=np.sum([step[0] for step in steps], axis=0),
        aligned=aligned,
    )


def _per_trajectory(steps: Sequence[tuple[np.ndarray, ...]], field: int) -> np.ndarray:
    running = np.stack([step[0] for step in steps], axis=1)  # [K, T]
    return np.stack([step[field] for step in steps], axis=1)[running]
