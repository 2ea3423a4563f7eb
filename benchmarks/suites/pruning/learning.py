"""Agents and network in turns: PPO with the network fixed, then the network with the agents fixed."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.pruning.problems import Loaded
from bisimgym.benchmarks.suites.pruning.rules import (
    AfterRemoval,
    RuntimeRatios,
    TradeOff,
    permanent_masks,
    uniform_ratio,
)
from bisimgym.benchmarks.suites.pruning.settings import STANDARD
from bisimgym.envs.channel_pruning.fitting import BATCH_SIZE, fit
from bisimgym.envs.channel_pruning.masks import median_distances
from bisimgym.envs.channel_pruning.network import GatedNetwork
from bisimgym.envs.channel_pruning.task import GRID, MOST_PLANS

ENV_ID = "bisimgym/ChannelPruning-v0"


class PruningRun:
    """What a run of the suite has learned so far; :meth:`advance` does the next round.

    A round begins with fresh optimizers and a seed of its own, so that a run that was cut off after any round goes on
    as the unbroken run does.

    Args:
        settings: of the run.
        problem: of the task; its network is not changed.
        seed: of the run.
    """

    def __init__(self, settings: Mapping[str, Any], problem: Loaded, seed: int):
        self.settings = {**STANDARD, **settings}
        self.problem, self.density, self.seed = problem, problem.density, seed
        self.rounds_done = 0
        self.policies: dict[str, dict[str, th.Tensor]] = {}
        self.agents: dict[str, Any] = {}
        self.gap_closed: float | None = None
        self.network: GatedNetwork = copy.deepcopy(problem.network)
        self.backbone = self.network.backbone
        self.trust = float(settings["trust"])
        self.scores: list[th.Tensor] | None = None
        if settings["removed_by"] == "median":
            layers = range(len(self.backbone.layers))
            self.scores = [median_distances(self.network.conv(layer).weight) for layer in layers]
        self.caps = {name: self.backbone.cap(name, self.density) for name in ("macs", "parameters")}
        self.runtime_ratio = 1.0
        if settings["runtime"] != "none":
            self.runtime_ratio = uniform_ratio(self.backbone, "macs", self.caps["macs"])
        self.static_plan = np.ones(len(self.backbone.layers))
        if settings["static"] == "uniform":
            self.static_plan[:] = uniform_ratio(self.backbone, "parameters", self.caps["parameters"])
        elif settings["static"] == "enumerated":
            self.static_plan = self._envs("static", 1).unwrapped.task.best_plan()
        elif settings["static"] in ("ppo", "ddpg"):
            self.static_plan[:] = self.density

    def advance(self) -> None:
        """Do one round."""
        settings, number = self.settings, self.rounds_done
        separate, half = settings["order"] == "separate", settings["rounds"] // 2
        static_learns = settings["static"] == "ppo" and not (separate and number >= half)
        static_learns |= settings["static"] == "ddpg" and number == 0  # AMC searches once, and then tunes
        runtime_learns = settings["runtime"] in ("ppo", "dqn") and not (separate and number < half)
        with th.random.fork_rng(devices=[]):
            seed = self.seed * 1000 + number
            th.manual_seed(seed)
            if static_learns:
                self._learn("static", seed)
                if number == 0 and self.trust == 0:
                    self.gap_closed = self._gap_closed()
            if runtime_learns:
                self._learn("runtime", seed)
            fit(
                self.network,
                self.problem.train,
                self._batches(last=number + 1 == settings["rounds"]),
                seed,
                lambda rng: self.training_rule(),
                settings["network_rate"],
                augment=self.problem.augment,
            )
        self.rounds_done += 1

    def _batches(self, last: bool) -> int:
        if "batches" in self.settings:
            return self.settings["last_batches" if last else "batches"]
        return self.settings["epochs"] * max(len(self.problem.train.labels) // BATCH_SIZE, 1)

    def runtime_ratios(self) -> RuntimeRatios:
        """Return what the runtime agent does at the mean of its policy."""
        return RuntimeRatios(self.backbone, self.caps["macs"], self.agents.get("runtime", self.runtime_ratio))

    @property
    def ranking(self) -> str:
        """By which importance the runtime agent's channels are ranked: groups of RNP are the same for every picture."""
        return "static" if self.settings["runtime"] == "dqn" else "runtime"

    def training_rule(self) -> TradeOff:
        """Return the masks of training."""
        return TradeOff(self.runtime_ratios(), self.static_plan, self.trust, self.scores, self.ranking)

    def permanent(self) -> list[th.Tensor]:
        """Return ``bool[C]`` for each layer: what is left after removal."""
        return permanent_masks(self.network, self.static_plan, self.trust, self.scores)

    def removal_rule(self) -> AfterRemoval:
        """Return the masks of the network after removal."""
        return AfterRemoval(self.runtime_ratios(), self.permanent(), self.trust, self.ranking)

    def _envs(self, agent: str, num_envs: int) -> Any:
        alone = self.trust == (1.0 if agent == "runtime" else 0.0)
        other: Any = self.static_plan.tolist() if agent == "runtime" else self.agents.get("runtime", self.runtime_ratio)
        return gym.make_vec(
            ENV_ID,
            num_envs=num_envs,
            agent=agent,
            density=self.density,
            trust=None if alone else self.trust,
            partner=None if alone else other,
            ranking=self.ranking,
            data=self.problem.train,
            network=self.network,
        )

    def _learn(self, agent: str, seed: int) -> None:
        settings = self.settings
        num_envs, episodes = settings["num_envs"], settings["iterations"] * settings["num_envs"]
        if settings[agent] == "ddpg":
            num_envs, episodes = 1, settings["episodes"] * settings["rounds"]
        envs = self._envs(agent, num_envs)
        model = self._model(agent, envs, seed)
        if agent in self.policies:
            model.policy.load_state_dict(self.policies[agent])
        model.learn(episodes * len(self.backbone.layers))
        self._adopt(agent, model, envs.unwrapped.task)
        self.policies[agent] = {name: value.clone() for name, value in model.policy.state_dict().items()}
        if agent == "static":
            self.static_plan = plan_of(self.agents[agent], envs.unwrapped.task)

    def _model(self, agent: str, envs: Any, seed: int) -> Any:
        settings = self.settings
        if settings[agent] == "ddpg":
            return make_ddpg(envs, seed)
        if settings[agent] == "dqn":
            from bisimgym.benchmarks.suites.pruning.rnp import make_dqn

            return make_dqn(envs, seed, settings["agent_rate"], settings["features"], settings["penalty"])
        return make_ppo(envs, self.density, seed, settings)

    def _adopt(self, agent: str, model: Any, task: Any) -> None:
        from bisimgym.baselines.layerwise_ppo import LayerwiseAgent
        from bisimgym.benchmarks.suites.pruning.rnp import GroupAgent

        adapters = {"ppo": lambda: LayerwiseAgent(model.policy), "dqn": lambda: GroupAgent(model, task)}
        self.agents[agent] = adapters.get(self.settings[agent], lambda: model)()

    def _gap_closed(self) -> float | None:
        """Return what share of the gap between uniform and enumerated plan the static agent closes; 0 without a gap.

        None where plans are too many to be enumerated.
        """
        layers = len(self.backbone.layers)
        if len(GRID) ** layers > MOST_PLANS:
            return None
        task = self._envs("static", 1).unwrapped.task
        uniform = np.full(layers, uniform_ratio(self.backbone, "parameters", self.caps["parameters"]))
        learned, low, high = (task.mean_return(plan) for plan in (self.static_plan, uniform, task.best_plan()))
        return (learned - low) / (high - low) if high - low > 1e-3 else 0.0

    def save(self, path: Path) -> None:
        """Write all of it to a file."""
        th.save(
            {
                "rounds_done": self.rounds_done,
                "network": self.network.state_dict(),
                "policies": self.policies,
                "static_plan": th.from_numpy(np.array(self.static_plan)),
                "gap_closed": self.gap_closed,
            },
            path,
        )

    def restore(self, path: Path) -> PruningRun:
        """Take what :meth:`save` wrote, and return self."""
        found = th.load(io.BytesIO(path.read_bytes()), weights_only=True)
        self.rounds_done, self.gap_closed = found["rounds_done"], found["gap_closed"]
        self.network.load_state_dict(found["network"])
        self.network.eval()
        self.static_plan = found["static_plan"].numpy()
        for agent, policy in found["policies"].items():
            if self.settings[agent] in ("ppo", "dqn"):
                envs = self._envs(agent, 1)
                model = self._model(agent, envs, 0)
                model.policy.load_state_dict(policy)
                self._adopt(agent, model, envs.unwrapped.task)
            self.policies[agent] = policy
        return self


