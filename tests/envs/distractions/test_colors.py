import numpy as np
import pytest
from scipy.stats import kstest

from bisimgym.envs.distractions.colors import PALETTE_RANGES, ColorWalk, palettes

PRISTINE = np.array([[0.5, 0.3, 0.05], [0.0, 1.0, 0.9]])
every_kind = pytest.mark.parametrize("kind", ["color-easy", "color-hard"])


def walk_of(strength=0.2, dynamic=True, seed=0, colors=PRISTINE):
    return ColorWalk(colors, strength, dynamic, np.random.default_rng(seed))


class TestWalk:
    def test_by_hand(self):
        """The formulas of the source, with the same numbers drawn."""
        rng = np.random.default_rng(3)
        low, high = np.clip(PRISTINE - 0.2, 0, 1), np.clip(PRISTINE + 0.2, 0, 1)
        np.testing.assert_allclose(low, [[0.3, 0.1, 0], [0, 0.8, 0.7]])
        np.testing.assert_allclose(high, [[0.7, 0.5, 0.25], [0.2, 1, 1]])
        colors = low + rng.random((2, 3)) * (high - low)
        walk = walk_of(seed=3)
        np.testing.assert_allclose(walk.colors, colors, atol=1e-7)
        clipped = 0
        for _ in range(200):
            free = colors + 0.03 * 0.2 * rng.standard_normal((2, 3))
            colors = np.clip(free, low, high)
            clipped += (free != colors).sum()
            walk.advance(1)
            np.testing.assert_allclose(walk.colors, colors, atol=1e-7)
        assert clipped > 0

    @pytest.mark.parametrize("strength", [0.1, 0.2, 0.3, 1.0])
    def test_bounds_hold_and_colors_move(self, strength):
        walk = walk_of(strength)
        seen = []
        for _ in range(5000):
            walk.advance(1)
            seen.append(walk.colors)
        low, high = np.clip(PRISTINE - strength, 0, 1), np.clip(PRISTINE + strength, 0, 1)
        assert (np.min(seen, axis=0) >= low - 1e-7).all()
        assert (np.max(seen, axis=0) <= high + 1e-7).all()
        assert (np.ptp(seen, axis=0) > 0.7 * (high - low)).all()
        assert np.std(np.diff(seen, axis=0)) == pytest.approx(0.03 * strength, rel=0.05)

    def test_starts_are_uniform_and_independent(self):
        starts = np.array([walk_of(dynamic=False, seed=seed).colors for seed in range(1000)])
        low, high = np.clip(PRISTINE - 0.2, 0, 1), np.clip(PRISTINE + 0.2, 0, 1)
        levels = ((starts - low) / (high - low)).reshape(1000, 6)
        for channel in levels.T:
            assert kstest(channel, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(levels.T) - np.eye(6)).max() < 0.12

    def test_static_colors_stay(self):
        walk = walk_of(dynamic=False)
        before = walk.colors
        walk.advance(10)
        np.testing.assert_array_equal(walk.colors, before)
        np.testing.assert_array_equal(before, walk_of(dynamic=True).colors)

    @pytest.mark.parametrize("dynamic", [False, True])
    def test_strength_0_is_the_models_colors(self, dynamic):
        walk = walk_of(0.0, dynamic)
        walk.advance(5)
        np.testing.assert_array_equal(walk.colors, PRISTINE.astype(np.float32))

    def test_several_steps_at_once_are_single_steps(self):
        one, many = walk_of(), walk_of()
        for _ in range(123):
            one.advance(1)
        for steps in (100, 0, 23):
            many.advance(steps)
        np.testing.assert_array_equal(one.colors, many.colors)

    def test_seeds_reproduce_colors(self):
        walks = [walk_of(seed=seed) for seed in (5, 5, 6)]
        for walk in walks:
            walk.advance(10)
        np.testing.assert_array_equal(walks[0].colors, walks[1].colors)
        assert (walks[0].colors != walks[2].colors).any()

    def test_nothing_is_shared_with_the_caller(self):
        pristine = PRISTINE.astype(np.float32)
        walk = walk_of(colors=pristine)
        first = walk.colors
        kept = first.copy()
        walk.advance(5)
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(pristine, PRISTINE.astype(np.float32))
        assert first.dtype == np.float32
        assert first.shape == (2, 3)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"colors": np.zeros((2, 4))}, r"float\[M, 3\].*\(2, 4\)"),
            ({"colors": np.full((2, 3), 255.0)}, r"\[0, 1\], got 255.0.*divide"),
            ({"colors": np.full((2, 3), np.nan)}, r"\[0, 1\]"),
            ({"strength": 1.2}, r"\[0, 1\], got 1.2"),
            ({"strength": -0.1}, r"\[0, 1\], got -0.1"),
        ],
    )
    def test_errors(self, change, message):
        with pytest.raises(ValueError, match=message):
            walk_of(**change)

    def test_negative_steps(self):
        for dynamic in (False, True):
            with pytest.raises(ValueError, match="at least 0"):
                walk_of(dynamic=dynamic).advance(-1)


