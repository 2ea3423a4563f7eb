"""Small processes of which everything is known: observations, transitions, factors, exact metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.measures import finite_processes, sampled_processes
from bisimgym.benchmarks.measures.finite_processes import FiniteProcess, KnownDistances
from bisimgym.benchmarks.measures.sampled_processes import SampledProcess

if TYPE_CHECKING:  # it imports torch, which distances do not need
    from bisimgym.baselines.transitions import Transitions

#: Exact metrics of :func:`fidelity_process`. MICo of the optimal policy is not among them: finite processes here are
#: deterministic, and there it is bisimulation.
FIDELITY_METRICS = (
    "bisimulation-optimal",
    "bisimulation-random",
    "mico-random",
    "policy-similarity",
    "recursive-similarity",
)
#: Environments of each process: an id, and the arguments of each of its parts.
PROCESSES: dict[str, tuple[str, Sequence[Mapping[str, Any]]]] = {
    "nav2d-8x8": ("bisimgym/Nav2D-v0", [{"size": 8, "num_obstacles": 5, "min_goal_distance": 6}]),
    "nav2d-20x20": ("bisimgym/Nav2D-v0", [{}]),
    "jumping-25": ("bisimgym/JumpingTask-v0", [{"obstacle_position": 25, "floor_height": 10}]),
    "jumping-25-45": (
        "bisimgym/JumpingTask-v0",
        [{"obstacle_position": position, "floor_height": 10} for position in (25, 45)],
    ),
    "dial-irrelevant": ("bisimgym/DistractorDial-v0", [{}]),
    "dial-controllable": ("bisimgym/DistractorDial-v0", [{"controllable": True}]),
    "dial-relevant": ("bisimgym/DistractorDial-v0", [{"correlation": 0.1}]),
    "markov-signal": (
        "bisimgym/MarkovSignal-v0",
        [
            {
                "transition_matrix": [[0.95, 0.05], [0.05, 0.95]],
                "dimension": 4,
                "separation": 0.5,
                "episode_length": sampled_processes.HISTORY,
            }
        ],
    ),
    "lqr": ("bisimgym/LQRDistractors-v0", [{"num_distractors": 100, "distractor_seed": seed} for seed in (1, 2)]),
}


class FidelityProcess(NamedTuple):
    """A process to hold encoders to.

    Attributes:
        observations: ``uint8[N, H, W, C]``, of all states in which an agent can come to act: one for each image that
            the environment can show, so that a state with several images counts as several, at distance 0. Of a process
            with infinitely many states ``float32[N, D]``, of a sample of them.
        distances: exact metrics by name, ``float64[N, N]``.
        factors: what a state is made of, by name, ``float64[N]``: where the agent is, and what else can differ.
        next_rows: ``int64[N, A]``: which observation follows each action, -1 where the episode ends; ``None`` of a
            sample.
        rewards: ``float64[N, A]``; ``None`` of a sample.
        values: "optimal value" and, of finite processes, "value of random actions", ``float64[N]`` each.
        images: ``uint8[N, H, W, C]``, what people are shown of the states: observations where they are images.
    """

    observations: np.ndarray
    distances: Mapping[str, np.ndarray]
    factors: Mapping[str, np.ndarray]
    next_rows: np.ndarray | None
    rewards: np.ndarray | None
    values: Mapping[str, np.ndarray]
    images: np.ndarray


class _SameStart(gym.Wrapper):
    """Starts every episode in the same layout, at the same place, whatever the seed."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=0, options=options)


def fidelity_envs(name: str) -> list[Callable[[], gym.Env]]:
    """Return functions that make the environments of one of :data:`PROCESSES`, one for each of its parts.

    Agents that learn in them come to see the states of :func:`fidelity_process` and no others; of the processes with
    infinitely many states ("markov-signal", "lqr"), others of the same kind, in "lqr" while forces are as those of
    :func:`fidelity_transitions`: uniformly random actions drive states ten times as far.

    Raises:
        ValueError: for an unknown process.
    """
    if name not in PROCESSES:
        raise ValueError(f"name must be one of {list(PROCESSES)}, got {name!r}")
    env_id, parts = PROCESSES[name]
    wrap = _kind(name).wrap

    def make(arguments: Mapping[str, Any]) -> gym.Env:
        return wrap(gym.make(env_id, **arguments))

    return [functools.partial(make, arguments) for arguments in parts]


