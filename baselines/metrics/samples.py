"""Metrics from samples: of the process that they show, or with no process in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from bisimgym.baselines.metrics import checks
from bisimgym.envs.checks import integer, real_array

#: Steps of potentials shrink as this power of the number of samples, those of distances as the power 1.
_POTENTIAL_POWER = 0.6


class EmpiricalProcess(NamedTuple):
    """What samples show of a process; any metric takes its arrays.

    Attributes:
        transition: ``[S * A, S]``, the share of each next state; row ``s * A + a``.
        reward: ``float64[S, A]``, means.
        visits: ``int64[S, A]``, how often each action was taken in each state.
    """

    transition: sparse.csr_array
    reward: np.ndarray
    visits: np.ndarray


def empirical_process(
    state: ArrayLike, action: ArrayLike, reward: ArrayLike, next_state: ArrayLike, num_states: int, num_actions: int
) -> EmpiricalProcess:
    """Return the process whose chances and rewards are those of samples.

    The metric of it is the plug-in estimate of the metric of the process that was sampled: it tends to that as samples
    grow, and is above it on average while next states are few, as different samples of one distribution are apart. With
    rewards off by at most e and next states by a Wasserstein-1 distance of at most w under the metric, bisimulation is
    off by at most ``2 * (e + discount * w) / (1 - discount)``.

    Source: Ferns, Panangaden and Precup (2004) for metrics of estimated processes. Of the processes
    themselves nothing is kept by :func:`sampled_bisimulation`.

    Args:
        state, action, next_state: ``int[N]``.
        reward: ``float[N]``.
        num_states, num_actions: S and A.

    Raises:
        ValueError: for shapes or numbers out of range, rewards that are not finite, or a state and action without any
            sample.
    """
    sizes = integer("num_states", num_states, 1), integer("num_actions", num_actions, 1)
    rewards = real_array("reward", reward)
    columns = {"state": (state, sizes[0]), "action": (action, sizes[1]), "next_state": (next_state, sizes[0])}
    checked = []
    for name, (values, size) in columns.items():
        array = np.asarray(values)
        if array.shape != rewards.shape or array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{name} must be int[{len(rewards)}] as reward has, got {array.dtype} of {array.shape}")
        if len(array) and (array.min() < 0 or array.max() >= size):
            raise ValueError(f"{name} must be from 0 to {size - 1}, got {array.min()} to {array.max()}")
        checked.append(array.astype(np.int64))
    if not np.isfinite(rewards).all():
        raise ValueError("reward must be finite")
    row = checked[0] * sizes[1] + checked[1]
    count = np.bincount(row, minlength=sizes[0] * sizes[1])
    if not count.all():
        state_action = divmod(int(count.argmin()), sizes[1])
        raise ValueError(
            f"state {state_action[0]} has no sample of action {state_action[1]}: leave it out, or sample it"
        )
    share = sparse.csr_array((1 / count[row], (row, checked[2])), shape=(len(count), sizes[0]))
    mean = np.bincount(row, rewards, minlength=len(count)) / count
    return EmpiricalProcess(share, mean.reshape(sizes), count.reshape(sizes))


def sampled_bisimulation(samples: Iterable[tuple[ArrayLike, ArrayLike]], discount: float) -> np.ndarray:
    """Return an estimate of the bisimulation metric from a stream of samples, ``float64[S, S]``.

    No probabilities are estimated and no transport problem is solved. Each pair of states keeps potentials of the next
    states of the first, under each action, which climb the dual of its transport problem by a step for each sample
    (stochastic subgradients of the semi-dual); distances follow, with smaller steps, the recursion of
    :func:`bisimulation` with what the potentials say in place of the transport cost. As the steps of distances vanish
    beside those of potentials, distances see costs of transport as if solved (two time scales: Borkar 1997), and the
    estimate tends to the metric; from below for the most part, as any potentials bound a cost from below.

    Source: that a bisimulation metric can be had from samples by stochastic updates of primal and dual variables is of
    Calo et al. (2025), "Distances for Markov chains from sample streams", for chains. The updates here are not theirs:
    Genevay et al. (2016), "Stochastic optimization for large-scale optimal transport", inside Ferns et al.'s recursion,
    with several actions.

    Args:
        samples: of every state and action at once: rewards ``float[S, A]`` and next states ``int[S, A]``, the next draw
            each time. Each is looked at once. Numbers kept: ``S * S * A * S``.
        discount: in [0, 1).

    Raises:
        ValueError: for no samples, shapes that differ, next states out of range, or rewards that are not finite.
    """
    discount, count = checks.discount_factor(discount), 0
    for count, (reward, next_state) in enumerate(samples, 1):
        if count == 1:
            states, actions = shape = np.shape(reward) if np.ndim(reward) == 2 else (0, 0)
            distance, mean = np.zeros((states, states)), np.zeros(shape)
            potential, ahead = np.zeros((states, states, actions, states)), np.zeros((states, states, actions))
            seen = np.zeros((states, actions, states), dtype=bool)
            x, y, action = np.indices(ahead.shape)
        to, given = np.asarray(next_state), real_array("reward", reward)
        if not given.size or given.shape != shape or to.shape != shape or not np.issubdtype(to.dtype, np.integer):
            raise ValueError(
                f"sample {count}: rewards must be float[S, A] and next states int[S, A], the same in each sample; got "
                f"shapes {given.shape} and {to.shape}, {to.dtype}"
            )
        if to.min() < 0 or to.max() >= states or not np.isfinite(given).all():
            raise ValueError(
                f"sample {count}: next states must be from 0 to {states - 1} and rewards finite, got {to.min()} to "
                f"{to.max()} and {given.min()} to {given.max()}"
            )
        mean += (given - mean) / count
        seen[x[:, 0], action[:, 0], to] = True
        # What potentials leave to a sampled next state of y: the smallest rest over next states of x seen so far.
        rest = np.where(seen[:, None], np.moveaxis(distance[:, to], 0, -1) - potential, np.inf)
        tight, sampled = rest.argmin(axis=-1), to[x, action]
        dual = potential[x, y, action, sampled] + rest[x, y, action, tight]
        step = float(np.ptp(mean)) * count**-_POTENTIAL_POWER
        potential[x, y, action, sampled] += step
        potential[x, y, action, tight] -= step
        ahead += (dual - ahead) / (1 + (1 - discount) * (count - 1))
        distance = (np.abs(mean[:, None] - mean) + discount * ahead).max(axis=-1)
        distance = np.maximum((distance + distance.T) / 2, 0)
        np.fill_diagonal(distance, 0)
    if not count:
        raise ValueError("samples must hold at least one draw of all states and actions, got none")
    return distance
