"""Pictures of a model of ``bisimgym/MarkovSignal-v0`` signals: drift, energy landscape, segmentation and latent paths.

After figures 1 and 3 to 5 of Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics",
arXiv:2211.09537. Landscapes are those of ``beta E``, counted from the lowest minimum: E alone has no unit. In more than
two dimensions they are cut by the plane through three minima.
"""

from __future__ import annotations

import io
import itertools
import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch as th
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection
from PIL import Image

from bisimgym.baselines.langevin.energy import frozen
from bisimgym.baselines.langevin.landscape import Wells, assign_wells, find_wells
from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
from bisimgym.baselines.langevin.rates import MinimumEnergyPath, minimum_energy_path
from bisimgym.baselines.langevin.segmentation import best_permutation, matched_states
from bisimgym.benchmarks.errors import UserError, unknown
from bisimgym.benchmarks.suites.markov.comparators import KMeansStates
from bisimgym.benchmarks.suites.markov.suite import NUM_STATES, TASKS, TEST_LENGTH, TEST_SEED
from bisimgym.envs.markov_signal import sample_signals, signal_law
from bisimgym.envs.markov_signal.filters import filter_states

#: Test signals that are encoded. With the default seed they are the first ones of the suite's.
SEQUENCES = 100

#: beta E above the lowest minimum at which landscapes are clipped, and the levels of the surfaces in three dimensions.
_CLIP, _LEVELS = 6.0, (1.0, 3.0)
#: Points along each axis: of landscapes, of flows, of arrows in two and three dimensions, and of surfaces in three.
_FINE, _FLOW, _ARROWS, _ARROWS_3D, _CELLS = 161, 101, 25, 8, 40
#: Share of the window that is added on each side, frames shown of a path, and of a cloud.
_MARGIN, _SHOWN, _CLOUD = 0.15, 200, 2000
#: Okabe and Ito's blue, vermilion and green; grey is for what belongs to no state.
_COLORS, _NO_STATE = ("#0072b2", "#d55e00", "#009e73"), "#999999"
_NAMES = "ABC"
#: Of lines on white and of what lies under a path: without the ends that would be too pale or too dark.
_SPEED = ListedColormap(colormaps["viridis_r"](np.linspace(0.15, 1, 256)))
_PALE = ListedColormap(colormaps["Greys_r"](np.linspace(0.45, 1, 256)))
_SPEED_LABEL = "speed (per time unit)"
_HEIGHT = r"$\beta E$"
_INK, _SIZE, _DPI, _COLOURS = "#1b2733", (7.2, 5.8), 100, 128


@dataclass(frozen=True, eq=False)
class Frame:
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
class Study:
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
        wells: of the energy, or None.
        paths: minimum-energy paths of neighbouring wells (i, j), i < j.
        floor: the lowest energy of minima and encoded frames, in units of E; nan without an energy.
        plane: what pictures in two dimensions show.
    """

    model: NeuralLangevinDynamics
    task: str
    encoded: np.ndarray
    states: np.ndarray
    guesses: np.ndarray
    filtered: np.ndarray
    centers: np.ndarray
    center_states: np.ndarray
    wells: Wells | None
    paths: Mapping[tuple[int, int], MinimumEnergyPath]
    floor: float
    plane: Frame

    @property
    def names(self) -> list[str]:
        """Names of the centers: the letter of the state, or "?"."""
        return _names(self.center_states)

    @property
    def colors(self) -> list[str]:
        """Colours of the centers."""
        return [_NO_STATE if state < 0 else _COLORS[state] for state in self.center_states]

    def heights(self, points: np.ndarray) -> np.ndarray:
        """Return beta E above the floor, ``float64[...]``, at positions ``float64[..., d]``."""
        return self.model.beta * (_energies(self.model, points) - self.floor)


def _names(center_states: np.ndarray) -> list[str]:
    return ["?" if state < 0 else _NAMES[state] for state in center_states]


def load_model(path: Path) -> NeuralLangevinDynamics:
    """Return the model in a file.

    Raises:
        UserError: if there is no such file, or it holds no model, or one that was made with an energy of its own.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}: a run of the markov suite keeps its model in checkpoint/model.pt")
    try:
        return NeuralLangevinDynamics.load(path)
    except (pickle.UnpicklingError, json.JSONDecodeError, RuntimeError, EOFError, LookupError, TypeError) as error:
        raise UserError(
            f"{path} holds no model that NeuralLangevinDynamics.save has written ({type(error).__name__})"
        ) from None
    except ValueError as error:
        raise UserError(f"{error}; langevin_pictures.figures draws models of any kind, in Python") from None


