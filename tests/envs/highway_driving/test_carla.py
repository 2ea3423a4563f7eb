"""The backend for CARLA: against a record of the client's calls, and with the client's own types where it is installed.

No server runs here. The last test drives on one if it is named: CARLA_HOST=localhost.
"""

import importlib.util
import os
import pickle

import fake_carla
import gymnasium as gym
import numpy as np
import pytest

import bisimgym  # noqa: F401
from bisimgym.envs.highway_driving import carla_server
from bisimgym.envs.highway_driving.carla_server import image_of, lane_reading, server_version

ID = "bisimgym/HighwayDriving-v0"
installed = pytest.mark.skipif(importlib.util.find_spec("carla") is None, reason="needs the extra carla")


@pytest.fixture
def world(monkeypatch):
    module, world = fake_carla.module()
    monkeypatch.setattr(carla_server, "client_module", lambda: module)
    return world


def make(**arguments):
    return gym.make(ID, backend="carla", **{"size": 8, "weather": "fixed", **arguments}).unwrapped


def full_throttle(env, steer=0.0):
    return env.step(np.array([1.0, steer], np.float32))


def test_spaces_images_and_infos_are_those_of_the_stand_in(world):
    chosen = {"size": 8, "weather": "fixed", "frame_stack": 2, "episode_frames": 80}
    env, standin = make(**chosen), gym.make(ID, **chosen)
    assert (env.observation_space, env.action_space) == (standin.observation_space, standin.action_space)
    observation, info = env.reset(seed=0)
    assert info == standin.reset(seed=0)[1] == {"weather": "ClearNoon"}
    assert observation in env.observation_space
    assert observation[0, ::8, 0].tolist() == [0, 60, 120, 180, 240]  # the cameras from left to right, red first
    assert observation[0, 0].tolist() == [0, 20, 10, 0, 20, 10]
    ended = False
    while not ended:
        *_, terminated, truncated, info = full_throttle(env)
        ended = terminated or truncated
    standin.reset(seed=0)
    while not any(standin.step(np.zeros(2, np.float32))[2:4]):
        pass
    assert set(info) == set(standin.unwrapped.task.final_info(standin.unwrapped.state))
    assert info["ending"] == "time-limit"


def test_rewards_by_hand(world):
    env = make(frames_per_action=2, reward="dbc-0.9.6", vehicles=0, walkers=0)
    env.reset(seed=0)
    _, reward, *_ = full_throttle(env)  # 0.2, then 0.4 m/s
    assert reward == pytest.approx((0.2 * 0.05 + 0.4 * 0.05) / 2)
    world.script[3] = lambda world, car: world.collide(2000.0)
    _, reward, *_ = full_throttle(env)  # 0.6 and 0.8 m/s, and 2000 N s
    assert reward == pytest.approx((0.6 * 0.05 + 0.8 * 0.05 - 0.2) / 2)
    _, reward, *_ = env.step(np.array([-1.0, -0.1], np.float32))  # 0.4 and 0 m/s
    assert reward == pytest.approx((0.4 * 0.05 - 0.2) / 2)
    assert env.state.impulse[0] == 2000
    assert env.state.brake[0] == 2
    assert env.state.distance[0] == pytest.approx((0.2 + 0.4 + 0.6 + 0.8 + 0.4) * 0.05)
    env.close()
    of_lane = make(frames_per_action=1, reward="dbc-0.9.8", vehicles=0, walkers=0)
    of_lane.reset(seed=0)
    _, reward, *_ = full_throttle(of_lane, steer=0.4)  # 0.1 m beside the middle after a frame
    assert reward == pytest.approx(0.2 * 0.05 / 1.1 - 0.04)


@pytest.mark.parametrize(
    ("script", "ending", "terminated"),
    [
        ({5: lambda world, car: setattr(car.transform.location, "y", -5.0)}, "off-road", True),
        ({5: lambda world, car: setattr(car.transform.location, "x", 1999.99)}, "road-end", True),
        ({k: lambda world, car: world.collide(1.0) for k in range(3, 40)}, "crashing", True),
        ({5: lambda world, car: setattr(car.velocity, "z", 2.0)}, "glitch", False),
        ({}, "time-limit", False),
    ],
)
def test_endings(world, script, ending, terminated):
    world.script = script
    env = make(episode_frames=60)
    env.reset(seed=0)
    found = (False, False)
    while not any(found):
        *_, terminal, truncated, info = full_throttle(env)
        found = terminal, truncated
    assert (info["ending"], found) == (ending, (terminated, not terminated))
    assert info["is_success"] == (ending == "time-limit")


