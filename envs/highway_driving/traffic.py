"""Traffic of the stand-in: where cars start, how they follow each other, and what a frame does to all of them.

Cars keep their lane and the gap of the intelligent driver model: Treiber, Hennecke and Helbing (2000), "Congested
traffic states in empirical observations and microscopic simulations", equations 2 and 3. Places are those of
:mod:`~bisimgym.envs.highway_driving.road`. Traffic repeats every :data:`RING` meters of road, so that it neither ends
nor is left behind: of each car, the agent meets the copy that is nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bisimgym.envs.highway_driving.rewards import FRAME_SECONDS, Frame
from bisimgym.envs.highway_driving.road import HALF_WIDTH, NUM_LANES, RAIL, lane_center, nearest_lane
from bisimgym.envs.seeds import uniforms

#: Meters after which traffic repeats, and meters of a lane that a car has to itself at the start.
RING, SLOT = 400.0, 25.0
SLOTS = int(RING / SLOT)
#: Three slots of the agent's lane are left free.
MOST_VEHICLES, MOST_WALKERS = 40, 40
#: Length, width and height of a car and of a truck, m, and the share of trucks.
SIZES, TRUCKS = np.array([[4.6, 1.9, 1.5], [9.0, 2.4, 3.2]]), 0.15
#: Mass of every vehicle, kg.
MASS = 1500.0

#: The agent's car: wheelbase, m; steering angle of a full turn, rad; what the tires hold, m/s^2.
WHEELBASE, FULL_TURN, GRIP = 2.9, 0.1, 5.0
#: m/s^2 of full throttle at rest and of the full brake; m/s at which full throttle gives nothing; drag; that of grass.
THROTTLE, BRAKE, TOP_SPEED, DRAG, AIR_DRAG, GRASS = 4.0, 8.0, 40.0, 0.15, 5e-4, 2.0
START_SPEED = 15.0

#: The intelligent driver model: m/s^2, m/s^2, s, m; desired speeds, m/s; the hardest brake, m/s^2.
ACCELERATION, COMFORT, HEADWAY, STANDSTILL, DESIRED, HARDEST = 1.5, 2.0, 1.5, 2.0, (14.0, 22.0), 8.0
#: Cars whose middles are nearer sideways are in each other's way, m.
IN_THE_WAY = 2.2


@dataclass(frozen=True)
class World:
    """N episodes of the stand-in.

    Attributes:
        seed: ``uint64[N]``, of the road and the traffic.
        weather_seed: ``uint64[N]``.
        curvature: ``float64[N]``, 1/m, of the road.
        s, d: ``float64[N]``, m, the agent's place.
        heading: ``float64[N]``, rad from the road's direction, positive to the left.
        speed: ``float64[N]``, m/s.
        others_s, others_d, others_speed, others_desired: ``float64[N, V]``, m and m/s, of the other cars.
        others_kind, others_color: ``int64[N, V]``, a row of :data:`SIZES`, and a color.
        others_leader: ``int64[N, V]``, the next car in each one's lane, which stays that: cars keep their lanes.
        others_lap: ``float64[N, V]``, m, how far ahead of its own place that car's copy is (0 or :data:`RING`).
        walkers_s, walkers_d, walkers_speed: ``float64[N, W]``.
        frame: ``int64[N]``, frames since the start.
        colliding_frames: ``int64[N]``, in a row.
        ending: ``int64[N]``, reason of the ending, a place in ``endings.REASONS``; 0 while the episode goes on.
        distance: ``float64[N]``, m along the road since the start.
        impulse, steer, brake: ``float64[N]``, sums over frames of N s, of absolute steering and of the brake.
    """

    seed: np.ndarray
    weather_seed: np.ndarray
    curvature: np.ndarray
    s: np.ndarray
    d: np.ndarray
    heading: np.ndarray
    speed: np.ndarray
    others_s: np.ndarray
    others_d: np.ndarray
    others_speed: np.ndarray
    others_desired: np.ndarray
    others_kind: np.ndarray
    others_color: np.ndarray
    others_leader: np.ndarray
    others_lap: np.ndarray
    walkers_s: np.ndarray
    walkers_d: np.ndarray
    walkers_speed: np.ndarray
    frame: np.ndarray
    colliding_frames: np.ndarray
    ending: np.ndarray
    distance: np.ndarray
    impulse: np.ndarray
    steer: np.ndarray
    brake: np.ndarray


def place(seeds: np.ndarray, weather_seeds: np.ndarray, vehicles: int, walkers: int, max_curvature: float) -> World:
    """Start N episodes: the agent in a lane at :data:`START_SPEED`, other cars in places of their own.

    Args:
        seeds: ``uint64[N]``, of road and traffic.
        weather_seeds: ``uint64[N]``.
        vehicles, walkers: how many of each.
        max_curvature: 1/m; roads are drawn uniformly between curves of it to both sides.
    """
    count = len(seeds)
    own = uniforms(seeds, 4)
    lane = (own[:, 0] * NUM_LANES).astype(np.int64)
    keys = uniforms(seeds, NUM_LANES * SLOTS, 4).reshape(count, NUM_LANES, SLOTS)
    keys[np.arange(count)[:, None], lane[:, None], np.array([-1, 0, 1])] = np.inf
    chosen = np.argsort(keys.reshape(count, -1), axis=1)[:, :vehicles]
    first = 4 + NUM_LANES * SLOTS
    shift, desired, kind, color = uniforms(seeds, 4 * vehicles, first).reshape(count, 4, vehicles).swapaxes(0, 1)
    at, side, pace = uniforms(seeds, 3 * walkers, first + 4 * vehicles).reshape(count, 3, walkers).swapaxes(0, 1)
    speeds = DESIRED[0] + (DESIRED[1] - DESIRED[0]) * desired
    others_s = (chosen % SLOTS) * SLOT + 8 * (shift - 0.5)
    leader, lap = _leaders(others_s, chosen // SLOTS)
    zeros, none = np.zeros(count), np.zeros(count, dtype=np.int64)
    return World(
        seed=seeds,
        weather_seed=weather_seeds,
        curvature=max_curvature * (2 * own[:, 1] - 1),
        s=zeros,
        d=lane_center(lane) + own[:, 2] - 0.5,
        heading=0.04 * (own[:, 3] - 0.5),
        speed=zeros + START_SPEED,
        others_s=others_s,
        others_d=lane_center(chosen // SLOTS),
        others_speed=speeds,
        others_desired=speeds,
        others_kind=(kind < TRUCKS).astype(np.int64),
        others_color=(color * 8).astype(np.int64),
        others_leader=leader,
        others_lap=lap,
        walkers_s=RING * at,
        walkers_d=np.where(side < 0.5, -1, 1) * (RAIL + 1 + 3 * np.abs(2 * side - 1)),
        walkers_speed=3 * (pace - 0.5),
        frame=none,
        colliding_frames=none,
        ending=none,
        distance=zeros,
        impulse=zeros,
        steer=zeros,
        brake=zeros,
    )


def _leaders(s: np.ndarray, lane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the next car in each one's lane, ``int64[N, V]``, and how far its copy is ahead of itself, m."""
    count, vehicles = s.shape
    if not vehicles:
        return np.zeros((count, 0), dtype=np.int64), np.zeros((count, 0))
    ahead = s[:, None, :] - s[:, :, None]
    ahead = np.where(ahead > 0, ahead, ahead + RING)  # a car alone in its lane follows its own copy
    ahead[lane[:, None, :] != lane[:, :, None]] = np.inf
    leader = ahead.argmin(axis=2)
    lap = np.where(np.take_along_axis(s, leader, axis=1) > s, 0.0, RING)
    return leader, lap


