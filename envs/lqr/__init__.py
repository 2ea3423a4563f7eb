"""Linear-quadratic control with distractors: see :class:`LQRDistractorsEnv`."""

from bisimgym.envs.lqr.env import (
    LQRDistractorsEnv,
    LQRDistractorsVectorEnv,
    LQRSystem,
    infinite_horizon_cost,
    lqr_system,
    riccati,
)

__all__ = [
    "LQRDistractorsEnv",
    "LQRDistractorsVectorEnv",
    "LQRSystem",
    "infinite_horizon_cost",
    "lqr_system",
    "riccati",
]
