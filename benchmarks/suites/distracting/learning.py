"""Learners of the suite ``distracting``: their settings, their episodes, and the first of two stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import deadline
from bisimgym.benchmarks.suites import agent_training
from bisimgym.benchmarks.suites.base import Monitor, Spec
from bisimgym.benchmarks.suites.distracting.envs import (
    PROTOCOL,
    Protocol,
    image_settings,
    make_env,
    steps_per_episode,
    training_env,
)
from bisimgym.benchmarks.suites.distracting.settings import PARTS
from bisimgym.benchmarks.suites.pixel_learners import pixel_learner
from bisimgym.benchmarks.suites.training import Reached

#: Settings that are not arguments of a learner.
_OF_SUITE = ("episodes", "evaluate_every", "size", "supersampling", "backgrounds", "renderer", "pairs", "pretrained")


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
    from bisimgym.baselines.learners import SAC_LEARNERS

    env, algorithm = training_env(spec, protocol), SAC_LEARNERS[spec.settings["learner"]]
    return agent_training.learner_from(
        algorithm, monitor, folder, device, lambda: make_learner(spec, device, env, protocol), env
    )


def train_episodes(model: Any, spec: Spec, protocol: Protocol, reached: Reached) -> None:
    """Train a learner from where it stands to the end, and report after each episode, in control steps."""
    episodes, actions = spec.settings["episodes"], steps_per_episode(spec.task, protocol)
    agent_training.train_in_episodes(model, episodes, actions, protocol.episode_steps, spec.seed, reached)


def first_stage(spec: Spec) -> Spec | None:
    """Return what is trained before a run's own agent, for as long, or ``None``.

    For PSE that is DrQ on the same task; for transfer, the same method on the task that convolutions come from.
    """
    parts = PARTS[spec.task]
    if parts.source:
        return replace(spec, task=f"{parts.source}-{parts.setting}")
    if spec.settings["learner"] != "drq-pse":
        return None
    settings = {name: value for name, value in spec.settings.items() if not name.startswith("pse_")}
    return replace(spec, settings={**settings, "learner": "drq"})


def trained_first(
    stage: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL, within: Path | None = None
) -> Any:
    """Return the agent of a :func:`first_stage`, trained from its own checkpoint if there is one.

    A stage that has one before it, as PSE has in transfer, trains that too, in a folder within its own.
    """
    from bisimgym.baselines.core.checkpoint import save_checkpoint

    folder = Path(monitor.checkpoint if within is None else within, "first")
    before = first_stage(stage)
    checkpoint = folder / "agent" if before else folder
    model = learner_from(stage, monitor, checkpoint, device, protocol)
    total = stage.settings["episodes"] * protocol.episode_steps
    every = stage.settings["evaluate_every"] * protocol.episode_steps
    if before and model.num_timesteps < stage.settings["episodes"] * steps_per_episode(stage.task, protocol):
        build_on(trained_first(before, monitor, device, protocol, folder), model, stage, protocol)

    def reached(at: int) -> bool:
        stops = at < total and deadline.is_over()
        if at % every == 0 or at == total or stops:
            save_checkpoint(model, checkpoint, with_env=False)
        if stops:
            deadline.check(f"control steps {at} of {total} of the first agent")
        return True

    train_episodes(model, stage, protocol, reached)
    return model


def build_on(first: Any, model: Any, spec: Spec, protocol: Protocol = PROTOCOL) -> None:
    """Give an agent what its :func:`first_stage` has learned: frozen convolutions, or for PSE pairs of episodes."""
    fresh = model.num_timesteps == 0
    if PARTS[spec.task].source:
        taught = first.policy.encoder.convolutions.state_dict()
        for encoder in (model.policy.encoder, model.policy.encoder_target):
            encoder.convolutions.load_state_dict(taught)
            encoder.convolutions.requires_grad_(False)
        return
    from bisimgym.baselines.drq_pse import collect_pairs

    looks = two_looks(spec, protocol)
    model.align(collect_pairs(first, *looks, count=spec.settings["pairs"], seed=20_000_000 + 1000 * spec.seed))
    if spec.settings["pretrained"] and fresh:
        model.policy.load_state_dict(first.policy.state_dict())


def two_looks(spec: Spec, protocol: Protocol = PROTOCOL, tries: int = 50) -> tuple[gym.Env, gym.Env]:
    """Return two environments of a task that show different videos, if agents learn under more than one."""

    def look(distraction_seed: int) -> tuple[gym.Env, Any]:
        env = make_env(spec.task, False, protocol, distraction_seed=distraction_seed, **image_settings(spec))
        return env, env.reset(seed=0)[1].get("background")

    one, video = look(0)
    shown: Any = one.unwrapped
    distraction = shown.settings.distraction
    single = distraction.content == "noise" or distraction.num_videos == 1  # noise is another in every episode
    for distraction_seed in range(1, tries):
        other, other_video = look(distraction_seed)
        if video is None or single or other_video != video:
            return one, other
    raise UserError(f"{spec.task} needs two videos to learn from for PSE, got {video} in {tries} episodes")
