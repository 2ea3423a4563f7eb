"""bisimgym: environments, metrics and baselines for learning which states behave alike.

Importing the package registers the environment ids (``gymnasium.make("bisimgym/JumpingTask-v0")``) and loads nothing
heavier than gymnasium and numpy. The parts are imported by name:

* ``bisimgym.envs``: the tasks, each with its oracle.
* ``bisimgym.wrappers``: adapters, such as native vector environments for Stable-Baselines3.
* ``bisimgym.baselines``: exact metrics (numpy), losses (torch) and learners (Stable-Baselines3).
* ``bisimgym.benchmarks``: suites, runner, leaderboard and the ``bisimgym`` command.
"""

from bisimgym import envs

__version__ = "0.1.0"
__all__ = ["__version__", "envs"]
