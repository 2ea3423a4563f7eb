"""The pruning suite: what is scored, how runs go on, outside agents, and rules of which channels are kept."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from PIL import Image

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.pruning.learning import PruningRun, make_ddpg, plan_of
from bisimgym.benchmarks.suites.pruning.pictures import FILES
from bisimgym.benchmarks.suites.pruning.problems import Loaded, loaded
from bisimgym.benchmarks.suites.pruning.published import ROWS
from bisimgym.benchmarks.suites.pruning.rnp import GroupChoice, make_dqn
from bisimgym.benchmarks.suites.pruning.rules import RuntimeRatios, TradeOff, permanent_masks, uniform_ratio
from bisimgym.benchmarks.suites.pruning.settings import PROBLEMS
from bisimgym.benchmarks.suites.pruning.suite import scored_run
from bisimgym.envs.channel_pruning import GatedNetwork, save_network
from bisimgym.envs.channel_pruning.backbones import BACKBONES, residual_blocks
from bisimgym.envs.channel_pruning.budgets import Backbone, ConvLayer
from bisimgym.envs.channel_pruning.datasets import LabeledImages, digits
from bisimgym.envs.channel_pruning.fitting import scored
from bisimgym.envs.channel_pruning.network import removed
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

SUITE = load_suite("pruning")
DIGITS = BACKBONES["digits-4"]


def run_of(method, task="digits-0.5", **variant):
    return PruningRun(spec_of(method, task, **variant).settings, loaded(PROBLEMS[task]), seed=1)


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


def test_a_recurrent_agent_learns_and_its_partner_remembers(check_resumed):
    rows = check_resumed(SUITE, spec_of("both", recurrent=True), at=1)
    plain = run_of("both")
    plain.advance()
    recurrent = run_of("both", recurrent=True)
    recurrent.advance()
    stored = [sum(value.numel() for value in of.agents["runtime"].policy.parameters()) for of in (plain, recurrent)]
    assert stored[1] - stored[0] == 2 * 32 * 32 + 2 * 32  # a tanh RNN of 32 units
    assert rows[1]["score"] > 0.5


def test_rnp_is_paid_for_groups_that_it_leaves_out():
    envs = gym.make_vec("bisimgym/ChannelPruning-v0", num_envs=4, ranking="static")
    groups = GroupChoice(SB3VecEnv(envs), envs.unwrapped.task, penalty=0.1)
    groups.reset()
    for choice in (0, 1, 2):
        _, reward, done, _ = groups.step(np.full(4, choice))
        np.testing.assert_allclose(reward, -0.1 * (choice + 1))
    _, reward, done, infos = groups.step(np.array([0, 1, 2, 3]))
    loss = np.array([info["loss"] for info in infos]) / envs.unwrapped.task.loss_scale
    np.testing.assert_allclose(reward, -0.1 * np.arange(1, 5) - loss, rtol=1e-5)
    assert done.all()
    assert [info["kept"].tolist() for info in infos] == [[4, 8, 24, kept] for kept in (8, 16, 24, 32)]


def test_rnp_learns_its_rewards_and_keeps_the_same_channels_of_every_picture(check_resumed):
    check_resumed(SUITE, spec_of("rnp"), at=1)
    run = run_of("rnp")
    run.advance()
    _, keeps = run.network.passed(th.from_numpy(digits("test").images[:50]), run.removal_rule())
    for keep in keeps:
        counts = keep.sum(dim=1)
        assert (counts * 4 % keep.shape[1] == 0).all()
        assert all(len(keep[counts == count].unique(dim=0)) == 1 for count in counts.unique())
    model = make_dqn(gym.make_vec("bisimgym/ChannelPruning-v0", num_envs=8, ranking="static"), 0, 1e-3, 8, 0.1)
    before = [value.clone() for value in model.q_net.parameters()]
    model.learn(64)
    assert any((a != b).any() for a, b in zip(before, model.q_net.parameters(), strict=True))


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
    run = run_of(method)
    left = np.array([int(mask.sum()) for mask in run.permanent()])
    assert DIGITS.fraction("parameters", left) <= DIGITS.cap("parameters", 1 - 0.5 * (1 - run.trust)) + 1e-9
    kept = scored(run.network, digits("test"), run.removal_rule())["kept"]
    assert DIGITS.fraction("macs", kept).mean() <= 1.03 * run.caps["macs"]


@pytest.mark.parametrize("method", ["both", "static", "amc-like", "rnp", "fpgm-fbs"])
def test_residual_networks_are_pruned_by_every_kind_of_method(method):
    th.manual_seed(0)
    layers = (ConvLayer(3, 8), *residual_blocks(8, 8, 1, 1), *residual_blocks(8, 12, 2, 1))
    network = GatedNetwork(Backbone((3, 8, 8), layers, 3)).eval()
    images = np.random.default_rng(0).normal(size=(40, 3, 8, 8)).astype(np.float32)
    data = LabeledImages(images, np.arange(40) % 3, np.zeros((40, 8, 8, 3), np.uint8))
    settings = spec_of(method, rounds=1, num_envs=4, episodes=1).settings
    run = PruningRun(settings, Loaded(data, data, network, 0.5, augment=True), seed=1)
    run.advance()
    outcome = scored_run(run)
    for name, value in outcome.scores.items():
        low, high = SUITE.measures[name].bounds
        assert low <= value <= high
    small = removed(run.network, run.permanent())  # says if summands differ
    if run.trust == 0:
        with th.no_grad():
            logits, _ = small(th.from_numpy(images))
        assert outcome.outcomes["correct"] == (logits.argmax(dim=1).numpy() == data.labels).tolist()
    assert "gap_closed" not in outcome.scores  # 4 ** 6 plans


def test_tasks_of_a_users_folder_say_what_is_missing(monkeypatch, tmp_path):
    problem = PROBLEMS["cifar10-0.5"]
    monkeypatch.delenv(problem.data, raising=False)
    with pytest.raises(UserError, match="set BISIMGYM_CIFAR10 to a folder with the binary version of CIFAR-10"):
        loaded(problem)
    monkeypatch.setenv(problem.data, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere, which is no folder"):
        loaded(problem)
    monkeypatch.setenv(problem.data, str(tmp_path))
    with pytest.raises(UserError, match=r"with m-cifarnet.npz, the network to prune, and .* has none"):
        loaded(problem)
    (tmp_path / "m-cifarnet.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="data_batch_1.bin is not there"):
        loaded(problem)
    (tmp_path / "data_batch_1.bin").write_bytes(b"0")
    with pytest.raises(UserError, match="data_batch_1.bin is damaged: it has 1 bytes and must have 30730000"):
        loaded(problem)


def test_folders_of_images_must_be_whole_to_be_compared(monkeypatch, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "n01").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / split / "n01" / "0.png")
    problem = PROBLEMS["imagenet-mobilenet-0.7"]
    monkeypatch.setenv(problem.data, str(tmp_path))
    save_network(GatedNetwork(BACKBONES["mobilenet-v1"]), tmp_path / "mobilenet-v1.npz")
    with pytest.raises(UserError, match="must have 50000 test images of 1000 classes or fewer, got 1 of 1"):
        loaded(problem)
    assert len(loaded(problem._replace(test_images=1)).train.labels) == 1


def test_published_rows_are_of_tasks_and_methods_that_there_are():
    for row in ROWS:
        assert row.task in SUITE.tasks
        assert row.method in ("", *SUITE.methods)
        assert PROBLEMS[row.task].data != "digits"
    assert len(SUITE.published) == sum(bool(row.method) for row in ROWS)
    assert SUITE.published["cifar10-0.5", "both", "score"].score == 0.91228
    # What the thesis prints as +0.629.
    (row,) = (row for row in ROWS if (row.table, row.name) == ("6.2", "R = 0.5"))
    assert round(row.accuracy - row.base, 3) == 0.644


def test_schedules_are_those_of_the_thesis():
    paper, imagenet = (SUITE.presets[name].settings for name in ("paper", "paper-imagenet"))
    assert (paper["rounds"], paper["iterations"]) == (40, 1560)
    assert paper["epochs"] * (50_000 // 128) == 780
    assert [imagenet[name] for name in ("rounds", "iterations", "batches", "last_batches")] == [64, 1200, 600, 200_000]
    assert (paper["agent_rate"], paper["network_rate"], imagenet["network_rate"]) == (1e-6, 1e-3, 1e-4)
    run = run_of("uniform")
    run.settings |= {"batches": 3, "last_batches": 5}
    assert [run._batches(last) for last in (False, True)] == [3, 5]


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
    run = run_of("fpgm-fbs")
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
    network = run_of("fbs").network
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
        ("uniform", {"network_rate": 0.0}, "network_rate must be above 0, got 0.0"),
        ("uniform", {"recurrent": True}, "unknown setting 'recurrent'"),
        ("both", {"recurrent": 1}, "setting recurrent takes bool"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_one_error(method, variant, message):
    with pytest.raises(UserError, match=message):
        spec_of(method, **variant)


def test_plans_that_are_too_many_are_not_enumerated():
    with pytest.raises(UserError, match="4 ratios in 8 layers are too many plans to enumerate: take a digits task"):
        spec_of("enumerated", "cifar10-0.5")
