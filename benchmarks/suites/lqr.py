"""The lqr suite: learn linear-quadratic control on two systems, and control one with distractors never seen.

Source of tasks, methods and published numbers: Agarwal et al. (2021), section 6.1, appendix H and Table H.1. Where the
paper is silent: matrices are drawn as in ``irom-lab/Invariant-Policy-Optimization``, coefficients are ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites.base import (
    Bounds,
    Measure,
    Method,
    Monitor,
    Outcome,
    Preset,
    Published,
    Spec,
    Suite,
    Task,
)
from bisimgym.benchmarks.suites.checks import check_columns, check_least
from bisimgym.benchmarks.suites.further_settings import Further
from bisimgym.benchmarks.suites.lqr_systems import (
    PROTOCOL,
    TRAINED,
    Protocol,
    env_arguments,
    no_force_error,
    oracle_cost,
    played_cost,
    systems,
    training_envs,
)
from bisimgym.benchmarks.suites.training import (
    Reached,
    from_checkpoint,
    save_whole,
    train_seeds_with_evaluations,
    without_training,
)
from bisimgym.envs.lqr import LQRSystem, infinite_horizon_cost, riccati
from bisimgym.envs.lqr.system import ENTRIES, STATE_DIM

#: A cost above this counts as this, an infinite one too: one lost system should not decide the mean of a hundred.
MOST_COST = 1000.0


TASKS = {
    str(count): Task(
        f"{count} distractors",
        f"Observe 20 quiet features that stay and {count} loud ones that change with the system; learn on two systems",
    )
    for count in (500, 1000, 10_000)
}


def _two_layers(description: str, **settings: Any) -> Method:
    base = {
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "width": 200,
        "init_scale": 1e-3,
        "l1_coefficient": 0.0,
        "psm_coefficient": 0.0,
    }
    return Method(description, {**base, **settings})


METHODS = {
    "overparametrized": _two_layers("K = K2 K1 with 200 hidden units, trained by the cost alone"),
    "ipo": Method(
        "Invariant policy optimization: the mean of two policies, each trained on its own system",
        {"optimizer": "adam", "learning_rate": 5e-4},
    ),
    "l1": _two_layers("The same with a penalty on the l1 norm of K2 K1", l1_coefficient=10.0),
    "psm": _two_layers(
        "The same with PSM aggregation: K1 maps observations of one state, whose PSM is 0, to one point",
        psm_coefficient=1e5,
    ),
    "zero": Method("No force", {}, trains=False),
    "oracle": Method(
        "The gain that is optimal under all distractors: it reads the 20 features alone", {}, trains=False
    ),
}

PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {"iterations": 20, "evaluations": 2, "entries": "uniform"},
    ),
    "short": Preset("1500 iterations", {"iterations": 1500, "evaluations": 10, "entries": "uniform"}),
    "paper": Preset("The paper's 5000 iterations", {"iterations": 5000, "evaluations": 10, "entries": "uniform"}),
}

MEASURES = {
    "train_error": Measure("training error", "The same on the two systems that were learned from"),
    "invariant_norm": Measure(
        "invariant norm", "Frobenius norm of the gain on the 20 features that stay; 20.7 is the oracle's"
    ),
    "distractor_norm": Measure("distractor norm", "Frobenius norm of the gain on the distractors; 0 is the oracle's"),
    "unstable": Measure(
        "unstable",
        f"Share of systems, seen and unseen, whose cost is infinite or above {MOST_COST:g}, and counts as that",
        in_tables=False,
        bounds=(0.0, 1.0),
    ),
}

#: (mean, standard deviation) of 100 seeds with 500, 1000 and 10,000 distractors.
_TABLE_H1 = {
    "overparametrized": ((25.8, 1.5), (24.9, 1.1), (24.9, 0.4)),
    "ipo": ((32.6, 5.0), (27.3, 2.8), (24.8, 0.4)),
    "l1": ((28.2, 0.0), (28.2, 0.0), (28.2, 0.0)),
    "psm": ((0.03, 0.0), (0.03, 0.0), (0.02, 0.0)),
}
PUBLISHED = {
    (task, method, "score"): Published(mean, spread, "std of 100 runs", "Agarwal et al. (2021), Table H.1")
    for method, row in _TABLE_H1.items()
    for task, (mean, spread) in zip(TASKS, row, strict=True)
}
COLUMNS: dict[str, type | range | Bounds] = {"trained": bool, "cost": (0.0, MOST_COST)}


def evaluate(agent: Any, task: str, seed: int, protocol: Protocol = PROTOCOL) -> Outcome:
    """Score an agent by the mean cost of its episodes on the two training systems and on the unseen one."""
    costs = [played_cost(agent, arguments, protocol) for arguments in env_arguments(task, seed)]
    return _outcome(task, costs, {})


def _outcome(task: str, costs: Sequence[float], scores: Mapping[str, float]) -> Outcome:
    capped = [cost if cost < MOST_COST else MOST_COST for cost in costs]  # not a number counts as the most
    outcomes: dict[str, list] = {"trained": list(TRAINED), "cost": capped}
    return Outcome.of({**_scores(outcomes), **scores}, outcomes)


def _scores(outcomes: Mapping[str, list]) -> dict[str, float]:
    cost, trained = np.array(outcomes["cost"]), np.array(outcomes["trained"])
    error = np.abs(cost - oracle_cost())
    return {
        "score": float(error[~trained].mean()),
        "train_error": float(error[trained].mean()),
        "unstable": float((cost >= MOST_COST).mean()),
    }


def rescore(task: str, seed: int, outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of two systems to learn from and an unseen one.
    """
    check_columns(task, outcomes, COLUMNS, len(TRAINED))
    if outcomes["trained"] != list(TRAINED):
        raise ValueError(f"column 'trained' of {task} is {list(TRAINED)}, got {outcomes['trained']}")
    return _scores(outcomes)


