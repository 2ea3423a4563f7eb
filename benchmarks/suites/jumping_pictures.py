"""Pictures of embeddings that an imitation learner gives to the steps of the expert, in training and unseen tasks.

Like Figure 3 of Agarwal et al. (2021).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from matplotlib.figure import Figure

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.figures import new_figure, write_figures
from bisimgym.envs.jumping.grids import ALL_TASKS
from bisimgym.wrappers import Demonstrations, collect_demonstrations

_MARKERS = ("o", "s", "^")
_COLORS = ("#1f6fb4", "#d1652b", "#3d8f4b")
#: Every so many steps of a trajectory, a point has its distance to the obstacle beside it.
_LABELED = 8


def draw_embeddings(model: Any, seen: Collection[tuple[int, int]], folder: Path) -> None:
    """Draw the embeddings that a learner of some training tasks has learned into a folder, which is made."""
    folder.mkdir(exist_ok=True)
    list(write_figures({"embeddings": embedding_figure(model, shown_tasks(seen), seen)}, folder))


def shown_tasks(seen: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return three tasks (position, floor): the training tasks of the nearest and the farthest obstacle, and another.

    The third was never seen and lies nearest to halfway between the two.
    """
    near, far = min(seen), max(seen)
    middle = ((near[0] + far[0]) / 2, (near[1] + far[1]) / 2)
    unseen = [task for task in ALL_TASKS if task not in set(seen)]
    return [near, min(unseen, key=lambda task: np.hypot(task[0] - middle[0], task[1] - middle[1])), far]


def embedding_figure(model: Any, tasks: Sequence[tuple[int, int]], seen: Collection[tuple[int, int]]) -> Figure:
    """Return a picture of the embeddings of the expert's steps in three tasks of the white grid.

    Args:
        model: an :class:`~bisimgym.baselines.pse.imitation.ImitationLearner`.
        tasks: (position, floor) of each.
        seen: the training tasks, to say which of them are.
    """
    data = _demonstrated(tasks)
    points, how = project(_embedded(model, data.observations))
    figure = new_figure("Embeddings of the expert's steps")
    ax = figure.subplots()
    for rows, (position, floor), marker, color in zip(data.slices(), tasks, _MARKERS, _COLORS, strict=True):
        x, y = points[rows].T
        kind = "training" if (position, floor) in seen else "unseen"
        label = f"{kind}: obstacle at {position}, floor at {floor}"
        ax.plot(x, y, color=color, linewidth=0.6, alpha=0.5)
        ax.scatter(x, y, s=22, marker=marker, color=color, alpha=0.8, linewidths=0, label=label)
        jump = int(np.flatnonzero(data.actions[rows])[0])
        ax.scatter(x[jump], y[jump], s=150, marker=marker, facecolors="none", edgecolors=color, linewidths=1.6)
        for step in range(0, len(x), _LABELED):
            ax.annotate(
                str(position - step),
                (x[step], y[step]),
                fontsize=7,
                color=color,
                textcoords="offset points",
                xytext=(4, 4),
            )
    ax.set(xlabel=f"{how} 1", ylabel=f"{how} 2")
    ax.legend(title="numbers: pixels to the obstacle; rings: the jump", fontsize=8, title_fontsize=8)
    return figure


def project(embeddings: np.ndarray) -> tuple[np.ndarray, str]:
    """Return embeddings ``float[N, D]`` in the plane, ``float64[N, 2]``, and how: by UMAP where that is installed."""
    if importlib.util.find_spec("umap") is not None:
        import umap

        return np.asarray(umap.UMAP(random_state=0).fit_transform(embeddings), np.float64), "UMAP"
    centered = embeddings.astype(np.float64) - embeddings.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    return left[:, :2] * sizes[:2], "principal component"


def _demonstrated(tasks: Sequence[tuple[int, int]]) -> Demonstrations:
    positions, floors = zip(*tasks, strict=True)
    envs = gym.make_vec("bisimgym/JumpingTask-v0", num_envs=len(tasks), autoreset_mode="Disabled")
    return collect_demonstrations(envs, {"obstacle_position": np.array(positions), "floor_height": np.array(floors)})


def _embedded(model: Any, observations: np.ndarray) -> np.ndarray:
    """Return what alignment compares, of clean images: the projection where there is one, else the representation."""
    import torch as th

    policy = model.policy
    with th.no_grad():
        images = policy.images(th.as_tensor(np.ascontiguousarray(observations), device=model.device))
        represented = policy.represent(images)
        return (represented if policy.projection is None else policy.projection(represented)).cpu().numpy()
