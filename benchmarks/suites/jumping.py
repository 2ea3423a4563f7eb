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
from bisimgym.benchmarks.suites.base import (
    Measure,
    Method,
    Monitor,
    Outcome,
    Preset,
    Published,
    Spec,
    Stopwatch,
    Suite,
    Task,
    discrete_actions,
    from_checkpoint,
    resumed_curve,
    save_whole,
)
from bisimgym.envs.jumping.env import jumping_union
from bisimgym.envs.jumping.grids import ALL_TASKS, training_tasks

PAPER = "Agarwal et al. (2021)"
_PAPER_EPOCHS, _PAPER_DECAY = 2000, 0.999
#: How often the paper's noisy rule is repeated, to state its noise.
RULE_REPEATS = 5


def _method(description: str, colors: Mapping[str, Any] | None = None, **settings: Any) -> Method:
    base = {
        "l2_coefficient": 0.0,
        "dropout": 0.0,
        "augmentation": None,
        "clean_probability": 0.1,
        "alignment": None,
        "batch_size": 256,
        "precision": "auto",
    }
    return Method(description, {**base, **settings}, {"colors": colors} if colors else {})


def _alignment(**settings: Any) -> dict[str, Any]:
    base = {
        "metric": "psm",
        "loss": "contrastive",
        "weight": 5.0,
        "temperature": 0.5,
        "beta": 0.01,
        "weighted": True,
        "discount": 0.999,
    }
    return {**base, **settings}


TRANSFER = "bisimulation-transfer"

METHODS = {
    "dropout-l2": _method(
        "Imitation with dropout and an l2 penalty: the baseline",
        learning_rate=4e-3,
        l2_coefficient=4.3e-4,
        dropout=0.3,
    ),
    "pse": _method(
        "Policy similarity embeddings: contrastive embeddings of the policy similarity metric",
        learning_rate=3.2e-3,
        l2_coefficient=1e-5,
        alignment=_alignment(weight=10.0, temperature=1.0),
        colors={
            "learning_rate": 6e-3,
            "l2_coefficient": 7e-5,
            "alignment": {"weight": 5.0, "temperature": 0.5},
        },
    ),
    "randconv": _method(
        "Imitation from randomly filtered pictures",
        learning_rate=7e-3,
        augmentation="randconv",
        colors={"learning_rate": 5e-3},
    ),
    "randconv-bisim": _method(
        "RandConv and l2 embeddings of pi*-bisimulation, which compares rewards",
        learning_rate=1e-4,
        augmentation="randconv",
        alignment=_alignment(metric="pi-bisimulation", loss="l2", weight=1e-6),
    ),
    "randconv-bisim-cme": _method(
        "RandConv and contrastive embeddings of pi*-bisimulation",
        learning_rate=4.7e-4,
        augmentation="randconv",
        alignment=_alignment(metric="pi-bisimulation", weight=0.1, temperature=0.5),
    ),
    "randconv-psm-l2": _method(
        "RandConv and l2 embeddings of the policy similarity metric",
        learning_rate=5e-4,
        augmentation="randconv",
        alignment=_alignment(loss="l2", weight=0.1),
    ),
    "randconv-pse": _method(
        "RandConv and policy similarity embeddings: the paper's method",
        learning_rate=2.6e-3,
        augmentation="randconv",
        alignment=_alignment(),
    ),
    TRANSFER: Method(
        "No learning: the optimal action of the training state that is nearest by the exact bisimulation metric",
        {"discount": 0.99},
        trains=False,
    ),
}

TASKS = {
    "wide": Task("Wide grid", "18 training tasks spread over the whole grid; 268 unseen tasks lie between them"),
    "narrow": Task("Narrow grid", "18 training tasks in the middle of the grid; most of the 268 unseen lie outside"),
    "random": Task(
        "Random grid",
        "18 training tasks drawn anew for every seed, with replacement; the rest of the 286 tasks are unseen",
        published_note="Draws can coincide; we divide by the tasks that are truly unseen.",
    ),
    "colors": Task(
        "Coloured obstacles",
        "18 red obstacles to jump over and 18 green ones to walk into, trained together; 268 tasks of each are unseen",
        published_note=(
            "The published code stacks frames on an extra axis, which feeds rows to the convolution as a batch; here "
            "two RGB frames are six channels and RandConv mixes the three colours."
        ),
    ),
}

