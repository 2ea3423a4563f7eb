"""robosuite as it is installed: found, imported without a trace, and kept working with a MuJoCo newer than its own.

robosuite 1.5.2 was made for MuJoCo 3.3. From MuJoCo 3.12 three of its functions fail, and :func:`_replace` puts others
in their place that return the same. Nothing else of robosuite is changed. With them, trajectories are those of
robosuite on MuJoCo 3.3.7, as far as two versions of MuJoCo agree (``tests/envs/manipulation/reference.json``).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import logging
import os
import types
from collections.abc import Iterator
from typing import Any

from bisimgym.envs.checks import choice

#: Number of robots that each task of robosuite has here; all are Pandas. Wipe, which ends episodes by itself and needs
#: another gripper, is left out.
TASKS = {
    "Door": 1,
    "TwoArmPegInHole": 2,
    "Lift": 1,
    "Stack": 1,
    "NutAssembly": 1,
    "NutAssemblySingle": 1,
    "NutAssemblySquare": 1,
    "NutAssemblyRound": 1,
    "PickPlace": 1,
    "PickPlaceSingle": 1,
    "PickPlaceMilk": 1,
    "PickPlaceBread": 1,
    "PickPlaceCereal": 1,
    "PickPlaceCan": 1,
    "ToolHang": 1,
    "TwoArmLift": 2,
    "TwoArmHandover": 2,
    "TwoArmTransport": 2,
}
#: Steps per second, in simulated time.
CONTROL_FREQUENCY = 20
#: What to run where it is missing. robosuite's own list of requirements cannot be met: it asks for a numpy before 2.
INSTALL = 'pip install "bisimgym[manipulation]" && pip install --no-deps "robosuite==1.5.2"'


def is_installed() -> bool:
    """Return whether robosuite is there, without importing it."""
    return importlib.util.find_spec("robosuite") is not None


def load(task: str) -> Any:
    """Return a robosuite environment: Pandas, controlled by end effector poses, with dense reward.

    Args:
        task: of :data:`TASKS`.

    Raises:
        ImportError: without robosuite 1.5.2 or what it needs; the message has the command that installs them.
        ValueError: for an unknown task.
    """
    choice("task", task, TASKS)
    robosuite = import_robosuite()
    # The model is compiled once and stays, as in the published runs. What is drawn while it is made, such as how thick
    # the peg is, is the same in every environment: episodes follow from their own seeds alone.
    with _without_messages():
        return robosuite.make(
            task,
            robots=["Panda"] * TASKS[task],
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            reward_shaping=True,
            control_freq=CONTROL_FREQUENCY,
            hard_reset=False,
            ignore_done=True,
            seed=0,
        )


@functools.cache
def import_robosuite() -> types.ModuleType:
    """Return robosuite, ready for the MuJoCo that is installed.

    Raises:
        ImportError: see :func:`load`.
    """
    try:
        version = importlib.metadata.version("robosuite")
        if version != "1.5.2":
            raise ImportError(f"robosuite is {version}, and its version 1.5.2 is the one that is supported")
        with _without_messages(), _environment_kept():
            robosuite = importlib.import_module("robosuite")
            _replace()
    except ImportError as error:
        raise ImportError(f"Manipulation needs robosuite ({error}): {INSTALL}") from error
    return robosuite


def _replace() -> None:
    """Replace the three functions of robosuite that newer versions of MuJoCo break."""
    import mujoco

    if hasattr(mujoco.MjData, "qM"):
        return
    binding: Any = importlib.import_module("robosuite.utils.binding_utils")
    controller: Any = importlib.import_module("robosuite.controllers.parts.controller")
    # MuJoCo's enumerations no longer equal numpy's integers, which the originals compare them with.
    binding.MjModel.get_joint_qpos_addr = lambda model, name: _joint_address(model, name, model.jnt_qposadr, 7, 4)
    binding.MjModel.get_joint_qvel_addr = lambda model, name: _joint_address(model, name, model.jnt_dofadr, 6, 3)
    # The packed mass matrix has gone from the data, and the function that unpacks it takes all of the data. The
    # controllers' module uses nothing else of MuJoCo.
    binding.MjData.qM = property(lambda data: data._data)
    controller.mujoco = types.SimpleNamespace(mj_fullM=lambda model, full, data: mujoco.mj_fullM(model, data, full))


def _joint_address(model: Any, name: str, addresses: Any, of_free: int, of_ball: int) -> int | tuple[int, int]:
    """Return where a joint's numbers are: one place, or the first and the end of several."""
    import mujoco

    joint = model.joint_name2id(name)
    numbers = {int(mujoco.mjtJoint.mjJNT_FREE): of_free, int(mujoco.mjtJoint.mjJNT_BALL): of_ball}
    count, first = numbers.get(int(model.jnt_type[joint]), 1), int(addresses[joint])
    return first if count == 1 else (first, first + count)


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    """Keep robosuite from warning, at every import, of settings and packages that are not needed here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """Undo what robosuite's import writes to the process's environment: it chooses an OpenGL for all of MuJoCo."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
