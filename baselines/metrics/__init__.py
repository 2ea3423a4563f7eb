"""Exact behavioural metrics, in numpy."""

from bisimgym.baselines.metrics.trajectory import (
    policy_cost,
    reward_cost,
    trajectory_similarity,
)

__all__ = ["policy_cost", "reward_cost", "trajectory_similarity"]
