"""What the fidelity suite has: tasks, methods, presets and measures, as data."""

from __future__ import annotations

from typing import Any

from bisimgym.benchmarks.measures.encoder_score import REFERENCE
from bisimgym.benchmarks.measures.processes import FIDELITY_METRICS
from bisimgym.benchmarks.suites.base import Measure, Method, Preset, Task

#: The exact metric that a metric's loss says it learns.
CLAIMS = {
    "mico": "mico-random",
    "dbc": "bisimulation-random",
    "robust-dbc": "bisimulation-random",
    "rap": "mico-random",
    "ambs": "bisimulation-random",
    "simsr": "mico-random",
    "recursive-similarity": "recursive-similarity",
    "pse": "policy-similarity",
}
#: Encoders that are not trained.
OF_IMAGES = ("pca", "pixels")
#: Factors of states that belong to a distractor, and the one of them that rewards can depend on, in all tasks.
DISTRACTORS = {
    "distractor": ("phase, cosine", "phase, sine", "frames seen", "environment"),
    "lit": ("lit",),
}
#: Of the largest process: more dimensions embeddings cannot fill.
MOST_STATES = 1339

TASKS = {
    "nav2d-8x8": Task("Nav2D, 8 x 8", "A layout with five obstacles: 48 states, four actions"),
    "nav2d-20x20": Task("Nav2D, 20 x 20", "A layout as registered: 350 states, four actions"),
    "jumping-25": Task("Jumping task", "The obstacle at 25: 421 images, two actions"),
    "jumping-25-45": Task(
        "Two jumping tasks", "Obstacles at 25 and 45: 1339 images, two actions. Which states of both behave alike?"
    ),
    "dial-irrelevant": Task("Irrelevant distractor", "A grid behind stripes that do not matter: 200 states"),
    "dial-controllable": Task("Controllable distractor", "The same with stripes that the agent moves: 200 states"),
    "dial-relevant": Task("Relevant distractor", "The same with stripes that rewards depend on, and no action moves"),
    "markov-signal": Task("Markov signal", "Noisy histories of a hidden chain. Which leave the same belief?"),
    "lqr": Task("LQR with distractors", "States of a linear system, seen in two environments: 400 vectors"),
}


def _method(description: str, metric: str | None = None, **settings: Any) -> Method:
    shared: dict[str, Any] = {
        "metric": metric,
        "metric_settings": {},
        "metric_weight": 0.5,
        "self_prediction": 0.0,
        "reward_prediction": 0.0,
        "reward_from": "embedding",
        "encoder": "mlp",
        "norm": "layer",
        "features_dim": 50,
        "learning_rate": 1e-3,
        "batch_size": 128,
    }
    return Method(description, {**shared, **settings})


