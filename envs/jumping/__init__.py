"""The jumping task: see :class:`JumpingTaskEnv`."""

from bisimgym.envs.jumping.env import (
    JumpingTask,
    JumpingTaskColorsEnv,
    JumpingTaskColorsVectorEnv,
    JumpingTaskEnv,
    JumpingTaskVectorEnv,
    jumping_mdp,
    jumping_union,
)

__all__ = [
    "JumpingTask",
    "JumpingTaskColorsEnv",
    "JumpingTaskColorsVectorEnv",
    "JumpingTaskEnv",
    "JumpingTaskVectorEnv",
    "jumping_mdp",
    "jumping_union",
]
