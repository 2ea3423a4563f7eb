"""Colors, lights and cameras: what can be drawn, over a thousand resets. Needs no robosuite."""

import functools

import numpy as np
import pytest

from bisimgym.envs.manipulation import randomization as of
from bisimgym.envs.manipulation.randomization import Camera, Colors, Lights, Pattern

RESETS = 1000
both_splits = pytest.mark.parametrize("held_out", [False, True])
COLORS = Colors(np.array([[0.0, 0.5, 1.0], [0.9, 0.1, 0.3]]), np.array([[0.0, 0.4, 1.0]]))
LIGHTS = Lights(
    np.array([[1.0, 1.0, 1.5], [0.0, -2.0, 3.0]]),
    np.array([[0.0, 0.0, -1.0], [0.6, 0.0, -0.8]]),
    np.full((2, 3), 0.3),
    np.full((2, 3), 0.5),
    np.full((2, 3), 0.95),
)
CAMERA = Camera(np.array([0.6, 0.0, 1.6]), np.array([0.638, 0.305, 0.305, 0.638]) / 0.99995, 45.0)


@functools.cache
def draws(kind, held_out):
    draw = {
        "color": lambda rng: of.draw_colors(rng, COLORS, [3, 5], held_out),
        "light": lambda rng: of.draw_lights(rng, LIGHTS, held_out),
        "camera": lambda rng: of.draw_camera(rng, CAMERA, held_out),
    }[kind]
    return [draw(np.random.default_rng(seed)) for seed in range(RESETS)]


def stacked(kind, held_out, name):
    return np.array([getattr(drawn, name) for drawn in draws(kind, held_out)])


def check_offsets(moves, size, held_out):
    """Check that moves fill [-size, size], or held out what [-2 size, 2 size] has beside it, on both sides."""
    low, high = (size, 2 * size) if held_out else (0.0, size)
    assert np.abs(moves).min() >= low - 1e-12
    assert np.abs(moves).max() <= high + 1e-12
    for side in (moves[moves > 0], -moves[moves < 0]):
        assert len(side) > 0.4 * moves.size
        assert side.max() > low + 0.97 * (high - low)
        assert side.min() < low + 0.03 * (high - low)


@both_splits
def test_cameras(held_out):
    check_offsets(stacked("camera", held_out, "position") - CAMERA.position, 0.01, held_out)
    check_offsets(stacked("camera", held_out, "fovy") - CAMERA.fovy, 5.0, held_out)
    quaternions = stacked("camera", held_out, "quaternion")
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), np.linalg.norm(CAMERA.quaternion), rtol=1e-12)
    cosines = np.abs(quaternions @ CAMERA.quaternion) / np.linalg.norm(CAMERA.quaternion) ** 2
    angles = 2 * np.arccos(np.minimum(cosines, 1.0))
    assert angles.max() <= 0.087 * (2 if held_out else 1) + 1e-7
    assert angles.max() > 0.087 * (1.97 if held_out else 0.97)
    assert angles.min() >= (0.087 if held_out else 0) - 1e-7


@both_splits
def test_lights(held_out):
    check_offsets(stacked("light", held_out, "position") - LIGHTS.position, 0.1, held_out)
    for name in ("ambient", "diffuse"):
        check_offsets(stacked("light", held_out, name) - getattr(LIGHTS, name), 0.1, held_out)
    specular = stacked("light", held_out, "specular")
    assert specular.max() == 1.0
    assert specular.min() >= 0.95 - (0.2 if held_out else 0.1)
    direction = stacked("light", held_out, "direction")
    np.testing.assert_allclose(np.linalg.norm(direction, axis=2), 1.0, rtol=1e-9)
    # A turn about a random axis moves a direction by its angle at most.
    angles = np.arccos(np.clip((direction * LIGHTS.direction).sum(axis=2), -1, 1))
    assert 0.95 < angles.max() / (0.7 if held_out else 0.35) <= 1 + 1e-6


