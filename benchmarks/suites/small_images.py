"""The small-images suite: DQN with metric losses on images of Nav2D and of the jumping task.

Nav2D is learned as in its paper (recursive state similarity, section V-B): double DQN with hindsight experience replay
of ``Nav2DGoal``. The jumping task is learned by trial and error, where its paper imitates: a jump is one step there,
and the bonus of the exit the unit of rewards. All methods share network, replay, exploration and rates; they differ in
the loss that is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np
from gymnasium.wrappers.vector import TransformReward

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites import jumping
from bisimgym.benchmarks.suites.agent_training import learner_from, train_in_one_piece
from bisimgym.benchmarks.suites.base import Measure, Method, Monitor, Outcome, Preset, Spec, Suite, Task
from bisimgym.benchmarks.suites.checks import check_columns, check_least
from bisimgym.benchmarks.suites.further_settings import Further, further_settings
from bisimgym.benchmarks.suites.held_out_layouts import LAYOUTS, held_out_seeds, solved_layouts
from bisimgym.benchmarks.suites.replays import Replay, nav2d_replay, write_replay
from bisimgym.benchmarks.suites.training import train_with_evaluations
from bisimgym.envs.jumping.dynamics import EXIT_BONUS


@dataclass(frozen=True)
class Protocol:
    """Sizes that all runs share: environments that an agent learns from, held-out layouts of Nav2D that it plays."""

    num_envs: int = 8
    layouts: int = LAYOUTS


PROTOCOL = Protocol()

_LAYOUTS: dict[str, dict[str, Any]] = {
    "nav2d-8x8": {"size": 8, "num_obstacles": 5, "obstacle_size": 1, "min_goal_distance": 4, "max_episode_steps": 30},
    "nav2d-20x20": {},  # as registered
}
_GRIDS = {"jumping-wide": "wide", "jumping-narrow": "narrow"}

TASKS = {
    "nav2d-8x8": Task(
        "Nav2D, 8 x 8", "Find the goal among five obstacles within 30 steps, in layouts that were never seen"
    ),
    "nav2d-20x20": Task(
        "Nav2D, 20 x 20", "Nav2D as in its paper, goals at least 10 cells away, 50 steps, in layouts never seen"
    ),
    "jumping-wide": Task(
        "Jumping task, wide",
        "Learn 18 jumping tasks by trial and error, a jump in one step; the other 268 were never seen",
    ),
    "jumping-narrow": Task(
        "Jumping task, narrow", "The same, with training tasks in the middle of the grid; most others lie outside"
    ),
}

_SMALL_NAV2D = {
    "architecture": "minatar",
    "learning_rate": 1e-3,
    "updates_per_transition": 0.5,
    "tau": 0.02,
    "discount": 0.95,
    "hindsight_goals": 4,
    "hindsight_strategy": "future",
    "exploration_initial_eps": 1.0,
    "exploration_fraction": 0.3,
    "exploration_final_eps": 0.1,
}
#: The paper's, but for eight environments side by side, a linear schedule of exploration, and the linear layer and norm
#: that all methods here end in. The target moves once for the eight updates of a step of all environments: as far as
#: eight times 0.005.
_PAPER_NAV2D = {
    "architecture": "coordconv",
    "learning_rate": 1e-4,
    "batch_size": 16,
    "updates_per_transition": 1.0,
    "tau": 0.0393,
    "max_grad_norm": None,
    "discount": 0.99,
    "hindsight_goals": 1,
    "hindsight_strategy": "final",
    "exploration_initial_eps": 0.9,
    "exploration_fraction": 0.4,
    "exploration_final_eps": 0.2,
}


#: With weight 1, as in SAC, the likelihood outweighs DQN's small errors: embeddings collapse and nothing is learned.
_PREDICTIONS = {"self_prediction": 0.1}


def _method(
    description: str, learner: str, jumping_settings: Mapping[str, Any] | None = None, **settings: Any
) -> Method:
    shared = {
        "learner": learner,
        "double_q": True,
        "norm": "layer",
        "features_dim": 128,
        "architecture": "jumping",
        "learning_rate": 3e-4,
        "batch_size": 32,
        "updates_per_transition": 0.25,
        "discount": 0.99,
        "tau": 0.02,
        "learning_starts": 1000,
        "buffer_size": 100_000,
        "exploration_initial_eps": 0.5,
        "exploration_fraction": 0.5,
        "exploration_final_eps": 0.05,
        "hindsight_goals": 0,
        "hindsight_strategy": "",
    }
    return Method(
        description,
        {**shared, **settings},
        {"nav2d-8x8": _SMALL_NAV2D, "nav2d-20x20": _PAPER_NAV2D} | dict.fromkeys(_GRIDS, jumping_settings or {}),
    )


METHODS = {
    "dqn": _method("DQN: the target network both chooses and values the next action", "dqn", double_q=False),
    "double-dqn": _method("Double DQN, the parent of all methods below", "dqn"),
    "self-prediction": _method(
        "Predicts the next embedding: the baseline that metrics have to beat",
        "dqn",
        # Nothing in the jumping task is random: the likelihood of a Gaussian has no bound there, and its gradient
        # collapses embeddings even with a tenth of this weight.
        {"model_kind": "deterministic"},
        **_PREDICTIONS,
    ),
    "mico": _method("MICo on all pairs of a batch, with the weight of its Atari agents", "mico"),
    "dbc": _method(
        "DBC: bisimulation with a Gaussian model, which also trains the encoder",
        "dbc",
        {"self_prediction": 0.0},  # as above; the Gaussian model that it needs learns from detached embeddings
        reward_prediction=0.1,
        encoder_optimizer="separate",
        **_PREDICTIONS,
    ),
    "rap": _method("RAP: expected next embeddings and the variance of rewards", "rap", encoder_optimizer="separate"),
    "rss": _method("Recursive state similarity: what actions do, and no rewards", "rss", encoder_optimizer="separate"),
}

PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {"transitions": 1200, "evaluations": 2, "precision": "float32"},
    ),
    "short": Preset(
        "40,000 transitions: minutes per run on one core",
        {"transitions": 40_000, "evaluations": 10, "precision": "float32"},
    ),
    "paper": Preset(
        "100,000 transitions, as in the paper on Nav2D",
        {"transitions": 100_000, "evaluations": 20, "precision": "float32"},
    ),
}

MEASURES = {
    "area": Measure("area under the curve", "Mean of the score over equally spaced evaluations during training"),
    "trained": Measure("training tasks solved", "The same score on the training tasks (jumping task)"),
}


def training_envs(task: str, seed: int, protocol: Protocol = PROTOCOL) -> Any:
    """Return the eight environments that agents learn from.

    Those of the jumping task draw from its training tasks, and skip the air: actions do nothing there, and values would
    have to come back through all of its 32 steps.
    """
    if task in _GRIDS:
        grid: dict[str, Any] = {"grid": _GRIDS[task], "split": "train", "skip_air": True}
        return gym.make_vec("bisimgym/JumpingTask-v0", num_envs=protocol.num_envs, **grid)
    return gym.make_vec("bisimgym/Nav2DGoal-v0", num_envs=protocol.num_envs, **_LAYOUTS[task])


def evaluate(agent: Any, task: str, seed: int, protocol: Protocol = PROTOCOL) -> Outcome:
    """Score an agent on layouts, or on tasks of the grid, that it has not seen."""
    if task in _GRIDS:
        return jumping.evaluate(agent, _GRIDS[task], seed)
    solved = solved_layouts(agent, _LAYOUTS[task], protocol.layouts)
    return Outcome(float(solved.mean()), {}, {"solved": solved.tolist()})


def replay(agent: Any, task: str, seed: int) -> Replay:
    """Let an agent play tasks of the grid, or the first nine layouts that it is scored on."""
    if task in _GRIDS:
        return jumping.replay(agent, _GRIDS[task], seed)
    return nav2d_replay(agent, _LAYOUTS[task], held_out_seeds(9))


def rescore(task: str, seed: int, outcomes: Mapping[str, list], protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this task.
    """
    if task in _GRIDS:
        return dict(jumping.rescore(_GRIDS[task], seed, outcomes))
    check_columns(task, outcomes, ["solved"], protocol.layouts)
    return {"score": float(np.mean(outcomes["solved"]))}


