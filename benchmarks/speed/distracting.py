"""Speed of distracting control: renderers beside each other, backgrounds, worker processes and noise.

Everything is a ratio within one run. What is compared takes turns, so that other load of the machine meets all alike.
"""

from __future__ import annotations

import copy
import functools
import os
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.distracting_pictures import RENDERERS, TASKS
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.speed.envs import median_seconds, turns
from bisimgym.envs.distractions.noise import ObservationNoise
from bisimgym.envs.distractions.presets import Distraction, distraction
from bisimgym.envs.distractions.scene import DistractedScene, SceneEpisode
from bisimgym.envs.distractions.videos import video_source
from bisimgym.envs.rendering import probe
from bisimgym.envs.rendering.look import Look, Renderer
from bisimgym.wrappers import GaussianNoise, PixelBackground, RandomProjection

PRESETS = ("clean", "dcs-hard-dynamic")
#: Where videos are: on the sky, and pasted over sky and floor.
BACKGROUNDS = ("dcs-hard-dynamic", "video-hard")
_SIZE, _SKY_SIZE = 84, 128
#: States of a task that are drawn in turn, and agent steps that are timed at once.
_STATES = 16
#: Agent steps until an episode starts again: fewer than it has, and a multiple of _STATES.
_EPISODE = 96
#: Workers are timed for so many times longer, until both cores have been free for a while.
_NUM_ENVS, _WORKER_SECONDS = 8, 10
_WORKER_TASK = _SAMPLER_TASK = "walker"
_WORKER_PRESET = "dcs-hard-dynamic"
_OBSERVATIONS = 16


def measure(console: Console, seconds: float = 1.0) -> dict[str, Any]:
    """Measure, print tables and return the figures.

    Args:
        console: where tables go.
        seconds: time for each comparison; five turns at least.
    """
    found = probe.probe()
    renderers = RENDERERS if found.backend else ("raycast",)
    if not found.backend:
        console.print(f"[yellow]OpenGL is left out: {found.explain()}[/yellow]", highlight=False, soft_wrap=True)
    figures: dict[str, Any] = {
        "machine": {"processor": machine.processor(), "cores": machine.cores(), "opengl": found.renderer},
        "versions": machine.versions() | {name: version(name) for name in ("mujoco", "dm_control")},
        "command": shlex.join(["bisimgym", *sys.argv[1:]]),
        "load_before": os.getloadavg()[0],
    }
    parts = {
        "workers": lambda: _workers(seconds),
        "frames": lambda: [_frames(task, p, renderers, seconds) for task in TASKS for p in PRESETS],
        "backgrounds": lambda: [_background(task, preset, seconds) for task in TASKS for preset in BACKGROUNDS],
        "noise": lambda: list(_noise(seconds)),
        "samplers": lambda: list(_samplers(seconds)),
    }
    with console.status("") as status:
        for name, part in parts.items():
            status.update(f"measuring: {name}")
            figures[name] = part()
    figures["load_after"] = os.getloadavg()[0]
    for table in _tables(figures):
        console.print(table.terminal())
    console.print(
        f"Load of the machine, mean of a minute: {figures['load_before']:.2f} before, {figures['load_after']:.2f} after"
    )
    return figures


@dataclass(frozen=True)
class _Clip:
    """States of one task on the way of random actions, and what is needed to draw them."""

    scene: DistractedScene
    action_repeat: int
    states: Sequence[Any]  # mujoco.MjData

    @property
    def model(self) -> Any:
        return self.scene.model

    def episode(self) -> SceneEpisode:
        return SceneEpisode(self.scene, self.states[0], np.random.SeedSequence(0), 0)

    def looks(self) -> list[Look]:
        """Return how the states look in one episode, one agent step apart."""
        episode, looks = self.episode(), []
        for state in self.states:
            looks.append(episode.look(state))
            episode.advance(self.action_repeat)
        return looks

    def renderer(self, name: str) -> Renderer:
        if name == "raycast":
            from bisimgym.envs.rendering.raycast import RaycastRenderer

            return RaycastRenderer(self.model, _SIZE, _SIZE)
        from bisimgym.envs.rendering.opengl import OpenGLRenderer

        return OpenGLRenderer(self.model, _SIZE, _SIZE, quality="fast" if name == "opengl-fast" else "standard")


def _clip(task: str, settings: Distraction) -> _Clip:
    env = gym.make(TASKS[task], observation="state").unwrapped
    env.reset(seed=0)
    env.action_space.seed(0)
    physics = env.environment.physics
    states = []
    for _ in range(_STATES):
        states.append(copy.copy(physics.data.ptr))
        env.step(env.action_space.sample())
    videos = None
    if settings.background > 0:
        size = _SKY_SIZE if settings.compositing == "texture" else _SIZE
        videos = video_source(size=(size, size), grayscale=settings.grayscale, count=settings.num_videos)
    domain = gym.spec(TASKS[task]).kwargs["domain"]
    return _Clip(DistractedScene(physics.model.ptr, settings, domain, 0, videos), env.action_repeat, states)


