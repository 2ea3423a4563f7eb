"""From a metric to a smaller process to plan in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.envs.checks import number
from bisimgym.envs.finite_mdp import FiniteMDP


def aggregated(mdp: FiniteMDP, distance: ArrayLike, radius: float) -> tuple[FiniteMDP, np.ndarray]:
    """Return the process in which states near each other are one, and which of its states each state is.

    The first state that is in no class yet gathers all others in none that are within the radius of it, until none is
    left: a cover whose centers are further apart than the radius. A class moves and is rewarded as its states are on
    average. By bisimulation the optimal values of the two processes differ by at most ``2 * radius / (1 - discount)``:
    states of a class are within ``2 * radius``, which bounds differences of the values of their actions.

    Source: Ferns, Panangaden and Precup (2004), "Metrics for finite Markov decision processes" (aggregation by the
    metric); the greedy cover, and the bound in this form, are ours.

    Args:
        mdp: the process.
        distance: ``float[S, S]``.
        radius: not negative.

    Returns:
        small: without terminal states: an end is a class that stays and is not rewarded.
        classes: ``int64[S]``, numbered in the order of their centers, which are their first states.

    Raises:
        ValueError: for a wrong shape, distances that are not numbers, or a negative radius.
    """
    distance = np.asarray(distance, dtype=np.float64)
    if distance.shape != (mdp.num_states, mdp.num_states) or np.isnan(distance).any():
        raise ValueError(
            f"distance must be float[{mdp.num_states}, {mdp.num_states}] as the process has states, got shape "
            f"{distance.shape}"
        )
    radius = number("radius", radius, 0, np.inf)
    classes, centers = np.full(mdp.num_states, -1), list[int]()
    for state in range(mdp.num_states):
        if classes[state] < 0:
            near = (classes < 0) & (distance[state] <= radius)
            near[state] = True
            classes[near] = len(centers)
            centers.append(state)
    members = np.eye(len(centers))[classes]  # [S, C]
    share = members / members.sum(axis=0)
    into = members[mdp.transition] if mdp.deterministic else mdp.transition @ members
    small = FiniteMDP(
        transition=np.einsum("sc,sad->cad", share, into),
        reward=share.T @ mdp.reward,
        terminal=np.zeros(len(centers), dtype=bool),
        state_names=tuple(mdp.state_names[state] for state in centers),
    )
    return small, classes
