"""The few calls that this package makes to CARLA: a running server, one car with cameras, traffic, weather.

What is a formula is a pure function of numbers (:func:`lane_reading`, :func:`image_of`), which needs no server.
"""

from __future__ import annotations

import queue
import weakref
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from bisimgym.envs.extras import require
from bisimgym.envs.highway_driving.cameras import FIELD_OF_VIEW, HEIGHT, stitched, yaws_of
from bisimgym.envs.highway_driving.rewards import FRAME_SECONDS
from bisimgym.envs.seeds import uniforms

#: Where the published tasks drive: the map, DBC's road of it, and the meters on that road where the agent starts and
#: where other cars may.
MAP, ROAD, START_S, TRAFFIC_S = "Town04", 45, 100.0, (110.0, 300.0)
LANES = (-1, -2, -3, -4)
CAR = "vehicle.tesla.model3"
#: Percent below the limit, and m to the car ahead, of other cars: DBC's.
SLOWER, DISTANCE = 30.0, 2.0
#: Meters over the road where cars appear, and meters ahead that the lane's direction is measured over.
_DROP, _AHEAD = 0.3, 0.1
#: Tries per car or walker to find a free place.
_TRIES = 10


def client_module() -> Any:
    """Return the package ``carla``.

    Raises:
        ModuleNotFoundError: if it is not installed; the message names the extra.
    """
    require("Environments with backend='carla'", "carla", "carla")
    import carla

    return carla


def server_version(host: str, port: int, timeout: float) -> str | None:
    """Return the version of the server that answers within ``timeout`` seconds, or None if none does."""
    client = client_module().Client(host, port)
    client.set_timeout(timeout)
    try:
        return client.get_server_version()
    except RuntimeError:
        return None


class LaneReading(NamedTuple):
    """Where a car is on its lane.

    Attributes:
        progress: m/s along the lane's direction, of the velocity in three dimensions.
        offset: m from the middle of the lane.
        off_road: whether its center is on no lane.
        road_end: whether the lane goes on nowhere.
    """

    progress: float
    offset: float
    off_road: bool
    road_end: bool


class Reading(NamedTuple):
    """A car after a frame.

    Attributes:
        lane: its place.
        speed, vertical_speed: m/s.
        height: m above where it started.
        impulse: N s of this frame's collisions.
        colliding: whether there was one.
    """

    lane: LaneReading
    speed: float
    vertical_speed: float
    height: float
    impulse: float
    colliding: bool


def lane_reading(road_map: Any, location: Any, velocity: Any) -> LaneReading:
    """Return where a car is on its lane.

    Args:
        road_map: a ``carla.Map``.
        location, velocity: of the car, with x, y and z in m and m/s.
    """
    waypoint = road_map.get_waypoint(location)
    off_road = road_map.get_waypoint(location, project_to_road=False) is None
    here = waypoint.transform.location
    offset = float(np.hypot(location.x - here.x, location.y - here.y))
    following = waypoint.next(_AHEAD)
    if not following:
        return LaneReading(0.0, offset, off_road, True)
    ahead = following[0].transform.location
    direction = np.array([ahead.x - here.x, ahead.y - here.y, ahead.z - here.z])
    direction /= max(float(np.linalg.norm(direction)), 1e-9)
    progress = float(direction @ (velocity.x, velocity.y, velocity.z))
    return LaneReading(progress, offset, off_road, False)


def image_of(raw: bytes, height: int, width: int) -> np.ndarray:
    """Return a camera's image, ``uint8[height, width, 3]``, from the bytes of CARLA, which are BGRA."""
    pixels = np.frombuffer(raw, dtype=np.uint8).reshape(height, width, 4)
    return pixels[:, :, 2::-1].copy()