def _frames(task: str, preset: str, renderers: Sequence[str], seconds: float) -> dict[str, Any]:
    """Measure one picture of a moving state, and one step of an agent, by each renderer."""
    clip = _clip(task, distraction(preset))
    looks = clip.looks()
    drawers = [clip.renderer(name) for name in renderers]
    envs = [gym.make(TASKS[task], preset=preset, renderer=name) for name in renderers]

    def draw(renderer: Renderer) -> None:
        for state, look in zip(clip.states, looks, strict=True):
            renderer.render(state, look)

    frame = median_seconds([functools.partial(draw, renderer) for renderer in drawers], seconds)
    step = median_seconds([_agent_steps(env) for env in envs], seconds)
    for opened in (*drawers, *envs):
        opened.close()
    row: dict[str, Any] = {"task": task, "preset": preset}
    for kind, times in (("frame", frame), ("step", step)):
        row[f"{kind}_ms"] = {name: 1e3 * t / _STATES for name, t in zip(renderers, times, strict=True)}
    if "opengl" in row["frame_ms"]:
        standard = row["frame_ms"]["opengl"]
        row["standard_over_raycast"] = standard / row["frame_ms"]["raycast"]
        row["standard_over_fast"] = standard / row["frame_ms"]["opengl-fast"]
    return row


def _agent_steps(env: gym.Env | gym.vector.VectorEnv) -> Callable[[], None]:
    """Return a function that takes some steps. Episodes start again, alike, before their end."""
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(_STATES)]
    taken = _EPISODE

    def steps() -> None:
        nonlocal taken
        if taken >= _EPISODE:
            env.reset(seed=0)
            taken = 0
        for action in actions:
            env.step(action)
        taken += len(actions)

    return steps


def _background(task: str, preset: str, seconds: float) -> dict[str, Any]:
    """Measure pictures by raycast with and without a video, from the same poses and in the same colours."""
    settings = distraction(preset)
    domain = gym.spec(TASKS[task]).kwargs["domain"]
    settings = replace(settings, floor_alpha=settings.floor_alpha_in(domain))
    clips = [_clip(task, settings), _clip(task, replace(settings, background=0.0))]

    def frames(clip: _Clip, renderer: Renderer, episode: SceneEpisode) -> None:
        for state in clip.states:
            episode.advance(clip.action_repeat)
            renderer.render(state, episode.look(state))

    with_video, without = turns(
        [functools.partial(frames, clip, clip.renderer("raycast"), clip.episode()) for clip in clips], seconds
    )
    # Turns next to each other met the same load.
    cost = statistics.median(w - o for w, o in zip(with_video, without, strict=True))
    whole = statistics.median(with_video)
    return {
        "task": task,
        "preset": preset,
        "frame_ms": 1e3 * whole / _STATES,
        "background_ms": 1e3 * cost / _STATES,
        "share": cost / whole,
    }


def _workers(seconds: float) -> dict[str, Any]:
    """Measure steps per second of the same sub-environments in one process and in two.

    Both cores have to be free for two workers to show what they can do, so the fastest turn counts; medians beside it.
    """
    env_id, preset = TASKS[_WORKER_TASK], _WORKER_PRESET
    with (
        closing(gym.make_vec(env_id, num_envs=_NUM_ENVS, num_workers=1, preset=preset)) as one,
        closing(gym.make_vec(env_id, num_envs=_NUM_ENVS, num_workers=2, preset=preset)) as two,
    ):
        times = turns([_agent_steps(one), _agent_steps(two)], _WORKER_SECONDS * seconds)
    steps = _STATES * _NUM_ENVS
    fastest, median = ([steps / of(row) for row in times] for of in (min, statistics.median))
    return {
        "task": _WORKER_TASK,
        "preset": preset,
        "num_envs": _NUM_ENVS,
        "turns": len(times[0]),
        "steps_per_second": {"1": fastest[0], "2": fastest[1]},
        "median_steps_per_second": {"1": median[0], "2": median[1]},
        "ratio": fastest[1] / fastest[0],
        "median_ratio": median[1] / median[0],
    }


