"""The noisy-states suite: control from states, among dimensions that are noise.

Protocol: Luo, Ni, Bacon, Precup and Si (2025), arXiv 2506.00563, and the study's code: ten environments, two updates
per step of all ten (replay ratio 0.2), Gaussian noise beside the state, mixed or not by one random projection per run.
What is new here: noise is seeded, and environments start differently.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.agent_training import learner_from, train_in_episodes
from bisimgym.benchmarks.suites.base import Measure, Method, Monitor, Outcome, Preset, Spec, Suite, Task
from bisimgym.benchmarks.suites.checks import check_columns, check_least, continuous_actions
from bisimgym.benchmarks.suites.further_settings import Further, further_settings
from bisimgym.benchmarks.suites.training import train_with_evaluations

EPISODE_STEPS = 1000  # control steps
NOISE_DIMENSIONS = 32
#: What all methods have in place of the learners' defaults; ``--set`` changes it.
_FIXED = {"buffer_size": 1_000_000, "train_freq": 1, "gradient_steps": 2}
#: Out of distribution, the noise has this mean instead of 0.
SHIFTED_MEAN = 1.0


@dataclass(frozen=True)
class Protocol:
    """Sizes that all runs share.

    Attributes:
        num_envs: environments that an agent learns from.
        evaluation_episodes: in distribution, and as many under shifted noise.
        anchors: observations that the denoising factor is measured at.
        episode_steps: control steps of an episode, at most dm_control's 1000.
    """

    num_envs: int = 10
    evaluation_episodes: int = 10
    anchors: int = 250
    episode_steps: int = EPISODE_STEPS


PROTOCOL = Protocol()

_DOMAINS = {
    "cartpole-swingup": ("cartpole", "swingup", "Swing a pole up and balance it"),
    "cheetah-run": ("cheetah", "run", "Run forward on two legs"),
    "finger-spin": ("finger", "spin", "Spin a body with a finger"),
    "walker-walk": ("walker", "walk", "Walk upright"),
    "reacher-easy": ("reacher", "easy", "Reach a target with a two-link arm"),
    "ball-in-cup-catch": ("ball_in_cup", "catch", "Swing a ball into a cup"),
}
_NOISES: dict[str, tuple[str, dict[str, Any]]] = {
    "clean": ("the state alone", {"noise_dimensions": 0}),
    "noise": ("32 dimensions of standard Gaussian noise beside it", {"noise_dimensions": NOISE_DIMENSIONS}),
    "projection": (
        "state and 32 dimensions of noise, mixed by a random matrix",
        {"noise_dimensions": NOISE_DIMENSIONS, "random_projection": True},
    ),
}

TASKS = {
    f"{name}-{noise}": Task(f"{domain}-{task}, {noise}", f"{what}, from {how}")
    for name, (domain, task, what) in _DOMAINS.items()
    for noise, (how, _) in _NOISES.items()
}


def _method(description: str, learner: str, **settings: Any) -> Method:
    shared = {
        "learner": learner,
        "norm": "layer",
        "features_dim": 50,
        "learning_rate": 1e-3,
        "batch_size": 128,
        "learning_starts": 1000,
    }
    return Method(description, {**shared, **settings})


METHODS = {
    "sac": _method("SAC, its encoder trained by the critic, no normalization", "sac", norm="none"),
    "sac-layernorm": _method("SAC with LayerNorm on the embedding", "sac"),
    "self-prediction": _method(
        "SAC with LayerNorm and the loss of predicting the next embedding: the baseline that metrics have to beat",
        "self-prediction",
    ),
    "deepmdp": _method("Self-prediction and reward prediction", "deepmdp"),
    "mico": _method("MICo: Huber loss on sampled differences of rewards and next embeddings", "mico"),
    "dbc": _method(
        "DBC in the study's form: bisimulation with a Gaussian model, which also trains the encoder",
        "dbc",
        metric_settings={"form": "study"},
        encoder_optimizer="separate",
    ),
    "robust-dbc": _method(
        "DBC with a bounded norm, inverse dynamics and an intrinsic reward",
        "robust-dbc",
        norm="cap",
        encoder_optimizer="separate",
    ),
    "rap": _method(
        "RAP: expected next embeddings and the variance of rewards",
        "rap",
        features_dim=100,
        learning_rate=5e-4,
        encoder_optimizer="separate",
    ),
    "ambs": _method(
        "AMBS: learned distances of rewards and dynamics (one view: states are not augmented)",
        "ambs",
        features_dim=100,
        learning_rate=5e-4,
        encoder_optimizer="separate",
    ),
    "simsr": _method("SimSR: cosine distances of embeddings of unit length", "simsr", norm="l2"),
}

PRESETS = {
    "smoke": Preset("Seconds: shows that everything runs, scores mean nothing", {"episodes": 1, "evaluate_every": 1}),
    "short": Preset(
        "40 episodes in each of 10 environments: minutes per run on one core", {"episodes": 40, "evaluate_every": 10}
    ),
    "paper": Preset(
        "800 episodes in each of 10 environments: a million transitions on the cart and pole",
        {"episodes": 800, "evaluate_every": 20},
    ),
}

MEASURES = {
    "shifted": Measure("shifted noise", f"return where the noise has mean {SHIFTED_MEAN:g} instead of 0"),
    "denoising": Measure(
        "denoising factor",
        "1 if embeddings do not move with the noise, 0 if noise moves them as far as another state does",
        bounds=(-1.0, 1.0),
    ),
}


def env_arguments(task: str, seed: int, protocol: Protocol = PROTOCOL) -> dict[str, Any]:
    """Return the keyword arguments of ``bisimgym/DistractingControl-v0`` for a task of the suite."""
    name, _, noise = task.rpartition("-")
    domain, dmc_task, _ = _DOMAINS[name]
    shorter = protocol.episode_steps < EPISODE_STEPS
    limit = {"max_episode_steps": steps_per_episode(task, protocol)} if shorter else {}
    return {
        "domain": domain,
        "task": dmc_task,
        "observation": "state",
        "projection_seed": seed,
        **_NOISES[noise][1],
        **limit,
    }


def make_env(task: str, seed: int, protocol: Protocol = PROTOCOL, **arguments: Any) -> gym.Env:
    """Return one environment of a task. Environments of one seed share the random projection."""
    return gym.make("bisimgym/DistractingControl-v0", **env_arguments(task, seed, protocol), **arguments)


def training_envs(task: str, seed: int, protocol: Protocol = PROTOCOL) -> Any:
    """Return the ten environments that agents learn from."""
    arguments = env_arguments(task, seed, protocol)
    return gym.make_vec("bisimgym/DistractingControl-v0", num_envs=protocol.num_envs, **arguments)


@functools.cache
def steps_per_episode(task: str, protocol: Protocol = PROTOCOL) -> int:
    """Return how many actions an episode takes."""
    from bisimgym.envs.distracting_control.env import default_action_repeat

    domain, dmc_task, _ = _DOMAINS[task.rpartition("-")[0]]
    return -(-protocol.episode_steps // default_action_repeat(domain, dmc_task))


def episode_returns(
    agent: Any, task: str, seed: int, start: int, protocol: Protocol = PROTOCOL, **arguments: Any
) -> np.ndarray:
    """Return ``float64[10]``: what the deterministic agent earns in ten episodes, whose seeds count from ``start``.

    The agent acts in ten environments at once; further arguments are theirs, to change the noise.
    """
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    episodes = protocol.evaluation_episodes
    make = functools.partial(make_env, task, seed, protocol, **arguments)
    envs = SyncVectorEnv([make] * episodes, autoreset_mode=AutoresetMode.DISABLED)
    observation, _ = envs.reset(seed=[start + i for i in range(episodes)])
    total, state = np.zeros(episodes), None
    episode_start = np.ones(episodes, dtype=bool)
    assert envs.action_space.shape is not None
    for _ in range(steps_per_episode(task, protocol)):
        action, state = agent.predict(observation, state=state, episode_start=episode_start, deterministic=True)
        observation, reward, _, _, _ = envs.step(continuous_actions(action, envs.action_space.shape))
        total += reward
        episode_start[:] = False
    envs.close()
    return total


def evaluate(agent: Any, task: str, seed: int, protocol: Protocol = PROTOCOL) -> Outcome:
    """Score an agent: ten episodes in distribution, and ten under shifted noise where there is noise."""
    first = 1_000_000 + 1000 * seed
    outcomes = {"return": episode_returns(agent, task, seed, first, protocol).tolist()}
    if not task.endswith("-clean"):
        shifted = episode_returns(agent, task, seed, first, protocol, noise_mean=SHIFTED_MEAN)
        outcomes["shifted_return"] = shifted.tolist()
    return Outcome.of(_scores(outcomes), outcomes)


def _scores(outcomes: Mapping[str, list]) -> dict[str, float]:
    scores = {"score": float(np.mean(outcomes["return"]))}
    if "shifted_return" in outcomes:
        scores["shifted"] = float(np.mean(outcomes["shifted_return"]))
    return scores


def rescore(task: str, seed: int, outcomes: Mapping[str, list], protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this task.
    """
    columns = {"return"} if task.endswith("-clean") else {"return", "shifted_return"}
    check_columns(task, outcomes, columns, protocol.evaluation_episodes)
    return _scores(outcomes)