def nearest_copy(distance: np.ndarray) -> np.ndarray:
    """Return distances along the road to the nearest copy, in [-RING / 2, RING / 2], m."""
    return distance - RING * np.rint(distance / RING)


def following(speed: np.ndarray, desired: np.ndarray, gap: np.ndarray, closing: np.ndarray) -> np.ndarray:
    """Return the acceleration of the intelligent driver model, m/s^2.

    Args:
        speed, desired: m/s.
        gap: m, bumper to bumper; infinite without a car ahead.
        closing: m/s, speed minus that of the car ahead.
    """
    wanted = STANDSTILL + np.maximum(speed * HEADWAY + speed * closing / (2 * np.sqrt(ACCELERATION * COMFORT)), 0)
    free, near = (speed / desired) ** 2, wanted / np.maximum(gap, 0.5)
    return np.maximum(ACCELERATION * (1 - free * free - near * near), -HARDEST)


def advance(world: World, throttle: np.ndarray, steer: np.ndarray) -> tuple[World, Frame]:
    """Return the worlds a frame later, and what happened to the agent's car. Nothing depends on the weather.

    Args:
        world: N episodes.
        throttle: ``float64[N]`` in [-1, 1], of the agent; negative is the brake.
        steer: ``float64[N]`` in [-1, 1], positive to the right.
    """
    others_speed = _others_speed(world)
    s, d, heading, speed, progress = _driven(world, throttle, steer)
    d, heading, against_rail = _held_by_rail(d, heading, speed)
    moved = replace(
        world,
        s=s,
        d=d,
        heading=heading,
        speed=speed,
        others_s=world.others_s + others_speed * FRAME_SECONDS,
        others_speed=others_speed,
        walkers_s=world.walkers_s + world.walkers_speed * FRAME_SECONDS,
    )
    collided, against_car, hit = _collided(moved)
    impulse = against_rail + against_car
    colliding = hit | (against_rail > 0)
    brake = np.maximum(-throttle, 0)
    after = replace(
        collided,
        frame=world.frame + 1,
        colliding_frames=np.where(colliding, world.colliding_frames + 1, 0),
        distance=world.distance + progress * FRAME_SECONDS,
        impulse=world.impulse + impulse,
        steer=world.steer + np.abs(steer),
        brake=world.brake + brake,
    )
    offset = np.abs(after.d - lane_center(nearest_lane(after.d)))
    off_road = np.abs(after.d) > HALF_WIDTH
    return after, Frame(progress, after.speed, offset, impulse, colliding, off_road, steer, brake)


