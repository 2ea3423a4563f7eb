"""Speed of distracting control: renderers beside each other, backgrounds and noise.

Steps of an agent are counted over whole episodes, resets included.
"""

from __future__ import annotations

import copy
import functools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.speed.harness import Figures, Part, Rollout, medians, rates, table, turns
from bisimgym.envs.distractions.noise import ObservationNoise
from bisimgym.envs.distractions.presets import Distraction, distraction
from bisimgym.envs.distractions.scene import DistractedScene, SceneEpisode
from bisimgym.envs.distractions.videos import video_source
from bisimgym.envs.rendering import probe
from bisimgym.envs.rendering.look import Look, Renderer
from bisimgym.wrappers import GaussianNoise, PixelBackground, RandomProjection

#: The six tasks of the Distracting Control Suite: what rows are called, and ids.
TASKS = {
    "ball in cup": "bisimgym/DistractingBallInCupCatch-v0",
    "cartpole": "bisimgym/DistractingCartpoleSwingup-v0",
    "cheetah": "bisimgym/DistractingCheetahRun-v0",
    "finger": "bisimgym/DistractingFingerSpin-v0",
    "reacher": "bisimgym/DistractingReacherEasy-v0",
    "walker": "bisimgym/DistractingWalkerWalk-v0",
}
RENDERERS = ("raycast", "opengl", "opengl-fast")
PRESETS = ("clean", "dcs-hard-dynamic")
#: Where videos are: on the sky, and pasted over sky and floor.
BACKGROUNDS = ("dcs-hard-dynamic", "video-hard")
_SIZE, _SKY_SIZE = 84, 128
#: States of a task that are drawn in turn.
_STATES = 16
#: Steps of an agent that are counted at least.
_LEAST_STEPS = 64
#: New observations of one clean state.
_OBSERVATIONS = 16


