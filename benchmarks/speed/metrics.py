"""Speed of the exact metrics, beside a straightforward reference that takes turns with them.

The reference stops as soon as its last change shows that it is within the tolerance. Where it takes more than a minute,
a part of it is timed and the rest extrapolated, from so many pairs or sweeps; its rows say so beside the number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from bisimgym.baselines import metrics
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.speed import metric_reference as reference
from bisimgym.benchmarks.speed.harness import Figures, Part, medians, now, table
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.jumping import jumping_union
from bisimgym.envs.jumping.grids import ALL_TASKS
from bisimgym.envs.toy_mdps import garnet, grid_world

DISCOUNT, TOLERANCE = 0.99, 1e-6
#: At 0.99 the peer would need many more sweeps.
PEER_DISCOUNT = 0.95
_QUIET: dict[str, Any] = {"tolerance": TOLERANCE, "progress": False}
_PAIRS, _LOOPED_PAIRS, _PROGRAMS = 40, 6, 100
#: Seconds after which a plain iteration is cut off.
_PATIENCE = 60.0


def parts(seconds: float, scale: float = 1.0) -> Iterator[Part]:
    """Yield what is measured.

    Args:
        seconds: time for each comparison.
        scale: sizes of the processes, relative to the standard ones; for trying out.
    """
    for rows in (trajectories, deterministic, weighted, independent, stochastic):
        yield Part("rows", rows, (seconds, scale))
    yield Part("peer", beside_peer, (seconds, scale))
    yield Part("memory", large_union, (max(2, int(len(ALL_TASKS) * scale)),), fresh=True)


def _row(what: str, seconds: float, reference: str, reference_seconds: float, extrapolated: str = "") -> Figures:
    """Return a row; ``extrapolated`` says what the reference's seconds are extrapolated from, if they are."""
    return {
        "what": what,
        "seconds": seconds,
        "reference": reference,
        "reference_seconds": reference_seconds,
        "times_faster": reference_seconds / seconds,
        "extrapolated": extrapolated and f" (extrapolated from {extrapolated})",
    }


def _beside_sweeps(
    what: str, metric: Callable[[], Any], sweep: Callable[[np.ndarray], np.ndarray], states: int, seconds: float
) -> Figures:
    """Measure a metric, and the plain iteration of a sweep, once."""
    took = medians({"metric": metric}, seconds)["metric"]
    plain = reference.iterate_until(sweep, (states, states), DISCOUNT, TOLERANCE, _PATIENCE)
    extrapolated = f"{plain.sweeps} sweeps" if plain.sweeps < plain.needed else ""
    return _row(what, took, f"{plain.needed} sweeps", plain.seconds / plain.sweeps * plain.needed, extrapolated)


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
    next_states = np.arange(tasks * length).reshape(tasks, length) + 1
    next_states[:, -1] -= 1
    return np.repeat(next_states.reshape(-1, 1), 2, axis=1), np.eye(2)[actions.ravel()]


def trajectories(seconds: float, scale: float) -> Iterator[Figures]:
    """Measure the PSM between the trajectories of all jumping tasks."""
    tasks, discount = max(2, int(len(ALL_TASKS) * scale)), 0.999
    actions = jumping_actions(tasks)
    transition, policy = trajectory_chain(actions)
    pairs = np.random.default_rng(0).integers(tasks, size=(_PAIRS, 2))
    costs = [metrics.policy_cost(actions[i], actions[j]) for i, j in pairs]
    lists = [cost.tolist() for cost in costs[:_LOOPED_PAIRS]]

    def as_classes() -> np.ndarray:
        _, first = metrics.equivalence_classes(transition, policy)
        return metrics.policy_similarity(transition, policy, discount, rows=first, columns=first, **_QUIET)

    took = medians(
        {
            "as classes": as_classes,
            "in full": lambda: metrics.policy_similarity(transition, policy, discount, **_QUIET),
            "arrays": lambda: [reference.trajectory_arrays(cost, discount) for cost in costs],
            "loops": lambda: [reference.trajectory_loops(cost, discount) for cost in lists],
            "filling": lambda: np.full((len(transition), len(transition)), 1.0),
        },
        seconds,
    )
    name = f"PSM, {tasks} x {tasks} trajectories"
    for form in ("as classes", "in full"):
        for slow, label, timed in (("loops", "loops in Python", len(lists)), ("arrays", "numpy per pair", len(costs))):
            part = f"{timed} of {tasks**2:,} pairs"
            yield _row(f"{name}, {form}", took[form], label, took[slow] / timed * tasks**2, part)
    yield _row(f"{name}, in full", took["in full"], "filling such an array", took["filling"])


