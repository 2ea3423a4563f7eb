"""The markov suite: find the hidden states of signals without being told of them.

Source: Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics", arXiv:2211.09537, whose emissions
and second chain are not published: here is the same task with ones of our own, so that accuracies compare with the
exact filter's on the same signals, and not number by number with the paper's.
"""

from __future__ import annotations

import copy
import functools
import warnings
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
)
from bisimgym.envs.markov_signal import sample_signals, signal_law
from bisimgym.envs.markov_signal.filters import filter_states, frame_states, smooth_states

PAPER = "Koop et al. (2022)"
NUM_STATES = 3
#: Agents are tested on so many sequences of so many frames, the same for all runs.
TEST_SEQUENCES, TEST_LENGTH, TEST_SEED = 500, 500, 1_000_000
#: Frames of the signals that are learned from, as in the paper.
TRAINING_LENGTH = 200
#: Sequences of the training data that wells are found in and named by.
NAMING_SEQUENCES = 200
#: Simulated chains: how many, how many frames, how many of these are left out, and how far apart the counted ones are.
CHAINS, CHAIN_LENGTH, CHAIN_WARM_UP, CHAIN_STRIDE = 2000, 1000, 200, 20
#: How often an encoded frame counts as a draw from the law at rest in the second refit: once in ten frames, about the
#: time in which the chains forget (13 frames).
STATIONARITY = 0.1
#: The sampler of exp(-beta E), and cells of the quadrature along each axis.
SAMPLER, CELLS = {"num_chains": 1000, "warm_up": 500, "num_steps": 2000}, 300

TASKS = {
    "uniform": Task(
        "Uniform chain",
        "Three hidden states, each as frequent, that last 20 frames; 15-dimensional Gaussian signals",
        published_note=f"{PAPER} keep the best five of a larger set of models; here all seeds count.",
    ),
    "skewed": Task(
        "Skewed chain",
        "The same with states of frequency 0.45, 0.35 and 0.20",
        published_note=(
            f"The chain of {PAPER} is not published, only its stationary law: this one is ours. They keep the best "
            "five of a larger set of models, test on sequences of 200 frames, and give no overdamped result."
        ),
    ),
}


def _learned(description: str, dynamics: str, model: Mapping[str, Any] | None = None, **fit: Any) -> Method:
    return Method(
        description,
        {
            "model": {"dynamics": dynamics, "latent_dim": 2, "substeps": 1, **(model or {})},
            "fit": {"batch_size": 64, "learning_rate": 6e-3, "curvature_penalty": 0.0, "weight_average": 0.995, **fit},
        },
    )


METHODS = {
    "nld-overdamped": _learned(
        "Neural Langevin dynamics, overdamped: the drift is the gradient of an energy", "overdamped"
    ),
    "nld-underdamped": _learned("Neural Langevin dynamics with momenta and friction", "underdamped"),
    "nsde": _learned("A neural SDE with any drift; its states are three clusters of its paths", "general"),
    "exact-filter": Method(
        "The forward filter of the true law: no online method is better on average", {}, trains=False
    ),
    "smoother": Method("The true law's smoother, which sees the future too", {}, trains=False),
    "frame-map": Method("The most probable state of each frame by itself, by the true law", {}, trains=False),
    "gmm-hmm": Method(
        "A hidden Markov model with Gaussian emissions, fitted by EM without the truth; its filter", {}, trains=False
    ),
    "k-means": Method("Three clusters of frames, without memory", {}, trains=False),
    "always-uniform": Method(
        "Guesses every state as often, whatever it sees: what an occupancy error must beat", {}, trains=False
    ),
}

PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {"sequences": 64, "evaluations": 1, "fit": {"updates": 20, "long_updates": 5, "kl_warm_up": 5, "warm_up": 5}},
    ),
    "short": Preset(
        "1200 updates: about a minute per run on one core",
        {"sequences": 1000, "evaluations": 4, "fit": {"updates": 1200, "long_updates": 500}},
    ),
}

