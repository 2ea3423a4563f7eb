"""Robust DBC: DBC with a bounded norm, inverse dynamics and an intrinsic reward (Kemertas et al. 2021)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from bisimgym.baselines.core.metric_learning import MetricSAC


class RobustDBCSAC(MetricSAC):
    """SAC with Robust DBC. Embeddings are bounded to the norm that distances can have at most.

    Args:
        policy, env, learning_rate: as of :class:`MetricSAC`.
        norm: of the embedding.
        metric_weight: of the metric's loss.
        self_prediction: weight of predicting the next embedding.
        reward_prediction: weight of predicting the reward.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.RobustDBC`.
        **kwargs: of :class:`MetricSAC`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-3,
        *,
        norm: str = "cap",
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
            metric="robust-dbc",
            norm=norm,
            metric_weight=metric_weight,
            self_prediction=self_prediction,
            reward_prediction=reward_prediction,
            metric_settings=metric_settings,
            **kwargs,
        )
