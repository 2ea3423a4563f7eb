"""The nav2d suite: does an encoder that was trained on reward-free data make online learning faster?

The protocol of recursive state similarity (Black, Chuck and Niekum 2021, section V): an encoder is trained on
epsilon-greedy data whose goals are hidden, and fine-tuned by double DQN with copies of episodes toward where they
ended. Every run trains its own encoder, where the paper trains one and reuses it in all five runs: the spread over
seeds is that of both stages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.running import deadline
from bisimgym.benchmarks.suites.agent_training import learner_from, train_in_one_piece
from bisimgym.benchmarks.suites.base import Monitor, Outcome, Spec, Suite
from bisimgym.benchmarks.suites.checks import check_columns, check_least
from bisimgym.benchmarks.suites.further_settings import Further, further_settings
from bisimgym.benchmarks.suites.held_out_layouts import held_out_seeds, solved_layouts
from bisimgym.benchmarks.suites.nav2d.settings import EPSILONS, MEASURES, METHODS, POINTS, PRESETS, RECENT, TASKS
from bisimgym.benchmarks.suites.replays import Replay, nav2d_replay, write_replay
from bisimgym.benchmarks.suites.training import (
    from_checkpoint,
    save_whole,
    train_with_evaluations,
)

#: Settings that are arguments of the environment.
_LAYOUT = ("size", "num_obstacles", "min_goal_distance", "max_episode_steps")


@dataclass(frozen=True)
class Protocol:
    """What scores are computed from.

    Attributes:
        layouts: that no run learns from, which agents are scored on.
        probed: those of them in which encoders are compared with exact metrics; as many draws of the corridor, twice.
        pictures: whether runs draw.
    """

    layouts: int = 200
    probed: int = 5
    pictures: bool = True


PROTOCOL = Protocol()


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


def make_encoder(spec: Spec, device: str) -> Any:
    """Return the untrained encoder of a run, as its offline learner."""
    from bisimgym.baselines.core.extractors import ImageExtractor
    from bisimgym.baselines.offline import OfflineRepresentation

    settings = spec.settings
    env = gym.make("bisimgym/Nav2D-v0", **layout_of(settings))
    of_metric = dict(settings["metric_settings"])
    if settings["metric"] == "rss":
        of_metric["base_weight"] = settings["base_weight"]
        of_metric["interaction_rate"] = settings["interaction_rate"] / settings["pretraining_rate"]
    return OfflineRepresentation(
        env.observation_space,
        env.action_space,
        settings["metric"] or None,
        metric_settings=of_metric,
        metric_weight=1.0,
        self_prediction=settings["self_prediction"],
        norm="none",
        features_dim=None,
        extractor_class=ImageExtractor,
        extractor_kwargs={"architecture": "coordconv", "signed": True},
        discount=settings["discount"],
        learning_rate=settings["pretraining_rate"],
        model_weight_decay=0.0,
        encoder_tau=settings["encoder_tau"],
        precision=settings["precision"],
        tandem=True,
        seed=spec.seed,
        device=device,
    )


def pretrain(spec: Spec, monitor: Monitor, device: str) -> Any:
    """Return the encoder of a run, trained on its data or as far as its checkpoint has it; untrained without data."""
    from bisimgym.baselines.offline import OfflineRepresentation
    from bisimgym.wrappers.offline import collect

    settings = spec.settings
    file = Path(monitor.checkpoint) / "encoder.zip"
    learner = from_checkpoint(monitor, file, lambda path: OfflineRepresentation.load(path, device))
    learner = learner or make_encoder(spec, device)
    total = settings["updates"] if _pretrains(settings) else 0
    if learner.num_updates >= total:
        return learner
    # Data are drawn again rather than kept: seconds. All methods of a seed see the same.
    data = collect(
        "bisimgym/Nav2D-v0",
        "epsilon-greedy",
        settings["data"],
        num_envs=256,
        seed=1000 * spec.seed,
        epsilon=EPSILONS[spec.task],
        env_kwargs={**layout_of(settings), "goal_visible": False},
    )
    piece = max(total // 20, 1)
    while learner.num_updates < total:
        learner.fit(data, min(piece, total - learner.num_updates), settings["pretraining_batch"])
        save_whole(monitor, learner, file)
        monitor.progress(learner.num_updates, total + settings["transitions"])
        deadline.check(f"updates {learner.num_updates} of {total} of the encoder")
    return learner


def encoder_scores(learner: Any, spec: Spec, pictures: Path, protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Return the measures of a trained encoder, before online learning changes it, and draw its pictures."""
    from bisimgym.baselines.core.latents import embeddings_of
    from bisimgym.baselines.pretrained import pretrained_encoder
    from bisimgym.benchmarks.suites.figures import write_figures
    from bisimgym.benchmarks.suites.nav2d import probes
    from bisimgym.benchmarks.suites.nav2d.pictures import figures_of

    encoder = pretrained_encoder(learner, spec.settings["part"])

    def embed(images: np.ndarray) -> np.ndarray:
        return embeddings_of(learner.encoders, encoder, images)

    rules = probes.rules_of(spec.settings)
    changes = probes.corridor_probes(embed, rules, 2 * protocol.probed)
    if protocol.pictures:
        pictures.mkdir(exist_ok=True)
        list(write_figures(figures_of(embed, rules, changes), pictures))
    return {**probes.held_out_fidelity(embed, rules, protocol.probed), **probes.corridor_scores(changes)}


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


