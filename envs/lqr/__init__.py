"""Linear-quadratic control with distractors: see :class:`LQRDistractorsEnv`."""

from bisimgym.envs.lqr.env import LQRDistractorsEnv, LQRDistractorsVectorEnv
from bisimgym.envs.lqr.system import LQRSystem, cost_gradient, infinite_horizon_cost, lqr_system, riccati

__all__ = [
    "LQRDistractorsEnv",
    "LQRDistractorsVectorEnv",
    "LQRSystem",
    "cost_gradient",
    "infinite_horizon_cost",
    "lqr_system",
    "riccati",
]
