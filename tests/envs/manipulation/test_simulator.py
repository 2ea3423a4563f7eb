"""Arguments, robosuite where it is missing, and robosuite on a MuJoCo newer than its own."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from bisimgym.envs import IDS
from bisimgym.envs.manipulation import ManipulationEnv, simulator

HERE = Path(__file__).parent
OURS = [env_id for env_id in IDS if "Manipulation" in env_id]
needs_robosuite = pytest.mark.skipif(not simulator.is_installed(), reason=f"needs robosuite: {simulator.INSTALL}")

#: How close two versions of MuJoCo come: twice what was measured, rounded up.
CLOSE = {
    ("Door", "zero"): 1e-7,
    ("Door", "swaying"): 1e-8,
    ("TwoArmPegInHole", "zero"): 1e-9,
    ("TwoArmPegInHole", "swaying"): 1e-4,
}

specification = importlib.util.spec_from_file_location("record_reference", HERE / "record_reference.py")
record = importlib.util.module_from_spec(specification)
specification.loader.exec_module(record)


@pytest.mark.parametrize("env_id", OURS)
def test_without_the_extra_ids_fail_with_one_line_that_names_it(env_id, monkeypatch):
    monkeypatch.setitem(sys.modules, "robosuite", None)
    monkeypatch.setattr(simulator, "import_robosuite", simulator.import_robosuite.__wrapped__)
    with pytest.raises(
        ImportError, match=r'^Manipulation needs robosuite .*pip install "bisimgym\[manipulation\]"'
    ) as error:
        gym.make(env_id)
    assert "\n" not in str(error.value)
    assert "pip install --no-deps" in str(error.value)


def test_other_versions_are_refused(monkeypatch):
    monkeypatch.setattr(simulator.importlib.metadata, "version", lambda name: "1.4.1")
    with pytest.raises(ImportError, match="robosuite is 1.4.1, and its version 1.5.2 is the one that is supported"):
        simulator.import_robosuite.__wrapped__()


def test_unknown_tasks_are_refused_before_anything_is_imported():
    with pytest.raises(ValueError, match="task must be one of .*'Door'.*, got 'Wipe'"):
        simulator.load("Wipe")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "Open"}, "task must be one of .*'Door'.*, got 'Open'"),
        ({"observation": "image"}, "observation must be one of .*, got 'image'"),
        ({"image_size": 0}, "image_size must be an integer of at least 1, got 0"),
        ({"frame_stack": 1.5}, "frame_stack must be an integer of at least 1, got 1.5"),
        ({"randomize": "color"}, "randomize must be a list of any of .*, each once, got 'color'"),
        ({"randomize": ["color", "color"]}, "randomize must be a list"),
        ({"randomize": ["colour"]}, "randomize must be a list"),
        ({"split": "held-out"}, "split must be one of .*, got 'held-out'"),
        ({"renderer": "auto"}, "renderer must be one of .*, got 'auto'"),
        ({"horizon": True}, "horizon must be an integer of at least 1, got True"),
        ({"render_mode": "ansi"}, "render_mode must be one of .*, got 'ansi'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ManipulationEnv(**arguments)


@needs_robosuite
def test_importing_it_leaves_the_process_as_it_was(caplog, capfd):
    before = dict(os.environ)
    simulator.import_robosuite()
    assert dict(os.environ) == before
    assert "robosuite" not in capfd.readouterr().err


@needs_robosuite
@pytest.mark.parametrize("task", record.TASKS)
def test_trajectories_are_those_of_the_mujoco_it_was_made_for(task):
    """Positions of joints, in radians and meters."""
    reference = json.loads((HERE / "reference.json").read_text())
    assert reference["about"]["mujoco"] == "3.3.7"
    env = simulator.load(task)
    for kind in record.KEPT:
        found = record.trajectory(env, kind)
        assert np.shape(found["positions"]) == np.shape(reference[task][kind]["positions"])
        tolerance = CLOSE[task, kind]
        np.testing.assert_allclose(found["positions"], reference[task][kind]["positions"], rtol=0, atol=tolerance)
        np.testing.assert_allclose(found["returns"], reference[task][kind]["returns"], rtol=max(tolerance, 1e-6))
