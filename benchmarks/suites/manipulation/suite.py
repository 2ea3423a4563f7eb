"""The manipulation suite: robot arms learn from images whose colors, lights and cameras change between episodes.

Protocol: that of RAP's experiments (Chen and Pan 2024), 500,000 steps of two tasks of robosuite, scored in looks that
are drawn as in training. Beside it stands what they lack: held-out looks, of the same episodes, and what doing nothing
earns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites.agent_training import learner_from, train_in_episodes
from bisimgym.benchmarks.suites.base import Monitor, Outcome, Spec, Suite
from bisimgym.benchmarks.suites.checks import check_columns, check_least
from bisimgym.benchmarks.suites.manipulation.settings import (
    ENV_IDS,
    HORIZON,
    MEASURES,
    METHODS,
    PRESETS,
    PROTOCOL,
    PUBLISHED,
    SMALLEST,
    TASKS,
    Protocol,
)
from bisimgym.benchmarks.suites.pixel_learners import (
    more_settings,
    pixel_learner,
    play_episode,
)
from bisimgym.benchmarks.suites.training import train_with_evaluations, without_training
from bisimgym.envs.manipulation import simulator

#: What doing nothing earns, rounded: the 0 of normalized returns. The rows of the method "zero" have it exactly.
IDLE = {"door": 2.0, "two-arm-peg-in-hole": 250.0}
#: Settings that are not arguments of a learner.
_OF_SUITE = ("episodes", "evaluate_every", "size", "renderer")


class Blind:
    """Takes actions without looking: none at all, or uniformly random ones."""

    def __init__(self, size: int, seed: int | None = None):
        self._size = size
        self._rng = None if seed is None else np.random.default_rng(seed)

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True):
        shape = (len(observation), self._size)
        action = np.zeros(shape) if self._rng is None else self._rng.uniform(-1, 1, shape)
        return action.astype(np.float32), None


class Expert:
    """Takes the actions of an environment's scripted expert, whatever it is shown."""

    def __init__(self, env: gym.Env):
        self._env: Any = env.unwrapped

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True):
        return self._env.optimal_action()[None], None


def make_env(task: str, protocol: Protocol = PROTOCOL, **arguments: Any) -> gym.Env:
    """Return one environment of a task; further arguments are those of :class:`ManipulationEnv`.

    Raises:
        UserError: if robosuite is missing, or if images cannot be made.
    """
    try:
        return gym.make(ENV_IDS[task], horizon=protocol.horizon, **arguments)
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(str(error)) from error


def training_envs(task: str, seed: int, protocol: Protocol = PROTOCOL) -> Any:
    """Return the environments that outside agents learn from.

    Raises:
        UserError: if robosuite is missing.
    """
    make_env(task, protocol, observation="state").close()
    return gym.make_vec(
        ENV_IDS[task], num_envs=protocol.num_envs, horizon=protocol.horizon, image_size=protocol.image_size
    )


def evaluate(
    agent: Any,
    task: str,
    seed: int,
    protocol: Protocol = PROTOCOL,
    episodes: int | None = None,
    images: Mapping[str, Any] | None = None,
) -> Outcome:
    """Score an agent in held-out looks and in looks of training, in the same episodes.

    Args:
        agent: sees batches of one image, ``uint8[1, size, size, 9]``.
        task: of :data:`TASKS`.
        seed: of the run.
        protocol: sizes.
        episodes: of each kind; ``None``: the protocol's.
        images: ``image_size`` and ``renderer``; ``None``: what outside agents see.
    """
    count = protocol.episodes if episodes is None else episodes
    shown = {"image_size": protocol.image_size} if images is None else dict(images)
    held_out, solved = _play(agent, make_env(task, protocol, split="test", **shown), seed, count)
    trained, _ = _play(agent, make_env(task, protocol, **shown), seed, count)
    outcomes: dict[str, list] = {"return": held_out, "trained_return": trained, "solved": solved}
    return Outcome.of(_scores(task, outcomes), outcomes)


def _play(agent: Any, env: gym.Env, seed: int, count: int) -> tuple[list[float], list[bool]]:
    """Return what an agent earns in each episode, and whether it ends with the task solved; closes the environment."""
    with env:
        played = [play_episode(agent, env, 1_000_000 + 1000 * seed + episode) for episode in range(count)]
    return [total for total, *_ in played], [last["is_success"] for *_, last in played]


def _scores(task: str, outcomes: Mapping[str, list]) -> dict[str, float]:
    score, trained = float(np.mean(outcomes["return"])), float(np.mean(outcomes["trained_return"]))
    return {
        "score": score,
        "trained": trained,
        "gap": trained - score,
        "normalized": (score - IDLE[task]) / (HORIZON - IDLE[task]),
        "solved": float(np.mean(outcomes["solved"])),
    }


