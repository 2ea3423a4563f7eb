"""Driving on a highway as environments: see :class:`HighwayDrivingEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from bisimgym.envs.array_task import ArrayTask, BatchedEnv
from bisimgym.envs.batched_vector import TaskVectorEnv
from bisimgym.envs.checks import choice
from bisimgym.envs.highway_driving.endings import DEFAULT_RULES
from bisimgym.envs.highway_driving.settings import Settings
from bisimgym.envs.highway_driving.task import DrivingTask


@runtime_checkable
class Closing(Protocol):
    """A task that has something to give back."""

    def close(self) -> None: ...


BACKENDS = ("standin", "carla")


class HighwayDrivingEnv(BatchedEnv):
    """Drive far on a highway without collisions, from the images of five cameras, in any weather.

    ## Description
    A car on a road of four lanes with other cars and walkers, seen by five cameras of 60 degrees on its roof, whose
    images are stitched to one. Weather changes every pixel and nothing else: with one seed and the same actions,
    rewards and ends are the same in all weathers, so that two observations that differ in weather alone show states
    that behave alike.

    ``backend="standin"`` is a simulator of this package that needs nothing else: a road along an arc, a kinematic
    bicycle, followers by the intelligent driver model, and images by ray casting. ``backend="carla"`` drives in CARLA,
    whose server has to run already (see the page of driving). Spaces, rewards, endings, weather schedules and infos are
    the same, results are not: never compare the two.

    ## Action space
    ``Box(-1, 1, (2,), float32)``: throttle (positive) or brake (negative), and steering, positive to the right. An
    action lasts ``frames_per_action`` frames of 0.05 s.

    ## Observation space
    ``Box(0, 255, (84, 420, 3), uint8)``: what the cameras see, from behind on the left to behind on the right, top row
    first. With ``frame_stack`` k, the last k images along the channels, oldest first.

    ## Reward
    Per frame, with v the velocity along the lane's direction (m/s) and the impulse of collisions in N s:

    | ``reward`` | of a frame | of an action |
    | --- | --- | --- |
    | "secant" (default) | 0.05 v - 0.0001 impulse - abs(steer) | sum |
    | "dbc-0.9.6" | the same | mean |
    | "dbc-0.9.8" | 0.05 v / (1 + m from the lane's center) - 1[collision] - 0.1 brake - 0.1 abs(steer) | mean |

    ## Start and end
    ``reset`` gives the weather's preset as ``info["weather"]``, or "slow". The stand-in draws lane, curve and traffic,
    and starts at 15 m/s. An episode is truncated after ``episode_frames``
    frames (and in CARLA by a glitch, a car thrown into the air in the first frames), and terminates by the rules in
    ``endings``: "off-road", the car's center on no lane; "road-end" (CARLA alone), a lane that does not go on;
    "collision", any; "crashing", 20 colliding frames in a row; "stuck", slower than 0.02 m/s at every hundredth frame.
    At the end ``info`` has "distance" (m along the road), "crash" (N s in all), "steer" and "brake" (means of the
    frames), "ending", the reason as above, "time-limit" or "glitch", and "is_success", the time limit without a
    collision.

    The oracle of the stand-in is a good driver who keeps to 30 m/s and passes slower cars; it is no optimum, and
    agents may earn more. ``optimal_return`` is what it earns, ``random_return`` the mean of four episodes of random
    actions from the same start. CARLA has no oracle here.

    ## Arguments
    * ``backend``: "standin" (default) or "carla".
    * ``reward``: see above.
    * ``endings``: rules of the above, by default ["off-road", "road-end", "crashing", "stuck"], those of DBC's release
      for CARLA 0.9.8; that for 0.9.6 lacks "crashing", and SECANT has none.
    * ``weather``: "per-episode" (default; a preset is drawn at the start), "slow" (sun and storm of DBC) or "fixed".
    * ``weather_presets``: some of "ClearNoon", "WetSunset", "WetCloudyNoon", "SoftRainSunset", "MidRainSunset" and
      "HardRainNoon"; by default all of them, and "ClearNoon" for "fixed".
    * ``vehicles``, ``walkers``: how many of each, 0 to 40 (10 and 10, SECANT's). Traffic of the stand-in repeats every
      400 m of road; its walkers stay behind the rails.
    * ``traffic_seeds``: from how many layouts of road and traffic ``split="train"`` draws; ``split="test"`` then draws
      others. None (default): each episode has one of its own.
    * ``max_curvature``: 1/m, 0 (straight) to 0.002 (default).
    * ``episode_frames`` (1000), ``frames_per_action`` (8).
    * ``size``: rows of the image, and columns of each camera (84). ``cameras``: 5 (default), 3 or 1, those ahead.
    * ``frame_stack``: images per observation (1).
    * ``host``, ``port``, ``timeout``: of CARLA's server, and the seconds that it has for an answer ("localhost", 2000,
      10.0).
    * ``render_mode``: "rgb_array" or "human": the observation enlarged, and the road from above.

    Vector environments also take ``num_envs`` and ``autoreset_mode`` ("SameStep", the default, "NextStep" or
    "Disabled"); with CARLA, one server drives one car. There are no reset options.

    ## Source
    CARLA: Dosovitskiy et al. (2017). The task is that of DBC (Zhang et al. 2021) and of SECANT (Fan et al. 2021), whose
    rewards and rules differ, and are all here; their code seeds neither traffic nor weather. The stand-in is not CARLA:
    dynamics, traffic and images are its own.

    ## Version history
    * v0: first version.
    """

    def __init__(
        self,
        backend: str = "standin",
        reward: str = "secant",
        endings: Sequence[str] = DEFAULT_RULES,
        weather: str = "per-episode",
        weather_presets: Sequence[str] | None = None,
        vehicles: int = 10,
        walkers: int = 10,
        traffic_seeds: int | None = None,
        split: str = "train",
        max_curvature: float = 0.002,
        episode_frames: int = 1000,
        frames_per_action: int = 8,
        size: int = 84,
        cameras: int = 5,
        frame_stack: int = 1,
        host: str = "localhost",
        port: int = 2000,
        timeout: float = 10.0,
        render_mode: str | None = None,
    ):
        choice("backend", backend, BACKENDS)
        settings = Settings(
            reward,
            endings,
            weather,
            weather_presets,
            vehicles,
            walkers,
            traffic_seeds,
            split,
            max_curvature,
            episode_frames,
            frames_per_action,
            size,
            cameras,
            frame_stack,
        )
        task: ArrayTask
        if backend == "carla":
            from bisimgym.envs.highway_driving.carla_task import CarlaTask

            task = CarlaTask(settings, host, port, timeout)
        else:
            task = DrivingTask(settings)
        super().__init__(task, render_mode)

    def close(self) -> None:
        super().close()
        if isinstance(self.task, Closing):
            self.task.close()


class HighwayDrivingVectorEnv(TaskVectorEnv, of=HighwayDrivingEnv):
    def __init__(self, *args: Any, **kwargs: Any):
        given = self.__signature__.bind(*args, **kwargs).arguments
        if given.get("backend") == "carla" and given.get("num_envs", 1) != 1:
            raise ValueError(
                f"num_envs must be 1 with backend='carla', got {given['num_envs']}: a server drives one car; start "
                "more servers, and make a SyncVectorEnv of environments with a port each"
            )
        super().__init__(*args, **kwargs)

    def close_extras(self, **kwargs: Any) -> None:
        if isinstance(self.task, Closing):
            self.task.close()
