"""Background videos drawn by formula: natural-looking scenes that need no data and nothing but numpy.

They stand in for recorded footage where there is none (tests, first runs, machines without the data). They are *not*
DAVIS: a result obtained with them is not comparable with one obtained on recorded videos.

Sixty training videos of three families and thirty held-out ones of three *other* families, the numbers of DAVIS 2017.
Families take turns in the list, so that the first few videos of a split differ in kind:

========== ============================================================================================
training
---------- --------------------------------------------------------------------------------------------
clouds     fractal clouds over a sky in perspective, drifting and warped by a slower flow
bodies     lit balls that circle each other on closed epicycles over rough ground
fire       rising flames, smoke, lava or dust
held out
---------- --------------------------------------------------------------------------------------------
water      waves of a random sea with dispersion that refract a bottom and mirror the sky
pebbles    moving Voronoi cells with textured, rounded faces
tunnel     flight through a winding tube of rock
========== ============================================================================================

Every video is a pure function of (split, index, size); another size shows the same scene with other detail. Time
enters through functions of period ``NUM_FRAMES`` only: the step from the last frame to the first is like any other.

Measured over all 90 videos at 84 x 84, on luminance from 0 to 255: mean 100 to 139, standard deviation 35 to 64, mean
absolute difference of successive frames 5 to 36 (unrelated frames would differ by about 60). The power spectra of
single frames fall like f^-2.4 in the median (-2.9 to -1.9 for nine in ten), where those of natural images fall about
like f^-2 (Field 1987).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bisimgym.envs.rendering.pyramid import Pyramid

#: Frames of every video.
NUM_FRAMES = 64

_TAU = 2 * np.pi
#: ITU-R BT.601 weights of red, green and blue.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
#: Share of the finest detail that is added again.
_SHARPENING = 0.65


class _View(NamedTuple):
    """Pixel centers in units of the longer side, the middle of the image at the origin.

    Attributes:
        x, y: ``float32[height, width]``, to the right and downwards.
        pixel: width of a pixel.
    """

    x: np.ndarray
    y: np.ndarray
    pixel: float


def _view(height: int, width: int) -> _View:
    scale = max(height, width)
    x, y = ((np.arange(n, dtype=np.float32) + 0.5 - n / 2) / scale for n in (width, height))
    return _View(*np.meshgrid(x, y), 1 / scale)


def _fractal(rng: np.random.Generator, side: int, exponent: float, stretch: float = 1.0) -> np.ndarray:
    """Return periodic Gaussian noise with amplitudes ~ f^-exponent and deviation 1, ``float32[side, side]``.

    ``stretch`` > 1 lengthens its features along x.
    """
    fx, fy = _frequencies(side)
    frequency = np.sqrt(fy**2 + (stretch * fx) ** 2)
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32)) * frequency ** np.float32(-exponent)
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(side, side)).astype(np.float32)
    return noise / noise.std()


def _frequencies(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the waves per period along x and y of numpy's real Fourier transform."""
    fx, fy = np.fft.rfftfreq(side, 1 / side), np.fft.fftfreq(side, 1 / side)
    return fx.astype(np.float32)[None, :], fy.astype(np.float32)[:, None]


def _fractals(rng: np.random.Generator, side: int, *exponents: float, stretch: float = 1.0) -> Pyramid:
    """Return a texture whose channels are independent fractals."""
    return Pyramid(np.stack([_fractal(rng, side, exponent, stretch) for exponent in exponents], -1))


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


def _colors(rng: np.random.Generator, palettes: Sequence[str], spread: float = 0.03) -> np.ndarray:
    """Return one of the palettes (hexadecimal colors), each color a little changed, ``float32[K, 3]``."""
    chosen = palettes[int(rng.integers(len(palettes)))].split()
    colors = np.array([list(bytes.fromhex(color)) for color in chosen], dtype=np.float32) / 255
    return np.clip(colors + rng.normal(0, spread, colors.shape), 0, 1).astype(np.float32)


