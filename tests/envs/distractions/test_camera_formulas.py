"""Cameras that look at a point, ranges of their walks, and single steps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from bisimgym.envs.distractions.camera import (
    CameraBounds,
    WalkScales,
    WalkState,
    camera_bounds,
    cartesian,
    is_overhead,
    look_at,
    rolled,
    shortest_look_at,
    spherical,
    start_walk,
    walk_scales,
    walk_step,
)
from bisimgym.envs.rendering.look import CameraPose

both_look_ats = pytest.mark.parametrize("turn", [look_at, shortest_look_at])


# On a grid, for which distances above rounding are whole numbers of millimetres.
coordinate = st.integers(-9999, 9999).map(lambda millimetres: millimetres / 1000)


points = st.tuples(coordinate, coordinate, coordinate)


directions = points.filter(any)


def is_rotation(matrix):
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-12)


class TestFormulas:
    @pytest.mark.parametrize(
        ("position", "expected"),
        [
            ((0.0, 0.0, 2.0), (2, 0, 0)),
            ((0.0, -3.0, 0.0), (3, -math.pi / 2, math.pi / 2)),
            ((1.0, 1.0, math.sqrt(2)), (2, math.pi / 4, math.pi / 4)),
            ((-1.0, 0.0, -1.0), (math.sqrt(2), math.pi, 3 * math.pi / 4)),
        ],
    )
    def test_spherical_by_hand(self, position, expected):
        assert spherical(position) == pytest.approx(expected)

    @given(points)
    def test_cartesian_inverts_spherical(self, point):
        assert cartesian(*spherical(point)) == pytest.approx(point, abs=1e-12)

    def test_a_negative_vertical_angle_is_the_other_side_of_the_pole(self):
        assert cartesian(2.0, 0.3, -0.4) == pytest.approx(cartesian(2.0, 0.3 + math.pi, 0.4))

    def test_level_look_at_by_hand(self):
        # From the front along +y: right is +x, up is +z, and backwards is -y.
        np.testing.assert_allclose(look_at((0, -4, 1), (0, 0, 1)), [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-15)
        # Along +x: right is -y.
        np.testing.assert_allclose(look_at((0, 0, 0), (5, 0, 0)), [[0, 0, -1], [-1, 0, 0], [0, 1, 0]], atol=1e-15)
        # 45 degrees down along +y.
        half = math.sqrt(0.5)
        expected = [[1, 0, 0], [0, half, -half], [0, half, half]]
        np.testing.assert_allclose(look_at((0, -1, 1), (0, 0, 0)), expected, atol=1e-15)

    @given(directions)
    def test_level_look_at_is_the_euler_formula_of_the_source(self, d):
        dx, dy, dz = d
        yaw, pitch = math.atan2(dx, dy), math.atan2(dz, math.hypot(dx, dy)) + math.pi / 2
        cy, sy, cp, sp = math.cos(-yaw), math.sin(-yaw), math.cos(pitch), math.sin(pitch)
        about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        np.testing.assert_allclose(look_at((0, 0, 0), d), about_z @ about_x, atol=1e-12)

    @both_look_ats
    @given(points, directions)
    @settings(deadline=None)
    def test_looks_at_the_target(self, turn, position, offset):
        target = tuple(p + o for p, o in zip(position, offset, strict=True))
        rotation = turn(position, target)
        is_rotation(rotation)
        direction = np.subtract(target, position)
        np.testing.assert_allclose(-rotation[:, 2], direction / np.linalg.norm(direction), atol=1e-12)

    @given(directions)
    def test_level_look_at_has_no_roll(self, d):
        rotation = look_at((0, 0, 0), d)
        assert rotation[2, 0] == 0
        assert rotation[2, 1] >= 0

    @given(directions)
    def test_no_rotation_is_shorter(self, d):
        # The angle of a rotation that takes one direction to another is at least the angle between the two.
        rotation = shortest_look_at((0, 0, 0), d)
        cosine = -d[2] / math.hypot(*d)
        assert (np.trace(rotation) - 1) / 2 == pytest.approx(cosine, abs=1e-9)

    @both_look_ats
    def test_straight_down_is_the_identity_and_up_a_half_turn(self, turn):
        np.testing.assert_array_equal(turn((1.0, 2.0, 3.0), (1.0, 2.0, 0.0)), np.eye(3))
        np.testing.assert_array_equal(turn((1.0, 2.0, 0.0), (1.0, 2.0, 3.0)), np.diag([1, -1, -1]))

    def test_only_the_shortest_is_steady_around_the_vertical(self):
        tilts = [(1e-3 * math.cos(a), 1e-3 * math.sin(a), -1.0) for a in np.linspace(0, 2 * math.pi, 8)]
        for d in tilts:
            np.testing.assert_allclose(shortest_look_at((0, 0, 0), d), np.eye(3), atol=2e-3)
        assert max(abs(look_at((0, 0, 0), d) - np.eye(3)).max() for d in tilts) > 1

    @both_look_ats
    def test_a_camera_cannot_look_at_itself(self, turn):
        with pytest.raises(ValueError, match="own position"):
            turn((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))

    def test_roll_turns_about_the_axis_of_the_camera(self):
        rotation = look_at((1.0, -3.0, 2.0), (0.0, 0.0, 0.5))
        turned = rolled(rotation, 0.3)
        np.testing.assert_allclose(turned[:, 2], rotation[:, 2], atol=1e-15)
        expected = math.cos(0.3) * rotation[:, 0] + math.sin(0.3) * rotation[:, 1]
        np.testing.assert_allclose(turned[:, 0], expected, atol=1e-15)
        is_rotation(turned)

    @pytest.mark.parametrize(
        ("degrees", "expected"), [(0, True), (9.9, True), (10.1, False), (90, False), (180, False)]
    )
    def test_overhead_is_within_ten_degrees_of_down(self, degrees, expected):
        tilt = math.radians(degrees)
        for turn in np.linspace(0, 6, 5):
            d = (math.sin(tilt) * math.cos(turn), math.sin(tilt) * math.sin(turn), -math.cos(tilt))
            assert is_overhead(CameraPose(np.zeros(3), rolled(shortest_look_at((0, 0, 0), d), turn))) is expected


class TestRanges:
    def test_by_hand(self):
        bounds = camera_bounds((0.0, -4.0, 0.0), 0.2, upper_quadrant=False)
        assert bounds.radius == pytest.approx((3.6, 5.2))
        assert bounds.horizontal == pytest.approx((-0.6 * math.pi, -0.4 * math.pi))
        assert bounds.vertical == pytest.approx((0.4 * math.pi, 0.6 * math.pi))
        assert bounds.roll == pytest.approx((-0.1 * math.pi, 0.1 * math.pi))

    def test_the_upper_quadrant_by_hand(self):
        bounds = camera_bounds((0.0, -4.0, 0.0), 0.2, upper_quadrant=True)
        assert bounds.horizontal == pytest.approx((-0.6 * math.pi, -0.4 * math.pi))
        assert bounds.vertical == pytest.approx((0.4 * math.pi, 0.5 * math.pi))
        bounds = camera_bounds((-4.0, -0.4, 4.0), 1.0, upper_quadrant=True)
        assert bounds.horizontal == pytest.approx((-math.pi, math.atan2(-0.4, -4.0) + math.pi / 2))
        assert bounds.vertical == pytest.approx((0, math.pi / 2))

    @given(directions, st.floats(0, 1), st.booleans())
    def test_the_start_is_within(self, start, strength, upper_quadrant):
        bounds = camera_bounds(start, strength, upper_quadrant)
        for low, high in (bounds.radius, bounds.horizontal, bounds.vertical, bounds.roll):
            assert low <= high
        r, h, v = spherical(start)
        assert bounds.radius[0] - 1e-9 <= r <= bounds.radius[1] + 1e-9
        assert bounds.vertical[0] - 1e-9 <= v <= bounds.vertical[1] + 1e-9
        assert any(
            bounds.horizontal[0] - 1e-9 <= h + turn <= bounds.horizontal[1] + 1e-9
            for turn in (-2 * math.pi, 0, 2 * math.pi)
        )

    @pytest.mark.parametrize("x", [-1e-17, -0.0, 0.0, 1e-17])
    @pytest.mark.parametrize("y", [-1e-17, -0.0, 0.0, 1e-17])
    def test_rounding_of_a_center_of_mass_does_not_choose_the_side(self, x, y):
        behind = camera_bounds((-2.0, y, 1.0), 0.1, True).horizontal
        assert behind == pytest.approx((-math.pi, -0.95 * math.pi))
        above = camera_bounds((x, y, 1.0), 0.1, False).horizontal
        assert above == pytest.approx((-0.05 * math.pi, 0.05 * math.pi))

    def test_a_start_outside_the_quadrant_keeps_its_side(self):
        bounds = camera_bounds((0.0, 4.0, -1.0), 1.0, upper_quadrant=True)
        assert bounds.horizontal == pytest.approx((0, math.pi))
        assert bounds.vertical[1] == spherical((0.0, 4.0, -1.0))[2]

    @pytest.mark.parametrize(
        ("strength", "std", "speed", "roll_std", "roll_speed"),
        [(0.1, 0.01, 0.04, 0.00105, 0.00628), (0.2, 0.02, 0.08, 0.00209, 0.01257), (0.3, 0.03, 0.12, 0.00314, 0.01885)],
    )
    def test_scales_are_those_of_the_suite(self, strength, std, speed, roll_std, roll_speed):
        # Speeds of the suite's table hold for a camera four metres away, and grow with the distance.
        scales = walk_scales(4.0, strength)
        assert (scales.velocity_std, scales.max_speed) == pytest.approx((std, speed))
        assert (scales.roll_std, scales.max_roll_speed) == pytest.approx((roll_std, roll_speed), abs=5e-6)
        near = walk_scales(1.0, strength)
        assert (near.velocity_std, near.max_speed) == pytest.approx((std / 4, speed / 4))
        assert (near.roll_std, near.max_roll_speed) == (scales.roll_std, scales.max_roll_speed)

    @pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
    def test_strengths_are_fractions(self, strength):
        with pytest.raises(ValueError, match=r"strength of the camera must be a number in \[0, 1\]"):
            camera_bounds((0.0, -4.0, 0.0), strength, True)
        with pytest.raises(ValueError, match=r"strength of the camera must be a number in \[0, 1\]"):
            walk_scales(1.0, strength)


class TestStep:
    WIDE = CameraBounds((1.0, 9.0), (-math.pi, 0.0), (0.0, math.pi / 2), (-0.5, 0.5))

    def test_by_hand(self):
        # From (0, -4, 0) with velocity (0.1, 0, 0) and noise 0.01 (0, -2, 0) the camera comes to (0.1, -4.02, 0).
        state = WalkState(4.0, -math.pi / 2, math.pi / 2, 0.1, (0.1, 0.0, 0.0), 0.02)
        new = walk_step(state, (0.0, -2.0, 0.0, 3.0), self.WIDE, WalkScales(0.01, 1.0, 0.001, 0.1))
        assert new.radius == pytest.approx(math.hypot(0.1, 4.02))
        assert new.horizontal == pytest.approx(math.atan2(-4.02, 0.1))
        assert new.vertical == pytest.approx(math.pi / 2)
        assert new.velocity == pytest.approx((0.1, -0.02, 0), abs=1e-12)
        assert (new.roll, new.roll_velocity) == pytest.approx((0.123, 0.023))

    def test_speeds_are_cut(self):
        state = WalkState(4.0, -math.pi / 2, math.pi / 4, 0.0, (0.3, 0.4, 0.0), -0.5)
        new = walk_step(state, (0.0,) * 4, self.WIDE, WalkScales(0.0, 0.1, 0.0, 0.05))
        assert new.velocity == pytest.approx((0.06, 0.08, 0.0))
        assert (new.roll, new.roll_velocity) == (-0.05, -0.05)

    def test_a_camera_stops_at_a_bound(self):
        state = WalkState(9.0, -math.pi / 2, math.pi / 4, 0.5, (0.0, -0.1, 0.0), 0.1)
        out = cartesian(9.0, -math.pi / 2, math.pi / 4)
        state = state._replace(velocity=tuple(0.01 * x for x in out))
        new = walk_step(state, (0.0,) * 4, self.WIDE, WalkScales(0.0, 1.0, 0.0, 1.0))
        assert (new.radius, new.roll, new.roll_velocity) == (9.0, 0.5, 0.0)
        assert new.velocity == pytest.approx((0, 0, 0), abs=1e-12)

    def test_a_range_over_the_back_is_one_piece(self):
        # Both ways around, h = pi is an inner point of [0.9 pi, 1.1 pi], and beyond it lies no jump.
        bounds = CameraBounds((1.0, 9.0), (0.9 * math.pi, 1.1 * math.pi), (0.0, math.pi), (-0.5, 0.5))
        state = WalkState(4.0, 0.999 * math.pi, math.pi / 2, 0.0, (0.0, -0.1, 0.0), 0.0)
        new = walk_step(state, (0.0,) * 4, bounds, WalkScales(0.0, 1.0, 0.0, 1.0))
        assert math.pi < new.horizontal < 1.1 * math.pi
        assert math.dist(new.velocity, (0.0, -0.1, 0.0)) < 1e-12

    def test_a_start_beyond_the_pole_is_mirrored(self):
        bounds = camera_bounds((0.0, 0.0, 0.75), 0.2, upper_quadrant=False)
        state = WalkState(0.75, 0.1, -0.2, 0.0, (0.0, 0.0, 0.0), 0.0)
        new = walk_step(state, (0.0,) * 4, bounds, walk_scales(0.75, 0.2))
        assert new.vertical == pytest.approx(0.2)
        assert new.horizontal == bounds.horizontal[0]

    def test_initial_velocities(self):
        bounds = camera_bounds((0.0, -4.0, 2.0), 0.3, True)
        starts = [start_walk(bounds, 0.3, True, np.random.default_rng(seed)) for seed in range(2000)]
        velocities = np.array([s.velocity for s in starts])
        speeds = np.linalg.norm(velocities, axis=1)
        assert kstest(speeds / 0.12, "uniform").pvalue > 1e-3
        # A component of a uniformly random direction is uniform itself.
        for component in (velocities / speeds[:, None]).T:
            assert kstest((component + 1) / 2, "uniform").pvalue > 1e-3
        limit = 0.3 * math.pi / 50
        assert kstest([(s.roll_velocity + limit) / (2 * limit) for s in starts], "uniform").pvalue > 1e-3