METHODS = {
    "mico": _method(
        "MICo: sampled differences of rewards, next embeddings of a target", "mico", metric_settings={"beta": 0.1}
    ),
    "dbc": _method("DBC in the form of Luo et al.", "dbc", metric_settings={"form": "study"}),
    "robust-dbc": _method(
        "DBC with a bounded norm and inverse dynamics", "robust-dbc", metric_settings={"norm": "huber"}, norm="cap"
    ),
    "rap": _method(
        "RAP: expected next embeddings and the variance of rewards",
        "rap",
        metric_settings={"beta": 1e-5},
        features_dim=100,
        learning_rate=5e-4,
    ),
    "ambs": _method(
        "AMBS: learned distances of rewards and of dynamics, which count the same",
        "ambs",
        metric_weight=1.0,
        features_dim=100,
        learning_rate=5e-4,
    ),
    "simsr": _method(
        "SimSR: cosine distances of embeddings of unit length",
        "simsr",
        metric_settings={"reward_weight": 1.0},
        metric_weight=1.0,
        norm="l2",
    ),
    "rss": _method(
        "Recursive state similarity: what actions do, and no rewards",
        "recursive-similarity",
        metric_settings={"reduction": "mean"},
        metric_weight=1.0,
        norm="none",
        features_dim=128,
    ),
    "pse": _method(
        "PSE: contrastive embeddings of the exact policy similarity metric, which it is told",
        "pse",
        metric_settings={"temperature": 0.5, "beta": 0.01},
        metric_weight=1.0,
        norm="none",
        features_dim=64,
    ),
    "self-prediction": _method("No metric: the next embedding is predicted", self_prediction=1.0),
    "deepmdp": _method(
        "No metric: the next embedding and the reward are predicted", self_prediction=1.0, reward_prediction=1.0
    ),
    "interaction": _method(
        "No metric: which action led from here to there, and where it leads (psi of recursive similarity)",
        "interaction",
        metric_weight=1.0,
        norm="none",
        features_dim=128,
    ),
    "inverse-dynamics": _method(
        "No metric: which action led from here to there", "inverse-dynamics", metric_weight=1.0
    ),
    "autoencoder": _method("No metric: the observation from its embedding", "reconstruction", metric_weight=1.0),
    "vae": _method(
        "No metric: a variational autoencoder",
        "reconstruction",
        metric_settings={"kl_weight": 1.0},
        metric_weight=1.0,
        norm="none",
    ),
    "temporal-contrast": _method(
        "No metric: which of a batch's states comes next (CPC)", "temporal-contrast", metric_weight=1.0
    ),
    "joint-embedding": _method(
        "No metric: predicts the next embedding, variance and covariance against collapse (JEPA with VICReg)",
        "joint-embedding",
        metric_weight=1.0,
        norm="none",
    ),
    "reward": _method("No metric: the reward of an action is predicted", reward_prediction=1.0),
    "value": _method("No metric: the value of the policy of the data", "value", metric_weight=1.0),
    "value-difference": _method(
        "The difference of learned values: a lower bound of the metric",
        "value",
        metric_weight=1.0,
        norm="none",
        features_dim=1,
    ),
    "pca": Method("Principal components of the observations", {"encoder": "pca", "features_dim": 50}, trains=False),
    "pixels": Method("The observations themselves", {"encoder": "pixels"}, trains=False),
    "random": Method(
        "An encoder that was never trained: the floor",
        {"metric": None, "encoder": "mlp", "norm": "layer", "features_dim": 50},
        trains=False,
        precision="float32",
    ),
}

PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {"updates": 20, "evaluations": 2, "precision": "float32"},
    ),
    "short": Preset(
        "3000 updates: minutes per run on one core", {"updates": 3000, "evaluations": 6, "precision": "float32"}
    ),
    "paper": Preset("20,000 updates", {"updates": 20_000, "evaluations": 20, "precision": "float32"}),
}

_SHARE = (0.0, 1.0)

MEASURES = {
    "own_metric": Measure("own metric", "Rank correlation with the metric that the method's loss says it learns"),
    "distortion": Measure(
        "distortion",
        "Sum of |c d - exact| over the sum of exact distances, for the best factor c: 0 is best, 1 is that of c = 0",
        bounds=(0.0, 1.0),
    ),
    "neighbour_recall": Measure(
        "neighbor recall",
        "Share of a state's five nearest by the exact metric that are among its five nearest",
        bounds=(0.0, 1.0),
    ),
    "effective_rank": Measure(
        "effective rank",
        "Dimensions that the embeddings fill: 1 is a line, a collapse",
        False,
        bounds=(0.0, MOST_STATES),
    ),
    "control": Measure(
        "control",
        "Value of looking one step ahead at the values of states merged by the distances: 1 is optimal, 0 as random",
        bounds=(-1.0, 1.0),
    ),
    **{
        f"{part}_{kind}": Measure(
            f"{title}, {kind}", f"Share of the variance of {what} that {how}", False, False, _SHARE
        )
        for part, title, what in (
            ("value", "value", "optimal values"),
            ("state", "state", "what a state is made of, without distractors (mean over its parts)"),
            ("distractor", "distractor", "a distractor: a dial's phase, how many frames were seen, which environment"),
            ("lit", "lit", "the bit of a dial's phase that rewards can depend on"),
        )
        for kind, how in (
            ("linear", "a linear readout explains"),
            ("nearest", "the mean over the five nearest states explains"),
        )
    },
    **{
        f"rank_{metric}": Measure(f"with {metric}", f"Rank correlation with {metric}", False)
        for metric in FIDELITY_METRICS
        if metric != REFERENCE
    },
}