@both_splits
@pytest.mark.parametrize(("name", "mix"), [("geom_rgb", 0.2), ("materials", 0.3)])
def test_colors(held_out, name, mix):
    old, drawn = getattr(COLORS, name), stacked("color", held_out, name)
    inner = (1 - mix) * old, (1 - mix) * old + mix
    outer = (1 - 2 * mix) * old, (1 - 2 * mix) * old + 2 * mix
    low, high = inner
    if held_out:  # of black and white, only one side is left
        low, high = np.where(old > 0, outer[0], inner[1]), np.where(old < 1, outer[1], inner[0])
    assert (drawn >= low - 1e-12).all()
    assert (drawn <= high + 1e-12).all()
    np.testing.assert_allclose(drawn.min(axis=0), low, atol=0.01)
    np.testing.assert_allclose(drawn.max(axis=0), high, atol=0.01)
    if held_out:
        assert ((drawn <= inner[0] + 1e-12) | (drawn >= inner[1] - 1e-12)).all()
        # Uniform in what is left, of which a part as large as the old value lies below.
        middle = (old > 0.35) & (old < 0.65)
        assert abs((drawn > inner[1] - 1e-12)[:, middle].mean() - (1 - old[middle].mean())) < 0.05


@both_splits
def test_textures(held_out):
    found = draws("color", held_out)
    kinds = [pattern.kind for drawn in found for pattern in drawn.patterns.values()]
    expected = {"gradient"} if held_out else {"rgb", "checker", "noise"}
    assert set(kinds) == expected
    assert min(kinds.count(kind) for kind in expected) > 0.9 * len(kinds) / len(expected)
    assert {tuple(drawn.patterns) for drawn in found} == {(3, 5)}
    assert {drawn.mix for drawn in found} == {0.4 if held_out else 0.2}
    fractions = [pattern.fraction for drawn in found for pattern in drawn.patterns.values()]
    assert 0.1 <= min(fractions) < 0.11
    assert 0.89 < max(fractions) <= 0.9


@pytest.mark.parametrize("kind", [*of.TRAINING_PATTERNS, *of.HELD_OUT_PATTERNS])
def test_patterns_are_mixed_into_textures(kind):
    texture = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)
    pattern = Pattern(kind, np.array([[1.0, 0.0, 0.25], [0.0, 1.0, 0.75]]), 0.3, True, 7)
    share = pattern.share(64, 48)[..., None]
    bitmap = 255 * ((1 - share) * pattern.colors[0] + share * pattern.colors[1])
    changed = of.patterned(texture, pattern, 0.2)
    assert changed.dtype == np.uint8
    np.testing.assert_allclose(changed, 0.8 * texture + 0.2 * bitmap, atol=0.51)
    np.testing.assert_array_equal(of.patterned(texture, pattern, 0.0), texture)
    np.testing.assert_allclose(bitmap.mean(axis=(0, 1)) / 255, pattern.mean, atol=0.03)
    np.testing.assert_array_equal(changed, of.patterned(texture, pattern, 0.2))


def test_shares_by_hand():
    colors = np.zeros((2, 3))
    checker = Pattern("checker", colors).share(16, 8)
    np.testing.assert_array_equal(checker[:2, :3], [[0, 1, 0], [1, 0, 1]])
    np.testing.assert_allclose(Pattern("gradient", colors, upright=True).share(5, 2)[:, 0], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(Pattern("gradient", colors, upright=False).share(2, 3)[0], [0, 0.5, 1])
    assert not Pattern("rgb", colors).share(3, 3).any()


def test_turns_by_hand():
    up = np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(of.rotated(np.array([1.0, 0, 0]), up, np.pi / 2), [0, 1, 0], atol=1e-12)
    half = np.sqrt(0.5)
    quarter = np.array([half, 0, 0, half])  # about z
    np.testing.assert_allclose(of.quaternion_product(quarter, quarter), [0, 0, 0, 1], atol=1e-12)
    about_x = np.array([half, half, 0, 0])
    # First x, which leaves x in place, and then z, which turns it to y: the product turns x to y too.
    w, *v = of.quaternion_product(quarter, about_x)
    x = np.array([1.0, 0, 0])
    turned = x + 2 * np.cross(v, np.cross(v, x) + w * x)
    np.testing.assert_allclose(turned, [0, 1, 0], atol=1e-12)
