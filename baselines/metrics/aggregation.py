"""From a metric to a smaller process to plan in."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics.processes import Process
from bisimgym.envs.checks import number, real_array


def aggregated(mdp: Process, distance: ArrayLike, radius: float) -> tuple[Process, np.ndarray]:
    """Return the process in which states near each other are one, and which of its states each state is.

    The first state that is in no class yet gathers all others in none that are within the radius of it, until none is
    left: a cover whose centers are further apart than the radius. A class moves and is rewarded as its states are on
    average. By bisimulation the optimal values of the two processes differ by at most ``2 * radius / (1 - discount)``:
    states of a class are within ``2 * radius``, which bounds differences of the values of their actions.

    Source: Ferns, Panangaden and Precup (2004), "Metrics for finite Markov decision processes" (aggregation by the
    metric); the greedy cover, and the bound in this form, are ours.

    Args:
        mdp: a :class:`~bisimgym.envs.finite_mdp.FiniteMDP`.
        distance: ``float[S, S]``.
        radius: not negative.

    Returns:
        small: without terminal states: an end is a class that stays and is not rewarded.
        classes: ``int64[S]``, numbered in the order of their centers, which are their first states.

    Raises:
        ValueError: for a wrong shape, distances that are not numbers, or a negative radius.
    """
    distance = real_array("distance", distance)
    states = len(mdp.reward)
    if distance.shape != (states, states) or not (distance >= 0).all():
        raise ValueError(
            f"distance must be float[{states}, {states}] as the process has states, and at least 0, got shape "
            f"{distance.shape}"
        )
    radius = number("radius", radius, 0, np.inf)
    classes, centers = np.full(states, -1), list[int]()
    for state in range(states):
        if classes[state] < 0:
            near = (classes < 0) & (distance[state] <= radius)
            near[state] = True
            classes[near] = len(centers)
            centers.append(state)
    return merged(mdp, classes), classes


def merged(mdp: Process, classes: ArrayLike) -> Process:
    """Return the process whose states are the classes of another's, without terminal states.

    A class moves and is rewarded as its states are on average; it is named by the first of them.

    Args:
        mdp: a :class:`~bisimgym.envs.finite_mdp.FiniteMDP`.
        classes: ``int[S]``, from 0 to the number of classes less one, each with a state.

    Raises:
        ValueError: for a wrong shape, or a class without states.
    """
    classes = np.asarray(classes)
    states = len(mdp.reward)
    found, first = np.unique(classes, return_index=True)
    if classes.shape != (states,) or not np.array_equal(found, np.arange(len(found))):
        raise ValueError(
            f"classes must be int[{states}], from 0 on without a gap, got {classes.dtype}{list(classes.shape)} with "
            f"{found[:5]}..."
        )
    members = np.eye(len(found))[classes]  # [S, C]
    share = members / members.sum(axis=0)
    into = members[mdp.transition] if mdp.transition.ndim == 2 else mdp.transition @ members
    return dataclasses.replace(
        mdp,
        transition=np.einsum("sc,sad->cad", share, into),
        reward=share.T @ mdp.reward,
        terminal=np.zeros(len(found), dtype=bool),
        state_names=tuple(mdp.state_names[state] for state in first),
        offsets=(0,),
    )
