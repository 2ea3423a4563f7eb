"""What observations are kept as: themselves, or what an environment can draw them from.

An environment class that has a smaller form names it: ``offline_form = "package.module:Class"``. Nav2D keeps layouts
and cells, tasks of dm_control keep states of the simulator; both give their observations back bit for bit.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from bisimgym.wrappers.offline.episodes import Episodes
from bisimgym.wrappers.offline.spaces import batch_of, space_to_json

#: What observations are stored as when the environment names no form, and in Minari data sets.
ARRAYS = "arrays"


class Form(Protocol):
    """One form, of one environment.

    Attributes:
        name: as in ``--form``.
        blind_arguments: what the environment is made with where nobody looks at observations while collecting.
        display_arguments: arguments of the environment that may differ when observations are drawn again.
    """

    name: str
    blind_arguments: Mapping[str, Any]
    display_arguments: frozenset[str]

    def record(self, envs: VectorEnv, observations: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return columns of the current observations of sub-environments ``rows``, ``int[K]``: ``[K, ...]`` each."""

    def record_starts(self, envs: VectorEnv, observations: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return columns of the episodes that have just begun in ``rows``, ``[K, ...]`` each."""

    def draw(self, episodes: Episodes, rows: np.ndarray, episode: np.ndarray) -> Any:
        """Return observations ``[K, *shape]``, or a dictionary of such, in fresh memory.

        Args:
            episodes: recorded in this form.
            rows: ``int[K]`` of observations.
            episode: ``int[K]``, the episode of each row.
        """


class ArraysForm:
    """Observations as they are: one column, or one for each entry of a dictionary."""

    name = ARRAYS
    blind_arguments: Mapping[str, Any] = {}
    display_arguments: frozenset[str] = frozenset()

    def __init__(self, observation_space: gym.Space):
        space_to_json(observation_space)  # refuses what data sets do not hold
        self._space = observation_space

    def record(self, envs: Any, observations: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        values = batch_of(self._space, observations)
        values = values if isinstance(values, dict) else {"": values}
        return {key: value[rows] for key, value in values.items()}

    def record_starts(self, envs: Any, observations: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def draw(self, episodes: Episodes, rows: np.ndarray, episode: np.ndarray) -> Any:
        drawn = {key: np.asarray(column[rows]) for key, column in episodes.observations.items()}
        return drawn if isinstance(self._space, gym.spaces.Dict) else drawn[""]


def own_form(env: gym.Env) -> Form | None:
    """Return the form that an environment names, or ``None``."""
    path = getattr(env.unwrapped, "offline_form", None)
    if path is None:
        return None
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)(env.unwrapped)


def form_named(name: str | None, env: gym.Env) -> Form:
    """Return a form of an environment by name; ``None`` is its own form, or arrays where it has none.

    Raises:
        ValueError: if the environment has no such form.
    """
    if name == ARRAYS:
        return ArraysForm(env.observation_space)
    own = own_form(env)
    if name is None:
        return own or ArraysForm(env.observation_space)
    if own is None or own.name != name:
        has = [ARRAYS, *([own.name] if own else [])]
        raise ValueError(f"form {name!r} is not one of {env.unwrapped}: it has {', '.join(has)}, and minari")
    return own
