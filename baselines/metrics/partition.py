"""States that behave alike exactly, and processes without copies of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import checks
from bisimgym.baselines.metrics.distributions import Distributions, block_sums, slices
from bisimgym.baselines.metrics.processes import Process, Transitions
from bisimgym.envs.checks import number


def equivalence_classes(transition: Any, labels: ArrayLike, *, tolerance: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the coarsest partition in which states of a class have equal labels and lead to classes alike.

    Alike is, action by action: into the same classes with the same probabilities. With rewards as labels these are the
    bisimulation classes, which are the states at bisimulation distance zero; with a policy as labels and the
    transitions it makes, those at policy similarity zero. Found by refinement until nothing splits, at most S rounds of
    sorting.

    Source: Givan, Dean and Greig (2003); Derisavi, Hermanns and Sanders (2003) for the signatures of distributions.

    Args:
        transition: of any form that metrics take.
        labels: ``[S]`` or ``[S, K]``.
        tolerance: labels (if they are numbers) and probabilities are rounded to multiples of it before they are
            compared. With 0, the default, they are compared as they are; probabilities of states of one class are added
            up in ascending order, so that equal ones have equal sums.

    Returns:
        classes: ``int64[S]``, numbered in the order of their first states.
        representatives: ``int64[C]``, the first state of each class.

    Raises:
        ValueError: if a shape or the tolerance is wrong.
    """
    transition = checks.next_states_or_distributions(transition)
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or len(labels) != len(transition):
        raise ValueError(f"labels must be [{len(transition)}] or [{len(transition)}, K], got shape {labels.shape}")
    tolerance = number("tolerance", tolerance, 0, 1)
    if tolerance and np.issubdtype(labels.dtype, np.number):
        with np.errstate(over="ignore"):
            multiples = np.rint(labels.astype(np.result_type(labels, np.float64)) / tolerance)
        if not np.isfinite(multiples).all():
            raise ValueError(f"tolerance={tolerance:g} is too small for labels of up to {np.abs(labels).max():g}")
        labels = multiples
    return refine(transition, labels, tolerance)


def quotient(mdp: Process, *, tolerance: float = 0.0) -> tuple[Process, np.ndarray]:
    """Return the process in which states that behave alike are one, and which of its states each state is.

    Values, and metrics that look at rewards only, are those of the whole process: ``V(s)`` is ``V_small(classes[s])``.

    Source: Givan, Dean and Greig (2003), "Equivalence notions and model minimization in Markov decision processes".

    Args:
        mdp: a :class:`~bisimgym.envs.finite_mdp.FiniteMDP`.
        tolerance: see :func:`equivalence_classes`. With t above 0 rewards of a class differ by up to t, and
            probabilities of each of the C classes that follow by up to t, so that values of the first state of a class
            stand for those of the others up to ``(t + discount * C * t * R / (1 - discount)) / (1 - discount)`` with
            R the largest difference of rewards.

    Returns:
        small: terminal states stay apart from others. Names are those of first states.
        classes: ``int64[S]``.
    """
    if not all(hasattr(mdp, name) for name in ("transition", "reward", "terminal", "state_names")):
        raise ValueError(f"mdp must be a FiniteMDP, got {type(mdp).__name__}: equivalence_classes takes arrays")
    labels = np.column_stack([mdp.reward, mdp.terminal])
    classes, first = equivalence_classes(mdp.transition, labels, tolerance=tolerance)
    transition = merged(checks.next_states_or_distributions(mdp.transition), classes, first)
    if isinstance(transition, Distributions):
        transition = transition.matrix().toarray().reshape(len(first), mdp.reward.shape[1], len(first))
    names = tuple(mdp.state_names[state] for state in first)
    small = dataclasses.replace(
        mdp,
        transition=transition,
        reward=mdp.reward[first],
        terminal=mdp.terminal[first],
        state_names=names,
        offsets=(0,),
    )
    return small, classes


def refine(transition: Transitions, labels: np.ndarray, tolerance: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """:func:`equivalence_classes` of checked arrays."""
    classes = np.zeros(len(transition), dtype=np.int64)
    for column in labels.reshape(len(labels), -1).T:
        classes = _join(classes, np.unique(column, return_inverse=True)[1])
    if isinstance(transition, np.ndarray) and transition.shape[1] == 1:
        # Sequences of labels along the only path, twice as long each round.
        ahead, steps = transition[:, 0], 1
        while steps < len(transition):
            classes, ahead, steps = _join(classes, classes[ahead]), ahead[ahead], 2 * steps
    count = classes.max() + 1
    while count < len(transition):
        finer = classes
        if isinstance(transition, np.ndarray):
            for next_states in transition.T:
                finer = _join(finer, classes[next_states])
        else:
            finer = _join(classes, _signatures(transition, classes, tolerance))
        if finer.max() + 1 == count:
            break
        classes, count = finer, finer.max() + 1
    _, representatives, inverse = np.unique(classes, return_index=True, return_inverse=True)
    order = np.argsort(representatives)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse], representatives[order]


def merged(transition: Transitions, classes: np.ndarray, representatives: np.ndarray) -> Transitions:
    """Return the process of classes, which goes on as the representatives do."""
    if isinstance(transition, np.ndarray):
        return classes[transition[representatives]]
    if len(representatives) == len(transition):
        return transition
    actions = transition.num_actions
    rows = (representatives[:, None] * actions + np.arange(actions)).ravel()
    size = transition.first[rows + 1] - transition.first[rows]
    entries = slices(transition.first[rows], size)
    row, to, mass = block_sums(
        np.repeat(np.arange(len(rows)), size), classes[transition.states[entries]], transition.mass[entries]
    )
    counts = np.bincount(row, minlength=len(rows))
    mass = np.where(np.repeat(counts, counts) == 1, 1.0, mass)
    return Distributions(np.concatenate([[0], np.cumsum(counts)]), to, mass, actions)


def _signatures(transition: Distributions, classes: np.ndarray, tolerance: float) -> np.ndarray:
    """Return numbers ``int64[S]`` that are equal for states whose rows lead into the same classes alike."""
    states, actions = transition.shape
    row, block, mass = block_sums(
        np.repeat(np.arange(states * actions), np.diff(transition.first)), classes[transition.states], transition.mass
    )
    mass = np.rint(mass / tolerance) if tolerance else mass
    kept = mass > 0
    state, entry = row[kept] // actions, (row[kept] % actions) * (classes.max() + 1) + block[kept]
    # A state's entries, one after the other, refine a class that starts out as their number.
    size = np.bincount(state, minlength=states)
    pair = _join(entry, np.unique(mass[kept], return_inverse=True)[1])
    start = np.cumsum(size) - size
    signature = np.unique(size, return_inverse=True)[1]
    for place in range(size.max()):
        has = size > place
        nth = np.zeros(states, dtype=np.int64)
        nth[has] = 1 + pair[start[has] + place]
        signature = _join(signature, nth)
    return signature


def _join(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return classes of equal pairs (x, y); both hold class numbers, so that a pair fits one integer."""
    return np.unique(x * (y.max() + 1) + y, return_inverse=True)[1]