def _scored(task: str, of: Sequence[LQRSystem], gain: np.ndarray) -> Outcome:
    """Score a gain K, ``float64[20, 20 + n_d]``, exactly."""
    if not np.isfinite(gain).all():  # diverged
        return _outcome(task, [MOST_COST] * len(of), {})
    norms = {
        "invariant_norm": float(np.linalg.norm(gain[:, :STATE_DIM])),
        "distractor_norm": float(np.linalg.norm(gain[:, STATE_DIM:])),
    }
    return _outcome(task, [infinite_horizon_cost(system, gain) for system in of], norms)


def _reference(spec: Spec) -> Outcome:
    of = systems(spec.task, spec.seed)
    gain = np.zeros((STATE_DIM, STATE_DIM + int(spec.task)))
    if spec.method == "oracle":
        gain[:, :STATE_DIM] = riccati(of[0])[1] @ np.linalg.inv(of[0].Wc)
    return _scored(spec.task, of, gain)


def seeds_together(spec: Spec) -> int:
    """Return how many seeds train fastest as one, measured on one core.

    A step of a small policy is mostly the time of starting some hundred operations, which all seeds share. A large one
    is best kept in the cache alone.
    """
    if not METHODS[spec.method].trains:
        return 1
    if int(spec.task) <= 1000:
        return 20
    return 5 if spec.method == "ipo" else 1


def make_policies(specs: Sequence[Spec], device: str) -> Any:
    """Return the :class:`~bisimgym.baselines.lqr.LinearPolicies` of runs that differ in their seed only."""
    from bisimgym.baselines.lqr import InvariantPolicies, TwoLayerPolicies

    settings = dict(specs[0].settings)
    entries = settings.pop("entries")
    seen = [systems(spec.task, spec.seed, entries)[: sum(TRAINED)] for spec in specs]
    for name in ("iterations", "evaluations"):
        del settings[name]
    kind = TwoLayerPolicies if "width" in settings else InvariantPolicies
    return kind(seen, [spec.seed for spec in specs], **settings, device=device)


