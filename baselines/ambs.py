"""AMBS: learned distances of rewards and of dynamics, and a learned balance of the two (Chen and Pan 2022)."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from bisimgym.baselines.core.metric_learning import MetricSAC


class AMBSSAC(MetricSAC):
    """SAC with AMBS. With ``augmentation``, pairs are compared in two views, as in the publication.

    Args:
        policy, env, learning_rate: as of :class:`MetricSAC`.
        features_dim: numbers in the embedding: half for rewards, half for dynamics.
        metric_weight: of the metric's loss.
        metric_settings: of :class:`~bisimgym.baselines.core.metric_losses.AMBS`.
        policy_kwargs: of the policy.
        **kwargs: of :class:`MetricSAC`.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 5e-4,
        *,
        features_dim: int = 100,
        metric_weight: float = 1.0,
        metric_settings: dict[str, Any] | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            metric="ambs",
            features_dim=features_dim,
            metric_weight=metric_weight,
            metric_settings=metric_settings,
            policy_kwargs={"balanced": True, **(policy_kwargs or {})},
            **kwargs,
        )