def parts(
    seconds: float,
    tasks: Sequence[str] = tuple(TASKS),
    presets: Sequence[str] = PRESETS,
    backgrounds: Sequence[str] = BACKGROUNDS,
    sampler_task: str = "walker",
    episode_steps: int | None = None,
    states: int = _STATES,
    observations: int = _OBSERVATIONS,
    found: probe.OpenGL | None = None,
) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``, and for as long as an episode of each renderer takes.

    OpenGL is left out where it is not to be had. Fewer tasks, states and new observations that are drawn and shorter
    episodes are for trying out; ``found`` is what the machine has of OpenGL (None: asked).
    """
    found = probe.probe() if found is None else found
    renderers = RENDERERS if found.backend else ("raycast",)
    yield Part("opengl", opengl, (found,))
    for task in tasks:
        for preset in presets:
            yield Part("frames", frames, (task, preset, renderers, seconds, episode_steps, states))
    for task in tasks:
        for preset in backgrounds:
            yield Part("backgrounds", videos, (task, preset, seconds, states))
    yield Part("noise", noise, (seconds,))
    yield Part("samplers", samplers, (seconds, sampler_task, observations))


def opengl(found: probe.OpenGL) -> Iterator[Figures]:
    """Say which OpenGL draws, or why none does."""
    yield {"renderer": found.renderer, "left_out": "" if found.backend else found.explain()}


@dataclass(frozen=True)
class _Clip:
    """States of one task on the way of random actions, and what is needed to draw them."""

    scene: DistractedScene
    action_repeat: int
    states: Sequence[Any]  # mujoco.MjData

    def episode(self) -> SceneEpisode:
        return SceneEpisode(self.scene, self.states[0], np.random.SeedSequence(0), 0)

    def looks(self) -> list[Look]:
        """Return how the states look in one episode, one agent step apart."""
        episode = self.episode()
        looks: list[Look] = []
        for state in self.states:
            looks.append(episode.look(state))
            episode.advance(self.action_repeat)
        return looks

    def renderer(self, name: str) -> Renderer:
        if name == "raycast":
            from bisimgym.envs.rendering.raycast import RaycastRenderer

            return RaycastRenderer(self.scene.model, _SIZE, _SIZE)
        from bisimgym.envs.rendering.opengl import OpenGLRenderer

        return OpenGLRenderer(self.scene.model, _SIZE, _SIZE, quality="fast" if name == "opengl-fast" else "standard")


def _clip(task: str, settings: Distraction, count: int) -> _Clip:
    env: Any = gym.make(TASKS[task], observation="state").unwrapped
    env.reset(seed=0)
    env.action_space.seed(0)
    physics = env.environment.physics
    states = []
    for _ in range(count):
        states.append(copy.copy(physics.data.ptr))
        env.step(env.action_space.sample())
    videos = None
    if settings.background > 0:
        size = _SKY_SIZE if settings.compositing == "texture" else _SIZE
        videos = video_source(size=(size, size), grayscale=settings.grayscale, count=settings.video_count("train"))
    domain = gym.spec(TASKS[task]).kwargs["domain"]
    return _Clip(DistractedScene(physics.model.ptr, settings, domain, 0, videos), env.action_repeat, states)


def frames(
    task: str, preset: str, renderers: Sequence[str], seconds: float, episode_steps: int | None, states: int
) -> Iterator[Figures]:
    """Measure one frame of a moving state, and one step of an agent, by each renderer."""
    clip = _clip(task, distraction(preset), states)
    looks = clip.looks()
    drawers = {name: clip.renderer(name) for name in renderers}
    envs = {
        name: gym.make(TASKS[task], preset=preset, renderer=name, max_episode_steps=episode_steps) for name in renderers
    }

    def draw(renderer: Renderer) -> None:
        for state, look in zip(clip.states, looks, strict=True):
            renderer.render(state, look)

    drawing = {name: functools.partial(draw, renderer) for name, renderer in drawers.items()}
    frame = medians(drawing, seconds, work=len(clip.states) / 1000)
    least = _LEAST_STEPS if episode_steps is None else episode_steps
    steps = rates({name: Rollout(env, least) for name, env in envs.items()}, seconds)
    for drawer in drawers.values():
        drawer.close()
    for env in envs.values():
        env.close()
    row: Figures = {
        "task": task,
        "preset": preset,
        "frame_ms": frame,
        "step_ms": {name: 1e3 / rate for name, rate in steps.items()},
    }
    if "opengl" in frame:
        row["standard_over_raycast"] = frame["opengl"] / frame["raycast"]
        row["standard_over_fast"] = frame["opengl"] / frame["opengl-fast"]
    yield row


def videos(task: str, preset: str, seconds: float, states: int) -> Iterator[Figures]:
    """Measure frames by raycast with and without a video, from the same poses and in the same colors."""
    settings = distraction(preset)
    domain = gym.spec(TASKS[task]).kwargs["domain"]
    settings = replace(settings, floor_alpha=settings.floor_alpha_in(domain))
    clips = [_clip(task, shown, states) for shown in (settings, replace(settings, background=0.0))]

    def draw(clip: _Clip, renderer: Renderer, episode: SceneEpisode) -> None:
        for state in clip.states:
            episode.advance(clip.action_repeat)
            renderer.render(state, episode.look(state))

    with_video, without = turns(
        [functools.partial(draw, clip, clip.renderer("raycast"), clip.episode()) for clip in clips], seconds
    )
    # Turns next to each other met the same load.
    cost = statistics.median(w - o for w, o in zip(with_video, without, strict=True))
    whole = statistics.median(with_video)
    yield {
        "task": task,
        "preset": preset,
        "frame_ms": 1e3 * whole / states,
        "background_ms": 1e3 * cost / states,
        "share": cost / whole,
    }


class _StillImage(gym.Env):
    """One gray image, for a hundred steps: what is left of a step is the wrapper's."""

    observation_space = gym.spaces.Box(0, 255, (_SIZE, _SIZE, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.full((_SIZE, _SIZE, 3), 128, np.uint8), {}

    def step(self, action):
        self.steps += 1
        return np.full((_SIZE, _SIZE, 3), 128, np.uint8), 0.0, False, self.steps == 100, {}


def noise(seconds: float) -> Iterator[Figures]:
    """Measure what wrappers add to a step."""
    state: Any = functools.partial(gym.make, "Pendulum-v1", disable_env_checker=True)
    # One video, which the first reset makes: drawing videos is no part of a step.
    gray = functools.partial(PixelBackground, mask=(128, 128, 128), count=1)
    for what, bare, wrap in (
        ("GaussianNoise, 32 dimensions beside 3", state, GaussianNoise),
        ("RandomProjection, 35 x 35", state, RandomProjection),
        ("PixelBackground, 84 x 84, by color", _StillImage, gray),
    ):
        rate = rates({"without": Rollout(bare()), "wrapped": Rollout(wrap(bare()))}, seconds)
        yield {
            "what": what,
            "added_us": 1e6 / rate["wrapped"] - 1e6 / rate["without"],
            "step_us": 1e6 / rate["without"],
        }
    law, clean, rng = ObservationNoise(32), np.zeros((4096, 5)), np.random.default_rng(0)
    many = medians({"many": lambda: law.apply(clean, rng)}, seconds, work=len(clean) / 1e6)["many"]
    yield {"what": "32 dimensions, batches of 4096", "added_us": many, "step_us": 0.0}


def samplers(seconds: float, task: str, count: int) -> Iterator[Figures]:
    """Measure new observations of one clean state."""
    settings: dict[str, dict[str, Any]] = {
        "pixels, dcs-hard-dynamic, stack of 3": {"preset": "dcs-hard-dynamic"},
        "states, 32 noise dimensions": {"observation": "state", "noise_dimensions": 32},
    }
    for what, arguments in settings.items():
        env: Any = gym.make(TASKS[task], **arguments).unwrapped
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(3):
            env.step(env.action_space.sample())
        state = env.clean_state()
        # The same draws each time, so that videos are drawn by formula in the first turn only.
        ms = medians({"ms": functools.partial(_redistract, env, state, count)}, seconds, work=1e-3)
        yield {"task": task, "what": what, "count": count, **ms}


def _redistract(env: Any, state: Any, count: int) -> None:
    env.redistract(state, count, np.random.default_rng(0))


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the tables of the figures."""
    show = functools.partial(table, marker="distracting speed")
    frames, noises, observations = figures["frames"], figures["noise"], figures["samplers"]
    names = list(frames[0]["frame_ms"])
    heads = f"task | preset | {' | '.join(names)}"
    line = "{task} | {preset} | " + " | ".join(f"{{KIND_ms[{name}]:.2f}}" for name in names)
    ratios = ("standard / raycast | standard / fast", "{standard_over_raycast:.1f} | {standard_over_fast:.1f}")
    yield show(
        "Milliseconds per frame, 84 x 84",
        f"{heads} | {ratios[0]}" if "opengl" in names else heads,
        (f"{line} | {ratios[1]}" if "opengl" in names else line).replace("KIND", "frame"),
        frames,
        texts=2,
    )
    yield show("Milliseconds per agent step", heads, line.replace("KIND", "step"), frames, texts=2)
    yield show(
        "A video in the image, raycast",
        "task | preset | ms per frame | of it the video | share",
        "{task} | {preset} | {frame_ms:.2f} | {background_ms:.3f} | {share:.0%}",
        figures["backgrounds"],
        texts=2,
    )
    yield show(
        "Noise, microseconds per step",
        "what | added | the step without",
        "{what} | {added_us:.2g} | {step_us:.0f}",
        [{**row, "step_us": row["step_us"] or None} for row in noises],
    )
    yield show(
        f"New observations of one clean state, {observations[0]['task']}",
        "what | observations | ms",
        "{what} | {count} | {ms:.3g}",
        observations,
    )
    yield table("OpenGL", "renderer | left out", "{renderer} | {left_out}", figures.get("opengl", ()), texts=2)
