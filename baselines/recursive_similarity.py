"""Recursive state similarity over interaction-based embeddings (the Nav2D paper)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from bisimgym.baselines.core.metric_learning import MetricDQN


class RSSDQN(MetricDQN):
    """DQN with recursive state similarity, for finite action spaces.

    Args:
        policy, env, learning_rate: as of :class:`MetricDQN`.
        norm: of the embedding.
        features_dim: numbers in the embedding.
        metric_weight: of the metric's loss.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.RecursiveSimilarity`.
        **kwargs: of :class:`MetricDQN`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-4,
        *,
        norm: str = "none",
        features_dim: int | None = 128,
        metric_weight: float = 1.0,
        metric_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            metric="recursive-similarity",
            norm=norm,
            features_dim=features_dim,
            metric_weight=metric_weight,
            metric_settings=metric_settings,
            **kwargs,
        )
