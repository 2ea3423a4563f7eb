"""Rewards, endings and weather, with numbers worked by hand."""

import numpy as np
import pytest

from bisimgym.envs.highway_driving.endings import DEFAULT_RULES, REASONS, RULES, ending, is_glitch, terminates
from bisimgym.envs.highway_driving.rewards import REWARDS, Frame
from bisimgym.envs.highway_driving.weather import PRESETS, Weather, slow_weather, weather_at


def frame_of(progress=20.0, speed=20.0, offset=0.0, impulse=0.0, colliding=False, steer=0.0, brake=0.0):
    numbers = progress, speed, offset, impulse, colliding, False, steer, brake
    return Frame(*(np.array([number]) for number in numbers))


@pytest.mark.parametrize(
    ("form", "frame", "reward"),
    [
        ("dbc-0.9.6", frame_of(), 1.0),  # 20 m/s for 0.05 s
        ("dbc-0.9.6", frame_of(steer=-0.25), 0.75),
        ("dbc-0.9.6", frame_of(impulse=3000.0), 0.7),
        ("dbc-0.9.6", frame_of(progress=-20.0, brake=1.0), -1.0),
        ("secant", frame_of(impulse=3000.0, steer=0.25, colliding=True), 0.45),
        ("dbc-0.9.8", frame_of(), 1.0),
        ("dbc-0.9.8", frame_of(offset=1.0), 0.5),
        ("dbc-0.9.8", frame_of(offset=1.0, brake=0.5, steer=-1.0), 0.35),
        ("dbc-0.9.8", frame_of(impulse=3000.0, colliding=True), 0.0),
    ],
)
def test_rewards_of_a_frame(form, frame, reward):
    np.testing.assert_allclose(REWARDS[form].of_frame(frame), [reward])


def test_published_rewards_of_an_action_are_means_and_secants_is_a_sum():
    assert {name: form.mean for name, form in REWARDS.items()} == {
        "secant": False,
        "dbc-0.9.6": True,
        "dbc-0.9.8": True,
    }


def reason(frame=1, speed=20.0, colliding=0, off_road=False, rules=RULES, **further):
    number = ending(
        np.array([frame]),
        np.array([speed]),
        np.array([colliding]),
        np.array([off_road]),
        rules=rules,
        limit=1000,
        **further,
    )
    return REASONS[int(number[0])], bool(terminates(number)[0])


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({}, ("", False)),
        ({"frame": 999}, ("", False)),
        ({"frame": 1000}, ("time-limit", False)),
        ({"off_road": True}, ("off-road", True)),
        ({"off_road": True, "frame": 1000}, ("off-road", True)),
        ({"off_road": True, "rules": ()}, ("", False)),
        ({"colliding": 1}, ("collision", True)),
        ({"colliding": 19, "rules": DEFAULT_RULES}, ("", False)),
        ({"colliding": 20, "rules": DEFAULT_RULES}, ("crashing", True)),
        ({"speed": 0.01, "frame": 99}, ("", False)),
        ({"speed": 0.01, "frame": 100}, ("stuck", True)),
        ({"speed": 0.02, "frame": 200}, ("", False)),
        ({"road_end": np.array([True])}, ("road-end", True)),
        ({"glitch": np.array([True]), "rules": ()}, ("glitch", False)),
    ],
)
def test_why_an_episode_ends(what, expected):
    assert reason(**what) == expected


def test_glitches_are_cars_in_the_air_in_the_first_second():
    frames = np.array([5, 5, 5, 20, 21])
    found = is_glitch(frames, np.array([0.5, 1.5, 0.0, 1.5, 1.5]), np.array([0.1, 0.0, 0.6, 0.0, 0.6]))
    assert found.tolist() == [False, True, True, True, False]


def test_slow_weather_moves_as_published():
    zero = np.zeros(1)
    start = slow_weather(zero + 350, zero, zero + 0.5, np.array([0]))
    assert [float(column[0]) for column in start] == [350, 90, 60, 80, 85, 90]  # the storm is full: 100
    later = slow_weather(zero + 350, zero, zero + 0.5, np.array([1000]))  # 100 units later
    np.testing.assert_allclose(later.sun_azimuth, (350 + 25) % 360)
    np.testing.assert_allclose(later.sun_altitude, 55 + 35 * np.cos(0.8))
    np.testing.assert_allclose(later.clouds, 40 - 30)  # 100 - 130 = -30
    assert later.rain[0] == 0
    assert later.wind[0] == 5
    rising = slow_weather(zero, zero, zero + 0.25, np.array([0, 100]))  # from -75
    np.testing.assert_allclose(np.clip([-75 + 40, -62 + 40], 0, 60), rising.clouds)


def test_schedules_of_weather():
    seeds, frame = np.arange(400, dtype=np.uint64) << np.uint64(40), np.zeros(400, dtype=np.int64)
    drawn = weather_at(seeds, frame, "per-episode", tuple(PRESETS))
    rows = np.stack(drawn, axis=1)
    found, counts = np.unique(rows, axis=0, return_counts=True)
    assert {tuple(row) for row in found} == set(PRESETS.values())
    assert counts.min() > 35
    later = weather_at(seeds, frame + 500, "per-episode", tuple(PRESETS))
    np.testing.assert_array_equal(rows, np.stack(later, axis=1))
    fixed = weather_at(seeds, frame, "fixed", ("HardRainNoon",))
    assert np.unique(np.stack(fixed, axis=1), axis=0).tolist() == [list(PRESETS["HardRainNoon"])]
    slow = weather_at(seeds, frame, "slow", ())
    assert isinstance(slow, Weather)
    assert (slow.sun_altitude >= 20).all()
    assert (slow.sun_altitude <= 90).all()
    assert 0.2 < (slow.rain > 0).mean() < 0.4  # 100 of 350
