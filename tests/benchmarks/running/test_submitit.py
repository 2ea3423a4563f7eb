"""Runs as jobs of submitit: by the package where it is installed, and what becomes of jobs that die, by a stand-in."""

import sys
from types import SimpleNamespace

import pytest
from comparing import comparable

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import executors
from bisimgym.benchmarks.running.executors import RETRIES, run_on_submitit
from bisimgym.benchmarks.running.run_folder import read_run


class FailedSubmissionError(RuntimeError):
    pass


@pytest.fixture
def jobs(monkeypatch):
    """A stand-in for submitit: how often jobs die before they run, and what became of them."""
    found = SimpleNamespace(deaths=0, submitted=[], cancelled=0, cluster="local", refused=False)

    class Job:
        def __init__(self, function, *arguments):
            self.call = lambda: function(*arguments)

        def done(self):
            return True

        def result(self):
            if len(found.submitted) <= found.deaths:
                raise RuntimeError("has not produced any output")
            return self.call()

        def cancel(self, check):
            found.cancelled += 1

    class AutoExecutor:
        def __init__(self, folder):
            self.cluster = found.cluster

        def update_parameters(self, **parameters):
            found.parameters = parameters

        def submit(self, function, *arguments):
            if found.refused:
                raise FailedSubmissionError("no such partition")
            found.submitted.append(arguments)
            return Job(function, *arguments)

    utils = SimpleNamespace(FailedSubmissionError=FailedSubmissionError)
    submitit = SimpleNamespace(AutoExecutor=AutoExecutor, core=SimpleNamespace(utils=utils))
    monkeypatch.setitem(sys.modules, "submitit", submitit)
    monkeypatch.setattr(executors, "_POLL", 0.0)
    return found


def test_jobs_that_die_are_submitted_again(jobs, tmp_path, fake_run):
    specs = [fake_run(tmp_path, method=method).spec for method in ("pse", "randconv")]
    jobs.deaths = 2
    results = dict(run_on_submitit(tmp_path, specs, "cpu", 3, jobs=1))
    assert [results[i].spec.method for i in (0, 1)] == ["pse", "randconv"]
    assert len(jobs.submitted) == 2 + 2
    assert jobs.parameters["cpus_per_task"] == 3
    assert jobs.parameters["gpus_per_node"] == 0
    jobs.deaths = 10**6
    jobs.submitted.clear()
    results = dict(run_on_submitit(tmp_path, specs, "cpu", 1, jobs=2))
    assert len(jobs.submitted) == 2 * (1 + RETRIES)
    assert "wide pse seed 1 failed: RuntimeError: has not produced any output" in str(results[0])


def test_jobs_are_cancelled_with_the_command_and_refusals_are_one_line(jobs, tmp_path, fake_run):
    specs = [fake_run(tmp_path, method=method).spec for method in ("pse", "randconv", "dropout-l2")]
    jobs.cluster = "slurm"
    going = run_on_submitit(tmp_path, specs, "cpu", 1, jobs=1)
    next(going)
    assert len(jobs.submitted) == 3, "all wait in the queue of Slurm"
    going.close()
    assert jobs.cancelled == 2
    jobs.refused = True
    with pytest.raises(UserError, match="submitit cannot submit a job: no such partition"):
        list(run_on_submitit(tmp_path, specs, "cpu", 1, jobs=1))


def test_a_missing_submitit_is_one_line(smoke, error_of, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    line = error_of(*smoke, "--method", "pse", "--out", tmp_path, "--executor", "submitit")
    assert line == 'error: --executor submitit needs submitit: pip install "bisimgym[submitit]"'


def test_runs_of_local_jobs_equal_runs_here(trained, tmp_path):
    pytest.importorskip("submitit")
    here, arguments = trained
    assert main([*arguments[:-1], str(tmp_path / "jobs"), "--executor", "submitit"]) == 0
    place = next(here.rglob("result.json")).parent.relative_to(here)
    assert comparable(tmp_path / "jobs" / place) == comparable(here / place)
    assert list((tmp_path / "jobs" / executors.SUBMITIT_FOLDER).glob("*_log.out"))
    assert main(["report", str(tmp_path / "jobs"), "--out", str(tmp_path / "site")]) == 0


def test_a_preempted_job_goes_on_from_its_checkpoint(trained):
    helpers = pytest.importorskip("submitit.helpers")
    here, _ = trained
    (result,) = here.rglob("result.json")
    expected, spec = comparable(result.parent), read_run(result.parent).spec
    result.unlink()
    delayed = executors._Requeued().checkpoint(here, [spec], "cpu", 1)
    assert isinstance(delayed, helpers.DelayedSubmission)
    assert delayed.result() == [None]
    assert comparable(result.parent) == expected
