"""The driving suite: a highway from images, in weather or among traffic that was never seen.

Protocol: that of SECANT (Fan et al. 2021), which trains in one weather and tests in others, and of DBC (Zhang et al.
2021) with the slow weather. Agents drive in the stand-in, which is not CARLA: returns are not comparable with theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from bisimgym.benchmarks.suites.agent_training import learner_from, train_in_one_piece
from bisimgym.benchmarks.suites.base import Monitor, Outcome, Spec, Suite
from bisimgym.benchmarks.suites.checks import check_columns, check_least
from bisimgym.benchmarks.suites.driving.envs import (
    ENV_ID,
    PROTOCOL,
    Protocol,
    env_arguments,
    image_settings,
    play,
    play_unseen,
    training_env,
    training_envs,
)
from bisimgym.benchmarks.suites.driving.settings import (
    COLUMNS,
    DISTRIBUTIONS,
    FIXED,
    MEASURES,
    METHODS,
    PRESETS,
    RETURNS,
    TASKS,
)
from bisimgym.benchmarks.suites.pixel_learners import more_settings, pixel_learner
from bisimgym.benchmarks.suites.training import train_with_evaluations, without_training

#: Settings that are not arguments of a learner.
_OF_SUITE = ("backend", "actions", "evaluate_every", "size", "cameras")


def evaluate(
    agent: Any,
    task: str,
    seed: int,
    protocol: Protocol = PROTOCOL,
    episodes: int | None = None,
    images: Mapping[str, Any] | None = None,
) -> Outcome:
    """Score an agent where it did not learn, and where it did.

    Args:
        agent: sees batches of stacks of three images, ``uint8[B, size, cameras * size, 9]``; or a name of what a
            :func:`play_unseen` does.
        task: of :data:`TASKS`.
        seed: of the run.
        protocol: sizes.
        episodes: of each kind; ``None``: the protocol's.
        images: backend, size and cameras; ``None``: what outside agents see.
    """
    count, start = protocol.episodes if episodes is None else episodes, 1_000_000 + 1000 * seed
    found = {}
    for held_out in (True, False):
        arguments = env_arguments(task, held_out, protocol, **(images or {}))
        envs = gym.make_vec(ENV_ID, num_envs=count, autoreset_mode="Disabled", **arguments)
        played = play_unseen if isinstance(agent, str) else play
        found[held_out] = played(agent, envs, start if held_out else start + 500)
        envs.close()
    outcomes = {**found[True], "trained_return": found[False]["return"]}
    return Outcome.of(_scores(task, outcomes), outcomes)


def _scores(task: str, outcomes: Mapping[str, list]) -> dict[str, float]:
    score, trained = float(np.mean(outcomes["return"])), float(np.mean(outcomes["trained_return"]))
    return {
        "score": score,
        "trained": trained,
        "gap": trained - score,
        "normalized": normalized(task, score),
        "trained_normalized": normalized(task, trained),
        "distance": float(np.mean(outcomes["distance"])),
        "finished": float(np.mean([ending == "time-limit" for ending in outcomes["ending"]])),
        "crashed": float(np.mean([crash > 0 for crash in outcomes["crash"]])),
    }


def normalized(task: str, earned: float) -> float:
    """Return a return as a share of what the oracle earns beyond the action zero, which is 0."""
    anchors = DISTRIBUTIONS[task]
    return (earned - anchors.nothing) / (anchors.oracle - anchors.nothing)


def rescore(task: str, seed: int, outcomes: Mapping[str, list], protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this task.
    """
    check_columns(task, outcomes, COLUMNS, protocol.episodes)
    return _scores(task, outcomes)


def train(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Outcome:
    """Train one agent, from its checkpoint if there is one, and score it.

    A run that is cut off goes on from its last checkpoint as the unbroken run did: environment and replay are kept.
    """
    if "act" in spec.settings:
        small = {"size": 4, "cameras": 1}  # nobody looks
        return without_training(
            monitor, "actions", lambda: evaluate(spec.settings["act"], spec.task, spec.seed, protocol, images=small)
        )
    from bisimgym.baselines.core.checkpoint import save_checkpoint
    from bisimgym.baselines.learners import SAC_LEARNERS

    checkpoint, images, total = Path(monitor.checkpoint), image_settings(spec), spec.settings["actions"]
    algorithm = SAC_LEARNERS[spec.settings["learner"]]
    model = learner_from(
        algorithm, monitor, checkpoint, device, lambda: make_learner(spec, device, training_env(spec, protocol))
    )

    def complete(_: Sequence[float]) -> Outcome:
        return evaluate(model, spec.task, spec.seed, protocol, images=images)

    return train_with_evaluations(
        monitor,
        "actions",
        done=model.num_timesteps,
        total=total,
        every=spec.settings["evaluate_every"],
        train=lambda reached: train_in_one_piece(model, total, reached),
        evaluate=lambda: evaluate(model, spec.task, spec.seed, protocol, protocol.curve_episodes, images),
        complete=complete,
        save=lambda: save_checkpoint(model, checkpoint, compress=True),
        columns=lambda: {"updates": model._n_updates},
    )


def make_learner(spec: Spec, device: str, env: Any) -> Any:
    """Return the untrained agent of a run."""
    settings = {name: value for name, value in spec.settings.items() if name not in _OF_SUITE}
    return pixel_learner(settings, env, spec.settings["actions"], spec.seed, device)


def check(spec: Spec, protocol: Protocol = PROTOCOL) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    settings = spec.settings
    if "act" in settings:
        if settings["act"] not in {method.settings["act"] for method in FIXED.values()}:
            raise ValueError(f"act must be 'zero', 'random' or 'oracle', got {settings['act']!r}")
        return
    check_least(settings, actions=1, evaluate_every=1, channels=1, pad=0, learning_starts=1)
    check_least({name: value for name, value in settings.items() if value is not None}, hidden=1, batch_size=1)
    if settings["backend"] != "standin":
        raise ValueError(
            f"backend must be 'standin', got {settings['backend']!r}: a server of CARLA drives one car, and the suite "
            "scores many at once; for CARLA, train in gym.make('bisimgym/HighwayDriving-v0', backend='carla')"
        )
    if settings["learner"] not in {method.settings.get("learner") for method in METHODS.values()}:
        raise ValueError(f"unknown learner {settings['learner']!r}")
    if spec.variant:  # the suite's own settings are sound, and making networks takes time
        make_learner(spec, "cpu", training_env(spec, protocol))


SUITE = Suite(
    name="driving",
    version=1,
    title="Driving",
    description=(
        "A highway from the images of cameras all around: does a metric help an agent in weather, or among traffic, "
        "that it never saw?"
    ),
    score_name="return",
    x_name="actions",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    env_ids=lambda task: [ENV_ID],
    check=check,
    rescore=rescore,
    further_settings=more_settings,
    bounds=RETURNS,
    columns=COLUMNS,
    anchored=lambda task: (DISTRIBUTIONS[task].nothing, DISTRIBUTIONS[task].oracle),
)
