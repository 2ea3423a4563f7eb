"""The stand-in's road and traffic."""

from dataclasses import replace

import numpy as np
import pytest

from bisimgym.envs.highway_driving import traffic
from bisimgym.envs.highway_driving.driver import drive
from bisimgym.envs.highway_driving.road import along, lane_center, lateral, nearest_lane, to_frame
from bisimgym.envs.highway_driving.traffic import RING, SIZES, advance, following, place


def worlds(count=1, vehicles=0, max_curvature=0.0, first=0):
    seeds = np.random.default_rng(first).integers(0, 2**64, count, dtype=np.uint64)
    return place(seeds, seeds, vehicles, 3, max_curvature)


def alone(world, **changes):
    """Return one world with fields set."""
    return replace(world, **{name: np.full_like(getattr(world, name), value) for name, value in changes.items()})


def run(world, frames, throttle=0.0, steer=0.0):
    found = []
    for _ in range(frames):
        world, frame = advance(world, np.full(len(world.s), throttle), np.full(len(world.s), steer))
        found.append(frame)
    return world, found


def test_lanes():
    np.testing.assert_allclose(lane_center(np.arange(4)), [-5.25, -1.75, 1.75, 5.25])
    assert nearest_lane(np.array([-9.0, -3.6, -3.4, 0.1, 20.0])).tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("curvature", [0.0, 0.002, -0.002, 1e-12])
def test_places_on_an_arc_and_back(curvature):
    s, d = np.array([0.0, 5.0, 80.0, -120.0]), np.array([3.0, -7.0, 5.25, 10.5])
    x, y, angle = to_frame(s, d, np.full(4, curvature))
    np.testing.assert_allclose(lateral(x, y, curvature), d, atol=1e-9)
    np.testing.assert_allclose(along(x, y, curvature), s, atol=0.02)
    np.testing.assert_allclose(angle, curvature * s)


def test_a_quarter_of_a_circle():
    x, y, _ = to_frame(np.array([np.pi / 2 * 100]), np.array([10.0]), np.array([0.01]))
    np.testing.assert_allclose([x[0], y[0]], [90, 100])  # the center is 100 m to the left


def test_the_gap_law_by_hand():
    def acceleration(speed, desired, gap, closing):
        return float(following(*(np.array([float(x)]) for x in (speed, desired, gap, closing)))[0])

    assert acceleration(10, 20, np.inf, 0) == pytest.approx(1.5 * (1 - 0.5**4))
    assert acceleration(20, 20, np.inf, 0) == 0
    assert acceleration(10, 1e9, 17, 0) == pytest.approx(0)  # 2 m + 1.5 s are kept
    assert acceleration(10, 1e9, 34, 0) == pytest.approx(1.5 * 0.75)
    wanted = 2 + 15 + 10 * 2 / (2 * 3**0.5)
    assert acceleration(10, 1e9, 50, 2) == pytest.approx(1.5 * (1 - (wanted / 50) ** 2))
    assert acceleration(20, 20, 1, 20) == -8


def test_cars_start_apart_and_never_meet_by_themselves():
    world = worlds(40, 40)
    start_d = world.others_d
    for _ in range(200):
        world, _ = advance(alone(world, d=9.5, speed=0.0), np.zeros(40), np.zeros(40))  # beside the road
        length = SIZES[world.others_kind, 0]
        rows = np.arange(40)[:, None]
        ahead = world.others_s[rows, world.others_leader] + world.others_lap - world.others_s
        assert (ahead > (length + length[rows, world.others_leader]) / 2).all()
    np.testing.assert_array_equal(world.others_d, start_d)
    assert (world.others_speed > 3).all()


def test_the_start():
    world = worlds(500, 10, 0.002)
    assert (np.abs(world.curvature) <= 0.002).all()
    assert np.ptp(world.curvature) > 0.0035
    assert set(nearest_lane(world.d)) == {0, 1, 2, 3}
    near = np.abs(traffic.nearest_copy(world.others_s)) < 15
    assert not (near & (nearest_lane(world.d)[:, None] == nearest_lane(world.others_d))).any()
    assert (np.abs(world.walkers_d) > 11).all()
    _, frame = advance(world, np.zeros(500), np.zeros(500))
    assert not frame.colliding.any()


