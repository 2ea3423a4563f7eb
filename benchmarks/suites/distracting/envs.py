"""Environments of the suite ``distracting``, and agents that play in them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites.base import Spec
from bisimgym.benchmarks.suites.distracting.settings import (
    ACTION_REPEATS,
    DISTRACTIONS,
    DMC_TASKS,
    EPISODE_STEPS,
    PARTS,
)
from bisimgym.benchmarks.suites.pixel_learners import play_episode


@dataclass(frozen=True)
class Protocol:
    """Sizes that all runs share.

    Attributes:
        episodes: that an agent is scored in, under training distractions and as many under held-out ones.
        curve_episodes: of each kind, for a row of the curve.
        anchors: observations that the denoising factor is measured at, of one held-out episode.
        positives: distractions that each of them is shown under.
        episode_steps: control steps of an episode, at most dm_control's 1000.
        size: of the images that outside agents see.
        num_envs: that outside agents learn from.
    """

    episodes: int = 30
    curve_episodes: int = 3
    anchors: int = 60
    positives: int = 8
    episode_steps: int = EPISODE_STEPS
    size: int = 84
    num_envs: int = 4


PROTOCOL = Protocol()


def split_task(task: str) -> tuple[str, str]:
    """Return the name of a task of dm_control and that of its setting."""
    return PARTS[task].name, PARTS[task].setting


def distracts(task: str) -> bool:
    """Return whether held-out distractions differ from those that agents learn under."""
    _, learned, scored = DISTRACTIONS[PARTS[task].setting]
    return learned != scored


@functools.cache
def steps_per_episode(task: str, protocol: Protocol = PROTOCOL) -> int:
    """Return how many actions an episode takes."""
    from bisimgym.envs.distracting_control.env import default_action_repeat

    name = split_task(task)[0]
    repeat = ACTION_REPEATS.get(name) or default_action_repeat(*DMC_TASKS[name][:2])
    return -(-protocol.episode_steps // repeat)


def env_arguments(task: str, held_out: bool, protocol: Protocol = PROTOCOL, **images: Any) -> dict[str, Any]:
    """Return the keyword arguments of ``bisimgym/DistractingControl-v0`` for a task of the suite.

    Args:
        task: of :data:`TASKS`.
        held_out: whether under the distractions that agents are scored under.
        protocol: sizes.
        **images: size, supersampling, renderer and backgrounds.
    """
    name, setting = split_task(task)
    domain, dmc_task = DMC_TASKS[name][:2]
    _, learned, scored = DISTRACTIONS[setting]
    shorter = protocol.episode_steps < EPISODE_STEPS
    limit = {"max_episode_steps": steps_per_episode(task, protocol)} if shorter else {}
    repeat = {"action_repeat": ACTION_REPEATS[name]} if name in ACTION_REPEATS else {}
    return {"domain": domain, "task": dmc_task, **repeat, **(scored if held_out else learned), **limit, **images}


def make_env(task: str, held_out: bool, protocol: Protocol = PROTOCOL, **images: Any) -> gym.Env:
    """Return one environment of a task; arguments as of :func:`env_arguments`."""
    return gym.make("bisimgym/DistractingControl-v0", **env_arguments(task, held_out, protocol, **images))


def training_envs(task: str, seed: int, protocol: Protocol = PROTOCOL) -> Any:
    """Return the environments that outside agents learn from."""
    arguments = env_arguments(task, False, protocol, size=protocol.size)
    return gym.make_vec("bisimgym/DistractingControl-v0", num_envs=protocol.num_envs, **arguments)


def play(agent: Any, env: gym.Env, episodes: int, seed: int) -> tuple[list[float], list[str]]:
    """Return what a deterministic agent earns in some episodes, and the names of their videos."""
    # Seeded once: videos in order go on from there.
    played = [play_episode(agent, env, seed if episode == 0 else None) for episode in range(episodes)]
    return [total for total, *_ in played], [str(first.get("background", "")) for _, first, _ in played]


def image_settings(spec: Spec) -> dict[str, Any]:
    """Return what decides the images of a run."""
    return {name: spec.settings[name] for name in ("size", "supersampling", "renderer", "backgrounds")}


def training_env(spec: Spec, protocol: Protocol = PROTOCOL) -> Any:
    """Return the environment that a run's agent learns in, as SB3 takes it."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    return DummyVecEnv([lambda: make_env(spec.task, False, protocol, **image_settings(spec))])


def check_images(spec: Spec, protocol: Protocol = PROTOCOL) -> None:
    """Raise ``UserError`` if the videos or the renderer of a run are not there."""
    for held_out in {False, distracts(spec.task)}:
        try:
            make_env(spec.task, held_out, protocol, **image_settings(spec)).close()
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise UserError(f"the images of {spec.task} cannot be made: {error}") from error
