"""Tasks of dm_control with distractions: see :class:`DistractingControlEnv`."""

import sys

from bisimgym.envs.rendering.probe import import_without_opengl

try:
    import_without_opengl("dm_control.suite")
    import mujoco  # noqa: F401
except ImportError as error:
    # There the extra leaves dm_control out: what it requires and does not use here cannot be installed.
    apart = ' && pip install --no-deps "dm_control>=1.0.50,<2"' if sys.version_info >= (3, 13) else ""
    raise ImportError(
        f'DistractingControl needs dm_control and mujoco ({error}): pip install "bisimgym[dmc]"{apart}'
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
