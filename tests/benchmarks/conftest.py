import shutil

import numpy as np
import pytest

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.running.run_folder import RunFolder
from bisimgym.benchmarks.suites import jumping, load_suite
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("jumping")
#: One thread: threads that wait for each other on busy cores crawl.
_SMOKE = ["run", "jumping", "--task", "wide", "--preset", "smoke", "--seeds", "1", "--jobs", "1", "--threads", "1"]


@pytest.fixture
def smoke():
    """The arguments of a run of seconds."""
    return list(_SMOKE)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """A folder with one finished run of two updates."""
    out = tmp_path_factory.mktemp("trained")
    assert main([*_SMOKE, "--method", "pse", "--set", "epochs=1", "--set", "evaluations=2", "--out", str(out)]) == 0
    return out


@pytest.fixture
def trained(trained_once, tmp_path):
    """A copy of that folder for the test, and the arguments that it was made with."""
    out = tmp_path / "out"
    shutil.copytree(trained_once, out)
    return out, [*_SMOKE, "--method", "pse", "--set", "epochs=1", "--set", "evaluations=2", "--out", str(out)]


@pytest.fixture
def fake_run():
    """Return a function that writes a finished run without training."""
    return _fake_run


@pytest.fixture
def error_of(capsys):
    """Return a function that runs the command, checks that it fails as a mistake of a user does, and gives its line."""

    def run(*arguments):
        capsys.readouterr()
        assert main([str(a) for a in arguments]) == 2
        captured = capsys.readouterr()
        lines = captured.err.strip().splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


def _fake_run(out, method="pse", task="wide", seed=1, solved=0.5, preset="smoke", **variant):
    spec = make_spec(SUITE, task, method, preset, seed, variant)
    folder = RunFolder(out, spec)
    with folder.lock():
        folder.start({"versions": {}, "machine": {}})
        rng = np.random.default_rng(seed)
        outcome = jumping.outcome_of(task, seed, rng.random(286 * (2 if task == "colors" else 1)) < solved)
        folder.log({"updates": 1, "score": outcome.score, "seconds": 1.0})
        return folder.finish(outcome, False, {"train_seconds": 1.0})
