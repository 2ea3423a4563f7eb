"""The distracting suite: control from the images of a simulator, with distractions that were never seen.

Protocol: that of PSE (Agarwal et al. 2021, section 6.2), which trains on two videos and scores on 30 held-out ones, and
of the benchmarks that the settings name. Returns are sums over 1000 control steps, and training is counted in them.
Videos are those that need no data, unless ``backgrounds`` says otherwise; images are of one renderer, which is a
setting and stays with the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bisimgym.benchmarks.suites.base import Monitor, Outcome, Spec, Suite
from bisimgym.benchmarks.suites.checks import check_columns, check_least
from bisimgym.benchmarks.suites.distracting.envs import (
    PROTOCOL,
    Protocol,
    check_images,
    distracts,
    image_settings,
    make_env,
    play,
    split_task,
    steps_per_episode,
    training_env,
    training_envs,
)
from bisimgym.benchmarks.suites.distracting.learning import (
    build_on,
    first_stage,
    learner_from,
    make_learner,
    train_episodes,
    trained_first,
)
from bisimgym.benchmarks.suites.distracting.settings import (
    DMC_TASKS,
    EPISODE_STEPS,
    MEASURES,
    METHODS,
    PRESETS,
    SMALLEST,
    TASKS,
)
from bisimgym.benchmarks.suites.pixel_learners import more_settings
from bisimgym.benchmarks.suites.training import train_with_evaluations


def evaluate(
    agent: Any,
    task: str,
    seed: int,
    protocol: Protocol = PROTOCOL,
    episodes: int | None = None,
    images: Mapping[str, Any] | None = None,
) -> Outcome:
    """Score an agent under held-out distractions, each video once, and under those it learned under.

    Args:
        agent: sees batches of one image, ``uint8[1, size, size, 9]``.
        task: of :data:`TASKS`.
        seed: of the run.
        protocol: sizes.
        episodes: of each kind; ``None``: the protocol's.
        images: size, supersampling, renderer and backgrounds; ``None``: what outside agents see.
    """
    count, start = protocol.episodes if episodes is None else episodes, 1_000_000 + 1000 * seed
    shown = {"size": protocol.size} if images is None else dict(images)
    outcomes: dict[str, list] = {}
    if distracts(task):
        env = make_env(task, True, protocol, order="cycle", **shown)
        outcomes["return"], outcomes["video"] = play(agent, env, count, start)
        env.close()
    env = make_env(task, False, protocol, **shown)
    outcomes["trained_return"], _ = play(agent, env, count, start + 500)
    env.close()
    return Outcome.of(_scores(task, outcomes), outcomes)


def _scores(task: str, outcomes: Mapping[str, list]) -> dict[str, float]:
    random = DMC_TASKS[split_task(task)[0]][3]
    trained = float(np.mean(outcomes["trained_return"]))
    score = float(np.mean(outcomes["return"])) if distracts(task) else trained
    further = {"trained": trained, "gap": trained - score} if distracts(task) else {}
    return {"score": score, **further, "normalized": (score - random) / (EPISODE_STEPS - random)}


def rescore(task: str, seed: int, outcomes: Mapping[str, list], protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this task.
    """
    columns = {"trained_return", "return", "video"} if distracts(task) else {"trained_return"}
    check_columns(task, outcomes, columns, protocol.episodes)
    if task.endswith("-pse-2video") and len(set(outcomes["video"])) != min(30, protocol.episodes):
        raise ValueError(f"outcomes of {task} are of 30 different videos, got {sorted(set(outcomes['video']))}")
    return _scores(task, outcomes)


