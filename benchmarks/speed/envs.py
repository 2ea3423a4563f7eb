"""Speed: environment steps, beside what copying their observations costs, and updates of the learners."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.errors import unknown
from bisimgym.benchmarks.running import machine
from bisimgym.envs import IDS

VECTOR_SIZES = (64, 256, 1024, 4096)
#: Of environments whose sub-environments are simulated one by one, in worker processes.
WORKER_VECTOR_SIZES = (2, 8)
_COPY_BYTES = 2**27  # far beyond the caches: this is memory bandwidth


def measure(env_ids: Sequence[str], seconds: float, learners: bool, console: Console) -> dict[str, Any]:
    """Measure, print tables and return the figures.

    Args:
        env_ids: empty means all that are native vectors; MuJoCo's tasks have :mod:`.distracting_speed`.
        seconds: time for each measurement.
        learners: whether to measure updates per second as well.
        console: where tables go.
    """
    for env_id in env_ids:
        if env_id not in IDS:
            raise unknown("environment", env_id, IDS)
    figures: dict[str, Any] = {"machine": {"processor": machine.processor(), "cores": machine.cores()}}
    figures["versions"] = machine.versions()
    chosen = env_ids or [env_id for env_id in IDS if not _has_workers(env_id)]
    figures["environments"] = [_environment(env_id, seconds, console) for env_id in chosen]
    if not env_ids:
        console.print("Tasks of distracting control: name one, or see `bisimgym throughput --distracting`.")
        figures["bounds"] = bounds(seconds, console)
    if learners:
        figures["learners"] = learner_updates(seconds, console)
    return figures


def _has_workers(env_id: str) -> bool:
    """Return whether vectors of an environment are worker processes, without loading what it needs."""
    return ".distracting_control:" in gym.spec(env_id).vector_entry_point


def _environment(env_id: str, seconds: float, console: Console) -> dict[str, Any]:
    single = _single_steps_per_second(env_id, seconds)
    table = Table(title=env_id, title_justify="left")
    for head in ("environments", "steps/s", "us/step", "times single", "of copy bound", "of in-cache copy"):
        table.add_column(head, justify="right")
    table.add_row("single", f"{single:,.0f}", f"{1e6 / single:.2f}", "1.0", "", "")
    rows = []
    for num_envs in WORKER_VECTOR_SIZES if _has_workers(env_id) else VECTOR_SIZES:
        row = _vector_row(env_id, num_envs, seconds) | {}
        row["times_single"] = row["steps_per_second"] / single
        rows.append(row)
        table.add_row(
            f"vector {num_envs}",
            f"{row['steps_per_second']:,.0f}",
            f"{1e6 / row['steps_per_second']:.2f}",
            f"{row['times_single']:.1f}",
            f"{row['of_copy_bound']:.2f}",
            f"{row['of_cached_copy']:.2f}",
        )
    console.print(table)
    console.print(
        "[dim]Copy bound: the time to copy as many bytes as the observations have, at the bandwidth of a copy far "
        "larger than the caches. In-cache copy: a copy of one batch of observations onto another.[/dim]",
        highlight=False,
    )
    return {"id": env_id, "single_steps_per_second": single, "vector": rows}


def _single_steps_per_second(env_id: str, seconds: float) -> float:
    env = gym.make(env_id, disable_env_checker=True)
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(64)]

    def steps() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return len(actions) / median_seconds([steps], seconds)[0]


def _vector_row(env_id: str, num_envs: int, seconds: float) -> dict[str, Any]:
    envs = gym.make_vec(env_id, num_envs=num_envs)
    observation, _ = envs.reset(seed=0)
    size = sum(part.nbytes for part in (observation.values() if isinstance(observation, dict) else [observation]))
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(64)]
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    large, other = np.ones(_COPY_BYTES, np.uint8), np.ones(_COPY_BYTES, np.uint8)
    held: list[Any] = [None]  # an agent holds an observation while the next one is made

    def steps() -> None:  # so many at a time that ends of episodes count with their share
        for action in actions:
            held[0] = envs.step(action)[0]

    def copies() -> None:
        for _ in actions:
            np.copyto(target, source)

    per_step, cached = (t / len(actions) for t in median_seconds([steps, copies], seconds))
    # Apart: a copy of this size between steps would throw the environment's tables out of the caches.
    (per_copy,) = median_seconds([lambda: np.copyto(other, large)], seconds / 4)
    bound = per_copy * size / _COPY_BYTES
    return {
        "num_envs": num_envs,
        "steps_per_second": num_envs / per_step,
        "observation_bytes": size,
        "copy_gigabytes_per_second": _COPY_BYTES / per_copy / 1e9,
        "of_copy_bound": bound / per_step,
        "of_cached_copy": cached / per_step,
    }


def bounds(seconds: float, console: Console) -> list[dict[str, Any]]:
    """Measure what costs beside observations: random numbers, matrix products, whole data sets."""
    from bisimgym.envs.lqr import lqr_system
    from bisimgym.envs.markov_signal import sample_signals, signal_law
    from bisimgym.envs.nav2d.data import collect_nav2d

    rows = []
    law, rng = signal_law(), np.random.default_rng(0)
    for sequences, length in ((500, 500), (5000, 200)):
        shape = (sequences, length, law.means.shape[1])
        ours, theirs = median_seconds(
            [
                lambda n=sequences, t=length: sample_signals(law, n, t, seed=0),
                lambda s=shape: rng.standard_normal(s, dtype=np.float32),
            ],
            2 * seconds,
        )
        rows.append(
            {"what": f"Markov signals, {shape}", "seconds": ours, "bound": "their Gaussians", "bound_seconds": theirs}
        )
    weights = lqr_system(10_000).observation_matrix.astype(np.float32)
    for num_envs in (64, 256):
        envs = gym.make_vec("bisimgym/LQRDistractors-v0", num_envs=num_envs, num_distractors=10_000)
        envs.reset(seed=0)
        actions = envs.action_space.sample()
        states = rng.standard_normal((num_envs, 20), dtype=np.float32)
        ours, theirs = median_seconds(
            [lambda e=envs, a=actions: e.step(a), lambda s=states: s @ weights.T], 2 * seconds
        )
        what = f"LQR step, 10,000 distractors, N = {num_envs}"
        rows.append({"what": what, "seconds": ours, "bound": "its matrix product", "bound_seconds": theirs})
    table = Table(title="Beside what must be computed", title_justify="left")
    for head in ("what", "seconds", "bound", "its seconds", "of bound"):
        table.add_column(head, justify="left" if head in ("what", "bound") else "right")
    for row in rows:
        row["of_bound"] = row["bound_seconds"] / row["seconds"]
        table.add_row(
            row["what"], f"{row['seconds']:.3g}", row["bound"], f"{row['bound_seconds']:.3g}", f"{row['of_bound']:.2f}"
        )
    console.print(table)
    for epsilon in (0.0, 0.1, 0.5, 1.0):
        start = time.perf_counter()
        data = collect_nav2d(1_000_000, epsilon)
        row = {
            "what": f"Nav2D data, epsilon {epsilon:g}",
            "transitions": len(data),
            "seconds": time.perf_counter() - start,
            "megabytes": data.nbytes / 1e6,
        }
        rows.append(row)
        console.print(
            f"{row['what']}: {row['transitions']:,} transitions in {row['seconds']:.2f} s, {row['megabytes']:.1f} MB"
        )
    return rows


def median_seconds(functions: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """Return the median time of each function (see :func:`turns`)."""
    return [statistics.median(row) for row in turns(functions, seconds)]


def turns(functions: Sequence[Callable[[], Any]], seconds: float) -> list[list[float]]:
    """Return the times of each function; they take turns, so that noise of the machine meets all of them.

    Each runs once before, and then five times at least, however long that takes.
    """
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for function, row in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            row.append(time.perf_counter() - start)
    return times


def learner_updates(seconds: float, console: Console) -> list[dict[str, Any]]:
    """Measure updates per second of RandConv + PSE on the wide grid, in float32 and bfloat16."""
    import torch as th

    from bisimgym.baselines.core.precision import has_fast_bfloat16
    from bisimgym.baselines.pse.imitation import ImitationLearner
    from bisimgym.benchmarks.suites.jumping import METHODS, demonstrations

    data = demonstrations("wide", 1)
    settings = dict(METHODS["randconv-pse"].settings)
    devices = ["cuda", "cpu"] if th.cuda.is_available() else ["cpu"]
    table = Table(title="jumping / wide / randconv-pse: updates per second", title_justify="left")
    for head in ("device", "threads", "float32", "bfloat16", "ratio", "auto picks"):
        table.add_column(head, justify="right")
    rows = []
    for device in devices:
        models = {
            precision: ImitationLearner(
                demonstrations=data, seed=0, device=device, **{**settings, "precision": precision}
            )
            for precision in ("float32", "bfloat16")
        }

        def updates(model: ImitationLearner, device: str = device) -> None:
            model.learn(5, reset_num_timesteps=False, log_interval=None)
            if device == "cuda":
                th.cuda.synchronize()

        timed = median_seconds([lambda m=model: updates(m) for model in models.values()], max(4 * seconds, 2))
        rate = {precision: 5 / t for precision, t in zip(models, timed, strict=True)}
        auto = "bfloat16" if has_fast_bfloat16(th.device(device)) else "float32"
        name = th.cuda.get_device_name() if device == "cuda" else machine.processor()
        rows.append({"device": name, "threads": th.get_num_threads(), "updates_per_second": rate, "auto": auto})
        table.add_row(
            name,
            str(th.get_num_threads()),
            f"{rate['float32']:.1f}",
            f"{rate['bfloat16']:.1f}",
            f"{rate['bfloat16'] / rate['float32']:.2f}",
            auto,
        )
    console.print(table)
    return rows
