"""DeepMDP: embeddings from which rewards and next embeddings can be predicted (Gelada et al. 2019)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from bisimgym.baselines.core.metric_learning import MetricSAC


class DeepMDPSAC(MetricSAC):
    """SAC with both predictions and no metric.

    Args:
        policy, env, learning_rate: as of :class:`MetricSAC`.
        self_prediction: weight of predicting the next embedding.
        reward_prediction: weight of predicting the reward.
        reward_from: what rewards are predicted from: "embedding" and action, or the predicted "next" embedding.
        **kwargs: of :class:`MetricSAC`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-3,
        *,
        self_prediction: float = 1.0,
        reward_prediction: float = 1.0,
        reward_from: str = "embedding",
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            self_prediction=self_prediction,
            reward_prediction=reward_prediction,
            reward_from=reward_from,
            **kwargs,
        )
