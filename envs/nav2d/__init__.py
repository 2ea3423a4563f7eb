"""Navigation among obstacles: see :class:`Nav2DEnv`."""

from bisimgym.envs.nav2d.env import (
    Nav2DCorridorEnv,
    Nav2DCorridorVectorEnv,
    Nav2DEnv,
    Nav2DGoalEnv,
    Nav2DGoalVectorEnv,
    Nav2DVectorEnv,
    nav2d_mdp,
    successor_observations,
)

__all__ = [
    "Nav2DCorridorEnv",
    "Nav2DCorridorVectorEnv",
    "Nav2DEnv",
    "Nav2DGoalEnv",
    "Nav2DGoalVectorEnv",
    "Nav2DVectorEnv",
    "nav2d_mdp",
    "successor_observations",
]
