"""The suites, loaded by name: importing this module imports no learner."""

from __future__ import annotations

import functools
import importlib

from bisimgym.benchmarks.errors import unknown
from bisimgym.benchmarks.suites.base import Suite

#: Name of each suite and the module that holds it as ``SUITE``.
SUITES = {
    "jumping": "bisimgym.benchmarks.suites.jumping",
    "markov": "bisimgym.benchmarks.suites.markov.suite",
    "noisy-states": "bisimgym.benchmarks.suites.noisy_states",
    "nav2d": "bisimgym.benchmarks.suites.nav2d.suite",
    "small-images": "bisimgym.benchmarks.suites.small_images",
    "lqr": "bisimgym.benchmarks.suites.lqr",
    "distracting": "bisimgym.benchmarks.suites.distracting.suite",
    "fidelity": "bisimgym.benchmarks.suites.fidelity.suite",
    "driving": "bisimgym.benchmarks.suites.driving.suite",
    "pruning": "bisimgym.benchmarks.suites.pruning.suite",
    "manipulation": "bisimgym.benchmarks.suites.manipulation.suite",
}


@functools.cache
def load_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        UserError: for an unknown name.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    return importlib.import_module(SUITES[name]).SUITE
