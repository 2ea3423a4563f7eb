"""Speed of the exact metrics, beside a straightforward reference timed in the same run.

Where the reference would take hours, a part of it is timed and the rest computed: so many pairs, so many sweeps.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

from bisimgym.baselines import metrics
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.speed import metric_reference
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.jumping.env import jumping_union
from bisimgym.envs.jumping.grids import ALL_TASKS
from bisimgym.envs.toy_mdps import garnet, grid_world

DISCOUNT, TOLERANCE = 0.99, 1e-6
_QUIET = {"tolerance": TOLERANCE, "progress": False}
_TRAJECTORY_DISCOUNT = 0.999


def measure(console: Console, scale: float = 1.0) -> dict[str, Any]:
    """Measure, print a table and return the figures.

    Args:
        console: where the table goes.
        scale: sizes of the processes, relative to the standard ones; for trying out.
    """
    figures: dict[str, Any] = {"machine": {"processor": machine.processor(), "cores": machine.cores()}}
    figures["versions"] = machine.versions()
    figures["settings"] = {"discount": DISCOUNT, "tolerance": TOLERANCE, "scale": scale}
    figures["rows"] = rows = []
    with console.status("") as status:
        for part in (_trajectories, _deterministic, _weighted, _independent, _stochastic):
            status.update(f"measuring: {part.__name__.lstrip('_')}")
            for row in part(scale):
                rows.append(row)
                row["times_faster"] = row["reference_seconds"] / row["seconds"]
        status.update("measuring: memory")
        figures["memory"] = _in_fresh_process(scale)
    console.print(_table(figures).terminal())
    memory = figures["memory"]
    console.print(
        f"PSM of all {memory['states']:,} states that optimal policies visit in {memory['tasks']} jumping tasks: "
        f"{memory['seconds']:.1f} s, {memory['peak_gib']:.2f} GiB at most ({memory['result_gib']:.2f} are the result)"
    )
    return figures


def _table(figures: dict[str, Any]) -> FigureTable:
    lines = [
        [
            row["what"],
            row["reference"],
            f"{row['seconds']:.3g}",
            f"{row['reference_seconds']:,.3g}",
            f"{row['times_faster']:,.0f}" if row["times_faster"] >= 10 else f"{row['times_faster']:.2g}",
        ]
        for row in figures["rows"]
    ]
    heads = ["what", "reference", "seconds", "the reference's", "times faster"]
    return FigureTable("Exact metrics against plain fixed-point iteration", heads, lines, texts=2)


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures of :func:`measure` as a Markdown table."""
    return _table(figures).markdown()