def _in_exit_bonuses(reward: np.ndarray) -> np.ndarray:
    return reward / EXIT_BONUS


def _fixed(protocol: Protocol) -> dict[str, Any]:
    """Return what all methods have in place of the learners' defaults; ``--set`` changes it.

    The target moves after every step of all environments: its interval counts transitions.
    """
    return {"train_freq": 1, "target_update_interval": protocol.num_envs}


def more_settings(settings: Mapping[str, Any], protocol: Protocol = PROTOCOL) -> dict[str, Further]:
    """Return what the learner of these settings takes beside them."""
    from bisimgym.baselines.core.settings import DQNSettings
    from bisimgym.baselines.learners import DQN_LEARNERS

    learner = DQN_LEARNERS[settings["learner"]]
    named_otherwise = ("gamma", "gradient_steps")
    return further_settings(learner, get_type_hints(DQNSettings), fixed=_fixed(protocol), without=named_otherwise)


def area(scores: Sequence[float]) -> dict[str, float]:
    """Return the area under a curve of equally spaced evaluations."""
    return {"area": float(np.mean(scores))}


def make_learner(spec: Spec, device: str, protocol: Protocol = PROTOCOL) -> Any:
    """Return the untrained agent of a run, with its environments."""
    from bisimgym.baselines.core.extractors import GoalPlaneExtractor, ImageExtractor
    from bisimgym.baselines.core.frame_replay import HerFrameReplayBuffer
    from bisimgym.baselines.learners import DQN_LEARNERS
    from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

    settings = {**_fixed(protocol), **spec.settings}
    transitions = settings.pop("transitions")
    del settings["evaluations"]
    architecture, discount = settings.pop("architecture"), settings.pop("discount")
    goals, strategy = settings.pop("hindsight_goals"), settings.pop("hindsight_strategy")
    if goals:
        settings["replay_buffer_class"] = HerFrameReplayBuffer
        settings["replay_buffer_kwargs"] = {
            "n_sampled_goal": goals,
            "goal_selection_strategy": strategy,
            "recompute_dones": True,
        }
    goal_conditioned = spec.task not in _GRIDS
    envs = training_envs(spec.task, spec.seed, protocol)
    if not goal_conditioned:
        envs = TransformReward(envs, _in_exit_bonuses)
    return DQN_LEARNERS[settings.pop("learner")](
        "MultiInputPolicy" if goal_conditioned else "CnnPolicy",
        SB3VecEnv(envs),
        buffer_size=min(settings.pop("buffer_size"), transitions),
        gamma=discount,
        gradient_steps=round(protocol.num_envs * settings.pop("updates_per_transition")),
        policy_kwargs={
            "net_arch": [256],
            "features_extractor_class": GoalPlaneExtractor if goal_conditioned else ImageExtractor,
            "features_extractor_kwargs": {"architecture": architecture},
        },
        seed=spec.seed,
        device=device,
        **settings,
    )


