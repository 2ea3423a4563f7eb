"""A good driver of the stand-in, who sees the world itself: what scores are measured by. It is no optimum."""

from __future__ import annotations

import numpy as np

from bisimgym.envs.highway_driving.road import NUM_LANES, lane_center, nearest_lane
from bisimgym.envs.highway_driving.traffic import (
    AIR_DRAG,
    BRAKE,
    DRAG,
    FULL_TURN,
    IN_THE_WAY,
    RING,
    SIZES,
    THROTTLE,
    TOP_SPEED,
    WHEELBASE,
    World,
    following,
    nearest_copy,
)

#: m/s.
LIMIT = 30.0
#: A meter to the side costs this much of speed, m/s, so that a change of lanes is worth it or not made.
RELUCTANCE = 0.3


def drive(world: World) -> np.ndarray:
    """Return the actions of a driver who keeps the limit and passes who is slower, ``float32[N, 2]``.

    Args:
        world: N episodes.
    """
    gap, lead_speed = _ahead(world)
    target = _best_lane(world, gap, lead_speed)
    rows = np.arange(len(target))
    throttle = _throttle(world, *_way(world, target, gap[rows, target], lead_speed[rows, target]))
    return np.stack([throttle, _steer(world, lane_center(target))], axis=1).astype(np.float32)


def _lanes_taken(world: World) -> np.ndarray:
    """Return ``bool[N, lanes, V]``: whether a car is in a lane."""
    return nearest_lane(world.others_d)[:, None, :] == np.arange(NUM_LANES)[:, None]


def _ahead(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Return the gap to the car ahead in each lane, ``float64[N, lanes]`` (infinite without), and its speed."""
    taken = _lanes_taken(world)
    if not taken.shape[2]:
        free = np.full(taken.shape[:2], np.inf)
        return free, np.full(taken.shape[:2], LIMIT)
    ahead = nearest_copy(world.others_s - world.s[:, None])
    gap = ahead - (SIZES[world.others_kind, 0] + SIZES[0, 0]) / 2
    gaps = np.where(taken & (ahead > 0)[:, None, :], gap[:, None, :], np.inf)
    which = gaps.argmin(axis=2)
    rows = np.arange(len(which))[:, None]
    return np.take_along_axis(gaps, which[..., None], axis=2)[..., 0], world.others_speed[rows, which]


def _best_lane(world: World, gap: np.ndarray, lead_speed: np.ndarray) -> np.ndarray:
    """Return the lane to drive in, ``int64[N]``: this one or one beside it, if there is room."""
    own = nearest_lane(world.d)
    lanes = np.arange(NUM_LANES)
    beside = np.abs(lanes - own[:, None]) <= 1
    here = lanes == own[:, None]
    room = beside & (here | _has_room(world, gap, lead_speed))
    allowed = np.minimum(LIMIT, lead_speed + np.maximum(gap - 20, 0) / 5)
    away = np.abs(lane_center(lanes) - world.d[:, None])
    worth = np.where(room, allowed - RELUCTANCE * away, -np.inf)
    return worth.argmax(axis=1)


def _has_room(world: World, gap: np.ndarray, lead_speed: np.ndarray) -> np.ndarray:
    """Return ``bool[N, lanes]``: whether one may change to a lane without anyone having to brake hard."""
    free_ahead = gap > 6 + 1.5 * np.maximum(world.speed[:, None] - lead_speed, 0)
    if not world.others_s.shape[1]:
        return free_ahead
    behind = -nearest_copy(world.others_s - world.s[:, None])
    distance = behind - (SIZES[world.others_kind, 0] + SIZES[0, 0]) / 2
    needed = 6 + 2 * np.maximum(world.others_speed - world.speed[:, None], 0)
    in_way = (behind >= 0) & (distance < needed)
    return free_ahead & ~(_lanes_taken(world) & in_way[:, None, :]).any(axis=2)


def _way(world: World, target: np.ndarray, gap: np.ndarray, lead_speed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return gap and speed of the car ahead that is nearest, in the lane to drive in or still in the way."""
    if not world.others_s.shape[1]:
        return gap, lead_speed
    ahead = nearest_copy(world.others_s - world.s[:, None])
    distance = ahead - (SIZES[world.others_kind, 0] + SIZES[0, 0]) / 2
    blocks = (np.abs(world.others_d - world.d[:, None]) < IN_THE_WAY) & (ahead > 0)
    distance = np.where(blocks, distance, np.inf)
    which = distance.argmin(axis=1)
    rows = np.arange(len(which))
    nearer = distance[rows, which] < gap
    return (
        np.where(nearer, distance[rows, which], gap),
        np.where(nearer, world.others_speed[rows, which], lead_speed),
    )


def _throttle(world: World, gap: np.ndarray, lead_speed: np.ndarray) -> np.ndarray:
    """Return throttle or brake in [-1, 1] that give the acceleration of the intelligent driver model."""
    free = np.clip(2 * (LIMIT - world.speed), -3, THROTTLE)
    held = following(world.speed, np.full_like(world.speed, 2 * LIMIT), gap, world.speed - lead_speed)
    wanted = np.minimum(free, np.where(np.isfinite(gap) & (gap < RING / 4), THROTTLE / 1.5 * held, np.inf))
    wanted = wanted + DRAG + AIR_DRAG * world.speed * world.speed
    power = THROTTLE * np.maximum(1 - world.speed / TOP_SPEED, 0.05)
    return np.clip(np.where(wanted > 0, wanted / power, wanted / BRAKE), -1, 1)


def _steer(world: World, d: np.ndarray) -> np.ndarray:
    """Return the steering in [-1, 1] that leads to a place across the road within some two seconds."""
    speed = np.maximum(world.speed, 3)
    heading = np.clip(0.6 * (d - world.d) / speed, -0.1, 0.1)
    turn = world.curvature * speed / (1 - world.curvature * world.d) + 1.5 * (heading - world.heading)
    return np.clip(-np.arctan(WHEELBASE * turn / speed) / FULL_TURN, -1, 1)
