"""What a result was made with: versions and hardware."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = ("bisimgym", "gymnasium", "numpy", "scipy", "pot", "torch", "stable-baselines3")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


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


def describe_machine(device: str, threads: int, precision: str | None) -> dict[str, object]:
    """Return the machine's description for ``run.json``, with a run's torch threads.

    The precision is stored as it resolves on the device ("cpu", "cuda" or "auto"); None is for methods without network.
    """
    import torch as th
    from stable_baselines3.common.utils import get_device

    from bisimgym.baselines.core.precision import resolve_precision

    resolved = get_device(device)
    return {
        **host(),
        "device": th.cuda.get_device_name(resolved) if resolved.type == "cuda" else resolved.type,
        "threads": threads,
        "precision": "float64" if precision is None else resolve_precision(precision, resolved),
    }
