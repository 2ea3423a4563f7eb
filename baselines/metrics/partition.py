"""States of a deterministic process that behave alike exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks


def equivalence_classes(transition: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the coarsest partition in which equal classes have equal labels and, action by action, equal next classes.

    With rewards as labels these are the bisimulation classes (Givan, Dean and Greig 2003), which are the states at
    bisimulation distance zero; with a policy as labels and its single successor as transition, those at policy
    similarity zero. Found by refinement until nothing splits, at most S rounds of sorting.

    Args:
        transition: ``int[S, A]`` next states.
        labels: ``[S]`` or ``[S, K]``, compared exactly.

    Returns:
        classes: ``int64[S]``, numbered in the order of their first states.
        representatives: ``int64[C]``, the first state of each class.

    Raises:
        ValueError: if the process is stochastic or a shape is wrong.
    """
    transition = checks.next_states_or_distributions(transition)
    if transition.ndim != 2:
        raise ValueError("equivalence_classes needs a deterministic process: give transition as int[S, A] next states")
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or len(labels) != len(transition):
        raise ValueError(f"labels must be [{len(transition)}] or [{len(transition)}, K], got shape {labels.shape}")
    return refine(transition, labels)


def refine(transition: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`equivalence_classes` of checked arrays."""
    classes = np.zeros(len(transition), dtype=np.int64)
    for column in labels.reshape(len(labels), -1).T:
        classes = _join(classes, np.unique(column, return_inverse=True)[1])
    if transition.shape[1] == 1:
        # Sequences of labels along the only path, twice as long each round.
        ahead, steps = transition[:, 0], 1
        while steps < len(transition):
            classes, ahead, steps = _join(classes, classes[ahead]), ahead[ahead], 2 * steps
    count = classes.max() + 1
    while True:
        finer = classes
        for next_states in transition.T:
            finer = _join(finer, classes[next_states])
        if finer.max() + 1 == count:
            break
        classes, count = finer, finer.max() + 1
    _, representatives, inverse = np.unique(classes, return_index=True, return_inverse=True)
    order = np.argsort(representatives)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse], representatives[order]


def _join(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return classes of equal pairs (x, y); both hold class numbers, so that a pair fits one integer."""
    return np.unique(x * (y.max() + 1) + y, return_inverse=True)[1]
