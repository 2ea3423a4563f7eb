"""The manipulation suite: what is scored, beside which numbers, and how runs go on."""

import sys

import gymnasium as gym
import numpy as np
import pytest

from bisimgym.baselines.learners import SAC_LEARNERS
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.manipulation import suite as manipulation
from bisimgym.benchmarks.suites.manipulation.settings import Protocol
from bisimgym.envs.manipulation import simulator

SUITE = load_suite("manipulation")
SMALL = Protocol(episodes=2, curve_episodes=1, horizon=5, image_size=20, num_envs=1)
QUICK = SUITE.under(SMALL)
SETTINGS = {"episodes": 2, "size": 20, "channels": 2, "hidden": 8, "batch_size": 4, "learning_starts": 3}
LEARNERS = [name for name, method in SUITE.methods.items() if method.trains]
needs_robosuite = pytest.mark.skipif(not simulator.is_installed(), reason=f"needs robosuite: {simulator.INSTALL}")


def test_scores_by_hand():
    outcomes = {
        "return": [251.0, 255.0, 250.0, 250.0, 249.0],
        "trained_return": [300.0] * 5,
        "solved": [True] + [False] * 4,
    }
    scores = SUITE.rescore("two-arm-peg-in-hole", 1, outcomes)
    assert scores == {"score": 251.0, "trained": 300.0, "gap": 49.0, "normalized": 1 / 250, "solved": 0.2}
    with pytest.raises(ValueError, match="outcomes of door are 5 entries of each of"):
        SUITE.rescore("door", 1, {**outcomes, "solved": [True]})


def test_published_numbers_stand_beside_what_doing_nothing_earns():
    assert len(SUITE.published) == 10
    assert {measure for _, _, measure in SUITE.published} == {"trained"}
    assert SUITE.published["door", "rap", "trained"].score == 102.19
    assert SUITE.published["two-arm-peg-in-hole", "rap", "trained"].spread == 25.70
    below = [row.score < 249 for (task, *_), row in SUITE.published.items() if task == "two-arm-peg-in-hole"]
    assert sum(below) == 4
    assert "Doing nothing earns 249 to 259" in SUITE.tasks["two-arm-peg-in-hole"].published_note
    assert SUITE.anchors("two-arm-peg-in-hole") == (250.0, 500.0)


def test_agents_that_do_not_look():
    zero, random = manipulation.Blind(3), manipulation.Blind(3, seed=1)
    observation = np.zeros((2, 64))
    np.testing.assert_array_equal(zero.predict(observation)[0], np.zeros((2, 3)))
    action = random.predict(observation)[0]
    assert action.shape == (2, 3)
    assert np.abs(action).max() <= 1
    assert (random.predict(observation)[0] != action).all()
    np.testing.assert_array_equal(manipulation.Blind(3, seed=1).predict(observation)[0], action)


@pytest.mark.parametrize("method", LEARNERS)
def test_every_learner_can_be_made_with_published_settings(method):
    env = gym.make("Pendulum-v1")
    env.observation_space = gym.spaces.Box(0, 255, (24, 24, 9), np.uint8)
    paper = make_spec(SUITE, "door", method, "paper", 1).settings
    assert (paper["batch_size"], paper["learning_rate"], paper["buffer_size"]) == (128, 1e-3, 100_000)
    assert (paper["actor_period"], paper["target_update_interval"], paper["size"]) == (1, 1, 128)
    assert paper["episodes"] * 500 == 500_000
    model = manipulation.make_learner(make_spec(SUITE, "door", method, "smoke", 1), "cpu", env, SMALL)
    assert type(model) is SAC_LEARNERS[paper["learner"]]
    assert (model.batch_size, model.learning_rate, model.actor_period) == (8, 1e-3, 1)
    assert (model.representation.metric is not None) == (method in {"mico", "dbc", "rap", "ambs", "simsr"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 12}, "size must be at least 20, what the encoder takes, got 12 pixels"),
        ({"renderer": "auto"}, "renderer must be one of .*, got 'auto'"),
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        make_spec(SUITE, "door", "drq", "smoke", 1, settings)


def test_without_robosuite_everything_ends_with_one_line(monkeypatch, folder_of):
    monkeypatch.setitem(sys.modules, "robosuite", None)
    monkeypatch.setattr(simulator, "import_robosuite", simulator.import_robosuite.__wrapped__)
    spec = make_spec(SUITE, "door", "zero", "paper", 1)
    for call in (
        lambda: SUITE.train(spec, folder_of(spec), "cpu"),
        lambda: SUITE.evaluate(manipulation.Blind(7), "door", 1),
        lambda: SUITE.training_envs("door", 1),
    ):
        with pytest.raises(UserError, match=r'^Manipulation needs robosuite .*pip install "bisimgym\[manipulation\]"'):
            call()


@needs_robosuite
def test_a_method_trains_and_goes_on_where_it_was_cut_off(check_resumed):
    spec = make_spec(QUICK, "door", "rap", "smoke", 1, {**SETTINGS, "evaluate_every": 1})
    rows = check_resumed(QUICK, spec, at=5)
    assert [row["steps"] for row in rows] == [5, 10]
    assert rows[-1]["updates"] > 0


@needs_robosuite
def test_references_earn_the_same_whatever_episodes_look_like(folder_of):
    spec = make_spec(QUICK, "two-arm-peg-in-hole", "zero", "paper", 1)
    outcome = QUICK.train(spec, folder_of(spec), "cpu")
    assert outcome.outcomes["return"] == outcome.outcomes["trained_return"]
    looking = QUICK.evaluate(manipulation.Blind(12), spec.task, 1)
    assert looking.outcomes == outcome.outcomes
    assert 0.4 < outcome.score / 5 < 0.6


@needs_robosuite
def test_the_oracle_plays_the_experts_actions(folder_of):
    spec = make_spec(QUICK, "door", "oracle", "paper", 1)
    outcome = QUICK.train(spec, folder_of(spec), "cpu")
    env = manipulation.make_env("door", SMALL, observation="state").unwrapped
    env.reset(seed=1_001_000)
    earned = sum(env.step(env.optimal_action())[1] for _ in range(SMALL.horizon))
    assert outcome.outcomes["return"][0] == outcome.outcomes["trained_return"][0] == earned