def make_ppo(envs: Any, density: float, seed: int, settings: Mapping[str, Any]) -> Any:
    """Return PPO for one agent: whole episodes, one encoder per layer, means that start at the budget."""
    from stable_baselines3 import PPO

    from bisimgym.baselines.layerwise_ppo import EpisodeHistory, LayerEncoder, LayerRecurrence, LayerwisePolicy
    from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

    task = envs.unwrapped.task
    recurrent = settings["recurrent"]
    return PPO(
        LayerwisePolicy,
        EpisodeHistory(SB3VecEnv(envs), task.num_layers) if recurrent else SB3VecEnv(envs),
        learning_rate=settings["agent_rate"],
        n_steps=task.num_layers,
        batch_size=max(envs.num_envs * task.num_layers // settings["minibatches"], 2),
        n_epochs=settings["ppo_epochs"],
        gamma=0.999,
        gae_lambda=0.95,
        clip_range=0.2,
        clip_range_vf=None,
        ent_coef=1.0,  # the weight of the range penalty
        vf_coef=0.5,
        max_grad_norm=0.5,
        policy_kwargs={
            "first_mean": float(task.action(np.array([density]))[0, 0]),
            "log_std_init": settings["log_std"],
            "net_arch": [],
            "features_extractor_class": LayerRecurrence if recurrent else LayerEncoder,
            "features_extractor_kwargs": {"num_layers": task.num_layers, "features_dim": settings["features"]},
        },
        seed=seed,
        device="cpu",
    )


def make_ddpg(envs: Any, seed: int) -> Any:
    """Return DDPG with the settings of AMC (mit-han-lab/amc) where SB3 has them.

    Noise is constant, both learning rates are the actor's, and in place of a moving-average baseline rewards are
    divided by their spread and clipped: plans far above the budget are a thousand times as bad as others.
    """
    from stable_baselines3 import DDPG
    from stable_baselines3.common.noise import NormalActionNoise
    from stable_baselines3.common.vec_env import VecNormalize

    from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

    return DDPG(
        "MlpPolicy",
        VecNormalize(SB3VecEnv(envs), norm_obs=False, clip_reward=3.0, gamma=1.0),
        learning_rate=1e-4,
        buffer_size=10_000,
        learning_starts=100 * envs.unwrapped.task.num_layers,
        batch_size=64,
        tau=0.01,
        gamma=1.0,
        action_noise=NormalActionNoise(np.zeros(1), np.full(1, 0.2)),
        policy_kwargs={"net_arch": [300, 300]},
        seed=seed,
        device="cpu",
    )


def plan_of(model: Any, task: Any) -> np.ndarray:
    """Return ``float64[T]``: the ratios of a static agent's deterministic policy, which sees no picture."""
    state, ratios = task.initial(np.zeros(1, np.uint64), {"image": 0}), []
    for _ in range(task.num_layers):
        action, _ = model.predict(task.observe(state), deterministic=True)
        action = np.clip(action, -1, 1)
        ratios.append(float(task.ratio(action)[0]))
        state = task.transition(state, action)[0]
    return np.array(ratios)
