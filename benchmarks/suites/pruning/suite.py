"""The pruning suite: a network is pruned to a budget, layer by layer, by agents or by rules.

All methods of a task start from one network (for digits that which comes with the environment) and tune it as long,
with their own masks. Scores are of the test images after the static agent's share of channels is removed for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bisimgym.benchmarks.suites.base import Bounds, Monitor, Outcome, Spec, Suite
from bisimgym.benchmarks.suites.checks import check_columns, check_least, continuous_actions
from bisimgym.benchmarks.suites.pruning.learning import ENV_ID, PruningRun
from bisimgym.benchmarks.suites.pruning.problems import Loaded, loaded
from bisimgym.benchmarks.suites.pruning.published import PUBLISHED
from bisimgym.benchmarks.suites.pruning.settings import (
    MEASURES,
    METHODS,
    PRESETS,
    PROBLEMS,
    REMOVED_BY,
    RUNTIME,
    STATIC,
    TASKS,
    more_settings,
)
from bisimgym.benchmarks.suites.training import Reached, from_checkpoint, save_whole, train_with_evaluations
from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.budgets import stored_parameters
from bisimgym.envs.channel_pruning.datasets import LabeledImages
from bisimgym.envs.channel_pruning.fitting import scored
from bisimgym.envs.channel_pruning.task import GRID, MOST_PLANS

NUM_ENVS = 128
_AT_ONCE = 500  # test images
COLUMNS: dict[str, type | range | Bounds] = {"correct": bool, "macs": (0.0, 1.0)}


def training_envs(task: str, seed: int) -> Any:
    """Return 128 environments of the runtime agent on the training images, with the network that all start from."""
    problem = loaded(PROBLEMS[task])
    return _runtime_envs(problem, problem.train, NUM_ENVS)


def _runtime_envs(problem: Loaded, data: LabeledImages, num_envs: int, **keywords: Any) -> Any:
    import gymnasium as gym

    return gym.make_vec(
        ENV_ID, num_envs=num_envs, density=problem.density, data=data, network=problem.network, **keywords
    )


def evaluate(agent: Any, task: str, seed: int) -> Outcome:
    """Score a runtime agent on all test images, with the network that all start from. Nothing depends on the seed.

    Raises:
        ValueError: for actions of another shape, or that are not finite.
    """
    problem = loaded(PROBLEMS[task])
    total = len(problem.test.labels)
    found: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    for first in range(0, total, _AT_ONCE):
        images = np.arange(first, min(first + _AT_ONCE, total))
        envs = _runtime_envs(problem, problem.test, len(images), autoreset_mode="Disabled")
        observation, _ = envs.reset(options={"image": images})
        state, start = None, np.ones(len(images), dtype=bool)
        infos: Mapping[str, Any] = {}
        for _ in problem.network.backbone.layers:
            action, state = agent.predict(observation, state=state, episode_start=start, deterministic=True)
            observation, *_, infos = envs.step(np.clip(continuous_actions(action, (len(images), 1)), -1, 1))
            start = np.zeros(len(images), dtype=bool)
        for name, parts in found.items():
            parts.append(infos[name])
    return _outcome({name: np.concatenate(parts) for name, parts in found.items()}, {})


def _outcome(found: Mapping[str, np.ndarray], further: Mapping[str, float]) -> Outcome:
    outcomes = {name: np.asarray(found[name]).tolist() for name in COLUMNS}
    return Outcome.of({**_scores(outcomes), **further}, outcomes)


def _scores(outcomes: Mapping[str, list]) -> dict[str, float]:
    return {"score": float(np.mean(outcomes["correct"])), "macs": float(np.mean(outcomes["macs"]))}


def rescore(task: str, seed: int, outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not one row for each test image.
    """
    check_columns(task, outcomes, COLUMNS, PROBLEMS[task].test_images)
    return _scores(outcomes)


def scored_run(run: PruningRun) -> Outcome:
    """Score a network and its agents after removal."""
    data, backbone, permanent = run.problem.test, run.backbone, run.permanent()
    found = scored(run.network, data, run.removal_rule())
    kept, read, left = found["kept"], found["read"], np.array([int(mask.sum()) for mask in permanent])
    agent_macs, agent_stored = _agent_costs(run)
    own = (read * left).sum(axis=1).mean() + agent_macs  # predictors weigh what is stored by what was computed
    stored = stored_parameters(backbone, left)
    further = {
        "macs_with_agents": float((backbone.cost("macs", kept, read).mean() + own) / backbone.cost("macs")),
        "parameters": float(backbone.fraction("parameters", left)),
        "stored": (stored["network"] + stored["predictors"] + agent_stored) / stored_parameters(backbone)["network"],
        "before_removal": float(scored(run.network, data, run.training_rule())["correct"].mean()),
        "whole": run.problem.accuracy,
        **({} if run.gap_closed is None else {"gap_closed": run.gap_closed}),
    }
    return _outcome({"correct": found["correct"], "macs": backbone.fraction("macs", kept, read)}, further)


