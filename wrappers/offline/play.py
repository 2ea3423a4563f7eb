"""Streams of episodes, played side by side and recorded in a form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from bisimgym.wrappers.offline.episodes import Episodes
from bisimgym.wrappers.offline.forms import Form
from bisimgym.wrappers.offline.policies import Policy


def make_envs(env_id: str, num_envs: int, env_kwargs: Mapping[str, Any]) -> VectorEnv:
    """Return a vector environment that starts episodes only when told to: native where there is one that can."""
    if gym.spec(env_id).vector_entry_point is not None:
        try:
            envs = gym.make_vec(env_id, num_envs, "vector_entry_point", autoreset_mode="Disabled", **env_kwargs)
        except TypeError:  # other people's vector environments need not take the argument
            envs = None
        if envs is not None and envs.metadata.get("autoreset_mode") is AutoresetMode.DISABLED:
            return envs
    disabled = {"autoreset_mode": AutoresetMode.DISABLED}
    return gym.make_vec(env_id, num_envs, "sync", vector_kwargs=disabled, **env_kwargs)


def play(
    envs: VectorEnv,
    policy: Policy,
    form: Form,
    seeds: np.ndarray,
    num_steps: int,
    on_steps: Callable[[int], None],
) -> Episodes:
    """Return whole episodes of each sub-environment: as many as it takes to fill its share of the steps.

    Episodes come stream by stream. What a stream records depends on its seed and its share alone, for policies that act
    in each stream by itself.

    Args:
        seeds: ``int64[N]``, of the sub-environments' streams.
        num_steps: of all together, at least; each fills ``num_steps / N``, rounded up.
        on_steps: called with the number of steps recorded so far.
    """
    share = -(-num_steps // envs.num_envs)
    recorded = _Record(envs, form, seeds)
    actor = policy.begin(seeds)
    each: Any = [int(seed) for seed in seeds]  # gymnasium's vectors take lists, which its base class does not say
    observations, _ = envs.reset(seed=each)
    active = np.ones(envs.num_envs, dtype=bool)
    starts = active.copy()
    recorded.episodes(observations, active)
    filled, step = np.zeros(envs.num_envs, dtype=np.int64), 0
    while True:
        actions = actor.act(envs, observations, starts, step)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        recorded.steps(observations, active, actions, rewards, terminated, truncated)
        filled[active] += 1
        step += 1
        on_steps(int(filled.sum()))
        starts = terminated | truncated
        active = active & ~(starts & (filled >= share))
        if not active.any():
            return recorded.result()
        if starts.any():
            # Streams that are full begin again too, because the vector environment steps all; nobody records them.
            observations, _ = envs.reset(options={"reset_mask": starts})
            if (starts & active).any():
                recorded.episodes(observations, starts & active)


class _Record:
    """Columns as they come, step by step; in the end they are sorted by stream, which keeps the order of time."""

    def __init__(self, envs: VectorEnv, form: Form, seeds: np.ndarray):
        self._envs, self._form, self._seeds = envs, form, seeds
        self._count = np.zeros(len(seeds), dtype=np.int64)
        self._observations: list[dict[str, np.ndarray]] = []
        self._steps: list[dict[str, np.ndarray]] = []
        self._episodes: list[dict[str, np.ndarray]] = []

    def episodes(self, observations: Any, begun: np.ndarray) -> None:
        rows = np.flatnonzero(begun)
        own = self._form.record_starts(self._envs, observations, rows)
        self._episodes.append({"stream": rows, "seed": self._seeds[rows], "number": self._count[rows], **own})
        self._count[rows] += 1
        self._observe(observations, rows)

    def steps(self, observations: Any, active: np.ndarray, actions: np.ndarray, *outcome: np.ndarray) -> None:
        rows = np.flatnonzero(active)
        rewards, terminated, truncated = (np.asarray(part)[rows] for part in outcome)
        taken = np.asarray(actions)[rows]
        self._steps.append(
            {
                "stream": rows,
                "actions": taken,
                "rewards": rewards.astype(np.float64),
                "terminated": terminated,
                "truncated": truncated,
            }
        )
        self._observe(observations, rows)

    def result(self) -> Episodes:
        steps, episodes, observations = map(_sorted, (self._steps, self._episodes, self._observations))
        over = np.flatnonzero(steps["terminated"] | steps["truncated"])
        lengths = np.diff(over, prepend=-1).astype(np.int64)
        return Episodes(observations, **steps, per_episode={"length": lengths, **episodes})

    def _observe(self, observations: Any, rows: np.ndarray) -> None:
        self._observations.append({"stream": rows, **self._form.record(self._envs, observations, rows)})


def _sorted(records: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return joined columns in the order of streams, without the streams themselves."""
    order = np.argsort(np.concatenate([record["stream"] for record in records]), kind="stable")
    columns = {}
    for name in list(records[0]):
        column = np.concatenate([record.pop(name) for record in records])
        if name != "stream":
            columns[name] = column[order]
    return columns
