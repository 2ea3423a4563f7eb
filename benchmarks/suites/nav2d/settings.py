"""What the nav2d suite has: tasks, methods, presets and measures, as data."""

from __future__ import annotations

from typing import Any

from bisimgym.benchmarks.suites.base import Measure, Method, Preset, Task

#: Episodes over which the paper's success rate is taken.
RECENT = 100
#: Times at which the area under the curve takes the success rate.
POINTS = 100

EPSILONS = {"epsilon-0": 0.0, "epsilon-0.1": 0.1, "epsilon-0.5": 0.5, "epsilon-1": 1.0}

TASKS = {
    name: Task(
        f"Nav2D, data of epsilon {epsilon:g}",
        f"Learn to reach goals, with an encoder from data whose actions are random with probability {epsilon:g}",
    )
    for name, epsilon in EPSILONS.items()
}

_SHARED = {
    "metric": "",
    "metric_settings": {},
    "part": "encoder",
    "self_prediction": 0.0,
    "tau": 0.005,
    "discount": 0.99,
    "exploration_start": 0.9,
    "exploration_floor": 0.2,
    "precision": "float32",
}


def _method(description: str, **settings: Any) -> Method:
    return Method(description, {**_SHARED, **settings})


METHODS = {
    "no-pretraining": _method("The same network with random weights"),
    "psi": _method(
        "Interaction: which action led from here to there, and where an action leads", metric="rss", part="base"
    ),
    "phi": _method("Recursive state similarity: states are close when their futures interact alike", metric="rss"),
    "self-prediction": _method("Predicts its next embedding, without a metric", self_prediction=1.0),
}

#: What the two stages learn with. Rates are of Adam; ``interaction_rate`` is psi's and ``base_weight`` what phi's
#: target counts psi's distance with, 1 - discount in the paper's code.
_PUBLISHED = {
    "pretraining_rate": 1e-4,
    "interaction_rate": 1e-3,
    "base_weight": 0.01,
    "pretraining_batch": 128,
    "encoder_tau": 0.005,
    "learning_rate": 1e-4,
    "batch_size": 16,
    "exploration_decay": 10_000,
}
#: Fewer and larger steps. With the published batch and rate no agent learns anything within the steps of ``short``,
#: with any encoder; with the published weight phi's embeddings are a quarter of the size of psi's after its updates.
#: Exploration decays within the steps that there are, or the success of training episodes, which explore, hides what
#: agents have learned.
_QUICK = {
    "pretraining_rate": 3e-4,
    "interaction_rate": 1e-3,
    "base_weight": 0.1,
    "pretraining_batch": 32,
    "encoder_tau": 0.05,
    "learning_rate": 5e-4,
    "batch_size": 64,
    "exploration_decay": 1_000,
}
_SMALL = {"size": 8, "num_obstacles": 3, "min_goal_distance": 4, "max_episode_steps": 30}
_PAPER = {"size": 20, "num_obstacles": 15, "min_goal_distance": 10, "max_episode_steps": 50}

PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {**_SMALL, **_QUICK, "data": 500, "updates": 4, "transitions": 60, "evaluations": 2},
    ),
    "short": Preset(
        "Grids of 8 x 8; 100,000 transitions, 4,000 updates of the encoder, 4,000 steps online",
        {**_SMALL, **_QUICK, "data": 100_000, "updates": 4_000, "transitions": 4_000, "evaluations": 8},
    ),
    "paper": Preset(
        "As published: grids of 20 x 20, 1,000,000 transitions, 30 epochs, 100,000 steps online",
        {**_PAPER, **_PUBLISHED, "data": 1_000_000, "updates": 234_390, "transitions": 100_000, "evaluations": 20},
    ),
}

MEASURES = {
    "area": Measure(
        "area under the curve",
        f"Mean success rate of the last {RECENT} training episodes, which explore, as in the paper",
    ),
    "final": Measure("success at the end", f"Success rate of the last {RECENT} training episodes"),
    "rank_similarity": Measure(
        "exact similarity",
        "Before online learning: rank correlation of the encoder's distances with exact recursive state similarity, on "
        "layouts never seen",
        percent=False,
        bounds=(-1.0, 1.0),
    ),
    "rank_path": Measure("steps apart", "The same with the length of the shortest path", False, False, (-1.0, 1.0)),
    "rank_bisimulation": Measure(
        "bisimulation", "The same with on-policy bisimulation, whose goal is hidden", False, False, (-1.0, 1.0)
    ),
    "outside": Measure(
        "out of reach",
        "What obstacles out of reach change in the corridor, as a share of what a block next to the agent changes: 0 "
        "is best",
        percent=True,
        bounds=(0.0, 1e6),
    ),
    "corridor": Measure(
        "corridor", "Rank correlation with exact similarity over changes to the corridor", False, False, (-1.0, 1.0)
    ),
    "full_over_partial": Measure(
        "full over partial", "Share of places at which a full block changes more than a half one", False
    ),
    "nearer_first": Measure("nearer first", "Share of full blocks that change more than the next one behind", False),
}
