"""The jumping suite: imitate 18 tasks, solve the unseen ones.

Source of tasks, settings and published numbers: Agarwal et al. (2021), section 5, Tables 1, 2 and G.1 to G.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.base import Measure, Monitor, Outcome, Spec, Suite
from bisimgym.benchmarks.suites.checks import check_least, discrete_actions
from bisimgym.benchmarks.suites.further_settings import Further
from bisimgym.benchmarks.suites.jumping_published import PUBLISHED, TRANSFER
from bisimgym.benchmarks.suites.jumping_settings import (
    COLUMNS,
    METHODS,
    PAPER_DECAY,
    PAPER_EPOCHS,
    PRESETS,
    RULE_REPEATS,
    TASKS,
)
from bisimgym.benchmarks.suites.jumping_transfer import settled_at, transfer_solved
from bisimgym.benchmarks.suites.replays import Replay, jumping_replay, write_replay
from bisimgym.benchmarks.suites.training import from_checkpoint, save_whole, train_with_evaluations, without_training
from bisimgym.envs.jumping.grids import ALL_TASKS, training_tasks
from bisimgym.wrappers import Demonstrations, collect_demonstrations


def _grid_of(task: str) -> str:
    return "wide" if task == "colors" else task


def seen_tasks(task: str, seed: int) -> tuple[tuple[int, int], ...]:
    """Return the training tasks of a suite task; the random grid depends on the run's seed."""
    return training_tasks(_grid_of(task), seed if task == "random" else None)


def _colors(task: str) -> tuple[str | None, ...]:
    return ("red", "green") if task == "colors" else (None,)


def _all_tasks(task: str) -> list[tuple[int, int, str | None]]:
    """Return (position, floor, color) of all tasks of the grid, in the order of outcomes."""
    return [(p, f, color) for color in _colors(task) for p, f in ALL_TASKS]


def _env_id(task: str) -> str:
    return "bisimgym/JumpingTaskColors-v0" if task == "colors" else "bisimgym/JumpingTask-v0"


def _vector_env(task: str, tasks: list[tuple[int, int, str | None]]) -> tuple[Any, dict[str, np.ndarray]]:
    """Return environments with autoreset disabled, one per (position, floor, color), and their reset options."""
    positions, floors, colors = zip(*tasks, strict=True)
    envs = gym.make_vec(_env_id(task), num_envs=len(tasks), autoreset_mode="Disabled")
    options = {"obstacle_position": np.array(positions), "floor_height": np.array(floors)}
    if task == "colors":
        options["color"] = np.array(colors, dtype=object)
    return envs, options


def demonstrations(task: str, seed: int) -> Demonstrations:
    """Return the oracle's trajectories on the training tasks. Only red obstacles take part in alignment."""
    tasks = [(p, f, color) for color in _colors(task) for p, f in seen_tasks(task, seed)]
    envs, options = _vector_env(task, tasks)
    return collect_demonstrations(envs, options, aligned=np.array([color != "green" for _, _, color in tasks]))


def solved_tasks(agent: Any, task: str) -> np.ndarray:
    """Return which of the 286 tasks (for each color) an agent solves, ``bool[286 * colors]``.

    A task is solved if the agent acts as the oracle does at every step until the outcome is settled: the jump over a
    white or red obstacle, the touch of a green one. For white and red that is the same as playing the episode and
    reaching the exit, since any earlier deviation is a jump that must collide. All tasks are played side by side along
    the oracle's trajectories.
    """
    tasks = _all_tasks(task)
    envs, options = _vector_env(task, tasks)
    observation, _ = envs.reset(options=options)
    settled = np.array([settled_at(*t) for t in tasks])
    solved = np.ones(len(tasks), dtype=bool)
    state, episode_start = None, np.ones(len(tasks), dtype=bool)
    for step in range(settled.max() + 1):
        action, state = agent.predict(observation, state=state, episode_start=episode_start, deterministic=True)
        best = envs.unwrapped.optimal_action()
        action = discrete_actions(action, len(best), int(envs.single_action_space.n))
        solved &= (action == best) | (step > settled)
        if not (solved & (step < settled)).any():
            break  # every task is settled
        episode_start = np.zeros(len(tasks), dtype=bool)
        observation = envs.step(best)[0]
    return solved


