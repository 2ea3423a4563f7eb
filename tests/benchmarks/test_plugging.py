"""Outside agents tried everywhere: what fits, what does not, and what is odd."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from bisimgym.benchmarks import agents, plugging
from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.plugging import try_everywhere, try_task
from bisimgym.benchmarks.suites import SUITES, load_suite


class Still:
    """Does nothing, wherever actions are a box."""

    def __init__(self, action=0.0, dtype=np.float32, shape=(20,)):
        self.action, self.dtype, self.shape = action, dtype, shape

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.full((len(observation), *self.shape), self.action, self.dtype), state


class Learns(Still):
    learned = None

    def learn(self, envs, budget, seed):
        self.learned = budget

    def predict(self, observation, **_):
        return [0, self.learned * 0][1] * np.ones((len(observation), 20)), None


@pytest.fixture
def few_suites(monkeypatch):
    """Suites that are quick to make, and the agents that specs name."""
    monkeypatch.setattr(plugging, "SUITES", {name: SUITES[name] for name in ("jumping", "lqr", "fidelity")})
    makers = {"still": Still, "learns": Learns}
    monkeypatch.setattr(plugging, "resolve_agent", lambda spec: makers[spec]())


def test_it_says_where_an_agent_fits_and_why_not(few_suites):
    trials = {trial.suite: trial for trial in try_everywhere("still")}
    assert str(trials["lqr"]) == "lqr (500, 1000, 10000): fits"
    assert "must return one action per row, integers from 0 to 1" in trials["jumping"].problem
    assert "it has no embed(observation)" in trials["fidelity"].problem


def test_an_agent_that_learns_does_so_first_on_one_task(few_suites):
    problems = {trial.suite: (trial.tasks, trial.problem) for trial in try_everywhere("learns")}
    assert "--budget may help" in problems["lqr"][1]
    assert next(t for t in try_everywhere("learns", budget=64) if t.suite == "lqr").tasks == ("500",)
    assert {t.suite for t in try_everywhere("learns", budget=64) if t.fits} == {"lqr"}
    with pytest.raises(UserError, match="has no learn"):
        list(try_everywhere("still", budget=64))


def test_when_the_time_is_over_the_rest_is_named(few_suites):
    trials = list(try_everywhere("still", seconds=0.0))
    assert not any(trial.fits or trial.tried for trial in trials)
    assert str(trials[0]) == "lqr (500, 1000, 10000): not tried, since the time is over"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (Still(shape=()), "got shape (16,)"),
        (Still(2.0), "within [-1, 1], got 2.0"),
        (Still(np.nan), "within [-1, 1], got nan"),
        (Still(0, int), "got int64"),
    ],
)
def test_actions_of_a_box_are_checked(agent, expected):
    with pytest.raises(UserError) as caught:
        try_task(agent, load_suite("lqr"), "500")
    assert expected in str(caught.value)


def test_slips_are_noted():
    counts = itertools.count()

    class Fickle(Still):
        def predict(self, observation, **_):
            return np.full((len(observation), 20), next(counts) % 2 / 2 + 0.1 / len(observation), np.float32), None

    notes = try_task(Fickle(), load_suite("lqr"), "500")
    assert notes == [
        "acts in two ways on the same observations though deterministic=True",
        "acts otherwise on a row alone than among others",
    ]


def test_embeddings_are_checked():
    class Embeds(Still):
        def embed(self, observation):
            return np.full(self.shape, np.inf if self.shape == (8, 4) else 1.0)

    agent, suite = Embeds(shape=(8, 3)), load_suite("fidelity")
    assert try_task(agent, suite, "nav2d-8x8") == []
    for shape, expected in (((8,), "got shape (8,)"), ((7, 3), "got shape (7, 3)"), ((8, 4), "not finite")):
        agent.shape = shape
        with pytest.raises(UserError) as caught:
            try_task(agent, suite, "nav2d-8x8")
        assert expected in str(caught.value)


def test_the_command_runs_an_agent_in_one_file(few_suites, monkeypatch, capsys):
    monkeypatch.setattr(plugging, "resolve_agent", agents.resolve_agent)
    monkeypatch.chdir(Path(__file__).parents[2] / "docs/examples")
    monkeypatch.syspath_prepend(".")
    assert main(["plug", "single_file_dqn:make", "--budget", "64"]) == 0
    assert "jumping (wide): fits" in capsys.readouterr().out
    assert main(["plug", "my_agent:make", "--seconds", "0"]) == 2
    assert "--seconds must be above 0" in capsys.readouterr().err