def _timed(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Return the seconds of one call, the least of several, and what the last returned."""
    best, result = np.inf, None
    for _ in range(repeats):
        result = None  # frees its memory for the next call
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def _row(what: str, seconds: float, reference: str, reference_seconds: float) -> dict[str, Any]:
    return {"what": what, "seconds": seconds, "reference": reference, "reference_seconds": reference_seconds}


def jumping_actions(num_tasks: int) -> np.ndarray:
    """Return the optimal actions of the first jumping tasks, ``int64[num_tasks, 56]``."""
    actions = np.zeros((num_tasks, 56), dtype=np.int64)
    for row, (position, _) in zip(actions, ALL_TASKS[:num_tasks], strict=True):
        row[position - 14] = 1
    return actions


def trajectory_chain(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return trajectories as one process, ``int64[N * L, 2]`` next states, and their policy ``float64[N * L, 2]``.

    Every state leads to the next of its trajectory, the last to itself.
    """
    tasks, length = actions.shape
    following = np.arange(tasks * length).reshape(tasks, length) + 1
    following[:, -1] -= 1
    return np.repeat(following.reshape(-1, 1), 2, axis=1), np.eye(2)[actions.ravel()]


def class_distances(transition: np.ndarray, policy: np.ndarray, discount: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the PSM of a deterministic chain as classes ``int64[S]`` and distances between classes."""
    classes, first = metrics.equivalence_classes(transition, policy)
    return classes, metrics.policy_similarity(transition, policy, discount, rows=first, columns=first, **_QUIET)


def _trajectories(scale: float) -> list[dict[str, Any]]:
    tasks = max(2, int(len(ALL_TASKS) * scale))
    actions = jumping_actions(tasks)
    rng = np.random.default_rng(0)
    pairs = rng.integers(tasks, size=(40, 2))
    costs = [metrics.policy_cost(actions[i], actions[j]) for i, j in pairs]
    arrays = _timed(lambda: [metric_reference.trajectory_arrays(c, _TRAJECTORY_DISCOUNT) for c in costs])[0] / len(
        costs
    )
    few = [c.tolist() for c in costs[:6]]
    loops = _timed(lambda: [metric_reference.trajectory_loops(c, _TRAJECTORY_DISCOUNT) for c in few])[0] / len(few)
    transition, policy = trajectory_chain(actions)
    _, (classes, small) = _timed(lambda: class_distances(transition, policy, _TRAJECTORY_DISCOUNT))
    compact = _timed(lambda: class_distances(transition, policy, _TRAJECTORY_DISCOUNT), 5)[0]
    whole, distance = _timed(lambda: metrics.policy_similarity(transition, policy, _TRAJECTORY_DISCOUNT, **_QUIET), 2)
    for (i, j), cost in zip(pairs, costs, strict=True):  # all three say the same
        block = np.s_[56 * i : 56 * (i + 1)], np.s_[56 * j : 56 * (j + 1)]
        exact = metric_reference.trajectory_arrays(cost, _TRAJECTORY_DISCOUNT)
        np.testing.assert_allclose(distance[block], exact, atol=TOLERANCE)
        np.testing.assert_allclose(small[classes[block[0]][:, None], classes[block[1]]], exact, atol=TOLERANCE)
    del distance, small
    fill = _timed(lambda: np.full((len(transition), len(transition)), 1.0), 2)[0]
    name = f"PSM, {tasks} x {tasks} trajectories"
    rows = []
    for form, seconds in (("as classes", compact), ("in full", whole)):
        for reference, one in (("loops in Python", loops), ("numpy per pair", arrays)):
            rows.append(_row(f"{name}, {form}", seconds, reference, one * tasks**2))
    rows.append(_row(f"{name}, in full", whole, "filling such an array", fill))
    return rows


def _bisimulation_row(name: str, mdp: FiniteMDP) -> dict[str, Any]:
    seconds, _ = _timed(lambda: metrics.bisimulation(mdp.transition, mdp.reward, DISCOUNT, **_QUIET), 2)
    costs = np.abs(mdp.reward.T[:, :, None] - mdp.reward.T[:, None, :])
    sweeps = metric_reference.sweeps_needed(costs.max(), DISCOUNT, TOLERANCE)
    distance = np.zeros(costs.shape[1:])
    one, _ = _timed(lambda: metric_reference.deterministic_sweep(distance, mdp.transition, costs, DISCOUNT), 5)
    what = f"bisimulation, {name}, S = {mdp.num_states}, A = {mdp.num_actions}"
    return _row(what, seconds, f"{sweeps} sweeps", one * sweeps)


def _deterministic(scale: float) -> list[dict[str, Any]]:
    states = int(2000 * scale)
    side = max(4, round((2000 * scale) ** 0.5))
    open_room = [" " * side] * (side - 1) + [" " * (side - 1) + "G"]
    tasks = jumping_union([(p, 10) for p in range(20, 20 + max(1, round(4 * scale)))])
    return [
        _bisimulation_row("random deterministic", garnet(states, 4, 1, np.random.default_rng(0))),
        _bisimulation_row("open room with a goal", grid_world(open_room)),
        _bisimulation_row("jumping tasks", tasks),
    ]


def _weighted(scale: float) -> list[dict[str, Any]]:
    states = int(1000 * scale)
    rng = np.random.default_rng(0)
    mdp = garnet(states, 4, 1, rng)
    points = rng.random((states, 2))
    cost = np.abs(points[:, None] - points[None]).sum(axis=2)
    seconds, _ = _timed(lambda: metrics.recursive_similarity(mdp.transition, cost, DISCOUNT, **_QUIET), 2)
    sweeps = metric_reference.sweeps_needed(cost.max(), DISCOUNT, TOLERANCE)
    one, _ = _timed(lambda: metric_reference.mean_sweep(cost, mdp.transition, cost, DISCOUNT), 5)
    what = f"recursive similarity (mean), random deterministic, S = {states}, A = 4"
    return [_row(what, seconds, f"{sweeps} sweeps", one * sweeps)]


def _independent(scale: float) -> list[dict[str, Any]]:
    states = int(1000 * scale)
    mdp = garnet(states, 4, 5, np.random.default_rng(0))
    policy = np.full((states, 4), 0.25)
    seconds, _ = _timed(lambda: metrics.mico(mdp.transition, mdp.reward, policy, DISCOUNT, **_QUIET), 2)
    mean = mdp.reward.mean(axis=1)
    cost, probabilities = np.abs(mean[:, None] - mean), mdp.transition.mean(axis=1)
    sweeps = metric_reference.sweeps_needed(cost.max(), DISCOUNT, TOLERANCE)
    one, _ = _timed(lambda: metric_reference.independent_sweep(cost, probabilities, cost, DISCOUNT), 5)
    return [_row(f"MICo, Garnet, S = {states}", seconds, f"{sweeps} sweeps", one * sweeps)]


def _stochastic(scale: float) -> list[dict[str, Any]]:
    states, branching = max(6, int(100 * scale)), 5
    mdp = garnet(states, 4, branching, np.random.default_rng(0))
    metrics.wasserstein(np.ones(1), np.ones(1), np.zeros((1, 1)))  # imports POT
    what = f"bisimulation, Garnet, S = {states}, A = 4, branching {branching}"
    seconds, distance = _timed(lambda: metrics.bisimulation(mdp.transition, mdp.reward, DISCOUNT, **_QUIET), 2)
    rng = np.random.default_rng(0)
    sample = [(*rng.choice(states, 2, replace=False), rng.integers(4)) for _ in range(100)]
    programmes, _ = _timed(
        lambda: [
            metric_reference.transport_by_programme(mdp.transition[x, a], mdp.transition[y, a], distance)
            for x, y, a in sample
        ]
    )
    sweeps = metric_reference.sweeps_needed(float(np.ptp(mdp.reward, axis=0).max()), DISCOUNT, TOLERANCE)
    per_sweep = programmes / len(sample) * 4 * states * (states - 1) / 2
    reference = f"{sweeps} sweeps of linear programmes"
    operator = metrics.bisimulation_operator(mdp.transition, mdp.reward, DISCOUNT)
    one_application, _ = _timed(lambda: operator(distance), 2)
    return [
        _row(what, seconds, reference, per_sweep * sweeps),
        _row("one sweep of the same", one_application, "linear programmes", per_sweep),
    ]


def _in_fresh_process(scale: float) -> dict[str, Any]:
    """Return time and peak memory of the largest case, in a process of its own, which has used nothing before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_large_union, (max(2, int(len(ALL_TASKS) * scale)),))


def _large_union(num_tasks: int) -> dict[str, Any]:
    mdp = jumping_union(ALL_TASKS[:num_tasks])
    policy = mdp.optimal_policy(discount=1.0)
    seen = mdp.reachable_states(policy=policy)
    seconds, distance = _timed(
        lambda: metrics.policy_similarity(mdp.transition, policy, DISCOUNT, rows=seen, columns=seen, **_QUIET)
    )
    return {
        "tasks": num_tasks,
        "states": len(seen),
        "seconds": seconds,
        "result_gib": distance.nbytes / 2**30,
        "peak_gib": machine.peak_memory() / 2**30,
    }