def rescore(task: str, seed: int, outcomes: Mapping[str, list], protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of the protocol's episodes.
    """
    check_columns(task, outcomes, {"return", "trained_return", "solved"}, protocol.episodes)
    return _scores(task, outcomes)


def make_learner(spec: Spec, device: str, env: Any, protocol: Protocol = PROTOCOL) -> Any:
    """Return the untrained agent of a run.

    Raises:
        UserError: if its replay does not fit into memory.
    """
    settings = {name: value for name, value in spec.settings.items() if name not in _OF_SUITE}
    return pixel_learner(settings, env, spec.settings["episodes"] * protocol.horizon, spec.seed, device)


def train(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Outcome:
    """Train one agent, from its checkpoint if there is one, and score it; or score one that does not learn.

    Raises:
        UserError: if robosuite is missing.
    """
    if "learner" not in spec.settings:
        return without_training(monitor, "steps", lambda: _reference(spec, protocol))
    from stable_baselines3.common.vec_env import DummyVecEnv

    from bisimgym.baselines.core.checkpoint import save_checkpoint
    from bisimgym.baselines.learners import SAC_LEARNERS

    images = {"image_size": spec.settings["size"], "renderer": spec.settings["renderer"]}
    env = DummyVecEnv([lambda: make_env(spec.task, protocol, **images)])
    checkpoint, episodes = Path(monitor.checkpoint), spec.settings["episodes"]
    algorithm = SAC_LEARNERS[spec.settings["learner"]]
    model = learner_from(algorithm, monitor, checkpoint, device, lambda: make_learner(spec, device, env, protocol), env)
    return train_with_evaluations(
        monitor,
        "steps",
        done=model.num_timesteps,
        total=episodes * protocol.horizon,
        every=spec.settings["evaluate_every"] * protocol.horizon,
        train=lambda reached: train_in_episodes(
            model, episodes, protocol.horizon, protocol.horizon, spec.seed, reached
        ),
        evaluate=lambda: evaluate(model, spec.task, spec.seed, protocol, protocol.curve_episodes, images),
        complete=lambda _: evaluate(model, spec.task, spec.seed, protocol, images=images),
        save=lambda: save_checkpoint(model, checkpoint, with_env=False),
        columns=lambda: {"updates": model._n_updates},
    )


def _reference(spec: Spec, protocol: Protocol) -> Outcome:
    """Score an agent that sees no image: what it earns does not depend on looks, so episodes are played once."""
    env = make_env(spec.task, protocol, observation="state")
    assert isinstance(env.action_space, gym.spaces.Box)
    agent: Any = Expert(env)
    if spec.method != "oracle":
        agent = Blind(env.action_space.shape[0], None if spec.method == "zero" else spec.seed)
    returns, solved = _play(agent, env, spec.seed, protocol.episodes)
    outcomes: dict[str, list] = {"return": returns, "trained_return": list(returns), "solved": solved}
    return Outcome.of(_scores(spec.task, outcomes), outcomes)


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    settings = spec.settings
    if "learner" not in settings:
        return
    check_least(settings, episodes=1, evaluate_every=1, channels=1, pad=0, learning_starts=1, batch_size=1)
    if settings["hidden"] is not None:
        check_least(settings, hidden=1)
    if settings["size"] < SMALLEST:
        raise ValueError(f"size must be at least {SMALLEST}, what the encoder takes, got {settings['size']} pixels")
    renderers = ["raycast", "opengl", "opengl-fast"]
    if settings["renderer"] not in renderers:
        raise ValueError(f"renderer must be one of {renderers}, got {settings['renderer']!r}")
    if spec.variant and simulator.is_installed():  # the suite's own settings are sound, and networks take time
        make_learner(spec, "cpu", make_env(spec.task, image_size=settings["size"]))


SUITE = Suite(
    name="manipulation",
    version=1,
    title="Manipulation",
    description=(
        "Robot arms of robosuite learn from images whose colors, lights and cameras change between episodes: does a "
        "metric help where they change in ways never seen, and is any agent better than none?"
    ),
    score_name="return (of 500)",
    x_name="steps",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    env_ids=lambda task: [ENV_IDS[task]],
    check=check,
    rescore=rescore,
    further_settings=more_settings,
    published=PUBLISHED,
    bounds=(0.0, float(HORIZON)),  # robosuite's dense rewards are from 0 to 1
    anchored=lambda task: (IDLE[task], float(HORIZON)),
    columns={"return": (0.0, float(HORIZON)), "trained_return": (0.0, float(HORIZON)), "solved": bool},
)
