"""Environments of the suite ``driving``, and agents that play in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.base import Spec
from bisimgym.benchmarks.suites.checks import continuous_actions
from bisimgym.benchmarks.suites.driving.settings import DISTRIBUTIONS
from bisimgym.envs.highway_driving.driver import drive
from bisimgym.envs.highway_driving.task import final_info, world_of

ENV_ID = "bisimgym/HighwayDriving-v0"
#: Images of an observation.
FRAME_STACK = 3


@dataclass(frozen=True)
class Protocol:
    """Sizes that all runs share.

    Attributes:
        episodes: that an agent is scored in, and as many where it learned.
        curve_episodes: of each kind, for a row of the curve.
        episode_frames: of an episode.
        size, cameras: of the images that outside agents see.
        num_envs: that outside agents learn from.
    """

    episodes: int = 30
    curve_episodes: int = 10
    episode_frames: int = 1000
    size: int = 84
    cameras: int = 5
    num_envs: int = 8


PROTOCOL = Protocol()


def env_arguments(task: str, held_out: bool, protocol: Protocol = PROTOCOL, **images: Any) -> dict[str, Any]:
    """Return the keyword arguments of ``bisimgym/HighwayDriving-v0`` for a task of the suite.

    Args:
        task: of :data:`TASKS`.
        held_out: whether where agents are scored.
        protocol: sizes.
        **images: size and cameras; none: what outside agents see.
    """
    distribution = DISTRIBUTIONS[task]
    shown = images or {"size": protocol.size, "cameras": protocol.cameras}
    arguments = distribution.scored if held_out else distribution.learned
    return {**arguments, "episode_frames": protocol.episode_frames, "frame_stack": FRAME_STACK, **shown}


def training_envs(task: str, seed: int, protocol: Protocol = PROTOCOL) -> Any:
    """Return the environments that outside agents learn from."""
    return gym.make_vec(ENV_ID, num_envs=protocol.num_envs, **env_arguments(task, False, protocol))


def image_settings(spec: Spec) -> dict[str, Any]:
    """Return what decides the images of a run."""
    return {name: spec.settings[name] for name in ("backend", "size", "cameras")}


def training_env(spec: Spec, protocol: Protocol = PROTOCOL) -> Any:
    """Return the environment that a run's agent learns in, as SB3 takes it."""
    from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

    return SB3VecEnv(
        gym.make_vec(ENV_ID, num_envs=1, **env_arguments(spec.task, False, protocol, **image_settings(spec)))
    )


def play_unseen(act: str, envs: Any, seed: int) -> dict[str, list]:
    """Return what an agent that looks at no image comes to, as :func:`play` does.

    Args:
        act: "zero", "random" or "oracle".
        envs: as of :func:`play`.
        seed: of the first environment's episode, and of random actions.
    """
    _, infos = envs.reset(seed=seed)
    task, state, rng = envs.unwrapped.task, envs.unwrapped.state, np.random.default_rng(seed)
    acts: dict[str, Callable[[Any, int], np.ndarray]] = {
        "zero": lambda world, _: np.zeros((len(world.s), 2)),
        "random": lambda world, _: rng.uniform(-1, 1, (len(world.s), 2)),
        "oracle": lambda world, _: drive(world),
    }
    total, world = task.rolled_out(world_of(state), acts[act])
    ends = final_info(world)
    found = {name: [_plain(value) for value in ends[name]] for name in ("distance", "crash", "ending")}
    return {"return": total.tolist(), "weather": [str(name) for name in infos["weather"]], **found}


def play(agent: Any, envs: Any, seed: int) -> dict[str, list]:
    """Return what a deterministic agent comes to in one episode of each environment, as columns.

    Args:
        agent: follows the agent protocol.
        envs: a vector environment without autoreset.
        seed: of the first environment's episode; the next has the next.
    """
    observation, infos = envs.reset(seed=seed)
    count = len(observation)
    weather = [str(name) for name in infos["weather"]]
    total, playing = np.zeros(count), np.ones(count, dtype=bool)
    found: dict[str, list] = {name: [None] * count for name in ("distance", "crash", "ending")}
    state, start = None, np.ones(count, dtype=bool)
    while playing.any():
        action, state = agent.predict(observation, state=state, episode_start=start, deterministic=True)
        action = np.clip(continuous_actions(action, (count, 2)), -1, 1)
        observation, reward, terminated, truncated, infos = envs.step(action)
        total += reward * playing
        start = terminated | truncated
        for i in np.flatnonzero(playing & start):
            _note(found, infos, int(i))
        playing &= ~start
        if playing.any() and start.any():  # ended ones start over, and no longer count
            observation, _ = envs.reset(options={"reset_mask": start})
    return {"return": total.tolist(), "weather": weather, **found}


def _note(found: Mapping[str, list], infos: Mapping[str, Any], i: int) -> None:
    for name, column in found.items():
        column[i] = _plain(infos[name][i])


def _plain(value: Any) -> float | str:
    return value if isinstance(value, str) else float(value)
