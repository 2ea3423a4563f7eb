"""Imports run downwards only: envs <- wrappers <- baselines <- benchmarks; and the package is what pyproject says."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["envs", "wrappers", "baselines", "benchmarks"]
#: Packages of envs that hold no task and know none.
TASK_FREE = {"distractions", "rendering"}
#: Modules of envs that every layer may use: they know no environment.
SHARED = {"checks", "extras", "files", "planning", "seeds"}
SOURCES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path):
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    modules = set(imported_modules(path))
    for module in modules:
        parts = module.split(".")
        assert parts[0] not in LAYERS, f"{module}: import it as bisimgym.{module}"
        if parts[0] == "bisimgym" and len(parts) > 1 and parts[1] in LAYERS:
            assert LAYERS.index(parts[1]) <= layer, module
            # The one exception: distractions know no environment, so wrappers may put them on those of other people.
            distraction = LAYERS[layer] == "wrappers" and parts[1:3] == ["envs", "distractions"]
            shared = parts[1] == "envs" and len(parts) > 2 and parts[2] in SHARED
            if LAYERS[layer] in ("wrappers", "baselines") and not distraction and not shared:
                assert parts[1] != "envs", f"{module}: wrappers and baselines know no environment"
    inside = path.relative_to(ROOT).parts
    if inside[0] == "envs" and inside[1] in TASK_FREE:
        ours = {m.split(".")[2] for m in modules if m.startswith("bisimgym.envs.")}
        known = TASK_FREE | SHARED
        assert ours <= known, f"{ours - known}: distractions and rendering know no environment"
        assert "bisimgym.envs" not in modules
        assert inside[1] != "rendering" or "distractions" not in ours, "rendering knows no distraction"
    if inside[:2] == ("baselines", "metrics"):
        assert not any(m.split(".")[0] in ("torch", "stable_baselines3", "gymnasium") for m in modules)
    if inside[:2] == ("baselines", "losses"):
        assert not any(m.split(".")[0] == "stable_baselines3" for m in modules)


def test_every_package_folder_is_in_pyproject():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"bisimgym"}
    for layer in LAYERS:
        for init in (ROOT / layer).rglob("__init__.py"):
            found.add(".".join(["bisimgym", *init.parent.relative_to(ROOT).parts]))
    assert listed == found


def in_fresh_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_loads_nothing_heavy():
    heavy = ["torch", "pygame", "stable_baselines3", "mujoco", "dm_control", "scipy", "typer", "rich", "jinja2"]
    code = f"import sys, gymnasium, bisimgym; print([m for m in {heavy} if m in sys.modules])"
    assert in_fresh_python(code).strip() == "[]"


def test_importing_the_package_is_quick():
    # On top of gymnasium, which takes a second by itself. The least of three: other tests run beside this one.
    code = "import time, gymnasium; start = time.perf_counter(); import bisimgym;print(time.perf_counter() - start)"
    assert min(float(in_fresh_python(code)) for _ in range(3)) < 0.3


def test_making_and_metrics_need_no_torch():
    code = (
        "import sys, gymnasium as gym, bisimgym; from bisimgym.baselines import metrics;"
        "gym.make('bisimgym/JumpingTask-v0').reset();"
        "print([m for m in ('torch', 'stable_baselines3', 'pygame') if m in sys.modules])"
    )
    assert in_fresh_python(code).strip() == "[]"


def test_no_file_is_longer_than_one_can_read_in_a_sitting():
    lines = {path: path.read_text().count("\n") for path in [*SOURCES, *(ROOT / "tests").rglob("*.py")]}
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > 400} == {}
