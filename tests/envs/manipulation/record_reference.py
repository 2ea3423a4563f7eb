"""Records trajectories of robosuite on the MuJoCo that is installed: how reference.json was made.

Into an environment with robosuite 1.5.2 and a MuJoCo that it runs on unmodified (3.3.7):

    pip install --no-deps "mujoco==3.3.7"
    python tests/envs/manipulation/record_reference.py tests/envs/manipulation/reference.json
"""

import json
import sys
from pathlib import Path

import numpy as np

from bisimgym.envs.manipulation import simulator

TASKS = ("Door", "TwoArmPegInHole")
#: Steps after which states are kept.
KEPT = {"zero": (1, 10, 100, 200), "swaying": (1, 10, 30, 60)}


def actions(kind, count, size):
    """Return ``float64[count, size]``: nothing, or slow waves that touch nothing."""
    if kind == "zero":
        return np.zeros((count, size))
    steps = np.arange(count)[:, None]
    return 0.2 * np.sin(0.15 * steps + np.arange(size))


def trajectory(env, kind, seed=0):
    """Return positions of all joints at the steps of :data:`KEPT`, and the sum of the rewards until there."""
    env.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    env.reset()
    positions, returns, total = [], [], 0.0
    for step, action in enumerate(actions(kind, KEPT[kind][-1], env.action_dim), 1):
        total += float(env.step(action)[1])
        if step in KEPT[kind]:
            positions.append(env.sim.data.qpos.tolist())
            returns.append(total)
    return {"positions": positions, "returns": returns}


def main(path):
    import mujoco

    found = {task: {kind: trajectory(simulator.load(task), kind) for kind in KEPT} for task in TASKS}
    about = {"mujoco": mujoco.__version__, "robosuite": "1.5.2", "numpy": np.__version__, "steps": KEPT}
    Path(path).write_text(json.dumps({"about": about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
