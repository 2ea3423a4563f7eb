"""Runs that stop when their time is over, and the plan of the papers' runs that goes on with them."""

import json
import shlex

import pytest
from comparing import comparable

from bisimgym.benchmarks.cli import main, planned_by
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report.papers_index import GPU, PAPERS
from bisimgym.benchmarks.running import deadline, estimate, paper_plan, schema
from bisimgym.benchmarks.running.paper_plan import STEPS, Step


class Clock:
    """Is over at every look from the one of that number on."""

    def __init__(self, looks):
        self.looks = looks

    def __call__(self):
        self.looks -= 1
        return self.looks < 0


def test_a_run_in_pieces_ends_as_an_unbroken_one(trained, tmp_path, monkeypatch, capsys):
    """Pieces of some updates each: the evaluation, the curve and the checkpoint are those of the unbroken run."""
    _, arguments = trained
    more = [*arguments[:-1], str(tmp_path / "whole"), "--set", "epochs=2"]
    assert main(more) == 0
    pieces = [*arguments[:-1], str(tmp_path / "pieces"), "--set", "epochs=2", "--minutes", "1"]
    codes = []
    for _ in range(20):
        monkeypatch.setattr(deadline, "is_over", Clock(3))
        codes.append(main(pieces))
        if codes[-1] == 0:
            break
        assert "time is up, 1 of 1 run are left: give the same command again" in capsys.readouterr().out
        (marks,) = (tmp_path / "pieces").rglob("marks.json")
        last = json.loads(marks.read_text())["marks"][-1]
        assert 0 <= last["x"] < last["total"]
    assert codes[-1] == 0
    assert len(codes) > 2
    assert set(codes[:-1]) == {deadline.EXIT_CODE}
    (one,), (other,) = (
        [path.parent for path in (tmp_path / name).rglob("result.json")] for name in ("whole", "pieces")
    )
    assert comparable(one) == comparable(other)
    assert main([*pieces, "--executor", "ray"]) == 2
    assert main([*pieces[:-1], "0"]) == 2


def test_nothing_begins_after_the_end():
    deadline.check("before")
    with deadline.in_minutes(1e-9), pytest.raises(deadline.OutOfTime, match="this: time is up; what was done is kept"):
        deadline.check("this")
    deadline.check("after")


def test_the_plan_names_what_the_index_has():
    for step in STEPS:
        assert step.item.command.startswith("bisimgym run ")
        specs = planned_by(step.arguments, range(1, step.seeds + 1))
        assert {spec.preset for spec in specs} == {"paper"}
        assert {spec.seed for spec in specs} == set(range(1, step.seeds + 1))
    planned = {(step.paper, step.label) for step in STEPS}
    large = {(key, item.label) for key, paper in PAPERS.items() for item in paper.items if item.state == GPU}
    assert large <= planned


def test_times_are_judged_by_what_was_run_here(tmp_path, fake_run):
    (step,) = (step for step in STEPS if step.label == "Table 2")
    spec = planned_by(step.arguments, [1])[0]
    fake_run(tmp_path, method="pse", preset="paper", seed=1)
    unfinished = fake_run(tmp_path, method="pse", preset="paper", seed=2).path
    (unfinished / "result.json").unlink()
    mark = {"x": 10, "total": 40, "seconds": 5.0, "rows": 0, "digest": schema.digest([])}
    of_run = schema.digest(json.loads((unfinished / "run.json").read_text())["spec"])
    marks = {"format": schema.FORMAT, "run": of_run, "marks": [mark]}
    (unfinished / "marks.json").write_text(json.dumps(marks))
    times = estimate.times_here(tmp_path, "jumping")
    assert times["wide", "pse", "paper"] == [1.0, 20.0]
    assert estimate.times_here(tmp_path, "lqr") == {}
    (left,) = paper_plan.look(planned_by, tmp_path, 1, [step])
    assert left.specs[0] == spec
    assert len(left.expected.to_do) == len(left.specs)
    for damaged in ({}, {**marks, "marks": {"a": 1}}, {**marks, "marks": [{**mark, "seconds": "long"}]}):
        (unfinished / "marks.json").write_text(json.dumps(damaged))
        with pytest.raises(UserError, match=r"marks.json is damaged"):
            estimate.times_here(tmp_path, "jumping")


def test_the_command_goes_through_the_plan_until_time_is_up(tmp_path, monkeypatch, capsys):
    steps = [Step("psm", "Table 2", seeds, "small") for seeds in (1, 2)]
    small = shlex.split("jumping --preset smoke --task wide --method dropout-l2 --set epochs=1 --set evaluations=1")
    monkeypatch.setattr(paper_plan, "STEPS", steps)
    monkeypatch.setattr(paper_plan.look, "__defaults__", (steps,))
    monkeypatch.setattr(Step, "arguments", small)
    plan = ["plan", "--out", str(tmp_path), "--jobs", "1", "--threads", "1"]
    assert main(plan) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith(" 1. psm, Table 2 (small): 1 run, ")
    assert not list(tmp_path.iterdir())
    assert main([*plan, "--minutes", "1e-9"]) == deadline.EXIT_CODE
    assert main([*plan, "--minutes", "5"]) == 0
    assert len(list(tmp_path.rglob("result.json"))) == 2
    capsys.readouterr()
    assert main(plan) == 0
    assert "2. psm, Table 2 (small): 2 runs, all finished" in capsys.readouterr().out
    assert main([*plan, "--jobs", "0"]) == 2
    assert isinstance(deadline.OutOfTime("x"), UserError)
