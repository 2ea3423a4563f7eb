"""Background videos drawn by formula: natural-looking scenes that need no data and nothing but numpy.

They stand in for recorded footage where there is none (tests, first runs, machines without the data). They are *not*
DAVIS: a result obtained with them is not comparable with one obtained on recorded videos.

Sixty training videos of five families and thirty held-out ones of five *other* families, the numbers of DAVIS 2017.
Families take turns in the list, so that the first few videos of a split differ in kind:

========== ============================================================================================
training
---------- --------------------------------------------------------------------------------------------
clouds     fractal clouds over a sky in perspective, drifting and warped by a slower flow
leaves     occluding leaves or stones with sizes of density ~ r^-3 ("dead leaves"), in layers with parallax
hills      ridges with grass or forest, seen from a moving train, behind more haze the further they are
city       facades with windows, trees and lamps in layers with parallax, by day, dusk or night
bodies     lit balls that circle each other on closed epicycles over rough ground
held out
---------- --------------------------------------------------------------------------------------------
water      waves of a random sea with dispersion that refract a bottom and mirror the sky
pebbles    moving Voronoi cells with textured, rounded faces
tunnel     flight through a winding tube of rock or masonry
fire       rising flames, smoke or lava
flyover    flight over a patchwork of fields below the sky
========== ============================================================================================

Every video is a pure function of (split, index, size): parameters are drawn from a generator seeded with the first
two, in units where the longer side of the picture is 1, so that another size shows the same scene with other detail.
Time enters through functions of period ``NUM_FRAMES`` only: the step from the last frame to the first is like any
other. Colours are those of photographs, and brightness and contrast of each video are set to values drawn from their
usual range (:func:`_grade`).

Measured over all 90 videos at 84 x 84, on luminance from 0 to 255: mean 99 to 141, standard deviation 37 to 63, mean
absolute difference of successive frames 4 to 30 (unrelated frames would differ by about 60). The power spectra of
single frames fall like f^-2.4 in the median (-2.8 to -2.0 for nine in ten), where those of natural images fall about
like f^-2 (Field 1987; of dead leaves: Ruderman 1997).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: Frames of every video.
NUM_FRAMES = 64

_TAU = 2 * np.pi
#: ITU-R BT.601 weights of red, green and blue.
_LUMA = (0.299, 0.587, 0.114)
#: Share of the finest detail that is added again.
_SHARPENING = 0.65


@dataclass(frozen=True)
class _View:
    """Pixel centres in units of the longer side, the middle of the picture at the origin, y downwards."""

    height: int
    width: int

    @property
    def scale(self) -> int:
        """Pixels per unit."""
        return max(self.height, self.width)

    @property
    def x(self) -> np.ndarray:
        """``float32[1, width]``."""
        return ((np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / self.scale)[None, :]

    @property
    def y(self) -> np.ndarray:
        """``float32[height, 1]``."""
        return ((np.arange(self.height, dtype=np.float32) + 0.5 - self.height / 2) / self.scale)[:, None]


# ---------------------------------------------------------------------------------------------- textures and layers


def _fractal(rng: np.random.Generator, side: int, exponent: float, stretch: float = 1.0) -> np.ndarray:
    """Return periodic Gaussian noise with amplitudes ~ f^-exponent, mean 0 and deviation 1, ``float32[side, side]``.

    ``stretch`` > 1 lengthens its features along x.
    """
    fy = np.fft.fftfreq(side, 1 / side).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(side, 1 / side).astype(np.float32)[None, :]
    frequency = np.sqrt(fy**2 + (stretch * fx) ** 2)
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32)) * frequency ** np.float32(-exponent)
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(side, side)).astype(np.float32)
    return noise / noise.std()


def _ridge(rng: np.random.Generator, x: np.ndarray, exponent: float, first: int = 1, last: int = 96) -> np.ndarray:
    """Return 1-d noise of period 1 at ``x`` with amplitudes ~ k^-exponent of the harmonics, deviation 1."""
    k = np.arange(first, last + 1)
    amplitude, phase = k ** -float(exponent), rng.uniform(0, _TAU, len(k))
    waves = amplitude[:, None] * np.cos(_TAU * k[:, None] * x[None, :] + phase[:, None])
    return (waves.sum(0) / np.sqrt((amplitude**2).sum() / 2)).astype(np.float32)


class _Texture:
    """A periodic picture of period 1 with smaller copies of itself (a mip pyramid) against aliasing."""

    def __init__(self, image: np.ndarray) -> None:
        """Take ``float32[R, R, C]``, R a power of two."""
        self.side = len(image)
        levels = [image]
        while len(levels[-1]) > 4:
            fine = levels[-1]
            levels.append((fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]) / 4)
        self._texels = np.concatenate([level.reshape(-1, image.shape[2]) for level in levels])
        self._sides = np.array([len(level) for level in levels], dtype=np.int32)
        self._offsets = np.concatenate([[0], np.cumsum(self._sides[:-1].astype(np.int64) ** 2)]).astype(np.int32)

    def level(self, footprint: np.ndarray | float) -> np.ndarray:
        """Return the level for pixels that span ``footprint`` periods."""
        level = np.round(np.log2(np.maximum(np.asarray(footprint) * self.side, 1e-3)))
        return np.clip(level, 0, len(self._sides) - 1).astype(np.int32)

    def __call__(self, u: np.ndarray, v: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Return ``float32[H, W, C]``, bilinear between texels, at column ``u`` and row ``v`` (in periods)."""
        side, offset = self._sides[level], self._offsets[level]
        u, v = u * side.astype(np.float32), v * side.astype(np.float32)
        left, top = np.floor(u), np.floor(v)
        right_part, low_part = (u - left)[..., None], (v - top)[..., None]
        mask = side - 1
        left, top = left.astype(np.int32) & mask, top.astype(np.int32) & mask
        right, low = (left + 1) & mask, offset + ((top + 1) & mask) * side
        top = offset + top * side
        take = self._texels.take
        upper = take(top + left, axis=0)
        upper += (take(top + right, axis=0) - upper) * right_part
        lower = take(low + left, axis=0)
        lower += (take(low + right, axis=0) - lower) * right_part
        lower -= upper
        lower *= low_part
        lower += upper
        return lower


