"""Speed of the learners: beside stock Stable-Baselines3, of methods beside their parents, and of a suite's runs.

Everything is a ratio within one run. What is compared takes turns, so that other load of the machine meets all alike.
Each comparison has a process of its own, as a training run has: what memory costs depends on what a process allocated
before.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from rich.console import Console
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.core.dqn import AuxiliaryDQN, EncoderDQNCnnPolicy
from bisimgym.baselines.core.encoder import JumpingEncoder
from bisimgym.baselines.core.frame_replay import FrameReplayBuffer, required_bytes
from bisimgym.baselines.core.metric_learning import MetricDQN
from bisimgym.baselines.core.precision import has_fast_bfloat16
from bisimgym.baselines.core.sac import AuxiliarySAC, EncoderCnnPolicy
from bisimgym.baselines.learners import DQN_LEARNERS, SAC_LEARNERS
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.speed.envs import median_seconds
from bisimgym.benchmarks.suites import noisy_states
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

#: Pictures of Nav2D, of the jumping task, and three stacked frames of a control task; each has its network.
PICTURES = {"nav2d": (3, 20, 20), "jumping": (2, 60, 60), "control": (9, 84, 84)}
#: Algorithm, pictures and batch size. 32 is the default of SB3's DQN, 128 that of the SAC methods here.
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
METHODS: dict[str, dict[str, type]] = {
    parent: {name: learner for name, learner in learners.items() if learner is not _PARENTS[parent]}
    for parent, learners in (("SAC", SAC_LEARNERS), ("DQN", DQN_LEARNERS))
}
#: As cart and pole among 32 dimensions of noise.
STATE_SIZE = 37
METHOD_BATCH = 128
#: Updates that are timed at once: of states so many that a turn takes as long as one update on pictures.
_UPDATES = {"states": 10, "pictures": 1}
_STORED = 300
SUITE_TASK = "cartpole-swingup-noise"
#: Steps of all environments that are timed at once.
_VECTOR_STEPS = 25
#: Transitions in a replay, of which environments.
REPLAYS = {"bisimgym/Nav2D-v0": 20_000, "bisimgym/JumpingTask-v0": 20_000}


def measure(console: Console, seconds: float = 1.0) -> dict[str, Any]:
    """Measure, print tables and return the figures.

    Args:
        console: where tables go.
        seconds: time for each comparison; five turns at least.
    """
    cores = machine.cores()
    figures: dict[str, Any] = {
        "machine": {
            "processor": machine.processor(),
            "cores": cores,
            "bfloat16_in_hardware": has_fast_bfloat16(th.device("cpu")),
        },
        "versions": machine.versions(),
        "command": shlex.join(["bisimgym", *sys.argv[1:]]),
        "load_before": os.getloadavg()[0],
    }
    comparisons: list[tuple[str, Callable[..., list[dict[str, Any]]], tuple[Any, ...]]] = [
        ("suite", suite_rows, (cores, seconds)),
        *(
            ("parents", parent_rows, (*comparison, threads, seconds))
            for threads in sorted({1, cores})
            for comparison in COMPARISONS
        ),
        *(("methods", method_rows, (parent, kind, cores, seconds)) for parent in METHODS for kind in _UPDATES),
        *(("replays", replay_rows, replay) for replay in REPLAYS.items()),
    ]
    with console.status("") as status:
        for part, compare, arguments in comparisons:
            status.update(f"measuring: {part}")
            figures[part] = figures.get(part, []) + _in_fresh_process(compare, arguments)
    figures["load_after"] = os.getloadavg()[0]
    for table in _tables(figures).values():
        console.print(table.terminal())
    console.print(
        f"Load of the machine, mean of a minute: {figures['load_before']:.2f} before, {figures['load_after']:.2f} after"
    )
    return figures


def _in_fresh_process(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = th.get_num_threads()
    th.set_num_threads(count)
    try:
        yield
    finally:
        th.set_num_threads(before)


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


def pictures(name: str) -> spaces.Box:
    """Return the space of pictures of :data:`PICTURES`, channels first."""
    return spaces.Box(0, 255, PICTURES[name], np.uint8)


def states() -> spaces.Box:
    """Return a space of vectors."""
    return spaces.Box(-np.inf, np.inf, (STATE_SIZE,), np.float32)


def trainable(algorithm: type[OffPolicyAlgorithm], policy: Any, space: spaces.Box, **arguments: Any) -> Any:
    """Return a model with some transitions in its replay: ``model.train(updates, batch_size)`` is what is timed."""
    actions = spaces.Discrete(4) if issubclass(algorithm, DQN) else spaces.Box(-1, 1, (1,))
    env = DummyVecEnv([lambda: _RandomObservations(space, actions)])
    model = algorithm(policy, env, buffer_size=_STORED, learning_starts=_STORED, seed=0, device="cpu", **arguments)
    return model.learn(_STORED)


class PlainExtractor(BaseFeaturesExtractor):
    """The network of ``ImageExtractor`` as one writes it for SB3: layer after layer, memory as it comes.

    Parameters have the same names.

    Args:
        observation_space: one of :data:`PICTURES`.
        features_dim: numbers in the embedding.
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 50):
        super().__init__(observation_space, features_dim)
        shape = observation_space.shape
        networks = {"nav2d": _nav2d_net, "jumping": JumpingEncoder, "control": _control_net}
        self.convolutions = networks[{size: name for name, size in PICTURES.items()}[shape]](shape)
        with th.no_grad():
            count = self.convolutions(th.zeros(1, *shape)).shape[1]
        self.linear = nn.Linear(count, features_dim)
        self.norm = nn.LayerNorm(features_dim)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.norm(self.linear(self.convolutions(observations)))