def _others_speed(world: World) -> np.ndarray:
    """Return the speeds of the other cars after a frame, ``float64[N, V]``: followers of who is ahead in their way."""
    if not world.others_s.shape[1]:
        return world.others_speed
    rows = np.arange(len(world.s))[:, None]
    length, own_length = SIZES[:, 0][world.others_kind], SIZES[0, 0]
    leader = world.others_leader
    gap = world.others_s[rows, leader] + world.others_lap - world.others_s - (length[rows, leader] + length) / 2
    lead_speed = world.others_speed[rows, leader]
    behind = world.s[:, None] - world.others_s
    behind = behind - RING * np.floor(behind / RING) - (length + own_length) / 2
    agent_ahead = (behind < gap) & (np.abs(world.others_d - world.d[:, None]) < IN_THE_WAY)
    gap, lead_speed = np.where(agent_ahead, behind, gap), np.where(agent_ahead, world.speed[:, None], lead_speed)
    acceleration = following(world.others_speed, world.others_desired, gap, world.others_speed - lead_speed)
    return np.maximum(world.others_speed + acceleration * FRAME_SECONDS, 0)


def _driven(world: World, throttle: np.ndarray, steer: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return s, d, heading, speed and the velocity along the road of the agent's car after a frame.

    The car is a kinematic bicycle whose turns are bounded by what the tires hold.
    """
    pull = THROTTLE * np.maximum(throttle, 0) * (1 - world.speed / TOP_SPEED) - BRAKE * np.maximum(-throttle, 0)
    drag = DRAG + AIR_DRAG * world.speed * world.speed + GRASS * (np.abs(world.d) > HALF_WIDTH)
    speed = np.maximum(world.speed + (pull - drag) * FRAME_SECONDS, 0)
    most = GRIP / np.maximum(speed, 1)
    turn = np.clip(-speed * np.tan(FULL_TURN * steer) / WHEELBASE, -most, most)
    forward, sideways = speed * np.cos(world.heading), speed * np.sin(world.heading)
    pace = forward / (1 - world.curvature * world.d)
    heading = world.heading + (turn - world.curvature * pace) * FRAME_SECONDS
    heading = (heading + np.pi) % (2 * np.pi) - np.pi
    return world.s + pace * FRAME_SECONDS, world.d + sideways * FRAME_SECONDS, heading, speed, forward


def _held_by_rail(d: np.ndarray, heading: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return d and heading of a car that rails hold, along which it slides, and their impulse, N s."""
    most = RAIL - SIZES[0, 1] / 2
    outward = speed * np.sin(heading) * np.sign(d)
    held = (np.abs(d) >= most) & (outward > 0)
    along = np.where(np.cos(heading) >= 0, 0.0, np.pi)
    return np.clip(d, -most, most), np.where(held, along, heading), np.where(held, MASS * outward, 0.0)


def _collided(world: World) -> tuple[World, np.ndarray, np.ndarray]:
    """Return the worlds after inelastic collisions of the agent's car, their impulse, N s, and where there is one.

    Cars are boxes along the road. They part along the direction in which they overlap less; of several collisions in a
    frame, the strongest counts.
    """
    count, vehicles = world.others_s.shape
    if not vehicles:
        return world, np.zeros(count), np.zeros(count, dtype=bool)
    size = SIZES[world.others_kind]
    ahead, left = nearest_copy(world.others_s - world.s[:, None]), world.others_d - world.d[:, None]
    overlap_s = (size[..., 0] + SIZES[0, 0]) / 2 - np.abs(ahead)
    overlap_d = (size[..., 1] + SIZES[0, 1]) / 2 - np.abs(left)
    touching = (overlap_s > 0) & (overlap_d > 0)
    hit = touching.any(axis=1)
    if not hit.any():
        return world, np.zeros(count), hit
    forward, sideways = world.speed * np.cos(world.heading), world.speed * np.sin(world.heading)
    lengthways = overlap_s <= overlap_d
    closing = np.where(
        lengthways, (forward[:, None] - world.others_speed) * np.sign(ahead), sideways[:, None] * np.sign(left)
    )
    closing = np.where(touching, np.maximum(closing, 0), -1.0)
    rows, which = np.arange(count), closing.argmax(axis=1)
    closing, lengthways = np.where(hit, closing[rows, which], 0.0), lengthways[rows, which] & hit
    sideways_hit = hit & ~lengthways
    push = np.sign(ahead[rows, which]) * closing / 2
    speed = np.where(lengthways, np.maximum(world.speed - push, 0), world.speed)
    others_speed = world.others_speed.copy()
    others_speed[rows, which] = np.maximum(others_speed[rows, which] + np.where(lengthways, push, 0), 0)
    back_s = np.sign(ahead[rows, which]) * overlap_s[rows, which]
    back_d = np.sign(left[rows, which]) * overlap_d[rows, which]
    parted = replace(
        world,
        s=np.where(lengthways, world.s - back_s, world.s),
        d=np.where(sideways_hit, world.d - back_d, world.d),
        heading=np.where(sideways_hit & (closing > 0), 0.0, world.heading),
        speed=speed,
        others_speed=others_speed,
    )
    return parted, MASS / 2 * closing, hit
