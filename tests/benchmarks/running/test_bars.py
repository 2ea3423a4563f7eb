"""Lines for log files, where bars have no place."""

import pytest

from bisimgym.benchmarks.running import bars


@pytest.mark.parametrize(
    ("done", "seconds", "skipped", "expected"),
    [
        (30, 31, 0, "30/120 in 0:00:31, about 0:01:33 left"),
        (90, 60, 60, "90/120 in 0:01:00, about 0:01:00 left"),  # resumed at 60: half of what was done since is left
        (0, 12, 0, "0/120 in 0:00:12"),
        (120, 3600, 0, "120/120 in 1:00:00"),
    ],
)
def test_timing(done, seconds, skipped, expected):
    assert bars.timing(done, 120, seconds, skipped) == expected


def test_a_log_file_gets_time_and_time_left(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(bars.time, "monotonic", lambda: next(clock))
    with bars.single_bar("pse learns") as show:
        for done in (1, 2, 3, 5, 250):
            show(done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "pse learns: 3/100 in 0:00:20, about 0:16:10 left",
        "pse learns: 100/100 in 0:00:40",
    ]


def test_runs_that_are_trained_together_have_one_line(capsys, monkeypatch):
    now = 0
    monkeypatch.setattr(bars.time, "monotonic", lambda: now)
    with bars._Bars(["psm seed 1", "ipo seed 1", "psm seed 2", "psm seed 3"], "4 runs", [[0, 2, 3], [1]]) as shown:
        for now in (0, 20):
            for index in (0, 2, 3):
                shown.on_progress(index, 50 + now, 100)
    assert capsys.readouterr().err.splitlines() == ["psm seed 1 and 2 more: 70/100 in 0:00:20, about 0:00:30 left"]
