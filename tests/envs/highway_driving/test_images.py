"""What the cameras of the stand-in see."""

from dataclasses import replace

import numpy as np
import pytest

from bisimgym.envs.highway_driving.backdrop import ground_kinds
from bisimgym.envs.highway_driving.cameras import HEIGHT, rays, stitched, yaws_of
from bisimgym.envs.highway_driving.palette import palette
from bisimgym.envs.highway_driving.solids import Boxes, box_spans, rail_depth
from bisimgym.envs.highway_driving.traffic import place
from bisimgym.envs.highway_driving.views import draw
from bisimgym.envs.highway_driving.weather import PRESETS, Weather


def world_of(count=1, vehicles=0, walkers=0, **changes):
    seeds = np.arange(1, count + 1, dtype=np.uint64) << np.uint64(33)
    world = place(seeds, seeds, vehicles, walkers, 0.0)
    still = {"heading": 0.0, "d": 1.75, **changes}
    return replace(world, **{name: np.full_like(getattr(world, name), value) for name, value in still.items()})


def test_cameras_by_hand():
    assert yaws_of(1) == (0.0,)
    assert yaws_of(3) == (-60.0, 0.0, 60.0)
    table = rays(84, 5)
    assert table.focal == pytest.approx(42 / np.tan(np.pi / 6))
    x, y = table.columns
    ahead = slice(2 * 84, 3 * 84)
    np.testing.assert_allclose(x[ahead], 1)
    np.testing.assert_allclose(y[ahead][[0, -1]], [41.5 / table.focal, -41.5 / table.focal])  # left first
    middle = 4 * 84 + 42  # a pixel right of the middle of the last camera: 120 degrees to the right, and a little
    assert np.degrees(np.arctan2(y[middle], x[middle])) == pytest.approx(-120 - np.degrees(0.5 / table.focal), abs=1e-3)
    np.testing.assert_allclose(
        table.depth[[0, -1]], [HEIGHT * table.focal / 0.5, HEIGHT * table.focal / 41.5], rtol=1e-6
    )
    assert table.sky.shape == (3, 42, 420)
    assert rays(9, 1).depth.shape == (4,)  # the middle row looks at the horizon


def test_views_are_stitched_from_left_to_right():
    views = [np.full((4, 4, 3), shade, dtype=np.uint8) for shade in (10, 20, 30)]
    image = stitched(views)
    assert image.shape == (4, 12, 3)
    assert image[0, ::4, 0].tolist() == [10, 20, 30]


def test_lane_marks_are_where_the_lanes_are():
    table = rays(84, 1)
    kinds = ground_kinds(table, 6.0, 1.75, 0.0, 0.0)  # where dashes are
    row = 20  # 8.5 m ahead of the camera
    left = table.ground[1, row]
    marked = left[kinds[row] >= 2 + 4] + 1.75
    assert np.abs(marked - 3.5 * np.rint(marked / 3.5)).max() < 0.2
    far_left = ground_kinds(table, 0.0, 20.0, 0.0, 0.0)
    assert set(np.unique(far_left[row])) == {0} or set(np.unique(far_left[row])) == {1}
    dashes = [(ground_kinds(table, s, 0.1, 0.0, 0.0)[row] >= 6).any() for s in np.arange(0, 12, 0.5)]
    assert 5 <= sum(dashes) <= 14
    assert not np.array_equal(kinds, ground_kinds(table, 0.0, 1.75, 0.0, 0.002))


def test_a_box_ahead_by_hand():
    table = rays(84, 1)
    box = Boxes(
        np.array([20.0]),
        np.array([0.0]),
        np.array([0.0]),
        np.array([[4.0, 2.0, 1.4]]),
        np.ones((1, 3)),
        np.array([False]),
    )
    top, front = (part for part in np.split(np.arange(len(box_spans(table, box).depth)), 2))
    spans = box_spans(table, box)
    np.testing.assert_allclose(spans.depth[front], 18)  # its back
    np.testing.assert_allclose(spans.bottom[front], 2.4 / 18)
    np.testing.assert_allclose(spans.top[front], 1.0 / 18)
    np.testing.assert_allclose(spans.top[top].max(), 1.0 / 18, rtol=0.3)
    edge = 1 / 18 * table.focal  # half its width, pixels
    assert len(front) == 2 * round(edge)
    behind = Boxes(*(np.array(field) for field in ([-20.0], [0.0], [0.0], [[4.0, 2.0, 1.4]], [[1.0] * 3], [False])))
    assert not len(box_spans(table, behind).depth)


