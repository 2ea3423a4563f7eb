"""Pictures of a model of ``bisimgym/MarkovSignal-v0`` signals: drift, energy landscape, segmentation and latent paths.

After figures 1 and 3 to 5 of Koop, Peletier, Portegies and Menkovski (2022), "Neural Langevin Dynamics",
arXiv:2211.09537. Landscapes are those of ``beta E``, counted from the lowest minimum: E alone has no unit. In more than
two dimensions they are cut by the plane through three minima.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d.art3d import Line3DCollection  # type: ignore[import-untyped]

from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites.figures import INK, new_figure
from bisimgym.benchmarks.suites.markov.model_view import (
    COLORS,
    NAMES,
    NO_STATE,
    Chart,
    ModelView,
    drift_on,
    grid,
    space_of,
    view_model,
    window,
)
from bisimgym.benchmarks.suites.markov.settings import DETAIL, NUM_STATES, TASKS, TEST_SEED, Detail

#: beta E above the lowest minimum at which landscapes are clipped.
_CLIP = 6.0
#: Frames of a path, and of a cloud, that are shown.
_SHOWN, _CLOUD = 200, 2000
#: Of lines on white and of what lies under a path: without the ends that would be too pale or too dark.
_SPEED = ListedColormap(colormaps["viridis_r"](np.linspace(0.15, 1, 256)))
_PALE = ListedColormap(colormaps["Greys_r"](np.linspace(0.45, 1, 256)))
_SPEED_LABEL = "speed (per time unit)"
_HEIGHT = r"$\beta E$"


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
        raise UserError(f"{error}; figures() draws models of any kind, in Python") from None


#: The names of all pictures, in order; some models have no energy or no plane to show.
FILES = ("1_drift", "2_stream", "3_surface", "4_contour", "5_plane", "7_segmentation", "8_path")


def figures(
    model: NeuralLangevinDynamics, task: str, seed: int = TEST_SEED, detail: Detail = DETAIL
) -> dict[str, Figure]:
    """Return the pictures of a model by the names of their files, in order.

    =================== ==============================================================================
    ``1_drift``         arrows of the prior's drift; in space if d = 3
    ``2_stream``        its stream lines
    ``3_surface``       beta E as a surface
    ``4_contour``       beta E as a map, with minima, saddles and minimum-energy paths
    ``5_plane``         d of 3 or more: where the plane of the other pictures lies
    ``7_segmentation``  hidden states of one signal: true ones, the model's, the exact filter's
    ``8_path``          the encoded path of that signal on the map, colored by the true state
    =================== ==============================================================================

    Without an energy (a general neural SDE) there are 1, 2, 7 and 8.

    Args and errors: those of :func:`view_model`.
    """
    view = view_model(model, task, seed, detail)
    pictures: dict[str, Callable[[ModelView], Figure]] = {"1_drift": _drift, "2_stream": _stream}
    if view.wells is not None:
        pictures |= {"3_surface": _surface, "4_contour": _contour}
        if model.latent_dim > 2:
            pictures["5_plane"] = _plane
    pictures |= {"7_segmentation": _segmentation, "8_path": _path}
    return {name: draw(view) for name, draw in pictures.items()}


def _flat(view: ModelView, title: str) -> tuple[Figure, Any]:
    """Return a figure with axes that show the plane."""
    figure = new_figure(title + _on_plane(view))
    ax = figure.add_subplot()
    low, high = window(view, view.plane)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set(xlabel=view.plane.labels[0], ylabel=view.plane.labels[1])
    return figure, ax


def _space(figure: Figure, chart: Chart, low: np.ndarray, high: np.ndarray) -> Any:
    """Return axes that show a box in three dimensions, to scale. What is drawn later covers what is drawn before."""
    ax: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set(xlabel=chart.labels[0], ylabel=chart.labels[1], zlabel=chart.labels[2])
    ax.set_box_aspect(high - low, zoom=1.1)
    return ax


def _on_plane(view: ModelView) -> str:
    return "" if view.plane.whole else f"\non the plane through three {_centers_are(view)}"


def _centers_are(view: ModelView) -> str:
    return "cluster centers" if view.wells is None else "minima"


def _drift_is(view: ModelView) -> str:
    return "a network" if view.wells is None else r"$-\nabla E\,/\,\gamma$"


def _mark_centers(view: ModelView, ax: Any) -> None:
    """Put discs with the names of the states on minima, or on the centers of clusters."""
    at = view.plane.coordinates(view.centers)
    marks = ax.scatter(at[:, 0], at[:, 1], s=190, c=view.colors, edgecolors="white", linewidths=1.6, zorder=6)
    marks.set_gid("centers")
    for place, name in zip(at, view.names, strict=True):
        ax.annotate(name, place, ha="center", va="center", color="white", fontsize=9, weight="bold", zorder=7)


def _mark_centers_in_space(view: ModelView, ax: Any, at: np.ndarray) -> None:
    """Put the same discs on places ``float64[K, 3]``."""
    for place, name, color in zip(at, view.names, view.colors, strict=True):
        ax.plot(*place[:, None], marker="o", ms=13, mfc=color, mec="white", mew=1.6, ls="", zorder=8, gid="centers")
        ax.text(*place, name, ha="center", va="center", color="white", fontsize=9, weight="bold", zorder=9)


def _discs(view: ModelView) -> Line2D:
    """Return what a legend says of the discs."""
    return Line2D([], [], marker="o", ls="", ms=10, mfc=INK, mec="white", label=f"{_centers_are(view)}, by state")


def _patches(states: np.ndarray) -> list[Patch]:
    """Return what a legend says of colors: those of all states, and of none if there is one."""
    patches = [Patch(color=color, label=f"state {name}") for name, color in zip(NAMES, COLORS, strict=True)]
    return patches + ([Patch(color=NO_STATE, label="no state")] if (states < 0).any() else [])


def _legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def _drift(view: ModelView) -> Figure:
    if view.model.latent_dim == 3:
        return _drift_in_space(view)
    figure, ax = _flat(view, f"Drift of the prior, {_drift_is(view)}")
    axes, drift, speed = drift_on(view, view.plane, view.detail.arrows)
    direction = np.moveaxis(drift / np.maximum(speed, 1e-12)[..., None], -1, 0)
    arrows = ax.quiver(
        *np.meshgrid(*axes, indexing="ij"), *direction, speed, cmap=_SPEED, pivot="mid", scale=30, width=0.0035
    )
    arrows.set_clim(0, np.quantile(speed, 0.95))
    figure.colorbar(arrows, ax=ax, shrink=0.8, extend="max", label=_SPEED_LABEL)
    _mark_centers(view, ax)
    _legend(figure, [_discs(view)])
    return figure


def _drift_in_space(view: ModelView) -> Figure:
    chart = space_of(view)
    figure = new_figure(f"Drift of the prior, {_drift_is(view)}")
    ax = _space(figure, chart, *window(view, chart))
    axes, drift, speed = drift_on(view, chart, view.detail.arrows_in_space)
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
    _mark_centers_in_space(view, ax, chart.coordinates(view.centers))
    _legend(figure, [_discs(view), Line2D([], [], marker="o", ls="", ms=3, color=INK, label="tips of arrows")])
    return figure


def _stream(view: ModelView) -> Figure:
    figure, ax = _flat(view, f"Stream lines of the drift of the prior, {_drift_is(view)}")
    axes, drift, speed = drift_on(view, view.plane, view.detail.flow)
    norm = Normalize(0, np.quantile(speed, 0.95))
    lines = ax.streamplot(
        *axes, *drift.T, color=speed.T, cmap=_SPEED, norm=norm, density=1.5, linewidth=1.1, arrowsize=0.9
    )
    figure.colorbar(lines.lines, ax=ax, shrink=0.8, extend="max", label=_SPEED_LABEL)
    _mark_centers(view, ax)
    _legend(figure, [_discs(view)])
    return figure


def _surface(view: ModelView) -> Figure:
    figure = new_figure(f"Energy {_HEIGHT}" + _on_plane(view))
    count = view.detail.landscape
    axes, points = grid(view, view.plane, count)
    heights = view.heights(points)
    shown = np.where(heights <= _CLIP, heights, np.nan)
    ax: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    x, y = np.meshgrid(*axes, indexing="ij")
    surface = ax.plot_surface(
        x, y, shown, cmap="viridis", vmin=0, vmax=_CLIP, rcount=count, ccount=count, linewidth=0, antialiased=False
    )
    ends = np.concatenate([view.plane.coordinates(view.centers), view.heights(view.centers)[:, None]], axis=1)
    tops = ends + [0, 0, 1.2]
    for end, top, color in zip(ends, tops, view.colors, strict=True):
        ax.plot(*np.stack([end, top], axis=1), color=color, lw=1.8, zorder=6)
    _mark_centers_in_space(view, ax, tops)
    ax.set(xlabel=view.plane.labels[0], ylabel=view.plane.labels[1], zlim=(0, _CLIP))
    ax.view_init(elev=58, azim=-60)
    figure.colorbar(surface, ax=ax, shrink=0.6, pad=0.12, label=f"{_HEIGHT}, clipped at {_CLIP:g}")
    _legend(figure, [_discs(view)])
    return figure


def _contours(view: ModelView, ax: Any, cmap: str | ListedColormap, lines: str) -> None:
    axes, points = grid(view, view.plane, view.detail.landscape)
    heights = view.heights(points).T
    filled = ax.contourf(*axes, heights, levels=np.linspace(0, _CLIP, 25), cmap=cmap, extend="max")
    ax.contour(*axes, heights, levels=np.arange(1, _CLIP + 1), colors=lines, linewidths=0.5, alpha=0.7)
    label = f"{_HEIGHT}, clipped at {_CLIP:g}"
    ax.figure.colorbar(filled, ax=ax, shrink=0.8, ticks=np.arange(_CLIP + 1), label=label)


def _contour(view: ModelView) -> Figure:
    figure, ax = _flat(view, f"Energy {_HEIGHT}")
    _contours(view, ax, "viridis", "white")
    outline = [withStroke(linewidth=3, foreground=INK)]
    for path in view.paths.values():
        assert path.saddle is not None  # as every direct path has
        ax.plot(
            *view.plane.coordinates(path.images).T, color="white", lw=1.4, path_effects=outline, zorder=4, gid="path"
        )
        place = view.plane.coordinates(path.saddle.position)
        ax.plot(*place[:, None], marker="X", ms=10, mfc="white", mec=INK, ls="", zorder=5, gid="saddle")
        # Beside the path, on the side that is away from the middle.
        top = int(path.energies[1:-1].argmax()) + 1
        ahead, behind = (view.plane.coordinates(path.images[at]) for at in (top + 1, top - 1))
        beside = (ahead - behind)[::-1] * [1, -1] / np.linalg.norm(ahead - behind)
        outwards = 17 * beside * (1 if beside @ (place - view.plane.coordinates(view.centers).mean(axis=0)) > 0 else -1)
        ax.annotate(
            f"{view.heights(path.saddle.position):.1f}",
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
    _mark_centers(view, ax)
    shadow = "" if view.plane.whole else ", projected"
    saddles = Line2D([], [], marker="X", ls="", ms=9, mfc="white", mec=INK, label=f"saddles and their height{shadow}")
    ways = Line2D([], [], color="white", path_effects=outline, label=f"minimum-energy paths{shadow}")
    _legend(figure, [_discs(view), *([saddles, ways] if view.paths else [])])
    return figure


def _plane(view: ModelView) -> Figure:
    chart = space_of(view)
    encoded = view.encoded.reshape(-1, view.model.latent_dim)
    off = encoded - view.plane.points(view.plane.coordinates(encoded))
    share = 1 - off.var(axis=0).sum() / encoded.var(axis=0).sum()
    figure = new_figure(f"The plane through three minima holds {share:.1%} of the variance of encoded frames")
    points = grid(view, view.plane, 61)[1]
    sheet = chart.coordinates(points)
    corners = np.concatenate([sheet.reshape(-1, 3), np.stack(window(view, chart))])
    ax = _space(figure, chart, corners.min(axis=0), corners.max(axis=0))
    # Seen at 55 degrees from the normal, from above. Frames behind the plane are drawn before it, others after it.
    along, across = (chart.axes @ axis for axis in view.plane.axes)
    normal = np.cross(along, across)
    camera = np.cos(np.radians(55)) * normal - np.sin(np.radians(55)) * across
    if camera[2] < 0:
        normal, camera = -normal, -camera
    ax.view_init(elev=np.degrees(np.arcsin(camera[2])), azim=np.degrees(np.arctan2(camera[1], camera[0])))
    norm, cmap = Normalize(0, _CLIP), colormaps["viridis"]
    faces = cmap(norm(np.minimum(view.heights(points), _CLIP)))
    ax.plot_surface(
        *np.moveaxis(sheet, -1, 0), facecolors=faces, rcount=61, ccount=61, shade=False, antialiased=False, zorder=2
    )
    some = np.random.default_rng(0).choice(len(encoded), min(len(encoded), _CLOUD), replace=False)
    cloud, front = chart.coordinates(encoded[some]), off[some] @ chart.axes.T @ normal > 0
    colors = np.array(COLORS)[view.states.ravel()[some]]
    for rows, order in ((~front, 1), (front, 3)):
        ax.scatter(*cloud[rows].T, s=5, c=colors[rows], linewidths=0, depthshade=False, zorder=order)
    _mark_centers_in_space(view, ax, chart.coordinates(view.centers))
    label = f"{_HEIGHT}, clipped at {_CLIP:g}"
    figure.colorbar(ScalarMappable(norm, cmap), ax=ax, shrink=0.6, pad=0.12, label=label)
    _legend(figure, [_discs(view), *_patches(view.states)])
    return figure


def _segmentation(view: ModelView) -> Figure:
    truth = view.states[0]
    rows = {"true states": truth, "this model": view.guesses[0], "exact filter": view.filtered[0]}
    figure = new_figure(f"Hidden states of one test signal of the {TASKS[view.task].title.lower()}", (8.4, 3.0))
    cmap = ListedColormap([NO_STATE, *COLORS])
    axes = figure.subplots(len(rows), sharex=True)
    for ax, (name, states) in zip(axes, rows.items(), strict=True):
        ax.imshow(states[None], cmap=cmap, vmin=-1, vmax=NUM_STATES - 1, aspect="auto", interpolation="nearest")
        right = "" if states is truth else f"\n{(states == truth).mean():.1%} right"
        ax.set_ylabel(name + right, rotation=0, ha="right", va="center", fontsize=10)
        ax.set_yticks([])
    axes[-1].set_xlabel("time step")
    _legend(figure, _patches(view.guesses[0]))
    return figure


def _path(view: ModelView) -> Figure:
    path = view.plane.coordinates(view.encoded[0, :_SHOWN])
    figure, ax = _flat(view, f"Encoded path of a test signal, {len(path)} steps")
    if view.wells is None:
        cloud = view.plane.coordinates(view.encoded.reshape(-1, view.model.latent_dim))
        low, high = window(view, view.plane)
        cells = ax.hexbin(*cloud.T, gridsize=45, extent=(low[0], high[0], low[1], high[1]), cmap="Greys", bins="log")
        figure.colorbar(cells, ax=ax, shrink=0.8, label="encoded frames of all test signals")
    else:
        _contours(view, ax, _PALE, INK)
    ax.plot(*path.T, color=INK, lw=0.7, alpha=0.8, zorder=3)
    colors = np.array(COLORS)[view.states[0, :_SHOWN]]
    points = ax.scatter(*path.T, s=26, c=colors, edgecolors="white", linewidths=0.5, zorder=4)
    points.set_gid("path")
    _legend(figure, _patches(view.states))
    return figure
