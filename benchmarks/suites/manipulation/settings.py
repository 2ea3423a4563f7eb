"""What the suite ``manipulation`` has: tasks, methods, presets, measures and published numbers, as data."""

from __future__ import annotations

from dataclasses import dataclass

from bisimgym.benchmarks.suites.base import Measure, Method, Preset, Published, Task

#: Steps of an episode, and the most that it can earn.
HORIZON = 500
#: The convolutions leave nothing of smaller images.
SMALLEST = 20
#: The environment of each task.
ENV_IDS = {"door": "bisimgym/ManipulationDoor-v0", "two-arm-peg-in-hole": "bisimgym/ManipulationTwoArmPegInHole-v0"}


@dataclass(frozen=True)
class Protocol:
    """Sizes that all runs share.

    Attributes:
        episodes: that an agent is scored in, in held-out looks and in looks of training: the same episodes.
        curve_episodes: of each kind, for a row of the curve.
        horizon: steps of an episode.
        image_size: of the images that outside agents see.
        num_envs: that outside agents learn from.
    """

    episodes: int = 5
    curve_episodes: int = 2
    horizon: int = HORIZON
    image_size: int = 128
    num_envs: int = 4


PROTOCOL = Protocol()

TASKS = {
    "door": Task("Door", "A robot arm turns a handle and opens a door"),
    "two-arm-peg-in-hole": Task(
        "Two-arm peg in hole",
        "Two robot arms bring a peg and a plate with a hole together",
        published_note=(
            "Doing nothing earns 249 to 259 here, so four of the five published numbers are at or below a policy that "
            "ignores its input, unless their fork of robosuite starts elsewhere or scales rewards otherwise."
        ),
    ),
}

METHODS = {
    "zero": Method("Does nothing: what a return must be above to mean anything", {}, trains=False),
    "random": Method("Uniformly random actions", {}, trains=False),
    "oracle": Method("A policy written by hand that sees the simulator's state: good, not optimal", {}, trains=False),
    "sac": Method("SAC, its encoder trained by the critic", {"learner": "sac"}),
    "drq": Method("DrQ: images shifted at random, two views in target and loss", {"learner": "drq"}),
    "drq-self-prediction": Method(
        "DrQ and the loss of predicting the next embedding: the baseline that metrics have to beat",
        {"learner": "drq", "self_prediction": 1.0},
    ),
    "mico": Method("MICo: sampled differences of rewards and next embeddings", {"learner": "mico"}),
    "dbc": Method("DBC: bisimulation with a Gaussian model, which also trains the encoder", {"learner": "dbc"}),
    "rap": Method("RAP: expected next embeddings and the variance of rewards", {"learner": "rap"}),
    "ambs": Method("AMBS: learned distances of rewards and dynamics, in two views", {"learner": "ambs"}),
    "simsr": Method("SimSR: cosine distances of embeddings of unit length", {"learner": "simsr"}),
}

#: What the published runs have for all methods (the thesis's Table 5.1).
_PUBLISHED_SETTINGS = {
    "learning_rate": 1e-3,
    "buffer_size": 100_000,
    "actor_period": 1,
    "target_update_interval": 1,
    "renderer": "raycast",
}
PRESETS = {
    "smoke": Preset(
        "Minutes: shows that everything runs, scores mean nothing",
        {
            **_PUBLISHED_SETTINGS,
            "episodes": 1,
            "evaluate_every": 1,
            "size": 24,
            "channels": 8,
            "hidden": 32,
            "batch_size": 8,
            "pad": 1,
            "learning_starts": 450,
        },
    ),
    "laptop": Preset(
        "50,000 steps, images of 48 x 48 pixels, narrow networks, batches of 32, for one core",
        {
            **_PUBLISHED_SETTINGS,
            "episodes": 100,
            "evaluate_every": 25,
            "size": 48,
            "channels": 16,
            "hidden": 128,
            "batch_size": 32,
            "pad": 2,
            "learning_starts": 1000,
        },
    ),
    "paper": Preset(
        "500,000 steps on images of 128 x 128 pixels, networks and batches as published: for a GPU",
        {
            **_PUBLISHED_SETTINGS,
            "episodes": 1000,
            "evaluate_every": 50,
            "size": 128,
            "channels": 32,
            "hidden": None,
            "batch_size": 128,
            "pad": 4,
            "learning_starts": 1000,
        },
    ),
}

MEASURES = {
    "trained": Measure("looks of training", "return in the same episodes, looking as the agent learned them"),
    "gap": Measure(
        "gap",
        "return in looks of training minus return in held-out ones",
        bounds=(-float(HORIZON), float(HORIZON)),
    ),
    "normalized": Measure(
        "normalized",
        "0: about what doing nothing earns (2 and 250), 1: 500, the most there is; in held-out looks",
        percent=True,
        bounds=(-1.5, 1.0),
    ),
    "solved": Measure("solved", "held-out episodes that end with the task solved", percent=True, bounds=(0.0, 1.0)),
}

_TABLE_5_2 = {
    "door": {
        "rap": (102.19, 26.11),
        "sac": (8.84, 9.89),
        "mico": (6.06, 6.57),
        "dbc": (3.15, 3.54),
        "drq": (14.63, 19.57),
    },
    "two-arm-peg-in-hole": {
        "rap": (307.27, 25.70),
        "sac": (191.29, 34.88),
        "mico": (123.69, 23.25),
        "dbc": (219.56, 36.87),
        "drq": (156.86, 33.57),
    },
}
#: The published evaluation draws looks as training does: they stand beside that measure.
PUBLISHED = {
    (task, method, "trained"): Published(
        score, spread, "as printed: of what, and over how many seeds, is not said", "Chen (thesis), Table 5.2"
    )
    for task, rows in _TABLE_5_2.items()
    for method, (score, spread) in rows.items()
}
