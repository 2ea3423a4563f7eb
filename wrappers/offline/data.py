"""One reader for every data set: batches of transitions as numpy arrays."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from bisimgym.envs.checks import integer
from bisimgym.wrappers.offline.episodes import Episodes
from bisimgym.wrappers.offline.forms import Form
from bisimgym.wrappers.offline.spaces import require_same


class Batch(NamedTuple):
    """K transitions, in memory of their own.

    Attributes:
        observations: ``[K, *shape]`` as the environment gives them, or a dictionary of such arrays.
        actions: ``[K, ...]`` of the action space's dtype.
        rewards: ``float32[K]``.
        next_observations: as ``observations``; after the last step of an episode, that episode's last one.
        terminated: ``bool[K]``, whether the process ended: what cuts a bootstrap.
        truncated: ``bool[K]``, whether a time limit or the collector cut it off.
    """

    observations: Any
    actions: Any
    rewards: Any
    next_observations: Any
    terminated: Any
    truncated: Any

    @property
    def dones(self) -> Any:
        """Where a bootstrap ends: ``terminated``."""
        return self.terminated


class OfflineData:
    """T transitions of E whole episodes (made by :func:`~bisimgym.wrappers.offline.load` and ``collect``).

    Args:
        columns: the episodes.
        form: draws their observations.
        observation_space, action_space: of one environment.
        info: how the data were made.
        folder: where they are on disk, if they are.
        reopen: makes this object again in another process, for batches that are drawn ahead.

    Attributes:
        columns, form, observation_space, action_space, info, folder: as given.
        episode: ``int32[T]``, the number of each transition's episode.
    """

    def __init__(
        self,
        columns: Episodes,
        form: Form,
        observation_space: gym.Space,
        action_space: gym.Space,
        info: Mapping[str, Any],
        folder: Path | None = None,
        reopen: Callable[[], OfflineData] | None = None,
    ):
        self.columns, self.form, self.info = columns, form, dict(info)
        self.observation_space, self.action_space = observation_space, action_space
        self.folder, self._reopen = folder, reopen
        self.episode = np.repeat(np.arange(columns.num_episodes, dtype=np.int32), self.lengths)

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        return f"OfflineData({len(self):,} steps, {self.num_episodes:,} episodes, form {self.form.name!r})"

    @property
    def num_episodes(self) -> int:
        return self.columns.num_episodes

    @property
    def lengths(self) -> np.ndarray:
        """``int64[E]``, steps of each episode."""
        return np.asarray(self.columns.per_episode["length"])

    @property
    def starts(self) -> np.ndarray:
        """``int64[E]``, the first transition of each episode."""
        return self.columns.starts

    @property
    def nbytes(self) -> int:
        """Bytes of all columns, in memory or mapped."""
        return self.columns.nbytes

    @property
    def actions(self) -> np.ndarray:
        """``[T, ...]``."""
        return self.columns.actions

    @property
    def rewards(self) -> np.ndarray:
        """``float64[T]``."""
        return self.columns.rewards

    @property
    def terminated(self) -> np.ndarray:
        """``bool[T]``."""
        return self.columns.terminated

    @property
    def truncated(self) -> np.ndarray:
        """``bool[T]``."""
        return self.columns.truncated

    def observations(self, rows: np.ndarray) -> Any:
        """Return the observations before transitions ``rows``, ``int[K]``."""
        rows = self._checked(rows)
        return self._draw(rows, self.episode[rows])

    def next_observations(self, rows: np.ndarray) -> Any:
        """Return the observations after transitions ``rows``, ``int[K]``."""
        rows = self._checked(rows)
        return self._draw(rows + 1, self.episode[rows])

    def all_observations(self, first: int, last: int) -> Any:
        """Return all observations of episodes ``first`` to ``last - 1``, ``[steps + last - first, *shape]``."""
        episode = np.repeat(np.arange(first, last), self.lengths[first:last] + 1)
        begin = int(self.starts[first]) + first if last > first else 0
        return self.form.draw(self.columns, begin + np.arange(len(episode)), episode)

    def sample(self, rows: np.ndarray) -> Batch:
        """Return transitions ``rows``, ``int[K]`` in any order. Images are copied once, into the batch.

        Raises:
            IndexError: for rows outside [0, T).
        """
        rows = self._checked(rows)
        episode = self.episode[rows]
        # One call for both, so that what is drawn from states is drawn once where they share images.
        both = self._draw(np.concatenate([rows, rows + 1]), np.concatenate([episode, episode]))
        columns, k = self.columns, len(rows)
        return Batch(
            _part(both, slice(0, k)),
            np.asarray(columns.actions[rows], dtype=self.action_space.dtype),
            np.asarray(columns.rewards[rows], dtype=np.float32),
            _part(both, slice(k, None)),
            np.asarray(columns.terminated[rows]),
            np.asarray(columns.truncated[rows]),
        )

    def draw(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """Return transitions drawn uniformly, with replacement."""
        return self.sample(rng.integers(len(self), size=integer("batch_size", batch_size, 1)))

    def batches(
        self,
        batch_size: int,
        rng: np.random.Generator | None = None,
        *,
        first: int = 0,
        drop_last: bool = False,
        workers: int = 0,
    ) -> Iterator[Batch]:
        """Yield each transition once, in batches; the last one may be shorter.

        Args:
            batch_size: at least 1.
            rng: draws the permutation; ``None`` keeps the order of time.
            first: batches to leave out. With the generator's state from the start of the epoch, an interrupted epoch
                goes on where it was.
            drop_last: whether to leave out a shorter last batch.
            workers: processes that draw observations ahead of time, two batches each; 0 draws here. The data set must
                be on disk.
        """
        integer("batch_size", batch_size, 1)
        integer("first", first, 0)
        integer("workers", workers, 0)
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        end = len(order) - len(order) % batch_size if drop_last else len(order)
        chunks = [order[i : i + batch_size] for i in range(first * batch_size, end, batch_size)]
        if workers == 0:
            return map(self.sample, chunks)
        if self._reopen is None:
            raise ValueError(f"workers={workers} need a data set on disk: collect with dataset=..., or use workers=0")
        return _ahead(self._reopen, chunks, workers)

    def require_spaces(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        """Raise ``ValueError`` unless the data set has these spaces."""
        require_same("observation space", observation_space, self.observation_space)
        require_same("action space", action_space, self.action_space)

    def _draw(self, rows: np.ndarray, episode: np.ndarray) -> Any:
        return self.form.draw(self.columns, rows + episode, episode)

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.ndim != 1 or ((rows < 0) | (rows >= len(self))).any():
            raise IndexError(f"rows must be int[K] in [0, {len(self)}), got {rows!r}")
        return rows


def _part(values: Any, rows: slice) -> Any:
    return {key: value[rows] for key, value in values.items()} if isinstance(values, dict) else values[rows]


_opened: OfflineData | None = None


def _open_in_worker(reopen: Callable[[], OfflineData]) -> None:
    global _opened
    _opened = reopen()


def _sample_in_worker(rows: np.ndarray) -> Batch:
    assert _opened is not None
    return _opened.sample(rows)


def _ahead(reopen: Callable[[], OfflineData], chunks: list[np.ndarray], workers: int) -> Iterator[Batch]:
    # Spawned, because forking a process with threads, as torch's, may hang.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn, _open_in_worker, (reopen,))
    waiting: deque[Any] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_sample_in_worker, chunk))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
