"""Transfer of optimal actions between jumping tasks along the exact bisimulation metric, without learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bisimgym.baselines import metrics
from bisimgym.envs.jumping.env import jumping_union


def settled_at(position: int, _floor: int, color: str | None) -> int:
    """Return the step that decides a task: the jump, or the touch of a green obstacle."""
    return position - 5 if color == "green" else position - 14


def transfer_solved(tasks: Sequence[tuple[int, int, str]], trained: np.ndarray, discount: float) -> np.ndarray:
    """Return which tasks bisimulation transfer solves, ``bool[N]``.

    In each state of the oracle's trajectories one acts as is optimal in the nearest of all states of the training
    tasks; a task is solved if that is the oracle's action until the outcome is settled. The metric, with a discount in
    [0, 1), sees states, rewards and dynamics of training and unseen tasks alike; no image enters.

    Tasks are N times (obstacle position, floor height, color); ``trained``, ``bool[N]``, are those for training.
    """
    union = jumping_union(tasks)
    policy = union.optimal_policy(discount=1.0)
    part = np.searchsorted(union.offsets, np.arange(union.num_states), side="right") - 1
    in_training = trained[part] & ~union.terminal

    best = policy.argmax(axis=1)
    states = np.array(union.offsets)
    settled = np.array([settled_at(*task) for task in tasks])
    steps = np.arange(settled.max() + 1)
    trajectories = np.empty((len(tasks), len(steps)), dtype=np.int64)
    for step in steps:
        trajectories[:, step] = states
        states = union.transition[states, best[states]]

    # Tasks that differ in floor height only are bisimilar: one state of each class stands for all.
    classes, first = metrics.equivalence_classes(union.transition, union.reward)
    known, known_at = np.unique(classes[in_training], return_index=True)
    known = known[np.argsort(known_at)]
    asked, asked_at = np.unique(classes[trajectories], return_inverse=True)
    distance = metrics.bisimulation(union.transition, union.reward, discount, rows=first[known], columns=first[asked])
    # A class has one set of optimal actions, of which both sides take the lowest.
    transferred = metrics.transferred_policy(distance, policy[first[known]], tolerance=2e-6).argmax(axis=1)
    agrees = transferred[asked_at.reshape(trajectories.shape)] == best[trajectories]
    return (agrees | (steps > settled[:, None])).all(axis=1)