class _Coordinates(nn.Module):
    def forward(self, images: th.Tensor) -> th.Tensor:
        batch, _, height, width = images.shape
        rows = th.linspace(-1, 1, height, dtype=images.dtype)[:, None].expand(batch, 1, height, width)
        columns = th.linspace(-1, 1, width, dtype=images.dtype).expand(batch, 1, height, width)
        return th.cat([images, rows, columns], dim=1)


def _nav2d_net(shape: tuple[int, int, int]) -> nn.Sequential:
    return nn.Sequential(
        _Coordinates(),
        nn.Conv2d(shape[0] + 2, 64, 1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 96, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(96, 128, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
    )


def _control_net(shape: tuple[int, int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(shape[0], 32, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.Flatten(),
    )


def stock(algorithm: str, name: str, **policy_arguments: Any) -> Any:
    """Return SB3's DQN or SAC on pictures of :data:`PICTURES`."""
    kwargs = {"features_extractor_class": PlainExtractor, **policy_arguments}
    return trainable({"DQN": DQN, "SAC": SAC}[algorithm], "CnnPolicy", pictures(name), policy_kwargs=kwargs)


def ours(algorithm: str, name: str, precision: str) -> Any:
    """Return the parent of the methods here on the same pictures, with the replay that methods have."""
    cls, policy = {"DQN": (AuxiliaryDQN, EncoderDQNCnnPolicy), "SAC": (AuxiliarySAC, EncoderCnnPolicy)}[algorithm]
    replay = {"replay_buffer_class": FrameReplayBuffer}
    return trainable(cls, policy, pictures(name), precision=precision, **replay)


def parent_rows(algorithm: str, name: str, batch_size: int, threads: int, seconds: float) -> list[dict[str, Any]]:
    """Measure an update of SB3's algorithm and of ours, with the same network and batch size.

    Args:
        algorithm: "DQN" or "SAC".
        name: of :data:`PICTURES`.
        batch_size: of an update.
        threads: of torch.
        seconds: time for all together; five turns at least.
    """
    models = {"stock": stock(algorithm, name)}
    if algorithm == "SAC":
        models["stock, one encoder"] = stock(algorithm, name, share_features_extractor=True)
    for precision in ("float32", "bfloat16"):
        models[precision] = ours(algorithm, name, precision)
    with _threads(threads):
        times = median_seconds([functools.partial(model.train, 1, batch_size) for model in models.values()], seconds)
    milliseconds = {key: 1e3 * time for key, time in zip(models, times, strict=True)}
    return [
        {
            "algorithm": algorithm,
            "pictures": name,
            "batch_size": batch_size,
            "threads": threads,
            "ms": milliseconds,
            "times_stock": {key: milliseconds["stock"] / milliseconds[key] for key in milliseconds if key != "stock"},
        }
    ]


def method_rows(
    parent: str, observations: str, threads: int, seconds: float, batch_size: int = METHOD_BATCH
) -> list[dict[str, Any]]:
    """Measure an update of each method beside its parent without metric and predictions, of the same network.

    Args:
        parent: a key of :data:`METHODS`.
        observations: "pictures" (of Nav2D) or "states".
        threads: of torch.
        seconds: time for all together; five turns at least.
        batch_size: of an update.
    """
    on_pictures = observations == "pictures"
    policy, space = ("CnnPolicy", pictures("nav2d")) if on_pictures else ("MlpPolicy", states())
    methods = {name: trainable(cls, policy, space) for name, cls in METHODS[parent].items()}
    networks = {name: model.policy.features_extractor_kwargs for name, model in methods.items()}
    plain: dict[str, Any] = {}
    for network in networks.values():
        if str(network) not in plain:
            size, norm = network["features_dim"], network["norm"]
            plain[str(network)] = trainable(_PARENTS[parent], policy, space, features_dim=size, norm=norm)
    models = [*plain.values(), *methods.values()]
    updates = _UPDATES[observations]
    with _threads(threads):
        times = median_seconds([functools.partial(model.train, updates, batch_size) for model in models], seconds)
    milliseconds = [1e3 * time / updates for time in times]
    of_plain = dict(zip(plain, milliseconds, strict=False))
    rows = []
    for name, took in zip(methods, milliseconds[len(plain) :], strict=True):
        network = str(networks[name])
        work = encoder_work(methods[name], batch_size) / encoder_work(plain[network], batch_size)
        rows.append(
            {
                "parent": parent,
                "observations": observations,
                "method": name,
                "batch_size": batch_size,
                "threads": threads,
                "ms": took,
                "parent_ms": of_plain[network],
                "ratio": took / of_plain[network],
                "encoder_work": work,
            }
        )
    return rows


def encoder_work(model: Any, batch_size: int) -> int:
    """Return an update's work in encoders, in forward passes of a batch: 3 for a pass that is differentiated too."""
    encoders = [*model.encoders(), getattr(model.representation.metric, "base_encoder", None)]
    passes: list[int] = []

    def count(module: nn.Module, inputs: Any, output: th.Tensor) -> None:
        passes.append(3 if output.requires_grad else 1)

    hooks = [encoder.register_forward_hook(count) for encoder in encoders if encoder is not None]
    model.train(1, batch_size)
    for hook in hooks:
        hook.remove()
    return sum(passes)


def replay_rows(env_id: str, count: int, num_envs: int = 8) -> list[dict[str, Any]]:
    """Measure the bytes of a replay of pictures that random actions have filled, beside SB3's.

    Args:
        env_id: of an environment with pictures.
        count: transitions.
        num_envs: environments side by side.
    """
    with closing(SB3VecEnv(gym.make_vec(env_id, num_envs=num_envs))) as env:
        model = MetricDQN("CnnPolicy", env, buffer_size=count, learning_starts=count, seed=0, device="cpu")
        model.learn(count)
    replay = model.replay_buffer
    space, actions = replay.observation_space, replay.action_space
    theirs = ReplayBuffer(count, space, actions, device="cpu", n_envs=num_envs)
    arrays = [array for array in vars(theirs).values() if isinstance(array, np.ndarray)]
    per_transition = {
        "sb3": sum(array.nbytes for array in arrays) / count,
        "computed": sum(required_bytes(count, space, actions, num_envs)) / count,
        "allocated": sum(replay.memory) / count,
    }
    return [
        {
            "env_id": env_id,
            "transitions": count,
            "observation_bytes": int(np.prod(space.shape)),
            "bytes_per_transition": per_transition,
            "share": per_transition["allocated"] / per_transition["sb3"],
        }
    ]


def suite_rows(
    threads: int,
    seconds: float,
    methods: Sequence[str] = tuple(noisy_states.METHODS),
    vector_steps: int = _VECTOR_STEPS,
) -> list[dict[str, Any]]:
    """Measure steps and updates of the suite ``noisy-states`` per second, and its environments alone.

    Args:
        threads: of torch.
        seconds: time for all together; five turns at least.
        methods: of the suite, "sac" among them.
        vector_steps: steps of all environments in a turn.
    """
    envs = [functools.partial(noisy_states.make_env, SUITE_TASK, 1)] * noisy_states.NUM_ENVS
    with closing(DummyVecEnv(envs)) as env, closing(DummyVecEnv(envs)) as alone:
        steps = vector_steps * env.num_envs
        turns: dict[str, Callable[[], Any]] = {}
        for method in methods:
            few = {"learning_starts": 2 * env.num_envs}
            spec = make_spec(noisy_states.SUITE, SUITE_TASK, method, "short", 1, few)
            # All learners step the same environments in turn: what they have in their replays matters to no time.
            model = noisy_states.make_learner(spec, "cpu", env)
            turns[method] = functools.partial(model.learn, steps, reset_num_timesteps=False, log_interval=None)
        alone.seed(0)
        alone.reset()
        actions = [np.stack([alone.action_space.sample() for _ in envs]) for _ in range(vector_steps)]
        turns["physics alone"] = lambda: [alone.step(action) for action in actions]
        with _threads(threads):
            times = dict(zip(turns, median_seconds(list(turns.values()), seconds), strict=True))
    rows = []
    for method, time in times.items():
        updates = None if method == "physics alone" else 2 * vector_steps / time
        rows.append(
            {
                "method": method,
                "threads": threads,
                "steps_per_second": steps / time,
                "updates_per_second": updates,
                "times_sac": times["sac"] / time,
            }
        )
    return rows


def _tables(figures: Mapping[str, Any]) -> dict[str, FigureTable]:
    """Return the tables, by the names of their markers."""

    def ms(value: float | None) -> str:
        return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    def ratio(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    parents = [
        [
            row["algorithm"],
            f"{row['pictures']}, {' x '.join(map(str, PICTURES[row['pictures']]))}",
            str(row["batch_size"]),
            str(row["threads"]),
            *(ms(row["ms"].get(key)) for key in ("stock", "stock, one encoder", "float32", "bfloat16")),
            *(ratio(row["times_stock"].get(key)) for key in ("float32", "bfloat16")),
        ]
        for row in figures["parents"]
    ]
    methods = [
        [
            row["parent"],
            row["observations"],
            row["method"],
            ms(row["ms"]),
            ms(row["parent_ms"]),
            ratio(row["ratio"]),
            ratio(row["encoder_work"]),
        ]
        for row in figures["methods"]
    ]
    replays = [
        [
            row["env_id"],
            f"{row['transitions']:,}",
            *(f"{row['bytes_per_transition'][key]:,.0f}" for key in ("sb3", "computed", "allocated")),
            f"{100 * row['share']:.1f} %",
        ]
        for row in figures["replays"]
    ]
    suite = [
        [
            row["method"],
            f"{row['steps_per_second']:,.0f}",
            "" if row["updates_per_second"] is None else f"{row['updates_per_second']:.0f}",
            ratio(row["times_sac"]),
        ]
        for row in figures["suite"]
    ]
    threads = figures["methods"][0]["threads"]
    return {
        "speed of parents": FigureTable(
            "Milliseconds per update on pictures, and how many times the updates of stock SB3",
            [
                "algorithm",
                "pictures",
                "batch",
                "threads",
                "stock",
                "stock with one encoder",
                "float32",
                "bfloat16",
                "float32: times stock",
                "bfloat16: times stock",
            ],
            parents,
            texts=2,
        ),
        "speed of methods": FigureTable(
            f"Milliseconds per update, batches of {METHOD_BATCH}, threads: {threads}",
            ["parent", "observations", "method", "ms", "parent's ms", "ratio", "encoder work"],
            methods,
            texts=3,
        ),
        "memory of replays": FigureTable(
            "Bytes per transition in a replay",
            ["environment", "transitions", "SB3", "computed", "allocated", "of SB3's"],
            replays,
        ),
        "speed of noisy-states": FigureTable(
            f"{SUITE_TASK}, {noisy_states.NUM_ENVS} environments, threads: {figures['suite'][0]['threads']}",
            ["method", "steps/s", "updates/s", "of sac"],
            suite,
        ),
    }


def markdown(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures of :func:`measure` as Markdown tables, by the names of their markers."""
    return {name: table.markdown() for name, table in _tables(figures).items()}
