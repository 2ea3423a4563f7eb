"""Whole episodes as columns: what a data set holds, in memory or mapped from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np

#: Columns that data sets of any form have for each step.
STEP_COLUMNS = ("actions", "rewards", "terminated", "truncated")
#: Columns that every collection writes for each episode: length, seed of the stream and number in the stream.
EPISODE_COLUMNS = ("length", "seed", "number")


@dataclass(frozen=True)
class Episodes:
    """E whole episodes of T steps in all, one after the other.

    An episode of n steps has n + 1 observations, so that observation t of episode e stands in row ``t + e`` if its step
    stands in row t.

    Attributes:
        observations: columns of observations by name, ``[T + E, ...]`` each: images, or what they are drawn from.
        actions: ``[T, ...]``.
        rewards: ``float64[T]``.
        terminated, truncated: ``bool[T]``.
        per_episode: columns of episodes by name, ``[E, ...]`` each; always ``length``, ``int64[E]`` steps.

    Raises:
        ValueError: if columns differ in length, or an episode does not end exactly at its last step.
    """

    observations: Mapping[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    per_episode: Mapping[str, np.ndarray]
    ends: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ends", np.cumsum(self.per_episode["length"]))
        steps, episodes = len(self.rewards), self.num_episodes
        for name, column in self.columns():
            kind = name.partition(".")[0]
            rows = {"observations": steps + episodes, "episodes": episodes}.get(kind, steps)
            if len(column) != rows:
                raise ValueError(f"column {name} must have {rows} rows, got {len(column)}")
        if (self.per_episode["length"] < 1).any() or (self.ends[-1] if episodes else 0) != steps:
            raise ValueError(f"episodes must have at least one step each and {steps} together")
        over = np.flatnonzero(np.asarray(self.terminated) | np.asarray(self.truncated))
        if not np.array_equal(over, self.ends - 1):
            raise ValueError("every episode must be terminated or truncated at its last step and nowhere before")

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def num_episodes(self) -> int:
        return len(self.per_episode["length"])

    @property
    def starts(self) -> np.ndarray:
        """``int64[E]``, the first step of each episode."""
        return self.ends - self.per_episode["length"]

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for _, column in self.columns())

    def columns(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield every column under its full name, such as ``observations.cell``, ``actions`` or ``episodes.seed``."""
        yield from ((f"observations.{name}", column) for name, column in self.observations.items())
        yield from ((name, getattr(self, name)) for name in STEP_COLUMNS)
        yield from ((f"episodes.{name}", column) for name, column in self.per_episode.items())

    def slice(self, first: int, last: int) -> Episodes:
        """Return episodes ``first`` to ``last - 1``, as views."""
        begin, end = (int(self.ends[i - 1]) if i else 0 for i in (first, last))
        return Episodes(
            observations={name: column[begin + first : end + last] for name, column in self.observations.items()},
            per_episode={name: column[first:last] for name, column in self.per_episode.items()},
            **{name: getattr(self, name)[begin:end] for name in STEP_COLUMNS},
        )

    def check_numbers(self, source: str, action_space: gym.Space) -> None:
        """Raise ``ValueError`` for rewards and observations that are not finite, and actions out of their space."""
        for name, column in self.columns():
            if column.dtype.kind == "f" and not (sound := np.isfinite(column)).all():
                where = [int(i) for i in np.argwhere(~sound)[0]]
                raise ValueError(f"{source} gave {name} that are not finite, {column[tuple(where)]} at {where}")
        if isinstance(action_space, gym.spaces.Discrete) and len(self):
            least, most = action_space.start, action_space.start + action_space.n - 1
            if not (self.actions.min() >= least and self.actions.max() <= most):
                found = f"{self.actions.min()} to {self.actions.max()}"
                raise ValueError(f"{source} gave actions from {found}, and {action_space} has {least} to {most}")

    def first_steps(self, num_steps: int) -> Episodes:
        """Return the first episodes that have ``num_steps`` steps together: less than one episode more than that."""
        return self.slice(0, int(np.searchsorted(self.ends, num_steps)) + 1)

    def parts(self, num_steps: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of episodes of about ``num_steps`` steps each, in order."""
        first = 0
        while first < self.num_episodes:
            reached = int(self.ends[first - 1] if first else 0) + num_steps
            last = min(int(np.searchsorted(self.ends, reached)) + 1, self.num_episodes)
            yield first, last
            first = last


def columns_to_episodes(columns: Mapping[str, np.ndarray]) -> Episodes:
    """Return episodes from columns under their full names, the inverse of :meth:`Episodes.columns`."""
    of: dict[str, dict[str, np.ndarray]] = {"observations": {}, "episodes": {}}
    for name, column in columns.items():
        kind, dot, short = name.partition(".")
        if dot:
            of[kind][short] = column
    steps = {name: columns[name] for name in STEP_COLUMNS}
    return Episodes(observations=of["observations"], per_episode=of["episodes"], **steps)


def concatenate(parts: Sequence[Episodes]) -> Episodes:
    """Return the episodes of all parts, in order. Parts must have the same columns."""
    if len(parts) == 1:
        return parts[0]
    columns = [dict(part.columns()) for part in parts]
    return columns_to_episodes({name: np.concatenate([c[name] for c in columns]) for name in columns[0]})