_ESTIMATES = {
    "encoded": "of encoded test signals",
    "sampling": "of samples of exp(-beta E), the paper's estimate (a)",
    "order0": "by the depths of the wells, the paper's estimate (b)",
    "order2": "by depths and curvatures of the wells, the paper's estimate (c)",
    "quadrature": "by quadrature of exp(-beta E), exact for the energy",
    "chain": "of the simulated prior chain, one step per frame as it was trained",
    "refit_order2": "by depths and curvatures, after energy and beta are refitted to the encoded paths",
    "refit_quadrature": "by quadrature, after the refit",
    "refit_chain": "of the simulated chain of the refitted energy and beta",
    "stationary_order2": "by depths and curvatures, after a refit where every tenth frame is a draw from exp(-beta E)",
    "stationary_quadrature": "by quadrature, after the refit with draws from exp(-beta E)",
    "stationary_chain": "of the simulated chain, after the refit with draws from exp(-beta E)",
}
#: Of these, what tables of results show; pages show all.
_SHOWN = ("encoded", "order2", "stationary_quadrature")

MEASURES = {
    "sampled": Measure("sampled path", "Accuracy along paths drawn from the posterior, as in the paper"),
    "wells": Measure("wells", "Minima of the energy that hold at least 2 % of the encoded frames", False, False),
    "failed": Measure("failed", "Share of seeds whose training diverged, or that found another number of wells than 3"),
    **{
        f"l1_{name}": Measure(
            f"l1 {name.replace('_', ' ')}",
            f"Error of the occupancy of states, sum |w - pi|, {how}",
            in_tables=name in _SHOWN,
            percent=False,
        )
        for name, how in _ESTIMATES.items()
    },
    "lag": Measure("lag", "Frames by which guesses come late: where their accuracy peaks", False, percent=False),
    "beta": Measure("beta", "Learned inverse temperature", False, percent=False),
    "refit_beta": Measure("refitted beta", "Inverse temperature after the refit", False, percent=False),
    "stationary_beta": Measure(
        "stationary beta", "Inverse temperature after the refit with draws from exp(-beta E)", False, percent=False
    ),
}


def _published() -> dict[tuple[str, str, str], Published]:
    spread = "std of the best five models"
    over, under = "nld-overdamped", "nld-underdamped"
    numbers = {
        ("uniform", over, "sampled"): (0.926, 0.006, "3"),
        ("uniform", under, "sampled"): (0.822, 0.056, "3"),
        ("skewed", under, "sampled"): (0.853, 0.011, "6"),
        ("uniform", over, "l1_sampling"): (0.047, 0.037, "1"),
        ("uniform", over, "l1_order0"): (0.051, 0.022, "1"),
        ("uniform", over, "l1_order2"): (0.040, 0.013, "1"),
        ("uniform", under, "l1_sampling"): (0.072, 0.068, "1"),
        ("uniform", under, "l1_order0"): (0.041, 0.029, "1"),
        ("uniform", under, "l1_order2"): (0.021, 0.0044, "1"),
        ("skewed", under, "l1_sampling"): (0.23, 0.040, "4"),
        ("skewed", under, "l1_order0"): (0.24, 0.049, "4"),
        ("skewed", under, "l1_order2"): (0.22, 0.0061, "4"),
    }
    return {
        key: Published(score, std, spread, f"{PAPER}, Table {table}") for key, (score, std, table) in numbers.items()
    }


