"""Speed of the learners: beside stock Stable-Baselines3, of methods beside their parents, and of a suite's runs.

Each comparison has a process of its own.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.core.dqn import AuxiliaryDQN, EncoderDQNCnnPolicy
from bisimgym.baselines.core.extractors import ImageExtractor
from bisimgym.baselines.core.frame_replay import FrameReplayBuffer
from bisimgym.baselines.core.metric_learning import MetricDQN
from bisimgym.baselines.core.sac import AuxiliarySAC, EncoderCnnPolicy
from bisimgym.baselines.learners import DQN_LEARNERS, FOR_IMAGES, SAC_LEARNERS
from bisimgym.baselines.pse.imitation import ImitationLearner
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.speed.harness import Figures, Part, medians, table, torch_threads, turns
from bisimgym.benchmarks.suites import jumping, noisy_states
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

#: Images of Nav2D, of the jumping task, and three stacked frames of a control task; each has its network.
IMAGES = {"nav2d": (3, 20, 20), "jumping": (2, 60, 60), "control": (9, 84, 84)}
#: Algorithm, images and batch size. 32 is the default of SB3's DQN, 128 that of the SAC methods here.
COMPARISONS = (
    ("DQN", "nav2d", 32),
    ("DQN", "nav2d", 128),
    ("DQN", "jumping", 32),
    ("DQN", "jumping", 128),
    ("SAC", "nav2d", 128),
    ("SAC", "jumping", 128),
    ("SAC", "control", 128),
)
_PARENTS: dict[str, type] = {"SAC": SAC_LEARNERS["sac"], "DQN": DQN_LEARNERS["dqn"]}
#: Beside their parents. What only sees large images is in :mod:`.pixels`.
METHODS: dict[str, dict[str, type]] = {
    parent: {
        name: learner
        for name, learner in learners.items()
        if learner is not _PARENTS[parent] and name not in FOR_IMAGES
    }
    for parent, learners in (("SAC", SAC_LEARNERS), ("DQN", DQN_LEARNERS))
}
#: Updates that are timed at once: of states so many that a turn takes as long as one update on images.
_UPDATES = {"states": 10, "images": 1}
_STORED = 300
SUITE_TASK = "cartpole-swingup-noise"
#: Transitions in a replay, of which environments.
REPLAYS = {"bisimgym/Nav2D-v0": 20_000, "bisimgym/JumpingTask-v0": 20_000}


def parts(seconds: float) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``, and the suite for as long as an episode of each method takes."""
    cores = machine.cores()
    yield Part("suite", suite, (cores, seconds), fresh=True)
    for threads in sorted({1, cores}):
        for comparison in COMPARISONS:
            yield Part("parents", parents, (*comparison, threads, seconds), fresh=True)
    for parent in METHODS:
        for kind in _UPDATES:
            yield Part("methods", methods, (parent, kind, cores, seconds), fresh=True)
    for replay in REPLAYS.items():
        yield Part("replays", replays, replay, fresh=True)
    yield Part("imitation", imitation, (seconds,), fresh=True)


class _RandomObservations(gym.Env):
    """Observations, rewards and ends of episodes by chance: what they show makes no difference to an update's time."""

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action):
        return self._observation(), self.np_random.random(), self.np_random.random() < 0.02, False, {}

    def _observation(self) -> np.ndarray:
        shape = self.observation_space.shape
        if self.observation_space.dtype == np.uint8:
            return self.np_random.integers(256, size=shape, dtype=np.uint8)
        return self.np_random.standard_normal(shape, dtype=np.float32)


def images(name: str) -> spaces.Box:
    """Return the space of images of :data:`IMAGES`, channels first."""
    return spaces.Box(0, 255, IMAGES[name], np.uint8)