def fidelity_process(name: str, metrics: Sequence[str] = FIDELITY_METRICS, discount: float = 0.99) -> FidelityProcess:
    """Return the observations of a small process and its exact metrics, which are solved once in a Python process.

    The metrics, of :mod:`bisimgym.baselines.metrics`:

    * "bisimulation-optimal", "bisimulation-random": on-policy bisimulation of an optimal policy (the lowest of equally
      good actions), and of random actions: uniform ones, and in "lqr" Gaussian forces with standard deviation 0.6.
    * "mico-random": MICo of uniformly random actions.
    * "policy-similarity": PSM of the optimal policy; actions of "lqr" differ by the Euclidean distance of forces.
    * "recursive-similarity": of Nav2D only, mean over actions; its base cost is the share of the actions that move the
      agent in one of two states and not in the other, times ``1 - discount``. The publication learns its base; this one
      is ours: like the learned one it is blind to all that actions do not tell.

    Distances are rounded to six digits behind the point, far above the error of the solver: ties are ties.

    Args:
        name: one of :data:`PROCESSES`: "nav2d-8x8" and "nav2d-20x20" are layouts of Nav2D, the second as registered,
            "jumping-25" and "jumping-25-45" a jumping task with its obstacle there, and two side by side; "dial-..."
            are distractor dials whose distractor is irrelevant, controllable but irrelevant, and relevant.
            "markov-signal" is a sample of histories of a hidden chain of two states, "lqr" of the states of a linear
            system, each seen by two distractor matrices; their metrics are closed forms, see
            :mod:`~bisimgym.benchmarks.measures.sampled_processes`.
        metrics: which to solve for; those that are not defined are left out. The slowest, "bisimulation-random", takes
            about a quarter of a minute on "nav2d-20x20" and two seconds or less elsewhere.
        discount: in [0, 1).

    Raises:
        ValueError: for an unknown process or metric, or a discount out of range.
    """
    process = _process(name)
    if unknown := [metric for metric in metrics if metric not in FIDELITY_METRICS]:
        raise ValueError(f"metrics must be of {list(FIDELITY_METRICS)}, got {unknown}")
    if not 0 <= discount < 1:
        raise ValueError(f"discount must be in [0, 1), got {discount!r}")
    distances = {m: _solved(name, m, float(discount)) for m in metrics if m in fidelity_metrics(name)}
    return FidelityProcess(
        process.observations,
        MappingProxyType(distances),
        process.factors,
        process.next_rows,
        process.rewards,
        process.values(discount),
        process.images,
    )


def fidelity_metrics(name: str) -> tuple[str, ...]:
    """Return the metrics that are defined on a process, of :data:`FIDELITY_METRICS`."""
    return _kind(name).metrics


def fidelity_transitions(name: str) -> Transitions:
    """Return the data to learn from, of :data:`PROCESSES`: what a random policy sees that starts anywhere.

    Of a finite process, every transition once: each of the ``N`` observations of :func:`fidelity_process` has a row for
    each action, in that order. Rows of the E images at which episodes can end follow: every action leads back to them,
    without reward, as the exact metrics have it. Losses that take no notice of an episode's end need them to know how
    far ends are from other states. Of "markov-signal" and "lqr", some 125,000 transitions from other states than those
    of :func:`fidelity_process`.

    Returns:
        Of ``(N + E) * A`` rows: observations ``uint8[H, W, C]`` or ``float32[D]``, actions ``int64`` or
        ``float32[A]``, rewards ``float64`` as the environment gives them, and whether the process has ended.

    Raises:
        ValueError: for an unknown process.
    """
    return _process(name).transitions()


def distances_of_data(name: str, metric: str, discount: float = 0.99) -> KnownDistances:
    """Return observations of :func:`fidelity_transitions` and an exact metric of them, for losses that are told one.

    Where no policy can differ, as the only action of "markov-signal" cannot, policy similarity is 0.

    Raises:
        ValueError: for an unknown process, or a metric that is not defined.
    """
    process, defined = _process(name), fidelity_metrics(name)
    if isinstance(process, SampledProcess):
        defined = tuple(process.metrics)
    if metric not in defined:
        raise ValueError(f"metric of {name} must be one of {list(defined)}, got {metric!r}")
    return process.known_distances(metric, discount)


class _Kind(NamedTuple):
    """What processes of the same beginning of their names share.

    Attributes:
        process: made of the unwrapped environments.
        wrap: around an environment.
        metrics: that are defined.
    """

    process: Callable[..., FiniteProcess | SampledProcess]
    wrap: Callable[[gym.Env], gym.Env]
    metrics: tuple[str, ...]


_OF_ANY = tuple(metric for metric in FIDELITY_METRICS if metric != "recursive-similarity")
_KINDS = {
    "nav2d": _Kind(finite_processes.nav2d, _SameStart, FIDELITY_METRICS),
    "jumping": _Kind(finite_processes.jumping, _SameStart, _OF_ANY),
    "dial": _Kind(finite_processes.dial, _SameStart, _OF_ANY),
    "markov": _Kind(sampled_processes.markov_signal, sampled_processes.whole_history, ("bisimulation-random",)),
    "lqr": _Kind(
        sampled_processes.lqr, lambda env: env, ("bisimulation-optimal", "bisimulation-random", "policy-similarity")
    ),
}


def _kind(name: str) -> _Kind:
    return _KINDS[name.partition("-")[0]]


@functools.cache
def _process(name: str) -> FiniteProcess | SampledProcess:
    envs = [make() for make in fidelity_envs(name)]
    for env in envs:
        env.reset()
    process = _kind(name).process(*(env.unwrapped for env in envs))
    for part in (process.observations, process.images, *process.factors.values()):
        part.flags.writeable = False
    return process


@functools.cache
def _solved(name: str, metric: str, discount: float) -> np.ndarray:
    found = _process(name).solve(metric, discount)
    found.flags.writeable = False
    return found
