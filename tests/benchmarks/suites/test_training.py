"""Checkpoints carry the digest of their run."""

import pickle
from types import SimpleNamespace

import pytest

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites.base import Outcome
from bisimgym.benchmarks.suites.training import learner_of, train_with_evaluations


def make():
    return SimpleNamespace(replay_buffer=SimpleNamespace())


def load(path):
    return pickle.loads(path.read_bytes())


def test_a_learner_and_its_replay_are_those_of_the_run(tmp_path):
    ours, theirs = SimpleNamespace(run_digest="ours"), SimpleNamespace(run_digest="theirs")
    checkpoint = tmp_path / "checkpoint"
    model = learner_of(ours, checkpoint, load, make)
    checkpoint.write_bytes(pickle.dumps(model))
    assert learner_of(ours, checkpoint, load, make) == model
    with pytest.raises(UserError, match=r"is not a checkpoint of this run \(it is of ours\)"):
        learner_of(theirs, checkpoint, load, make)
    model.replay_buffer = learner_of(theirs, tmp_path / "none", load, make).replay_buffer
    checkpoint.write_bytes(pickle.dumps(model))
    with pytest.raises(UserError, match=r"it is of theirs"):
        learner_of(ours, checkpoint, load, make)
    checkpoint.write_bytes(pickle.dumps(make()))
    with pytest.raises(UserError, match=r"it is of a run without a name"):
        learner_of(ours, checkpoint, load, make)
    checkpoint.write_bytes(b"damage")
    with pytest.raises(UserError, match=r"checkpoint is damaged"):
        learner_of(ours, checkpoint, load, make)
    (tmp_path / "linked").symlink_to(checkpoint)
    with pytest.raises(UserError, match=r"linked is a link"):
        learner_of(ours, tmp_path / "linked", load, make)


def test_progress_counts_what_was_done_before_and_the_curve_does_not():
    seen, rows = [], []
    monitor = SimpleNamespace(
        resume_curve=lambda x_name, done: [],
        seconds_before=lambda done: 0.0,
        mark=lambda *_: None,
        log=rows.append,
        progress=lambda done, total: seen.append((done, total)),
    )
    train_with_evaluations(
        monitor,
        "steps",
        before=100,
        done=0,
        total=4,
        every=2,
        train=lambda reached: [reached(at) for at in (1, 2, 3)],
        evaluate=lambda: Outcome(0.5, {}, {}),
        save=lambda: None,
    )
    assert seen == [(at + 100, 104) for at in range(5)]
    assert [row["steps"] for row in rows] == [2, 4]
