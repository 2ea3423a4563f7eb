"""What there is, one line each: environments, suites, methods and metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import gymnasium as gym

from bisimgym.benchmarks.suites import SUITES, load_suite
from bisimgym.envs import IDS

Lines = list[tuple[str, str]]
#: What ids with arguments stand for.
_TASKS = {
    "DistractingBallInCupCatch-v0": "Swing a ball on a string into a cup",
    "DistractingCartpoleSwingup-v0": "Swing up the pole on a cart and keep it there",
    "DistractingCheetahRun-v0": "Run as a planar cheetah",
    "DistractingFingerSpin-v0": "Keep a hinged body spinning with a finger",
    "DistractingReacherEasy-v0": "Reach a large target with an arm of two links",
    "DistractingWalkerWalk-v0": "Walk upright as a planar walker",
    "ManipulationDoor-v0": "Open a door with a robot arm",
    "ManipulationTwoArmPegInHole-v0": "Bring a peg and a hole together with two robot arms",
}


def env_title(env_id: str) -> str:
    """Return what an environment is, in one sentence.

    Raises:
        ImportError: if the environment needs a package that is not installed; the message says which.
    """
    stem = env_id.partition("/")[2]
    if stem in _TASKS:
        how = "in changing colors, lights and views" if stem.startswith("Manipulation") else "with distractions"
        return f"{_TASKS[stem]}, {how}."
    entry_point = gym.spec(env_id).entry_point
    assert isinstance(entry_point, str)
    return inspect.cleandoc(gym.envs.registration.load_env_creator(entry_point).__doc__ or "").split("\n")[0]


def envs() -> Lines:
    """Return the environments; those that miss a package say which."""
    lines = []
    for env_id in IDS:
        try:
            lines.append((env_id, env_title(env_id)))
        except ImportError as error:
            lines.append((env_id, f"({error})"))
    return lines


def suites() -> Lines:
    """Return the suites with their tasks and presets."""
    loaded = [load_suite(name) for name in SUITES]
    return [(s.name, f"{s.description} Tasks: {', '.join(s.tasks)}. Presets: {', '.join(s.presets)}.") for s in loaded]


def methods() -> Lines:
    """Return the methods of every suite."""
    loaded = [load_suite(name) for name in SUITES]
    return [(f"{s.name} {name}", method.description) for s in loaded for name, method in s.methods.items()]


def metrics() -> Lines:
    """Return the exact metrics."""
    from bisimgym.baselines import metrics

    return [(name, getattr(metrics, name).__doc__.splitlines()[0]) for name in metrics.METRICS]


LISTINGS: Mapping[str, Callable[[], Lines]] = {"envs": envs, "suites": suites, "methods": methods, "metrics": metrics}