class _Layer:
    """A picture with premultiplied alpha that is periodic in both axes, shown through a window."""

    def __init__(self, image: np.ndarray, view: _View) -> None:
        """Take ``float32[rows, columns, 4]``."""
        self.period = image.shape[:2]
        extra = ((0, view.height + 1), (0, view.width + 1), (0, 0))
        self._image, self._view = np.pad(image, extra, mode="wrap"), view

    def over(self, frame: np.ndarray, down: float, right: float) -> None:
        """Lay a part of the layer over ``frame``, in place.

        Args:
            frame: ``float32[height, width, 3]``.
            down: row of the layer that is shown at the top.
            right: column of the layer that is shown in the middle.
        """
        row, row_part = divmod(down % self.period[0], 1)
        column, column_part = divmod((right - self._view.width // 2) % self.period[1], 1)
        height, width = self._view.height, self._view.width
        part = self._image[int(row) : int(row) + height + 1, int(column) : int(column) + width + 1]
        part = part[:, :-1] + np.float32(column_part) * (part[:, 1:] - part[:, :-1]) if column_part else part[:, :-1]
        part = part[:-1] + np.float32(row_part) * (part[1:] - part[:-1]) if row_part else part[:-1]
        frame *= 1 - part[..., 3:]
        frame += part[..., :3]


_Draw = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _stamp(canvas: np.ndarray, x: float, y: float, reach: float, scale: float, draw: _Draw) -> None:
    """Paint onto a periodic canvas with premultiplied alpha, in place.

    Args:
        canvas: ``float32[rows, columns, 4]``.
        x, y: centre, in units.
        reach: half the side of the square that is painted, in units.
        scale: pixels per unit.
        draw: maps offsets from the centre (units) to ``(rgb, alpha)``, ``float32[h, w, 3]`` and ``float32[h, w]``.
    """
    rows = np.arange(int(np.floor((y - reach) * scale)), int(np.ceil((y + reach) * scale)) + 1)
    columns = np.arange(int(np.floor((x - reach) * scale)), int(np.ceil((x + reach) * scale)) + 1)
    rows, columns = rows[: canvas.shape[0]], columns[: canvas.shape[1]]
    rgb, alpha = draw(
        ((columns + 0.5) / scale - x).astype(np.float32)[None, :],
        ((rows + 0.5) / scale - y).astype(np.float32)[:, None],
    )
    where = np.ix_(rows % canvas.shape[0], columns % canvas.shape[1])
    below = canvas[where]
    below *= (1 - alpha)[..., None]
    below[..., :3] += rgb * alpha[..., None]
    below[..., 3] += alpha
    canvas[where] = below


def _step(distance: np.ndarray, width: float) -> np.ndarray:
    """Return 0 where ``distance`` is negative and 1 where it is positive, with an edge of ``width``."""
    return np.clip(distance / width + 0.5, 0, 1)


def _sway(rng: np.random.Generator, low: float, high: float) -> Callable[[float], np.ndarray]:
    """Return a closed path of a camera in the hand: phase -> offset ``(x, y)`` in units, never at rest.

    Its main turn has radii in [low, high].
    """
    reach, tilt, turn = rng.uniform(low, high, 2), rng.uniform(-0.7, 0.7, 2), rng.choice((-1, 1))

    def at(phase: float) -> np.ndarray:
        angle = _TAU * phase
        main = np.array([np.sin(turn * angle + tilt[0]), np.cos(angle)])
        return reach * (main + 0.15 * np.array([np.cos(2 * angle), np.sin(2 * angle + tilt[1])]))

    return at


def _power_law(rng: np.random.Generator, low: float, high: float, count: int) -> np.ndarray:
    """Return radii with density ~ r^-3 in [low, high]."""
    return low / np.sqrt(1 - rng.random(count) * (1 - (low / high) ** 2))


# ------------------------------------------------------------------------------------------------------------ colour


def _colors(rng: np.random.Generator, palettes: Sequence[str], spread: float = 0.03) -> np.ndarray:
    """Return one of the palettes (hexadecimal colours), each colour a little changed, ``float32[K, 3]``."""
    words = palettes[rng.integers(len(palettes))].split()
    colors = np.array([[int(word[i : i + 2], 16) for i in (0, 2, 4)] for word in words], dtype=np.float32) / 255
    return np.clip(colors + rng.normal(0, spread, colors.shape), 0, 1).astype(np.float32)


def _blend(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mixture of two colours (or pictures) with ``weight[H, W]`` on the second."""
    return low + weight[..., None] * (high - low)


def _ramp(colors: np.ndarray, size: int = 512) -> np.ndarray:
    """Return a table of ``size`` colours through ``colors`` at equal distances, ``float32[size, 3]``."""
    at = np.linspace(0, len(colors) - 1, size)
    return np.stack([np.interp(at, np.arange(len(colors)), c) for c in colors.T], -1).astype(np.float32)


def _look_up(table: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return the colours of values in [0, 1]; others are clipped."""
    return table.take((np.clip(value, 0, 1) * (len(table) - 1)).astype(np.int32), axis=0)


def _luma(picture: np.ndarray) -> np.ndarray:
    red, green, blue = _LUMA
    return red * picture[..., 0] + green * picture[..., 1] + blue * picture[..., 2]


def _smooth(image: np.ndarray) -> np.ndarray:
    """Return the image under a 3 x 3 binomial filter; borders are repeated."""
    image = np.pad(image, 1, mode="edge")
    image = 0.5 * image[1:-1] + 0.25 * (image[:-2] + image[2:])
    return 0.5 * image[:, 1:-1] + 0.25 * (image[:, :-2] + image[:, 2:])


def _grade(frames: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """Return ``uint8`` frames whose luminance has about this mean and standard deviation (of 1); hues stay."""
    sample = _luma(frames[::4])
    gain = np.float32(min(deviation / max(float(sample.std()), 1e-6), 2.5))
    shift = np.float32(mean - gain * float(sample.mean()))
    chroma = np.float32(min(float(gain), 1.15))
    graded = np.empty(frames.shape, dtype=np.uint8)
    for frame, target in zip(frames, graded, strict=True):
        luma = _luma(frame)
        # Cameras sharpen; here it makes up for what sampling between texels has smoothed.
        bright = shift + gain * (luma + _SHARPENING * (luma - _smooth(luma)))
        # Shoulder and toe of film: beyond the middle range, brightness bends towards black and white.
        bright = 0.5 + 0.5 * np.tanh((bright - 0.5) * 1.9) / np.float32(np.tanh(1.1))
        picture = chroma * (frame - luma[..., None])
        picture += bright[..., None]
        picture *= 255
        picture += 0.5
        target[...] = np.clip(picture, 0, 255)
    return graded


# ------------------------------------------------------------------------------------------------- training families

_SKIES = (
    "3f6fa8 a9c6de 8c97a6 fbf8f0",  # zenith, horizon, shaded cloud, lit cloud: clear day
    "4d5d73 c9c4b8 6a6f78 e6e1d6",  # overcast
    "35406b f0a35e 6b5468 ffd9a8",  # sunset
    "2a3a52 8fa0a8 3b434e c4ccd0",  # storm
    "5c86b8 e7dcc4 9a8f8a fff6e2",  # morning
    "20305a c77a6a 4a3f5e f2b79a",  # dusk
)


def _clouds(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    zenith, haze, shade, light = _colors(rng, _SKIES)
    density = _fractal(rng, 512, rng.uniform(1.4, 1.6), rng.uniform(1, 1.6))
    sun = rng.integers(12, 26) * np.array([1, rng.choice((-1, 1))])
    lit = density - np.roll(density, sun, axis=(0, 1))
    texture = _Texture(np.stack([density, lit / lit.std()], -1))
    flow = _Texture(np.stack([_fractal(rng, 128, 2.0), _fractal(rng, 128, 2.0)], -1))
    horizon, zoom = rng.uniform(0.65, 1.1), rng.uniform(0.6, 0.85)
    depth = (0.5 + horizon) / (horizon - view.y) + 0 * view.x
    u, v = zoom * depth * view.x, zoom * depth
    level = texture.level(zoom * depth / view.scale * np.maximum(1, depth / (0.5 + horizon)) * 0.8)
    flow_level = flow.level(zoom / view.scale)
    wind = np.array([(1, 0), (-1, 0), (0, 1)][rng.integers(3)])
    cover, edge, strength = rng.uniform(-0.4, 0.4), rng.uniform(0.8, 1.3), rng.uniform(0.015, 0.03)
    height = 0.5 - view.y + 0 * view.x
    sky = _blend(haze, zenith, np.clip(height, 0, 1) ** 0.8)
    veil = np.clip(1.15 - 6 / (depth + 4), 0, 0.6)
    for phase in phases:
        du, dv = phase * wind
        push = strength * flow(u * 0.7 + 2 * du, v * 0.7 - dv, flow_level)
        cloud = texture(u + du + push[..., 0], v + dv + push[..., 1], level)
        alpha = np.clip((cloud[..., 0] - cover) / edge + 0.5, 0, 1)
        alpha *= alpha * (3 - 2 * alpha)
        color = _blend(shade, light, np.clip(0.6 + 0.3 * cloud[..., 1] - 0.1 * cloud[..., 0], 0, 1))
        color += veil[..., None] * (haze - color)
        yield _blend(sky, color, alpha)


_LEAVES = (
    "1f2a14 3d5a24 5e7d31 86a046 a9b86a 2f4a2b",  # summer
    "2e1d12 7a3b17 b0622a c98f3f 8c2f1d d9b36a",  # autumn
    "23261f 55584f 7d7f78 a5a297 c7c0b0 464440",  # stones
    "1c2724 35584f 5b8272 9fb09a c9b59a 70604a",  # moss and bark
    "2a1f24 6e3f4a a86a70 d3a6a0 7f7a52 4f5a35",  # blossoms
)


def _leaf(rng: np.random.Generator, color: np.ndarray, radius: float, edge: float, slim: float, pointed: bool) -> _Draw:
    """Return a ``draw`` for :func:`_stamp`: a lit leaf or stone with the shadow that it casts."""
    angle, tilt = rng.uniform(0, _TAU), rng.normal(0, 0.22, 2)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    vein = rng.uniform(0.1, 0.35)

    def inside(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        along, across = (cos * x + sin * y) / radius, (cos * y - sin * x) / (radius * slim)
        if pointed:
            return 1 - along**2 - np.abs(across), along, across
        return 1 - np.sqrt(along**2 + across**2), along, across

    def draw(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance, along, across = inside(x, y)
        shape = _step(distance * radius * slim, edge)
        shadow = 0.55 * np.clip(inside(x - 0.12 * radius, y - 0.2 * radius)[0] * 2.5 + 0.6, 0, 1)
        light = 1 + tilt[0] * along + tilt[1] * across + 0.12 * np.sign(across) * pointed
        light -= vein * np.exp(-((across * 9) ** 2)) * pointed + 0.45 * (1 - np.clip(distance * 2.2, 0, 1)) * (
            not pointed
        )
        alpha = shape + shadow * (1 - shape)
        rgb = color * (light * shape / np.maximum(alpha, 1e-6))[..., None]
        return rgb.astype(np.float32), alpha.astype(np.float32)

    return draw


def _leaves(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    palette = _colors(rng, _LEAVES)
    grain = _Texture(_fractal(rng, 256, 0.7)[..., None])
    pointed, slim = bool(rng.random() < 0.65), rng.uniform(0.35, 0.6)
    path = _sway(rng, 0.07, 0.11)
    layers = []
    for depth, (period, count, low, high, dim) in enumerate(
        (
            (1.0, 260, 0.025, 0.12, 0.5),
            (1.2, 130, 0.03, 0.18, 0.75),
            (1.5, 60, 0.04, 0.26, 1.0),
            (2.0, 22, 0.08, 0.3, 1.25),
        )
    ):
        side = round(period * view.scale)
        at = (np.arange(side, dtype=np.float32) + 0.5) / side
        rough = grain(2 * at[None, :] + 0 * at[:, None], 2 * at[:, None] + 0 * at[None, :], grain.level(2 / side))
        canvas = np.zeros((side, side, 4), dtype=np.float32)
        if depth == 0:
            canvas[..., :3] = dim * palette[0]
            canvas[..., 3] = 1
        unit = side / period
        for radius in _power_law(rng, low, high, count):
            color = dim * palette[rng.integers(1, len(palette))] * rng.uniform(0.65, 1.3)
            narrow = slim if pointed else rng.uniform(0.6, 1)
            draw = _leaf(rng, color, radius, 1.5 / unit, narrow, pointed)
            _stamp(canvas, *rng.uniform(0, period, 2), 1.3 * radius, unit, draw)
        canvas[..., :3] *= 1 + (0.16 if pointed else 0.34) * rough
        layers.append(_Layer(canvas, view))
    for phase in phases:
        frame = np.zeros((view.height, view.width, 3), dtype=np.float32)
        right, down = path(phase) * view.scale
        for depth, layer in enumerate(layers):
            layer.over(frame, (0.6 + 0.35 * depth) * down - view.height // 2, (0.6 + 0.35 * depth) * right)
        yield frame


_LANDS = (
    "7fa3c7 dfe3dc b9c4c8 5b7a3a 3c5a2c 8f8a4a",  # zenith, horizon, haze, then three grounds: spring
    "6f8fb5 efd9b0 d8b792 8a6a35 6b4a28 a8873f",  # dry
    "46587a f2b07c b98a80 3f4a3c 2c332e 54503a",  # evening
    "8b9aa8 d5d9d8 c2cacc 55665a 3a473f 757a66",  # mist
    "5f8fc4 e6eef2 bccbd6 e1e5e8 8f9da8 5e6b72",  # snow
    "3e6a9e c6dbe4 a3b6bd 46603a 7a6a4c 2f4426",  # forest
)


def _sky(rng: np.random.Generator, view: _View, zenith: np.ndarray, haze: np.ndarray, horizon: float) -> np.ndarray:
    """Return a sky with clouds twice as wide as the view, periodic along x, ``float32[height, columns, 4]``."""
    columns = 2 * view.scale
    x = ((np.arange(columns, dtype=np.float32) + 0.5) / columns)[None, :]
    texture = _Texture(_fractal(rng, 256, 1.4, 2.0)[..., None])
    y = view.y + 0 * x
    clouds = texture(2 * x + 0 * y, 1.3 * y, texture.level(1.3 / view.scale))[..., 0]
    height = np.clip((horizon - y) / (horizon + 0.5), 0, 1)
    sky = _blend(haze, zenith, height)
    sky += (0.22 * np.clip(clouds - rng.uniform(-0.3, 0.6), 0, 1.4))[..., None] * (1.1 - zenith)
    return np.concatenate([sky, np.ones_like(sky[..., :1])], -1).astype(np.float32)


def _hills(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    zenith, low_sky, haze, *grounds = _colors(rng, _LANDS)
    horizon, rough = rng.uniform(-0.2, -0.02), rng.uniform(0.7, 1.3)
    grass = _Texture(np.stack([_fractal(rng, 512, 0.95, 0.5), _fractal(rng, 256, 1.3).repeat(2, 0).repeat(2, 1)], -1))
    layers = [_Layer(_sky(rng, view, zenith, low_sky, horizon + 0.1), view)]
    periods = (1.0, 1.25, 1.5, 2.0, 3.0)
    y = view.y
    for depth, period in enumerate(periods):
        near = depth / (len(periods) - 1)
        columns = round(period * view.scale)
        x = (np.arange(columns, dtype=np.float32) + 0.5) / columns
        crest = horizon + 0.09 + 0.5 * near**1.3 - rough * (0.075 - 0.035 * near) * _ridge(rng, x, 1.5, last=24)
        forest = rng.random() < 0.55
        if forest:
            crest -= (0.008 + 0.02 * near) * np.abs(_ridge(rng, x, 0.35, first=int(12 * period), last=90))
        below = y - crest[None, :]
        repeat = max(1, round(period * 1.5))
        detail = grass(
            repeat * x[None, :] + 0 * y,
            repeat / period * (1.2 - 0.5 * near) * y + 0 * x[None, :] + 0.37 * depth,
            grass.level(repeat / columns),
        )
        slope = (np.roll(crest, -1) - np.roll(crest, 1)) * (0.5 * columns / period)
        light = 0.95 - 0.45 * np.clip(slope, -0.8, 0.8)[None, :] * np.exp(-below * 9) - 0.5 * np.clip(below, 0, 0.5)
        light = light + (0.16 + 0.1 * forest) * detail[..., 0] + 0.16 * detail[..., 1]
        ground = grounds[rng.integers(len(grounds))] * (0.75 if forest else 1.05)
        color = ground * np.clip(light, 0.1, 1.8)[..., None]
        color = _blend(color, haze, np.full(below.shape, 0.72 * (1 - near) ** 1.4, dtype=np.float32))
        alpha = _step(below, 1 / view.scale)[..., None]
        layers.append(_Layer(np.concatenate([color * alpha, alpha], -1).astype(np.float32), view))
    direction, sway = rng.choice((-1, 1)), rng.uniform(0.1, 0.25)
    for phase in phases:
        frame = np.zeros((view.height, view.width, 3), dtype=np.float32)
        layers[0].over(frame, 0, sway * view.scale * np.sin(_TAU * phase))
        for layer in layers[1:]:
            layer.over(frame, 0, direction * phase * layer.period[1])
        yield frame


_TOWNS = (
    "5f8ab8 dbe3e6 c9ced0 f3e6b8 8b6a58 b59a80 6f7b85 a4574a",  # zenith, horizon, haze, lit window, facades: day
    "2c3a66 e39a6c 8f7a8a ffd27a 4b4458 6a5560 3a4358 7b5a58",  # dusk
    "10182c 3b4668 2d3850 ffcf7a 262c3c 343a48 1f2838 40404c",  # night
    "8f9aa5 cfd3d4 bcc3c8 e8e2cc 7a7872 99938a 5d6468 85705f",  # rain
    "6d9cc9 f2e7cf d9cdbb fff0c4 c9a27c d8c3a0 a87860 8c9aa0",  # south
)


def _city(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    zenith, low_sky, haze, lamp, *facades = _colors(rng, _TOWNS)
    night = float(_luma(lamp) - _luma(zenith)) > 0.45
    wall = _Texture(_fractal(rng, 256, 1.0)[..., None])
    street = rng.uniform(0.28, 0.4)
    layers = [_Layer(_sky(rng, view, zenith, low_sky, 0.3), view)]
    scale, y = view.scale, view.y
    for depth, period in enumerate((1.0, 1.5, 2.0)):
        near = depth / 2
        columns = round(period * scale)
        x = ((np.arange(columns, dtype=np.float32) + 0.5) * (period / columns))[None, :]
        canvas = np.zeros((view.height, columns, 4), dtype=np.float32)
        left, widths = 0.0, []
        while left < period:
            widths.append(rng.uniform(0.09, 0.2) * (0.7 + 0.6 * near))
            left += widths[-1]
        starts = np.concatenate([[0], np.cumsum(widths)]) * (period / sum(widths))
        rough = wall(2 * x + 0 * y, 2 * y + 0 * x, wall.level(2 / scale))[..., 0]
        for start, stop in pairwise(starts):
            roof = street - rng.uniform(0.12, 0.75 - 0.2 * near) * (1.1 - 0.35 * near)
            if rng.random() < 0.12 + 0.25 * near:
                continue  # a gap through which the row behind is seen
            first, last = int(start * scale), min(int(np.ceil(stop * scale)) + 1, columns)
            across, part = x[:, first:last] - start, slice(first, last)
            width = stop - start
            mask = _step(y - roof, 1 / scale) * _step(np.minimum(across, width - across), 1 / scale)
            color = facades[rng.integers(len(facades))] * rng.uniform(0.75, 1.2)
            light = 1.05 - 0.35 * (across / width) + 0.13 * rough[:, part] - 0.25 * (y - roof)
            rgb = color * light[..., None]
            # Windows: a grid of panes; each mirrors the sky, is dark or is lit.
            pitch_x, pitch_y = rng.uniform(0.022, 0.04, 2) * (0.7 + 0.7 * near)
            number_x = np.floor(across / pitch_x).astype(int).clip(0)
            number_y = np.floor((y - roof - 0.02) / pitch_y).astype(int)
            share = rng.uniform(0.5, 0.75)
            pane = _step(0.5 * share * pitch_x - np.abs(across - (number_x + 0.5) * pitch_x), 1.5 / scale) * _step(
                0.5 * share * pitch_y - np.abs(y - roof - 0.02 - (number_y + 0.5) * pitch_y), 1.5 / scale
            )
            glass = rng.random((64, 64))
            shown = glass[number_y % 64, number_x % 64]
            mirror = _blend(0.25 * color, 0.8 * low_sky, (shown * 0.8).astype(np.float32))
            lit = shown < (0.4 if night else 0.08)
            rgb = _blend(rgb, np.where(lit[..., None], lamp, mirror), pane * (number_y >= 0))
            rgb = _blend(rgb, haze, np.full(mask.shape, 0.6 * (1 - near), dtype=np.float32))
            canvas[:, part, :3] = canvas[:, part, :3] * (1 - mask)[..., None] + rgb * mask[..., None]
            canvas[:, part, 3] = canvas[:, part, 3] * (1 - mask) + mask
        layers.append(_Layer(canvas, view))
    layers.append(_Layer(_street(rng, view, street, wall, lamp, 0.2 if night else 1.0), view))
    direction, sway = rng.choice((-1, 1)), rng.uniform(0.05, 0.15)
    for phase in phases:
        frame = np.zeros((view.height, view.width, 3), dtype=np.float32)
        layers[0].over(frame, 0, sway * scale * np.sin(_TAU * phase))
        for layer in layers[1:]:
            layer.over(frame, 0, direction * phase * layer.period[1])
        yield frame


def _street(
    rng: np.random.Generator, view: _View, street: float, wall: _Texture, lamp: np.ndarray, day: float
) -> np.ndarray:
    """Return the nearest layer of a city: pavement, trees and lamps, ``float32[height, columns, 4]``.

    Args:
        rng: draws trees and lamps.
        view: what is shown.
        street: height of the edge of the pavement.
        wall: gives the pavement its grain.
        lamp: colour of the light.
        day: 1 by day, less by night.
    """
    scale, period = view.scale, 3.0
    # A square picture, of which a flat view shows the middle rows: what is drawn does not depend on the view.
    y = _View(scale, scale).y
    columns = round(period * scale)
    x = ((np.arange(columns, dtype=np.float32) + 0.5) * (period / columns))[None, :]
    alpha = _step(y - street, 1 / scale) + 0 * x
    rough = wall(3 * x + 0 * y, 4 * y + 0 * x, wall.level(4 / scale))[..., 0]
    ground = np.float32([0.42, 0.41, 0.4]) * (0.35 + 0.65 * day)
    canvas = np.empty((scale, columns, 4), dtype=np.float32)
    canvas[..., :3] = ground * ((1 + 0.2 * rough - 0.5 * np.clip(y - street - 0.03, 0, 0.05) / 0.05) * alpha)[..., None]
    canvas[..., 3] = alpha
    leaf = np.float32([0.22, 0.31, 0.14]) * (0.4 + 0.6 * day)
    for start in np.arange(0, period, 0.3) + rng.uniform(0, 0.12, 10):
        foot, height = street + rng.uniform(0.02, 0.08), rng.uniform(0.22, 0.5)
        pole = _step(0.006 - np.abs((x - start + period / 2) % period - period / 2), 1 / scale)
        pole = pole * _step(y - (foot - height), 1 / scale) * _step(foot - y, 1 / scale)
        canvas[..., :3] += pole[..., None] * (np.float32([0.16, 0.14, 0.12]) - canvas[..., :3])
        canvas[..., 3] += pole * (1 - canvas[..., 3])
        # A crown of many small clumps, or one lamp. None hangs over the top: the layer wraps.
        clumps = 90 if rng.random() < 0.7 else 0
        spots = [(*rng.normal((start, foot - height), (0.032, 0.042)), rng.uniform(0.008, 0.02)) for _ in range(clumps)]
        for cx, cy, radius in spots or [(start, foot - height, 0.018)]:
            color = leaf * rng.uniform(0.5, 1.7) if clumps else 1.1 * lamp
            if abs(cy) > 0.5 - 1.2 * radius:
                continue

            def clump(dx: np.ndarray, dy: np.ndarray, color=color, radius=radius) -> tuple[np.ndarray, np.ndarray]:
                distance = np.sqrt(dx**2 + dy**2)
                return color * (1 - 6 * dy)[..., None] + 0 * distance[..., None], _step(radius - distance, 2 / scale)

            _stamp(canvas, cx, cy + 0.5, radius * 1.1, scale, clump)
    top = (scale - view.height) // 2
    return canvas[top : top + view.height]


_GROUNDS = (
    "3a2f25 8f7a5c c9b48c",  # sand
    "1f2a1a 4f6a35 8fa05e",  # lawn
    "3b3b3d 77777a b5b3ae",  # concrete
    "2b1c14 6e4a2f a97a4e",  # wood
    "1c2430 3f566b 8ba0ad",  # slate
)


def _bodies(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    table = _ramp(_colors(rng, _GROUNDS))
    tones = _fractal(rng, 512, rng.uniform(0.6, 0.8), rng.uniform(0.7, 1.5))
    ground = _Texture(_look_up(table, 0.5 + 0.15 * tones))
    level = ground.level(1 / view.scale)
    skin = _Texture(_fractal(rng, 128, 0.6)[..., None])
    paints = np.concatenate([_colors(rng, _LEAVES)[1:], _colors(rng, _TOWNS)[4:], _colors(rng, _GROUNDS)[1:]])
    path = _sway(rng, 0.06, 0.12)
    count = int(rng.integers(14, 21))
    radii = np.sort(_power_law(rng, 0.028, 0.16, count))
    # Every body circles a place that itself circles the middle: whole numbers of turns, so that orbits close.
    turns = np.stack([rng.choice((-1, 1), count), rng.choice((-1, 1), count)])
    reach = np.stack([rng.uniform(0.08, 0.42, count), rng.uniform(0.03, 0.14, count)])
    start = rng.uniform(0, _TAU, (2, count))
    squash, tint = rng.uniform(0.6, 1), rng.uniform(0.75, 1.15, count)
    sun = np.array([rng.choice((-1, 1)) * 0.5, -0.6, 0.62], dtype=np.float32)
    colors = paints[rng.integers(len(paints), size=count)] * tint[:, None].astype(np.float32)
    scale = view.scale
    x, y = view.x + 0 * view.y, view.y + 0 * view.x
    for phase in phases:
        right, down = path(phase)
        frame = ground(x + right, y + down, level)
        angle = _TAU * phase * turns + start
        center_x = (reach * np.cos(angle)).sum(0)
        center_y = squash * (reach * np.sin(angle)).sum(0)
        roll = 0.5 + 0.5 * np.cos(angle[0])
        boxes = []
        for k, radius in enumerate(radii):
            top, bottom = ((center_y[k] + radius * np.array([-1.1, 2.0])) * scale + view.height / 2).round().astype(int)
            left, right = ((center_x[k] + radius * np.array([-2.0, 2.0])) * scale + view.width / 2).round().astype(int)
            boxes.append((slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))))
        for k, radius in enumerate(radii):
            box = boxes[k]
            dx, dy = (x[box] - center_x[k]) / radius, (y[box] - center_y[k]) / radius
            far = np.sqrt((dx + sun[0]) ** 2 + ((dy + sun[1]) * 1.2) ** 2)
            frame[box] *= (1 - 0.6 * np.clip(1.5 - 1.25 * far, 0, 1))[..., None]
            square = dx**2 + dy**2
            up = np.sqrt(np.clip(1 - square, 0, 1))
            light = 0.22 + 0.95 * np.clip(dx * sun[0] + dy * sun[1] + up * sun[2], 0, 1)
            rough = skin(0.3 * dx + k * 0.3 + roll[k], 0.3 * dy + roll[k], skin.level(0.3 / radius / scale))[..., 0]
            light *= 1 + 0.25 * rough
            light += 0.5 * np.clip(dx * 0.7 * sun[0] + dy * 0.7 * sun[1] + up * 0.85, 0, 1) ** 24 * 0.7
            shape = _step((1 - np.sqrt(square)) * radius, 1.2 / scale)
            frame[box] += shape[..., None] * (colors[k] * light[..., None] - frame[box])
        yield frame


# ------------------------------------------------------------------------------------------------- held-out families

_WATERS = (
    "0c2b38 2f7a86 9ad0cf f2fbf6",  # deep, shallow, mirrored sky, glint: lagoon
    "0d1c30 2b4a70 8fa9c8 ffffff",  # sea
    "1d2a1c 4c5d38 a3a784 f7f3da",  # pond
    "2a1c2a 7a4a4c e0a07c ffe9c0",  # evening
)


def _water(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    deep, shallow, mirror, glint = _colors(rng, _WATERS)
    oblique = rng.random() < 0.6
    side = 128
    fy = np.fft.fftfreq(side, 1 / side).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(side, 1 / side).astype(np.float32)[None, :]
    frequency = np.maximum(np.hypot(fx, fy), 1)
    wind = rng.uniform(0, _TAU)
    along = 0.25 + ((fx * np.cos(wind) + fy * np.sin(wind)) / frequency) ** 2
    peak = rng.uniform(1.2, 2.0) if oblique else rng.uniform(2, 4)
    amplitude = frequency ** -np.float32(3.2 if oblique else 2.7) * np.exp(-((peak / frequency) ** 2)) * along
    amplitude[0, 0] = 0
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) * amplitude
    # Gravity waves: the angular frequency grows like the root of the wave number; whole turns close the loop.
    turns = np.round(rng.uniform(0.7, 1.1) * np.sqrt(frequency)) * np.where(
        fx * np.cos(wind) + fy * np.sin(wind) < 0, 1, -1
    )
    slopes = np.stack([1j * fx * spectrum, 1j * fy * spectrum, -(frequency**2) * spectrum]).astype(np.complex64)
    norm = np.fft.irfft2(slopes, s=(side, side)).std(axis=(1, 2))
    slopes /= (np.float32([norm[:2].mean()] * 2 + [norm[2]]))[:, None, None]
    bottom = _Texture(_fractal(rng, 256, 0.8)[..., None])
    horizon, zoom = rng.uniform(0.62, 0.9), rng.uniform(0.6, 0.85)
    depth = (
        (0.5 + horizon) / (horizon + view.y) + 0 * view.x if oblique else np.ones((view.height, view.width), np.float32)
    )
    u, v = zoom * depth * view.x, zoom * (-1.5 * depth if oblique else view.y + 0 * view.x)
    footprint = zoom * depth / view.scale * (np.maximum(1, depth / (0.5 + horizon)) if oblique else 1)
    # Far off a pixel holds whole waves and shows their mean.
    calm = (1.4 / (1 + 0.4 * depth))[..., None]
    grazing = np.clip((depth - 1) / 5, 0, 0.8)
    refraction, caustic = rng.uniform(0.015, 0.03), rng.uniform(0.25, 0.5)
    for phase in phases:
        wave = np.fft.irfft2(slopes * np.exp(1j * _TAU * phase * turns).astype(np.complex64), s=(side, side))
        surface = _Texture(np.moveaxis(wave, 0, -1).astype(np.float32))
        slope = surface(u, v, surface.level(footprint)) * calm
        ground = bottom(u + refraction * slope[..., 0], v + refraction * slope[..., 1], bottom.level(footprint))[..., 0]
        tone = 0.45 + 0.22 * ground + caustic * (np.exp(0.55 * slope[..., 2]) - 1.1) * (1 - grazing)
        color = _blend(deep, shallow, np.clip(tone, 0, 1.6))
        facing = slope[..., 1] if oblique else slope[..., 0] * 0.7 + slope[..., 1] * 0.7
        color = _blend(color, mirror, np.clip(0.12 + grazing + 0.24 * facing, 0, 0.95))
        yield _blend(color, glint, np.clip((facing - 1.7) * 0.9, 0, 1))


_PEBBLES = (
    "17150f 4a453a 7d7563 a89e8a c9c0ad 5a4a3c",  # gravel
    "141a14 2f4030 56694a 87935f b7b07a 3f3524",  # toad
    "1a0f0c 5a2a1c 8c4a2c b57a4a d6b07f 3a2a2a",  # brick
    "0f151c 2c3e52 4f6a80 8397a0 b9bfbc 5b5a66",  # slate
    "1c1410 6a5238 a3875c d2be94 e8dcc0 7a6a5c",  # shells
)


def _pebbles(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    palette = _colors(rng, _PEBBLES)
    gap, stones = palette[0], palette[1:]
    count, period = int(rng.integers(34, 60)), 1.2
    places = rng.uniform(0, period, (count, 2))
    for _ in range(12):  # push apart, so that sizes differ but no cell is a sliver
        offset = (places[:, None] - places[None] + period / 2) % period - period / 2
        square = (offset**2).sum(-1) + np.eye(count)
        places = (places + 0.0016 * (offset / square[..., None] * (square < 0.09)[..., None]).sum(1) / 4) % period
    orbit, start = rng.uniform(0.015, 0.06, count), rng.uniform(0, _TAU, count)
    turns = rng.choice((-1, 1), count)
    path = _sway(rng, 0.05, 0.09)
    colors = (stones[rng.integers(len(stones), size=count)] * rng.uniform(0.7, 1.3, (count, 1))).astype(np.float32)
    grain = _Texture(_fractal(rng, 256, 0.75)[..., None])
    level = grain.level(1.4 / view.scale)
    shifts = rng.random((count, 2)).astype(np.float32)
    seam, steepness = rng.uniform(0.008, 0.016), rng.uniform(16, 30)
    wobble = _Texture(np.stack([_fractal(rng, 128, 1.6), _fractal(rng, 128, 1.6)], -1))
    blur = wobble.level(1 / view.scale)
    half = np.array([view.width, view.height]) / view.scale / 2 + 0.25
    lattice = period * np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    for phase in phases:
        shift = path(phase)
        angle = _TAU * phase * turns + start
        moved = places + orbit[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1) - shift
        bend = 0.012 * wobble(view.x + shift[0] + 0 * view.y, view.y + shift[1] + 0 * view.x, blur)
        x, y = view.x + bend[..., 0], view.y + bend[..., 1]
        first = np.full(x.shape, 9, dtype=np.float32)
        second = first.copy()
        owner = np.zeros(x.shape, dtype=np.int32)
        # Each cell and its three neighbours of the lattice, two periods wide, of which the view sees some.
        images = (moved[:, None] + lattice) % (2 * period) - period
        for k in range(count):
            for px, py in images[k]:
                if abs(px) > half[0] or abs(py) > half[1]:
                    continue
                square = (x - np.float32(px)) ** 2 + (y - np.float32(py)) ** 2
                np.minimum(second, np.maximum(first, square), out=second)
                owner[square < first] = k
                np.minimum(first, square, out=first)
        middle = moved.astype(np.float32)
        to_x = (x - middle[owner, 0] + period / 2) % period - period / 2
        to_y = (y - middle[owner, 1] + period / 2) % period - period / 2
        border = np.sqrt(second) - np.sqrt(first)
        dome = 1 - np.exp(-border * steepness)
        light = 0.35 + 0.75 * dome - 2.2 * (0.5 * to_x + 0.8 * to_y)
        rough = grain(1.4 * to_x + shifts[owner, 0], 1.4 * to_y + shifts[owner, 1], level)[..., 0]
        color = colors[owner] * np.clip(light * (1 + 0.36 * rough), 0, 2)[..., None]
        yield _blend(gap, color, _step(border - seam, 0.02))


_ROCKS = (
    "1a1512 5d4a3a 9a8468 d0bd9c f0dfb8",  # dark to light, then the light at the end: sandstone
    "101418 3a444c 6d7a82 a9b4b8 dfe9ee",  # granite
    "140d0a 5a2c1e 94543a c98f68 ffd9a0",  # brick
    "0d1410 33443a 637660 9fae8c e9f0d0",  # moss
)


def _tunnel(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    *rock, beam = _colors(rng, _ROCKS)
    table = _ramp(np.array(rock))
    # The texture equals itself moved by half a period along both axes: half a period of travel closes the loop.
    relief = _fractal(rng, 512, rng.uniform(0.95, 1.15))
    relief = (relief + np.roll(relief, (256, 256), (0, 1))) / np.float32(np.sqrt(2))
    tone = 0.5 + 0.12 * relief + 0.08 * (relief - np.roll(relief, (5, 4), (0, 1)))
    if rng.random() < 0.5:  # masonry: courses of blocks with dark joints and tones of their own
        rows, blocks = int(rng.choice((4, 8))), 4
        at = np.arange(512) / 512
        course = (at * rows).astype(int)
        shifted = (at[None, :] * blocks + 0.5 * (course % 2)[:, None]) % blocks
        joint = np.minimum(
            np.minimum(at * rows % 1, 1 - at * rows % 1)[:, None] / rows,
            np.minimum(shifted % 1, 1 - shifted % 1) / blocks,
        )
        dyes = rng.random((rows // 2, blocks))
        dyes = np.concatenate([dyes, np.roll(dyes, blocks // 2, axis=1)])
        tone = tone + 0.45 * (dyes[course[:, None], shifted.astype(int)] - 0.5)
        tone -= 0.45 * np.clip(1.6 - joint * 200, 0, 1)
    texture = _Texture(_look_up(table, tone.astype(np.float32)))
    power, around, speed = rng.choice((2.0, 3.0, 6.0)), int(rng.integers(2, 4)), int(rng.choice((-1, 1)))
    bend, spin = rng.uniform(0.05, 0.1), rng.uniform(0.02, 0.06)
    start = rng.uniform(0, _TAU, 2)
    radius, fade = rng.uniform(0.3, 0.42), rng.uniform(2.2, 3.5)
    lamp = rng.uniform(0, _TAU)
    for phase in phases:
        turn = _TAU * phase
        close = np.exp(-2.5 * np.hypot(view.x, view.y))
        x = view.x - bend * np.float32(np.cos(turn + start[0])) * close
        y = view.y - bend * np.float32(np.sin(turn + start[1])) * close
        distance = np.maximum((np.abs(x) ** power + np.abs(y) ** power) ** (1 / power), 0.01).astype(np.float32)
        depth = radius / distance
        angle = np.arctan2(y, x) / np.float32(_TAU)
        footprint = np.sqrt(0.45 * depth * around / _TAU) / distance / view.scale
        rgb = texture(
            around * angle + np.float32(0.5 * phase + spin * np.sin(turn)),
            0.45 * depth + 0.5 * speed * phase,
            texture.level(footprint),
        )
        light = 0.55 + 0.6 * np.exp(-depth / fade) + 0.2 * np.cos(_TAU * angle - lamp)
        rgb *= light[..., None]
        yield _blend(rgb, beam, 0.6 * np.clip(1.15 - np.exp(-(depth / fade - 1.6) * 0.5), 0, 1))


_FLAMES = (
    "0a0504 3a0d06 a0300c e87a1e ffc85a fff2c4",  # flames
    "14171b 2b2f35 565b60 8b8d8e bdbab4 e2ddd2",  # smoke
    "120a0a 2c1614 5a1f16 b8401a f08a30 ffd890",  # lava
    "1b130e 4a2f1c 8a5a30 c08a4c e0bd82 f6e6bf",  # dust
)


def _fire(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    table = _ramp(_colors(rng, _FLAMES, 0.02))
    stretch = rng.uniform(0.5, 0.9)
    body = _Texture(np.stack([_fractal(rng, 256, 1.4, stretch), _fractal(rng, 256, 1.0, stretch)], -1))
    flow = _Texture(np.stack([_fractal(rng, 128, 1.9), _fractal(rng, 128, 1.9)], -1))
    zoom, fine = rng.uniform(0.8, 1.0), rng.uniform(0.12, 0.2)
    level, coarse = body.level(zoom / view.scale), flow.level(1 / view.scale)
    x, y = view.x + 0 * view.y, view.y + 0 * view.x
    heat, lick = rng.uniform(0.42, 0.5), rng.uniform(0.2, 0.45)
    warp = rng.uniform(0.03, 0.06)
    for phase in phases:
        push = warp * flow(0.9 * x, 0.9 * y + phase, coarse)
        slow = body(zoom * x + push[..., 0], zoom * y + push[..., 1] + phase, level)
        fast = body(zoom * x + 0.5 + 1.6 * push[..., 1], zoom * y + 2 * phase, level)
        value = (
            heat
            + lick * y
            + 0.2 * slow[..., 0]
            + fine * (0.4 * fast[..., 1] + 0.5 * slow[..., 1])
            + 0.05 * fast[..., 0]
        )
        yield _look_up(table, value)


_FIELDS = (
    "6f9acb e3e9e6 4a5d2a 7f8f3f b5a45a 8a6b42 35472a",  # zenith, horizon, fields: summer
    "8aa0b8 e9e0cf 6b5a3a a08a55 c9b070 59603a 42352a",  # harvest
    "5a6f96 f0c8a0 3d4a33 6a6440 8f7a4a 4d3f36 2c352b",  # evening
    "9aa6b0 dfe3e4 58684a 7b8465 9a9a80 6d6450 3f4a3c",  # grey
)


def _fields(rng: np.random.Generator, colors: np.ndarray, side: int = 512) -> np.ndarray:
    """Return a periodic patchwork of fields with hedges, furrows and trees, ``float32[side, side, 3]``."""
    picture = np.empty((side, side, 3), dtype=np.float32)
    plots = [(0, 0, side, side)]
    while len(plots) < 26:
        plots.sort(key=lambda p: (p[2] - p[0]) * (p[3] - p[1]))
        top, left, low, right = plots.pop()
        cut = rng.uniform(0.3, 0.7)
        if low - top > right - left:
            middle = top + round(cut * (low - top))
            plots += [(top, left, middle, right), (middle, left, low, right)]
        else:
            middle = left + round(cut * (right - left))
            plots += [(top, left, low, middle), (top, middle, low, right)]
    for top, left, low, right in plots:
        color = colors[rng.integers(len(colors))] * rng.uniform(0.75, 1.25)
        rows, columns = np.arange(low - top)[:, None], np.arange(right - left)[None, :]
        furrow = np.cos(_TAU * (rows if rng.random() < 0.5 else columns) / rng.uniform(6, 14)) * rng.uniform(0, 0.14)
        border = np.minimum(np.minimum(rows, low - top - 1 - rows), np.minimum(columns, right - left - 1 - columns))
        light = np.where(border < rng.integers(1, 4), rng.choice((0.45, 0.6, 1.5)), 1 + furrow)
        picture[top:low, left:right] = color * light[..., None]
    canvas = np.concatenate([picture, np.ones((side, side, 1), dtype=np.float32)], -1)
    for _ in range(160):
        radius = rng.uniform(0.005, 0.014)
        color = np.float32([0.13, 0.2, 0.08]) * rng.uniform(0.7, 1.6)
        _stamp(canvas, *rng.random(2), 2 * radius, side, _leaf(rng, color, radius, 2 / side, 0.9, False))
    picture = canvas[..., :3] * (1 + 0.16 * _fractal(rng, side, 0.9) + 0.14 * _fractal(rng, side, 1.5))[..., None]
    # A warp of some texels takes the ruler out of the borders.
    shift = (5 * np.stack([_fractal(rng, side, 2.0), _fractal(rng, side, 2.0)])).astype(int)
    at = np.arange(side)
    return picture[(at[:, None] + shift[0]) % side, (at[None, :] + shift[1]) % side]


def _flyover(rng: np.random.Generator, view: _View, phases: np.ndarray) -> Iterator[np.ndarray]:
    zenith, haze, *ground = _colors(rng, _FIELDS)
    texture = _Texture(_fields(rng, np.array(ground)))
    sky = _Layer(_sky(rng, view, zenith, haze, 0.0), view)
    horizon, lift, zoom = rng.uniform(-0.3, -0.12), rng.uniform(0.3, 0.5), rng.uniform(0.5, 0.8)
    roll, sway = rng.uniform(0.03, 0.1), rng.uniform(0.03, 0.1)
    heading = np.array([(0, 1), (1, 1), (-1, 1), (1, 0)][rng.integers(4)])
    forward = heading / np.hypot(*heading)
    for phase in phases:
        turn = _TAU * phase
        bank, drop = roll * np.sin(turn), 0.02 * np.sin(2 * turn)
        frame = np.zeros((view.height, view.width, 3), dtype=np.float32)
        sky.over(frame, 0, sway * view.scale * np.sin(turn))
        below = view.y - np.float32(horizon + drop) + np.float32(bank) * view.x
        depth = lift / np.maximum(below, 0.004)
        side = depth * (view.x + np.float32(sway * np.cos(turn)))
        u = zoom * (forward[0] * depth + forward[1] * side) + heading[0] * phase
        v = zoom * (forward[1] * depth - forward[0] * side) + heading[1] * phase
        spread = zoom * np.sqrt(depth * depth**2 / lift) / view.scale
        land = texture(u.astype(np.float32), v.astype(np.float32), texture.level(spread))
        land = _blend(land, haze, 1 - np.exp(-np.clip(depth - 1, 0, None) * 0.13))
        yield _blend(frame, land, _step(below, 1 / view.scale))


Family = Callable[[np.random.Generator, _View, np.ndarray], Iterator[np.ndarray]]

#: Families of each split, in the order in which they take turns.
FAMILIES: dict[str, dict[str, Family]] = {
    "train": {"clouds": _clouds, "leaves": _leaves, "hills": _hills, "bodies": _bodies, "city": _city},
    "test": {"water": _water, "pebbles": _pebbles, "tunnel": _tunnel, "fire": _fire, "flyover": _flyover},
}

#: Names of the videos of each split, in order: the family and its number in the family.
NAMES: dict[str, tuple[str, ...]] = {
    split: tuple(f"{family}-{number:02d}" for number in range(count // len(families)) for family in families)
    for (split, families), count in zip(FAMILIES.items(), (60, 30), strict=True)
}


def render(split: str, index: int, size: tuple[int, int]) -> np.ndarray:
    """Return one video, ``uint8[NUM_FRAMES, height, width, 3]`` RGB, top row first.

    The same arguments give the same bits in every process of a machine.

    Args:
        split: ``"train"`` or ``"test"`` (held out).
        index: number of the video, in the order of ``NAMES[split]``.
        size: height and width in pixels, at least 1 each.
    """
    families = list(FAMILIES[split].values())
    rng = np.random.default_rng([list(FAMILIES).index(split), index])
    # Drawn first, so that a family may draw as much as it likes.
    mean, deviation = rng.uniform(0.4, 0.55), rng.uniform(0.17, 0.23)
    view = _View(*size)
    frames = np.empty((NUM_FRAMES, *size, 3), dtype=np.float32)
    phases = np.arange(NUM_FRAMES) / NUM_FRAMES
    for frame, picture in zip(frames, families[index % len(families)](rng, view, phases), strict=True):
        frame[...] = picture
    return _grade(frames, mean, deviation)