PRESETS = {
    "smoke": Preset("Seconds: shows that everything runs, scores mean nothing", {"epochs": 4, "evaluations": 2}),
    "demo": Preset("About three minutes per run on one core", {"epochs": 800, "evaluations": 10}),
    "short": Preset(
        "A quarter of the paper's training, annealed over its own length", {"epochs": 500, "evaluations": 10}
    ),
    "paper": Preset("The paper's 2000 epochs", {"epochs": _PAPER_EPOCHS, "evaluations": 20}),
}

_TABLE_1 = {
    TRANSFER: ((17.9, 0.0), (17.9, 0.0), (30.9, 4.2)),
    "dropout-l2": ((17.8, 2.2), (10.2, 4.6), (9.3, 5.4)),
    "pse": ((33.6, 10.0), (9.3, 5.3), (37.7, 10.4)),
    "randconv": ((50.7, 24.2), (33.7, 11.8), (71.3, 15.6)),
    "randconv-bisim": ((41.4, 17.6), (17.4, 6.7), (33.4, 15.6)),
    "randconv-pse": ((87.0, 10.1), (52.4, 5.8), (83.4, 10.1)),
}
_TABLE_2 = {"randconv-bisim-cme": (23.1, 7.6), "randconv-psm-l2": (17.5, 8.4)}


_TABLE_G1 = {
    "randconv": ((6.2, 0.4), (99.6, 0.2)),
    "dropout-l2": ((19.5, 0.2), (100.0, 0.0)),
    "randconv-pse": ((29.8, 1.3), (99.6, 0.2)),
    "pse": ((37.9, 1.9), (100.0, 0.0)),
}


def _published() -> dict[tuple[str, str, str], Published]:
    numbers = {
        (task, method, "score"): Published(mean / 100, std / 100, "std of 100 runs", f"{PAPER}, Table 1")
        for method, row in _TABLE_1.items()
        for task, (mean, std) in zip(("wide", "narrow", "random"), row, strict=True)
    }
    for method, (mean, std) in _TABLE_2.items():
        numbers["wide", method, "score"] = Published(mean / 100, std / 100, "std of 100 runs", f"{PAPER}, Table 2")
    for method, row in _TABLE_G1.items():
        for color, (mean, error) in zip(("red", "green"), row, strict=True):
            published = Published(mean / 100, error / 100, "standard error of 100 runs", f"{PAPER}, Table G.1")
            numbers["colors", method, color] = published
    return numbers


def grid_of(task: str) -> str:
    return "wide" if task == "colors" else task


def seen_tasks(task: str, seed: int) -> tuple[tuple[int, int], ...]:
    """Return the training tasks of a suite task; the random grid depends on the run's seed."""
    return training_tasks(grid_of(task), seed if task == "random" else None)


def _colors(task: str) -> tuple[str | None, ...]:
    return ("red", "green") if task == "colors" else (None,)


def _vector_env(task: str, tasks: list[tuple[int, int, str | None]], **kwargs: Any):
    """Return environments with autoreset disabled, one per (position, floor, color), and their reset options."""
    positions, floors, colors = zip(*tasks, strict=True)
    env_id = "bisimgym/JumpingTaskColors-v0" if task == "colors" else "bisimgym/JumpingTask-v0"
    envs = gym.make_vec(env_id, num_envs=len(tasks), autoreset_mode="Disabled", **kwargs)
    options = {"obstacle_position": np.array(positions), "floor_height": np.array(floors)}
    if task == "colors":
        options["color"] = np.array(colors, dtype=object)
    return envs, options


def demonstrations(task: str, seed: int):
    """Return the oracle's trajectories on the training tasks. Only red obstacles take part in alignment."""
    from bisimgym.wrappers import collect_demonstrations

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
    tasks = [(p, f, color) for color in _colors(task) for p, f in ALL_TASKS]
    envs, options = _vector_env(task, tasks)
    observation, _ = envs.reset(options=options)
    positions = np.array([p for p, _, _ in tasks])
    settled_at = np.array([_settled_at(*t) for t in tasks])
    solved = np.ones(len(positions), dtype=bool)
    state, episode_start = None, np.ones(len(positions), dtype=bool)
    for step in range(settled_at.max() + 1):
        action, state = agent.predict(observation, state=state, episode_start=episode_start, deterministic=True)
        best = envs.unwrapped.optimal_action()
        action = discrete_actions(action, len(best), int(envs.single_action_space.n))
        solved &= (action == best) | (step > settled_at)
        if not (solved & (step < settled_at)).any():
            break  # every task is settled
        episode_start = np.zeros(len(positions), dtype=bool)
        observation = envs.step(best)[0]
    return solved


def _columns(task: str, seed: int, solved: np.ndarray) -> dict[str, list]:
    seen = set(seen_tasks(task, seed))
    rows = [(p, f, color or "white", (p, f) in seen) for color in _colors(task) for p, f in ALL_TASKS]
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