class TestPalettes:
    @every_kind
    def test_colors_fill_the_published_ranges(self, kind):
        listed = palettes(kind)
        assert len(listed) == 100
        for name, (low, high) in PALETTE_RANGES[kind].items():
            colors = np.array([getattr(palette, name) for palette in listed])
            colors = colors[:, 0] if name == "floor" else colors
            levels = (colors - low) / np.subtract(high, low)
            for channel in levels.T:
                assert kstest(channel, "uniform").pvalue > 1e-3
            assert levels.min() >= 0
            assert levels.max() <= 1

    @every_kind
    def test_the_floor_is_a_checker(self, kind):
        for palette in palettes(kind):
            assert palette.floor.shape == (2, 3)
            np.testing.assert_allclose(palette.floor[1] - palette.floor[0], 0.1)
            assert palette.floor.max() <= 1
            assert palette.agent.shape == palette.sky.shape == (3,)

    def test_published_extremes(self):
        assert PALETTE_RANGES["color-easy"]["agent"] == ((0.43, 0.26, 0.08), (0.96, 0.68, 0.56))
        assert PALETTE_RANGES["color-hard"]["sky"] == ((0.08, 0.12, 0.32), (0.96, 1.0, 1.0))

    @every_kind
    def test_palettes_are_fixed(self, kind):
        first = palettes(kind)
        palettes.cache_clear()
        for old, new in zip(first, palettes(kind), strict=True):
            assert old is not new
            np.testing.assert_array_equal(old.floor, new.floor)
            np.testing.assert_array_equal(old.agent, new.agent)
            np.testing.assert_array_equal(old.sky, new.sky)
        with pytest.raises(ValueError, match="read-only"):
            first[0].sky[0] = 0.5

    def test_the_list_never_changes(self):
        # Returns on a palette can only be compared as long as it stays what it is.
        easy, hard = palettes("color-easy")[0], palettes("color-hard")[0]
        np.testing.assert_allclose(easy.floor[0], [0.249793, 0.489519, 0.322533], atol=1e-6)
        np.testing.assert_allclose(easy.agent, [0.692455, 0.59165, 0.21975], atol=1e-6)
        np.testing.assert_allclose(easy.sky, [0.415768, 0.705528, 0.475942], atol=1e-6)
        np.testing.assert_allclose(hard.floor[0], [0.249485, 0.21822, 0.379927], atol=1e-6)
        np.testing.assert_allclose(hard.agent, [0.444134, 0.160441, 0.659454], atol=1e-6)
        np.testing.assert_allclose(hard.sky, [0.163229, 0.943747, 0.960224], atol=1e-6)

    def test_kinds_differ(self):
        assert (palettes("color-easy")[0].agent != palettes("color-hard")[0].agent).all()

    def test_unknown_kinds(self):
        with pytest.raises(ValueError, match=r"\['color-easy', 'color-hard'\], got 'color'"):
            palettes("color")
