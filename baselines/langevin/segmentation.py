"""Segmentation without labels: how well the wells that states flow into tell the true states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment


def best_permutation(labels: Any, states: Any, num_wells: int, num_states: int) -> np.ndarray:
    """Return ``int64[num_states]``: the well of each state, such that most steps are in the well of their state.

    One matching for all sequences, the best of all injections (found by the Hungarian algorithm). With more wells than
    states, some wells belong to no state: steps in them count as wrong. With fewer wells, states without one have -1:
    all their steps count as wrong. So a wrong number of wells is never hidden. For a strict protocol, match on
    training sequences.

    Args:
        labels: ``int[B, T]`` wells, from 0 to ``num_wells - 1``, or -1 for none.
        states: ``int[B, T]``, from 0 to ``num_states - 1``.
        num_wells: K, 0 or more.
        num_states: 1 or more.

    Raises:
        ValueError: for shapes that differ, or numbers out of range.
    """
    labels, states = _checked(labels, states)
    for name, values, low, count in (("labels", labels, -1, num_wells), ("states", states, 0, num_states)):
        if values.min() < low or values.max() >= count:
            raise ValueError(
                f"{name} must be from {low} to {count - 1}, got numbers from {values.min()} to {values.max()}"
            )
    inside = labels >= 0
    overlap = np.bincount(states[inside] * num_wells + labels[inside], minlength=num_states * num_wells)
    rows, columns = linear_sum_assignment(overlap.reshape(num_states, num_wells), maximize=True)
    matching = np.full(num_states, -1)
    matching[rows] = columns
    return matching


def matched_states(labels: Any, matching: np.ndarray) -> np.ndarray:
    """Return ``int64[...]``: the state of each label ``int[...]``, -1 where its well belongs to none.

    Args:
        labels: wells, -1 for none.
        matching: ``int64[num_states]``, see :func:`best_permutation`.
    """
    labels, matching = np.asarray(labels), np.asarray(matching)
    states = np.full(max(labels.max(initial=-1), matching.max(initial=-1)) + 2, -1)  # the last one is for -1
    matched = matching >= 0
    states[matching[matched]] = np.flatnonzero(matched)
    return states[labels]


def accuracy_by_lag(labels: Any, states: Any, matching: np.ndarray, lags: Iterable[int] = range(5)) -> np.ndarray:
    """Return ``float64[L]``: accuracy against the true state some steps ago. Its peak is at the lag of the labels.

    The first steps, which have no state so long ago, do not count.

    Args:
        labels, states: ``int[B, T]``, see :func:`best_permutation`.
        matching: ``int64[num_states]``, likewise.
        lags: L numbers of steps, from 0 to T - 1.

    Raises:
        ValueError: for shapes that differ, or a lag out of range.
    """
    labels, states = _checked(labels, states)
    found, length = matched_states(labels, matching), labels.shape[1]
    shares = []
    for lag in lags:
        if not 0 <= lag < length:
            raise ValueError(f"lags must be from 0 to {length - 1}, one below the steps, got {lag}")
        shares.append((found[:, lag:] == states[:, : length - lag]).mean())
    return np.array(shares)


def _checked(labels: Any, states: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, states = np.asarray(labels), np.asarray(states)
    if labels.ndim != 2 or labels.shape != states.shape or labels.size == 0:
        raise ValueError(f"labels and states must both be [B, T] and not empty, got {labels.shape} and {states.shape}")
    for name, values in (("labels", labels), ("states", states)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name} must be integers, got {values.dtype}")
    return labels, states
