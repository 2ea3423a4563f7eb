"""The pruning suite: what is scored, how runs go on, outside agents, and rules of which channels are kept."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.pruning.learning import PruningRun, make_ddpg, plan_of
from bisimgym.benchmarks.suites.pruning.pictures import FILES
from bisimgym.benchmarks.suites.pruning.rules import RuntimeRatios, TradeOff, permanent_masks, uniform_ratio
from bisimgym.envs.channel_pruning.budgets import BACKBONES
from bisimgym.envs.channel_pruning.datasets import digits
from bisimgym.envs.channel_pruning.fitting import scored

SUITE = load_suite("pruning")
DIGITS = BACKBONES["digits-4"]


def spec_of(method, task="digits-0.7", **variant):
    return make_spec(SUITE, task, method, "smoke", 1, variant)


def test_both_agents_learn_and_go_on_where_they_were_cut_off(check_resumed, tmp_path):
    rows = check_resumed(SUITE, spec_of("both"), at=1)
    assert [row["rounds"] for row in rows] == [0, 1, 2]
    assert rows[0]["parameters"] < 1
    assert rows[1]["stored"] > rows[0]["stored"]  # an agent is stored from the first round on
    assert {path.name for path in tmp_path.glob("whole/**/pictures/*")} == {f"{name}.png" for name in FILES}


def test_ppo_closes_half_of_the_gap_of_the_static_problem(folder_of):
    spec = spec_of("static", rounds=1, iterations=20, num_envs=64)
    outcome = SUITE.train(spec, folder_of(spec), "cpu")
    assert outcome.scores["gap_closed"] > 0.5
    assert outcome.scores["parameters"] < 1.1 * DIGITS.cap("parameters", 0.7)
    assert outcome.score > 0.5
    assert SUITE.rescore(spec.task, 1, outcome.outcomes) == {"score": outcome.score, "macs": outcome.scores["macs"]}
    for name, value in outcome.scores.items():
        low, high = SUITE.measures[name].bounds
        assert low <= value <= high
    with pytest.raises(ValueError, match="outcomes of digits-0.7 are 500 entries"):
        SUITE.rescore(spec.task, 1, {name: column[1:] for name, column in outcome.outcomes.items()})


def test_ddpg_learns_a_plan():
    envs = gym.make_vec("bisimgym/ChannelPruning-v0", agent="static")
    model = make_ddpg(envs, seed=0)
    before = [value.clone() for value in model.actor.parameters()]
    model.learning_starts = 8
    model.learn(12)
    assert any((a != b).any() for a, b in zip(before, model.actor.parameters(), strict=True))
    plan = plan_of(model, envs.unwrapped.task)
    assert ((plan >= 0.1) & (plan <= 1)).all()
    assert len(plan) == 4


@pytest.mark.parametrize("method", SUITE.methods)
def test_every_method_starts_within_its_budgets(method):
    run = PruningRun(spec_of(method, "digits-0.5").settings, 0.5, seed=1)
    left = np.array([int(mask.sum()) for mask in run.permanent()])
    assert DIGITS.fraction("parameters", left) <= DIGITS.cap("parameters", 1 - 0.5 * (1 - run.trust)) + 1e-9
    kept = scored(run.network, digits("test"), run.removal_rule())["kept"]
    assert DIGITS.fraction("macs", kept).mean() <= 1.03 * run.caps["macs"]


def test_uniform_ratios_meet_the_budget_as_closely_as_channels_allow():
    for resource in ("macs", "parameters"):
        for density in (0.3, 0.5, 0.7):
            cap = DIGITS.cap(resource, density)
            ratio = uniform_ratio(DIGITS, resource, cap)
            spent, next_one = (
                DIGITS.fraction(resource, np.ceil(r * DIGITS.channels - 1e-5)) for r in (ratio, ratio + 1 / 32 + 1e-3)
            )
            assert spent <= cap + 1e-9 < next_one
    with pytest.raises(ValueError, match="a budget of 0.0001 of the macs cannot be met"):
        uniform_ratio(DIGITS, "macs", 1e-4)


def test_masks_of_training_keep_the_mean_of_both_ratios():
    run = PruningRun(spec_of("fpgm-fbs").settings, 0.5, seed=1)
    rule = TradeOff(RuntimeRatios(DIGITS, 0.25, 0.5), np.full(4, 0.5), 0.5, run.scores)
    kept = scored(run.network, digits("test"), rule)["kept"]
    assert ((kept >= DIGITS.channels / 2) & (kept <= DIGITS.channels / 2 + 1)).all()
    left = permanent_masks(run.network, np.full(4, 0.5), 0.5, run.scores)
    assert [int(mask.sum()) for mask in left] == [12, 12, 24, 24]


def test_outside_agents_are_scored_on_all_test_digits():
    class Whole:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return np.ones((len(observation), 1)), state

    class Wrong(Whole):
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return np.ones(len(observation)), state

    outcome = SUITE.evaluate(Whole(), "digits-0.5", 1)
    network = PruningRun(spec_of("fbs").settings, 0.5, seed=1).network
    with th.no_grad():
        right = network(th.from_numpy(digits("test").images))[0].argmax(dim=1).numpy() == digits("test").labels
    assert outcome.score == right.mean()
    assert outcome.scores["macs"] == 1
    with pytest.raises(ValueError, match=r"finite actions of shape \(500, 1\), got shape \(500,\)"):
        SUITE.evaluate(Wrong(), "digits-0.5", 1)
    assert SUITE.training_envs("digits-0.5", 1).num_envs == 128


@pytest.mark.parametrize(
    ("method", "variant", "message"),
    [
        ("both", {"trust": 1.5}, r"trust must be in \[0, 1\], got 1.5"),
        ("both", {"trust": 1.0}, "trust must be 0 without a runtime agent, 1 without a static one, and between with"),
        ("static", {"static": "guess"}, "static must be one of .*'guess'"),
        ("separate", {"rounds": 1}, "order 'separate' needs 2 rounds or more, got 1"),
        ("uniform", {"epochs": 0}, "epochs must be at least 1, got 0"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_one_error(method, variant, message):
    with pytest.raises(UserError, match=message):
        spec_of(method, **variant)
