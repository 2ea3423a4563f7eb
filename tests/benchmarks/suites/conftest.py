"""Runs of suites without the command: their folders, their curves, and what a kill does to them."""

import pytest

from bisimgym.benchmarks.running.run_folder import RunFolder


class Killed(Exception):
    pass


@pytest.fixture
def folder_of(tmp_path):
    """Return a function that makes the folder of a run."""

    def make(spec, name=""):
        folder = RunFolder(tmp_path / name, spec)
        folder.path.mkdir(parents=True)
        return folder

    return make


@pytest.fixture
def rows_of():
    """Return a function that gives the rows of a run's curve without what depends on the clock."""

    def rows(folder):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in folder.rows()]

    return rows


@pytest.fixture
def train_until(monkeypatch):
    """Return a function that trains until a progress is reported, and is killed there."""

    def train(suite, spec, folder, at):
        def kill(done, total):
            if done == at:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(folder, "progress", kill)
            with pytest.raises(Killed):
                suite.train(spec, folder, "cpu")

    return train


@pytest.fixture
def check_resumed(folder_of, rows_of, train_until):
    """Return a function that checks that a killed run goes on to the same numbers, and gives the rows of its curve."""

    def check(suite, spec, at):
        whole, parted = folder_of(spec, "whole"), folder_of(spec, "parted")
        expected = suite.train(spec, whole, "cpu")
        rows = rows_of(whole)
        train_until(suite, spec, parted, at)
        assert rows_of(parted) == [row for row in rows if row[suite.x_name] <= at]
        # A row of an evaluation whose checkpoint was not written lies beyond it.
        parted.log({suite.x_name: rows[-1][suite.x_name], "score": 0.0, "seconds": 1.0})
        assert suite.train(spec, parted, "cpu") == expected
        assert rows_of(parted) == rows
        return rows

    return check
