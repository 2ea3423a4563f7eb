"""Manipulation with robot arms from images: see :class:`ManipulationEnv`.

Importing this package needs no robosuite; making an environment does.
"""

from bisimgym.envs.manipulation.env import ManipulationEnv
from bisimgym.envs.manipulation.vector_env import ManipulationVectorEnv

__all__ = ["ManipulationEnv", "ManipulationVectorEnv"]