def test_the_car_by_hand():
    start = alone(worlds(), d=0.0, heading=0.0, speed=20.0)
    world, (frame,) = run(start, 1)
    speed = 20 - (0.15 + 5e-4 * 400) * 0.05
    np.testing.assert_allclose([world.speed[0], world.s[0], world.distance[0]], [speed, speed * 0.05, speed * 0.05])
    np.testing.assert_allclose(frame.offset, 1.75)  # between two lanes
    world, _ = run(start, 1, throttle=1.0)
    np.testing.assert_allclose(world.speed, speed + 4 * 0.5 * 0.05)
    world, _ = run(start, 1, throttle=-0.5)
    np.testing.assert_allclose(world.speed, speed - 4 * 0.05)
    np.testing.assert_allclose(world.brake, 0.5)
    world, _ = run(start, 1, steer=0.2)
    np.testing.assert_allclose(world.heading, -speed * np.tan(0.02) / 2.9 * 0.05)  # to the right
    world, _ = run(start, 1, steer=-1.0)
    np.testing.assert_allclose(world.heading, 5 / speed * 0.05)  # as far as tires hold
    assert run(start, 200, throttle=-1.0)[0].speed[0] == 0


def test_a_straight_line_leaves_a_curve_and_the_rail_holds():
    world, frames = run(alone(worlds(), d=0.0, heading=0.0, curvature=0.002), 60)
    assert world.d[0] < -0.4
    world, frames = run(alone(worlds(), d=6.9, heading=0.1, curvature=0.0), 200)
    assert any(frame.off_road[0] for frame in frames)
    np.testing.assert_allclose(world.d, 10.5 - 0.95)
    hits = [frame.impulse[0] for frame in frames if frame.colliding[0]]
    assert len(hits) == 1
    assert hits[0] == world.impulse[0]
    assert 1000 < hits[0] < 1500 * 15 * np.sin(0.1)


def test_a_collision_from_behind_is_inelastic():
    start = alone(worlds(vehicles=1), d=1.75, others_d=1.75, heading=0.0, speed=20.0, others_speed=0.0, others_kind=0)
    start = replace(start, others_desired=np.full((1, 1), 1e-6), others_s=np.array([[10.0]]))
    world, frames = start, []
    while not frames or not frames[-1].colliding[0]:
        world, (frame,) = run(world, 1)
        frames.append(frame)
    before = frames[-2].speed[0] - (0.15 + 5e-4 * frames[-2].speed[0] ** 2) * 0.05
    np.testing.assert_allclose(frames[-1].impulse, 750 * before)
    np.testing.assert_allclose([world.speed[0], world.others_speed[0, 0]], before / 2)
    assert world.others_s[0, 0] - world.s[0] == pytest.approx(4.6)
    beside = alone(start, others_d=-1.75, others_s=0.0, others_speed=20.0, others_desired=20.0, heading=-0.04)
    world, frames = run(beside, 60)
    hit = next(frame for frame in frames if frame.colliding[0])
    assert hit.impulse[0] == pytest.approx(750 * 20 * np.sin(0.04), rel=0.05)
    assert (np.abs(world.d - beside.others_d[:, 0]) >= 1.9 - 1e-9).all()


def test_traffic_repeats():
    np.testing.assert_allclose(traffic.nearest_copy(np.array([390.0, -390.0, 10.0, 810.0])), [-10, 10, 10, 10])
    one = worlds(vehicles=5)
    other = replace(one, others_s=one.others_s + 3 * RING)
    for world in (one, other):
        assert world.others_s.shape == (1, 5)
    np.testing.assert_allclose(
        advance(one, *np.zeros((2, 1)))[0].others_speed, advance(other, *np.zeros((2, 1)))[0].others_speed
    )


def test_the_driver_goes_far_and_hits_nothing():
    world = worlds(60, 20, 0.002)
    for step in range(400):
        if step % 8 == 0:
            action = drive(world).astype(np.float64)
            assert (np.abs(action) <= 1).all()
        world, frame = advance(world, action[:, 0], action[:, 1])
        assert not (frame.colliding | frame.off_road).any()
    assert (world.distance > 12 * 20).all()
    free = worlds(5)
    for _ in range(600):
        action = drive(free).astype(np.float64)
        free, frame = advance(free, action[:, 0], action[:, 1])
    np.testing.assert_allclose(free.speed, 30, atol=0.3)
    assert (frame.offset < 0.2).all()