class _StillPicture(gym.Env):
    """One grey picture for ever: what is left of a step is the wrapper's."""

    observation_space = gym.spaces.Box(0, 255, (_SIZE, _SIZE, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full((_SIZE, _SIZE, 3), 128, np.uint8), {}

    def step(self, action):
        return np.full((_SIZE, _SIZE, 3), 128, np.uint8), 0.0, False, False, {}


def _noise(seconds: float) -> Iterator[dict[str, Any]]:
    """Measure what wrappers add to a step."""
    state, picture = functools.partial(gym.make, "Pendulum-v1", disable_env_checker=True), _StillPicture
    for what, bare, wrap in (
        ("GaussianNoise, 32 dimensions beside 3", state, GaussianNoise),
        ("RandomProjection, 35 x 35", state, RandomProjection),
        ("PixelBackground, 84 x 84, by colour", picture, functools.partial(PixelBackground, mask=(128, 128, 128))),
    ):
        without, wrapped = median_seconds([_agent_steps(bare()), _agent_steps(wrap(bare()))], seconds)
        yield {"what": what, "added_us": 1e6 * (wrapped - without) / _STATES, "step_us": 1e6 * without / _STATES}
    law, clean, rng = ObservationNoise(32), np.zeros((4096, 5)), np.random.default_rng(0)
    (many,) = median_seconds([lambda: law.apply(clean, rng)], seconds)
    yield {"what": "32 dimensions, batches of 4096", "added_us": 1e6 * many / len(clean), "step_us": 0.0}


def _samplers(seconds: float) -> Iterator[dict[str, Any]]:
    """Measure new observations of one clean state."""
    for what, arguments in (
        ("pixels, dcs-hard-dynamic, stack of 3", {"preset": "dcs-hard-dynamic"}),
        ("states, 32 noise dimensions", {"observation": "state", "noise_dimensions": 32}),
    ):
        env = gym.make(TASKS[_SAMPLER_TASK], **arguments).unwrapped
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(3):
            env.step(env.action_space.sample())
        state = env.clean_state()
        # The same draws each time, so that videos are drawn by formula in the first turn only.
        (took,) = median_seconds(
            [lambda e=env, s=state: e.redistract(s, _OBSERVATIONS, np.random.default_rng(0))], seconds
        )
        yield {"task": _SAMPLER_TASK, "what": what, "count": _OBSERVATIONS, "ms": 1e3 * took}


def _tables(figures: dict[str, Any]) -> Iterator[FigureTable]:
    names = list(figures["frames"][0]["frame_ms"])
    ratios = {"standard / raycast": "standard_over_raycast", "standard / fast": "standard_over_fast"}
    ratios = ratios if "opengl" in names else {}
    for kind, title in (("frame", "Milliseconds per frame, 84 x 84"), ("step", "Milliseconds per agent step")):
        shown = ratios if kind == "frame" else {}
        rows = [
            [row["task"], row["preset"], *(f"{row[f'{kind}_ms'][n]:.2f}" for n in names)]
            + [f"{row[key]:.1f}" for key in shown.values()]
            for row in figures["frames"]
        ]
        yield FigureTable(title, ["task", "preset", *names, *shown], rows, texts=2)
    yield FigureTable(
        "A video in the picture, raycast",
        ["task", "preset", "ms per frame", "of it the video", "share"],
        [
            [
                r["task"],
                r["preset"],
                f"{r['frame_ms']:.2f}",
                f"{r['background_ms']:.3f}",
                f"{round(100 * r['share'])} %",
            ]
            for r in figures["backgrounds"]
        ],
        texts=2,
    )
    workers = figures["workers"]
    yield FigureTable(
        f"Worker processes, {workers['num_envs']} environments, {workers['task']}, {workers['preset']}: the fastest of "
        f"{workers['turns']} turns",
        ["workers", "steps/s", "ratio", "median steps/s", "median ratio"],
        [
            [
                count,
                f"{workers['steps_per_second'][count]:,.0f}",
                f"{workers['ratio'] if count == '2' else 1:.2f}",
                f"{workers['median_steps_per_second'][count]:,.0f}",
                f"{workers['median_ratio'] if count == '2' else 1:.2f}",
            ]
            for count in ("1", "2")
        ],
        texts=0,
    )
    yield FigureTable(
        "Noise, microseconds per step",
        ["what", "added", "the step without"],
        [[r["what"], f"{r['added_us']:.2g}", f"{r['step_us']:.0f}" if r["step_us"] else ""] for r in figures["noise"]],
    )
    yield FigureTable(
        f"New observations of one clean state, {figures['samplers'][0]['task']}",
        ["what", "observations", "ms"],
        [[r["what"], str(r["count"]), f"{r['ms']:.3g}"] for r in figures["samplers"]],
    )


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures of :func:`measure` as Markdown tables."""
    return "\n".join(table.markdown() for table in _tables(figures))