def columns(task: str, seed: int, solved: np.ndarray) -> dict[str, list]:
    """Return the outcomes of a run, one row per task of the grid (for each color).

    Raises:
        ValueError: unless ``solved`` is ``bool[286 * colors]``.
    """
    seen = set(seen_tasks(task, seed))
    rows = [(p, f, color or "white", (p, f) in seen) for p, f, color in _all_tasks(task)]
    if len(solved) != len(rows):
        raise ValueError(f"there are {len(rows)} tasks, got {len(solved)} outcomes")
    positions, floors, colors, trained = (list(column) for column in zip(*rows, strict=True))
    return {
        "obstacle_position": positions,
        "floor_height": floors,
        "color": colors,
        "trained": trained,
        "solved": solved.tolist(),
    }


def scores(outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the score, the fraction of unseen tasks solved (all colors together), and further fractions."""
    solved, trained, color = (np.array(outcomes[name]) for name in ("solved", "trained", "color"))
    found = {"score": float(solved[~trained].mean()), "trained": float(solved[trained].mean())}
    if "red" in color:
        found |= {name: float(solved[~trained & (color == name)].mean()) for name in ("red", "green")}
    if "paper_rule_solved" in outcomes:
        found["paper_rule"] = float(np.array(outcomes["paper_rule_solved"])[~trained].mean() / RULE_REPEATS)
    return found


def rescore(task: str, seed: int, outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this task and seed, one per task of the grid.
    """
    for name, column in columns(task, seed, np.array(outcomes["solved"], dtype=bool)).items():
        if outcomes[name] != column:
            raise ValueError(f"column {name!r} is not that of {task}, seed {seed}")
    return scores(outcomes)


def outcome_of(task: str, seed: int, solved: np.ndarray) -> Outcome:
    """Return the outcome of solving these tasks, ``bool[286 * colors]``."""
    outcomes = columns(task, seed, solved)
    return Outcome.of(scores(outcomes), outcomes)


def evaluate(agent: Any, task: str, seed: int) -> Outcome:
    """Score an agent on one task."""
    return outcome_of(task, seed, solved_tasks(agent, task))


def replay(agent: Any, task: str, seed: int) -> Replay:
    """Let an agent play nine tasks (of each color) spread over the grid."""
    return jumping_replay(agent, _colors(task), seen_tasks(task, seed), _env_id(task))


def training_envs(task: str, seed: int) -> Any:
    """Return environments that draw training tasks, for agents that learn by interaction."""
    grid_seed: dict[str, Any] = {"grid_seed": seed} if task == "random" else {}
    return gym.make_vec(_env_id(task), num_envs=16, grid=_grid_of(task), split="train", **grid_seed)


def train(spec: Spec, monitor: Monitor, device: str) -> Outcome:
    """Train one imitation learner, from its checkpoint if there is one, and score it; or transfer, without training."""
    if spec.method == TRANSFER:
        return without_training(monitor, "updates", lambda: _transfer(spec.task, spec.seed, **spec.settings))
    from bisimgym.baselines.pse.imitation import ImitationLearner, RandConvVoter

    settings = dict(spec.settings)
    epochs, evaluations = settings.pop("epochs"), settings.pop("evaluations")
    mixed = spec.task == "colors" and settings.pop("mix_colors", True)
    data = demonstrations(spec.task, spec.seed)
    checkpoint = Path(monitor.checkpoint, "model.zip")
    model = from_checkpoint(
        monitor, checkpoint, lambda file: ImitationLearner.load(file, demonstrations=data, device=device)
    ) or ImitationLearner(
        demonstrations=data,
        # A shorter preset anneals as far over its own length as the paper does over 2000 epochs.
        lr_decay=PAPER_DECAY ** (PAPER_EPOCHS / epochs),
        frame_channels=3 if mixed else 1,
        seed=spec.seed,
        device=device,
        **settings,
    )
    done, total = model.num_timesteps, epochs * model.updates_per_epoch
    outcome = train_with_evaluations(
        monitor,
        "updates",
        done=done,
        total=total,
        every=max(total // evaluations, 1),
        train=lambda reached: model.learn(
            total - done,
            callback=lambda *_: reached(model.num_timesteps),
            log_interval=total + 1,  # no log of SB3
            reset_num_timesteps=False,
        ),
        evaluate=lambda: evaluate(model, spec.task, spec.seed),
        save=lambda: save_whole(monitor, model, checkpoint),
    )
    write_replay(replay(model, spec.task, spec.seed), monitor.pictures)
    if spec.task != "colors":
        from bisimgym.benchmarks.suites.jumping_pictures import draw_embeddings

        draw_embeddings(model, seen_tasks(spec.task, spec.seed), monitor.pictures)
    if spec.settings["augmentation"] != "randconv":
        return outcome
    rng = np.random.default_rng([spec.seed, 1])
    repeats = [solved_tasks(RandConvVoter(model, rng), spec.task) for _ in range(RULE_REPEATS)]
    unseen = ~np.array(outcome.outcomes["trained"])
    noise = float(np.std([solved[unseen].mean() for solved in repeats], ddof=1))
    outcomes = {**outcome.outcomes, "paper_rule_solved": np.sum(repeats, axis=0).tolist()}
    return Outcome.of({**scores(outcomes), "paper_rule_noise": noise}, outcomes)


def _transfer(task: str, seed: int, discount: float) -> Outcome:
    seen = set(seen_tasks(task, seed))
    tasks = [(p, f, color or "white") for p, f, color in _all_tasks(task)]
    solved = transfer_solved(tasks, np.array([(p, f) in seen for p, f, _ in tasks]), discount)
    return outcome_of(task, seed, solved)


def more_settings(settings: Mapping[str, Any]) -> Mapping[str, Further]:
    """Return the settings that runs have without storing them.

    ``mix_colors``: whether RandConv filters the three colors of a frame together, or each by itself by one filter.
    """
    epsilon = {"alignment.epsilon": Further(0.0, {float})} if settings.get("alignment") else {}
    mixing = {"mix_colors": Further(True, {bool})} if settings.get("augmentation") == "randconv" else {}
    return {**epsilon, **mixing}


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that the learner does not take."""
    settings = dict(spec.settings)
    if spec.method == TRANSFER:
        if not 0 <= settings["discount"] <= 0.999:
            raise ValueError(f"discount must be in [0, 0.999], got {settings['discount']}")
        return
    from bisimgym.baselines.pse.imitation import check_settings

    check_least(settings, epochs=1, evaluations=1)
    del settings["epochs"], settings["evaluations"]
    if "mix_colors" in settings and spec.task != "colors":
        raise ValueError(f"mix_colors is a setting of the task colors: {spec.task} has one color")
    settings.pop("mix_colors", None)
    check_settings(**settings)


SUITE = Suite(
    name="jumping",
    version=1,
    title="Jumping task",
    description=(
        "Imitate an expert on 18 tasks of a 26 x 11 grid (obstacle position x floor height), then play all others. The "
        "images differ; the one right moment to jump, 14 pixels before the obstacle, does not."
    ),
    score_name="unseen tasks solved",
    percent=True,
    x_name="updates",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures={
        "paper_rule": Measure(
            "by the paper's rule",
            "RandConv stays on when scored: probabilities are averaged over five random filters per task "
            f"(mean of {RULE_REPEATS} such scorings). The headline score uses clean images.",
        ),
        "paper_rule_noise": Measure(
            "noise of the paper's rule", f"Standard deviation over {RULE_REPEATS} scorings of the same weights", False
        ),
        "trained": Measure("training tasks solved", "The same score on the training tasks", False),
        "red": Measure("red unseen", "Unseen tasks with a red obstacle"),
        "green": Measure("green unseen", "Unseen tasks with a green obstacle"),
    },
    published=PUBLISHED,
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    rescore=rescore,
    further_settings=more_settings,
    env_ids=lambda task: [_env_id(task)],
    bounds=(0.0, 1.0),
    columns=COLUMNS,
    published_measure="paper_rule",
    grid=("obstacle_position", "floor_height", "color"),
    replay=replay,
)