def train_seeds(specs: Sequence[Spec], monitors: Sequence[Monitor], device: str) -> list[Outcome | UserError]:
    """Train the policies of runs that differ in their seed only side by side, from their checkpoints where there are.

    Each run gets the numbers that it gets alone, or the error of its own checkpoint. Those that were cut off at
    different places go on apart.
    """
    if not specs[0].settings:
        pairs = zip(specs, monitors, strict=True)
        return [without_training(monitor, "iterations", partial(_reference, spec)) for spec, monitor in pairs]
    outcomes: dict[int, Outcome | UserError] = {}
    states: dict[int, dict[int, Any]] = defaultdict(dict)  # by how much is done, and by run
    for i, monitor in enumerate(monitors):
        try:
            state = from_checkpoint(monitor, _checkpoint(monitor), _load)
        except UserError as error:
            outcomes[i] = error
        else:
            states[state["iterations"] if state else 0][i] = state
    for done, members in states.items():
        of = [specs[i] for i in members], [monitors[i] for i in members]
        policies = make_policies(of[0], device)
        if done:
            policies.restore(list(members.values()))
        outcomes |= dict(zip(members, _fit(policies, *of), strict=True))
    return [outcomes[i] for i in range(len(specs))]


def _fit(policies: Any, specs: Sequence[Spec], monitors: Sequence[Monitor]) -> Sequence[Outcome]:
    settings = specs[0].settings
    total, every = settings["iterations"], max(settings["iterations"] // settings["evaluations"], 1)
    of = [systems(spec.task, spec.seed, settings["entries"]) for spec in specs]

    def train(reached: Reached) -> None:
        while policies.iterations < total:
            done = policies.iterations
            policies.fit(min(25, every - done % every, total - done))  # progress every 25 iterations
            reached(policies.iterations)

    def evaluate_all() -> list[Outcome]:
        return [_scored(spec.task, *pair) for spec, *pair in zip(specs, of, policies.gains(), strict=True)]

    def save() -> None:
        for index, monitor in enumerate(monitors):
            save_whole(monitor, _Policy(policies, index), _checkpoint(monitor))

    return train_seeds_with_evaluations(
        monitors,
        "iterations",
        done=policies.iterations,
        total=total,
        every=every,
        train=train,
        evaluate=evaluate_all,
        save=save,
        from_start=True,
    )


def _checkpoint(monitor: Monitor) -> Path:
    return Path(monitor.checkpoint, "policy.pt")


@dataclass
class _Policy:
    """The policy of one seed, as :func:`save_whole` takes it."""

    policies: Any
    index: int

    def save(self, path: Path) -> None:
        import torch as th

        th.save(self.policies.state(self.index), path)


def _load(path: Path) -> dict[str, Any]:
    import torch as th

    return th.load(path, weights_only=True)


def train(spec: Spec, monitor: Monitor, device: str) -> Outcome:
    """Train one policy, from its checkpoint if there is one, or compute a reference, and score it."""
    (outcome,) = train_seeds([spec], [monitor], device)
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def more_settings(settings: Mapping[str, Any]) -> dict[str, Further]:
    """Return what can be set beside what methods store: the rate of the first layer on distractors."""
    return {"distractor_rate": Further(1.0, {float})} if "width" in settings else {}


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    from bisimgym.baselines.lqr import OPTIMIZERS

    check_least(spec.settings, iterations=1, evaluations=1, width=1)
    for name, known in (("optimizer", OPTIMIZERS), ("entries", ENTRIES)):
        if spec.settings.get(name, next(iter(known))) not in known:
            raise ValueError(f"{name} must be one of {sorted(known)}, got {spec.settings[name]!r}")
    for name in ("learning_rate", "init_scale"):
        if spec.settings.get(name, 1.0) <= 0:
            raise ValueError(f"{name} must be above 0, got {spec.settings[name]}")
    for name in ("l1_coefficient", "psm_coefficient", "distractor_rate"):
        if spec.settings.get(name, 0.0) < 0:
            raise ValueError(f"{name} must not be negative, got {spec.settings[name]}")


SUITE = Suite(
    name="lqr",
    version=1,
    title="LQR with distractors",
    description=(
        "Learn to bring a linear system to rest, from two systems whose distractors differ. The score is the cost on a "
        "system with distractors never seen, above the least cost of any policy (27.4); no force at all has 28.16."
    ),
    score_name="cost above the optimum",
    lower_is_better=True,
    bounds=(0.0, MOST_COST),
    x_name="iterations",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    published=PUBLISHED,
    train=train,
    seeds_together=seeds_together,
    train_seeds=train_seeds,
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    further_settings=more_settings,
    rescore=rescore,
    env_ids=lambda task: ["bisimgym/LQRDistractors-v0"],
    anchored=lambda task: (no_force_error(), 0.0),
    columns=COLUMNS,
)