def deterministic(seconds: float, scale: float) -> Iterator[Figures]:
    """Measure bisimulation of deterministic processes."""
    states = int(2000 * scale)
    side = max(4, round((2000 * scale) ** 0.5))
    open_room = [" " * side] * (side - 1) + [" " * (side - 1) + "G"]
    tasks = jumping_union([(p, 10) for p in range(20, 20 + max(1, round(4 * scale)))])
    processes: dict[str, FiniteMDP] = {
        "random deterministic": garnet(states, 4, 1, np.random.default_rng(0)),
        "open room with a goal": grid_world(open_room),
        "jumping tasks": tasks,
    }
    for name, mdp in processes.items():
        costs = np.abs(mdp.reward.T[:, :, None] - mdp.reward.T[:, None, :])
        yield _beside_sweeps(
            f"bisimulation, {name}, S = {mdp.num_states}, A = {mdp.num_actions}",
            functools.partial(metrics.bisimulation, mdp.transition, mdp.reward, DISCOUNT, **_QUIET),
            functools.partial(
                reference.deterministic_sweep, next_states=mdp.transition, costs=costs, discount=DISCOUNT
            ),
            mdp.num_states,
            seconds,
        )


def weighted(seconds: float, scale: float) -> Iterator[Figures]:
    """Measure recursive similarity, the mean over actions."""
    states = int(1000 * scale)
    rng = np.random.default_rng(0)
    mdp = garnet(states, 4, 1, rng)
    points = rng.random((states, 2))
    cost = np.abs(points[:, None] - points[None]).sum(axis=2)
    yield _beside_sweeps(
        f"recursive similarity (mean), random deterministic, S = {states}, A = 4",
        lambda: metrics.recursive_similarity(mdp.transition, cost, DISCOUNT, **_QUIET),
        lambda distance: reference.mean_sweep(distance, mdp.transition, cost, DISCOUNT),
        states,
        seconds,
    )


def independent(seconds: float, scale: float) -> Iterator[Figures]:
    """Measure MICo, whose next states are independent."""
    states = int(1000 * scale)
    mdp = garnet(states, 4, 5, np.random.default_rng(0))
    policy = np.full((states, 4), 0.25)
    mean = mdp.reward.mean(axis=1)
    cost, probabilities = np.abs(mean[:, None] - mean), mdp.transition.mean(axis=1)
    yield _beside_sweeps(
        f"MICo, Garnet, S = {states}",
        lambda: metrics.mico(mdp.transition, mdp.reward, policy, DISCOUNT, **_QUIET),
        lambda distance: reference.independent_sweep(distance, probabilities, cost, DISCOUNT),
        states,
        seconds,
    )


