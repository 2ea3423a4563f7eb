"""Agents that learn control from images, from the settings of a run: what suites of images share."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites.checks import continuous_actions
from bisimgym.benchmarks.suites.further_settings import Further, further_settings


def pixel_learner(settings: Mapping[str, Any], env: Any, transitions: int, seed: int, device: str) -> Any:
    """Return an untrained agent: the published settings of its learner in other sizes.

    Args:
        settings: ``learner``; sizes ``channels``, ``hidden`` (of the networks; ``None``: the learner's own) and ``pad``
            (pixels that images are shifted by); perhaps ``architecture``, of the convolutions; and arguments of the
            learner. ``batch_size`` and ``learning_rate`` of ``None`` are the learner's own.
        env: that it learns in.
        transitions: that it will see: its replay has room for no more.
        seed: of the run.
        device: that it computes on.

    Raises:
        UserError: if its replay does not fit into memory.
    """
    from bisimgym.baselines.learners import SAC_LEARNERS
    from bisimgym.baselines.pixels import pixel_settings
    from bisimgym.baselines.pse.augmentation import random_shift

    chosen = dict(settings)
    learner, channels, hidden, pad = (chosen.pop(name) for name in ("learner", "channels", "hidden", "pad"))
    architecture = {"architecture": chosen.pop("architecture")} if "architecture" in chosen else {}
    policy: dict[str, Any] = {"features_extractor_kwargs": {"channels": channels, **architecture}}
    if hidden is not None:
        policy["net_arch"] = [hidden] * 2
    for name in ("batch_size", "learning_rate"):
        if chosen[name] is None:
            del chosen[name]
    chosen = pixel_settings(learner, {**chosen, "policy_kwargs": policy})
    if "augmentation" in chosen:
        chosen["augmentation"] = functools.partial(random_shift, pad=pad)
    chosen["buffer_size"] = min(chosen["buffer_size"], transitions)
    try:
        return SAC_LEARNERS[learner]("PixelPolicy", env, seed=seed, device=device, **chosen)
    except MemoryError as error:
        raise UserError(f"the replay of {learner} does not fit: {error}") from error


def more_settings(settings: Mapping[str, Any]) -> dict[str, Further]:
    """Return what the learner of a method's settings takes beside them; nothing for methods that do not learn."""
    if "learner" not in settings:
        return {}
    from bisimgym.baselines.core.settings import SACSettings
    from bisimgym.baselines.learners import SAC_LEARNERS
    from bisimgym.baselines.pixels import pixel_settings

    learner = settings["learner"]
    hints, fixed = get_type_hints(SACSettings), pixel_settings(learner)
    return further_settings(SAC_LEARNERS[learner], hints, settings.get("metric"), fixed=fixed)


def play_episode(agent: Any, env: gym.Env, seed: int | None) -> tuple[float, dict[str, Any], dict[str, Any]]:
    """Return what a deterministic agent earns in one episode, and the first and the last info.

    Args:
        agent: sees batches of one observation.
        env: with a Box of actions.
        seed: of the episode; ``None`` goes on from the last one.

    Raises:
        ValueError: for actions of another shape than the environment's, or that are not finite.
    """
    assert isinstance(env.action_space, gym.spaces.Box)
    observation, first = env.reset(seed=seed)
    total, ended, state, start = 0.0, False, None, np.ones(1, dtype=bool)
    shape, last = (1, *env.action_space.shape), first
    while not ended:
        action, state = agent.predict(observation[None], state=state, episode_start=start, deterministic=True)
        observation, reward, terminated, truncated, last = env.step(continuous_actions(action, shape)[0])
        total, ended, start = total + float(reward), terminated or truncated, np.zeros(1, dtype=bool)
    return total, first, last
