"""The fidelity suite: is the distance that an encoder has learned the metric that it was meant to learn?

Encoders learn from every transition of a small deterministic process, taken equally often: the data of a policy that
acts uniformly at random. They are trained by one loss each and nothing else (isolated evaluation, Luo et al. 2025), and
their distances are compared with exact metrics over all pairs of states.

All are scored against one metric, so that scores of methods, and of outside agents, can be compared: on-policy
bisimulation of the random policy. Under the policy of the data it is the metric of which states behave alike: it is 0
between those that rewards never distinguish, which MICo's is not. What a loss says that it learns is another number,
"own metric":

* MICo, SimSR and RAP: the MICo distance, whose recursion they sample. RAP compares expected next states, which in a
  deterministic process are the next states. SimSR's distance is 0 from a state to itself, the exact one is not.
* DBC, Robust DBC and AMBS: on-policy bisimulation, the score itself. Their models are asked about the action that was
  taken, and the actions of a pair are independent: under random actions, what they sample is MICo's recursion too.
* Recursive similarity: the exact one, from a base that says which actions move the agent. It is defined on Nav2D; on
  the jumping task, where every action moves it, there is no own metric.
* Predictions, and outside agents, say nothing about distances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.measures import processes
from bisimgym.benchmarks.measures.encoder_score import DISCOUNT, OPTIMAL_VALUE, REFERENCE, score_encoder
from bisimgym.benchmarks.measures.processes import FIDELITY_METRICS, fidelity_envs
from bisimgym.benchmarks.suites.base import Measure, Method, Monitor, Outcome, Preset, Spec, Suite, Task, check_least
from bisimgym.benchmarks.suites.further_settings import Further, further_settings
from bisimgym.benchmarks.suites.training import Reached, from_checkpoint, save_whole, train_with_evaluations

#: The exact metric that a metric's loss says it learns.
CLAIMS = {
    "mico": "mico-random",
    "dbc": "bisimulation-random",
    "robust-dbc": "bisimulation-random",
    "rap": "mico-random",
    "ambs": "bisimulation-random",
    "simsr": "mico-random",
    "recursive-similarity": "recursive-similarity",
}
NUM_ENVS = 8
#: What is stored of each exact metric: fields of :class:`~bisimgym.benchmarks.measures.metric_fidelity.Fidelity`.
_COLUMNS = ("rank_correlation", "distortion", "neighbour_recall", "scale")

#: Of the largest process: more dimensions embeddings cannot fill.
MOST_STATES = 1339

TASKS = {
    "nav2d-8x8": Task("Nav2D, 8 x 8", "A layout with five obstacles: 48 states, four actions"),
    "nav2d-20x20": Task("Nav2D, 20 x 20", "A layout as registered: 350 states, four actions"),
    "jumping-25": Task("Jumping task", "The obstacle at 25: 421 images, two actions"),
    "jumping-25-45": Task(
        "Two jumping tasks", "Obstacles at 25 and 45: 1339 images, two actions. Which states of both behave alike?"
    ),
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
    "self-prediction": _method("No metric: the next embedding is predicted", self_prediction=1.0),
    "deepmdp": _method(
        "No metric: the next embedding and the reward are predicted", self_prediction=1.0, reward_prediction=1.0
    ),
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
        "3000 updates: minutes per run on one core", {"updates": 3000, "evaluations": 6, "precision": "bfloat16"}
    ),
    "paper": Preset("20,000 updates", {"updates": 20_000, "evaluations": 20, "precision": "bfloat16"}),
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
    "value_linear": Measure(
        "value, linear",
        "Share of the variance of optimal values that a linear readout explains",
        False,
        False,
        (0.0, 1.0),
    ),
    "value_nearest": Measure(
        "value, nearest", "Share of it that the mean over the five nearest states explains", False, False, _SHARE
    ),
    **{
        f"rank_{metric}": Measure(f"with {metric}", f"Rank correlation with {metric}", False)
        for metric in FIDELITY_METRICS
        if metric != REFERENCE
    },
}


def training_envs(task: str, seed: int) -> Any:
    """Return eight environments of the process, parts in turn, whose episodes all start alike (with time limits)."""
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    parts = fidelity_envs(task)
    makers = [parts[i % len(parts)] for i in range(NUM_ENVS)]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def evaluate(agent: Any, task: str, seed: int) -> Outcome:
    """Score the distances of an agent's embeddings.

    The agent has ``embed(observation)``, from ``uint8[B, H, W, C]`` to ``float[B, D]``. Embeddings are compared by its
    ``distance(x, y)``, from two ``float[P, D]`` to ``float[P]``, if it has one, else by their Euclidean distance.
    Nothing depends on the seed.

    Raises:
        UserError: for an agent without ``embed``.
    """
    if not callable(getattr(agent, "embed", None)):
        raise UserError(
            f"agent {type(agent).__name__} has no method embed(observation), whose distances this suite scores: from "
            "uint8[B, H, W, C] to float[B, D]"
        )
    return _scored(agent, task, None)


def _scored(agent: Any, task: str, claimed: str | None) -> Outcome:
    found = score_encoder(agent, task)
    columns = {name: [getattr(values, name) for values in found.metrics.values()] for name in _COLUMNS}
    claims = [metric == claimed for metric in found.metrics]
    outcomes: dict[str, list] = {"metric": list(found.metrics), "claimed": claims, **columns}
    further = {
        "effective_rank": found.effective_rank,
        "control": found.control,
        "value_linear": found.linear[OPTIMAL_VALUE],
        "value_nearest": found.nearest[OPTIMAL_VALUE],
    }
    return Outcome.of({**_scores(outcomes), **further}, outcomes)


def _scores(outcomes: Mapping[str, list]) -> dict[str, float]:
    rank = dict(zip(outcomes["metric"], outcomes["rank_correlation"], strict=True))
    own = [rank[metric] for metric, claimed in zip(outcomes["metric"], outcomes["claimed"], strict=True) if claimed]
    reference = outcomes["metric"].index(REFERENCE)
    return {
        "score": rank.pop(REFERENCE),
        **({"own_metric": own[0]} if own else {}),
        **{name: outcomes[name][reference] for name in ("distortion", "neighbour_recall")},
        **{f"rank_{metric}": value for metric, value in rank.items()},
    }


def rescore(task: str, seed: int, outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this task, one row for each of its metrics.
    """
    metrics = list(processes.fidelity_metrics(task))
    if outcomes["metric"] != metrics or any(len(outcomes[name]) != len(metrics) for name in ("claimed", *_COLUMNS)):
        raise ValueError(f"outcomes of {task} have one row for each of {metrics}, got {outcomes['metric']}")
    return _scores(outcomes)