def train(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Outcome:
    """Train one agent, from its checkpoint if there is one, and score it.

    A run that is cut off goes on from its last checkpoint as the unbroken run did: environments and replay are kept.
    """
    from bisimgym.baselines.core.checkpoint import save_checkpoint
    from bisimgym.baselines.learners import DQN_LEARNERS

    checkpoint, total = Path(monitor.checkpoint), spec.settings["transitions"]
    algorithm = DQN_LEARNERS[spec.settings["learner"]]
    model = learner_from(algorithm, monitor, checkpoint, device, lambda: make_learner(spec, device, protocol))

    def complete(scores: Sequence[float]) -> Outcome:
        outcome = evaluate(model, spec.task, spec.seed, protocol)
        write_replay(replay(model, spec.task, spec.seed), Path(monitor.pictures))
        return Outcome(outcome.score, {**outcome.scores, **area([*scores, outcome.score])}, outcome.outcomes)

    return train_with_evaluations(
        monitor,
        "transitions",
        done=model.num_timesteps,
        total=total,
        every=max(total // spec.settings["evaluations"], protocol.num_envs),
        train=lambda reached: train_in_one_piece(model, total, reached),
        evaluate=lambda: evaluate(model, spec.task, spec.seed, protocol),
        complete=complete,
        save=lambda: save_checkpoint(model, checkpoint, compress=True),
        columns=lambda: {"updates": model._n_updates},
    )


def check(spec: Spec, protocol: Protocol = PROTOCOL) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    settings = spec.settings
    check_least(settings, transitions=1, evaluations=1, batch_size=1, features_dim=1, learning_starts=1, buffer_size=1)
    if round(protocol.num_envs * settings["updates_per_transition"]) < 1:
        raise ValueError(
            f"updates_per_transition must be at least {1 / protocol.num_envs}, one for a step of all environments, got "
            f"{settings['updates_per_transition']}"
        )
    if settings["learner"] not in {method.settings["learner"] for method in METHODS.values()}:
        raise ValueError(f"unknown learner {settings['learner']!r}")
    if settings["hindsight_goals"] and spec.task in _GRIDS:
        raise ValueError("hindsight_goals must be 0 on the jumping task, which has no goals to put in place of others")
    if spec.variant:  # the suite's own settings are sound, and making networks takes time
        make_learner(spec, "cpu", protocol)


SUITE = Suite(
    name="small-images",
    version=1,
    title="Small images",
    description=(
        "Value-based control from small images: find a goal among obstacles, or the one right moment to jump. Does a "
        "metric loss help DQN, and does it help where tasks were never seen?"
    ),
    score_name="unseen tasks solved",
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
    env_ids=lambda task: ["bisimgym/JumpingTask-v0" if task in _GRIDS else "bisimgym/Nav2DGoal-v0"],
    further_settings=more_settings,
    bounds=(0.0, 1.0),
    columns=jumping.COLUMNS,
    curve_scores=area,
    grid=("obstacle_position", "floor_height", "color"),
    replay=replay,
)
