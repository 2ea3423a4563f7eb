"""Positions in a video: the rules of the sources, step by step."""

import numpy as np
import pytest

from bisimgym.envs.distractions.playback import Playback


def placed(num_frames, index, direction):
    """Return a bouncing playback at a known place."""
    playback = Playback(num_frames, "bounce", np.random.default_rng(0))
    playback.index, playback.direction = index, direction
    return playback


def positions(playback, steps):
    shown = [playback.index]
    for _ in range(steps):
        playback.advance()
        shown.append(playback.index)
    return shown


def test_bounce_by_hand():
    # At the end index 4 is out of range: back to 3, shown twice. At the start index 0 is in range: shown once.
    assert positions(placed(4, 1, 1), 13) == [1, 2, 3, 3, 2, 1, 0, 1, 2, 3, 3, 2, 1, 0]


def test_bounce_from_the_first_frame_backwards_shows_it_twice():
    assert positions(placed(3, 0, -1), 4) == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("num_frames", [1, 2])
def test_bounce_of_very_short_videos(num_frames):
    shown = positions(placed(num_frames, 0, 1), 8)
    # With one frame, index 1 is out of range and becomes 0; with two, the rule gives 0 1 1 0 1 1 0 ...
    assert shown == ([0] * 9 if num_frames == 1 else [0, 1, 1, 0, 1, 1, 0, 1, 1])


def test_loop_by_hand():
    playback = Playback(3, "loop", np.random.default_rng(0))
    playback.index = 1
    assert positions(playback, 5) == [1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("seed", range(20))
def test_bounce_never_cuts_and_visits_everything(seed):
    rng = np.random.default_rng(seed)
    num_frames = int(rng.integers(2, 120))
    shown = np.array(positions(Playback(num_frames, "bounce", rng), 10_000))
    assert np.abs(np.diff(shown)).max() <= 1
    assert set(shown) == set(range(num_frames))


@pytest.mark.parametrize("seed", range(5))
def test_loop_cuts_at_the_wrap_only(seed):
    rng = np.random.default_rng(seed)
    num_frames = int(rng.integers(3, 120))
    shown = np.array(positions(Playback(num_frames, "loop", rng), 10_000))
    moved = np.diff(shown)
    assert set(moved) == {1, 1 - num_frames}
    assert (shown[:-1][moved < 0] == num_frames - 1).all()


@pytest.mark.parametrize("mode", ["bounce", "loop"])
def test_many_steps_are_that_many_single_steps(mode):
    for seed, steps in enumerate((0, 1, 2, 3, 8, 17, 1000)):
        once, often = (Playback(7, mode, np.random.default_rng(seed)) for _ in range(2))
        once.advance(steps)
        for _ in range(steps):
            often.advance(1)
        assert (once.index, once.direction) == (often.index, often.direction)


def test_start_and_direction_are_uniform():
    rng = np.random.default_rng(0)
    drawn = [(p.index, p.direction) for p in (Playback(5, "bounce", rng) for _ in range(5000))]
    counts = [drawn.count((index, direction)) for index in range(5) for direction in (-1, 1)]
    assert sum(counts) == 5000
    assert min(counts) > 400
    assert max(counts) < 600
    assert {Playback(5, "loop", rng).direction for _ in range(50)} == {1}


def test_the_generator_decides():
    starts = [(p.index, p.direction) for p in (Playback(70, "bounce", np.random.default_rng(3)) for _ in range(2))]
    assert starts[0] == starts[1]


@pytest.mark.parametrize("mode", ["bounce", "loop"])
def test_a_still_video_stays_where_a_moving_one_starts(mode):
    still = Playback(70, mode, np.random.default_rng(5), dynamic=False)
    start = Playback(70, mode, np.random.default_rng(5)).index
    assert isinstance(still.index, int)
    assert set(positions(still, 100)) == {start}


def test_bad_arguments_are_refused():
    rng = np.random.default_rng(0)
    for num_frames in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="num_frames must be an integer of at least 1"):
            Playback(num_frames, "loop", rng)
    with pytest.raises(ValueError, match="mode must be one of .*got 'shuffle'"):
        Playback(3, "shuffle", rng)
    with pytest.raises(ValueError, match="steps must be an integer of at least 0, got -1"):
        Playback(3, "loop", rng).advance(-1)