def _make(spec: Spec, device: str) -> Any:
    from bisimgym.baselines.core.extractors import ImageExtractor, MLPExtractor
    from bisimgym.baselines.offline import OfflineRepresentation

    of_training = ("updates", "evaluations", "batch_size", "encoder")
    settings = {name: value for name, value in spec.settings.items() if name not in of_training}
    env = fidelity_envs(spec.task)[0]()
    return OfflineRepresentation(
        env.observation_space,
        env.action_space,
        extractor_class=MLPExtractor if spec.settings["encoder"] == "mlp" else ImageExtractor,
        discount=DISCOUNT,
        seed=spec.seed,
        device=device,
        **settings,
    )


def train(spec: Spec, monitor: Monitor, device: str) -> Outcome:
    """Train one encoder, from its checkpoint if there is one, and score it.

    Rewards are divided by the largest of the process: losses assume rewards of about 1, and the scores do not
    depend on the unit. A run that is cut off goes on from its last checkpoint as the unbroken run did.
    """
    from bisimgym.baselines.offline import OfflineRepresentation
    from bisimgym.benchmarks.suites.fidelity_pictures import figures_of
    from bisimgym.benchmarks.suites.figures import write_figures

    checkpoint = Path(monitor.checkpoint, "model.zip")
    model = from_checkpoint(monitor, checkpoint, lambda file: OfflineRepresentation.load(file, device)) or _make(
        spec, device
    )
    total, evaluations = (spec.settings.get(name, 0) for name in ("updates", "evaluations"))
    every = max(total // evaluations, 1) if total else 1

    def fit(reached: Reached) -> None:
        data = processes.fidelity_transitions(spec.task)
        data = data._replace(rewards=data.rewards / np.abs(data.rewards).max())
        while model.num_updates < total:
            steps = min(50, every - model.num_updates % every, total - model.num_updates)  # progress every 50 updates
            model.fit(data, steps, spec.settings["batch_size"])
            reached(model.num_updates)

    def scored() -> Outcome:
        return _scored(model, spec.task, CLAIMS.get(spec.settings.get("metric", "")))

    def complete(_: Sequence[float]) -> Outcome:
        monitor.pictures.mkdir(exist_ok=True)
        list(write_figures(figures_of(model, spec.task), monitor.pictures))
        return scored()

    return train_with_evaluations(
        monitor,
        "updates",
        done=model.num_updates,
        total=total,
        every=every,
        train=fit,
        evaluate=scored,
        complete=complete,
        save=lambda: save_whole(monitor, model, checkpoint),
        from_start=True,
    )


def more_settings(settings: Mapping[str, Any]) -> dict[str, Further]:
    """Return what the isolated representation of these settings takes beside them."""
    from bisimgym.baselines.offline import OfflineRepresentation

    if "updates" not in settings:  # never trained
        return {}
    hints = get_type_hints(OfflineRepresentation.__init__)
    return further_settings(OfflineRepresentation, hints, settings["metric"], without=("discount",))


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    settings = spec.settings
    check_least(settings, updates=1, evaluations=1, batch_size=2, features_dim=1)
    if settings["encoder"] not in ("mlp", "convolutions"):
        raise ValueError(f"encoder must be one of ['mlp', 'convolutions'], got {settings['encoder']!r}")
    if spec.variant:  # the suite's own settings are sound, and making networks takes time
        _make(spec, "cpu")


SUITE = Suite(
    name="fidelity",
    version=1,
    title="Fidelity",
    description=(
        "An encoder learns from every transition of a small process, by one loss alone. Do its distances say which "
        "states behave alike under random actions? The score compares their order with that of the exact on-policy "
        "bisimulation metric."
    ),
    score_name="rank correlation",
    bounds=(-1.0, 1.0),
    x_name="updates",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    rescore=rescore,
    further_settings=more_settings,
    columns={
        "metric": str,
        "claimed": bool,
        "rank_correlation": (-1.0, 1.0),
        "distortion": (0.0, 1.0),
        "neighbour_recall": (0.0, 1.0),
        "scale": (0.0, 1e300),
    },
)
