"""The fidelity suite: is the distance that an encoder has learned the metric that it was meant to learn?

Encoders learn from every transition of a small deterministic process, taken equally often: the data of a policy that
acts uniformly at random; or, of a process with infinitely many states, from a sample. They are trained by one loss each
and nothing else (isolated evaluation, Luo et al. 2025), and their distances are compared with exact metrics over all
pairs of states, or of a sample's.

All are scored against one metric, so that scores of methods, and of outside agents, can be compared: on-policy
bisimulation of the random policy. Under the policy of the data it is the metric of which states behave alike: it is 0
between those that rewards never distinguish, which MICo's is not. What a loss says that it learns is another number,
"own metric":

* MICo, SimSR and RAP: the MICo distance, whose recursion they sample. RAP compares expected next states, which in a
  deterministic process are the next states. Where next states are random, the distance is not known. SimSR's distance
  is 0 from a state to itself, the exact one is not.
* DBC, Robust DBC and AMBS: on-policy bisimulation, the score itself. Their models are asked about the action that was
  taken, and the actions of a pair are independent: under random actions, what they sample is MICo's recursion too.
* Recursive similarity: the exact one, from a base that says which actions move the agent. It is defined on Nav2D; on
  the jumping task, where every action moves it, there is no own metric.
* PSE: the policy similarity metric of the optimal policy. It is told the metric, as in its paper.
* Predictions, and outside agents, say nothing about distances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.measures import processes
from bisimgym.benchmarks.measures.encoder_score import DISCOUNT, REFERENCE, EncoderScore, score_encoder
from bisimgym.benchmarks.measures.finite_processes import OPTIMAL_VALUE, RANDOM_VALUE
from bisimgym.benchmarks.measures.processes import fidelity_envs
from bisimgym.benchmarks.suites.base import Monitor, Outcome, Spec, Suite
from bisimgym.benchmarks.suites.checks import check_least
from bisimgym.benchmarks.suites.fidelity.settings import (
    CLAIMS,
    DISTRACTORS,
    MEASURES,
    METHODS,
    OF_IMAGES,
    PRESETS,
    TASKS,
)
from bisimgym.benchmarks.suites.further_settings import Further, further_settings
from bisimgym.benchmarks.suites.training import (
    Reached,
    from_checkpoint,
    save_whole,
    train_with_evaluations,
    without_training,
)

NUM_ENVS = 8


@dataclass(frozen=True)
class Protocol:
    """What runs do beside training.

    Attributes:
        pictures: whether they draw.
    """

    pictures: bool = True


PROTOCOL = Protocol()
#: What is stored of each exact metric: fields of :class:`~bisimgym.benchmarks.measures.metric_fidelity.Fidelity`.
_COLUMNS = ("rank_correlation", "distortion", "neighbour_recall", "scale")


def training_envs(task: str, seed: int) -> Any:
    """Return eight environments of the process, parts in turn, with time limits.

    Episodes of a finite process all start alike.
    """
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    parts = fidelity_envs(task)
    makers = [parts[i % len(parts)] for i in range(NUM_ENVS)]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def evaluate(agent: Any, task: str, seed: int) -> Outcome:
    """Score the distances of an agent's embeddings.

    The agent has ``embed(observation)``, from observations ``[B, ...]`` to ``float[B, D]``. Embeddings are compared by
    its ``distance(x, y)``, from two ``float[P, D]`` to ``float[P]``, if it has one, else by their Euclidean distance.
    Nothing depends on the seed.

    Raises:
        UserError: for an agent without ``embed``.
    """
    if not callable(getattr(agent, "embed", None)):
        raise UserError(
            f"agent {type(agent).__name__} has no method embed(observation), whose distances this suite scores: from "
            "observations [B, ...] to float[B, D]"
        )
    return _scored(agent, task, None)


def _scored(agent: Any, task: str, claimed: str | None) -> Outcome:
    found = score_encoder(agent, task)
    columns = {name: [getattr(values, name) for values in found.metrics.values()] for name in _COLUMNS}
    claims = [metric == claimed for metric in found.metrics]
    outcomes: dict[str, list] = {"metric": list(found.metrics), "claimed": claims, **columns}
    further = {
        "effective_rank": found.effective_rank,
        **({} if found.control is None else {"control": found.control}),
        **_readouts(found),
    }
    return Outcome.of({**_scores(outcomes), **further}, outcomes)


def _readouts(found: EncoderScore) -> dict[str, float]:
    """Return how well the parts of a state are read off its embedding: means over the factors of each part."""
    parts = {"value": (OPTIMAL_VALUE,), **DISTRACTORS}
    others = {RANDOM_VALUE}.union(*parts.values())
    parts["state"] = tuple(name for name in found.linear if name not in others)
    there = {
        part: known for part, names in parts.items() if (known := [name for name in names if name in found.linear])
    }
    return {
        f"{part}_{kind}": float(np.mean([shares[name] for name in names]))
        for part, names in there.items()
        for kind, shares in (("linear", found.linear), ("nearest", found.nearest))
    }


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
    if settings["metric"] == "pse":
        settings |= {"metric": _policy_similarity(spec.task, **settings["metric_settings"]), "metric_settings": {}}
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


def _policy_similarity(task: str, **settings: float) -> Any:
    """Return the loss of PSE with the exact metric between the states of a task."""
    import torch as th

    from bisimgym.baselines.pse.state_embeddings import StateEmbeddings

    known = processes.distances_of_data(task, "policy-similarity", DISCOUNT)
    seen = th.from_numpy(known.observations.copy())
    if seen.dtype == th.uint8:
        seen = seen.permute(0, 3, 1, 2) / 255
    return StateEmbeddings(seen, known.distances, are_points=known.are_points, **settings)


def _of_images(spec: Spec) -> Callable[[np.ndarray], np.ndarray]:
    """Return an encoder that needs no training: the observations, or their principal components."""
    observations = processes.fidelity_process(spec.task, []).observations
    mean = observations.reshape(len(observations), -1).mean(axis=0) / 255

    def flat(batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), -1) / 255 - mean

    if spec.settings["encoder"] == "pixels":
        return flat
    components = np.linalg.svd(flat(observations), full_matrices=False)[2][: spec.settings["features_dim"]]
    return lambda batch: flat(batch) @ components.T


def train(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Outcome:
    """Train one encoder, from its checkpoint if there is one, and score it.

    Rewards are divided by the largest of the process: losses assume rewards of about 1, and the scores do not depend on
    the unit. Where no episode ends, their mean is taken off first: it changes all values alike and no distance, and
    leaves less for temporal differences to add up. A run that is cut off goes on from its last checkpoint as the
    unbroken run did.
    """
    from bisimgym.baselines.offline import OfflineRepresentation
    from bisimgym.benchmarks.suites.fidelity.pictures import figures_of
    from bisimgym.benchmarks.suites.figures import write_figures

    def drawn(encoder: Any) -> None:
        if protocol.pictures:
            monitor.pictures.mkdir(exist_ok=True)
            list(write_figures(figures_of(encoder, spec.task), monitor.pictures))

    if spec.settings["encoder"] in OF_IMAGES:
        encoder = _of_images(spec)
        drawn(encoder)
        return without_training(monitor, "updates", lambda: _scored(encoder, spec.task, None))
    checkpoint = Path(monitor.checkpoint, "model.zip")
    model = from_checkpoint(monitor, checkpoint, lambda file: OfflineRepresentation.load(file, device)) or _make(
        spec, device
    )
    total, evaluations = (spec.settings.get(name, 0) for name in ("updates", "evaluations"))
    every = max(total // evaluations, 1) if total else 1

    def fit(reached: Reached) -> None:
        data = processes.fidelity_transitions(spec.task)
        rewards = data.rewards if data.dones.any() else data.rewards - data.rewards.mean()
        data = data._replace(rewards=rewards / np.abs(rewards).max())
        while model.num_updates < total:
            steps = min(50, every - model.num_updates % every, total - model.num_updates)  # progress every 50 updates
            model.fit(data, steps, spec.settings["batch_size"])
            reached(model.num_updates)

    def scored() -> Outcome:
        return _scored(model, spec.task, CLAIMS.get(spec.settings.get("metric", "")))

    def complete(_: Sequence[float]) -> Outcome:
        drawn(model)
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
    own = METHODS[spec.method].settings["encoder"]
    known = (own,) if own in OF_IMAGES else ("mlp", "convolutions")
    if settings["encoder"] not in known:
        raise ValueError(f"encoder of {spec.method} must be one of {list(known)}, got {settings['encoder']!r}")
    # The suite's own settings are sound, and making networks takes time.
    if spec.variant and own not in OF_IMAGES:
        _make(spec, "cpu")


SUITE = Suite(
    name="fidelity",
    version=1,
    title="Fidelity",
    description=(
        "An encoder learns from the transitions of a small process, by one loss alone. Do its distances say which "
        "states behave alike under random actions? The score compares their order with that of the exact on-policy "
        "bisimulation metric."
    ),
    score_name="rank correlation",
    bounds=(-1.0, 1.0),
    anchored=lambda task: (0.0, 1.0),
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
    env_ids=lambda task: [processes.PROCESSES[task][0]],
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