def test_rails_by_hand():
    dx, dy = np.array([1.0, 1.0, 0.0]), np.array([1.0, 0.0, -1.0])
    np.testing.assert_allclose(rail_depth(dx, dy, 0.5, 0.0, 10.5), [10, np.inf, np.inf])
    np.testing.assert_allclose(rail_depth(dx, dy, 0.5, 0.0, -10.5), [np.inf, np.inf, 11])
    # Straight on along a curve to the left of radius 500: the rail at the right, where 510.5^2 = 500^2 + x^2.
    np.testing.assert_allclose(rail_depth(dx, dy, 0.0, 0.002, -10.5)[1], np.sqrt(510.5**2 - 500**2))


def test_nearer_things_hide_farther_ones():
    world = world_of(vehicles=2)
    world = replace(
        world,
        others_s=np.array([[12.0, 30.0]]),
        others_d=np.array([[1.75, 1.75]]),
        others_kind=np.array([[1, 1]]),
        others_color=np.array([[0, 1]]),
    )
    middle = draw(world, 84, 1, "fixed", ["ClearNoon"])[0][45, 42].astype(int)
    assert middle[0] > 2 * middle[2]  # the red truck is before the blue one
    turned = replace(world, others_s=world.others_s[:, ::-1])
    middle = draw(turned, 84, 1, "fixed", ["ClearNoon"])[0][45, 42].astype(int)
    assert middle[2] > 2 * middle[0]


def test_a_car_behind_is_seen_at_the_sides_alone():
    empty = draw(world_of(), 84, 5, "fixed", ["ClearNoon"])[0]
    behind = world_of(vehicles=1, others_s=-6.0, others_d=-1.75, others_kind=0)
    changed = np.flatnonzero((draw(behind, 84, 5, "fixed", ["ClearNoon"])[0] != empty).any(axis=(0, 2)))
    assert len(changed)
    assert changed.min() >= 4 * 84  # the last camera: behind on the right


def test_weather_changes_sky_ground_and_light():
    world = world_of(count=1, vehicles=3)
    images = {name: draw(world, 32, 3, "fixed", [name])[0].astype(float) for name in PRESETS}
    assert images["ClearNoon"].mean() > images["WetSunset"].mean()
    assert images["HardRainNoon"].mean() < images["ClearNoon"].mean()
    sunset, noon = images["WetSunset"][:14], images["ClearNoon"][:14]
    assert (sunset[..., 0] - sunset[..., 2]).mean() > (noon[..., 0] - noon[..., 2]).mean() + 30
    for one in images:
        for other in images:
            assert one == other or np.abs(images[one] - images[other]).mean() > 2
    dry = draw(replace(world, frame=world.frame + 1), 32, 3, "fixed", ["WetCloudyNoon"])[0]
    assert np.abs(dry - images["WetCloudyNoon"]).mean() < 0.5  # clouds move a little
    assert (
        draw(replace(world, frame=world.frame + 1), 32, 3, "fixed", ["HardRainNoon"])[0] != images["HardRainNoon"]
    ).any()


def test_colors_stay_in_range():
    rng = np.random.default_rng(0)
    ranges = [(0, 360), (0, 90), (0, 100), (0, 100), (0, 100), (0, 100)]
    colors = palette(Weather(*(rng.uniform(low, high, 500) for low, high in ranges)))
    for field in (colors.zenith, colors.horizon, colors.cloud, colors.sun, colors.asphalt, colors.mark, colors.grass):
        assert field.min() >= 0
        assert field.max() <= 255


def test_the_sun_stays_where_it_is_when_the_car_turns():
    def brightest(heading):
        image = draw(world_of(heading=heading), 84, 5, "fixed", ["ClearNoon"])[0]
        return int(image[0].astype(int).sum(axis=1).argmax())

    assert brightest(0.3) > brightest(0.0) > brightest(-0.3)