@functools.cache
def test_signals(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Return ``float32[500, 500, 15]`` signals and ``int64[500, 500]`` hidden states, the same for all runs."""
    return sample_signals(signal_law(task), TEST_SEQUENCES, TEST_LENGTH, TEST_SEED)


def training_signals(task: str, seed: int, sequences: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the signals that a run learns from, ``float32[N, 200, 15]``, and their states, which only name wells."""
    return sample_signals(signal_law(task), sequences, TRAINING_LENGTH, seed)


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


def evaluate(agent: Any, task: str, seed: int) -> Outcome:
    """Score an agent's guesses, which are numbers of hidden states."""
    signals, states = test_signals(task)
    return _outcome(task, online_guesses(agent, signals, signal_law(task).num_states), states)


def _outcome(task: str, guesses: np.ndarray, states: np.ndarray, sampled: np.ndarray | None = None) -> Outcome:
    """Return the scores of guesses ``int64[N, T]`` (-1: none), and of those along sampled paths."""
    outcomes = {"accuracy": (guesses == states).mean(axis=1).tolist()}
    if sampled is not None:
        outcomes["sampled_accuracy"] = (sampled == states).mean(axis=1).tolist()
    scores = _scores(outcomes)
    frequency = np.bincount(guesses[guesses >= 0], minlength=NUM_STATES)
    stationary = signal_law(task).stationary
    l1 = np.abs(frequency[:NUM_STATES] / max(frequency.sum(), 1) - stationary).sum()
    return Outcome(scores.pop("score"), {**scores, "l1_encoded": float(l1)}, outcomes)


def _scores(outcomes: Mapping[str, list]) -> dict[str, float]:
    scores = {"score": float(np.mean(outcomes["accuracy"]))}
    if "sampled_accuracy" in outcomes:
        scores["sampled"] = float(np.mean(outcomes["sampled_accuracy"]))
    return scores


def rescore(task: str, seed: int, outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this suite.
    """
    names = set(outcomes)
    if not {"accuracy"} <= names <= {"accuracy", "sampled_accuracy"}:
        raise ValueError(f"outcomes of {task} are columns 'accuracy' and 'sampled_accuracy', got {sorted(names)}")
    if any(len(column) != TEST_SEQUENCES for column in outcomes.values()):
        raise ValueError(f"outcomes of {task} are of {TEST_SEQUENCES} sequences")
    return _scores(outcomes)


def train(spec: Spec, monitor: Monitor, device: str) -> Outcome:
    """Train one model, from its checkpoint if there is one, and score it; or compute a reference."""
    if "model" in spec.settings:
        return _langevin(spec, monitor, device)
    monitor.progress(0, 1)
    monitor.resume_curve("updates", 0)
    watch = Stopwatch(0.0)
    outcome = _reference(spec)
    monitor.log({"updates": 0, "score": outcome.score, **outcome.scores, "seconds": watch.seconds()})
    monitor.progress(1, 1)
    return outcome


def _reference(spec: Spec) -> Outcome:
    from bisimgym.baselines.langevin.segmentation import best_permutation, matched_states
    from bisimgym.benchmarks.suites.markov.comparators import GaussianMixtureHMM, KMeansStates

    law = signal_law(spec.task)
    signals, states = test_signals(spec.task)
    true_law = {"exact-filter": filter_states, "smoother": smooth_states, "frame-map": frame_states}
    if spec.method in true_law:
        return _outcome(spec.task, true_law[spec.method](law, signals), states)
    if spec.method == "always-uniform":
        guesses = np.random.default_rng(spec.seed).integers(NUM_STATES, size=states.shape)
        return _outcome(spec.task, guesses, states)
    seen, truth = training_signals(spec.task, spec.seed, 1000)
    if spec.method == "k-means":
        clusters = KMeansStates(NUM_STATES, spec.seed).fit(seen).states
    else:
        model = GaussianMixtureHMM(NUM_STATES, spec.seed)
        model.fit(seen)
        clusters = functools.partial(filter_states, model.law)
    matching = best_permutation(clusters(seen), truth, NUM_STATES, NUM_STATES)
    return _outcome(spec.task, matched_states(clusters(signals), matching), states)


def _langevin(spec: Spec, monitor: Monitor, device: str) -> Outcome:
    from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
    from bisimgym.baselines.langevin.training import DivergedError

    settings = dict(spec.settings)
    seen, truth = training_signals(spec.task, spec.seed, settings["sequences"])
    model = NeuralLangevinDynamics(**settings["model"], seed=spec.seed, device=device)
    updates = settings["fit"]["updates"]
    every = max(updates // settings["evaluations"], 1)
    checkpoint = Path(monitor.checkpoint, "training.pt")
    done = from_checkpoint(checkpoint, _finished_updates) or 0
    _, watch = resumed_curve(monitor, "updates", done, updates)

    def row(outcome: Outcome, update: int, record: Mapping[str, float]) -> dict[str, Any]:
        shown = {name: record[name] for name in ("loss", "kl", "beta") if np.isfinite(record[name])}
        return {"updates": update, "score": outcome.score, **outcome.scores, **shown, "seconds": watch.seconds()}

    def on_update(update: int, record: Mapping[str, float]) -> None:
        monitor.progress(update, updates)
        last.update(record)
        if update % every == 0 and update < updates:
            with watch.paused():
                monitor.log(row(_scored(model, spec, seen, truth, complete=False), update, record))

    last: dict[str, float] = {}
    monitor.progress(done, updates)
    try:
        model.fit(seen, **settings["fit"], checkpoint_path=checkpoint, checkpoint_every=every, callback=on_update)
    except DivergedError:  # a failed seed counts, with what one knows without a model
        states = test_signals(spec.task)[1]
        outcome = _outcome(spec.task, np.full_like(states, signal_law(spec.task).stationary.argmax()), states)
        failed = Outcome(outcome.score, {**outcome.scores, "failed": 1.0}, outcome.outcomes)
        monitor.log({"updates": updates, "score": failed.score, **failed.scores, "seconds": watch.seconds()})
        return failed
    seconds = watch.seconds()
    outcome = _scored(model, spec, seen, truth, complete=True)
    monitor.log({"updates": updates, "score": outcome.score, **outcome.scores, "seconds": seconds})
    monitor.progress(updates, updates)
    model.save(checkpoint.with_name("model.pt"))
    _draw(model, spec.task, monitor.pictures)
    return outcome


def _draw(model: Any, task: str, folder: Path) -> None:
    from bisimgym.benchmarks.suites.markov import pictures as langevin_pictures

    try:
        figures = langevin_pictures.figures(model, task)
    except ValueError as error:  # a model can have too few wells to show; its scores are no worse known for that
        warnings.warn(f"{folder} has no pictures: {error}", RuntimeWarning, stacklevel=2)
    else:
        folder.mkdir(exist_ok=True)
        for _ in langevin_pictures.write(figures, folder):
            pass


def _finished_updates(checkpoint: Path) -> int:
    import torch as th

    return len(th.load(checkpoint, weights_only=True)["records"])


def _scored(model: Any, spec: Spec, seen: np.ndarray, truth: np.ndarray, complete: bool) -> Outcome:
    """Return the scores of a model: all of them, or only the accuracy without noise."""
    from bisimgym.baselines.langevin.segmentation import accuracy_by_lag, best_permutation, matched_states

    signals, states = test_signals(spec.task)
    some, named = seen[:NAMING_SEQUENCES], truth[:NAMING_SEQUENCES]
    encoded = model.encode(some).positions
    cells = _cells(model, encoded, spec.seed)
    matching = best_permutation(cells.labels(encoded), named, cells.count, NUM_STATES)
    labels = cells.labels(model.encode(signals).positions)
    if not complete:
        return _outcome(spec.task, matched_states(labels, matching), states)
    sampled = matched_states(cells.labels(model.encode(signals, sample=True, seed=spec.seed).positions), matching)
    outcome = _outcome(spec.task, matched_states(labels, matching), states, sampled)
    lags = accuracy_by_lag(labels, states, matching)
    scores = {
        **outcome.scores,
        "wells": float(cells.count),
        "failed": float(cells.count != NUM_STATES),
        "lag": float(lags.argmax()),
        **_occupancy_errors(model, cells, matching, seen, spec),
    }
    if model.beta is not None:
        scores["beta"] = model.beta
    return Outcome(outcome.score, scores, outcome.outcomes)


class _Wells:
    """The wells of an energy as labels of positions."""

    def __init__(self, energy: Any, wells: Any):
        self.energy, self.wells = energy, wells

    @property
    def count(self) -> int:
        return len(self.wells)

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Return ``int64[...]`` wells of positions ``float[..., d]``, -1 for none."""
        from bisimgym.baselines.langevin.landscape import assign_wells

        flat = positions.reshape(-1, positions.shape[-1])
        return assign_wells(self.energy, self.wells, flat).reshape(positions.shape[:-1])


class _Clusters:
    """Three clusters of positions, for dynamics without an energy: their number is given, not found."""

    def __init__(self, positions: np.ndarray, seed: int):
        from bisimgym.benchmarks.suites.markov.comparators import KMeansStates

        self._means, self.count = KMeansStates(NUM_STATES, seed).fit(positions), NUM_STATES

    def labels(self, positions: np.ndarray) -> np.ndarray:
        return self._means.states(positions)


def _cells(model: Any, encoded: np.ndarray, seed: int) -> _Wells | _Clusters:
    """Return what cuts latent space into states, found on encoded paths ``float[N, T, d]``."""
    from bisimgym.baselines.langevin.landscape import find_wells

    if model.energy is None:
        return _Clusters(encoded, seed)
    return _Wells(model.energy, find_wells(model.energy, encoded.reshape(-1, encoded.shape[-1])))


def _occupancy_errors(
    model: Any, cells: Any, matching: np.ndarray, signals: np.ndarray, spec: Spec
) -> dict[str, float]:
    """Return the l1 errors of all estimates of how much time is spent in each state, but that of encoded signals."""
    from bisimgym.baselines.langevin.occupancy import (
        empirical_weights,
        laplace_weights,
        matched_l1,
        quadrature_weights,
        sampled_weights,
    )
    from bisimgym.baselines.langevin.segmentation import best_permutation

    stationary = signal_law(spec.task).stationary
    encoded = model.encode(signals[:NAMING_SEQUENCES]).positions.reshape(-1, model.latent_dim)

    def chain(of: Any, cut: Any) -> np.ndarray:
        paths = of.sample(CHAINS, CHAIN_LENGTH, seed=spec.seed).positions[:, CHAIN_WARM_UP::CHAIN_STRIDE]
        return empirical_weights(cut.labels(paths), cut.count)

    if cells.count == 0:
        return {}
    weights = {"chain": chain(model, cells)}
    if model.energy is None:
        return {f"l1_{name}": matched_l1(w, stationary, matching) for name, w in weights.items()}
    wells = cells.wells
    weights |= {
        "order0": laplace_weights(wells, model.beta, order=0),
        "order2": laplace_weights(wells, model.beta),
        "quadrature": quadrature_weights(model.energy, model.beta, wells, CELLS).weights,
        "sampling": sampled_weights(model.energy, model.beta, wells, encoded, spec.seed, **SAMPLER).weights,
    }
    errors = {f"l1_{name}": matched_l1(w, stationary, matching) for name, w in weights.items()}
    if model.settings["substeps"] > 1:  # what the control does within a frame is not part of a path
        return errors
    paths = model.encode(signals, sample=True, seed=spec.seed)
    before = cells.labels(encoded)
    known = before >= 0
    for kind, stationarity in (("refit", 0.0), ("stationary", STATIONARITY)):
        refitted = _refitted(model, paths, stationarity)
        errors[f"{kind}_beta"] = refitted.beta
        recut = _cells(refitted, encoded[None], spec.seed)
        if recut.count == 0:
            continue
        # The refit moves wells: they are those of the states whose frames flow into them.
        after = recut.labels(encoded)
        rematching = best_permutation(after[None, known], before[None, known], recut.count, cells.count)
        rematching = np.where(matching >= 0, np.append(rematching, -1)[matching], -1)
        found = {
            "order2": laplace_weights(recut.wells, refitted.beta),
            "quadrature": quadrature_weights(refitted.energy, refitted.beta, recut.wells, CELLS).weights,
            "chain": chain(refitted, recut),
        }
        errors |= {f"l1_{kind}_{name}": matched_l1(w, stationary, rematching) for name, w in found.items()}
    return errors


def _refitted(model: Any, paths: Any, stationarity: float) -> Any:
    """Return a copy of a model with the energy and beta that sampled paths are most likely under."""
    import torch as th

    from bisimgym.baselines.langevin.energy import inverse_softplus
    from bisimgym.baselines.langevin.refit import refit, refit_underdamped

    step, friction = model.settings["step"], model.friction
    if paths.momenta is None:
        energy, beta = refit(model.energy, paths.positions, step, friction, stationarity=stationarity)
    else:
        states = (paths.positions, paths.momenta)
        energy, beta = refit_underdamped(model.energy, *states, step, friction, model.mass, stationarity=stationarity)
    refitted = copy.deepcopy(model)
    refitted.dynamics.energy = energy
    with th.no_grad():
        refitted.dynamics.raw_beta.copy_(inverse_softplus(beta, "beta"))
    return refitted


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    settings = spec.settings
    if "model" not in settings:
        return
    for name in ("sequences", "evaluations"):
        if settings[name] < 1:
            raise ValueError(f"{name} must be at least 1, got {settings[name]}")
    from bisimgym.baselines.langevin.model import NeuralLangevinDynamics

    NeuralLangevinDynamics(**settings["model"])


SUITE = Suite(
    name="markov",
    version=1,
    title="Markov signals",
    description=(
        "Find the three hidden states of a noisy signal without being told of them: guesses are made online, and wells "
        "or clusters are given the names of states by one matching on the training signals."
    ),
    score_name="hidden states guessed",
    percent=True,
    lower_is_better=False,
    x_name="updates",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    published=_published(),
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    rescore=rescore,
)
