"""SimSR: cosine distances of embeddings of unit length learn a MICo-like metric (Zang et al. 2022)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from bisimgym.baselines.core.metric_learning import MetricSAC


class SimSRSAC(MetricSAC):
    """SAC with SimSR, next embeddings sampled from an ensemble of models.

    Args:
        policy, env, learning_rate: as of :class:`MetricSAC`.
        norm: of the embedding.
        metric_weight: of the metric's loss.
        self_prediction: weight of predicting the next embedding.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.SimSR`.
        **kwargs: of :class:`MetricSAC`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-3,
        *,
        norm: str = "l2",
        metric_weight: float = 1.0,
        self_prediction: float = 1.0,
        metric_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            metric="simsr",
            norm=norm,
            metric_weight=metric_weight,
            self_prediction=self_prediction,
            metric_settings=metric_settings,
            **kwargs,
        )
