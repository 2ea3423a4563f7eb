"""Which OpenGL there is, found out in a process of its own: a broken driver may end the process that tries it."""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from types import ModuleType

#: Backends of the ``mujoco`` package: headless with a driver, on a desktop, headless in software.
BACKENDS = ("egl", "glfw", "osmesa")
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software", "swr", "gdi generic")

_ADVICE = (
    'use renderer="raycast", which needs no OpenGL, or install one (headless Debian and Ubuntu: '
    "apt-get install libegl1 libgl1-mesa-dri)"
)


class OpenGLUnavailable(RuntimeError):
    """No OpenGL backend works on this machine."""


@dataclass(frozen=True)
class OpenGL:
    """What a probe found.

    Attributes:
        backend: one of :data:`BACKENDS`, or ``None`` where none works.
        renderer: the driver's name for itself, such as "llvmpipe (LLVM 15.0.6, 256 bits)".
        problems: for each backend that was tried and failed, its last line of complaint.
    """

    backend: str | None
    renderer: str = ""
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def is_hardware(self) -> bool:
        """Whether a GPU draws, and not the processor."""
        return self.backend is not None and not any(name in self.renderer.lower() for name in _SOFTWARE)

    def explain(self) -> str:
        """Return what is wrong and what to do, in one line."""
        tried = "; ".join(f"{backend}: {problem}" for backend, problem in self.problems.items())
        tried = tried or f"MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r} switches it off"
        return f"no OpenGL backend works here ({tried}): {_ADVICE}"


@functools.cache
def probe() -> OpenGL:
    """Return the first OpenGL backend that draws, tried once per process.

    ``MUJOCO_GL``, where it is set, names the only backend to try, as everywhere with MuJoCo.
    """
    problems: dict[str, str] = {}
    for backend in _candidates():
        found, text = try_backend(backend)
        if found:
            return OpenGL(backend, text, problems)
        problems[backend] = text
    return OpenGL(None, "", problems)


def require() -> OpenGL:
    """Return what :func:`probe` found.

    Raises:
        OpenGLUnavailable: if no backend works.
    """
    found = probe()
    if found.backend is None:
        raise OpenGLUnavailable(found.explain())
    return found


def context_class(backend: str):
    """Return the ``GLContext`` class of a backend."""
    return importlib.import_module(f"mujoco.{backend}").GLContext


def import_without_opengl(name: str) -> ModuleType:
    """Import a module of ``dm_control``, whatever OpenGL there is.

    dm_control looks for OpenGL when it is imported. GLFW complains where there is no screen, and PyOpenGL fails, in
    ways that dm_control does not expect, where a library is missing. Then its own rendering is switched off.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except Exception:
            before = os.environ.get("MUJOCO_GL")
            os.environ["MUJOCO_GL"] = "off"
            try:
                return importlib.import_module(name)
            finally:
                del os.environ["MUJOCO_GL"]
                if before is not None:
                    os.environ["MUJOCO_GL"] = before


def _candidates() -> tuple[str, ...]:
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen in BACKENDS:
        return (chosen,)
    if chosen == "glx":  # an older name
        return ("glfw",)
    if chosen in ("disable", "disabled", "off", "false", "0"):
        return ()
    if not sys.platform.startswith("linux"):
        return ("glfw",)
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return ("glfw", "egl", "osmesa") if has_screen else ("egl", "osmesa")


def try_backend(backend: str, time_limit: float = 60.0) -> tuple[bool, str]:
    """Return whether a backend draws, and the driver's name or the complaint."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    environment.pop("PYOPENGL_PLATFORM", None)
    command = [sys.executable, "-m", "bisimgym.envs.rendering.probe", backend]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=time_limit, env=environment)
    except subprocess.TimeoutExpired:
        return False, f"no answer within {time_limit:g} seconds"
    if done.returncode == 0:
        return True, json.loads(done.stdout.splitlines()[-1])
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return False, lines[-1].strip() if lines else f"the process ended with {done.returncode}"


def _draw(backend: str) -> str:
    """Draw something with a backend and return the driver's name."""
    import mujoco

    context = context_class(backend)(16, 16)
    context.make_current()
    from OpenGL import GL  # type: ignore[import-untyped]  # PyOpenGL has no types

    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    name = GL.glGetString(GL.GL_RENDERER)
    drawing.free()
    context.free()
    return name.decode() if name else "unknown"


if __name__ == "__main__":
    print(json.dumps(_draw(sys.argv[1])))