class Server:
    """A server in synchronous mode with one car of ours.

    Args:
        host, port: of the server.
        timeout: seconds that it has for an answer.
        size, cameras: of the images.

    Raises:
        ModuleNotFoundError: without the package ``carla``.
        ConnectionError: if no server answers.
    """

    def __init__(self, host: str, port: int, timeout: float, size: int, cameras: int):
        self._carla = client_module()
        self.size, self.cameras, self.timeout = size, cameras, timeout
        found = server_version(host, port, timeout)
        if found is None:
            raise ConnectionError(
                f"no CARLA server answers at {host}:{port} within {timeout:g} s: start one "
                "(CarlaUE4.sh -RenderOffScreen), or give the host, port and timeout of one that runs"
            )
        self._client = self._carla.Client(host, port)
        self._client.set_timeout(timeout)
        if found != self._client.get_client_version():
            own = self._client.get_client_version()
            gym.logger.warn(f"CARLA's server is {found} and the client {own}: install the client of that version")
        self._world = self._client.get_world()
        if self._world.get_map().name.split("/")[-1] != MAP:  # "Carla/Maps/Town04" in some versions
            self._world = self._client.load_world(MAP)
        self._map = self._world.get_map()
        self._traffic = self._client.get_trafficmanager(port + 6000)
        self._actors: list[Any] = []
        # Also where the process ends by an error: a server that is left waiting for ticks serves nobody.
        self._leave = weakref.finalize(
            self, _leave, self._world, self._traffic, self._actors, self._world.get_settings()
        )
        self._wait_for_ticks()
        self._images: list[queue.Queue] = []
        self._impulses: list[float] = []

    def _wait_for_ticks(self) -> None:
        settings = self._world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, FRAME_SECONDS
        self._world.apply_settings(settings)
        self._traffic.set_synchronous_mode(True)
        self._traffic.global_percentage_speed_difference(SLOWER)
        self._traffic.set_global_distance_to_leading_vehicle(DISTANCE)

    def start(self, seed: np.uint64, vehicles: int, walkers: int, weather: tuple[float, ...]) -> Reading:
        """Start an episode whose car, lane and traffic follow from its seed, and return the car after a first frame."""
        _destroy(self._actors)
        own_seed = int(seed >> np.uint64(33))
        self._traffic.set_random_device_seed(own_seed)
        self._world.set_pedestrians_seed(own_seed)
        self.set_weather(weather)
        drawn = uniforms(np.array([seed], dtype=np.uint64), 1 + 3 * _TRIES * (vehicles + 1))[0]
        lane = LANES[int(drawn[0] * len(LANES))]
        self._car = self._spawn(self._blueprints(CAR)[0], self._place(lane, START_S))
        if self._car is None:
            raise RuntimeError(f"CARLA gives no place to the agent's car on road {ROAD} of {MAP}, lane {lane}")
        self._add_sensors()
        self._add_vehicles(vehicles, drawn[1:])
        self._add_walkers(walkers)
        self._tick()
        self._start_height = self._car.get_transform().location.z
        return self._read()

    def _blueprints(self, pattern: str) -> list[Any]:
        return sorted(self._world.get_blueprint_library().filter(pattern), key=lambda blueprint: blueprint.id)

    def _place(self, lane: int, s: float) -> Any:
        waypoint = self._map.get_waypoint_xodr(ROAD, lane, s)
        if waypoint is None:
            raise RuntimeError(f"the map {self._map.name} has no road {ROAD} with lane {lane} at {s:g} m: is it {MAP}?")
        transform = waypoint.transform
        transform.location.z += _DROP
        return transform

    def _spawn(self, blueprint: Any, transform: Any, parent: Any = None) -> Any:
        actor = self._world.try_spawn_actor(blueprint, transform, parent)
        if actor is not None:
            self._actors.append(actor)
        return actor

    def _add_vehicles(self, count: int, drawn: np.ndarray) -> None:
        kinds, numbers, added = self._blueprints("vehicle.*"), iter(drawn.tolist()), 0
        kinds = [kind for kind in kinds if int(kind.get_attribute("number_of_wheels")) == 4]
        low, high = TRAFFIC_S
        for _ in range(_TRIES * count):
            if added == count:
                break
            kind, lane, at = (next(numbers) for _ in range(3))
            place = self._place(LANES[int(lane * len(LANES))], low + (high - low) * at)
            car = self._spawn(kinds[int(kind * len(kinds))], place)
            if car is not None:
                car.set_autopilot(True, self._traffic.get_port())
                added += 1

    def _add_walkers(self, count: int) -> None:
        kinds, controller = self._blueprints("walker.pedestrian.*"), self._blueprints("controller.ai.walker")
        controllers, added = [], 0
        for _ in range(_TRIES * count):
            location = self._world.get_random_location_from_navigation() if added < count else None
            if location is None:
                break
            walker = self._spawn(kinds[added % len(kinds)], self._carla.Transform(location))
            if walker is not None:
                controllers.append(self._spawn(controller[0], self._carla.Transform(), walker))
                added += 1
        if controllers:
            self._tick()  # a controller starts once its walker is in the world
            for one in controllers:
                one.start()
                one.go_to_location(self._world.get_random_location_from_navigation())

    def _add_sensors(self) -> None:
        self._images = [queue.Queue() for _ in range(self.cameras)]
        camera = self._blueprints("sensor.camera.rgb")[0]
        for name in ("image_size_x", "image_size_y"):
            camera.set_attribute(name, str(self.size))
        camera.set_attribute("fov", str(FIELD_OF_VIEW))
        for yaw, images in zip(yaws_of(self.cameras), self._images, strict=True):
            at = self._carla.Transform(self._carla.Location(z=HEIGHT), self._carla.Rotation(yaw=yaw))
            self._spawn(camera, at, self._car).listen(images.put)
        self._impulses.clear()
        collisions = self._spawn(self._blueprints("sensor.other.collision")[0], self._carla.Transform(), self._car)
        collisions.listen(lambda event: self._impulses.append(_length(event.normal_impulse)))

    def set_weather(self, weather: tuple[float, ...]) -> None:
        """Set azimuth and altitude of the sun, clouds, rain, wetness and wind."""
        azimuth, altitude, clouds, rain, wetness, wind = weather
        self._world.set_weather(
            self._carla.WeatherParameters(
                cloudiness=clouds,
                precipitation=rain,
                precipitation_deposits=wetness,
                wind_intensity=wind,
                sun_azimuth_angle=azimuth,
                sun_altitude_angle=altitude,
            )
        )

    def step(self, throttle: float, steer: float) -> Reading:
        """Advance a frame; negative throttle is the brake, positive steering goes to the right."""
        control = self._carla.VehicleControl(throttle=max(throttle, 0.0), steer=steer, brake=max(-throttle, 0.0))
        self._car.apply_control(control)
        self._tick()
        return self._read()

    def _tick(self) -> None:
        self._frame = self._world.tick(self.timeout)

    def _read(self) -> Reading:
        velocity, location = self._car.get_velocity(), self._car.get_transform().location
        impulses = self._impulses[:]
        self._impulses.clear()
        return Reading(
            lane_reading(self._map, location, velocity),
            _length(velocity),
            float(velocity.z),
            float(location.z - self._start_height),
            float(sum(impulses)),
            bool(impulses),
        )

    def image(self) -> np.ndarray:
        """Return what the cameras saw in the last frame, ``uint8[size, cameras * size, 3]``."""
        views = []
        for images in self._images:
            try:
                image = images.get(timeout=self.timeout)
                while image.frame < self._frame:  # those of frames in between
                    image = images.get(timeout=self.timeout)
            except queue.Empty:
                raise RuntimeError(
                    f"a camera of CARLA gave no image of frame {self._frame} within {self.timeout:g} s: raise timeout"
                ) from None
            views.append(image_of(bytes(image.raw_data), self.size, self.size))
        return stitched(views)

    def close(self) -> None:
        """Destroy what is ours and let the server run by itself again."""
        self._leave()


def _length(vector: Any) -> float:
    return float(np.sqrt(vector.x**2 + vector.y**2 + vector.z**2))


def _destroy(actors: list[Any]) -> None:
    """Destroy actors, the last ones first: sensors before cars."""
    while actors:
        actor = actors.pop()
        if hasattr(actor, "stop"):
            actor.stop()
        actor.destroy()


def _leave(world: Any, traffic: Any, actors: list[Any], settings: Any) -> None:
    try:
        _destroy(actors)
    finally:
        traffic.set_synchronous_mode(False)
        world.apply_settings(settings)