def test_standing_cars_are_stuck(world):
    env = make()
    env.reset(seed=0)
    steps, ended = 0, False
    while not ended:
        *_, ended, _, info = env.step(np.array([-1.0, 0.0], np.float32))
        steps += 1
    assert (info["ending"], steps) == ("stuck", 13)


def test_traffic_lane_and_weather_follow_from_the_seed(world):
    def start(seed):
        env = make(weather="slow", vehicles=6, walkers=2)
        env.reset(seed=seed)
        places = [(a.id, a.transform.location.x, a.transform.location.y) for a in world.actors if a.parent is None]
        first = world.weather[-1]
        full_throttle(env)
        assert world.weather[-1] != first
        env.close()
        return places, first, world.traffic.said["set_random_device_seed"]

    one, again, other = start(1), start(1), start(2)
    assert one == again
    assert one[0] != other[0]
    assert one[1:] != other[1:]
    ids = [name for name, *_ in one[0]]
    assert sum(name.startswith("vehicle.") for name in ids) == 7
    assert sum(name.startswith("walker.") for name in ids) == 2
    assert ("autopilot", True, 8000) in world.calls
    assert world.traffic.said["global_percentage_speed_difference"] == 30
    env = make(weather_presets=["HardRainNoon"])
    env.reset(seed=0)
    assert world.weather[-1]["precipitation"] == 100
    count = len(world.weather)
    full_throttle(env)
    assert len(world.weather) == count


def test_resets_leave_no_car_behind_and_closing_leaves_the_server_as_it_was(world):
    env = make(vehicles=3, walkers=1)
    for seed in range(3):
        env.reset(seed=seed)
        # Cars, walker and controller, cameras, and the sensor of collisions.
        assert len(world.actors) == 4 + 2 + 5 + 1
    assert world.settings.synchronous_mode
    env.close()
    assert world.actors == []
    assert not world.settings.synchronous_mode
    assert world.traffic.said["set_synchronous_mode"] is False
    env.close()


def test_an_environment_that_is_forgotten_frees_the_server(world):
    env = make()
    env.reset(seed=0)
    env.task._server._leave()  # what the end of the process calls
    assert not world.settings.synchronous_mode


def test_what_a_server_cannot_do(world):
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (8 * 21, 40 * 21, 3)
    with pytest.raises(NotImplementedError, match="backend='carla' has no oracle"):
        env.optimal_return()
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        pickle.dumps(env)
    old = env.state
    full_throttle(env)
    with pytest.raises(RuntimeError, match="only goes forward"):
        env.task.transition(old, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="num_envs must be 1 with backend='carla', got 2"):
        gym.make_vec(ID, num_envs=2, backend="carla")
    env.close()
    envs = gym.make_vec(ID, num_envs=1, backend="carla", size=8)
    assert envs.reset(seed=0)[0].shape == (1, 8, 40, 3)
    envs.close()
    assert not world.settings.synchronous_mode


def test_errors_are_one_line_that_says_what_to_do(monkeypatch):
    module, _ = fake_carla.module(answers=False)
    with monkeypatch.context() as patch:
        patch.setattr(carla_server, "client_module", lambda: module)
        with pytest.raises(ConnectionError, match="no CARLA server answers at localhost:2000 within 3 s: start one"):
            make(timeout=3)
        with pytest.raises(ValueError, match="port must be an integer from 1 to 59000, got 0"):
            make(port=0)
    if importlib.util.find_spec("carla") is None:
        with pytest.raises(ModuleNotFoundError) as found:
            make()
        assert str(found.value) == "Environments with backend='carla' need carla: pip install \"bisimgym[carla]\""


def test_other_versions_are_warned_of(monkeypatch):
    module, _ = fake_carla.module(version="0.9.15")
    monkeypatch.setattr(carla_server, "client_module", lambda: module)
    with pytest.warns(UserWarning, match="server is 0.9.15 and the client 0.9.16"):
        make().close()


