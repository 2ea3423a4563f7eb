"""What an encoder of Nav2D has learned: the obstacles it attends to, exact metrics it follows, and the corridor.

Images hide the goal, as those that encoders learn from; embeddings are compared by their L1 distance, as the paper's.

Source: Black, Chuck and Niekum (2021), section V-D and figures 4 and 5, with the authors' code for what is probed. The
exact metrics, and numbers in place of looks, are ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from bisimgym.baselines import metrics as exact_metrics
from bisimgym.benchmarks.measures.finite_processes import similarity_of_moves
from bisimgym.benchmarks.measures.metric_fidelity import embeddings, fidelities
from bisimgym.envs.nav2d.env import Nav2DState, nav2d_mdp, observe
from bisimgym.envs.nav2d.layouts import UNREACHABLE, LayoutRules, Layouts, distances_to, draw_layouts, free_moves

#: Maps ``uint8[B, size, size, 3]`` to ``float[B, D]``.
Embed = Callable[[np.ndarray], np.ndarray]
#: Seeds of layouts that no run learns from.
HELD_OUT = 3_000_000
DISCOUNT = 0.99
#: What is done to the corridor's free cells, or around them.
KINDS = ("outside", "partial", "full", "double", "moved")


def l1(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the L1 distances of the rows of two arrays ``float[P, D]``, ``float[P]``."""
    return np.abs(x - y).sum(axis=1)