def train(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Outcome:
    """Train one agent, from its checkpoint if there is one, and score it.

    Training goes episode by episode. Each has a seed of its own, so that a run that is cut off goes on from its last
    checkpoint as the unbroken run did. PSE and transfer train another agent before, for as long, which the curve does
    not show.
    """
    from bisimgym.baselines.core.checkpoint import save_checkpoint

    check_images(spec, protocol)
    images, actions, episodes = image_settings(spec), steps_per_episode(spec.task, protocol), spec.settings["episodes"]
    stage = first_stage(spec)
    checkpoint = Path(monitor.checkpoint, "agent") if stage else Path(monitor.checkpoint)
    first = trained_first(stage, monitor, device, protocol) if stage else None
    model = learner_from(spec, monitor, checkpoint, device, protocol)
    if first is not None:
        build_on(first, model, spec, protocol)

    def complete(_: Sequence[float]) -> Outcome:
        outcome = evaluate(model, spec.task, spec.seed, protocol, images=images)
        further = _looked_into(model, spec, monitor, protocol)
        return Outcome(outcome.score, {**outcome.scores, **further}, outcome.outcomes)

    return train_with_evaluations(
        monitor,
        "control_steps",
        done=model.num_timesteps // actions * protocol.episode_steps,
        total=episodes * protocol.episode_steps,
        every=spec.settings["evaluate_every"] * protocol.episode_steps,
        train=lambda reached: train_episodes(model, spec, protocol, reached),
        evaluate=lambda: evaluate(model, spec.task, spec.seed, protocol, protocol.curve_episodes, images),
        complete=complete,
        save=lambda: save_checkpoint(model, checkpoint, with_env=False),
        columns=lambda: {"updates": model._n_updates},
    )


def _looked_into(model: Any, spec: Spec, monitor: Monitor, protocol: Protocol) -> dict[str, float]:
    """Return the denoising factor of a trained encoder, where anything distracts, and draw the run's picture."""
    from bisimgym.benchmarks.measures.denoising import denoising_factor
    from bisimgym.benchmarks.suites.distracting.pictures import figures_of
    from bisimgym.benchmarks.suites.figures import write_figures

    held_out, setting = distracts(spec.task), split_task(spec.task)[1]
    names = {False: setting}
    if held_out:
        names = {False: "training distractions", True: "held-out distractions"}
    envs = {name: make_env(spec.task, unseen, protocol, **image_settings(spec)) for unseen, name in names.items()}
    monitor.pictures.mkdir(exist_ok=True)
    list(write_figures(figures_of(model, envs, 2_000_000 + spec.seed), monitor.pictures))
    found = {}
    if setting != "clean":
        factor = denoising_factor(
            model.embed,
            envs[names[held_out]],
            policy=model,
            episodes=1,
            positives=protocol.positives,
            max_anchors=protocol.anchors,
            seed=3_000_000 + spec.seed,
        )
        found = {"denoising": float(factor.value)}
    for env in envs.values():
        env.close()
    return found


def check(spec: Spec, protocol: Protocol = PROTOCOL) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    settings = spec.settings
    check_least(settings, episodes=1, evaluate_every=1, supersampling=1, channels=1, pad=0, learning_starts=1, pairs=1)
    check_least({name: value for name, value in settings.items() if value is not None}, hidden=1, batch_size=1)
    if settings["size"] < SMALLEST:
        raise ValueError(f"size must be at least {SMALLEST}, what the encoder takes, got {settings['size']} pixels")
    if settings["learner"] not in {method.settings["learner"] for method in METHODS.values()}:
        raise ValueError(f"unknown learner {settings['learner']!r}")
    if spec.variant:  # the suite's own settings are sound, and making networks takes time
        check_images(spec, protocol)
        make_learner(spec, "cpu", training_env(spec, protocol), protocol)


SUITE = Suite(
    name="distracting",
    version=1,
    title="Distracting control",
    description=(
        "Control tasks of dm_control from images, among videos, cameras and colors that do not matter: does a metric "
        "help an agent where the distractions were never seen, beyond shifted images and embeddings that predict "
        "themselves?"
    ),
    score_name="return (of 1000)",
    x_name="control_steps",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    env_ids=lambda task: ["bisimgym/DistractingControl-v0"],
    check=check,
    rescore=rescore,
    further_settings=more_settings,
    bounds=(0.0, float(EPISODE_STEPS)),  # rewards of dm_control's suite are from 0 to 1 in every control step
    columns={
        "return": (0.0, float(EPISODE_STEPS)),
        "trained_return": (0.0, float(EPISODE_STEPS)),
        "video": str,
    },
)
