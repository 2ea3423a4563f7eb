"""The few calls of CARLA's client that the package makes, played by a car on a straight road, and a record of them.

Positions are CARLA's: y points to the right. Lane -1 is at y = 0, the next at 3.5, and so on; the road ends at
x = 2000.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field


@dataclass
class Location:
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@dataclass
class Rotation:
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0


@dataclass
class Transform:
    location: Location = field(default_factory=Location)
    rotation: Rotation = field(default_factory=Rotation)


@dataclass
class VehicleControl:
    throttle: float = 0.0
    steer: float = 0.0
    brake: float = 0.0


class WeatherParameters:
    def __init__(self, **values):
        self.values = values


class Waypoint:
    def __init__(self, x, lane):
        self.transform = Transform(Location(x, -3.5 * (lane + 1), 0.0))
        self.lane = lane

    def next(self, distance):
        x = self.transform.location.x + distance
        return [Waypoint(x, self.lane)] if x < 2000 else []


class Map:
    name = "Carla/Maps/Town04"

    def get_waypoint(self, location, project_to_road=True):
        lane = -1 - max(min(round(location.y / 3.5), 3), 0)
        on_road = -1.75 <= location.y <= 12.25
        return Waypoint(location.x, lane) if on_road or project_to_road else None

    def get_waypoint_xodr(self, road, lane, s):
        return Waypoint(s, lane) if road == 45 else None


class Blueprint:
    def __init__(self, name):
        self.id, self.attributes = name, {"number_of_wheels": "4"}

    def get_attribute(self, name):
        return self.attributes[name]

    def set_attribute(self, name, value):
        self.attributes[name] = value


class Library:
    NAMES = (
        "vehicle.tesla.model3", "vehicle.audi.a2", "walker.pedestrian.0001", "controller.ai.walker",
        "sensor.camera.rgb", "sensor.other.collision",
    )  # fmt: skip

    def filter(self, pattern):
        stem = pattern.rstrip("*")
        return [Blueprint(name) for name in self.NAMES if name.startswith(stem)]


class Actor:
    def __init__(self, world, blueprint, transform, parent):
        self.world, self.id, self.attributes = world, blueprint.id, dict(blueprint.attributes)
        self.transform, self.parent = transform, parent
        self.velocity, self.control, self.alive, self.callback = Location(), VehicleControl(), True, None

    def get_transform(self):
        return self.transform

    def get_velocity(self):
        return self.velocity

    def apply_control(self, control):
        self.control = control

    def set_autopilot(self, on, port):
        self.world.calls.append(("autopilot", on, port))

    def listen(self, callback):
        self.callback = callback

    def start(self):
        self.world.calls.append(("walker starts",))

    def go_to_location(self, location):
        assert isinstance(location, Location)

    def stop(self):
        self.callback = None

    def destroy(self):
        self.alive = False
        self.world.actors.remove(self)

    def move(self, seconds):
        control, at = self.control, self.transform.location
        self.velocity.x = max(self.velocity.x + (4 * control.throttle - 8 * control.brake) * seconds, 0.0)
        self.velocity.y = 5 * control.steer
        at.x, at.y = at.x + self.velocity.x * seconds, at.y + self.velocity.y * seconds


class World:
    def __init__(self):
        self.calls, self.actors, self.frame, self.weather = [], [], 0, []
        self.settings = types.SimpleNamespace(synchronous_mode=False, fixed_delta_seconds=None)
        self.navigation_seed = None
        self.script = {}  # what happens to our car, by ticks since it appeared

    def get_map(self):
        return Map()

    def get_settings(self):
        return types.SimpleNamespace(**vars(self.settings))

    def apply_settings(self, settings):
        self.settings = settings

    def set_pedestrians_seed(self, seed):
        self.navigation_seed = seed

    def get_blueprint_library(self):
        return Library()

    def get_random_location_from_navigation(self):
        return Location(50.0, 20.0, 0.0)

    def set_weather(self, weather):
        self.weather.append(weather.values)

    def try_spawn_actor(self, blueprint, transform, parent=None):
        cars = [actor for actor in self.actors if actor.id.startswith("vehicle.")]
        near = [a for a in cars if abs(a.transform.location.x - transform.location.x) < 5]
        same = [a for a in near if abs(a.transform.location.y - transform.location.y) < 2]
        if blueprint.id.startswith("vehicle.") and same:
            return None
        self.actors.append(Actor(self, blueprint, transform, parent))
        return self.actors[-1]

    def tick(self, seconds):
        assert self.settings.synchronous_mode
        self.frame += 1
        ours = next(actor for actor in self.actors if actor.id == "vehicle.tesla.model3")
        ours.ticks = getattr(ours, "ticks", -1) + 1
        ours.move(self.settings.fixed_delta_seconds)
        self.script.get(ours.ticks, lambda world, car: None)(self, ours)
        for actor in self.actors:
            if actor.id == "sensor.camera.rgb" and actor.callback:
                side = int(actor.attributes["image_size_x"])
                shade = round(actor.transform.rotation.yaw + 120)
                raw = bytes([10, 20, shade, 255]) * side * side
                actor.callback(types.SimpleNamespace(frame=self.frame, raw_data=raw))
        return self.frame

    def collide(self, impulse):
        sensor = next(actor for actor in self.actors if actor.id == "sensor.other.collision")
        sensor.callback(types.SimpleNamespace(normal_impulse=Location(impulse, 0.0, 0.0)))


class TrafficManager:
    def __init__(self, port):
        self.port, self.said = port, {}

    def get_port(self):
        return self.port

    def __getattr__(self, name):
        return lambda value: self.said.__setitem__(name, value)


def module(answers=True, version="0.9.16"):
    """Return a stand-in for the package, and the world of its server."""
    world, traffic = World(), TrafficManager(8000)

    class Client:
        def __init__(self, host, port):
            world.calls.append(("client", host, port))

        def set_timeout(self, seconds):
            self.seconds = seconds

        def get_server_version(self):
            if not answers:
                raise RuntimeError(f"time-out of {1000 * self.seconds:g}ms while waiting for the simulator")
            return version

        def get_client_version(self):
            return "0.9.16"

        def get_world(self):
            return world

        def get_trafficmanager(self, port):
            assert port == traffic.port
            return traffic

    names = {c.__name__: c for c in (Location, Rotation, Transform, VehicleControl, WeatherParameters, Client)}
    world.traffic = traffic
    return types.SimpleNamespace(**names), world
