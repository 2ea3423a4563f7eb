"""Videos drawn by formula: statistics of natural footage, closed motion, the same bits everywhere."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from bisimgym.envs.distractions.procedural_videos import FAMILIES, NAMES, NUM_FRAMES, render

ALL = [(split, index) for split, names in NAMES.items() for index in range(len(names))]
#: Of each family the first two videos.
FIRST = [(split, index) for split, families in FAMILIES.items() for index in range(2 * len(families))]


def luminance(video):
    return (video * np.array([0.299, 0.587, 0.114])).sum(-1)


def steps(light):
    """Mean absolute difference of luminance between each frame and the next, the last and the first included."""
    return np.abs(np.roll(light, -1, axis=0) - light).mean(axis=(1, 2))


def spectral_slope(video):
    """Slope of the radially averaged power spectrum of single frames over log frequency, in bins of equal width."""
    light = luminance(video[::8])
    side = light.shape[1]
    window = np.outer(np.hanning(side), np.hanning(side))
    power = (np.abs(np.fft.fft2((light - light.mean((1, 2), keepdims=True)) * window)) ** 2).mean(0)
    cycles = np.fft.fftfreq(side, 1 / side)
    frequency = np.hypot(cycles[:, None], cycles[None, :])
    edges = np.geomspace(2.5, 0.35 * side, 12)
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    points = [(np.log(frequency[ring].mean()), np.log(power[ring].mean())) for ring in rings]
    return np.polyfit(*np.transpose(points), 1)[0]


@pytest.fixture(scope="module")
def large():
    """The first two videos of each family at a size of the benchmarks."""
    return {key: render(*key, (128, 128)) for key in FIRST}


@pytest.fixture(scope="module")
def small():
    """Every third video."""
    return {key: render(*key, (48, 48)) for key in ALL[::3]}


@pytest.fixture(scope="module")
def lights(small):
    """The luminance of the small videos."""
    return {key: luminance(video) for key, video in small.items()}


def test_numbers_and_names_are_those_of_davis_splits():
    assert [len(names) for names in NAMES.values()] == [60, 30]
    assert NAMES["train"][:4] == ("clouds-00", "bodies-00", "fire-00", "clouds-01")
    assert NAMES["test"][-1] == "tunnel-09"
    assert len(set(NAMES["train"] + NAMES["test"])) == 90


def test_held_out_families_are_others():
    assert len(FAMILIES["train"]) == len(FAMILIES["test"]) == 3
    assert not set(FAMILIES["train"]) & set(FAMILIES["test"])
    assert not set(FAMILIES["train"].values()) & set(FAMILIES["test"].values())


@pytest.mark.parametrize("size", [(84, 84), (1, 1), (3, 50), (50, 3), (30, 41)])
def test_every_family_fills_every_size(size):
    for split, families in FAMILIES.items():
        for index in range(len(families)):
            video = render(split, index, size)
            assert video.shape == (NUM_FRAMES, *size, 3)
            assert video.dtype == np.uint8


def test_brightness_and_contrast_are_those_of_photographs(lights):
    means = np.array([light.mean() for light in lights.values()])
    deviations = np.array([light.std() for light in lights.values()])
    assert means.min() > 80
    assert means.max() < 160
    assert deviations.min() > 30
    assert deviations.max() < 75
    assert np.mean(deviations > 35) > 0.95


def test_colors_are_muted_and_differ(small):
    tints = []
    for video in small.values():
        frames = video[::16].astype(float)
        # Neon has channels far apart: the median distance between the largest and the least stays moderate.
        assert np.median(frames.max(-1) - frames.min(-1)) < 150
        assert np.mean((frames > 250).all(-1) | (frames < 5).all(-1)) < 0.2
        tints.append(frames.mean((0, 1, 2)) - frames.mean())
    assert np.mean(np.linalg.norm(tints, axis=1) > 5) > 0.7
    assert np.std(tints, axis=0).min() > 6


def test_spectra_fall_like_those_of_natural_images(large):
    slopes = {key: spectral_slope(video) for key, video in large.items()}
    for split in NAMES:
        assert -2.7 < np.median([slope for key, slope in slopes.items() if key[0] == split]) < -1.8
    assert min(slopes.values()) > -3.1
    assert max(slopes.values()) < -1.3


def test_videos_move_and_do_not_flicker(lights):
    for key, light in lights.items():
        moved = steps(light)
        assert moved.min() > 1, key
        # Unrelated frames would differ by 2 / sqrt(pi) deviations.
        assert moved.max() < 0.8 * 1.13 * light.std(), key


def test_nothing_stands_out_where_the_loop_closes(lights):
    for key, light in lights.items():
        moved = steps(light)
        assert moved[:-1].min() * 0.8 < moved[-1] < moved[:-1].max() * 1.2, key


def test_movement_is_smooth(large):
    """Two steps lead further than one, and neighbors resemble each other more than frames half a loop apart."""
    for key, video in large.items():
        light = luminance(video)
        apart = [np.abs(np.roll(light, -lag, axis=0) - light).mean() for lag in (1, 2, NUM_FRAMES // 2)]
        assert apart[0] < 0.9 * apart[1], key
        assert apart[0] < 0.75 * apart[2], key


def test_videos_differ_from_each_other(lights):
    images = np.array([light[0].ravel() for light in lights.values()])
    correlation = np.corrcoef(images)
    assert np.abs(correlation[np.triu_indices(len(images), 1)]).max() < 0.97


@pytest.mark.parametrize(("split", "index"), FIRST[:3] + FIRST[6:9])
def test_another_size_shows_the_same_scene(split, index, large):
    half, full = (luminance(video[:43:21]) for video in (render(split, index, (64, 64)), large[split, index]))
    pooled = full.reshape(3, 64, 2, 64, 2).mean(axis=(2, 4))
    for frame in range(3):
        assert np.corrcoef(half[frame].ravel(), pooled[frame].ravel())[0, 1] > 0.85


@pytest.mark.parametrize(("split", "index"), FIRST[:3] + FIRST[6:9])
def test_wide_and_tall_images_show_the_middle_of_the_square_one(split, index, large):
    square = luminance(large[split, index][10])
    wide, tall = (luminance(render(split, index, size)[10]) for size in ((64, 128), (128, 64)))
    assert np.corrcoef(wide.ravel(), square[32:96].ravel())[0, 1] > 0.95
    assert np.corrcoef(tall.ravel(), square[:, 32:96].ravel())[0, 1] > 0.95


def test_bits_are_the_same_in_another_process():
    code = (
        "import hashlib\n"
        "from bisimgym.envs.distractions.procedural_videos import FAMILIES, render\n"
        "for split, families in FAMILIES.items():\n"
        "    for index in range(len(families)):\n"
        "        print(hashlib.sha256(render(split, index, (24, 32)).tobytes()).hexdigest())\n"
    )
    prints = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert prints[0] == prints[1]
    assert len(set(prints[0].split())) == 6


def test_only_numpy_is_needed():
    code = (
        "import sys\n"
        "for name in ('scipy', 'PIL', 'av', 'cv2', 'torch'): sys.modules[name] = None\n"
        "from bisimgym.envs.distractions.videos import video_source\n"
        "print(video_source(size=(8, 8), count=1).frames(0).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"({NUM_FRAMES}, 8, 8, 3)"
