"""Runs that are run again: what is equal, what differs, and where it was made."""

import json

import pytest
from forged import RESULTS, copy, reseal

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.running import reproducing
from bisimgym.benchmarks.running.reproducing import compare, is_reproduced
from bisimgym.benchmarks.running.run_folder import read_run

ZERO = "lqr/500/zero/short/seed-1"
AGENT = """
import numpy as np

class Right:
    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.zeros(len(observation), dtype=int), state
"""


def test_a_committed_run_comes_to_the_same_numbers_again(capsys):
    assert main(["repro", str(RESULTS / ZERO)]) == 0
    out = capsys.readouterr().out
    assert "score: 28.156507958104864 then, 28.156507958104864 now" in out
    assert out.endswith("the same numbers\n")
    assert not (RESULTS / ZERO / reproducing.RECORD).exists()


def test_what_differs_is_named_and_recorded(tmp_path, capsys):
    path = copy(ZERO, tmp_path / "x")
    old = json.loads((path / "result.json").read_text())
    cost = [*old["outcomes"]["cost"][:2], 30.0]
    score = old["score"] + 30.0 - old["outcomes"]["cost"][2]
    curve = [{**json.loads(line), "score": score} for line in (path / "curve.jsonl").read_text().splitlines()]
    reseal(path, curve=curve, outcomes={**old["outcomes"], "cost": cost}, score=score)
    assert main(["repro", str(path), "--record"]) == 1
    out = capsys.readouterr().out
    assert f"differs: score: {score} then, {old['score']} now" in out
    assert "differs: outcomes: 1 of 3 entries of 'cost'" in out
    assert f"differs: curve: 1 of {len(curve)} rows" in out
    assert "commit was" in out
    assert out.endswith("not the same numbers\n")
    assert json.loads((path / reproducing.RECORD).read_text())["same"] is False
    assert not is_reproduced(read_run(path))


def test_a_tolerance_is_of_the_score_alone(tmp_path, capsys, error_of):
    one, path = read_run(RESULTS / ZERO), copy(ZERO, tmp_path / "x")
    cost = [*one.outcomes["cost"][:2], one.outcomes["cost"][2] + 0.5]
    curve = [{**row, "score": one.score + 0.5} for row in one.curve]
    reseal(path, curve=curve, outcomes={**one.outcomes, "cost": cost}, score=one.score + 0.5)
    assert compare(one, read_run(path), 0.6).same
    assert compare(one, read_run(path), 0.4).differences == ["score: 0.5 apart, more than 0.4"]
    assert main(["repro", str(path), "--tolerance", "0.6", "--record"]) == 0
    assert capsys.readouterr().out.endswith("the same score to 0.6\n")
    assert json.loads((path / reproducing.RECORD).read_text())["tolerance"] == 0.6
    assert "--tolerance must not be negative" in error_of("repro", path, "--tolerance", "-1")


def test_times_do_not_count_and_missing_rows_do(tmp_path):
    one = read_run(RESULTS / ZERO)
    path = copy(ZERO, tmp_path / "x")
    rows = [{**row, "seconds": row["seconds"] + 5} for row in one.curve]
    reseal(path, curve=rows)
    assert compare(one, read_run(path)).same
    reseal(path, curve=[])
    assert compare(one, read_run(path)).differences == [f"curve: {len(rows)} of {len(rows)} rows"]


def test_an_outside_agent_is_scored_again(tmp_path, monkeypatch, capsys, error_of):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(".")
    (tmp_path / "again_agents.py").write_text(AGENT)
    agent = ["--agent", "again_agents:Right"]
    assert main(["evaluate", "jumping", "--task", "wide", *agent, "--out", "runs"]) == 0
    run = tmp_path / "runs/jumping/wide/Right/external/seed-1"
    assert "give the agent with --agent" in error_of("repro", run)
    assert "--agent is for runs of outside agents" in error_of("repro", RESULTS / ZERO, *agent)
    assert not is_reproduced(read_run(run))
    assert main(["repro", str(run), *agent, "--record"]) == 0
    assert is_reproduced(read_run(run))
    (run / reproducing.RECORD).write_text(json.dumps({"digest": "0" * 64, "same": True}))
    assert not is_reproduced(read_run(run))  # a record of another result
    with pytest.raises(Exception, match="is damaged"):
        (run / reproducing.RECORD).write_text("[]")
        is_reproduced(read_run(run))
