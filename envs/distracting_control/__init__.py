"""Tasks of dm_control with distractions: see :class:`DistractingControlEnv`."""

from bisimgym.envs.rendering.probe import import_without_opengl

try:
    import_without_opengl("dm_control.suite")
    import mujoco  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'DistractingControl needs dm_control and mujoco ({error}): pip install "bisimgym[dmc]"'
    ) from error

from bisimgym.envs.distracting_control.distracted import DistractedEnv, resolve_renderer
from bisimgym.envs.distracting_control.env import DistractingControlEnv, default_action_repeat
from bisimgym.envs.distracting_control.vector_env import DistractingControlVectorEnv

__all__ = [
    "DistractedEnv",
    "DistractingControlEnv",
    "DistractingControlVectorEnv",
    "default_action_repeat",
    "resolve_renderer",
]
