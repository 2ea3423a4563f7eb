"""MICo: distances of embeddings learn how far apart values under the policy are (Castro et al. 2021)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC


class MICoSAC(MetricSAC):
    """SAC with the MICo loss on one permutation of the batch, gradients through both sides.

    Args:
        policy, env, learning_rate: as of :class:`MetricSAC`.
        metric_weight: of the metric's loss.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.MICo`.
        **kwargs: of :class:`MetricSAC`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-3,
        *,
        metric_weight: float = 0.5,
        metric_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            metric="mico",
            metric_weight=metric_weight,
            metric_settings=metric_settings,
            **kwargs,
        )


class MICoDQN(MetricDQN):
    """DQN with the MICo loss on all pairs of a batch, the second side embedded by the target, as in its Atari agents.

    Args:
        policy, env, learning_rate: as of :class:`MetricDQN`.
        metric_weight: of the metric's loss.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.MICo`.
        **kwargs: of :class:`MetricDQN`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-4,
        *,
        metric_weight: float = 0.01,
        metric_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            metric="mico",
            metric_weight=metric_weight,
            metric_settings={"all_pairs": True, "second": "target", **(metric_settings or {})},
            **kwargs,
        )
