"""CARLA behind the interface of array tasks: one episode, whose state is the server's and only goes forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bisimgym.envs import drawing
from bisimgym.envs.array_task import ArrayTask
from bisimgym.envs.checks import integer, number
from bisimgym.envs.highway_driving.carla_server import Reading, Server
from bisimgym.envs.highway_driving.endings import ending, is_glitch, terminates
from bisimgym.envs.highway_driving.rewards import FRAME_SECONDS, REWARDS, Frame
from bisimgym.envs.highway_driving.settings import Settings
from bisimgym.envs.highway_driving.task import WEATHER_STREAM, final_info, no_options, traffic_seeds, weather_names
from bisimgym.envs.highway_driving.weather import weather_at

_NO_ORACLE = "backend='carla' has no oracle: optimal and random returns are those of backend='standin' alone"
_WIDTH = 840  # pixels of a picture for people


@dataclass(frozen=True)
class CarlaState:
    """What is known of the one episode of a server, arrays with one row; names are those of the stand-in's world."""

    weather_seed: np.ndarray
    images: np.ndarray
    speed: np.ndarray
    frame: np.ndarray
    colliding_frames: np.ndarray
    ending: np.ndarray
    distance: np.ndarray
    impulse: np.ndarray
    steer: np.ndarray
    brake: np.ndarray


class CarlaTask(ArrayTask[CarlaState]):
    """The array task of ``backend="carla"``. It has a single environment, and no oracle.

    Args:
        settings: of the environment.
        host, port: of the server.
        timeout: seconds that it has for an answer.

    Raises:
        ModuleNotFoundError: without the package ``carla``.
        ConnectionError: if no server answers.
    """

    render_fps = 10

    def __init__(self, settings: Settings, host: str, port: int, timeout: float):
        self.settings = settings
        self.observation_space, self.action_space = settings.observation_space, settings.action_space
        self._reward = REWARDS[settings.reward]
        port, timeout = integer("port", port, 1, 59_000), number("timeout", timeout, 0.1, 3600, " (seconds)")
        self._server = Server(host, port, timeout, settings.size, settings.cameras)
        self._newest: CarlaState | None = None

    def initial(self, seeds: np.ndarray, options: Mapping[str, Any]) -> CarlaState:
        no_options(options)
        weather_seed, chosen = seeds ^ WEATHER_STREAM, self.settings
        start = traffic_seeds(seeds, chosen)[0]
        zero, none = np.zeros(1), np.zeros(1, dtype=np.int64)
        reading = self._server.start(start, chosen.vehicles, chosen.walkers, self._weather(weather_seed, none))
        images = np.tile(self._server.image(), chosen.frame_stack)[None]
        speed = np.array([reading.speed])
        self._newest = CarlaState(weather_seed, images, speed, none, none, none, zero, zero, zero, zero)
        return self._newest

    def _weather(self, weather_seed: np.ndarray, frame: np.ndarray) -> tuple[float, ...]:
        assert self.settings.weather_presets is not None
        now = weather_at(weather_seed, frame, self.settings.weather, self.settings.weather_presets)
        return tuple(float(column[0]) for column in now)

    def transition(self, state: CarlaState, action: np.ndarray):
        if state is not self._newest:
            raise RuntimeError("a server of CARLA only goes forward: the state must be the one returned last")
        throttle, steer = (float(part) for part in action[0])
        total, frames = 0.0, 0
        while frames < self.settings.frames_per_action and not state.ending[0]:
            if self.settings.weather == "slow":
                self._server.set_weather(self._weather(state.weather_seed, state.frame))
            reading = self._server.step(throttle, steer)
            frame = frame_of(reading, throttle, steer)
            state = advanced(state, frame, reading, self.settings)
            total, frames = total + float(self._reward.of_frame(frame)[0]), frames + 1
        images = np.concatenate([state.images[..., 3:], self._server.image()[None]], axis=-1)
        self._newest = replace(state, images=images)
        terminated = terminates(state.ending)
        reward = np.array([total / max(frames, 1) if self._reward.mean else total])
        return self._newest, reward, terminated, (state.ending > 0) & ~terminated

    def observe(self, state: CarlaState) -> np.ndarray:
        return state.images.copy()

    def reset_info(self, state: CarlaState) -> dict[str, np.ndarray]:
        return {"weather": weather_names(state.weather_seed, self.settings)}

    def final_info(self, state: CarlaState) -> dict[str, np.ndarray]:
        return final_info(state)

    def optimal_action(self, state: CarlaState) -> np.ndarray:
        raise NotImplementedError(_NO_ORACLE)

    def optimal_return(self, state: CarlaState, limit: int | None = None) -> np.ndarray:
        raise NotImplementedError(_NO_ORACLE)

    def random_return(self, state: CarlaState, limit: int | None = None) -> np.ndarray:
        raise NotImplementedError(_NO_ORACLE)

    def frame(self, state: CarlaState, index: int) -> np.ndarray:
        image = state.images[index, ..., -3:]
        return drawing.enlarge(image, max(_WIDTH // image.shape[1], 1))

    def caption(self, state: CarlaState, index: int) -> str:
        return f"CARLA: {state.distance[index]:.0f} m, {3.6 * state.speed[index]:.0f} km/h"

    def close(self) -> None:
        """Leave the server as it was found."""
        self._server.close()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("environments with backend='carla' cannot be copied or pickled: their state is the server's")


def frame_of(reading: Reading, throttle: float, steer: float) -> Frame:
    """Return a reading as what rewards are made of."""
    lane = reading.lane
    values = lane.progress, reading.speed, lane.offset, reading.impulse, reading.colliding, lane.off_road
    return Frame(*(np.array([value]) for value in (*values, steer, max(-throttle, 0.0))))


def advanced(state: CarlaState, frame: Frame, reading: Reading, settings: Settings) -> CarlaState:
    """Return the state a frame later; its images stay those of before."""
    number = state.frame + 1
    colliding = np.where(frame.colliding, state.colliding_frames + 1, 0)
    reason = ending(
        number,
        frame.speed,
        colliding,
        frame.off_road,
        rules=settings.endings,
        limit=settings.episode_frames,
        road_end=np.array([reading.lane.road_end]),
        glitch=is_glitch(number, np.array([reading.vertical_speed]), np.array([reading.height])),
    )
    return replace(
        state,
        speed=frame.speed,
        frame=number,
        colliding_frames=colliding,
        ending=reason,
        distance=state.distance + frame.progress * FRAME_SECONDS,
        impulse=state.impulse + frame.impulse,
        steer=state.steer + np.abs(frame.steer),
        brake=state.brake + frame.brake,
    )
