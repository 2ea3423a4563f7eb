"""Learners of the suite ``distracting``: their settings, their episodes, and the first of two stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import deadline
from bisimgym.benchmarks.suites import pixel_learners
from bisimgym.benchmarks.suites.base import Monitor, Spec
from bisimgym.benchmarks.suites.distracting.envs import (
    PROTOCOL,
    Protocol,
    image_settings,
    make_env,
    steps_per_episode,
    training_env,
)
from bisimgym.benchmarks.suites.pixel_learners import pixel_learner, train_in_episodes
from bisimgym.benchmarks.suites.training import Reached

#: Settings that are not arguments of a learner.
_OF_SUITE = ("episodes", "evaluate_every", "size", "backgrounds", "renderer", "pairs", "pretrained")


def make_learner(spec: Spec, device: str, env: Any, protocol: Protocol = PROTOCOL) -> Any:
    """Return the untrained agent of a run: the published settings of its learner in the sizes of the preset.

    Raises:
        UserError: if its replay does not fit into memory.
    """
    settings = {name: value for name, value in spec.settings.items() if name not in _OF_SUITE}
    transitions = spec.settings["episodes"] * steps_per_episode(spec.task, protocol)
    return pixel_learner(settings, env, transitions, spec.seed, device)


def learner_from(spec: Spec, monitor: Monitor, folder: Path, device: str, protocol: Protocol = PROTOCOL) -> Any:
    """Return the learner in the folder of a checkpoint, or a new one if there is none yet, with its environment."""
    env = training_env(spec, protocol)
    return pixel_learners.learner_from(
        spec, monitor, folder, device, lambda: make_learner(spec, device, env, protocol), env
    )


def train_episodes(model: Any, spec: Spec, protocol: Protocol, reached: Reached) -> None:
    """Train a learner from where it stands to the end, and report after each episode, in control steps."""
    actions = steps_per_episode(spec.task, protocol)
    train_in_episodes(model, spec.settings["episodes"], actions, protocol.episode_steps, spec.seed, reached)


def trained_first(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Any:
    """Return the first agent of a run of two stages: DrQ, trained from its own checkpoint if there is one."""
    from bisimgym.baselines.core.checkpoint import save_checkpoint

    settings = {name: value for name, value in spec.settings.items() if not name.startswith("pse_")}
    of_first = replace(spec, settings={**settings, "learner": "drq"})
    folder = Path(monitor.checkpoint, "first")
    model = learner_from(of_first, monitor, folder, device, protocol)
    total = spec.settings["episodes"] * protocol.episode_steps
    every = spec.settings["evaluate_every"] * protocol.episode_steps

    def reached(at: int) -> bool:
        stops = at < total and deadline.is_over()
        if at % every == 0 or at == total or stops:
            save_checkpoint(model, folder, with_env=False)
        if stops:
            deadline.check(f"control steps {at} of {total} of the first agent")
        return True

    train_episodes(model, of_first, protocol, reached)
    return model


def two_looks(spec: Spec, protocol: Protocol = PROTOCOL, tries: int = 50) -> tuple[gym.Env, gym.Env]:
    """Return two environments of a task that show different videos, if agents learn under any."""

    def look(distraction_seed: int) -> tuple[gym.Env, Any]:
        env = make_env(spec.task, False, protocol, distraction_seed=distraction_seed, **image_settings(spec))
        return env, env.reset(seed=0)[1].get("background")

    one, video = look(0)
    for distraction_seed in range(1, tries):
        other, other_video = look(distraction_seed)
        if video is None or other_video != video:
            return one, other
    raise UserError(f"{spec.task} needs two videos to learn from for PSE, got {video} in {tries} episodes")