def trainable(
    algorithm: type[OffPolicyAlgorithm], policy: Any, space: spaces.Box, device: str = "cpu", **arguments: Any
) -> Any:
    """Return a model with some transitions in its replay: ``model.train(updates, batch_size)`` is what is timed."""
    actions = spaces.Discrete(4) if issubclass(algorithm, DQN) else spaces.Box(-1, 1, (1,))
    env = DummyVecEnv([lambda: _RandomObservations(space, actions)])
    model = algorithm(policy, env, buffer_size=_STORED, learning_starts=_STORED, seed=0, device=device, **arguments)
    return model.learn(_STORED)


def stock(algorithm: str, name: str, **policy_arguments: Any) -> Any:
    """Return SB3's DQN or SAC on images of :data:`IMAGES`, with the network that ours has."""
    kwargs = {"features_extractor_class": ImageExtractor, **policy_arguments}
    return trainable(DQN if algorithm == "DQN" else SAC, "CnnPolicy", images(name), policy_kwargs=kwargs)


def ours(algorithm: str, name: str, precision: str) -> Any:
    """Return the parent of the methods here on the same images, with the replay that methods have."""
    parent: tuple[type, type] = (AuxiliarySAC, EncoderCnnPolicy)
    if algorithm == "DQN":
        parent = AuxiliaryDQN, EncoderDQNCnnPolicy
    return trainable(*parent, images(name), precision=precision, replay_buffer_class=FrameReplayBuffer)


def parents(algorithm: str, name: str, batch_size: int, threads: int, seconds: float) -> Iterator[Figures]:
    """Measure an update of SB3's algorithm and of ours, with the same network and batch size."""
    models = {"stock": stock(algorithm, name)}
    if algorithm == "SAC":
        models["stock, one encoder"] = stock(algorithm, name, share_features_extractor=True)
    models |= {precision: ours(algorithm, name, precision) for precision in ("float32", "bfloat16")}
    updates = {key: functools.partial(model.train, 1, batch_size) for key, model in models.items()}
    with torch_threads(threads):
        ms = medians(updates, seconds, work=1e-3)
    yield {
        "algorithm": algorithm,
        "images": name,
        "batch_size": batch_size,
        "threads": threads,
        "ms": ms,
        "times_stock": {key: ms["stock"] / ms[key] for key in ms if key != "stock"},
    }


def methods(
    parent: str, observations: str, threads: int, seconds: float, batch_size: int = 128, names: Sequence = ()
) -> Iterator[Figures]:
    """Measure an update of each method beside its parent without metric and predictions, of the same network.

    Observations are "images" (images of Nav2D) or "states"; no names of methods mean all of :data:`METHODS`.
    """
    policy, space = "CnnPolicy", images("nav2d")
    if observations == "states":  # as many as of cart and pole among 32 dimensions of noise
        policy, space = "MlpPolicy", spaces.Box(-np.inf, np.inf, (37,), np.float32)
    made = {name: METHODS[parent][name] for name in names or METHODS[parent]}
    learners = {name: trainable(learner, policy, space) for name, learner in made.items()}
    # What makes the encoder of a learner.
    arguments = {name: model.policy.features_extractor_kwargs for name, model in learners.items()}
    networks = {name: tuple((key, of[key]) for key in ("features_dim", "norm")) for name, of in arguments.items()}
    plain = {n: trainable(_PARENTS[parent], policy, space, **dict(n)) for n in networks.values()}
    updates = _UPDATES[observations]
    models = {**{str(network): model for network, model in plain.items()}, **learners}
    trains = {key: functools.partial(model.train, updates, batch_size) for key, model in models.items()}
    with torch_threads(threads):
        ms = medians(trains, seconds, work=updates / 1000)
    for name, model in learners.items():
        beside, parent_ms = plain[networks[name]], ms[str(networks[name])]
        yield {
            "parent": parent,
            "observations": observations,
            "method": name,
            "batch_size": batch_size,
            "threads": threads,
            "ms": ms[name],
            "parent_ms": parent_ms,
            "ratio": ms[name] / parent_ms,
            "encoder_work": encoder_work(model, batch_size) / encoder_work(beside, batch_size),
        }


