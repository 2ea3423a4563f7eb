"""Speed of environments: steps per second of whole rollouts, single and vector, beside what must be computed.

A speed is all steps of a rollout with random actions over its whole wall time. A rollout is made of whole episodes, so
that ends of episodes and resets count at the rate at which they happen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.errors import unknown
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.speed.harness import Figures, Part, Rollout, medians, now, rates, table
from bisimgym.envs import IDS

VECTOR_SIZES = (64, 256, 1024, 4096)
#: Of tasks of MuJoCo, whose sub-environments are simulated one by one, in worker processes, and of driving.
WORKER_VECTOR_SIZES = (2, 8)
_COPY_BYTES = 2**27  # far beyond the caches: this is memory bandwidth


def parts(seconds: float, env_ids: Sequence[str] = (), sizes: Sequence[int] = ()) -> Iterator[Part]:
    """Yield what is measured.

    Args:
        seconds: time for each comparison, and as much more as its last episodes take.
        env_ids: empty means all that are native vectors, and what costs beside their observations. The tasks of MuJoCo
            and driving are measured if named; :mod:`.distracting` and :mod:`.driving` measure what they are made of.
        sizes: numbers of sub-environments; empty means the standard ones of each environment.
    """
    for env_id in env_ids:
        if env_id not in IDS:
            raise unknown("environment", env_id, IDS)
    for env_id in env_ids or [env_id for env_id in IDS if not _is_slow(env_id)]:
        standard = WORKER_VECTOR_SIZES if _is_slow(env_id) else VECTOR_SIZES
        yield Part("environments", environment, (env_id, seconds, sizes or standard))
    if not env_ids:
        yield Part("bounds", signals, (seconds,))
        yield Part("bounds", lqr_steps, (seconds,))
        yield Part("bounds", nav2d_data)


def _is_slow(env_id: str) -> bool:
    """Return whether an environment simulates or draws a world in each step, without loading what it needs."""
    entry_point = str(gym.spec(env_id).vector_entry_point)
    return any(folder in entry_point for folder in (".distracting_control", ".highway_driving", ".manipulation"))


def environment(env_id: str, seconds: float, sizes: Sequence[int]) -> Iterator[Figures]:
    """Measure one environment: single, and vectors of some sizes."""
    env = gym.make(env_id, disable_env_checker=True)
    single = rates({"steps": Rollout(env)}, seconds)["steps"]
    env.close()
    rows = [_vector(env_id, num_envs, seconds) for num_envs in sizes]
    vector = [row | {"times_single": row["steps_per_second"] / single} for row in rows]
    yield {"id": env_id, "single_steps_per_second": single, "vector": vector}


def _vector(env_id: str, num_envs: int, seconds: float) -> Figures:
    envs = gym.make_vec(env_id, num_envs=num_envs)
    observation, _ = envs.reset(seed=0)
    size = sum(part.nbytes for part in (observation.values() if isinstance(observation, dict) else [observation]))
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)

    def copies() -> int:
        for _ in range(64):
            np.copyto(target, source)
        return 64

    rate = rates({"steps": Rollout(envs), "copies": copies}, seconds)
    envs.close()
    # Apart: a copy of this size between steps would throw the environment's tables out of the caches.
    large, large_target = np.ones(_COPY_BYTES, np.uint8), np.ones(_COPY_BYTES, np.uint8)
    per_copy = medians({"copy": lambda: np.copyto(large_target, large)}, seconds / 4)["copy"]
    vector_steps = rate["steps"] / num_envs
    return {
        "num_envs": num_envs,
        "steps_per_second": rate["steps"],
        "observation_bytes": size,
        "copy_gigabytes_per_second": _COPY_BYTES / per_copy / 1e9,
        "of_copy_bound": vector_steps * per_copy * size / _COPY_BYTES,
        "of_cached_copy": vector_steps / rate["copies"],
    }


def _beside(what: str, seconds: float, bound: str, bound_seconds: float) -> Figures:
    return {
        "what": what,
        "seconds": seconds,
        "bound": bound,
        "bound_seconds": bound_seconds,
        "of_bound": bound_seconds / seconds,
    }


def signals(seconds: float) -> Iterator[Figures]:
    """Measure whole data sets of Markov signals, beside the Gaussian numbers in them."""
    from bisimgym.envs.markov_signal import sample_signals, signal_law

    law, rng = signal_law(), np.random.default_rng(0)
    for sequences, length in ((500, 500), (5000, 200)):
        shape = (sequences, length, law.means.shape[1])
        sampling: dict[str, Callable[[], Any]] = {
            "signals": functools.partial(sample_signals, law, sequences, length, seed=0),
            "gaussians": functools.partial(rng.standard_normal, shape, np.float32),
        }
        took = medians(sampling, 2 * seconds)
        yield _beside(f"Markov signals, {shape}", took["signals"], "their Gaussians", took["gaussians"])


def lqr_steps(seconds: float) -> Iterator[Figures]:
    """Measure steps of the largest LQR task, beside the matrix product in them."""
    from bisimgym.envs.lqr import lqr_system

    rng = np.random.default_rng(0)
    weights = lqr_system(10_000).observation_matrix.astype(np.float32)
    for num_envs in (64, 256):
        envs = gym.make_vec("bisimgym/LQRDistractors-v0", num_envs=num_envs, num_distractors=10_000)
        states = rng.standard_normal((num_envs, 20), dtype=np.float32)

        def product(states: np.ndarray = states) -> int:
            _ = states @ weights.T
            return 1

        rate = rates({"steps": Rollout(envs, least=1), "products": product}, 2 * seconds)
        what = f"LQR step, 10,000 distractors, N = {num_envs}"
        yield _beside(what, num_envs / rate["steps"], "its matrix product", 1 / rate["products"])


def nav2d_data() -> Iterator[Figures]:
    """Measure data sets of a million transitions of Nav2D."""
    from bisimgym.wrappers.offline import collect

    for epsilon in (0.0, 0.1, 0.5, 1.0):
        start = now()
        data = collect("bisimgym/Nav2D-v0", "epsilon-greedy", 1_000_000, num_envs=1024, epsilon=epsilon)
        yield {
            "what": f"Nav2D data, epsilon {epsilon:g}",
            "transitions": len(data),
            "seconds": now() - start,
            "megabytes": data.nbytes / 1e6,
        }


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the tables of the figures."""
    rows = []
    for env in figures["environments"]:
        single = {"num_envs": 1, "steps_per_second": env["single_steps_per_second"], "times_single": 1.0}
        rows += [{"id": env["id"], "us": 1e6 / row["steps_per_second"], **row} for row in (single, *env["vector"])]
    yield table(
        "Steps per second of whole episodes, resets included. Copy bound: the share of a step that copying its "
        "observations takes, at the bandwidth of memory; in-cache copy: of one batch onto another",
        "environment | environments | steps/s | us/step | times single | of copy bound | of in-cache copy",
        "{id} | {num_envs} | {steps_per_second:,.0f} | {us:.2f} | {times_single:.1f} | {of_copy_bound:.2f} | "
        "{of_cached_copy:.2f}",
        rows,
    )
    yield table(
        "Beside what must be computed",
        "what | seconds | bound | its seconds | of bound | transitions | MB",
        "{what} | {seconds:.3g} | {bound} | {bound_seconds:.3g} | {of_bound:.2f} | {transitions:,} | {megabytes:.1f}",
        figures.get("bounds", ()),
    )
