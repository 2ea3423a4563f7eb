"""What is drawn at random in how a scene looks: colors, lights and the camera, as pure functions of arrays.

The ranges of training are those of robosuite's ``DomainRandomizationWrapper`` and of the fork of SECANT (Fan et al.
2021) that the published scores of RAP come from. Held-out draws, which those lack, lie outside of them, up to twice as
far, and textures change in a way that training does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

#: Kinds of randomization, each with a stream of random numbers of its own.
KINDS = ("color", "light", "camera")
#: Parts of a random color that go into a geom or a texture, and of random properties that go into a material.
COLOR_MIX, MATERIAL_MIX = 0.2, 0.3
#: Meters, radians, degrees.
CAMERA_POSITION, CAMERA_ROTATION, CAMERA_FOVY = 0.01, 0.087, 5.0
#: Meters, radians, and intensities in [0, 1].
LIGHT_POSITION, LIGHT_ROTATION, LIGHT_COLOR = 0.1, 0.35, 0.1
#: How a texture changes: one color, squares, or grains; and from one color to another where held out.
TRAINING_PATTERNS, HELD_OUT_PATTERNS = ("rgb", "checker", "noise"), ("gradient",)
_SQUARES = 8  # across a texture


@dataclass(frozen=True)
class Pattern:
    """A random picture to mix into a texture.

    Attributes:
        kind: of :data:`TRAINING_PATTERNS` or :data:`HELD_OUT_PATTERNS`.
        colors: ``float64[2, 3]``, in [0, 1].
        fraction: of grains that have the second color.
        upright: whether a gradient goes from top to bottom, or else from left to right.
        seed: of the grains.
    """

    kind: str
    colors: np.ndarray
    fraction: float = 0.5
    upright: bool = True
    seed: int = 0

    @property
    def mean(self) -> np.ndarray:
        """Its mean color, ``float64[3]``; of grains, the expected one."""
        share = {"rgb": 0.0, "noise": self.fraction}.get(self.kind, 0.5)
        return (1 - share) * self.colors[0] + share * self.colors[1]

    def share(self, height: int, width: int) -> np.ndarray:
        """Return how much of the second color each pixel has, ``float32[height, width]`` in [0, 1]."""
        if self.kind == "noise":
            return (np.random.default_rng(self.seed).random((height, width)) < self.fraction).astype(np.float32)
        down, across = (np.arange(n, dtype=np.float32) for n in (height, width))
        if self.kind == "checker":
            square = max(1, min(height, width) // _SQUARES)
            odd = (down // square)[:, None] + (across // square)[None, :]
            return odd % 2
        if self.kind == "gradient":
            line = down[:, None] / max(height - 1, 1) if self.upright else across[None, :] / max(width - 1, 1)
            return np.broadcast_to(line, (height, width))
        return np.zeros((height, width), dtype=np.float32)


@dataclass(frozen=True)
class Colors:
    """Colors of a scene.

    Attributes:
        geom_rgb: ``float64[ngeom, 3]``, in [0, 1], of geoms that show no texture.
        materials: ``float64[nmat, 3]``: reflectance, shininess and specular, in [0, 1].
        patterns: by texture id.
        mix: the part of a texture that its pattern makes up.
    """

    geom_rgb: np.ndarray
    materials: np.ndarray
    patterns: Mapping[int, Pattern] = field(default_factory=dict)
    mix: float = 0.0


@dataclass(frozen=True)
class Lights:
    """Lights of a scene, ``float64[L, 3]`` each.

    Attributes:
        position: in meters.
        direction: unit vectors.
        ambient, diffuse, specular: in [0, 1].
    """

    position: np.ndarray
    direction: np.ndarray
    ambient: np.ndarray
    diffuse: np.ndarray
    specular: np.ndarray


@dataclass(frozen=True)
class Camera:
    """A camera: position ``float64[3]`` (meters), unit quaternion ``float64[4]`` (w first), field of view (degrees)."""

    position: np.ndarray
    quaternion: np.ndarray
    fovy: float


def offsets(rng: np.random.Generator, size: float, shape: tuple[int, ...], held_out: bool) -> np.ndarray:
    """Return uniform numbers in [-size, size], or held out in what [-2 size, 2 size] has beside that."""
    drawn = rng.uniform(-size, size, shape)
    return drawn + np.copysign(size, drawn) if held_out else drawn


def mixed(rng: np.random.Generator, old: np.ndarray, mix: float, held_out: bool) -> np.ndarray:
    """Return values with a part ``mix`` of a uniform number in [0, 1] in each, in place of as much of ``old``.

    Held out, they are uniform in what twice the part reaches and ``mix`` does not.

    Args:
        rng: draws.
        old: ``float64[...]`` in [0, 1].
        mix: at most 0.5.
        held_out: see above.
    """
    drawn = rng.random(old.shape)
    if not held_out:
        return (1 - mix) * old + mix * drawn
    # Of the length `mix` that is left, a part `old` lies below what training reaches, and the rest above.
    below = (1 - 2 * mix) * old + mix * drawn
    above = (1 - mix) * old + mix * (1 - old) + mix * drawn
    return np.where(drawn < old, below, above)


def draw_colors(rng: np.random.Generator, colors: Colors, textures: Iterable[int], held_out: bool) -> Colors:
    """Return a scene in other colors; ``textures`` are the ids of those that are seen."""
    kinds = HELD_OUT_PATTERNS if held_out else TRAINING_PATTERNS
    patterns = {
        texture: Pattern(
            kinds[int(rng.integers(len(kinds)))],
            rng.random((2, 3)),
            float(rng.uniform(0.1, 0.9)),
            bool(rng.integers(2)),
            int(rng.integers(2**31)),
        )
        for texture in textures
    }
    return Colors(
        mixed(rng, colors.geom_rgb, COLOR_MIX, held_out),
        mixed(rng, colors.materials, MATERIAL_MIX, held_out),
        patterns,
        2 * COLOR_MIX if held_out else COLOR_MIX,
    )


def draw_lights(rng: np.random.Generator, lights: Lights, held_out: bool) -> Lights:
    """Return lights at other places, in other directions and of other strengths."""
    shape = lights.position.shape
    direction = np.array([rotated(d, *_turn(rng, LIGHT_ROTATION, held_out)) for d in lights.direction]).reshape(shape)
    position = lights.position + offsets(rng, LIGHT_POSITION, shape, held_out)
    strengths = [
        np.clip(old + offsets(rng, LIGHT_COLOR, shape, held_out), 0.0, 1.0)
        for old in (lights.ambient, lights.diffuse, lights.specular)
    ]
    return Lights(position, direction, *strengths)


def draw_camera(rng: np.random.Generator, camera: Camera, held_out: bool) -> Camera:
    """Return a camera at another place, turned and with another field of view."""
    axis, angle = _turn(rng, CAMERA_ROTATION, held_out)
    turn = np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * axis])
    position = camera.position + offsets(rng, CAMERA_POSITION, (3,), held_out)
    fovy = camera.fovy + float(offsets(rng, CAMERA_FOVY, (1,), held_out)[0])
    return Camera(position, quaternion_product(turn, camera.quaternion), fovy)


def patterned(texture: np.ndarray, pattern: Pattern, mix: float) -> np.ndarray:
    """Return a texture, ``uint8[height, width, 3]``, with a part ``mix`` of a pattern in place of as much of it."""
    share = (mix * 255) * pattern.share(*texture.shape[:2])
    image = np.empty_like(texture)
    for channel, (first, second) in enumerate(pattern.colors.T):
        # One channel at a time: textures have millions of pixels.
        image[..., channel] = (
            (1 - mix) * texture[..., channel]
            + np.float32(second - first) * share
            + (np.float32(mix * 255 * first + 0.5))
        )
    return image


def rotated(vector: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Return ``float64[3]`` turned about a unit axis by an angle in radians (Rodrigues' formula)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * vector + sine * np.cross(axis, vector) + (1 - cosine) * (axis @ vector) * axis


def quaternion_product(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the product of two quaternions, ``float64[4]`` with w first: the turn ``two`` and then ``one``."""
    w, v, x, u = one[0], one[1:], two[0], two[1:]
    return np.concatenate([[w * x - v @ u], w * u + x * v + np.cross(v, u)])


def _turn(rng: np.random.Generator, size: float, held_out: bool) -> tuple[np.ndarray, float]:
    """Return a unit axis, uniform on the sphere, and an angle."""
    axis = rng.standard_normal(3)
    return axis / np.linalg.norm(axis), float(offsets(rng, size, (1,), held_out)[0])
