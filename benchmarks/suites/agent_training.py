"""Agents of Stable-Baselines3 in runs: they come from their checkpoint, and train so that a run can stop and go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.suites.base import Monitor
from bisimgym.benchmarks.suites.training import Reached, learner_of


def learner_from(
    algorithm: type, monitor: Monitor, folder: Path, device: str, make: Callable[[], Any], env: Any = None
) -> Any:
    """Return the agent in the folder of a checkpoint, or a new one if there is none yet.

    Args:
        algorithm: its class.
        monitor: of the run.
        folder: of its checkpoint.
        device: that it computes on.
        make: returns the untrained agent.
        env: for a checkpoint without one.
    """
    from bisimgym.baselines.core.checkpoint import load_checkpoint, recover_checkpoint

    recover_checkpoint(folder)
    return learner_of(monitor, folder, lambda found: load_checkpoint(algorithm, found, device, env=env), make)


def train_in_one_piece(
    model: Any, total: int, reached: Reached, on_step: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Train an agent from where it stands to the end, and report before every rollout.

    Nothing is cut: exploration follows the share of the whole that is done.

    Args:
        model: the agent.
        total: transitions, of all environments.
        reached: takes the number of transitions that are done.
        on_step: takes the local variables of SB3's ``collect_rollouts`` after every step.
    """
    from stable_baselines3.common.callbacks import BaseCallback

    class BetweenSteps(BaseCallback):
        def _on_rollout_start(self) -> None:
            reached(model.num_timesteps)

        def _on_step(self) -> bool:
            if on_step is not None:
                on_step(self.locals)
            return True

    if (rest := total - model.num_timesteps) > 0:
        model.learn(rest, callback=BetweenSteps(), log_interval=None, reset_num_timesteps=False)


def train_in_episodes(model: Any, episodes: int, actions: int, steps: int, seed: int, reached: Reached) -> None:
    """Train an agent from where it stands to the end, and report after each episode.

    All environments end theirs together. Each has a seed of its own, so that a run that is cut off goes on from its
    last checkpoint as the unbroken run did.

    Args:
        model: the agent.
        episodes: in each environment.
        actions: of an episode, of all environments together.
        steps: that an episode counts as.
        seed: of the run.
        reached: takes the number of steps that are done.
    """
    while model.num_timesteps < episodes * actions:
        episode = model.num_timesteps // actions
        model.env.seed(10_000_000 * (seed + 1) + model.n_envs * episode)
        model._last_obs = None  # start a new episode everywhere
        model.learn(actions, reset_num_timesteps=False, log_interval=None)
        reached((episode + 1) * steps)
