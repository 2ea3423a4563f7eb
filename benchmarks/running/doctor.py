"""What to look at first when something does not work."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console

from bisimgym.benchmarks.running import machine
from bisimgym.envs.manipulation.simulator import INSTALL

#: Packages by the extra that brings them.
_EXTRAS = {
    "core": ("gymnasium", "numpy"),
    "render": ("pygame",),
    "dmc": ("dm_control", "mujoco", "pillow"),
    "video": ("av",),
    "carla": ("carla",),
    "manipulation": ("robosuite",),
    "baselines": ("torch", "stable-baselines3"),
    "bench": ("typer", "rich", "jinja2"),
}


def report(console: Console) -> list[str]:
    """Print what is installed and what it runs on; return the problems found."""
    installed: dict[str, str] = {}
    for found in importlib.metadata.distributions():
        installed.setdefault(canonicalize_name(found.name or ""), found.version)  # the first on the path is imported
    own = importlib.metadata.metadata("bisimgym")
    required, extras = own.get_all("Requires-Dist") or [], own.get_all("Provides-Extra") or []
    problems = known_bad_pairs(installed) + outside(required, extras, installed)
    say = functools.partial(console.print, markup=False)  # brackets are those of extras
    say(f"bisimgym {importlib.metadata.version('bisimgym')}, Python {platform.python_version()}")
    say(f"{platform.system()} {platform.machine()}, {machine.processor()}, {machine.cores()} cores\n")
    for extra, packages in _EXTRAS.items():
        for name in packages:
            note = installed.get(canonicalize_name(name)) or f"not installed: {_how_to_install(name, extra)}"
            say(f"  {name:<18} {note}")
    console.print()
    for line in _torch_lines():
        say(f"  {line}")
    say(f"  {'window':<18} {_window_line()}")
    say(f"  {'OpenGL':<18} {_opengl_line()}")
    say(f"  {'CARLA':<18} {carla_line()}")
    console.print()
    for problem in problems:
        console.print("problem: ", style="red", end="")
        say(problem)
    if not problems:
        say("No known problem found.")
    return problems


def known_bad_pairs(installed: dict[str, str]) -> list[str]:
    """Return one line for each combination of packages that is known not to work, and what to do.

    Args:
        installed: version of every installed package, by lower-case name.
    """
    problems = []
    if "pygame-ce" in installed:
        problems.append(
            "pygame-ce installs the same module as pygame and replaces its files: pip uninstall pygame-ce pygame, then "
            'pip install "bisimgym[render]"'
        )
    if "dm-control" in installed and int(installed.get("mujoco", "3").split(".")[0]) >= 4:
        problems.append('mujoco 4 cannot load dm_control\'s suite: pip install "mujoco>=3.17,<4"')
    return problems


def outside(required: Iterable[str], extras: Sequence[str], installed: Mapping[str, str]) -> list[str]:
    """Return one line for each installed version that bisimgym does not permit, and what to do.

    Args:
        required: the requirements in the metadata of bisimgym, those of its extras too.
        extras: the names of its extras.
        installed: version of every installed package, by canonical name.
    """
    problems = {}
    for requirement in map(Requirement, required):
        version = installed.get(canonicalize_name(requirement.name))
        marker = requirement.marker
        applies = marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
        if version and applies and not requirement.specifier.contains(version, prereleases=True):
            permitted = f"{requirement.name}{requirement.specifier}"
            problems[permitted] = (
                f"{requirement.name} {version} is installed and bisimgym permits {requirement.specifier}: "
                f'pip install "{permitted}"'
            )
    return list(problems.values())


def _how_to_install(name: str, extra: str) -> str:
    if name == "robosuite":
        return INSTALL
    without_labmaze = ' && pip install --no-deps "dm_control>=1.0.50,<2"' if sys.version_info >= (3, 13) else ""
    return f'pip install "bisimgym[{extra}]"' + (without_labmaze if name == "dm_control" else "")


def _torch_lines() -> list[str]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch as th

    from bisimgym.baselines.core.precision import has_fast_bfloat16, resolve_precision
    from bisimgym.baselines.metrics.memory import in_units

    devices = [th.device("cpu")] + ([th.device("cuda")] if th.cuda.is_available() else [])
    lines = []
    for device in devices:
        name = f"{th.get_num_threads()} threads"
        if device.type == "cuda":
            free, total = th.cuda.mem_get_info(device)
            name = f"{th.cuda.get_device_name(device)}, {in_units(free)} of {in_units(total)} free"
        fast = "fast bfloat16" if has_fast_bfloat16(device) else "no fast bfloat16"
        lines.append(f"{device.type:<18} {name}, {fast}; precision='auto' is {resolve_precision('auto', device)}")
    if not th.cuda.is_available():
        lines.append(f"{'cuda':<18} not available")
    return lines


def _opengl_line() -> str:
    if importlib.util.find_spec("mujoco") is None:
        return 'not looked for: pip install "bisimgym[dmc]"'
    from bisimgym.envs.rendering.probe import probe

    found = probe()
    if found.backend is None:
        return f"{found.explain()} (the default)"
    speed = "a GPU draws" if found.is_hardware else "the processor draws"
    choice = "opengl" if found.is_hardware else "raycast"
    return f"{found.backend}, {found.renderer}: {speed}; renderer='auto' is {choice}, the default is raycast"


def carla_line(host: str = "localhost", port: int = 2000, timeout: float = 2.0) -> str:
    """Return whether a server of CARLA answers where environments look for one by default."""
    if importlib.util.find_spec("carla") is None:
        return 'no server looked for: pip install "bisimgym[carla]" for backend="carla"; the stand-in needs nothing'
    from bisimgym.envs.highway_driving.carla_server import server_version

    found = server_version(host, port, timeout)
    if found is None:
        return f"no server answers at {host}:{port}: start one (CarlaUE4.sh -RenderOffScreen) for backend='carla'"
    client = importlib.metadata.version("carla")
    same = "" if found == client else f", and the client is {client}: install the client of the server's version"
    return f"a server answers at {host}:{port}, version {found}{same}"


def _window_line() -> str:
    if importlib.util.find_spec("pygame") is None:
        return 'no windows: pip install "bisimgym[render]"'
    import os

    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    # Without it Wayland's library, which SDL tries, writes an error to the terminal, though nothing is wrong.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    import pygame

    try:
        pygame.display.init()
    except pygame.error as error:
        return f'no display ({error}): use render_mode="rgb_array", or a virtual display (xvfb-run)'
    driver = pygame.display.get_driver()
    pygame.display.quit()
    return f"SDL {'.'.join(map(str, pygame.get_sdl_version()))}, driver {driver}"
