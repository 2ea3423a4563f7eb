"""The lower bounds in pyproject.toml are versions that are tested: constraints-lowest.txt names each of them."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: What only tests, the documentation, clusters or a server of CARLA need; `make test-floors` installs of these what it
#: runs with. What robosuite needs, which has to be installed apart, is tested at the versions of constraints.txt alone.
UNTESTED = {"test", "docs", "ray", "submitit", "carla", "manipulation"}


def constraints(name):
    lines = (ROOT / name).read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): next(iter(r.specifier)) for r in pinned}


def permitted(python="3.11"):
    """Return what is permitted under a version of Python: a specifier for each name."""
    groups = [PROJECT["dependencies"], *(lines for name, lines in EXTRAS.items() if name not in UNTESTED)]
    found = [Requirement(line) for group in groups for line in group]
    here = [r for r in found if r.marker is None or r.marker.evaluate({"python_version": python})]
    return {canonicalize_name(r.name): r.specifier for r in here if r.name != "bisimgym"}


def test_every_lower_bound_is_among_the_constraints_that_test_floors_installs():
    lowest = constraints("constraints-lowest.txt")
    for name, specifier in permitted().items():
        floor = next(s.version for s in specifier if s.operator == ">=")
        assert Version(lowest[name].version) == Version(floor), f"{name}: {lowest[name].version} is tested, not {floor}"


def test_what_the_makefile_names_is_there():
    named = set(re.findall(r"(?:tests|docs)/[\w./]+", (ROOT / "Makefile").read_text()))
    assert "tests/test_floors.py" in named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("python", ["3.11", "3.13", "3.14"])
def test_what_is_pinned_is_permitted(python):
    pinned = constraints("constraints.txt")
    for name, specifier in permitted(python).items():
        assert name not in pinned or specifier.contains(pinned[name].version), name


def test_packages_without_a_wheel_for_newer_pythons_are_left_out_there():
    assert {"dm-control", "pygame", "hmmlearn"} <= set(permitted("3.12"))
    assert set(permitted("3.13")) & {"dm-control", "labmaze"} == set()
    assert set(permitted("3.14")) & {"dm-control", "labmaze", "pygame", "hmmlearn"} == set()
    assert {"mujoco", "dm-env", "dm-tree", "lxml"} <= set(permitted("3.13"))
