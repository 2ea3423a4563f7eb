"""The stand-in as an array task: actions of several frames, images, and what an oracle and chance earn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bisimgym.envs.array_task import ArrayTask, put, select
from bisimgym.envs.highway_driving import pictures
from bisimgym.envs.highway_driving.driver import drive
from bisimgym.envs.highway_driving.endings import REASONS, ending, terminates
from bisimgym.envs.highway_driving.rewards import REWARDS
from bisimgym.envs.highway_driving.settings import Settings
from bisimgym.envs.highway_driving.traffic import World, advance, place
from bisimgym.envs.highway_driving.views import draw
from bisimgym.envs.highway_driving.weather import drawn_presets
from bisimgym.envs.seeds import uniforms

#: Episodes of random actions per start that ``random_return`` is the mean of.
_RANDOM_EPISODES = 4
#: Numbers that make streams of one seed apart: weather, drawn traffic, random actions.
WEATHER_STREAM, _LAYOUT, _CHANCE = (np.uint64(n) for n in (0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3))


@dataclass(frozen=True)
class DrivingState(World):
    """N episodes of the stand-in with what their cameras saw.

    Attributes:
        images: ``uint8[N, S, C, 3 * frame_stack]``, oldest first.
    """

    images: np.ndarray


class DrivingTask(ArrayTask[DrivingState]):
    """The array task behind both environments; settings are those of the environment."""

    render_fps = 10

    def __init__(self, settings: Settings):
        self.settings = settings
        self.observation_space, self.action_space = settings.observation_space, settings.action_space
        self._reward = REWARDS[settings.reward]

    def initial(self, seeds: np.ndarray, options: Mapping[str, Any]) -> DrivingState:
        no_options(options)
        world = self._placed(traffic_seeds(seeds, self.settings), seeds ^ WEATHER_STREAM)
        return _seen(world, np.tile(self._draw(world), self.settings.frame_stack))

    def _placed(self, seeds: np.ndarray, weather_seeds: np.ndarray) -> World:
        chosen = self.settings
        return place(seeds, weather_seeds, chosen.vehicles, chosen.walkers, chosen.max_curvature)

    def _draw(self, world: World) -> np.ndarray:
        chosen = self.settings
        assert chosen.weather_presets is not None
        return draw(world, chosen.size, chosen.cameras, chosen.weather, chosen.weather_presets)

    def transition(self, state: DrivingState, action: np.ndarray):
        world, reward = self.driven(world_of(state), action)
        images = np.concatenate([state.images[..., 3:], self._draw(world)], axis=-1)
        terminated = terminates(world.ending)
        return _seen(world, images), reward, terminated, (world.ending > 0) & ~terminated

    def driven(self, world: World, action: np.ndarray) -> tuple[World, np.ndarray]:
        """Return the worlds after an action, and its reward, ``float64[N]``. Where an episode ends, time stops.

        Args:
            world: N episodes; those that have ended earn nothing.
            action: ``float[N, 2]``.
        """
        chosen = self.settings
        throttle, steer = (np.ascontiguousarray(action[:, i], dtype=np.float64) for i in (0, 1))
        total, frames = np.zeros(len(world.s)), np.zeros(len(world.s))
        for _ in range(chosen.frames_per_action):
            going = world.ending == 0
            if not going.any():
                break
            after, frame = advance(world, throttle, steer)
            reason = ending(
                after.frame,
                after.speed,
                after.colliding_frames,
                frame.off_road,
                rules=chosen.endings,
                limit=chosen.episode_frames,
            )
            after = dataclasses.replace(after, ending=reason)
            world = after if going.all() else put(world, going, select(after, going))
            total += np.where(going, self._reward.of_frame(frame), 0.0)
            frames += going
        return world, total / np.maximum(frames, 1) if self._reward.mean else total

    def observe(self, state: DrivingState) -> np.ndarray:
        return state.images.copy()

    def reset_info(self, state: DrivingState) -> dict[str, np.ndarray]:
        return {"weather": weather_names(state.weather_seed, self.settings)}

    def final_info(self, state: DrivingState) -> dict[str, np.ndarray]:
        return final_info(state)

    def optimal_action(self, state: World) -> np.ndarray:
        return drive(state)

    def optimal_return(self, state: DrivingState, limit: int | None = None) -> np.ndarray:
        world = self._placed(state.seed, state.weather_seed)
        return self.rolled_out(world, lambda world, step: drive(world), limit)[0]

    def random_return(self, state: DrivingState, limit: int | None = None) -> np.ndarray:
        seeds = np.repeat(state.seed, _RANDOM_EPISODES)
        numbers = np.tile(np.arange(_RANDOM_EPISODES, dtype=np.uint64), len(state.seed))
        streams = seeds ^ (_CHANCE + numbers)
        world = self._placed(seeds, seeds)
        earned, _ = self.rolled_out(world, lambda _, step: 2 * uniforms(streams, 2, 2 * step) - 1, limit)
        return earned.reshape(-1, _RANDOM_EPISODES).mean(axis=1)

    def rolled_out(
        self, world: World, act: Callable[[World, int], np.ndarray], limit: int | None = None
    ) -> tuple[np.ndarray, World]:
        """Return what actions earn until each episode ends, ``float64[N]``, and the worlds then. Nothing is drawn.

        Args:
            world: N episodes.
            act: ``act(world, step)`` returns actions, ``float[N, 2]``.
            limit: time limit, steps.
        """
        total, step = np.zeros(len(world.s)), 0
        while (world.ending == 0).any() and (limit is None or step < limit):
            world, reward = self.driven(world, act(world, step))
            total, step = total + reward, step + 1
        return total, world

    def frame(self, state: DrivingState, index: int) -> np.ndarray:
        return pictures.picture(state, state.images[..., -3:], index)

    def caption(self, state: DrivingState, index: int) -> str:
        return f"Highway: {state.distance[index]:.0f} m, {3.6 * state.speed[index]:.0f} km/h"


def traffic_seeds(seeds: np.ndarray, settings: Settings) -> np.ndarray:
    """Return the seeds of road and traffic of N episodes, ``uint64[N]``.

    Training with ``traffic_seeds`` draws from so many layouts; all else are layouts of the episodes' own, which for the
    test split means that training has not had them.
    """
    if settings.traffic_seeds is None or settings.split == "test":
        return seeds
    layout = (uniforms(seeds ^ _LAYOUT, 1)[:, 0] * settings.traffic_seeds).astype(np.uint64)
    return (layout + np.uint64(1)) * _LAYOUT


def weather_names(weather_seeds: np.ndarray, settings: Settings) -> np.ndarray:
    """Return the name of each episode's preset, or "slow", ``object[N]``."""
    if settings.weather == "slow":
        return np.full(len(weather_seeds), "slow", dtype=object)
    names = np.array(settings.weather_presets, dtype=object)
    return names[drawn_presets(weather_seeds, len(names))]


def no_options(options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for any option of ``reset``."""
    if options:
        raise ValueError(f"unknown reset options {sorted(options)}: this task has none")


def final_info(world: Any) -> dict[str, np.ndarray]:
    """Return the infos at the end of episodes from the sums that both backends keep."""
    frames = np.maximum(world.frame, 1)
    crashed = world.impulse > 0
    return {
        "distance": world.distance,
        "crash": world.impulse,
        "steer": world.steer / frames,
        "brake": world.brake / frames,
        "ending": np.array([REASONS[reason] for reason in world.ending], dtype=object),
        "is_success": (world.ending == REASONS.index("time-limit")) & ~crashed,
    }


def world_of(state: DrivingState) -> World:
    """Return the world of a state, without what was seen of it."""
    return World(**{field.name: getattr(state, field.name) for field in dataclasses.fields(World)})


def _seen(world: World, images: np.ndarray) -> DrivingState:
    return DrivingState(**{f.name: getattr(world, f.name) for f in dataclasses.fields(World)}, images=images)
