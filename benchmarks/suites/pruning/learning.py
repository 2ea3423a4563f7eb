"""Agents and network in turns: PPO with the network fixed, then the network with the agents fixed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.pruning.rules import (
    AfterRemoval,
    RuntimeRatios,
    TradeOff,
    permanent_masks,
    uniform_ratio,
)
from bisimgym.envs.channel_pruning.datasets import LabeledImages, digits
from bisimgym.envs.channel_pruning.fitting import fit
from bisimgym.envs.channel_pruning.masks import median_distances
from bisimgym.envs.channel_pruning.network import GatedNetwork
from bisimgym.envs.channel_pruning.stored import stored_network

ENV_ID = "bisimgym/ChannelPruning-v0"
BACKBONE = "digits-4"
#: Outputs of the agents' encoders: 128 for M-CifarNet in the thesis, whose layers are eight times as wide.
_FEATURES = 32


class PruningRun:
    """What a run of the suite has learned so far; :meth:`advance` does the next round.

    A round begins with fresh optimizers and a seed of its own, so that a run that was cut off after any round goes on
    as the unbroken run does.

    Args:
        settings: of the run.
        density: of the task.
        seed: of the run.
    """

    def __init__(self, settings: Mapping[str, Any], density: float, seed: int):
        self.settings, self.density, self.seed = settings, density, seed
        self.rounds_done = 0
        self.policies: dict[str, dict[str, th.Tensor]] = {}
        self.models: dict[str, Any] = {}
        self.gap_closed: float | None = None
        self.data: LabeledImages = digits("train")
        self.network: GatedNetwork = stored_network(BACKBONE)
        self.backbone = self.network.backbone
        self.trust = float(settings["trust"])
        self.scores: list[th.Tensor] | None = None
        if settings["removed_by"] == "median":
            layers = range(len(self.backbone.layers))
            self.scores = [median_distances(self.network.conv(layer).weight) for layer in layers]
        self.caps = {name: self.backbone.cap(name, density) for name in ("macs", "parameters")}
        self.runtime_ratio = 1.0
        if settings["runtime"] != "none":
            self.runtime_ratio = uniform_ratio(self.backbone, "macs", self.caps["macs"])
        self.static_plan = np.ones(len(self.backbone.layers))
        if settings["static"] == "uniform":
            self.static_plan[:] = uniform_ratio(self.backbone, "parameters", self.caps["parameters"])
        elif settings["static"] == "enumerated":
            self.static_plan = self._envs("static", 1).unwrapped.task.best_plan()
        elif settings["static"] in ("ppo", "ddpg"):
            self.static_plan[:] = density

    def advance(self) -> None:
        """Do one round."""
        settings, number = self.settings, self.rounds_done
        separate, half = settings["order"] == "separate", settings["rounds"] // 2
        static_learns = settings["static"] == "ppo" and not (separate and number >= half)
        static_learns |= settings["static"] == "ddpg" and number == 0  # AMC searches once, and then tunes
        runtime_learns = settings["runtime"] == "ppo" and not (separate and number < half)
        with th.random.fork_rng(devices=[]):
            seed = self.seed * 1000 + number
            th.manual_seed(seed)
            if static_learns:
                self._learn("static", seed)
                if number == 0 and self.trust == 0:
                    self.gap_closed = self._gap_closed()
            if runtime_learns:
                self._learn("runtime", seed)
            fit(self.network, self.data, settings["epochs"], seed, lambda rng: self.training_rule())
        self.rounds_done += 1

    def runtime_ratios(self) -> RuntimeRatios:
        """Return what the runtime agent does at the mean of its policy."""
        model = self.models.get("runtime")
        return RuntimeRatios(self.backbone, self.caps["macs"], model.policy if model else self.runtime_ratio)

    def training_rule(self) -> TradeOff:
        """Return the masks of training."""
        return TradeOff(self.runtime_ratios(), self.static_plan, self.trust, self.scores)

    def permanent(self) -> list[th.Tensor]:
        """Return ``bool[C]`` for each layer: what is left after removal."""
        return permanent_masks(self.network, self.static_plan, self.trust, self.scores)

    def removal_rule(self) -> AfterRemoval:
        """Return the masks of the network after removal."""
        return AfterRemoval(self.runtime_ratios(), self.permanent(), self.trust)

    def _envs(self, agent: str, num_envs: int) -> Any:
        alone = self.trust == (1.0 if agent == "runtime" else 0.0)
        other: Any = self.static_plan.tolist() if agent == "runtime" else self.models.get("runtime", self.runtime_ratio)
        return gym.make_vec(
            ENV_ID,
            num_envs=num_envs,
            agent=agent,
            density=self.density,
            trust=None if alone else self.trust,
            partner=None if alone else other,
            network=self.network,
        )

    def _learn(self, agent: str, seed: int) -> None:
        settings = self.settings
        if settings[agent] == "ddpg":
            envs, episodes = self._envs(agent, 1), settings["episodes"] * settings["rounds"]
            model = make_ddpg(envs, seed)
        else:
            envs = self._envs(agent, settings["num_envs"])
            episodes = settings["iterations"] * settings["num_envs"]
            model = make_ppo(envs, self.density, seed)
        if agent in self.policies:
            model.policy.load_state_dict(self.policies[agent])
        model.learn(episodes * len(self.backbone.layers))
        self._adopt(agent, model, envs)

    def _adopt(self, agent: str, model: Any, envs: Any) -> None:
        self.models[agent] = model
        self.policies[agent] = {name: value.clone() for name, value in model.policy.state_dict().items()}
        if agent == "static":
            self.static_plan = plan_of(model, envs.unwrapped.task)

    def _gap_closed(self) -> float:
        """Return what share of the gap between uniform and enumerated plan the static agent closes; 0 without a gap."""
        task = self._envs("static", 1).unwrapped.task
        uniform = np.full(
            len(self.backbone.layers), uniform_ratio(self.backbone, "parameters", self.caps["parameters"])
        )
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
            if self.settings[agent] == "ppo":
                model = make_ppo(self._envs(agent, 1), self.density, 0)
                model.policy.load_state_dict(policy)
                self.models[agent] = model
            self.policies[agent] = policy
        return self


def make_ppo(envs: Any, density: float, seed: int) -> Any:
    """Return PPO for one agent: whole episodes, one encoder per layer, means that start at the budget."""
    from stable_baselines3 import PPO

    from bisimgym.baselines.layerwise_ppo import LayerEncoder, LayerwisePolicy
    from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

    task = envs.unwrapped.task
    return PPO(
        LayerwisePolicy,
        SB3VecEnv(envs),
        learning_rate=1e-3,
        n_steps=task.num_layers,
        batch_size=max(envs.num_envs * task.num_layers // 4, 2),
        n_epochs=4,
        gamma=0.999,
        gae_lambda=0.95,
        clip_range=0.2,
        clip_range_vf=None,
        ent_coef=1.0,  # the weight of the range penalty
        vf_coef=0.5,
        max_grad_norm=0.5,
        policy_kwargs={
            "first_mean": float(task.action(np.array([density]))[0, 0]),
            "log_std_init": -2.0,
            "net_arch": [],
            "features_extractor_class": LayerEncoder,
            "features_extractor_kwargs": {"num_layers": task.num_layers, "features_dim": _FEATURES},
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
