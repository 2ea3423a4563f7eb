"""Many distracted environments at once, each in a process of its own."""

from __future__ import annotations

from bisimgym.envs.distracting_control.env import DistractingControlEnv
from bisimgym.envs.process_vector import ProcessVectorEnv


class DistractingControlVectorEnv(ProcessVectorEnv, single=DistractingControlEnv):
    """Many :class:`DistractingControlEnv`, each in a process of its own: see :class:`ProcessVectorEnv`."""