def encoder_work(model: Any, batch_size: int) -> int:
    """Return an update's work in encoders, in forward passes of a batch: 3 for a pass that is differentiated too."""
    encoders = [*model.encoders(), getattr(model.representation.metric, "base_encoder", None)]
    passes: list[int] = []

    def count(module: th.nn.Module, inputs: Any, output: th.Tensor) -> None:
        passes.append(3 if output.requires_grad else 1)

    hooks = [encoder.register_forward_hook(count) for encoder in encoders if encoder is not None]
    model.train(1, batch_size)
    for hook in hooks:
        hook.remove()
    return sum(passes)


def replays(env_id: str, count: int, num_envs: int = 8) -> Iterator[Figures]:
    """Measure the bytes of a replay of ``count`` images that random actions have filled, beside SB3's."""
    with closing(SB3VecEnv(gym.make_vec(env_id, num_envs=num_envs))) as env:
        model = MetricDQN("CnnPolicy", env, buffer_size=count, learning_starts=count, seed=0, device="cpu")
        replay: Any = model.replay_buffer
        empty = sum(replay.memory)
        model.learn(count)
    space, actions = replay.observation_space, replay.action_space
    theirs = ReplayBuffer(count, space, actions, device="cpu", n_envs=num_envs)
    arrays = [array for array in vars(theirs).values() if isinstance(array, np.ndarray)]
    per_transition = {
        "sb3": sum(array.nbytes for array in arrays) / count,
        "computed": empty / count,
        "allocated": sum(replay.memory) / count,
    }
    yield {
        "env_id": env_id,
        "transitions": count,
        "observation_bytes": int(np.prod(space.shape)),
        "bytes_per_transition": per_transition,
        "share": per_transition["allocated"] / per_transition["sb3"],
    }


def suite(
    threads: int, seconds: float, names: Sequence[str] = tuple(noisy_states.METHODS), vector_steps: int | None = None
) -> Iterator[Figures]:
    """Measure steps and updates of the suite ``noisy-states`` per second, and its environments alone.

    Of ``names``, methods of the suite, "sac" must be one. A turn takes ``vector_steps`` steps of all environments;
    ``None`` is an episode, whose end and reset count with it.
    """
    make_env = functools.partial(noisy_states.make_env, SUITE_TASK, 1)
    with closing(DummyVecEnv([make_env] * noisy_states.PROTOCOL.num_envs)) as env:
        count = vector_steps or noisy_states.steps_per_episode(SUITE_TASK)
        steps = count * env.num_envs
        actions = [np.stack([env.action_space.sample() for _ in range(env.num_envs)]) for _ in range(count)]

        runs: dict[str, Callable[[], Any]] = {}
        for name in names:
            few = {"learning_starts": 2 * env.num_envs}
            spec = make_spec(noisy_states.SUITE, SUITE_TASK, name, "short", 1, few)
            # All learners step the same environments in turn: what they have in their replays matters to no time.
            model = noisy_states.make_learner(spec, "cpu", env)
            runs[name] = functools.partial(model.learn, steps, reset_num_timesteps=False, log_interval=None)
        runs["physics alone"] = lambda: [env.step(action) for action in actions]
        with torch_threads(threads):
            times = turns(list(runs.values()), seconds)
    rate = {name: steps * len(row) / sum(row) for name, row in zip(runs, times, strict=True)}
    for name, steps_per_second in rate.items():
        updates = None if name == "physics alone" else 2 * steps_per_second / noisy_states.PROTOCOL.num_envs
        yield {
            "method": name,
            "threads": threads,
            "steps_per_second": steps_per_second,
            "updates_per_second": updates,
            "times_sac": steps_per_second / rate["sac"],
        }


