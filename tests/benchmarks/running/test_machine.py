"""What results are stored with: versions, commit, precision and command."""

import importlib.metadata
import subprocess

import pytest

from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec, precision_of


def git(folder, *arguments):
    identity = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_a_checkout(tmp_path):
    assert machine.commit(tmp_path) == ""
    git(tmp_path, "init", "-q")
    assert machine.commit(tmp_path) == ""  # of no commit yet
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "First")
    (tmp_path / "results").write_text("not tracked")
    first = git(tmp_path, "rev-parse", "HEAD")
    assert machine.commit(tmp_path) == first
    (tmp_path / "file").write_text("two")
    assert machine.commit(tmp_path) == f"{first}-dirty"
    (tmp_path / "installed").mkdir()
    assert machine.commit(tmp_path / "installed") == ""


def test_versions_name_the_simulators_that_are_installed(monkeypatch):
    found = importlib.metadata.version

    def version(name):
        if name == "dm-control":
            raise importlib.metadata.PackageNotFoundError(name)
        return "3.1" if name == "mujoco" else found(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    versions = machine.versions()
    assert versions["mujoco"] == "3.1"
    assert "dm-control" not in versions
    assert versions["torch"] == found("torch")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["run", "jumping", "--out", "runs"], "bisimgym run jumping --out runs"),
        (["run", "jumping", "--out", "{cwd}/runs/a"], "bisimgym run jumping --out runs/a"),
        (["run", "jumping", "--out={cwd}/runs"], "bisimgym run jumping --out=runs"),
        (["run", "jumping", "--out", "/home/someone/runs/"], "bisimgym run jumping --out runs"),
        (["run", "jumping", "--out", "../../someone/runs"], "bisimgym run jumping --out runs"),
        (["run", "jumping", "--out", "~someone/runs"], "bisimgym run jumping --out runs"),
        (["run", "jumping", "--out", "C:\\Users\\someone\\runs"], "bisimgym run jumping --out runs"),
        (["evaluate", "/home/someone/agent.py:make"], "bisimgym evaluate agent.py:make"),
        (["evaluate", "sb3:/home/someone/model.zip"], "bisimgym evaluate sb3:model.zip"),
        (["run", "--set", "alignment.weight=5.0"], "bisimgym run --set alignment.weight=5.0"),
        (["run", "--out", "runs/../more"], "bisimgym run --out runs/../more"),
    ],
)
def test_commands_without_the_folders_of_a_machine(arguments, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert machine.command_text([argument.format(cwd=tmp_path) for argument in arguments]) == command


@pytest.mark.parametrize(
    ("suite", "task", "method", "preset", "variant", "precision"),
    [
        ("noisy-states", "cartpole-swingup-noise", "sac", "short", {}, "float32"),
        ("noisy-states", "cartpole-swingup-noise", "sac", "short", {"precision": "bfloat16"}, "bfloat16"),
        ("markov", "uniform", "nld-overdamped", "short", {}, "float32"),
        ("markov", "uniform", "exact-filter", "short", {}, "float64"),
        ("fidelity", "jumping-25", "mico", "short", {"precision": "bfloat16"}, "bfloat16"),
        ("fidelity", "jumping-25", "random", "short", {}, "float32"),
        ("jumping", "wide", "pse", "paper", {"precision": "bfloat16"}, "bfloat16"),
        ("jumping", "wide", "pse", "demo", {}, "float32"),
        ("jumping", "wide", "bisimulation-transfer", "paper", {}, "float64"),
        ("small-images", "nav2d-8x8", "dqn", "short", {"precision": "float32"}, "float32"),
    ],
)
def test_the_precision_of_a_run_is_the_same_on_every_machine(suite, task, method, preset, variant, precision):
    chosen = load_suite(suite)
    spec = make_spec(chosen, task, method, preset, 1, variant)
    assert precision_of(chosen, spec) == precision
    assert machine.describe_machine("cpu", 1, precision_of(chosen, spec))["precision"] == precision
    assert spec.settings.get("precision", precision) == precision