def make_learner(spec: Spec, device: str, env: Any, protocol: Protocol = PROTOCOL) -> Any:
    """Return the untrained agent of a run, in ten environments of the task, as SB3 takes them."""
    from bisimgym.baselines.learners import SAC_LEARNERS

    settings = {**_FIXED, **spec.settings}
    episodes = settings.pop("episodes")
    del settings["evaluate_every"]
    transitions = episodes * protocol.num_envs * steps_per_episode(spec.task, protocol)
    settings["buffer_size"] = min(settings["buffer_size"], transitions)
    return SAC_LEARNERS[settings.pop("learner")]("MlpPolicy", env, seed=spec.seed, device=device, **settings)


def more_settings(settings: Mapping[str, Any]) -> dict[str, Further]:
    """Return what the learner of these settings takes beside them."""
    from bisimgym.baselines.core.settings import SACSettings
    from bisimgym.baselines.learners import SAC_LEARNERS

    return further_settings(SAC_LEARNERS[settings["learner"]], get_type_hints(SACSettings), fixed=_FIXED)


def train(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Outcome:
    """Train one agent, from its checkpoint if there is one, and score it.

    Training goes in rounds of one episode in each environment, which all end together. Each round has a seed of its
    own, so that a run that is cut off goes on from its last checkpoint as the unbroken run did.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv

    from bisimgym.baselines.core.checkpoint import save_checkpoint
    from bisimgym.baselines.learners import SAC_LEARNERS
    from bisimgym.benchmarks.measures.denoising import denoising_factor

    env = DummyVecEnv([functools.partial(make_env, spec.task, spec.seed, protocol)] * protocol.num_envs)
    per_round = protocol.num_envs * steps_per_episode(spec.task, protocol)
    checkpoint, algorithm = Path(monitor.checkpoint), SAC_LEARNERS[spec.settings["learner"]]
    model = learner_from(algorithm, monitor, checkpoint, device, lambda: make_learner(spec, device, env, protocol), env)
    episodes = spec.settings["episodes"]

    def complete(_: Sequence[float]) -> Outcome:
        outcome = evaluate(model, spec.task, spec.seed, protocol)
        if spec.task.endswith("-clean"):
            return outcome
        single = make_env(spec.task, spec.seed, protocol)
        factor = denoising_factor(
            model.embed, single, policy=model, episodes=2, max_anchors=protocol.anchors, seed=2_000_000 + spec.seed
        )
        single.close()
        return Outcome(outcome.score, {**outcome.scores, "denoising": float(factor.value)}, outcome.outcomes)

    return train_with_evaluations(
        monitor,
        "transitions",
        done=model.num_timesteps,
        total=episodes * per_round,
        every=spec.settings["evaluate_every"] * per_round,
        train=lambda reached: train_in_episodes(model, episodes, per_round, per_round, spec.seed, reached),
        evaluate=lambda: evaluate(model, spec.task, spec.seed, protocol),
        complete=complete,
        save=lambda: save_checkpoint(model, checkpoint, with_env=False),
        columns=lambda: {"updates": model._n_updates},
    )


def check(spec: Spec) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    check_least(spec.settings, episodes=1, evaluate_every=1, batch_size=1, features_dim=1, learning_starts=1)
    if spec.settings["learner"] not in {method.settings["learner"] for method in METHODS.values()}:
        raise ValueError(f"unknown learner {spec.settings['learner']!r}")
    if spec.variant:  # the suite's own settings are sound, and making networks takes time
        make_learner(spec, "cpu", gym.make("Pendulum-v1"))


SUITE = Suite(
    name="noisy-states",
    version=1,
    title="Noisy states",
    description=(
        "Control tasks of dm_control from states, alone or among 32 dimensions of noise, mixed or not: does a metric "
        "help an agent to ignore what does not matter, beyond normalized embeddings that predict themselves?"
    ),
    score_name="return (of 1000)",
    x_name="transitions",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    rescore=rescore,
    env_ids=lambda task: ["bisimgym/DistractingControl-v0"],
    further_settings=more_settings,
    bounds=(0.0, float(EPISODE_STEPS)),  # rewards of dm_control's suite are from 0 to 1 in every control step
    columns={"return": (0.0, float(EPISODE_STEPS)), "shifted_return": (0.0, float(EPISODE_STEPS))},
)
