"""Many manipulation environments at once, each in a process of its own."""

from __future__ import annotations

from bisimgym.envs.manipulation.env import ManipulationEnv
from bisimgym.envs.process_vector import ProcessVectorEnv


class ManipulationVectorEnv(ProcessVectorEnv, single=ManipulationEnv):
    """Many :class:`ManipulationEnv`, each in a process of its own: see :class:`ProcessVectorEnv`."""
