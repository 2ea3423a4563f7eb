"""Runs the checks of pretend_device.py in a process of their own: devices are made up before the first gradient."""

import subprocess
import sys
from pathlib import Path

CHECKS = Path(__file__).with_name("pretend_device.py")


def test_updates_run_on_a_device_that_is_made_up():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(CHECKS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