def test_images_of_carla_are_bgra():
    raw = bytes([1, 2, 3, 255, 4, 5, 6, 255])
    assert image_of(raw, 1, 2).tolist() == [[[3, 2, 1], [6, 5, 4]]]


#: Four lanes to the right of a line along x, 300 m long.
OPENDRIVE = """<?xml version="1.0"?><OpenDRIVE>
<header revMajor="1" revMinor="4" name="road" version="1" north="0" south="0" east="0" west="0"/>
<road name="highway" length="300" id="45" junction="-1"><link/>
<planView><geometry s="0" x="0" y="0" hdg="0" length="300">{shape}</geometry></planView>
<lanes><laneSection s="0"><center><lane id="0" type="none" level="false"/></center><right>{lanes}</right></laneSection>
</lanes></road></OpenDRIVE>"""
LANE = '<lane id="{}" type="driving" level="false"><width sOffset="0" a="3.5" b="0" c="0" d="0"/></lane>'


def real_map(shape):
    import carla

    lanes = "".join(LANE.format(lane) for lane in (-1, -2, -3, -4))
    return carla, carla.Map("highway", OPENDRIVE.format(shape=shape, lanes=lanes))


@installed
def test_lanes_with_the_clients_own_map():
    carla, road = real_map("<line/>")
    middle = road.get_waypoint_xodr(45, -2, 100.0).transform.location
    assert (middle.x, abs(middle.y)) == (pytest.approx(100), pytest.approx(5.25))
    beside = carla.Location(middle.x, middle.y + np.copysign(1.0, middle.y), 0.0)
    reading = lane_reading(road, beside, carla.Vector3D(20.0, 3.0, 0.0))
    assert reading.progress == pytest.approx(20, rel=1e-3)
    assert reading.offset == pytest.approx(1, abs=0.01)
    assert not reading.off_road
    assert not reading.road_end
    outside = lane_reading(road, carla.Location(middle.x, 10 * middle.y, 0.0), carla.Vector3D(20.0, 0.0, 0.0))
    assert outside.off_road
    last = road.get_waypoint_xodr(45, -2, 299.99).transform.location
    assert lane_reading(road, last, carla.Vector3D(20.0, 0.0, 0.0)).road_end


@installed
def test_progress_along_a_curve_with_the_clients_own_map():
    carla, road = real_map('<arc curvature="0.002"/>')
    transform = road.get_waypoint_xodr(45, -3, 200.0).transform
    ahead = transform.get_forward_vector()
    assert abs(ahead.y) > 0.3  # 0.4 rad
    velocity = carla.Vector3D(20 * ahead.x, 20 * ahead.y, 0.0)
    assert lane_reading(road, transform.location, velocity).progress == pytest.approx(20, rel=2e-3)
    across = carla.Vector3D(-20 * ahead.y, 20 * ahead.x, 0.0)
    assert lane_reading(road, transform.location, across).progress == pytest.approx(0, abs=0.6)


@installed
def test_the_clients_own_types_take_what_is_sent():
    import carla

    from bisimgym.envs.highway_driving.weather import PRESETS

    for name, (azimuth, altitude, clouds, rain, wetness, wind) in PRESETS.items():
        own = getattr(carla.WeatherParameters, name)
        assert (own.sun_azimuth_angle, own.sun_altitude_angle) == (azimuth, altitude)
        assert (own.cloudiness, own.precipitation) == (clouds, rain)
        assert (own.precipitation_deposits, own.wind_intensity) == (wetness, wind)
    control = carla.VehicleControl(throttle=0.5, steer=-1.0, brake=0.0)
    assert control.steer == -1
    at = carla.Transform(carla.Location(z=2.4), carla.Rotation(yaw=-120.0))
    assert at.rotation.yaw == -120
    assert server_version("localhost", 1, 0.2) is None


@pytest.mark.skipif("CARLA_HOST" not in os.environ, reason="needs a running server: CARLA_HOST")
def test_on_a_server():
    env = gym.make(ID, backend="carla", host=os.environ["CARLA_HOST"], episode_frames=40, timeout=60.0)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert len(np.unique(observation)) > 20
    truncated = False
    while not truncated:
        _, _, terminated, truncated, info = env.step(np.array([0.5, 0.0], np.float32))
        assert not terminated
    assert info["distance"] > 0
    env.close()
