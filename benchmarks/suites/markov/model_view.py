"""A trained model as pictures show it: encoded test signals, wells, paths between them, the plane they lie in."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th

from bisimgym.baselines.langevin.energy import frozen
from bisimgym.baselines.langevin.landscape import Wells
from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
from bisimgym.baselines.langevin.rates import MinimumEnergyPath, minimum_energy_path
from bisimgym.baselines.langevin.segmentation import best_permutation, matched_states
from bisimgym.benchmarks.errors import UserError, unknown
from bisimgym.benchmarks.suites.markov.analysis import find_regions
from bisimgym.benchmarks.suites.markov.settings import DETAIL, NUM_STATES, TASKS, TEST_SEED, Detail
from bisimgym.envs.markov_signal import sample_signals, signal_law
from bisimgym.envs.markov_signal.filters import filter_states

#: Share of the window that is added on each side.
_MARGIN = 0.15
#: Okabe and Ito's blue, vermilion and green; gray is for what belongs to no state.
COLORS, NO_STATE = ("#0072b2", "#d55e00", "#009e73"), "#999999"
NAMES = "ABC"


@dataclass(frozen=True, eq=False)
class Chart:
    """Coordinates of a part of latent space: an affine map from ``R^k`` to ``R^d`` that keeps lengths.

    Attributes:
        origin: ``float64[d]``.
        axes: ``float64[k, d]``, orthonormal rows.
        labels: names of the k axes.
    """

    origin: np.ndarray
    axes: np.ndarray
    labels: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether these are coordinates of all of latent space, k = d."""
        return self.axes.shape[0] == self.axes.shape[1]

    def points(self, coordinates: np.ndarray) -> np.ndarray:
        """Return latent positions ``float64[..., d]`` of coordinates ``float[..., k]``."""
        return self.origin + coordinates @ self.axes

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """Return coordinates ``float64[..., k]`` of latent positions ``float[..., d]``, projected."""
        return (points - self.origin) @ self.axes.T


@dataclass(frozen=True, eq=False)
class ModelView:
    """A model and what its pictures show.

    Attributes:
        model: the model.
        task: of the suite ``markov``.
        encoded: ``float64[N, T, d]``, paths of test signals without noise. The first signal is the one shown.
        states: ``int64[N, T]``, true hidden states.
        guesses: ``int64[N, T]``, the model's, -1 for none: its wells, or clusters of its paths where it has no energy,
            by the names that fit the true states best.
        filtered: ``int64[N, T]``, those of the exact filter.
        centers: ``float64[K, d]``, minima, or centers of clusters.
        center_states: ``int64[K]``, the state of each, -1 for none.
        names: of the centers: the letter of the state, or "?".
        wells: of the energy, or None.
        paths: minimum-energy paths of neighboring wells (i, j), i < j.
        floor: the lowest energy of minima and encoded frames, in units of E; nan without an energy.
        plane: what pictures in two dimensions show.
        detail: how many points they have.
    """

    model: NeuralLangevinDynamics
    task: str
    encoded: np.ndarray
    states: np.ndarray
    guesses: np.ndarray
    filtered: np.ndarray
    centers: np.ndarray
    center_states: np.ndarray
    names: list[str]
    wells: Wells | None
    paths: Mapping[tuple[int, int], MinimumEnergyPath]
    floor: float
    plane: Chart
    detail: Detail

    @property
    def colors(self) -> list[str]:
        """Colors of the centers."""
        return [NO_STATE if state < 0 else COLORS[state] for state in self.center_states]

    def heights(self, points: np.ndarray) -> np.ndarray:
        """Return beta E above the floor, ``float64[...]``, at positions ``float64[..., d]``."""
        beta = self.model.beta
        assert beta is not None  # as every model with an energy has
        return beta * (_energies(self.model, points) - self.floor)


