"""The nav2d suite: does an encoder that was trained on reward-free data make online learning faster?

The protocol of recursive state similarity (Black, Chuck and Niekum 2021, section V): an encoder is trained on
epsilon-greedy data whose goals are hidden, and fine-tuned by double DQN with copies of episodes toward where they
ended. Every run trains its own encoder, where the paper trains one and reuses it in all five runs: the spread over
seeds is that of both stages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.base import (
    Measure,
    Method,
    Monitor,
    Outcome,
    Preset,
    Spec,
    Suite,
    Task,
    check_columns,
    check_least,
)
from bisimgym.benchmarks.suites.small_images import LAYOUTS, solved_layouts
from bisimgym.benchmarks.suites.training import (
    Reached,
    from_checkpoint,
    learner_of,
    save_whole,
    train_with_evaluations,
)

#: Episodes over which the paper's success rate is taken.
RECENT = 100
#: Times at which the area under the curve takes the success rate.
POINTS = 100
_LAYOUT = ("size", "num_obstacles", "min_goal_distance", "max_episode_steps")

_EPSILONS = {"epsilon-0": 0.0, "epsilon-0.1": 0.1, "epsilon-0.5": 0.5, "epsilon-1": 1.0}

TASKS = {
    name: Task(
        f"Nav2D, data of epsilon {epsilon:g}",
        f"Learn to reach goals, with an encoder from data whose actions are random with probability {epsilon:g}",
    )
    for name, epsilon in _EPSILONS.items()
}

_PRETRAINING = {
    "metric": "",
    "metric_settings": {},
    "part": "encoder",
    "self_prediction": 0.0,
    "pretraining_rate": 1e-4,
    "pretraining_batch": 128,
}
_ONLINE = {
    "learning_rate": 1e-4,
    "batch_size": 16,
    "tau": 0.005,
    "discount": 0.99,
    "exploration_start": 0.9,
    "exploration_floor": 0.2,
    "exploration_decay": 10_000,
    "precision": "float32",
}


def _method(description: str, **settings: Any) -> Method:
    return Method(description, {**_PRETRAINING, **_ONLINE, **settings})


_RSS = {"metric": "rss", "metric_settings": {"interaction_rate": 10.0}}

METHODS = {
    "no-pretraining": _method("The same network with random weights"),
    "psi": _method("Interaction: which action led from here to there, and where an action leads", **_RSS, part="base"),
    "phi": _method("Recursive state similarity: states are close when their futures interact alike", **_RSS),
    "self-prediction": _method("Predicts its next embedding, without a metric", self_prediction=1.0),
}

_SMALL = {"size": 10, "num_obstacles": 4, "min_goal_distance": 5, "max_episode_steps": 30}
_PAPER = {"size": 20, "num_obstacles": 15, "min_goal_distance": 10, "max_episode_steps": 50}

PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {**_SMALL, "data": 500, "updates": 4, "transitions": 60, "evaluations": 2},
    ),
    "short": Preset(
        "Grids of 10 x 10; 100,000 transitions, 4,000 updates of the encoder, 20,000 steps online",
        {**_SMALL, "data": 100_000, "updates": 4_000, "transitions": 20_000, "evaluations": 10},
    ),
    "paper": Preset(
        "As published: grids of 20 x 20, 1,000,000 transitions, 30 epochs, 100,000 steps online",
        {**_PAPER, "data": 1_000_000, "updates": 234_390, "transitions": 100_000, "evaluations": 20},
    ),
}

MEASURES = {
    "area": Measure(
        "area under the curve",
        f"Mean success rate of the last {RECENT} training episodes, which explore, as in the paper",
    ),
    "final": Measure("success at the end", f"Success rate of the last {RECENT} training episodes"),
}


class DecayingExploration:
    """``floor + (start - floor) exp(-step / decay)``, as SB3 asks for it: by the share of training that remains.

    Args:
        total: steps of the training.
    """

    def __init__(self, start: float, floor: float, decay: float, total: int):
        self.start, self.floor, self.decay, self.total = start, floor, decay, total

    def __call__(self, progress_remaining: float) -> float:
        step = (1 - progress_remaining) * self.total
        return self.floor + (self.start - self.floor) * math.exp(-step / self.decay)


def layout_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the environment's arguments that are among a run's settings."""
    return {name: settings[name] for name in _LAYOUT}