def images_of(obstacles: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return what is seen, ``uint8[N, size, size, 3]``, of obstacles ``bool[N, size**2]`` and the agent's cells."""
    nothing = np.zeros(len(cells), dtype=np.int64)
    size = round(obstacles.shape[1] ** 0.5)
    state = Nav2DState(obstacles.astype(np.uint8) * 255, nothing, nothing, nothing, cells, nothing)
    return observe(state, size, goal_visible=False)


# Held-out layouts


def held_out_fidelity(embed: Embed, rules: LayoutRules, layouts: int = 5) -> dict[str, float]:
    """Return the rank correlation of L1 distances with exact metrics, mean over layouts that nothing was learned from.

    Pairs are of states of one layout, of which all are taken that the agent can reach:

    * "rank_similarity": recursive state similarity, see :func:`similarity_of_moves`;
    * "rank_path": steps from one to the other;
    * "rank_bisimulation": on-policy bisimulation of an optimal policy, for a goal that the encoder does not see.
    """
    drawn = draw_layouts(rules, np.arange(HELD_OUT, HELD_OUT + layouts).astype(np.uint64))
    found = [_fidelity_in(embed, drawn, i, rules.size) for i in range(layouts)]
    return {name: float(np.mean([row[name] for row in found])) for name in found[0]}


def _fidelity_in(embed: Embed, layouts: Layouts, i: int, size: int) -> dict[str, float]:
    obstacles, goal = layouts.obstacles[i] > 0, int(layouts.goal[i])
    free, transition = free_moves(obstacles)
    reached = layouts.distance[i, free] < UNREACHABLE
    states = np.flatnonzero(reached & (free != goal))
    rows = np.repeat(np.arange(len(free)), transition.shape[1])
    graph = csr_array((np.ones(rows.size), (rows, transition.ravel())), shape=(len(free), len(free)))
    mdp = nav2d_mdp(obstacles.reshape(size, size), divmod(goal, size))
    exact = {
        "rank_similarity": similarity_of_moves(transition, states, states),
        "rank_path": shortest_path(graph, unweighted=True, indices=states)[:, states],
        "rank_bisimulation": exact_metrics.on_policy_bisimulation(
            mdp.transition,
            mdp.reward,
            mdp.optimal_policy(DISCOUNT),
            DISCOUNT,
            rows=states,
            columns=states,
            tolerance=1e-8,
            progress=False,
        ).round(6),
    }
    images = images_of(np.repeat(obstacles[None], len(states), axis=0), free[states])
    return {name: values.rank_correlation for name, values in fidelities(embed, images, exact, l1).items()}


# Figure 4: obstacle attention


def attention(embed: Embed, obstacles: np.ndarray, cell: int) -> np.ndarray:
    """Return how far the embedding moves when a cell turns from free to obstacle or back, ``float64[size, size]``.

    The agent's own cell has 0.

    Args:
        embed: the encoder.
        obstacles: ``bool[size**2]``.
        cell: the agent's.
    """
    count = len(obstacles)
    changed = np.repeat(obstacles[None], count + 1, axis=0)
    changed[np.arange(count), np.arange(count)] ^= True  # the last one stays
    z = embeddings(embed, images_of(changed, np.full(count + 1, cell)), count + 1)
    moved = l1(z[:-1], z[-1:])
    moved[cell] = 0
    size = round(count**0.5)
    return moved.reshape(size, size)


def attention_by_distance(embed: Embed, rules: LayoutRules, layouts: int = 20) -> np.ndarray:
    """Return the mean of :func:`attention` over free cells by their steps from the agent, ``float64[steps]``.

    Each map is divided by its largest value first. Entry k is of k + 1 steps; at most ``size`` of them.
    """
    drawn = draw_layouts(rules, np.arange(HELD_OUT, HELD_OUT + layouts).astype(np.uint64))
    sums, counts = np.zeros(rules.size), np.zeros(rules.size)
    free = drawn.obstacles == 0
    steps = distances_to(free.reshape(-1, rules.size, rules.size), drawn.start)
    for i in range(layouts):
        found = attention(embed, ~free[i], int(drawn.start[i])).ravel()
        near = free[i] & (steps[i] >= 1) & (steps[i] <= rules.size)
        np.add.at(sums, steps[i][near] - 1, found[near] / (found.max() or 1.0))
        np.add.at(counts, steps[i][near] - 1, 1)
    return sums / np.maximum(counts, 1)


# Figure 5: the corridor


def corridor_probes(embed: Embed, rules: LayoutRules, layouts: int = 10) -> dict[str, list]:
    """Return how far changes to a corridor move the embedding, and what they change exactly, as columns.

    The agent stands in the corridor of :class:`~bisimgym.envs.nav2d.env.Nav2DCorridorEnv`. Each of several draws of
    what is around is changed: by the draws of all others ("outside": nothing that the agent can do changes), by a
    block in a column to its left in the upper row ("partial") or in both ("full"), by two full blocks next to it
    ("double"), and by a step of the agent to the right ("moved").

    Returns:
        For every change: "kind" of :data:`KINDS`, "gap": columns from the agent, 0 where there is none, "distance": of
        the embeddings (L1), and "exact": the recursive state similarity, see :func:`similarity_of_moves`.
    """
    rules = LayoutRules(rules.size, rules.num_obstacles, rules.obstacle_size, 1, corridor=True)
    drawn = draw_layouts(rules, np.arange(HELD_OUT, HELD_OUT + layouts).astype(np.uint64))
    bases, start = drawn.obstacles > 0, int(drawn.start[0])
    inside, exact = _changes_inside(rules.size), _exact_changes(rules.size)
    z = embeddings(embed, images_of(bases, np.full(layouts, start)), layouts)
    columns: dict[str, list] = {"kind": [], "gap": [], "distance": [], "exact": []}

    def add(kind: str, gap: int, distance: float, exact: float) -> None:
        for name, value in zip(columns, (kind, gap, float(distance), float(exact)), strict=True):
            columns[name].append(value)

    for i, base in enumerate(bases):
        for j in range(i + 1, layouts):
            add("outside", 0, l1(z[i : i + 1], z[j : j + 1])[0], 0.0)
        changed = np.repeat(base[None], len(inside), axis=0)
        cells = np.full(len(inside), start)
        for row, (kind, _, blocked) in enumerate(inside):
            changed[row, blocked] = True
            cells[row] += kind == "moved"
        distances = l1(embeddings(embed, images_of(changed, cells), len(inside)), z[i : i + 1])
        for (kind, gap, _), distance, value in zip(inside, distances, exact, strict=True):
            add(kind, gap, distance, value)
    return columns


def _changes_inside(size: int) -> list[tuple[str, int, list[int]]]:
    """Return the changes inside the corridor: kind, gap to the agent, and the cells that are blocked."""
    upper, lower, column = size // 2, size // 2 + 1, size // 2
    found: list[tuple[str, int, list[int]]] = [("moved", 0, [])]
    for i in range(column):
        found.append(("partial", column - i, [upper * size + i]))
        found.append(("full", column - i, [upper * size + i, lower * size + i]))
    near = [row * size + i for row in (upper, lower) for i in (column - 1, column - 2)]
    return [*found, ("double", 1, near)]


@functools.cache
def _exact_changes(size: int) -> np.ndarray:
    """Return the exact similarity of the agent's state to that after each change, ``float64[changes]``.

    All corridors stand side by side in one process. What is around them cannot be reached.
    """
    walls = np.ones(size * size, dtype=bool)
    walls[size * (size // 2) : size * (size // 2 + 2)] = False
    start = size * (size // 2 + 1) + size // 2
    parts, agents, count = [], [], 0
    for kind, _, blocked in [("", 0, []), *_changes_inside(size)]:
        obstacles = walls.copy()
        obstacles[blocked] = True
        free, transition = free_moves(obstacles)
        agents.append(count + int(np.searchsorted(free, start + (kind == "moved"))))
        parts.append(count + transition)
        count += len(free)
    return similarity_of_moves(np.concatenate(parts), np.array(agents[:1]), np.array(agents[1:]))[0]


def corridor_scores(outcomes: Mapping[str, list]) -> dict[str, float]:
    """Return the scores that follow from :func:`corridor_probes`.

    * "corridor": rank correlation of the distances with the exact ones;
    * "outside": the mean distance of changes outside over that of a full block next to the agent;
    * "full_over_partial": the share of the places at which a full block moves the embedding further than a partial one;
    * "nearer_first": the share of full blocks that move it further than the one a column further away does.
    """
    from scipy.stats import spearmanr

    kind, gap, distance = (np.array(outcomes[name]) for name in ("kind", "gap", "distance"))
    full, partial = distance[kind == "full"], distance[kind == "partial"]
    next_to = distance[(kind == "full") & (gap == 1)].mean()
    by_layout = full.reshape(-1, int(gap.max()))  # gaps fall within a layout
    constant = np.ptp(distance) == 0
    return {
        "corridor": 0.0 if constant else float(spearmanr(distance, outcomes["exact"]).statistic),
        "outside": float(min(distance[kind == "outside"].mean() / next_to, 1e6)) if next_to > 0 else 1e6,
        "full_over_partial": float((full > partial).mean()),
        "nearer_first": float((np.diff(by_layout, axis=1) > 0).mean()),
    }


def rules_of(layout: Mapping[str, Any]) -> LayoutRules:
    """Return the rules of layouts that an environment with these arguments has."""
    return LayoutRules(layout["size"], layout["num_obstacles"], min_goal_distance=layout["min_goal_distance"])
