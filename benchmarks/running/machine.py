"""What a result was made with: versions and hardware."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bisimgym.benchmarks.errors import UserError, unknown
from bisimgym.benchmarks.names import storable

PACKAGES = ("bisimgym", "gymnasium", "numpy", "scipy", "pot", "torch", "stable-baselines3")
#: Of physics, which are not always installed.
SIMULATORS = ("mujoco", "dm-control", "robosuite")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, and the commit of a checkout."""
    found = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
    for name in SIMULATORS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    checkout = commit(Path(__file__).resolve().parents[2])
    return {**found, "commit": checkout} if checkout else found


def commit(root: Path) -> str:
    """Return the commit of a checkout, with "-dirty" if files that it tracks have changed; "" if it is none."""
    if not (root / ".git").exists():  # not of a repository that the package was merely installed below
        return ""
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git, or a repository that it refuses
        return ""


#: Torch threads of a run: far more than there are cores ends the process.
MOST_THREADS = 1024


def command_text(arguments: Sequence[str]) -> str:
    """Return a command as others can run it: paths below the present folder are relative, of others the name is left.

    Args:
        arguments: of ``bisimgym``.
    """
    return storable(shlex.join(["bisimgym", *(_without_folders(argument) for argument in arguments)]))


def _without_folders(argument: str) -> str:
    # Paths stand alone or behind the signs that options and agents have: --out=PATH, sb3:PATH, PATH:name.
    return re.sub(r"(?:(?<=^)|(?<=[=:]))(?:[A-Za-z]:[\\/]|/|~|\.\.[\\/])[^=:]*", _shortened, argument)


def _shortened(match: re.Match[str]) -> str:
    path = Path(match.group())
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return re.split(r"[\\/]", match.group().rstrip("\\/"))[-1] or "."


def chosen_device(name: str) -> str:
    """Return "cpu" or "cuda" for what ``--device`` says; "auto" is a GPU where torch sees one.

    Raises:
        UserError: for anything else, and for a GPU that is not there.
    """
    import torch as th

    if name not in ("auto", "cpu", "cuda"):
        raise unknown("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not th.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu, or see `bisimgym doctor`")
    return "cuda" if name == "auto" and th.cuda.is_available() else "cpu" if name == "auto" else name


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def forget_peak_memory() -> None:
    """Have :func:`peak_memory` begin anew, which Linux alone can do."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Return the most bytes that this process has held in memory so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent held before this process was started
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def host() -> dict[str, object]:
    """Return what this computer is, whatever runs on it."""
    return {"system": f"{platform.system()} {platform.machine()}", "processor": processor(), "cores": cores()}


def describe_machine(device: str, threads: int, precision: str) -> dict[str, object]:
    """Return the machine's description for ``run.json``, with a run's torch threads and precision.

    Args:
        device: "cpu", "cuda" or "auto".
        threads: of torch.
        precision: see :func:`~bisimgym.benchmarks.suites.base.precision_of`.
    """
    import torch as th
    from stable_baselines3.common.utils import get_device

    resolved = get_device(device)
    return {
        **host(),
        "device": th.cuda.get_device_name(resolved) if resolved.type == "cuda" else resolved.type,
        "threads": threads,
        "precision": precision,
    }
