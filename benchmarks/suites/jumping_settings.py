"""Tasks, methods and presets of the jumping suite.

Source: Agarwal et al. (2021), section 5, Tables 1, 2 and G.1 to G.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bisimgym.benchmarks.suites.base import Bounds, Method, Preset, Task
from bisimgym.benchmarks.suites.jumping_published import TRANSFER

PAPER_EPOCHS, PAPER_DECAY = 2000, 0.999
#: How often the paper's noisy rule is repeated, to state its noise.
RULE_REPEATS = 5
#: What outcomes are made of.
COLUMNS: dict[str, type | range | Bounds] = {
    "obstacle_position": range(20, 46),
    "floor_height": range(10, 21),
    "color": str,
    "trained": bool,
    "solved": bool,
    "paper_rule_solved": range(RULE_REPEATS + 1),
}


def _method(description: str, colors: Mapping[str, Any] | None = None, **settings: Any) -> Method:
    base = {
        "l2_coefficient": 0.0,
        "dropout": 0.0,
        "augmentation": None,
        "clean_probability": 0.1,
        "alignment": None,
        "batch_size": 256,
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


METHODS = {
    "dropout-l2": _method(
        "Imitation with dropout and an l2 penalty: the baseline", learning_rate=4e-3, l2_coefficient=4.3e-4, dropout=0.3
    ),
    "pse": _method(
        "Policy similarity embeddings: contrastive embeddings of the policy similarity metric",
        learning_rate=3.2e-3,
        l2_coefficient=1e-5,
        alignment=_alignment(weight=10.0, temperature=1.0),
        colors={"learning_rate": 6e-3, "l2_coefficient": 7e-5, "alignment": {"weight": 5.0, "temperature": 0.5}},
    ),
    "randconv": _method(
        "Imitation from randomly filtered images",
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
        "18 training tasks drawn for every seed, with replacement; the rest of the 286 tasks are unseen",
        published_note="Draws can coincide; we divide by the tasks that are truly unseen.",
    ),
    "colors": Task(
        "Colored obstacles",
        "18 red obstacles to jump over and 18 green ones to walk into, trained together; 268 tasks of each are unseen",
        published_note=(
            "The published code stacks frames on an extra axis, which feeds rows to the convolution as a batch; here "
            "two RGB frames are six channels and RandConv mixes the three colors, so that it hides which is which."
        ),
    ),
}

PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {"epochs": 4, "evaluations": 2, "precision": "float32"},
    ),
    "demo": Preset(
        "About three minutes per run on one core", {"epochs": 800, "evaluations": 10, "precision": "float32"}
    ),
    "short": Preset(
        "A quarter of the paper's training, annealed over its own length",
        {"epochs": 500, "evaluations": 10, "precision": "float32"},
    ),
    "paper": Preset("The paper's 2000 epochs", {"epochs": PAPER_EPOCHS, "evaluations": 20, "precision": "float32"}),
}