def _agent_costs(run: PruningRun) -> tuple[int, int]:
    """Return MACs per picture and parameters of the runtime agent: encoders, recurrence if it has one, and one head."""
    if "runtime" not in run.agents:
        return 0, 0
    extractor, head = run.agents["runtime"].parts()
    each, encoders, every = (
        sum(value.numel() for value in part.parameters()) for part in (head, extractor.maps, extractor)
    )
    recurrence = every - encoders
    return encoders + (recurrence + each) * len(run.backbone.layers), every + each


def train(spec: Spec, monitor: Monitor, device: str) -> Outcome:
    """Prune one network, from its checkpoint if there is one, and score it. It computes on the CPU."""
    from bisimgym.benchmarks.suites.figures import write_figures
    from bisimgym.benchmarks.suites.pruning.pictures import figures_of

    fresh = PruningRun(spec.settings, loaded(PROBLEMS[spec.task]), spec.seed)
    checkpoint = Path(monitor.checkpoint, "run.pt")
    run = from_checkpoint(monitor, checkpoint, fresh.restore) or fresh
    total = spec.settings["rounds"]

    def rounds(reached: Reached) -> None:
        while run.rounds_done < total:
            run.advance()
            reached(run.rounds_done)

    def complete(_: Sequence[float]) -> Outcome:
        monitor.pictures.mkdir(exist_ok=True)
        list(write_figures(figures_of(run), monitor.pictures))
        return scored_run(run)

    return train_with_evaluations(
        monitor,
        "rounds",
        done=run.rounds_done,
        total=total,
        every=1,
        train=rounds,
        evaluate=lambda: scored_run(run),
        complete=complete,
        save=lambda: save_whole(monitor, run, checkpoint),
        from_start=True,
    )


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    settings = spec.settings
    check_least(settings, rounds=1, iterations=1, episodes=1, epochs=1, batches=1, last_batches=1, num_envs=2)
    check_least(settings, ppo_epochs=1, minibatches=1, features=1)
    for name in ("agent_rate", "network_rate"):
        if not settings.get(name, 1) > 0:
            raise ValueError(f"{name} must be above 0, got {settings[name]}")
    for name, known in (
        ("static", STATIC),
        ("runtime", RUNTIME),
        ("removed_by", REMOVED_BY),
        ("order", ("together", "separate")),
    ):
        if settings[name] not in known:
            raise ValueError(f"{name} must be one of {list(known)}, got {settings[name]!r}")
    trust = settings["trust"]
    if not 0 <= trust <= 1:
        raise ValueError(f"trust must be in [0, 1], got {trust}")
    if (settings["runtime"] == "none") != (trust == 0) or (settings["static"] == "none") != (trust == 1):
        raise ValueError(
            f"trust must be 0 without a runtime agent, 1 without a static one, and between with both, got {trust} for "
            f"runtime={settings['runtime']!r} and static={settings['static']!r}"
        )
    if settings["order"] == "separate" and settings["rounds"] < 2:
        raise ValueError(f"order 'separate' needs 2 rounds or more, got {settings['rounds']}")
    layers = len(BACKBONES[PROBLEMS[spec.task].backbone].layers)
    if settings["static"] == "enumerated" and len(GRID) ** layers > MOST_PLANS:
        raise ValueError(f"{len(GRID)} ratios in {layers} layers are too many plans to enumerate: take a digits task")


SUITE = Suite(
    name="pruning",
    version=1,
    title="Channel pruning",
    description=(
        "A network is pruned to a budget of computation and memory, the channels of each layer by agents or "
        "by rules. The score is its accuracy once channels are removed for good."
    ),
    score_name="accuracy",
    percent=True,
    bounds=(0.0, 1.0),
    x_name="rounds",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    train=train,
    env_ids=lambda task: ["bisimgym/ChannelPruning-v0"],
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    rescore=rescore,
    columns=COLUMNS,
    published=PUBLISHED,
    user_tasks=[name for name, problem in PROBLEMS.items() if problem.data != "digits"],
    further_settings=more_settings,
)
