"""Speed on a device: updates of every learner, steps of array tasks beside the host's, and how long the device idles.

On a GPU this is measured there; without one, on the processor alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from torch.profiler import ProfilerActivity, profile, record_function

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.core.precision import resolve_precision
from bisimgym.baselines.core.settings import declared_defaults
from bisimgym.baselines.learners import DQN_LEARNERS, SAC_LEARNERS
from bisimgym.baselines.pse.imitation import ImitationLearner
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.speed.agents import images, trainable
from bisimgym.benchmarks.speed.harness import Figures, Part, Rollout, medians, now, rates, table
from bisimgym.benchmarks.suites import jumping
from bisimgym.envs.torch_vector import TorchVectorEnv

#: Learners by name and kind of observation: "dqn mico, images".
LEARNERS = tuple(
    f"{parent} {name}, {kind}"
    for kind in ("states", "images")
    for parent, learners in (("sac", SAC_LEARNERS), ("dqn", DQN_LEARNERS))
    for name, learner in learners.items()
    if kind == "images" or "augmentation" not in declared_defaults(learner)  # states are not shifted
)
IMITATION = "imitation randconv-pse, images"
#: Ids and numbers of sub-environments.
TASKS = ("JumpingTask-v0", "Nav2D-v0", "LQRDistractors-v0", "MarkovSignal-v0")
SIZES = (64, 1024, 8192)
#: Updates that are looked at with the profiler.
_PROFILED = 5


def parts(
    seconds: float,
    names: Sequence[str] = (*LEARNERS, IMITATION),
    tasks: Sequence[str] = TASKS,
    sizes: Sequence[int] = SIZES,
    batch_size: int = 128,
    trace: str = "",
) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``.

    Args:
        trace: a file, which gets what PyTorch's profiler recorded of some updates of every learner.
    """
    device = "cuda" if th.cuda.is_available() else "cpu"
    yield Part("learners", learners, (device, names, batch_size, seconds, trace), fresh=True)
    for task in tasks:
        yield Part("tasks", steps, (task, device, sizes, seconds), fresh=True)


def made(name: str, device: str, precision: str) -> Any:
    """Return a learner of :data:`LEARNERS`, or the imitation, that can be trained."""
    if name == IMITATION:
        settings = {**jumping.METHODS["randconv-pse"].settings, "precision": precision, "device": device}
        return ImitationLearner(demonstrations=jumping.demonstrations("wide", 1), seed=0, **settings)
    parent, _, rest = name.partition(" ")
    method, _, kind = rest.partition(", ")
    learner = (SAC_LEARNERS if parent == "sac" else DQN_LEARNERS)[method]
    space = images("nav2d") if kind == "images" else spaces.Box(-np.inf, np.inf, (37,), np.float32)
    policy = "CnnPolicy" if kind == "images" else "MlpPolicy"
    return trainable(learner, policy, space, device=device, precision=precision)


def learners(device: str, names: Sequence[str], batch_size: int, seconds: float, trace: str) -> Iterator[Figures]:
    """Measure an update of each learner on the device, with the precision that "auto" picks, and beside the host's."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    everything = profile(activities=activities) if trace else None
    kept = {}
    for name in names:
        precision = resolve_precision("auto", th.device(device))
        models = {place: made(name, place, precision) for place in dict.fromkeys((device, "cpu"))}
        updates = {place: functools.partial(update, model, batch_size) for place, model in models.items()}
        took = medians(updates, seconds)
        with profile(activities=activities) as seen:
            begin = now()
            for _ in range(_PROFILED):
                update(models[device], batch_size)
            wall = now() - begin
        if trace:
            kept[name] = updates[device]
        yield {
            "learner": name,
            "device": device_name(device),
            "precision": precision,
            "batch_size": batch_size,
            "updates_per_second": 1 / took[device],
            "times_host": took["cpu"] / took[device] if device != "cpu" else None,
            "idle": idle_share(kernels(seen), wall) if device != "cpu" else None,
        }
    if everything is not None:
        with everything:
            for name, one in kept.items():
                with record_function(name):
                    one()
        everything.export_chrome_trace(trace)


def update(model: Any, batch_size: int) -> None:
    """Do one update and wait for the device."""
    if hasattr(model, "demonstrations"):  # imitation
        model.learn(1, reset_num_timesteps=False, log_interval=None)
    else:
        model.train(1, batch_size)
    if model.device.type == "cuda":
        th.cuda.synchronize()


def device_name(device: str) -> str:
    return th.cuda.get_device_name() if device == "cuda" else machine.processor()


def kernels(seen: profile) -> list[tuple[float, float]]:
    """Return when kernels of the device began and ended, in seconds."""
    events = [event for event in seen.events() or [] if event.device_type is not th.autograd.DeviceType.CPU]
    return [(event.time_range.start / 1e6, event.time_range.end / 1e6) for event in events]


def idle_share(intervals: Sequence[tuple[float, float]], wall: float) -> float:
    """Return the share of ``wall`` seconds in which no interval ran; they may overlap."""
    busy, end = 0.0, -np.inf
    for first, last in sorted(intervals):
        busy += max(last - max(first, end), 0.0)
        end = max(end, last)
    return float(1 - min(busy / wall, 1.0))


def steps(task: str, device: str, sizes: Sequence[int], seconds: float) -> Iterator[Figures]:
    """Measure steps per second of whole episodes: numpy, tensors of the host and, if there is one, of the GPU."""
    for num_envs in sizes:
        vectors = {"numpy": gym.make_vec(f"bisimgym/{task}", num_envs=num_envs)}
        for place in dict.fromkeys(("cpu", device)):
            vectors[place] = TorchVectorEnv(gym.make_vec(f"bisimgym/{task}", num_envs=num_envs), place)
        rate = rates({name: Rollout(envs, least=8) for name, envs in vectors.items()}, seconds)
        yield {
            "id": f"bisimgym/{task}",
            "num_envs": num_envs,
            "device": device_name(device),
            "threads": th.get_num_threads(),
            "steps_per_second": rate,
            "times_numpy": {name: value / rate["numpy"] for name, value in rate.items()},
        }


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the tables of the figures."""
    yield table(
        "Updates per second. Idle: the share of the time in which no kernel ran on the GPU",
        "learner | device | precision | batch | updates/s | times the host's | idle",
        "{learner} | {device} | {precision} | {batch_size} | {updates_per_second:~3} | {times_host:.1f} | {idle:.0%}",
        figures["learners"],
        texts=3,
    )
    yield table(
        "Steps per second of whole episodes, resets included: numpy, and tensors where they are",
        "environment | environments | threads | numpy | tensors, host | of numpy | tensors, GPU | of numpy",
        "{id} | {num_envs} | {threads} | {steps_per_second[numpy]:,.0f} | {steps_per_second[cpu]:,.0f} | "
        "{times_numpy[cpu]:.2f} | {steps_per_second[cuda]:,.0f} | {times_numpy[cuda]:.2f}",
        figures["tasks"],
    )
