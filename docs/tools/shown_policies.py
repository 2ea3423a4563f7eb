"""Trains the policies that play in the pictures of dm_control's tasks: SAC of Stable-Baselines3, from clean states.

pip install ".[all]"
python docs/tools/shown_policies.py [TASK ...]  # writes docs/tools/policies/TASK.npz; some minutes of one core each

A policy is kept as the arrays of its actor, so that pictures are drawn without training anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.envs.files import atomic_write, replaceable_file

FOLDER = Path(__file__).parent / "policies"
#: Agent steps of training by the name of a task: two minutes of a core for 8,000.
STEPS = {
    "CartpoleSwingup": 8_000,
    "BallInCupCatch": 15_000,
    "FingerSpin": 60_000,
    "ReacherEasy": 20_000,
    "CheetahRun": 40_000,
    "WalkerWalk": 40_000,
}
_SEED, _TEST_SEED = 0, 1_000_000
#: That a policy's return is the mean of.
EPISODES = 5

#: Weights and biases of the actor's layers, ``weight0``, ``bias0``, ...; ``steps`` of training and the mean ``score``.
Policy = Mapping[str, np.ndarray]


def make_env(task: str) -> gym.Env:
    """Return a task seen as its clean state."""
    return gym.make(f"bisimgym/Distracting{task}-v0", observation="state", preset="clean")


def train(task: str, steps: int) -> Policy:
    """Return the policy of SAC after so many agent steps, with its mean return over some episodes as ``score``."""
    import torch as th
    from stable_baselines3 import SAC

    th.set_num_threads(1)
    model = SAC(
        "MlpPolicy",
        make_env(task),
        learning_starts=500,
        batch_size=128,
        learning_rate=1e-3,
        policy_kwargs={"net_arch": [64, 64]},
        seed=_SEED,
        device="cpu",
    )
    model.learn(steps)
    policy = arrays(model)
    return {**policy, "steps": np.array(steps), "score": np.array(score(task, policy))}


def arrays(model: Any) -> Policy:
    """Return the layers of the actor of a SAC model."""
    policy = {}
    layers = [layer for layer in [*model.actor.latent_pi, model.actor.mu] if hasattr(layer, "weight")]
    for number, layer in enumerate(layers):
        policy[f"weight{number}"] = layer.weight.detach().numpy()
        policy[f"bias{number}"] = layer.bias.detach().numpy()
    return policy


def act(policy: Policy, state: np.ndarray) -> np.ndarray:
    """Return the mean action ``float32[A]`` of a policy in a state ``float32[D]``."""
    last = sum(name.startswith("weight") for name in policy) - 1
    x = state
    for number in range(last + 1):
        x = policy[f"weight{number}"] @ x + policy[f"bias{number}"]
        x = np.tanh(x) if number == last else np.maximum(x, 0)
    return x.astype(np.float32)


def score(task: str, policy: Policy, episodes: int = EPISODES) -> float:
    """Return the mean return of a policy over episodes that it was not trained on; 1000 is the most."""
    env, total = make_env(task), 0.0
    for episode in range(episodes):
        observation, _ = env.reset(seed=_TEST_SEED + episode)
        ended = False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(act(policy, observation))
            total += float(reward)
            ended = terminated or truncated
    return total / episodes


def load(task: str) -> Policy | None:
    """Return the kept policy of a task, or None where there is none."""
    path = FOLDER / f"{task}.npz"
    return dict(np.load(path)) if path.is_file() else None


def _is_policy(file: Path) -> bool:
    return "weight0" in np.load(file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the policies of some tasks and keep them."""
    parser = argparse.ArgumentParser(description="Train and keep the policies that play in the pictures of tasks.")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"{', '.join(STEPS)} (default: all)")
    tasks = parser.parse_args(arguments).tasks or list(STEPS)
    if unknown := set(tasks) - set(STEPS):
        parser.error(f"no training is set for {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    for task in tasks:
        path = replaceable_file(FOLDER / f"{task}.npz", "a policy", _is_policy)
        policy = train(task, STEPS[task])
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **policy)
        print(f"{task}: return {policy['score']:.0f} after {STEPS[task]} steps", flush=True)


if __name__ == "__main__":
    main()
