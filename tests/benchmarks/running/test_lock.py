"""The lock of a run's folder."""

import os

import pytest

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import reading
from bisimgym.benchmarks.running.lock import held


def test_a_lock_is_of_one_holder_and_leaves_nothing(tmp_path):
    lock = tmp_path / ".lock"
    with held(lock, tmp_path):
        with pytest.raises(UserError, match="another process is running"), held(lock, tmp_path):
            pass
        assert lock.exists()
    assert not lock.exists()
    with pytest.raises(ZeroDivisionError), held(lock, tmp_path):
        raise ZeroDivisionError
    assert not lock.exists()


def test_a_lock_that_is_let_go_of_while_another_process_takes_it_is_still_of_one_holder(tmp_path, monkeypatch):
    lock = tmp_path / ".lock"
    first = held(lock, tmp_path)
    first.__enter__()
    opened = []

    def open_slowly(*arguments):
        descriptor = open_regular(*arguments)
        if not opened:  # the holder lets go, and so removes the file, between opening and locking it
            first.__exit__(None, None, None)
        opened.append(os.fstat(descriptor).st_ino)
        return descriptor

    open_regular = reading.open_regular
    monkeypatch.setattr(reading, "open_regular", open_slowly)
    with held(lock, tmp_path):
        monkeypatch.undo()
        assert opened[-1] == lock.stat().st_ino
        assert len(opened) == 2
        with pytest.raises(UserError, match="another process is running"), held(lock, tmp_path):
            pass