def train(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Outcome:
    """Train an encoder and an agent with it, from their checkpoints if there are any, and score the agent."""
    from bisimgym.baselines.core.checkpoint import save_checkpoint
    from bisimgym.baselines.core.metric_learning import MetricDQN
    from bisimgym.baselines.pretrained import load_encoder

    settings, agent = spec.settings, Path(monitor.checkpoint) / "agent"
    total, before = settings["transitions"], settings["updates"] if _pretrains(settings) else 0

    def start() -> Any:
        trained = pretrain(spec, monitor, device)
        model = make_learner(spec, device)
        if _pretrains(settings):
            load_encoder(model, trained, settings["part"])
        return model

    model = learner_from(MetricDQN, monitor, agent, device, start)
    model.exploration_schedule = DecayingExploration(
        settings["exploration_start"], settings["exploration_floor"], settings["exploration_decay"], total
    )

    def note_ends(local: dict[str, Any]) -> None:
        for info, ended in zip(local["infos"], local["dones"], strict=True):
            if ended:
                model.episodes.append((model.num_timesteps, bool(info["is_success"])))

    def evaluate_now() -> Outcome:
        outcome = _scored(solved_layouts(model, layout_of(settings), protocol.layouts))
        return Outcome(outcome.score, success_rates(model.episodes, model.num_timesteps), outcome.outcomes)

    def complete(_: Sequence[float]) -> Outcome:
        outcome = evaluate_now()
        write_replay(nav2d_replay(model, layout_of(settings), held_out_seeds(9)), Path(monitor.pictures))
        of_encoder = encoder_scores(pretrain(spec, monitor, device), spec, monitor.pictures, protocol)
        return Outcome(outcome.score, {**outcome.scores, **of_encoder}, outcome.outcomes)

    return train_with_evaluations(
        monitor,
        "transitions",
        before=before,  # progress counts the encoder's updates too
        done=model.num_timesteps,
        total=total,
        every=max(total // settings["evaluations"], 1),
        train=lambda reached: train_in_one_piece(model, total, reached, note_ends),
        evaluate=evaluate_now,
        complete=complete,
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


def evaluate(agent: Any, task: str, seed: int, protocol: Protocol = PROTOCOL) -> Outcome:
    """Score an agent on layouts of ``Nav2DGoal`` as registered, without exploring."""
    return _scored(solved_layouts(agent, {}, protocol.layouts))


def replay(agent: Any, task: str, seed: int) -> Replay:
    """Let an agent play the first nine layouts that it is scored on."""
    return nav2d_replay(agent, {}, held_out_seeds(9))


def training_envs(task: str, seed: int) -> Any:
    """Return the environment that agents learn from, as registered."""
    return gym.make_vec("bisimgym/Nav2DGoal-v0", num_envs=1)


def rescore(task: str, seed: int, outcomes: Mapping[str, list], protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Return the score that follows from stored outcomes.

    Raises:
        ValueError: if they are not those of this suite.
    """
    check_columns(task, outcomes, ["solved"], protocol.layouts)
    return {"score": float(np.mean(outcomes["solved"]))}


def more_settings(settings: Mapping[str, Any]) -> dict[str, Further]:
    """Return the settings of the metric that encoders are trained with, beside those that are stored."""
    from bisimgym.baselines.offline import OfflineRepresentation

    if not settings["metric"]:
        return {}
    hints = get_type_hints(OfflineRepresentation.__init__)
    found = further_settings(OfflineRepresentation, hints, settings["metric"])
    stored = {f"metric_settings.{name}" for name in settings}  # settings of the suite's own
    return {key: further for key, further in found.items() if key.startswith("metric_settings.") and key not in stored}


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    check_least(spec.settings, data=1, updates=1, transitions=1, evaluations=1, batch_size=1, pretraining_batch=2)
    if spec.settings["part"] not in ("encoder", "base"):
        raise ValueError(f"part must be 'encoder' or 'base', got {spec.settings['part']!r}")
    if spec.variant:  # the suite's own settings are sound, and making networks takes time
        make_encoder(spec, "cpu")


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
    env_ids=lambda task: ["bisimgym/Nav2D-v0", "bisimgym/Nav2DGoal-v0"],
    further_settings=more_settings,
    bounds=(0.0, 1.0),
    columns={"solved": bool},
    replay=replay,
)
