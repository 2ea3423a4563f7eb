import numpy as np
import pytest

from bisimgym.envs.rendering.styles import SKY_SIZE, SkyColors, recolored_checker

DARK, BRIGHT = np.array([25, 51, 76]), np.array([51, 76, 102])


def checker(size=8):
    pixels = np.empty((size, size, 3), dtype=np.uint8)
    squares = np.add.outer(np.arange(size), np.arange(size)) % 2
    pixels[:] = np.where(squares[..., None] > 0, BRIGHT, DARK)
    return pixels


class TestChecker:
    def test_the_two_colors_are_replaced_exactly(self):
        colors = np.array([[0.1, 0.0, 0.2], [1.0, 0.5, 0.8]])
        pixels = checker()
        painted = recolored_checker(pixels, colors)
        dark = (pixels == DARK).all(axis=-1)
        np.testing.assert_array_equal(np.unique(painted[dark], axis=0), [[26, 0, 51]])
        np.testing.assert_array_equal(np.unique(painted[~dark], axis=0), [[255, 128, 204]])
        assert painted.dtype == np.uint8

    def test_the_darker_one_becomes_the_first_whichever_is_more_frequent(self):
        colors = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
        for rare, often in ((DARK, BRIGHT), (BRIGHT, DARK)):
            pixels = np.empty((8, 8, 3), dtype=np.uint8)
            pixels[:], pixels[0] = often, rare
            assert (recolored_checker(pixels, colors)[0].min() == 255) == (rare is BRIGHT)

    def test_what_is_between_is_mixed(self):
        pixels = checker()
        pixels[0, 0] = (DARK + BRIGHT) // 2
        middle = recolored_checker(pixels, np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))[0, 0]
        np.testing.assert_allclose(middle, 127, atol=6)

    def test_one_color_only(self):
        pixels = np.full((4, 4, 3), 90, dtype=np.uint8)
        painted = recolored_checker(pixels, np.array([[0.2, 0.4, 0.6], [1.0, 1.0, 1.0]]))
        np.testing.assert_array_equal(np.unique(painted.reshape(-1, 3), axis=0), [[51, 102, 153]])


def gradient_sky(size=320, marks=True):
    """Return a sky as the suite has it: from a horizon color to black, with white marks."""
    down = np.linspace(1.0, 0.0, size)[:, None, None]
    faces = np.repeat((down * np.array([102, 153, 204])).astype(np.uint8)[None], 6, axis=0)
    faces = np.repeat(faces, size, axis=2)
    if marks:
        faces[:, 10:20, 10:20] = 255
    return faces


class TestSky:
    @pytest.mark.parametrize("color", [(0.4, 0.6, 0.8), (0.9, 0.1, 0.3)])
    def test_the_gradient_takes_the_color(self, color):
        faces = gradient_sky(marks=False)
        sky = SkyColors(faces).recolored(np.array(color))
        assert sky.shape == (6, SKY_SIZE, SKY_SIZE, 3)
        assert sky.dtype == np.uint8
        expected = np.linspace(1.0, 0.0, 320).reshape(SKY_SIZE, 2).mean(axis=1)[:, None] * np.array(color) * 255
        np.testing.assert_allclose(sky[0, :, 0], expected, atol=2.5)

    def test_its_own_color_changes_nothing_but_the_size(self):
        faces = gradient_sky(SKY_SIZE)
        own = faces[0, 0, 0] / 255.0
        np.testing.assert_allclose(SkyColors(faces).recolored(own).astype(int), faces, atol=2)

    def test_marks_stay_white(self):
        sky = SkyColors(gradient_sky()).recolored(np.array([0.5, 0.0, 0.0]))
        np.testing.assert_array_equal(sky[:, 5:10, 5:10], 255)
        assert (sky[:, 20:, 20:, 1:] == 0).all()

    def test_a_black_sky_stays_black(self):
        assert not SkyColors(np.zeros((6, 8, 8, 3), dtype=np.uint8)).recolored(np.ones(3)).any()
