"""Self-prediction: the baseline that every metric has to beat (Luo et al. 2025)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from bisimgym.baselines.core.metric_learning import MetricSAC


class SelfPredictionSAC(MetricSAC):
    """SAC with LayerNorm on the embedding and the loss of predicting the next embedding; no metric.

    Args:
        policy, env, learning_rate: as of :class:`MetricSAC`.
        self_prediction: weight of predicting the next embedding.
        **kwargs: of :class:`MetricSAC`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-3,
        *,
        self_prediction: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            self_prediction=self_prediction,
            **kwargs,
        )