def imitation(seconds: float, updates: int = 5) -> Iterator[Figures]:
    """Measure updates per second of RandConv + PSE on the wide jumping grid, in float32 and bfloat16.

    On a processor float32 is measured twice: with plain convolutions, and with those of windows that repeat each other.
    """
    data = jumping.demonstrations("wide", 1)
    settings = dict(jumping.METHODS["randconv-pse"].settings)
    for device in ("cuda", "cpu") if th.cuda.is_available() else ("cpu",):
        chosen = {p: {**settings, "precision": p, "device": device} for p in ("float32", "bfloat16")}
        models = {p: ImitationLearner(demonstrations=data, seed=0, **chosen[p]) for p in chosen}
        if device == "cpu":
            models["plain"] = ImitationLearner(demonstrations=data, seed=0, **chosen["float32"])
            models["plain"]._data = dataclasses.replace(models["plain"]._prepare(), windows=None)
        learning = {p: functools.partial(_learn, model, updates) for p, model in models.items()}
        took = medians(learning, 4 * seconds, updates)
        yield {
            "device": th.cuda.get_device_name() if device == "cuda" else machine.processor(),
            "threads": th.get_num_threads(),
            "updates_per_second": {precision: 1 / time for precision, time in took.items()},
        }


def _learn(model: Any, updates: int) -> None:
    model.learn(updates, reset_num_timesteps=False, log_interval=None)
    if model.device.type == "cuda":
        th.cuda.synchronize()


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the tables of the figures."""
    methods, suite = figures["methods"], figures["suite"]
    yield table(
        "Milliseconds per update on images, and how many times the updates of stock SB3",
        "algorithm | images | batch | threads | stock | stock with one encoder | float32 | bfloat16 | "
        "float32: times stock | bfloat16: times stock",
        "{algorithm} | {images}, {shape} | {batch_size} | {threads} | {ms[stock]:~3} | {ms[stock, one encoder]:~3} | "
        "{ms[float32]:~3} | {ms[bfloat16]:~3} | {times_stock[float32]:.2f} | {times_stock[bfloat16]:.2f}",
        [row | {"shape": " x ".join(map(str, IMAGES[row["images"]]))} for row in figures["parents"]],
        texts=2,
        marker="speed of parents",
    )
    yield table(
        f"Milliseconds per update, batches of {methods[0]['batch_size']}, threads: {methods[0]['threads']}",
        "parent | observations | method | ms | parent's ms | ratio | encoder work",
        "{parent} | {observations} | {method} | {ms:~3} | {parent_ms:~3} | {ratio:.2f} | {encoder_work:.2f}",
        methods,
        texts=3,
        marker="speed of methods",
    )
    yield table(
        "Bytes per transition in a replay",
        "environment | transitions | SB3 | computed | allocated | of SB3's",
        "{env_id} | {transitions:,} | {bytes_per_transition[sb3]:,.0f} | {bytes_per_transition[computed]:,.0f} | "
        "{bytes_per_transition[allocated]:,.0f} | {share:.1%}",
        figures["replays"],
        marker="memory of replays",
    )
    yield table(
        f"{SUITE_TASK}, {noisy_states.PROTOCOL.num_envs} environments, threads: {suite[0]['threads']}",
        "method | steps/s | updates/s | of sac",
        "{method} | {steps_per_second:,.0f} | {updates_per_second:.0f} | {times_sac:.2f}",
        suite,
        marker="speed of noisy-states",
    )
    yield table(
        "Updates per second of randconv-pse on the wide jumping grid",
        "device | threads | float32 | float32, plain convolutions | bfloat16",
        "{device} | {threads} | {updates_per_second[float32]:.1f} | {plain} | {updates_per_second[bfloat16]:.1f}",
        [
            {**row, "plain": f"{plain:.1f}" if (plain := row["updates_per_second"].get("plain")) else ""}
            for row in figures.get("imitation", ())
        ],
        marker="speed of imitation",
    )