def _pretrains(settings: Mapping[str, Any]) -> bool:
    return bool(settings["metric"] or settings["self_prediction"])


def pretrain(spec: Spec, monitor: Monitor, device: str) -> Any:
    """Return the encoder of a run, trained on its data or as far as its checkpoint has it; ``None`` if it has none."""
    from bisimgym.baselines.core.extractors import ImageExtractor
    from bisimgym.baselines.offline import OfflineRepresentation
    from bisimgym.wrappers.offline import collect

    settings = spec.settings
    if not _pretrains(settings):
        return None
    # Data are drawn again rather than kept: seconds. All methods of a seed see the same.
    data = collect(
        "bisimgym/Nav2D-v0",
        "epsilon-greedy",
        settings["data"],
        num_envs=256,
        seed=1000 * spec.seed,
        epsilon=_EPSILONS[spec.task],
        env_kwargs={**layout_of(settings), "goal_visible": False},
    )
    file = Path(monitor.checkpoint) / "encoder.zip"
    learner = from_checkpoint(monitor, file, lambda path: OfflineRepresentation.load(path, device))
    if learner is None:
        learner = OfflineRepresentation(
            data.observation_space,
            data.action_space,
            settings["metric"] or None,
            metric_settings=settings["metric_settings"],
            metric_weight=1.0,
            self_prediction=settings["self_prediction"],
            norm="none",
            features_dim=None,
            extractor_class=ImageExtractor,
            extractor_kwargs={"architecture": "coordconv", "signed": True},
            discount=settings["discount"],
            learning_rate=settings["pretraining_rate"],
            model_weight_decay=0.0,
            encoder_tau=0.005,
            precision=settings["precision"],
            tandem=True,
            seed=spec.seed,
            device=device,
        )
    total = settings["updates"]
    piece = max(total // 20, 1)
    while learner.num_updates < total:
        learner.fit(data, min(piece, total - learner.num_updates), settings["pretraining_batch"])
        save_whole(monitor, learner, file)
        monitor.progress(learner.num_updates, total + settings["transitions"])
    return learner


def make_learner(spec: Spec, device: str) -> Any:
    """Return the untrained agent of a run, with its environment, as section 4 of the source's code has it."""
    from bisimgym.baselines.core.extractors import GoalPlaneExtractor
    from bisimgym.baselines.core.final_goal_replay import FinalGoalReplayBuffer
    from bisimgym.baselines.core.metric_learning import MetricDQN
    from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

    settings = spec.settings
    model: Any = MetricDQN(
        "MultiInputPolicy",
        SB3VecEnv(gym.make_vec("bisimgym/Nav2DGoal-v0", num_envs=1, **layout_of(settings))),
        learning_rate=settings["learning_rate"],
        double_q=True,
        norm="none",
        features_dim=None,
        batch_size=settings["batch_size"],
        buffer_size=settings["transitions"],
        replay_buffer_class=FinalGoalReplayBuffer,
        gamma=settings["discount"],
        tau=settings["tau"],
        target_update_interval=1,
        train_freq=1,
        gradient_steps=1,
        learning_starts=0,
        max_grad_norm=None,
        policy_kwargs={
            "net_arch": [256],
            "features_extractor_class": GoalPlaneExtractor,
            "features_extractor_kwargs": {"architecture": "coordconv", "signed": True},
        },
        precision=settings["precision"],
        seed=spec.seed,
        device=device,
    )
    model.episodes = []
    return model


def train(spec: Spec, monitor: Monitor, device: str) -> Outcome:
    """Train an encoder and an agent with it, from their checkpoints if there are any, and score the agent."""
    from stable_baselines3.common.callbacks import BaseCallback

    from bisimgym.baselines.core.checkpoint import load_checkpoint, recover_checkpoint, save_checkpoint
    from bisimgym.baselines.core.metric_learning import MetricDQN
    from bisimgym.baselines.pretrained import load_encoder

    settings, agent = spec.settings, Path(monitor.checkpoint) / "agent"
    total, before = settings["transitions"], settings["updates"] if _pretrains(settings) else 0

    def start() -> Any:
        trained = pretrain(spec, monitor, device)
        model = make_learner(spec, device)
        if trained is not None:
            load_encoder(model, trained, settings["part"])
        return model

    recover_checkpoint(agent)
    model = learner_of(monitor, agent, lambda folder: load_checkpoint(MetricDQN, folder, device), start)
    model.exploration_schedule = DecayingExploration(
        settings["exploration_start"], settings["exploration_floor"], settings["exploration_decay"], total
    )
    done = model.num_timesteps

    def train_between(reached: Reached) -> None:
        class BetweenSteps(BaseCallback):
            def _on_rollout_start(self) -> None:
                reached(model.num_timesteps)

            def _on_step(self) -> bool:
                for info, ended in zip(self.locals["infos"], self.locals["dones"], strict=True):
                    if ended:
                        model.episodes.append((model.num_timesteps, bool(info["is_success"])))
                return True

        if done < total:
            model.learn(total - done, callback=BetweenSteps(), log_interval=None, reset_num_timesteps=False)

    def evaluate_now() -> Outcome:
        outcome = _scored(solved_layouts(model, layout_of(settings)))
        return Outcome(outcome.score, success_rates(model.episodes, model.num_timesteps), outcome.outcomes)

    class Shifted:
        """The run's monitor, whose progress counts the encoder's updates too."""

        def __getattr__(self, name: str) -> Any:
            return getattr(monitor, name)

        def progress(self, done: int, total: int) -> None:
            monitor.progress(before + done, before + total)

    return train_with_evaluations(
        Shifted(),
        "transitions",
        done=done,
        total=total,
        every=max(total // settings["evaluations"], 1),
        train=train_between,
        evaluate=evaluate_now,
        save=lambda: save_checkpoint(model, agent, compress=True),
        columns=lambda: {"updates": model._n_updates},
    )


def success_rates(episodes: Sequence[tuple[int, bool]], total: int) -> dict[str, float]:
    """Return the area under the curve of success, and its last value.

    The curve at a step is the share of successes among the last 100 episodes that ended by then, or among all while
    they are fewer (0 before the first). The area is the mean of the curve at 100 equally spaced steps.

    Args:
        episodes: the steps at which episodes ended, in order, and whether at the goal.
        total: steps so far.
    """
    ended = np.array([step for step, _ in episodes], dtype=np.int64)
    sums = np.cumsum([0.0, *(solved for _, solved in episodes)])
    by_then = np.searchsorted(ended, np.linspace(0, total, POINTS + 1)[1:], side="right")
    first = np.maximum(by_then - RECENT, 0)
    rates = (sums[by_then] - sums[first]) / np.maximum(by_then - first, 1)
    return {"area": float(rates.mean()), "final": float(rates[-1])}


def _scored(solved: np.ndarray) -> Outcome:
    return Outcome(float(solved.mean()), {}, {"solved": solved.tolist()})


def evaluate(agent: Any, task: str, seed: int) -> Outcome:
    """Score an agent on layouts of ``Nav2DGoal`` as registered, without exploring."""
    return _scored(solved_layouts(agent, {}))


def training_envs(task: str, seed: int) -> Any:
    """Return the environment that agents learn from, as registered."""
    return gym.make_vec("bisimgym/Nav2DGoal-v0", num_envs=1)


def rescore(task: str, seed: int, outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the score that follows from stored outcomes.

    Raises:
        ValueError: if they are not those of this suite.
    """
    check_columns(task, outcomes, ["solved"], LAYOUTS)
    return {"score": float(np.mean(outcomes["solved"]))}


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    check_least(spec.settings, data=1, updates=1, transitions=1, evaluations=1, batch_size=1, pretraining_batch=2)
    if spec.settings["part"] not in ("encoder", "base"):
        raise ValueError(f"part must be 'encoder' or 'base', got {spec.settings['part']!r}")


SUITE = Suite(
    name="nav2d",
    version=1,
    title="Nav2D",
    description=(
        "An encoder learns from reward-free data, offline; then an agent with it learns to reach goals. Does "
        "recursive state similarity make learning faster than random weights?"
    ),
    score_name="unseen layouts solved",
    percent=True,
    x_name="transitions",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    rescore=rescore,
    bounds=(0.0, 1.0),
    columns={"solved": bool},
)
