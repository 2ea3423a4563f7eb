"""Metrics from samples: the process that they show, in place of one that is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from bisimgym.envs.checks import integer, real_array


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

    Source: Ferns, Panangaden and Precup (2004) for metrics of estimated processes. Estimates that keep no counts, as
    those of Calo et al. (2025), are not part of this package.

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
