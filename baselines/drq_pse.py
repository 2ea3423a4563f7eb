"""DrQ with policy similarity embeddings, PSE (Agarwal et al. 2021, section 6.2): learn twice, and align episodes.

A trained agent acts in two environments that differ in their distractions alone. The policy similarity metric (PSM)
between the two episodes, solved exactly, says which states are acted in alike, now and later; a contrastive loss gives
the actor of a second agent hidden layers that agree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from bisimgym.baselines import core  # noqa: F401

# isort: split
import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from bisimgym.baselines.core.auxiliary import fused_where_possible
from bisimgym.baselines.core.sac import EncoderSACPolicy
from bisimgym.baselines.core.settings import SACSettings
from bisimgym.baselines.drq import DrQSAC
from bisimgym.baselines.metrics import trajectory_similarity
from bisimgym.baselines.pse.losses import anchored_contrastive_loss


@dataclass(frozen=True)
class EpisodePair:
    """Two episodes of the same states and actions that look different.

    Attributes:
        observations: ``uint8[2, T, ...]``, as the environments give them.
        actions: ``float64[T, A]``.
        distance: ``float64[T, T]``, the PSM between the states of the first and of the second.
    """

    observations: np.ndarray
    actions: np.ndarray
    distance: np.ndarray


def action_cost(actions: np.ndarray) -> np.ndarray:
    """Return ``float64[T, T]``: the mean over dimensions of the absolute differences of actions ``[T, A]``."""
    return np.abs(actions[:, None] - actions[None]).mean(axis=-1)


def collect_pairs(
    agent: Any, env: gym.Env, other: gym.Env, count: int, seed: int = 0, discount: float = 0.99
) -> list[EpisodePair]:
    """Return pairs of episodes: an agent acts in one environment, and the other is given the same actions.

    Source: Agarwal et al. (2021), appendix I and its code: both episodes start from one seed, and the cost of two
    states is the mean difference of the actions taken.

    Args:
        agent: with SB3's ``predict``; it acts deterministically on what ``env`` shows.
        env, other: environments that differ in their distractions alone.
        count: of pairs, at least 1.
        seed: of the first pair; those that follow count from it.
        discount: of the metric, in [0, 1].

    Raises:
        ValueError: for a count below 1, or if rewards differ, as they cannot where states are the same.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    pairs = []
    for start in range(seed, seed + count):
        seen, actions, rewards = _act(agent, env, start)
        shown, other_rewards = _replay(actions, other, start)
        if not np.allclose(rewards, other_rewards, rtol=0, atol=1e-9):
            raise ValueError(
                f"rewards of the two environments differ from step {int(np.argmax(rewards != other_rewards))} on with "
                f"seed {start} and the same actions: they must differ in their distractions alone"
            )
        distance = trajectory_similarity(action_cost(actions), discount)
        pairs.append(EpisodePair(np.stack([seen, shown]), actions, distance))
    return pairs