def study(model: NeuralLangevinDynamics, task: str, seed: int = TEST_SEED) -> Study:
    """Encode test signals of a task, and find wells and the paths between them.

    Args:
        model: trained on signals of the task.
        task: "uniform" or "skewed".
        seed: of the signals, at least 0.

    Raises:
        UserError: for another task, or a seed below 0.
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
    signals, states = sample_signals(law, SEQUENCES, TEST_LENGTH, seed)
    encoded = model.encode(signals).positions.astype(np.float64)
    flat = encoded.reshape(-1, model.latent_dim)
    if model.energy is None:
        clusters = KMeansStates(NUM_STATES, seed=0).fit(flat)
        wells, centers, shares = None, clusters.centers, np.ones(NUM_STATES)
        labels = clusters.states(encoded)
    else:
        wells = find_wells(model.energy, flat)
        centers, shares = wells.minima, wells.shares
        labels = assign_wells(model.energy, wells, flat).reshape(states.shape)
    matching = best_permutation(labels, states, len(centers), NUM_STATES)
    center_states = matched_states(np.arange(len(centers)), matching)
    return Study(
        model=model,
        task=task,
        encoded=encoded,
        states=states,
        guesses=matched_states(labels, matching),
        filtered=filter_states(law, signals),
        centers=centers,
        center_states=center_states,
        wells=wells,
        paths={} if wells is None else _neighbours(model, wells),
        floor=np.nan if wells is None else float(_energies(model, np.concatenate([centers, flat])).min()),
        plane=plane_through(centers, shares, _names(center_states), model.latent_dim),
    )


@th.no_grad()
def _energies(model: NeuralLangevinDynamics, points: np.ndarray) -> np.ndarray:
    energy, flat = frozen(model.energy), th.from_numpy(points.reshape(-1, points.shape[-1]))
    return th.cat([energy(block) for block in flat.split(2**14)]).numpy().reshape(points.shape[:-1])


def _neighbours(model: NeuralLangevinDynamics, wells: Wells) -> dict[tuple[int, int], MinimumEnergyPath]:
    pairs = itertools.combinations(range(len(wells)), 2)
    paths = {(i, j): minimum_energy_path(model.energy, wells.minima[i], wells.minima[j]) for i, j in pairs}
    return {pair: path for pair, path in paths.items() if path.direct}


def plane_through(centers: np.ndarray, shares: np.ndarray, names: Sequence[str], dim: int) -> Frame:
    """Return the plane through three centers; in two dimensions the latent space as it is.

    Args:
        centers: ``float64[K, d]``. The three of the largest shares count, in their order. The first is the origin, and
            the first axis leads to the second.
        shares: ``float64[K]``.
        names: K, for the names of the axes.
        dim: d, 2 or more.

    Raises:
        ValueError: in more than two dimensions, for fewer than three centers, or three on a line.
    """
    if dim == 2:
        return Frame(np.zeros(2), np.eye(2), ("$z_1$", "$z_2$"))
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
    return Frame(origin, np.stack([along, across / height]), labels)


def space_of(study: Study) -> Frame:
    """Return three coordinates: those of latent space if d = 3, else the plane and the direction that varies most.

    Args:
        study: of a model with d of 3 or more.
    """
    dim = study.model.latent_dim
    if dim == 3:
        return Frame(np.zeros(3), np.eye(3), ("$z_1$", "$z_2$", "$z_3$"))
    rest = study.encoded.reshape(-1, dim) - study.plane.origin
    rest = rest - rest @ study.plane.axes.T @ study.plane.axes
    third = np.linalg.eigh(rest.T @ rest).eigenvectors[:, -1]
    labels = (*study.plane.labels, "off the plane")
    return Frame(study.plane.origin, np.concatenate([study.plane.axes, third[None]]), labels)


def figures(model: NeuralLangevinDynamics, task: str, seed: int = TEST_SEED) -> dict[str, Figure]:
    """Return the pictures of a model by the names of their files, in order.

    =================== ==============================================================================
    ``1_drift``         arrows of the prior's drift; in space if d = 3
    ``2_stream``        its stream lines
    ``3_surface``       beta E as a surface
    ``4_contour``       beta E as a map, with minima, saddles and minimum-energy paths
    ``5_plane``         d of 3 or more: where the plane of the other pictures lies
    ``6_isosurfaces``   d of 3 or more: surfaces of equal energy
    ``7_segmentation``  hidden states of one signal: true ones, the model's, the exact filter's
    ``8_path``          the encoded path of that signal on the map, coloured by the true state
    =================== ==============================================================================

    Without an energy (a general neural SDE) there are 1, 2, 7 and 8.

    Args and errors: those of :func:`study`.
    """
    found = study(model, task, seed)
    pictures: dict[str, Callable[[Study], Figure]] = {"1_drift": _drift, "2_stream": _stream}
    if found.wells is not None:
        pictures |= {"3_surface": _surface, "4_contour": _contour}
        if model.latent_dim > 2:
            pictures |= {"5_plane": _plane, "6_isosurfaces": _isosurfaces}
    pictures |= {"7_segmentation": _segmentation, "8_path": _path}
    return {name: draw(found) for name, draw in pictures.items()}


def write(pictures: Mapping[str, Figure], folder: Path) -> Iterator[Path]:
    """Write figures into a folder that is there, and yield the paths of the files.

    Files have 128 colours, a quarter of the bytes of all, and look the same.

    Args:
        pictures: by the names of their files, without ``.png``.
        folder: of the files.
    """
    for name, figure in pictures.items():
        path = folder / f"{name}.png"
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=_DPI)
        with Image.open(drawn) as picture:
            picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        yield path


def iso_surface(values: np.ndarray, level: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return ``float64[M, 3, 3]``: triangles of the surface where a function is at a level.

    By marching tetrahedra: cells are cut into six tetrahedra that share the cell's diagonal, and the function is taken
    to be linear in each.

    Args:
        values: ``float[X, Y, Z]``, on a grid with 2 points or more along each axis.
        level: of the function.
        low, high: ``float[3]``, corners of the grid.
    """
    shape = np.array(values.shape)
    cells = np.stack(np.meshgrid(*(np.arange(n - 1) for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    triangles = []
    for order in itertools.permutations(range(3)):
        corners = np.concatenate([np.zeros((1, 3), int), np.eye(3, dtype=int)[list(order)].cumsum(axis=0)])
        places = cells[:, None] + corners
        heights = values[tuple(np.moveaxis(places, -1, 0))]
        below = (heights < level).sum(axis=1)
        for count in (1, 2, 3):
            rows = below == count
            rank = np.argsort(heights[rows], axis=1)
            v = np.take_along_axis(heights[rows], rank, axis=1)
            p = np.take_along_axis(places[rows], rank[..., None], axis=1)

            def cut(i: int, j: int, v: np.ndarray = v, p: np.ndarray = p) -> np.ndarray:
                return p[:, i] + ((level - v[:, i]) / (v[:, j] - v[:, i]))[:, None] * (p[:, j] - p[:, i])

            if count == 2:
                a, b, c, d = cut(0, 2), cut(0, 3), cut(1, 3), cut(1, 2)
                faces = [(a, b, c), (a, c, d)]
            else:
                faces = [(cut(0, 1), cut(0, 2), cut(0, 3)) if count == 1 else (cut(0, 3), cut(1, 3), cut(2, 3))]
            triangles += [np.stack(face, axis=1) for face in faces]
    return low + np.concatenate(triangles) / (shape - 1) * (high - low)


def window(study: Study, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Return corners ``float64[k]`` of the box that is shown: of the centers and all but 1 % of the encoded frames."""
    encoded = frame.coordinates(study.encoded.reshape(-1, study.model.latent_dim))
    ends = np.concatenate([np.quantile(encoded, [0.005, 0.995], axis=0), frame.coordinates(study.centers)])
    low, high = ends.min(axis=0), ends.max(axis=0)
    # A side without extent would make an empty picture: a model that has not learned encodes everything alike.
    margin = _MARGIN * (high - low).max() or 0.5
    return low - margin, high + margin


def _grid(study: Study, frame: Frame, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return k axes ``float64[count]`` of the window, and latent positions ``float64[count, ..., count, d]``."""
    low, high = window(study, frame)
    axes = [np.linspace(a, b, count) for a, b in zip(low, high, strict=True)]
    return axes, frame.points(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def _drift_on(study: Study, frame: Frame, count: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return axes, the drift within the frame ``float64[count, ..., count, k]`` and its length, per time unit."""
    axes, points = _grid(study, frame, count)
    drift = study.model.drift(points).astype(np.float64) @ frame.axes.T
    return axes, drift, np.linalg.norm(drift, axis=-1)


def _figure(title: str, size: tuple[float, float] = _SIZE) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=12, color=_INK)
    return figure


def _flat(study: Study, title: str) -> tuple[Figure, Axes]:
    """Return a figure with axes that show the plane."""
    figure = _figure(title + _on_plane(study))
    ax = figure.add_subplot()
    low, high = window(study, study.plane)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set(xlabel=study.plane.labels[0], ylabel=study.plane.labels[1])
    return figure, ax


def _space(figure: Figure, frame: Frame, low: np.ndarray, high: np.ndarray) -> Axes:
    """Return axes that show a box in three dimensions, to scale. What is drawn later covers what is drawn before."""
    ax = figure.add_subplot(projection="3d", computed_zorder=False)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set(xlabel=frame.labels[0], ylabel=frame.labels[1], zlabel=frame.labels[2])
    ax.set_box_aspect(high - low, zoom=1.1)
    return ax


def _on_plane(study: Study) -> str:
    return "" if study.plane.whole else f"\non the plane through three {_centers_are(study)}"


def _centers_are(study: Study) -> str:
    return "cluster centers" if study.wells is None else "minima"


def _drift_is(study: Study) -> str:
    return "drift of the prior, " + ("a network" if study.wells is None else r"$-\nabla E\,/\,\gamma$")


def _mark_centers(study: Study, ax: Axes) -> None:
    """Put discs with the names of the states on minima, or on the centers of clusters."""
    at = study.plane.coordinates(study.centers)
    marks = ax.scatter(at[:, 0], at[:, 1], s=190, c=study.colors, edgecolors="white", linewidths=1.6, zorder=6)
    marks.set_gid("centers")
    for place, name in zip(at, study.names, strict=True):
        ax.annotate(name, place, ha="center", va="center", color="white", fontsize=9, weight="bold", zorder=7)


def _mark_centers_in_space(study: Study, ax: Axes, at: np.ndarray) -> None:
    """Put the same discs on places ``float64[K, 3]``."""
    for place, name, color in zip(at, study.names, study.colors, strict=True):
        ax.plot(*place[:, None], marker="o", ms=13, mfc=color, mec="white", mew=1.6, ls="", zorder=8, gid="centers")
        ax.text(*place, name, ha="center", va="center", color="white", fontsize=9, weight="bold", zorder=9)


def _discs(study: Study) -> Line2D:
    """Return what a legend says of the discs."""
    return Line2D([], [], marker="o", ls="", ms=10, mfc=_INK, mec="white", label=f"{_centers_are(study)}, by state")


def _patches(states: np.ndarray) -> list[Patch]:
    """Return what a legend says of colours: those of all states, and of none if there is one."""
    patches = [Patch(color=color, label=f"state {name}") for name, color in zip(_NAMES, _COLORS, strict=True)]
    return patches + ([Patch(color=_NO_STATE, label="no state")] if (states < 0).any() else [])


def _legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def _drift(study: Study) -> Figure:
    if study.model.latent_dim == 3:
        return _drift_in_space(study)
    figure, ax = _flat(study, _capital(_drift_is(study)))
    axes, drift, speed = _drift_on(study, study.plane, _ARROWS)
    direction = np.moveaxis(drift / np.maximum(speed, 1e-12)[..., None], -1, 0)
    arrows = ax.quiver(
        *np.meshgrid(*axes, indexing="ij"), *direction, speed, cmap=_SPEED, pivot="mid", scale=30, width=0.0035
    )
    arrows.set_clim(0, np.quantile(speed, 0.95))
    figure.colorbar(arrows, ax=ax, shrink=0.8, extend="max", label=_SPEED_LABEL)
    _mark_centers(study, ax)
    _legend(figure, [_discs(study)])
    return figure


def _drift_in_space(study: Study) -> Figure:
    frame = space_of(study)
    figure = _figure(_capital(_drift_is(study)))
    ax = _space(figure, frame, *window(study, frame))
    axes, drift, speed = _drift_on(study, frame, _ARROWS_3D)
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    spacing = min(axis[1] - axis[0] for axis in axes)
    half = 0.4 * spacing * drift / np.maximum(speed, 1e-12)[..., None]
    # The heads of 3-d arrows cannot be read at this size: dots mark the tips.
    shafts = np.stack([places - half, places + half], axis=-2).reshape(-1, 2, 3)
    norm = Normalize(0, np.quantile(speed, 0.95))
    colors = _SPEED(norm(speed.ravel()))
    ax.add_collection3d(Line3DCollection(shafts, colors=colors, linewidths=1.2))
    ax.scatter(*shafts[:, 1].T, c=colors, s=7, depthshade=False)
    figure.colorbar(ScalarMappable(norm, _SPEED), ax=ax, shrink=0.6, pad=0.1, extend="max", label=_SPEED_LABEL)
    _mark_centers_in_space(study, ax, frame.coordinates(study.centers))
    _legend(figure, [_discs(study), Line2D([], [], marker="o", ls="", ms=3, color=_INK, label="tips of arrows")])
    return figure


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _stream(study: Study) -> Figure:
    figure, ax = _flat(study, f"Stream lines of the {_drift_is(study)}")
    axes, drift, speed = _drift_on(study, study.plane, _FLOW)
    norm = Normalize(0, np.quantile(speed, 0.95))
    lines = ax.streamplot(
        *axes, *drift.T, color=speed.T, cmap=_SPEED, norm=norm, density=1.5, linewidth=1.1, arrowsize=0.9
    )
    figure.colorbar(lines.lines, ax=ax, shrink=0.8, extend="max", label=_SPEED_LABEL)
    _mark_centers(study, ax)
    _legend(figure, [_discs(study)])
    return figure


def _surface(study: Study) -> Figure:
    figure = _figure(f"Energy {_HEIGHT}" + _on_plane(study))
    axes, points = _grid(study, study.plane, _FINE)
    heights = study.heights(points)
    shown = np.where(heights <= _CLIP, heights, np.nan)
    ax = figure.add_subplot(projection="3d", computed_zorder=False)
    x, y = np.meshgrid(*axes, indexing="ij")
    surface = ax.plot_surface(
        x, y, shown, cmap="viridis", vmin=0, vmax=_CLIP, rcount=_FINE, ccount=_FINE, linewidth=0, antialiased=False
    )
    ends = np.concatenate([study.plane.coordinates(study.centers), study.heights(study.centers)[:, None]], axis=1)
    tops = ends + [0, 0, 1.2]
    for end, top, color in zip(ends, tops, study.colors, strict=True):
        ax.plot(*np.stack([end, top], axis=1), color=color, lw=1.8, zorder=6)
    _mark_centers_in_space(study, ax, tops)
    ax.set(xlabel=study.plane.labels[0], ylabel=study.plane.labels[1], zlim=(0, _CLIP))
    ax.view_init(elev=58, azim=-60)
    figure.colorbar(surface, ax=ax, shrink=0.6, pad=0.12, label=f"{_HEIGHT}, clipped at {_CLIP:g}")
    _legend(figure, [_discs(study)])
    return figure


def _contours(study: Study, ax: Axes, cmap: str | ListedColormap, lines: str) -> None:
    axes, points = _grid(study, study.plane, _FINE)
    heights = study.heights(points).T
    filled = ax.contourf(*axes, heights, levels=np.linspace(0, _CLIP, 25), cmap=cmap, extend="max")
    ax.contour(*axes, heights, levels=np.arange(1, _CLIP + 1), colors=lines, linewidths=0.5, alpha=0.7)
    label = f"{_HEIGHT}, clipped at {_CLIP:g}"
    ax.figure.colorbar(filled, ax=ax, shrink=0.8, ticks=np.arange(_CLIP + 1), label=label)


def _contour(study: Study) -> Figure:
    figure, ax = _flat(study, f"Energy {_HEIGHT}")
    _contours(study, ax, "viridis", "white")
    outline = [withStroke(linewidth=3, foreground=_INK)]
    for path in study.paths.values():
        ax.plot(
            *study.plane.coordinates(path.images).T, color="white", lw=1.4, path_effects=outline, zorder=4, gid="path"
        )
        place = study.plane.coordinates(path.saddle.position)
        ax.plot(*place[:, None], marker="X", ms=10, mfc="white", mec=_INK, ls="", zorder=5, gid="saddle")
        # Beside the path, on the side that is away from the middle.
        ahead, behind = (study.plane.coordinates(path.images[at]) for at in _around_top(path))
        beside = (ahead - behind)[::-1] * [1, -1] / np.linalg.norm(ahead - behind)
        outwards = (
            17 * beside * (1 if beside @ (place - study.plane.coordinates(study.centers).mean(axis=0)) > 0 else -1)
        )
        ax.annotate(
            f"{study.heights(path.saddle.position):.1f}",
            place,
            xytext=outwards,
            textcoords="offset points",
            ha="center",
            va="center",
            color="white",
            fontsize=10,
            path_effects=outline,
            zorder=7,
        )
    _mark_centers(study, ax)
    shadow = "" if study.plane.whole else ", projected"
    saddles = Line2D([], [], marker="X", ls="", ms=9, mfc="white", mec=_INK, label=f"saddles and their height{shadow}")
    ways = Line2D([], [], color="white", path_effects=outline, label=f"minimum-energy paths{shadow}")
    _legend(figure, [_discs(study), *([saddles, ways] if study.paths else [])])
    return figure


def _around_top(path: MinimumEnergyPath) -> tuple[int, int]:
    """Return the numbers of the images after and before the highest one."""
    top = int(path.energies[1:-1].argmax()) + 1
    return top + 1, top - 1


def _plane(study: Study) -> Figure:
    frame = space_of(study)
    encoded = study.encoded.reshape(-1, study.model.latent_dim)
    off = encoded - study.plane.points(study.plane.coordinates(encoded))
    share = 1 - off.var(axis=0).sum() / encoded.var(axis=0).sum()
    figure = _figure(f"The plane through three minima holds {share:.1%} of the variance of encoded frames")
    points = _grid(study, study.plane, 61)[1]
    sheet = frame.coordinates(points)
    corners = np.concatenate([sheet.reshape(-1, 3), np.stack(window(study, frame))])
    ax = _space(figure, frame, corners.min(axis=0), corners.max(axis=0))
    # Seen at 55 degrees from the normal, from above. Frames behind the plane are drawn before it, others after it.
    along, across = (frame.axes @ axis for axis in study.plane.axes)
    normal = np.cross(along, across)
    camera = np.cos(np.radians(55)) * normal - np.sin(np.radians(55)) * across
    if camera[2] < 0:
        normal, camera = -normal, -camera
    ax.view_init(elev=np.degrees(np.arcsin(camera[2])), azim=np.degrees(np.arctan2(camera[1], camera[0])))
    norm, cmap = Normalize(0, _CLIP), colormaps["viridis"]
    faces = cmap(norm(np.minimum(study.heights(points), _CLIP)))
    ax.plot_surface(
        *np.moveaxis(sheet, -1, 0), facecolors=faces, rcount=61, ccount=61, shade=False, antialiased=False, zorder=2
    )
    some = np.random.default_rng(0).choice(len(encoded), min(len(encoded), _CLOUD), replace=False)
    cloud, front = frame.coordinates(encoded[some]), off[some] @ frame.axes.T @ normal > 0
    colors = np.array(_COLORS)[study.states.ravel()[some]]
    for rows, order in ((~front, 1), (front, 3)):
        ax.scatter(*cloud[rows].T, s=5, c=colors[rows], linewidths=0, depthshade=False, zorder=order)
    _mark_centers_in_space(study, ax, frame.coordinates(study.centers))
    label = f"{_HEIGHT}, clipped at {_CLIP:g}"
    figure.colorbar(ScalarMappable(norm, cmap), ax=ax, shrink=0.6, pad=0.12, label=label)
    _legend(figure, [_discs(study), *_patches(study.states)])
    return figure


def _isosurfaces(study: Study) -> Figure:
    frame = space_of(study)
    inner, outer = _LEVELS
    figure = _figure(f"Surfaces of equal energy: {_HEIGHT} {inner:g} (by state) and {outer:g} (grey)")
    low, high = window(study, frame)
    ax = _space(figure, frame, low, high)
    heights = study.heights(_grid(study, frame, _CELLS)[1])
    for level, order, alpha in ((inner, 1, 1.0), (outer, 2, 0.12)):
        triangles = iso_surface(heights, level, low, high)
        if len(triangles) == 0:
            continue
        colors = np.full(len(triangles), _NO_STATE)
        if level == inner:
            labels = assign_wells(study.model.energy, study.wells, frame.points(triangles.mean(axis=1)))
            colors = np.array([*study.colors, _NO_STATE])[labels]
        faces = _shaded(triangles, colors, alpha)
        ax.add_collection3d(Poly3DCollection(triangles, facecolors=faces, edgecolors="none", zorder=order))
    at = frame.coordinates(study.centers)
    for place, name in zip(at, study.names, strict=True):
        ax.text(*place, name, ha="center", va="center", color="white", fontsize=13, weight="bold", zorder=9)
    _legend(figure, _patches(study.center_states))
    return figure


def _shaded(triangles: np.ndarray, colors: np.ndarray, alpha: float) -> np.ndarray:
    """Return ``float64[M, 4]`` colours of triangles, lit from the upper left on both sides."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    light = np.array([0.2, -0.5, 0.85]) / np.linalg.norm([0.2, -0.5, 0.85])
    brightness = 0.55 + 0.45 * np.abs(normals / np.maximum(lengths, 1e-300) @ light)
    rgb = np.array([to_rgb(color) for color in colors]) * brightness[:, None]
    return np.concatenate([rgb, np.full((len(rgb), 1), alpha)], axis=1)


def _segmentation(study: Study) -> Figure:
    truth = study.states[0]
    rows = {"true states": truth, "this model": study.guesses[0], "exact filter": study.filtered[0]}
    figure = _figure(f"Hidden states of one test signal of the {TASKS[study.task].title.lower()}", (8.4, 3.0))
    cmap = ListedColormap([_NO_STATE, *_COLORS])
    axes = figure.subplots(len(rows), sharex=True)
    for ax, (name, states) in zip(axes, rows.items(), strict=True):
        ax.imshow(states[None], cmap=cmap, vmin=-1, vmax=NUM_STATES - 1, aspect="auto", interpolation="nearest")
        right = "" if states is truth else f"\n{(states == truth).mean():.1%} right"
        ax.set_ylabel(name + right, rotation=0, ha="right", va="center", fontsize=10)
        ax.set_yticks([])
    axes[-1].set_xlabel("time step")
    _legend(figure, _patches(study.guesses[0]))
    return figure


def _path(study: Study) -> Figure:
    path = study.plane.coordinates(study.encoded[0, :_SHOWN])
    figure, ax = _flat(study, f"Encoded path of a test signal, {len(path)} steps")
    if study.wells is None:
        cloud = study.plane.coordinates(study.encoded.reshape(-1, study.model.latent_dim))
        low, high = window(study, study.plane)
        cells = ax.hexbin(*cloud.T, gridsize=45, extent=(low[0], high[0], low[1], high[1]), cmap="Greys", bins="log")
        figure.colorbar(cells, ax=ax, shrink=0.8, label="encoded frames of all test signals")
    else:
        _contours(study, ax, _PALE, _INK)
    ax.plot(*path.T, color=_INK, lw=0.7, alpha=0.8, zorder=3)
    colors = np.array(_COLORS)[study.states[0, :_SHOWN]]
    points = ax.scatter(*path.T, s=26, c=colors, edgecolors="white", linewidths=0.5, zorder=4)
    points.set_gid("path")
    _legend(figure, _patches(study.states))
    return figure
