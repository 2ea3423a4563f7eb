"""DBC: distances of embeddings learn bisimulation under the policy, with a Gaussian model (Zhang et al. 2021)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC


class DBCSAC(MetricSAC):
    """SAC with DBC: the metric's loss, and transition and reward model, which train the encoder too.

    Args:
        policy, env, learning_rate: as of :class:`MetricSAC`.
        metric_weight: of the metric's loss.
        self_prediction: weight of predicting the next embedding.
        reward_prediction: weight of predicting the reward.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.DBC`.
        **kwargs: of :class:`MetricSAC`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-3,
        *,
        metric_weight: float = 0.5,
        self_prediction: float = 1.0,
        reward_prediction: float = 1.0,
        metric_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            metric="dbc",
            metric_weight=metric_weight,
            self_prediction=self_prediction,
            reward_prediction=reward_prediction,
            metric_settings=metric_settings,
            **kwargs,
        )


class DBCDQN(MetricDQN):
    """DQN with DBC: the metric's loss, and transition and reward model, which train the encoder too.

    Args:
        policy, env, learning_rate: as of :class:`MetricDQN`.
        metric_weight: of the metric's loss.
        self_prediction: weight of predicting the next embedding.
        reward_prediction: weight of predicting the reward.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.DBC`.
        **kwargs: of :class:`MetricDQN`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-4,
        *,
        metric_weight: float = 0.5,
        self_prediction: float = 1.0,
        reward_prediction: float = 1.0,
        metric_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            metric="dbc",
            metric_weight=metric_weight,
            self_prediction=self_prediction,
            reward_prediction=reward_prediction,
            metric_settings=metric_settings,
            **kwargs,
        )
