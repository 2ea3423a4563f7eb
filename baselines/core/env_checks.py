"""What learners check of environments: their spaces at construction, and that observations and rewards are finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

_OBSERVATIONS = (
    "observations are a Box of at least one number, Discrete from 0, MultiDiscrete of one axis from 0, MultiBinary, or "
    "a Dict of these"
)


def check_observation_space(learner: str, space: gym.Space) -> None:
    """Raise ``ValueError`` for a space of observations that learners cannot take; the message says which they take.

    Args:
        learner: its name, for the message.
        space: of its environment.
    """
    parts = space.spaces if isinstance(space, spaces.Dict) and space.spaces else {"": space}
    for key, part in parts.items():
        problem = _observation_problem(part)
        if problem:
            where = f" for the entry {key!r}" if key else ""
            raise ValueError(f"{learner} cannot take observations of {part}{where}: {problem}. Its {_OBSERVATIONS}")


def check_action_space(learner: str, space: gym.Space, takes: type[gym.Space]) -> None:
    """Raise ``ValueError`` for a space of actions that a learner cannot take; the message says which it takes.

    Args:
        learner: its name, for the message.
        space: of its environment.
        takes: the class of spaces that it takes, ``spaces.Discrete`` or ``spaces.Box``.
    """
    problem = _action_problem(space, takes)
    if problem:
        kind = "Discrete, from 0" if takes is spaces.Discrete else "a Box of floats with finite bounds"
        raise ValueError(f"{learner} cannot take actions of {space}: {problem}. Its actions are {kind}")


def _observation_problem(space: gym.Space) -> str:
    """Return what is wrong with a space of observations that is no dictionary, or an empty string."""
    if isinstance(space, spaces.Box):
        return "" if space.shape and np.prod(space.shape) else "it has no axis or no entry; reshape it in a wrapper"
    if isinstance(space, spaces.MultiBinary):
        return ""
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim != 1:
        return "it has several axes; flatten it in a wrapper"
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        return "it does not start at 0; subtract its start in a wrapper" if np.any(space.start) else ""
    if isinstance(space, spaces.Dict):
        return "a dictionary within another, or an empty one; flatten it in a wrapper"
    return f"{type(space).__name__} has no fixed array; encode it in a wrapper"


def _action_problem(space: gym.Space, actions: type[gym.Space]) -> str:
    """Return what is wrong with a space of actions, or an empty string."""
    if not isinstance(space, actions):
        return f"it is {type(space).__name__}, not {actions.__name__}"
    if isinstance(space, spaces.Discrete):
        return "it does not start at 0; subtract its start in a wrapper" if space.start else ""
    assert isinstance(space, spaces.Box)
    if not np.issubdtype(space.dtype, np.floating):
        return f"its numbers are {space.dtype}, and what is learned are floats; round them in a wrapper"
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        return "it has no finite bounds; use gymnasium.wrappers.RescaleAction or ClipAction"
    sound = np.prod(space.shape) and (space.low < space.high).all()
    return "" if sound else "it holds no number, or one whose lowest value is not below its highest"


def check_finite(what: str, values: Any, when: str) -> None:
    """Raise ``ValueError`` if an environment gave values that are not finite.

    Args:
        what: "observation" or "reward", or their plurals.
        values: an array, or a dictionary of arrays, with a leading axis of environments.
        when: the end of the message.
    """
    for key, part in values.items() if isinstance(values, Mapping) else [("", values)]:
        if isinstance(part, th.Tensor):  # looking would wait for the device: losses are looked at later
            continue
        array = np.asarray(part)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            entry = f" (entry {key!r})" if key else ""
            article = "" if what.endswith("s") else "an " if what[0] in "aeiou" else "a "
            verb = "are" if what.endswith("s") else "is"
            raise ValueError(
                f"the environment gave {article}{what}{entry} that {verb} not finite, {array[where]} at {list(where)}, "
                f"{when}: mend or wrap the environment; no setting of the training helps"
            )


def check_step(
    observation: Any, reward: np.ndarray, dones: np.ndarray, infos: Sequence[Mapping[str, Any]], step: int
) -> None:
    """Check what a step of vectorized environments gave, last observations of ended episodes included.

    Raises:
        ValueError: see :func:`check_finite`.
    """
    when = f"at step {step}"
    check_finite("reward", reward, when)
    check_finite("observation", observation, when)
    for i in np.flatnonzero(dones).tolist():
        last = infos[i].get("terminal_observation")
        if last is not None:
            check_finite("observation", last, f"{when}, the last of an episode")


def check_replay(buffer: ReplayBuffer) -> None:
    """Check all rewards of a replay and 256 transitions that it samples, with rewards that hindsight computed.

    Raises:
        ValueError: see :func:`check_finite`.
    """
    if buffer.size() == 0:
        return
    if isinstance(rewards := getattr(buffer, "rewards", None), np.ndarray):
        check_finite("reward", rewards[: buffer.size()], "as the replay holds it")
    sample = buffer.sample(256)
    for what, values in (
        ("reward", sample.rewards),
        ("observation", sample.observations),
        ("observation", sample.next_observations),
    ):
        parts = values if isinstance(values, dict) else {"": values}
        check_finite(what, {key: part.cpu().numpy() for key, part in parts.items()}, "as the replay holds it")