def stochastic(seconds: float, scale: float) -> Iterator[Figures]:
    """Measure bisimulation of a stochastic process, and one sweep of it, beside a linear program per pair."""
    states, branching = max(6, int(100 * scale)), 5
    mdp = garnet(states, 4, branching, np.random.default_rng(0))
    distance = metrics.bisimulation(mdp.transition, mdp.reward, DISCOUNT, **_QUIET)
    operator = metrics.bisimulation_operator(mdp.transition, mdp.reward, DISCOUNT)
    rng = np.random.default_rng(0)
    sample = [(*rng.choice(states, 2, replace=False), rng.integers(4)) for _ in range(_PROGRAMS)]
    took = medians(
        {
            "metric": lambda: metrics.bisimulation(mdp.transition, mdp.reward, DISCOUNT, **_QUIET),
            "sweep": lambda: operator(distance),
            "programs": lambda: [
                reference.transport_by_program(mdp.transition[x, a], mdp.transition[y, a], distance)
                for x, y, a in sample
            ],
        },
        seconds,
    )
    # The fast sweep counts for the slow one, which comes to the same distances.
    plain = reference.iterate_until(operator, distance.shape, DISCOUNT, TOLERANCE, _PATIENCE)
    programs = 2 * states * (states - 1)
    per_sweep = took["programs"] / len(sample) * programs
    what = f"bisimulation, Garnet, S = {states}, A = 4, branching {branching}"
    timed = f"{len(sample)} of {programs:,} programs"
    counted = f"{timed}, {plain.sweeps} sweeps" if plain.sweeps < plain.needed else timed
    yield _row(what, took["metric"], f"{plain.needed} sweeps of linear programs", per_sweep * plain.needed, counted)
    yield _row("one sweep of the same", took["sweep"], "linear programs", per_sweep, timed)


def beside_peer(seconds: float, scale: float) -> Iterator[Figures]:
    """Measure bisimulation of Markov chains beside Sinkhorn value iteration, and how far off that is."""
    for states in (15, 25):
        states = max(4, int(states * scale))
        for branching in (min(5, states), states):
            mdp = garnet(states, 1, branching, np.random.default_rng(0))
            chain, reward = mdp.transition[:, 0], mdp.reward[:, 0]
            cost = np.abs(reward[:, None] - reward)
            for sweeps, scalings in ((100, 5), (300, 20)):
                peer = functools.partial(
                    reference.sinkhorn_value_iteration, chain, chain, cost, PEER_DISCOUNT, sweeps, scalings=scalings
                )
                exact = functools.partial(metrics.bisimulation, mdp.transition, mdp.reward, PEER_DISCOUNT, **_QUIET)
                took = medians({"exact": exact, "peer": peer}, seconds)
                distance = exact()
                off = float(np.abs(peer() - distance).max() / distance.max())
                what = f"{states} states, {branching} next ones, {sweeps} sweeps of {scalings} scalings"
                yield {**_row(what, took["exact"], "", took["peer"]), "off": off}


def large_union(num_tasks: int) -> Iterator[Figures]:
    """Measure time and peak memory of the largest case."""
    mdp = jumping_union(ALL_TASKS[:num_tasks])
    policy = mdp.optimal_policy(discount=1.0)
    visited = mdp.reachable_states(policy=policy)
    start = now()
    distance = metrics.policy_similarity(mdp.transition, policy, DISCOUNT, rows=visited, columns=visited, **_QUIET)
    yield {
        "tasks": num_tasks,
        "states": len(visited),
        "seconds": now() - start,
        "result_gib": distance.nbytes / 2**30,
        "peak_gib": machine.peak_memory() / 2**30,
    }


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the tables of the figures."""
    yield table(
        "Exact metrics against plain fixed-point iteration",
        "what | reference | seconds | the reference's | times faster",
        "{what} | {reference} | {seconds:.3g} | {reference_seconds:,.3g}{extrapolated} | {times_faster:~2}",
        figures["rows"],
        texts=2,
        marker="metric speed",
    )
    yield table(
        "Bisimulation of Markov chains beside Sinkhorn value iteration",
        "chain, and the peer's effort | seconds, certified to 1e-6 | the peer's | the peer is off by | times faster",
        "{what} | {seconds:.3g} | {reference_seconds:.3g} | {off:.1%} | {times_faster:~2}",
        figures.get("peer", []),
        marker="metric peer",
    )
    memory = figures["memory"]
    yield table(
        "PSM of all states that optimal policies visit in some jumping tasks, in a fresh process",
        "tasks | states | seconds | GiB at most | of the result",
        "{tasks} | {states:,} | {seconds:.1f} | {peak_gib:.2f} | {result_gib:.2f}",
        [memory] if isinstance(memory, dict) else memory,
    )