def view_model(model: NeuralLangevinDynamics, task: str, seed: int = TEST_SEED, detail: Detail = DETAIL) -> ModelView:
    """Encode test signals of a task, and find wells and the paths between them.

    Raises:
        UserError: for a task that is not of the suite, or a seed below 0.
        ValueError: for a model of signals with another number of channels or of a single latent dimension; or, in more
            than two dimensions, fewer than three wells, or three on a line.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    if seed < 0:
        raise UserError(f"the seed must not be negative, got {seed}")
    law = signal_law(task)
    if model.settings["data_dim"] != law.dimension:
        raise ValueError(
            f"the model is one of signals with {model.settings['data_dim']} channels, those of {task} have "
            f"{law.dimension}: give a model that was trained on them"
        )
    if model.latent_dim < 2:
        raise ValueError(f"pictures are for a latent_dim of 2 or more, this model has {model.latent_dim}")
    signals, states = sample_signals(law, detail.sequences, detail.length, seed)
    encoded = model.encode(signals).positions.astype(np.float64)
    flat = encoded.reshape(-1, model.latent_dim)
    regions = find_regions(model, encoded, seed=0)
    centers, wells = regions.centers, regions.wells
    labels = regions.labels(encoded)
    matching = best_permutation(labels, states, len(centers), NUM_STATES)
    center_states = matched_states(np.arange(len(centers)), matching)
    names = ["?" if state < 0 else NAMES[state] for state in center_states]
    shares = np.ones(len(centers)) if wells is None else wells.shares
    return ModelView(
        model=model,
        task=task,
        encoded=encoded,
        states=states,
        guesses=matched_states(labels, matching),
        filtered=filter_states(law, signals),
        centers=centers,
        center_states=center_states,
        names=names,
        wells=wells,
        paths={} if wells is None else _direct_paths(model, wells),
        floor=np.nan if wells is None else float(_energies(model, np.concatenate([centers, flat])).min()),
        plane=plane_through(centers, shares, names, model.latent_dim),
        detail=detail,
    )


@th.no_grad()
def _energies(model: Any, points: np.ndarray) -> np.ndarray:
    energy, flat = frozen(model.energy), th.from_numpy(points.reshape(-1, points.shape[-1]))
    return th.cat([energy(block) for block in flat.split(2**14)]).numpy().reshape(points.shape[:-1])


def _direct_paths(model: Any, wells: Wells) -> dict[tuple[int, int], MinimumEnergyPath]:
    pairs = itertools.combinations(range(len(wells)), 2)
    paths = {(i, j): minimum_energy_path(model.energy, wells.minima[i], wells.minima[j]) for i, j in pairs}
    return {pair: path for pair, path in paths.items() if path.direct}


def plane_through(centers: np.ndarray, shares: np.ndarray, names: Sequence[str], dim: int) -> Chart:
    """Return the plane through three centers; in two dimensions the latent space as it is.

    Of centers ``float64[K, d]``, the three of the largest shares count, in their order. The first is the origin, the
    first axis leads to the second, and the names of the centers are in those of the axes.

    Raises:
        ValueError: in more than two dimensions, for fewer than three centers, or three on a line.
    """
    if dim == 2:
        return Chart(np.zeros(2), np.eye(2), ("$z_1$", "$z_2$"))
    if len(centers) < 3:
        raise ValueError(
            f"a plane in {dim} dimensions needs three minima, the energy has {len(centers)}: train longer or with "
            "another seed, or use latent_dim=2"
        )
    chosen = np.sort(np.argsort(-shares, kind="stable")[:3])
    origin, second, third = centers[chosen]
    length = np.linalg.norm(second - origin)
    along = (second - origin) / length
    across = third - origin - (third - origin) @ along * along
    height = np.linalg.norm(across)
    if not height > 1e-3 * max(length, np.linalg.norm(third - origin)):
        raise ValueError(
            f"three minima on a line ({origin.tolist()}, {second.tolist()} and {third.tolist()}) span no plane: use "
            "a model of another seed, or latent_dim=2"
        )
    first, along_to, across_to = (names[i] for i in chosen)
    labels = f"from {first} towards {along_to}", f"across, towards {across_to}"
    return Chart(origin, np.stack([along, across / height]), labels)


def space_of(view: ModelView) -> Chart:
    """Return three coordinates: those of latent space if d = 3; if d > 3 the plane and what varies most off it."""
    dim = view.model.latent_dim
    if dim == 3:
        return Chart(np.zeros(3), np.eye(3), ("$z_1$", "$z_2$", "$z_3$"))
    rest = view.encoded.reshape(-1, dim) - view.plane.origin
    rest = rest - rest @ view.plane.axes.T @ view.plane.axes
    third = np.linalg.eigh(rest.T @ rest).eigenvectors[:, -1]
    labels = (*view.plane.labels, "off the plane")
    return Chart(view.plane.origin, np.concatenate([view.plane.axes, third[None]]), labels)


def window(view: ModelView, chart: Chart) -> tuple[np.ndarray, np.ndarray]:
    """Return corners ``float64[k]`` of the box that is shown: of the centers and all but 1 % of the encoded frames."""
    encoded = chart.coordinates(view.encoded.reshape(-1, view.model.latent_dim))
    ends = np.concatenate([np.quantile(encoded, [0.005, 0.995], axis=0), chart.coordinates(view.centers)])
    low, high = ends.min(axis=0), ends.max(axis=0)
    # A side without extent would make an empty picture: a model that has not learned encodes everything alike.
    margin = _MARGIN * (high - low).max() or 0.5
    return low - margin, high + margin


def grid(view: ModelView, chart: Chart, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return k axes ``float64[count]`` of the window, and latent positions ``float64[count, ..., count, d]``."""
    low, high = window(view, chart)
    axes = [np.linspace(a, b, count) for a, b in zip(low, high, strict=True)]
    return axes, chart.points(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def drift_on(view: ModelView, chart: Chart, count: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return axes, the drift within the chart ``float64[count, ..., count, k]`` and its length, per time unit."""
    axes, points = grid(view, chart, count)
    drift = view.model.drift(points).astype(np.float64) @ chart.axes.T
    return axes, drift, np.linalg.norm(drift, axis=-1)