def _act(agent: Any, env: gym.Env, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    observation, _ = env.reset(seed=seed)
    seen, actions, rewards, ended = [], [], [], False
    while not ended:
        action, _ = agent.predict(observation, deterministic=True)
        seen.append(observation)
        actions.append(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        ended = terminated or truncated
    return np.stack(seen), np.stack(actions).astype(np.float64), np.array(rewards, np.float64)


def _replay(actions: np.ndarray, env: gym.Env, seed: int) -> tuple[np.ndarray, np.ndarray]:
    observation, _ = env.reset(seed=seed)
    seen, rewards = [], []
    for action in actions.astype(np.float32):
        seen.append(observation)
        observation, reward, _, _, _ = env.step(action)
        rewards.append(reward)
    return np.stack(seen), np.array(rewards, np.float64)


class DrQPSESAC(DrQSAC):
    """DrQ whose actor is aligned by :func:`~bisimgym.baselines.pse.losses.anchored_contrastive_loss`.

    In every update, some states of one episode of a pair, drawn at random, are anchors, and all states of the other are
    what they are compared with; each episode is shifted as a whole. An optimizer of its own steps the convolutions, the
    actor's head and hidden layers, and a projection. Only "PixelPolicy" has these.

    Pairs are not saved with the model: give them to :meth:`align` after loading.

    Args:
        pairs: of :func:`collect_pairs`; without, until :meth:`align`, this is DrQ.
        pse_weight: of the contrastive loss.
        pse_temperature: of its logits.
        pse_beta: bandwidth of the similarities that weight them.
        pse_anchors: states of an episode that are anchors; all of them if it has fewer.
        pse_dim: numbers in a projection.
    """

    def __init__(
        self,
        policy: str | type[EncoderSACPolicy],
        env: Any,
        learning_rate: float | Schedule | None = None,
        *,
        pairs: Sequence[EpisodePair] | None = None,
        pse_weight: float = 1.0,
        pse_temperature: float = 0.1,
        pse_beta: float = 0.1,
        pse_anchors: int = 128,
        pse_dim: int = 256,
        **settings: Unpack[SACSettings],
    ):
        for name, value in (("pse_temperature", pse_temperature), ("pse_beta", pse_beta), ("pse_weight", pse_weight)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")
        for name, count in (("pse_anchors", pse_anchors), ("pse_dim", pse_dim)):
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {count!r}")
        self.pse_weight, self.pse_temperature, self.pse_beta = pse_weight, pse_temperature, pse_beta
        self.pse_anchors, self.pse_dim = pse_anchors, pse_dim
        self._pairs: list[tuple[th.Tensor, th.Tensor]] = []
        super().__init__(policy, env, learning_rate, **settings)
        if pairs is not None:
            self.align(pairs)

    def _setup_model(self) -> None:
        super()._setup_model()
        policy = self.policy
        if not policy.parts_encoder:
            raise ValueError(f'PSE aligns the hidden layers of "PixelPolicy", got {type(policy).__name__}')
        mean: Any = self.actor.mu
        self.projection = nn.Sequential(nn.Linear(mean.in_features, self.pse_dim), nn.ReLU()).to(self.device)
        parts = (policy.encoder.convolutions, policy.actor_head, self.actor.latent_pi, self.projection)
        self.pse_optimizer = th.optim.Adam(
            [parameter for part in parts for parameter in part.parameters()],
            **{"lr": self.lr_schedule(1), **fused_where_possible(th.optim.Adam, None)},
        )

    def align(self, pairs: Sequence[EpisodePair]) -> None:
        """Take the pairs that embeddings are aligned to.

        Raises:
            ValueError: for none, or observations of another space.
        """
        if not pairs:
            raise ValueError("pairs must be at least one pair of episodes, got none")
        taken = []
        for pair in pairs:
            length = len(pair.distance)
            images, _ = self.policy.obs_to_tensor(pair.observations.reshape(-1, *pair.observations.shape[2:]))
            distance = th.as_tensor(pair.distance, dtype=th.float32, device=self.device)
            taken.append((images.reshape(2, length, *images.shape[1:]), distance))
        self._pairs = taken

    def projected(self, images: th.Tensor) -> th.Tensor:
        """Return what the contrastive loss compares, ``float[B, pse_dim]``, of images in [0, 1]."""
        policy = self.policy
        return self.projection(self.actor.latent_pi(policy.actor_head(policy.encoder.trunk(images))))

    def pse_loss(self) -> th.Tensor:
        """Return the weighted contrastive loss of one pair and some anchors, drawn at random."""
        rng = self.augmentation_stream.on(self.device)

        def draw(high: int, count: int) -> th.Tensor:
            return th.randperm(high, generator=rng, device=self.device)[:count]

        images, distance = self._pairs[int(draw(len(self._pairs), 1))]
        if int(draw(2, 1)):
            images, distance = images.flip(0), distance.T
        anchors = draw(len(distance), self.pse_anchors)
        scaled = preprocess_obs(images.flatten(0, 1), self.policy.observation_space, self.policy.normalize_images)
        one, two = (self._shifted(episode, rng) for episode in scaled.reshape(images.shape))  # type: ignore[union-attr]
        embedded = self.projected(th.cat([one[anchors], two]))
        loss = anchored_contrastive_loss(
            embedded[: len(anchors)], embedded[len(anchors) :], distance[anchors], self.pse_temperature, self.pse_beta
        )
        return self.pse_weight * loss

    def _shifted(self, episode: th.Tensor, rng: th.Generator) -> th.Tensor:
        """Return images ``float[T, C, H, W]`` of an episode, all shifted alike."""
        if self.augmentation is None:
            return episode
        return self.augmentation(episode.flatten(0, 1)[None], rng)[0].reshape(episode.shape)

    def further_steps(self) -> dict[str, th.Tensor]:
        if not self._pairs:
            return {}
        loss = self.pse_loss()
        self.optimize(loss, [self.pse_optimizer], self.max_grad_norm)
        return {"pse_loss": loss.detach()}

    def main_optimizers(self) -> list[th.optim.Optimizer]:
        return [*super().main_optimizers(), self.pse_optimizer]

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "projection", "pse_optimizer", "_pairs"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        return [*state_dicts, "projection", "pse_optimizer"], variables