def _scores(outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the score, the fraction of unseen tasks solved (all colors together), and further fractions."""
    solved, trained, color = (np.array(outcomes[name]) for name in ("solved", "trained", "color"))
    scores = {"score": float(solved[~trained].mean()), "trained": float(solved[trained].mean())}
    if "red" in color:
        scores |= {name: float(solved[~trained & (color == name)].mean()) for name in ("red", "green")}
    if "paper_rule_solved" in outcomes:
        scores["paper_rule"] = float(np.array(outcomes["paper_rule_solved"])[~trained].mean() / RULE_REPEATS)
    return scores


def rescore(task: str, seed: int, outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this task and seed, one per task of the grid.
    """
    for name, column in _columns(task, seed, np.array(outcomes["solved"], dtype=bool)).items():
        if outcomes[name] != column:
            raise ValueError(f"column {name!r} is not that of {task}, seed {seed}")
    return _scores(outcomes)


def evaluate(agent: Any, task: str, seed: int) -> Outcome:
    """Score an agent on one task."""
    return _outcome(_columns(task, seed, solved_tasks(agent, task)))


def _outcome(outcomes: dict[str, list]) -> Outcome:
    scores = _scores(outcomes)
    return Outcome(scores.pop("score"), scores, outcomes)


def training_envs(task: str, seed: int):
    """Return environments that draw training tasks, for agents that learn by interaction."""
    env_id = "bisimgym/JumpingTaskColors-v0" if task == "colors" else "bisimgym/JumpingTask-v0"
    grid_seed = {"grid_seed": seed} if task == "random" else {}
    return gym.make_vec(env_id, num_envs=16, grid=grid_of(task), split="train", **grid_seed)


def transfer_solved(task: str, seed: int, discount: float) -> np.ndarray:
    """Return which of the 286 tasks (for each color) bisimulation transfer solves, ``bool[286 * colors]``.

    In each state of the oracle's trajectories one acts as is optimal in the nearest of all states of the training
    tasks, and a task is solved as in :func:`solved_tasks`. The metric sees states, rewards and dynamics of training
    and unseen tasks alike; no picture enters.
    """
    from bisimgym.baselines import metrics

    tasks = [(p, f, color or "white") for color in _colors(task) for p, f in ALL_TASKS]
    union = jumping_union(tasks)
    policy = union.optimal_policy(discount=1.0)
    part = np.searchsorted(union.offsets, np.arange(union.num_states), side="right") - 1
    seen = set(seen_tasks(task, seed))
    in_training = np.array([(p, f) in seen for p, f, _ in tasks])[part] & ~union.terminal

    best = policy.argmax(axis=1)
    states = np.array(union.offsets)
    steps = np.arange(max(_settled_at(*t) for t in tasks) + 1)
    trajectories = np.empty((len(tasks), len(steps)), dtype=np.int64)
    for step in steps:
        trajectories[:, step] = states
        states = union.transition[states, best[states]]

    # Tasks that differ in floor height only are bisimilar: one state of each class stands for all.
    classes, first = metrics.equivalence_classes(union.transition, union.reward)
    known, known_at = np.unique(classes[in_training], return_index=True)
    known = known[np.argsort(known_at)]
    asked, asked_at = np.unique(classes[trajectories], return_inverse=True)
    distance = metrics.bisimulation(union.transition, union.reward, discount, rows=first[known], columns=first[asked])
    # A class has one set of optimal actions, of which both sides take the lowest.
    transferred = metrics.transferred_policy(distance, policy[first[known]], tolerance=2e-6).argmax(axis=1)
    agrees = transferred[asked_at.reshape(trajectories.shape)] == best[trajectories]
    settled = np.array([_settled_at(*t) for t in tasks])
    return (agrees | (steps > settled[:, None])).all(axis=1)


def _settled_at(position: int, _floor: int, color: str | None) -> int:
    """Return the step that decides a task: the jump, or the touch of a green obstacle."""
    return position - 5 if color == "green" else position - 14


def train(spec: Spec, monitor: Monitor, device: str) -> Outcome:
    """Train one imitation learner, from its checkpoint if there is one, and score it; or transfer, without training."""
    if spec.method == TRANSFER:
        watch = Stopwatch(0.0)
        monitor.progress(0, 1)
        outcome = _outcome(_columns(spec.task, spec.seed, transfer_solved(spec.task, spec.seed, **spec.settings)))
        monitor.resume_curve("updates", 0)
        monitor.log({"updates": 0, "score": outcome.score, **outcome.scores, "seconds": watch.seconds()})
        monitor.progress(1, 1)
        return outcome
    return _imitate(spec, monitor, device)


def _imitate(spec: Spec, monitor: Monitor, device: str) -> Outcome:
    from stable_baselines3.common.callbacks import BaseCallback

    from bisimgym.baselines.pse.imitation import ImitationLearner, RandConvVoter

    settings = dict(spec.settings)
    epochs, evaluations = settings.pop("epochs"), settings.pop("evaluations")
    data = demonstrations(spec.task, spec.seed)
    checkpoint = Path(monitor.checkpoint, "model.zip")
    model = from_checkpoint(
        checkpoint, lambda file: ImitationLearner.load(file, demonstrations=data, device=device)
    ) or ImitationLearner(
        demonstrations=data,
        # A shorter preset anneals as far over its own length as the paper does over 2000 epochs.
        lr_decay=_PAPER_DECAY ** (_PAPER_EPOCHS / epochs),
        frame_channels=3 if spec.task == "colors" else 1,
        seed=spec.seed,
        device=device,
        **settings,
    )
    total = epochs * model.updates_per_epoch
    every = max(total // evaluations, 1)
    _, watch = resumed_curve(monitor, "updates", model.num_timesteps, total)

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            done = self.model.num_timesteps
            if done % 10 == 0 or done == total:
                monitor.progress(done, total)
            if done % every == 0 and done < total:
                with watch.paused():
                    outcome = evaluate(self.model, spec.task, spec.seed)
                    row = {"updates": done, "score": outcome.score, **outcome.scores, "seconds": watch.seconds()}
                    monitor.log(row)
                    save_whole(self.model, checkpoint)
            return True

    monitor.progress(model.num_timesteps, total)
    model.learn(total - model.num_timesteps, callback=Watch(), log_interval=None, reset_num_timesteps=False)
    train_seconds = watch.seconds()

    outcome = evaluate(model, spec.task, spec.seed)
    noise = {}
    if spec.settings["augmentation"] == "randconv":
        rng = np.random.default_rng([spec.seed, 1])
        repeats = [solved_tasks(RandConvVoter(model, rng), spec.task) for _ in range(RULE_REPEATS)]
        unseen = ~np.array(outcome.outcomes["trained"])
        noise["paper_rule_noise"] = float(np.std([solved[unseen].mean() for solved in repeats], ddof=1))
        outcome = _outcome({**outcome.outcomes, "paper_rule_solved": np.sum(repeats, axis=0).tolist()})
    row = {key: value for key, value in outcome.scores.items() if key != "paper_rule"}
    monitor.log({"updates": total, "score": outcome.score, **row, "seconds": train_seconds})
    save_whole(model, checkpoint)
    return Outcome(outcome.score, {**outcome.scores, **noise}, outcome.outcomes)


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that the learner does not take."""
    settings = dict(spec.settings)
    if spec.method == TRANSFER:
        if not 0 <= settings["discount"] <= 0.999:
            raise ValueError(f"discount must be in [0, 0.999], got {settings['discount']}")
        return
    from bisimgym.baselines.pse.imitation import check_settings

    for name in ("epochs", "evaluations"):
        if settings.pop(name) < 1:
            raise ValueError(f"{name} must be at least 1, got {spec.settings[name]}")
    check_settings(**settings)


SUITE = Suite(
    name="jumping",
    version=1,
    title="Jumping task",
    description=(
        "Imitate an expert on 18 tasks of a 26 x 11 grid (obstacle position x floor height), then play all others. The "
        "pictures differ; the one right moment to jump, 14 pixels before the obstacle, does not."
    ),
    score_name="unseen tasks solved",
    percent=True,
    lower_is_better=False,
    x_name="updates",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures={
        "paper_rule": Measure(
            "by the paper's rule",
            "RandConv stays on when scored: probabilities are averaged over five random filters per task "
            f"(mean of {RULE_REPEATS} such scorings). The headline score uses clean pictures.",
        ),
        "paper_rule_noise": Measure(
            "noise of the paper's rule", f"Standard deviation over {RULE_REPEATS} scorings of the same weights", False
        ),
        "trained": Measure("training tasks solved", "The same score on the training tasks", False),
        "red": Measure("red unseen", "Unseen tasks with a red obstacle"),
        "green": Measure("green unseen", "Unseen tasks with a green obstacle"),
    },
    published=_published(),
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    rescore=rescore,
    published_measure="paper_rule",
    grid=("obstacle_position", "floor_height", "color"),
)
