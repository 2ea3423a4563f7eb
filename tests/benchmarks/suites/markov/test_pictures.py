"""Pictures of trained Langevin models, the command that draws them, and the page that shows them."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest
import torch as th
from energies import mixture_energy
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from bisimgym.baselines.langevin.model import NeuralLangevinDynamics, Paths
from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.suites.figures import write_figures
from bisimgym.benchmarks.suites.markov import model_view, pictures
from bisimgym.benchmarks.suites.markov.model_view import (
    COLORS,
    NO_STATE,
    Chart,
    plane_through,
    space_of,
    window,
)
from bisimgym.benchmarks.suites.markov.settings import Detail
from bisimgym.envs.markov_signal import sample_signals, signal_law
from bisimgym.envs.markov_signal.filters import filter_states, frame_states

PAGE = Path(__file__).parents[4] / "docs" / "langevin.md"
SEED, SEQUENCES, LENGTH = 5, 12, 80
#: Fewer and shorter signals, and coarser pictures.
DETAIL = Detail(SEQUENCES, LENGTH, landscape=41, flow=31, arrows=9, arrows_in_space=4)
FLAT = ["1_drift", "2_stream", "3_surface", "4_contour", "7_segmentation", "8_path"]
SPACE = [*FLAT[:4], "5_plane", *FLAT[4:]]
#: A triangle, and a fourth place.
CORNERS = 2.0 * np.array([[0.0, 0.0], [1.0, 0.1], [0.4, 1.0], [1.6, 1.3]])
#: Tiny networks.
TINY = {"hidden": 4, "context": 4, "control_units": 4, "energy_units": 4, "drift_units": 4}


def figures(model, task="skewed"):
    return pictures.figures(model, task, SEED, DETAIL)


def view_model(model):
    return model_view.view_model(model, "skewed", SEED, DETAIL)


def places(count, dim):
    """Return places of wells, ``float64[count, dim]``, in general position."""
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((dim, dim)))[0]
    return 0.3 + np.pad(CORNERS[:count], ((0, 0), (0, dim - 2))) @ rotation


def known(means, beta=1.3, **settings):
    """Return a model whose energy has wells at means, and that encodes frames by the states they look like."""
    count, dim = means.shape
    # A width of 0.3 and a distance of 2: the minima of the energy are the means up to rounding.
    energy = mixture_energy(np.ones(count), means, np.tile(0.09 * np.eye(dim), (count, 1, 1)), beta)
    model = NeuralLangevinDynamics(15, latent_dim=dim, energy=energy, beta=beta, **TINY, **settings)

    def encode(signals):
        noise = 0.1 * np.random.default_rng(0).standard_normal((*signals.shape[:2], dim))
        looks = frame_states(signal_law("skewed"), signals) % count
        if count > 3:  # some frames belong to a place of their own
            looks = np.where(np.arange(signals.shape[1]) % 10 == 0, 3, looks)
        return Paths((means[looks] + noise).astype(np.float32), None)

    model.encode = encode
    return model


@functools.cache
def view_of(count, dim):
    """What is to be seen of a known model, found once for the tests that look at it."""
    return view_model(known(places(count, dim)))


@functools.cache
def pictures_of(count, dim):
    """The pictures of a known model, drawn once for the tests that look at them."""
    return figures(known(places(count, dim)))


def shown_signals():
    return sample_signals(signal_law("skewed"), SEQUENCES, LENGTH, SEED)


def with_gid(ax, gid):
    return [artist for artist in ax.get_children() if artist.get_gid() == gid]


class TestWhichPictures:
    def test_an_energy_in_the_plane(self):
        assert list(pictures_of(3, 2)) == FLAT

    def test_an_energy_with_momenta(self):
        assert list(figures(known(places(2, 2), dynamics="underdamped"))) == FLAT

    @pytest.mark.parametrize("dim", [3, 4])
    def test_an_energy_in_space(self, dim):
        assert list(pictures_of(3, dim)) == SPACE

    @pytest.mark.parametrize("dim", [2, 3])
    def test_a_drift_that_is_no_gradient(self, dim):
        model = NeuralLangevinDynamics(15, "general", dim, **TINY)
        assert list(figures(model, "uniform")) == ["1_drift", "2_stream", "7_segmentation", "8_path"]

    def test_a_model_that_has_learned_nothing_has_pictures_as_well(self):
        assert list(figures(NeuralLangevinDynamics(15, **TINY), "uniform")) == FLAT


class TestView:
    def test_wells_have_the_names_of_the_states_they_are_those_of(self):
        means = places(3, 2)
        found = view_of(3, 2)
        assert sorted(found.names) == ["A", "B", "C"]
        np.testing.assert_allclose(found.centers, means[found.center_states], atol=1e-3)
        assert found.colors == [COLORS[state] for state in found.center_states]
        signals, states = shown_signals()
        np.testing.assert_array_equal(found.states, states)
        np.testing.assert_array_equal(found.guesses, frame_states(signal_law("skewed"), signals))
        np.testing.assert_array_equal(found.filtered, filter_states(signal_law("skewed"), signals))

    def test_a_well_of_no_state_is_named_so(self):
        found = view_of(4, 2)
        assert sorted(found.names) == ["?", "A", "B", "C"]
        fourth = found.names.index("?")
        np.testing.assert_allclose(found.centers[fourth], places(4, 2)[3], atol=1e-3)
        assert found.colors[fourth] == NO_STATE
        assert (found.guesses[:, ::10] == -1).all()

    def test_heights_are_those_of_the_density(self):
        means = places(3, 2)
        found = view_model(known(means, beta=2.0))
        middle = (means[0] + means[1]) / 2
        density = [np.exp(-((means - z) ** 2).sum(axis=1) / 0.18).sum() for z in (means[0], middle)]
        np.testing.assert_allclose(found.heights(means), 0, atol=1e-4)
        np.testing.assert_allclose(found.heights(middle), np.log(density[0] / density[1]), atol=1e-4)

    def test_the_window_shows_centers_and_data(self):
        found = view_of(3, 3)
        low, high = window(found, found.plane)
        for points in (found.centers, found.encoded.reshape(-1, 3)):
            at = found.plane.coordinates(points)
            assert ((at > low) & (at < high)).all(axis=1).mean() > 0.99


class TestPlane:
    def test_three_centers_lie_on_it(self):
        centers = places(3, 5)
        plane = plane_through(centers, np.ones(3), ["B", "A", "C"], 5)
        at = plane.coordinates(centers)
        np.testing.assert_allclose(plane.points(at), centers, atol=1e-12)
        np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(at[0], 0, atol=1e-12)
        assert at[1, 1] == pytest.approx(0)
        assert at[1, 0] > 0
        assert at[2, 1] > 0
        assert plane.labels == ("from B towards A", "across, towards C")

    def test_the_wells_that_hold_most_count(self):
        centers = places(4, 3)
        plane = plane_through(centers, np.array([0.3, 0.05, 0.3, 0.35]), list("A?BC"), 3)
        np.testing.assert_allclose(plane.points(plane.coordinates(centers[[0, 2, 3]])), centers[[0, 2, 3]], atol=1e-12)
        assert plane.labels[0] == "from A towards B"

    def test_two_dimensions_are_shown_as_they_are(self):
        plane = plane_through(places(1, 2), np.ones(1), ["A"], 2)
        assert plane.whole
        np.testing.assert_array_equal(plane.points(places(3, 2)), places(3, 2))

    def test_minima_on_a_line_span_none(self):
        line = places(3, 3)
        line[2] = 2 * line[1] - line[0]
        with pytest.raises(ValueError, match="three minima on a line"):
            view_model(known(line))

    def test_two_minima_span_none(self):
        with pytest.raises(ValueError, match="needs three minima, the energy has 2"):
            view_model(known(places(2, 3)))

    def test_space_holds_the_plane_and_the_direction_that_varies_most(self):
        model = known(places(3, 5))
        encode, off = model.encode, np.linalg.svd(places(3, 5) - places(3, 5)[0])[2][-1]

        def wavy(signals):
            positions = encode(signals).positions
            waves = np.sin(np.arange(positions.shape[1]))[:, None] * off
            return Paths((positions + waves).astype(np.float32), None)

        model.encode = wavy
        found = view_model(model)
        space = space_of(found)
        np.testing.assert_allclose(space.axes @ space.axes.T, np.eye(3), atol=1e-12)
        np.testing.assert_array_equal(space.axes[:2], found.plane.axes)
        assert abs(space.axes[2] @ off) > 0.99


class TestWhatIsDrawn:
    def test_minima_saddles_and_paths_are_marked_where_they_are(self):
        means = places(3, 2)
        found = view_of(3, 2)
        ax = pictures_of(3, 2)["4_contour"].axes[0]
        (marks,) = with_gid(ax, "centers")
        np.testing.assert_allclose(marks.get_offsets(), means[found.center_states], atol=1e-3)
        np.testing.assert_allclose(marks.get_facecolors(), [to_rgba(color) for color in found.colors])
        names = {text.get_text(): text.xy for text in ax.texts}
        for k, name in enumerate(found.names):
            np.testing.assert_allclose(names[name], found.centers[k])
        # Two wells of a mixture of three narrow Gaussians are parted near the middle of their side.
        assert len(found.paths) >= 2
        saddles = np.array([np.ravel(line.get_data()) for line in with_gid(ax, "saddle")])
        sides = np.array([(found.centers[i] + found.centers[j]) / 2 for i, j in found.paths])
        np.testing.assert_allclose(saddles, sides, atol=0.15)
        for line, (i, j) in zip(with_gid(ax, "path"), found.paths, strict=True):
            np.testing.assert_allclose(line.get_xydata()[[0, -1]], found.centers[[i, j]])

    def test_minima_on_a_plane_are_marked_in_its_coordinates(self):
        found = view_of(3, 3)
        drawn = pictures_of(3, 3)
        for name in ("2_stream", "4_contour"):
            (marks,) = with_gid(drawn[name].axes[0], "centers")
            np.testing.assert_allclose(marks.get_offsets(), found.plane.coordinates(found.centers))
        marks = with_gid(drawn["5_plane"].axes[0], "centers")
        np.testing.assert_allclose([np.ravel(line.get_data_3d()) for line in marks], found.centers)

    def test_arrows_point_downhill(self):
        model = known(places(1, 2))
        (arrows,) = [c for c in figures(model)["1_drift"].axes[0].collections if hasattr(c, "U")]
        towards = places(1, 2)[0] - np.stack([arrows.X, arrows.Y], axis=-1)
        cosine = (towards * np.stack([arrows.U, arrows.V], axis=-1)).sum(axis=-1) / np.linalg.norm(towards, axis=-1)
        np.testing.assert_allclose(cosine, 1, atol=1e-5)
        # beta E = |z - mean|^2 / (2 * 0.09): the drift is linear.
        np.testing.assert_allclose(arrows.get_array(), np.linalg.norm(towards, axis=-1) / (0.09 * 1.3), rtol=1e-4)

    def test_the_strip_shows_the_labels(self):
        figure = pictures_of(3, 2)["7_segmentation"]
        law, (signals, states) = signal_law("skewed"), shown_signals()
        rows = [states[0], frame_states(law, signals)[0], filter_states(law, signals)[0]]
        for ax, expected in zip(figure.axes, rows, strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array(), expected[None])
        texts = [ax.get_ylabel() for ax in figure.axes]
        assert texts[0] == "true states"
        for text, row in zip(texts[1:], rows[1:], strict=True):
            assert text.endswith(f"\n{(row == states[0]).mean():.1%} right")

    def test_the_path_has_the_colors_of_the_true_states(self):
        found = view_of(3, 3)
        (points,) = with_gid(pictures_of(3, 3)["8_path"].axes[0], "path")
        np.testing.assert_allclose(points.get_offsets(), found.plane.coordinates(found.encoded[0]))
        colors = [to_rgba(COLORS[state]) for state in found.states[0]]
        np.testing.assert_allclose(points.get_facecolors(), colors)


class TestCommand:
    def save(self, path, *arguments, **settings):
        NeuralLangevinDynamics(*arguments, **TINY, **settings).save(path)
        return str(path)

    def test_it_writes_pictures(self, tmp_path, capsys):
        out = tmp_path / "new" / "folder"
        model = self.save(tmp_path / "model.pt")
        assert main(["landscape", model, "--task", "skewed", "--out", str(out), "--seed", "3"]) == 0
        assert sorted(path.stem for path in out.iterdir()) == FLAT
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())
        assert capsys.readouterr().out.split() == [str(out / f"{name}.png") for name in FLAT]

    def test_it_replaces_its_own_pictures_only_and_says_what_a_general_model_lacks(self, tmp_path, capsys):
        command = ["landscape", self.save(tmp_path / "model.pt", 15, "general"), "--out", str(tmp_path)]
        (own,) = write_figures({"1_drift": Figure()}, tmp_path)
        before = own.read_bytes()
        (tmp_path / "8_path.png").write_text("mine")
        assert main(command) == 2
        assert "8_path.png is there and not a picture that bisimgym wrote" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["1_drift.png", "8_path.png", "model.pt"]
        assert own.read_bytes() == before
        (tmp_path / "8_path.png").unlink()
        assert main(command) == 0
        assert own.read_bytes() != before
        assert len(list(tmp_path.glob("*.png"))) == 4
        assert "no gradient: pictures 3 to" in capsys.readouterr().out

    def test_mistakes_are_named(self, tmp_path, capsys):
        (tmp_path / "text.pt").write_text("no model")
        (tmp_path / "empty.pt").write_bytes(b"")
        th.save({"records": []}, tmp_path / "training.pt")
        th.save([1, 2], tmp_path / "list.pt")
        model = self.save(tmp_path / "model.pt")
        cases = [
            (["nowhere.pt"], "there is no file nowhere.pt: a run of the markov suite keeps its model in checkpoint"),
            ([str(tmp_path)], f"there is no file {tmp_path}"),
            *(([str(tmp_path / f"{name}.pt")], "holds no model") for name in ("text", "empty", "training", "list")),
            ([self.save(tmp_path / "seven.pt", 7)], "signals with 7 channels, those of uniform have 15"),
            ([self.save(tmp_path / "line.pt", 15, "overdamped", 1)], "latent_dim of 2 or more, this model has 1"),
            ([self.save(tmp_path / "space.pt", 15, "overdamped", 3)], "needs three minima, the energy has"),
            (
                [self.save(tmp_path / "own.pt", latent_dim=2, energy=mixture_energy([1], [[0, 0]], [np.eye(2)]))],
                "with an energy given",
            ),
            ([model, "--task", "square"], "unknown task 'square': choose from uniform, skewed"),
            ([model, "--seed", "-1"], "seed must not be negative, got -1"),
            ([model, "--out", str(tmp_path / "text.pt" / "x")], "cannot write to"),
        ]
        for arguments, expected in cases:
            out = [] if "--out" in arguments else ["--out", str(tmp_path / "out")]
            assert main(["landscape", *arguments, *out]) == 2, arguments
            line = capsys.readouterr().err
            assert expected in line
            assert line.count("\n") == 1
        assert not list(tmp_path.rglob("*.png"))


def test_coordinates_keep_lengths():
    chart = Chart(np.array([1.0, 2.0, 3.0]), np.eye(3)[[2, 0]], ("a", "b"))
    np.testing.assert_array_equal(chart.points(np.array([5.0, 7.0])), [8, 2, 8])
    np.testing.assert_array_equal(chart.coordinates(np.array([8.0, 100.0, 8.0])), [5, 7])


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    names = {}
    for number, block in enumerate(blocks):  # one after the other, as a reader would
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert len(names["history"].loss) == 150
    assert len(names["wells"]) == 3
    assert names["accuracy"] > 0.9
    assert "3 wells" in capsys.readouterr().out
    assert (tmp_path / "model.pt").is_file()


def test_files_that_the_page_shows_are_there():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert [t for t in targets if not (PAGE.parent / t).is_file()] == []
    shown = list((PAGE.parent / "langevin").iterdir())
    assert {f"langevin/{p.name}" for p in shown} <= set(targets), "a picture that no page shows"
    assert sum(p.stat().st_size for p in shown) < 2_500_000
