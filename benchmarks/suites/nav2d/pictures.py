"""Pictures of an encoder of Nav2D: the obstacles it attends to, and what it makes of the corridor.

After figures 4 and 5 of Black, Chuck and Niekum (2021), with the numbers that the pictures stand for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bisimgym.benchmarks.suites.figures import new_figure
from bisimgym.benchmarks.suites.nav2d.probes import (
    HELD_OUT,
    KINDS,
    Embed,
    attention,
    attention_by_distance,
)
from bisimgym.envs.nav2d.layouts import LayoutRules, draw_layouts

_SHOWN = 4
_COLORS = {"outside": "#7f8c9b", "partial": "#d08a1d", "full": "#b3303a", "double": "#5b1a6e", "moved": "#2a7f4f"}


def figures_of(embed: Embed, rules: LayoutRules, changes: Mapping[str, Sequence[Any]]) -> dict[str, Figure]:
    """Return the pictures of an encoder by the names of their files.

    Args:
        embed: the encoder.
        rules: of layouts.
        changes: what :func:`~bisimgym.benchmarks.suites.nav2d.probes.corridor_probes` has found.
    """
    return {"1_attention": _attention(embed, rules), "2_corridor": _corridor(changes)}


def _attention(embed: Embed, rules: LayoutRules) -> Figure:
    figure = new_figure("Where an obstacle that comes or goes moves the embedding", (9.6, 5.4))
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.2, 1))
    maps, below = parts
    drawn = draw_layouts(rules, np.arange(HELD_OUT, HELD_OUT + _SHOWN).astype(np.uint64))
    for i, ax in enumerate(maps.subplots(1, _SHOWN)):
        obstacles, cell = drawn.obstacles[i] > 0, int(drawn.start[i])
        found = attention(embed, obstacles, cell)
        ax.imshow(found / (found.max() or 1.0), cmap="gray", vmin=0, vmax=1)
        rows, columns = np.divmod(np.flatnonzero(obstacles), rules.size)
        size = 110 / rules.size
        ax.plot(columns, rows, "s", color="#c0504d", markersize=size / 2, label="obstacles", linestyle="none")
        row, column = divmod(cell, rules.size)
        ax.plot(column, row, "o", color="#35c26b", markersize=size, label="agent", linestyle="none")
        ax.set(xticks=[], yticks=[])
        if i == 0:
            maps.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    by_distance = attention_by_distance(embed, rules)
    ax = below.subplots()
    ax.plot(np.arange(1, rules.size + 1), by_distance, marker="o", markersize=3)
    ax.set(xlabel="steps from the agent to the cell", ylabel="change, 1: the largest", ylim=(0, None))
    return figure


def _corridor(changes: Mapping[str, Sequence[Any]]) -> Figure:
    kind, gap, distance = (np.array(changes[name]) for name in ("kind", "gap", "distance"))
    exact = np.array(changes["exact"], dtype=float)
    figure = new_figure("What changes to the corridor do to the embedding", (9.6, 4.2))
    near, far = figure.subplots(1, 2)
    for name in ("partial", "full"):
        gaps = np.unique(gap[kind == name])
        values = [distance[(kind == name) & (gap == g)] for g in gaps]
        mean, low, high = ([f(v) for v in values] for f in (np.mean, np.min, np.max))
        near.plot(gaps, mean, marker="o", markersize=4, color=_COLORS[name], label=f"{name} block")
        near.fill_between(gaps, low, high, color=_COLORS[name], alpha=0.2)
    for name, label in (("outside", "obstacles out of reach"), ("moved", "agent moved by one")):
        near.axhline(distance[kind == name].mean(), color=_COLORS[name], linestyle="--", label=label)
    near.set(xlabel="columns from the agent to the block", ylabel="L1 distance", ylim=(0, None))
    near.legend(frameon=False, fontsize=8)
    for name in KINDS:
        rows = kind == name
        far.plot(exact[rows], distance[rows], "o", color=_COLORS[name], markersize=3, alpha=0.6, label=name)
    far.set(xlabel="exact recursive state similarity", ylabel="L1 distance", ylim=(0, None))
    far.legend(frameon=False, fontsize=8)
    return figure
