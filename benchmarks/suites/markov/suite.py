"""The markov suite: find the hidden states of signals without labels.

Source: Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics", arXiv:2211.09537, whose emissions
and second chain are not published: here is the same task with ones of our own, so that accuracies compare with the
exact filter's on the same signals, and not number by number with the paper's.
"""

from __future__ import annotations

import functools
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.base import Monitor, Outcome, Spec, Suite
from bisimgym.benchmarks.suites.checks import check_columns, check_least, discrete_actions
from bisimgym.benchmarks.suites.further_settings import Further, further_settings
from bisimgym.benchmarks.suites.markov import settings
from bisimgym.benchmarks.suites.markov.settings import NUM_STATES, PROTOCOL, Detail, Protocol
from bisimgym.benchmarks.suites.training import (
    Reached,
    from_checkpoint,
    stamp,
    train_with_evaluations,
    without_training,
)
from bisimgym.envs.markov_signal import sample_signals, signal_law
from bisimgym.envs.markov_signal.filters import filter_states, frame_states, smooth_states


@functools.cache
def held_out_signals(task: str, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Return ``float32[500, 500, 15]`` signals and ``int64[500, 500]`` hidden states, the same for all runs."""
    return sample_signals(signal_law(task), protocol.test_sequences, protocol.test_length, settings.TEST_SEED)


def training_signals(task: str, seed: int, sequences: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the signals that a run learns from, ``float32[N, 200, 15]``, and their states, which only name wells."""
    return sample_signals(signal_law(task), sequences, settings.TRAINING_LENGTH, seed)


def training_envs(task: str, seed: int) -> Any:
    """Return sixteen environments of the task."""
    return gym.make_vec("bisimgym/MarkovSignal-v0", num_envs=16, experiment=task)


def online_guesses(agent: Any, signals: np.ndarray, num_states: int) -> np.ndarray:
    """Return what an agent of ``MarkovSignal-v0`` says of each frame, ``int64[N, T]``, one frame at a time.

    Guesses have no influence on what is shown, so that signals need not come from an environment.
    """
    guesses = np.empty(signals.shape[:2], dtype=np.int64)
    state, episode_start = None, np.ones(len(signals), dtype=bool)
    for step in range(signals.shape[1]):
        frames = np.ascontiguousarray(signals[:, step])
        action, state = agent.predict(frames, state=state, episode_start=episode_start, deterministic=True)
        guesses[:, step] = discrete_actions(action, len(signals), num_states)
        episode_start = np.zeros(len(signals), dtype=bool)
    return guesses


def evaluate(agent: Any, task: str, seed: int, protocol: Protocol = PROTOCOL) -> Outcome:
    """Score an agent's guesses, which are numbers of hidden states."""
    signals, states = held_out_signals(task, protocol)
    return _outcome(task, online_guesses(agent, signals, signal_law(task).num_states), states)


def _outcome(task: str, guesses: np.ndarray, states: np.ndarray, sampled: np.ndarray | None = None) -> Outcome:
    """Return the scores of guesses ``int64[N, T]`` (-1: none), and of those along sampled paths."""
    outcomes = {}
    for name, said in (("accuracy", guesses), ("sampled_accuracy", sampled)):
        if said is not None:
            outcomes[name] = (said == states).mean(axis=1).tolist()
            # Guesses are made online: the first frames of a sequence are a shorter sequence.
            outcomes[f"{name}_200"] = (said == states)[:, : settings.SHORT_LENGTH].mean(axis=1).tolist()
    frequency = np.bincount(guesses[guesses >= 0], minlength=NUM_STATES)
    stationary = signal_law(task).stationary
    l1 = np.abs(frequency[:NUM_STATES] / max(frequency.sum(), 1) - stationary).sum()
    return Outcome.of({**_scores(outcomes), "l1_encoded": float(l1)}, outcomes)


#: Scores by the columns of outcomes that they are the means of.
_MEANS = {
    "accuracy": "score",
    "sampled_accuracy": "sampled",
    "accuracy_200": "score_200",
    "sampled_accuracy_200": "sampled_200",
}


def _scores(outcomes: Mapping[str, list]) -> dict[str, float]:
    of = {name: outcomes[column] for column, name in _MEANS.items() if column in outcomes}
    scores = {name: float(np.mean(accuracies)) for name, accuracies in of.items()}
    if "accuracy_200" in outcomes:  # older results have neither these columns nor standard deviations
        scores |= {f"{name}_sd": float(np.std(accuracies, ddof=1)) for name, accuracies in of.items()}
    return scores


def rescore(task: str, seed: int, outcomes: Mapping[str, list], protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this suite.
    """
    columns = {"accuracy", *(set(outcomes) & set(_MEANS))}
    check_columns(task, outcomes, columns, protocol.test_sequences)
    return _scores(outcomes)


@functools.cache
def ceilings(task: str) -> dict[str, float]:
    """Return what no agent exceeds: the accuracy of the true law's smoother on the test signals, and room for luck.

    It is the best on average. Where it is unsure, others can be luckier, by less than 0.001 of all frames.
    """
    signals, states = held_out_signals(task, PROTOCOL)
    right = smooth_states(signal_law(task), signals) == states
    most, of_200 = float(right.mean()) + 0.001, float(right[:, : settings.SHORT_LENGTH].mean()) + 0.0025
    return {"score": most, "sampled": most, "score_200": of_200, "sampled_200": of_200}


def train(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Outcome:
    """Train one model, from its checkpoint if there is one, and score it; or compute a reference."""
    if "model" not in spec.settings:
        return without_training(monitor, "updates", lambda: _reference(spec, protocol))
    import torch as th

    from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
    from bisimgym.baselines.langevin.training import DivergedError

    seen, truth = training_signals(spec.task, spec.seed, spec.settings["sequences"])
    model = NeuralLangevinDynamics(**spec.settings["model"], seed=spec.seed, device=device)
    fitting = _fitting(spec)
    updates = fitting["updates"]
    every = max(updates // spec.settings["evaluations"], 1)
    checkpoint = Path(monitor.checkpoint, "training.pt")
    pending = checkpoint.with_name("pending.pt")
    last: dict[str, float] = {}
    diverged = False

    def fit(reached: Reached) -> None:
        def on_update(update: int, record: Mapping[str, float]) -> None:
            last.update(record)
            if update % every == 0 or update == updates:  # where fit() writes its state
                reached(update)
            else:
                monitor.progress(update, updates)

        nonlocal diverged
        try:
            model.fit(seen, **fitting, checkpoint_path=pending, checkpoint_every=every, callback=on_update)
        except DivergedError:
            diverged = True

    def save() -> None:
        if pending.exists():  # training that diverged has written none
            stamp(monitor, pending)
            pending.replace(checkpoint)

    def evaluate_so_far() -> Outcome:
        outcome = _scored(model, spec, seen, truth, protocol, complete=False)
        shown = {name: last[name] for name in ("loss", "kl", "beta") if np.isfinite(last[name])}
        return Outcome(outcome.score, {**outcome.scores, **shown}, outcome.outcomes)

    def complete(_: Sequence[float]) -> Outcome:
        if not diverged:
            return _scored(model, spec, seen, truth, protocol, complete=True)
        # A failed seed counts, with what one knows without a model.
        states = held_out_signals(spec.task, protocol)[1]
        outcome = _outcome(spec.task, np.full_like(states, signal_law(spec.task).stationary.argmax()), states)
        return Outcome(outcome.score, {**outcome.scores, "failed": 1.0}, outcome.outcomes)

    done = from_checkpoint(monitor, checkpoint, lambda file: len(th.load(file, weights_only=True)["records"])) or 0
    # fit() writes before the curve has its row: that file becomes the checkpoint afterwards.
    pending.parent.mkdir(exist_ok=True)
    pending.unlink(missing_ok=True)
    if done:
        shutil.copyfile(checkpoint, pending)
    outcome = train_with_evaluations(
        monitor,
        "updates",
        done=done,
        total=updates,
        every=every,
        train=fit,
        evaluate=evaluate_so_far,
        complete=complete,
        save=save,
    )
    pending.unlink(missing_ok=True)
    if not diverged:
        model.save(checkpoint.with_name("model.pt"))
        if protocol.pictures is not None:
            _draw(model, spec.task, monitor.pictures, protocol.pictures)
    return outcome


def _fitting(spec: Spec) -> dict[str, Any]:
    """Return the arguments of ``fit``."""
    return {**spec.settings["fit"], **{key: spec.settings[key] for key in ("path_weight",) if key in spec.settings}}


def _draw(model: Any, task: str, folder: Path, detail: Detail) -> None:
    from bisimgym.benchmarks.suites.figures import write_figures
    from bisimgym.benchmarks.suites.markov import pictures

    try:
        figures = pictures.figures(model, task, detail=detail)
    except ValueError as error:  # a model can have too few wells to show; its scores are no worse known for that
        warnings.warn(f"{folder} has no pictures: {error}", RuntimeWarning, stacklevel=2)
    else:
        folder.mkdir(exist_ok=True)
        list(write_figures(figures, folder))


def _reference(spec: Spec, protocol: Protocol) -> Outcome:
    from bisimgym.baselines.langevin.segmentation import best_permutation, matched_states
    from bisimgym.benchmarks.suites.markov.comparators import KMeansStates, fitted_law

    law = signal_law(spec.task)
    signals, states = held_out_signals(spec.task, protocol)
    true_law = {"exact-filter": filter_states, "smoother": smooth_states, "frame-map": frame_states}
    if spec.method in true_law:
        return _outcome(spec.task, true_law[spec.method](law, signals), states)
    if spec.method == "always-uniform":
        guesses = np.random.default_rng(spec.seed).integers(NUM_STATES, size=states.shape)
        return _outcome(spec.task, guesses, states)
    seen, truth = training_signals(spec.task, spec.seed, protocol.comparator_sequences)
    if spec.method == "k-means":
        clusters = KMeansStates(seen, NUM_STATES, spec.seed).states
    else:
        clusters = functools.partial(filter_states, fitted_law(seen, NUM_STATES, spec.seed))
    matching = best_permutation(clusters(seen), truth, NUM_STATES, NUM_STATES)
    return _outcome(spec.task, matched_states(clusters(signals), matching), states)


def _scored(model: Any, spec: Spec, seen: np.ndarray, truth: np.ndarray, protocol: Protocol, complete: bool) -> Outcome:
    """Return the scores of a model: all of them, or only the accuracy without noise."""
    from bisimgym.baselines.langevin.segmentation import accuracy_by_lag, best_permutation, matched_states
    from bisimgym.benchmarks.suites.markov import analysis

    signals, states = held_out_signals(spec.task, protocol)
    encoded = model.encode(seen[: protocol.naming_sequences]).positions
    regions = analysis.find_regions(model, encoded, spec.seed)
    wells, named = len(regions.centers), truth[: protocol.naming_sequences]
    matching = best_permutation(regions.labels(encoded), named, wells, NUM_STATES)
    labels = regions.labels(model.encode(signals).positions)
    if not complete:
        return _outcome(spec.task, matched_states(labels, matching), states)
    paths = model.encode(signals, sample=True, seed=spec.seed).positions
    sampled = matched_states(regions.labels(paths), matching)
    outcome = _outcome(spec.task, matched_states(labels, matching), states, sampled)
    scores = {
        **outcome.scores,
        "wells": float(wells),
        "failed": float(wells != NUM_STATES),
        "lag": float(accuracy_by_lag(labels, states, matching).argmax()),
        **analysis.occupancy(model, regions, matching, seen, spec.task, spec.seed, protocol),
    }
    if model.beta is not None:
        scores["beta"] = model.beta
    return Outcome(outcome.score, scores, outcome.outcomes)


def more_settings(settings: Mapping[str, Any]) -> dict[str, Further]:
    """Return what can be set beside what methods store: the path weight, and all of a model and of its training."""
    if "model" not in settings:
        return {}
    from bisimgym.baselines.langevin.settings import ModelSettings, TrainingSettings

    found = {"path_weight": Further(TrainingSettings.path_weight, {float})}
    for part, kind, without in (("model", ModelSettings, {"data_dim"}), ("fit", TrainingSettings, {"path_weight"})):
        of_part = further_settings(kind, get_type_hints(kind), without=without)
        found |= {f"{part}.{name}": setting for name, setting in of_part.items()}
    return found


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    if "model" not in spec.settings:
        return
    check_least(spec.settings, sequences=1, evaluations=1)
    from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
    from bisimgym.baselines.langevin.settings import TrainingSettings

    NeuralLangevinDynamics(**spec.settings["model"])
    TrainingSettings(**_fitting(spec))


SUITE = Suite(
    name="markov",
    version=1,
    title="Markov signals",
    description=(
        "Find the three hidden states of a noisy signal without labels: guesses are made online, and wells "
        "or clusters are given the names of states by one matching on the training signals."
    ),
    score_name="hidden states guessed",
    percent=True,
    x_name="updates",
    tasks=settings.TASKS,
    methods=settings.METHODS,
    presets=settings.PRESETS,
    measures=settings.MEASURES,
    published=settings.PUBLISHED,
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    further_settings=more_settings,
    rescore=rescore,
    env_ids=lambda task: ["bisimgym/MarkovSignal-v0"],
    bounds=(0.0, 1.0),
    columns=dict.fromkeys(_MEANS, (0.0, 1.0)),
    ceilings=ceilings,
    anchored=lambda task: (1 / NUM_STATES, ceilings(task)["score"]),
)
