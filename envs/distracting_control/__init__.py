"""Tasks of dm_control with distractions: see :class:`DistractingControlEnv`."""

from bisimgym.envs.distracting_control.env import (
    DistractedEnv,
    DistractingControlEnv,
    DistractingControlVectorEnv,
    default_action_repeat,
    resolve_renderer,
)

__all__ = [
    "DistractedEnv",
    "DistractingControlEnv",
    "DistractingControlVectorEnv",
    "default_action_repeat",
    "resolve_renderer",
]