def _blend(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mixture of two colors (or images) with ``weight[H, W]`` on the second."""
    return low + weight[..., None] * (high - low)


def _ramp(colors: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return colors for values in [0, 1] (others are clipped), at equal distances along a ramp of colors."""
    at = np.linspace(0, len(colors) - 1, 512)
    table = np.stack([np.interp(at, np.arange(len(colors)), channel) for channel in colors.T], -1).astype(np.float32)
    return table.take((np.clip(value, 0, 1) * 511).astype(int), axis=0)


def _smooth(image: np.ndarray) -> np.ndarray:
    """Return the image under a 3 x 3 binomial filter; borders are repeated."""
    image = np.pad(image, 1, mode="edge")
    image = 0.5 * image[1:-1] + 0.25 * (image[:-2] + image[2:])
    return 0.5 * image[:, 1:-1] + 0.25 * (image[:, :-2] + image[:, 2:])


def _grade(frames: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """Return ``uint8`` frames whose luminance has about this mean and standard deviation (of 1); hues stay."""
    sample = frames[::4] @ _LUMA
    gain = np.float32(min(deviation / max(float(sample.std()), 1e-6), 2.5))
    shift = np.float32(mean - gain * float(sample.mean()))
    graded = np.empty(frames.shape, dtype=np.uint8)
    for frame, target in zip(frames, graded, strict=True):
        luma = frame @ _LUMA
        # Cameras sharpen; here it makes up for what sampling between texels has smoothed.
        bright = shift + gain * (luma + _SHARPENING * (luma - _smooth(luma)))
        # Shoulder and toe of film: beyond the middle range, brightness bends towards black and white.
        bright = 0.5 + 0.5 * np.tanh((bright - 0.5) * 1.9) / np.float32(np.tanh(1.1))
        chroma = min(gain, np.float32(1.15)) * (frame - luma[..., None])
        target[...] = np.clip(255 * (chroma + bright[..., None]) + 0.5, 0, 255)
    return graded


# ------------------------------------------------------------------------------------------------- training families

_SKIES = (
    "3f6fa8 a9c6de 8c97a6 fbf8f0",  # zenith, horizon, shaded cloud, lit cloud: clear day
    "4d5d73 c9c4b8 6a6f78 e6e1d6",  # overcast
    "35406b f0a35e 6b5468 ffd9a8",  # sunset
    "5c86b8 e7dcc4 9a8f8a fff6e2",  # morning
    "20305a c77a6a 4a3f5e f2b79a",  # dusk
)


def _clouds(rng: np.random.Generator, view: _View, phases: Sequence[float]) -> Iterator[np.ndarray]:
    zenith, haze, shade, light = _colors(rng, _SKIES)
    density = _fractal(rng, 512, rng.uniform(1.4, 1.6), rng.uniform(1, 1.6))
    sun = rng.integers(12, 26) * np.array([1, rng.choice((-1, 1))])
    lit = density - np.roll(density, sun, axis=(0, 1))
    texture, flow = Pyramid(np.stack([density, lit / lit.std()], -1)), _fractals(rng, 128, 2.0, 2.0)
    horizon, zoom = rng.uniform(0.65, 1.1), rng.uniform(0.6, 0.85)
    depth = (0.5 + horizon) / (horizon - view.y)
    u, v = zoom * depth * view.x, zoom * depth
    footprint = zoom * depth * view.pixel * np.maximum(1, depth / (0.5 + horizon)) * 0.8
    wind = np.array([(1, 0), (-1, 0), (0, 1)][rng.integers(3)])
    cover, edge, strength = rng.uniform(-0.4, 0.4), rng.uniform(0.8, 1.3), rng.uniform(0.015, 0.03)
    sky = _blend(haze, zenith, np.clip(0.5 - view.y, 0, 1) ** 0.8)
    veil = np.clip(1.15 - 6 / (depth + 4), 0, 0.6)
    for phase in phases:
        du, dv = phase * wind
        push = strength * flow.bilinear(u * 0.7 + 2 * du, v * 0.7 - dv, zoom * view.pixel)
        cloud = texture.bilinear(u + du + push[..., 0], v + dv + push[..., 1], footprint)
        alpha = np.clip((cloud[..., 0] - cover) / edge + 0.5, 0, 1)
        color = _blend(shade, light, np.clip(0.6 + 0.3 * cloud[..., 1] - 0.1 * cloud[..., 0], 0, 1))
        yield _blend(sky, _blend(color, haze, veil), alpha**2 * (3 - 2 * alpha))


_GROUNDS = (
    "3a2f25 8f7a5c c9b48c 5b7a3a b0622a d9b36a a4574a 7b8b9a",  # three of the ground, then bodies: sand
    "1f2a1a 4f6a35 8fa05e a86a70 d3a6a0 c9b59a 5b8272 70604a",  # lawn
    "3b3b3d 77777a b5b3ae 8c2f1d c98f3f 5d7a98 86a046 c9a27c",  # concrete
    "2b1c14 6e4a2f a97a4e 5a8f8a a5a297 e8dcc0 7f7a52 6e3f4a",  # wood
)


def _bodies(rng: np.random.Generator, view: _View, phases: Sequence[float]) -> Iterator[np.ndarray]:
    palette = _colors(rng, _GROUNDS)
    tones = _fractal(rng, 512, rng.uniform(0.5, 0.7), rng.uniform(0.7, 1.5))
    ground, skin = Pyramid(_ramp(palette[:3], 0.5 + 0.15 * tones)), _fractals(rng, 128, 0.6)
    path = _sway(rng, 0.06, 0.12)
    count = int(rng.integers(14, 21))
    radii = np.sort(0.028 / np.sqrt(1 - 0.97 * rng.random(count)))  # with density ~ r^-3 up to 0.16
    # Every body circles a place that itself circles the middle: whole numbers of turns, so that orbits close.
    turns, start = rng.choice((-1, 1), (2, count)), rng.uniform(0, _TAU, (2, count))
    reach = np.stack([rng.uniform(0.08, 0.42, count), rng.uniform(0.03, 0.14, count)])
    squash, tint = rng.uniform(0.6, 1), rng.uniform(0.75, 1.15, (count, 1))
    sun = np.array([rng.choice((-1, 1)) * 0.5, -0.6, 0.62], dtype=np.float32)
    colors = (palette[rng.integers(3, len(palette), size=count)] * tint).astype(np.float32)
    for phase in phases:
        shift = path(phase)
        frame = ground.bilinear(view.x + shift[0], view.y + shift[1], view.pixel)
        angle = _TAU * phase * turns + start
        x, y = (reach * np.cos(angle)).sum(0), squash * (reach * np.sin(angle)).sum(0)
        roll = 0.5 + 0.5 * np.cos(angle[0])
        for k, radius in enumerate(radii):
            box = np.ix_(np.abs(view.y[:, 0] - y[k]) < 2 * radius, np.abs(view.x[0] - x[k]) < 2 * radius)
            dx, dy = (view.x[box] - x[k]) / radius, (view.y[box] - y[k]) / radius
            far = np.sqrt((dx + sun[0]) ** 2 + ((dy + sun[1]) * 1.2) ** 2)
            below = frame[box] * (1 - 0.6 * np.clip(1.5 - 1.25 * far, 0, 1))[..., None]
            square = dx**2 + dy**2
            facing = dx * sun[0] + dy * sun[1] + np.sqrt(np.clip(1 - square, 0, 1)) * sun[2]
            rough = skin.bilinear(0.3 * dx + k * 0.3 + roll[k], 0.3 * dy + roll[k], 0.3 * view.pixel / radius)[..., 0]
            light = (0.22 + 0.95 * np.clip(facing, 0, 1)) * (1 + 0.25 * rough) + 0.35 * np.clip(facing, 0, 1) ** 24
            shape = _step((1 - np.sqrt(square)) * radius, 1.2 * view.pixel)
            frame[box] = _blend(below, colors[k] * light[..., None], shape)
        yield frame


_FLAMES = (
    "0a0504 3a120c 963c1c de823a fac878 fff2c4",  # flames
    "14171b 2b2f35 565b60 8b8d8e bdbab4 e2ddd2",  # smoke
    "120a0a 2c1614 5a261e b04a2a e6904a ffd890",  # lava
    "1b130e 4a2f1c 8a5a30 c08a4c e0bd82 f6e6bf",  # dust
)


def _fire(rng: np.random.Generator, view: _View, phases: Sequence[float]) -> Iterator[np.ndarray]:
    colors = _colors(rng, _FLAMES, 0.02)
    body, flow = _fractals(rng, 256, 1.3, 0.85, stretch=rng.uniform(0.5, 0.9)), _fractals(rng, 128, 1.9, 1.9)
    zoom, fine = rng.uniform(0.8, 1.0), rng.uniform(0.12, 0.2)
    heat, lick, warp = rng.uniform(0.42, 0.5), rng.uniform(0.2, 0.45), rng.uniform(0.03, 0.06)
    x, y = zoom * view.x, zoom * view.y
    for phase in phases:
        push = warp * flow.bilinear(0.9 * view.x, 0.9 * view.y + phase, view.pixel)
        slow = body.bilinear(x + push[..., 0], y + push[..., 1] + phase, zoom * view.pixel)
        fast = body.bilinear(x + 0.5 + 1.6 * push[..., 1], y + 2 * phase, zoom * view.pixel)
        detail = fine * (0.4 * fast[..., 1] + 0.5 * slow[..., 1]) + 0.05 * fast[..., 0]
        yield _ramp(colors, heat + lick * view.y + 0.2 * slow[..., 0] + detail)


# ------------------------------------------------------------------------------------------------- held-out families

_WATERS = (
    "0c2b38 2f7a86 9ad0cf f2fbf6",  # deep, shallow, mirrored sky, glint: lagoon
    "0d1c30 2b4a70 8fa9c8 ffffff",  # sea
    "1d2a1c 4c5d38 a3a784 f7f3da",  # pond
    "2a1c2a 7a4a4c e0a07c ffe9c0",  # evening
)


def _water(rng: np.random.Generator, view: _View, phases: Sequence[float]) -> Iterator[np.ndarray]:
    deep, shallow, mirror, glint = _colors(rng, _WATERS)
    side = 128
    fx, fy = _frequencies(side)
    frequency, wind = np.maximum(np.hypot(fx, fy), 1), rng.uniform(0, _TAU)
    downwind = (fx * np.cos(wind) + fy * np.sin(wind)) / frequency
    amplitude = frequency**-3.2 * np.exp(-((rng.uniform(1.2, 2.0) / frequency) ** 2)) * (0.25 + downwind**2)
    amplitude[0, 0] = 0
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) * amplitude
    # Gravity waves: the angular frequency grows like the root of the wave number; whole turns close the loop.
    turns = np.round(rng.uniform(0.7, 1.1) * np.sqrt(frequency)) * np.where(downwind < 0, 1, -1)
    slopes = np.stack([1j * fx * spectrum, 1j * fy * spectrum, -(frequency**2) * spectrum])
    norm = np.fft.irfft2(slopes, s=(side, side)).std(axis=(1, 2))
    slopes /= np.array([norm[:2].mean(), norm[:2].mean(), norm[2]])[:, None, None]
    bottom = _fractals(rng, 256, 0.65)
    horizon, zoom = rng.uniform(0.62, 0.9), rng.uniform(0.6, 0.85)
    depth = (0.5 + horizon) / (horizon + view.y)
    u, v = zoom * depth * view.x, -1.5 * zoom * depth
    footprint = 0.7 * zoom * depth * view.pixel * np.maximum(1, depth / (0.5 + horizon))
    # Far off a pixel holds whole waves and shows their mean.
    calm, grazing = (1.4 / (1 + 0.4 * depth))[..., None], np.clip((depth - 1) / 5, 0, 0.8)
    refraction, caustic = rng.uniform(0.015, 0.03), rng.uniform(0.25, 0.5)
    for phase in phases:
        waves = np.fft.irfft2(slopes * np.exp(1j * _TAU * phase * turns), s=(side, side))
        slope = calm * Pyramid(np.moveaxis(waves, 0, -1)).bilinear(u, v, footprint)
        ground = bottom.bilinear(u + refraction * slope[..., 0], v + refraction * slope[..., 1], footprint)[..., 0]
        tone = 0.45 + 0.22 * ground + caustic * (np.exp(0.55 * slope[..., 2]) - 1.1) * (1 - grazing)
        color = _blend(deep, shallow, np.clip(tone, 0, 1.6))
        color = _blend(color, mirror, np.clip(0.12 + grazing + 0.24 * slope[..., 1], 0, 0.95))
        yield _blend(color, glint, np.clip((slope[..., 1] - 1.7) * 0.9, 0, 1))


_PEBBLES = (
    "17150f 4a453a 7d7563 a89e8a c9c0ad 5a4a3c",  # gap, then stones: gravel
    "141a14 2f4030 56694a 87935f b7b07a 3f3524",  # toad
    "1a0f0c 5a2a1c 8c4a2c b57a4a d6b07f 3a2a2a",  # brick
    "0f151c 2c3e52 4f6a80 8397a0 b9bfbc 5b5a66",  # slate
)


def _pebbles(rng: np.random.Generator, view: _View, phases: Sequence[float]) -> Iterator[np.ndarray]:
    gap, *stones = _colors(rng, _PEBBLES)
    # A jittered lattice that reaches a quarter beyond the widest view, so that no edge of it is seen.
    side = int(rng.integers(7, 10))
    lattice = np.stack(np.meshgrid(*[(np.arange(side) + 0.5) * 1.5 / side - 0.75] * 2), -1).reshape(-1, 2)
    places = lattice + rng.uniform(-0.45, 0.45, lattice.shape) / side
    count = len(places)
    orbit, start, turns = rng.uniform(0.015, 0.06, count), rng.uniform(0, _TAU, count), rng.choice((-1, 1), count)
    path = _sway(rng, 0.05, 0.09)
    tint, shifts = rng.uniform(0.7, 1.3, (count, 1)), rng.random((count, 2)).astype(np.float32)
    colors = (np.array(stones)[rng.integers(len(stones), size=count)] * tint).astype(np.float32)
    grain, wobble = _fractals(rng, 256, 0.75), _fractals(rng, 128, 1.6, 1.6)
    seam, steepness = rng.uniform(0.008, 0.016), rng.uniform(16, 30)
    for phase in phases:
        shift, angle = path(phase), _TAU * phase * turns + start
        middles = (places + orbit[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1) - shift).astype(np.float32)
        bend = 0.012 * wobble.bilinear(view.x + shift[0], view.y + shift[1], view.pixel)
        x, y = view.x + bend[..., 0], view.y + bend[..., 1]
        first, second = np.full(x.shape, 9, np.float32), np.full(x.shape, 9, np.float32)
        owner = np.zeros(x.shape, dtype=int)
        for k, (px, py) in enumerate(middles):  # the squared distances to the nearest two
            square = (x - px) ** 2 + (y - py) ** 2
            second = np.minimum(second, np.maximum(first, square))
            owner[square < first] = k
            first = np.minimum(first, square)
        to_x, to_y = x - middles[owner, 0], y - middles[owner, 1]
        border = np.sqrt(second) - np.sqrt(first)
        light = 0.35 + 0.75 * (1 - np.exp(-border * steepness)) - 2.2 * (0.5 * to_x + 0.8 * to_y)
        rough = grain.bilinear(1.4 * to_x + shifts[owner, 0], 1.4 * to_y + shifts[owner, 1], view.pixel)[..., 0]
        color = colors[owner] * np.clip(light * (1 + 0.36 * rough), 0, 2)[..., None]
        yield _blend(gap, color, _step(border - seam, 0.02))


_ROCKS = (
    "1a1512 5d4a3a 9a8468 d0bd9c f0dfb8",  # dark to light, then the light at the end: sandstone
    "101418 3a444c 6d7a82 a9b4b8 dfe9ee",  # granite
    "140d0a 5a2c1e 94543a c98f68 ffd9a0",  # brick
    "0d1410 33443a 637660 9fae8c e9f0d0",  # moss
)


def _tunnel(rng: np.random.Generator, view: _View, phases: Sequence[float]) -> Iterator[np.ndarray]:
    *rock, beam = _colors(rng, _ROCKS)
    # The texture equals itself moved by half a period along both axes: half a period of travel closes the loop.
    relief = _fractal(rng, 512, rng.uniform(0.9, 1.1))
    relief = (relief + np.roll(relief, (256, 256), (0, 1))) / np.float32(np.sqrt(2))
    tone = 0.5 + 0.12 * relief + 0.08 * (relief - np.roll(relief, (5, 4), (0, 1)))
    texture = Pyramid(_ramp(np.array(rock), tone))
    power, around, speed = rng.choice((2.0, 3.0, 6.0)), int(rng.integers(2, 4)), int(rng.choice((-1, 1)))
    bend, spin = rng.uniform(0.05, 0.1), rng.uniform(0.02, 0.06)
    start, lamp = rng.uniform(0, _TAU, 2), rng.uniform(0, _TAU)
    radius, fade = rng.uniform(0.3, 0.42), rng.uniform(2.2, 3.5)
    close = bend * np.exp(-2.5 * np.hypot(view.x, view.y))
    for phase in phases:
        turn = _TAU * phase
        x, y = view.x - np.cos(turn + start[0]) * close, view.y - np.sin(turn + start[1]) * close
        distance = np.maximum((np.abs(x) ** power + np.abs(y) ** power) ** (1 / power), 0.01)
        depth, angle = radius / distance, np.arctan2(y, x) / _TAU
        u, v = around * angle + 0.5 * phase + spin * np.sin(turn), 0.45 * depth + 0.5 * speed * phase
        rgb = texture.bilinear(u, v, 0.7 * np.sqrt(0.45 * depth * around / _TAU) / distance * view.pixel)
        light = 0.55 + 0.6 * np.exp(-depth / fade) + 0.2 * np.cos(_TAU * angle - lamp)
        end = 0.6 * np.clip(1.15 - np.exp(-(depth / fade - 1.6) * 0.5), 0, 1)
        yield _blend(rgb * light[..., None], beam, end)


Family = Callable[[np.random.Generator, _View, Sequence[float]], Iterator[np.ndarray]]

#: Families of each split, in the order in which they take turns.
FAMILIES: dict[str, dict[str, Family]] = {
    "train": {"clouds": _clouds, "bodies": _bodies, "fire": _fire},
    "test": {"water": _water, "pebbles": _pebbles, "tunnel": _tunnel},
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
    phases = [frame / NUM_FRAMES for frame in range(NUM_FRAMES)]
    frames = np.stack(list(families[index % len(families)](rng, _view(*size), phases))).astype(np.float32)
    return _grade(frames, mean, deviation)
