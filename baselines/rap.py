"""RAP: a metric between expected next states, with the variance of rewards taken out (Chen and Pan 2022)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC


class RAPSAC(MetricSAC):
    """SAC with RAP.

    Args:
        policy, env, learning_rate: as of :class:`MetricSAC`.
        features_dim: numbers in the embedding.
        metric_weight: of the metric's loss.
        self_prediction: weight of predicting the next embedding.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.RAP`.
        **kwargs: of :class:`MetricSAC`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 5e-4,
        *,
        features_dim: int = 100,
        metric_weight: float = 0.5,
        self_prediction: float = 1e-4,
        metric_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            metric="rap",
            features_dim=features_dim,
            metric_weight=metric_weight,
            self_prediction=self_prediction,
            metric_settings=metric_settings,
            **kwargs,
        )


class RAPDQN(MetricDQN):
    """DQN with RAP.

    Args:
        policy, env, learning_rate: as of :class:`MetricDQN`.
        features_dim: numbers in the embedding.
        metric_weight: of the metric's loss.
        self_prediction: weight of predicting the next embedding.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.RAP`.
        **kwargs: of :class:`MetricDQN`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-4,
        *,
        features_dim: int = 100,
        metric_weight: float = 0.5,
        self_prediction: float = 1e-4,
        metric_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            metric="rap",
            features_dim=features_dim,
            metric_weight=metric_weight,
            self_prediction=self_prediction,
            metric_settings=metric_settings,
            **kwargs,
        )
