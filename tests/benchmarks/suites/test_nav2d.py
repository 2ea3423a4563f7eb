import numpy as np
import pytest
import torch as th

from bisimgym.baselines.core.checkpoint import load_checkpoint
from bisimgym.baselines.core.metric_learning import MetricDQN
from bisimgym.baselines.pretrained import pretrained_encoder
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running.run_folder import RunFolder
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.nav2d import suite as nav2d

SUITE = load_suite("nav2d").under(nav2d.Protocol(layouts=5, probed=1, pictures=False))


def spec_of(method="phi", **variant):
    settings = {"size": 8, "num_obstacles": 2, "min_goal_distance": 4, "max_episode_steps": 12, "data": 60}
    return make_spec(SUITE, "epsilon-0.5", method, "smoke", 1, {**settings, "transitions": 45, **variant})


class Cut(Exception):
    pass


class CutMonitor(RunFolder):
    """A run that is cut off once so much is done."""

    def __init__(self, out, spec, at):
        super().__init__(out, spec, self.cut_off)
        self.at = at
        self.path.mkdir(parents=True, exist_ok=True)
        self.start({})

    def cut_off(self, done, total):
        assert done <= total
        if done >= self.at:
            raise Cut


def run(tmp_path, name, spec, at=10**9):
    return SUITE.train(spec, CutMonitor(tmp_path / name, spec, at), "cpu")


def test_the_area_is_the_mean_of_the_curve():
    assert nav2d.success_rates([], 50) == {"area": 0.0, "final": 0.0}
    # 20 failures end at 1..20, then 30 successes at 51..80: within 100 episodes, of all.
    episodes = [(i, False) for i in range(1, 21)] + [(i, True) for i in range(51, 81)]
    rates = nav2d.success_rates(episodes, 100)
    by_hand = [min(max(step - 50, 0), 30) / (min(step, 20) + min(max(step - 50, 0), 30)) for step in range(1, 101)]
    assert rates["area"] == pytest.approx(np.mean(by_hand))
    assert rates["final"] == 0.6


def test_only_the_last_hundred_episodes_count():
    episodes = [(i, False) for i in range(1, 101)] + [(i, True) for i in range(101, 201)]
    assert nav2d.success_rates(episodes, 200)["final"] == 1.0
    assert nav2d.success_rates(episodes[:150], 150)["final"] == 0.5


def test_exploration_decays_as_published():
    schedule = nav2d.DecayingExploration(0.9, 0.2, 10_000, 100_000)
    assert schedule(1.0) == pytest.approx(0.9)
    assert schedule(0.9) == pytest.approx(0.2 + 0.7 * np.exp(-1))
    assert schedule(0.0) == pytest.approx(0.2 + 0.7 * np.exp(-10))


@pytest.mark.parametrize("method", ["psi", "phi"])
def test_an_agent_starts_from_the_encoder_that_was_trained(tmp_path, monkeypatch, method):
    started = []
    learn = MetricDQN.learn
    monkeypatch.setattr(
        MetricDQN,
        "learn",
        lambda model, *a, **k: (
            started.append(model.encoders()[0].image.state_dict()["convolutions.1.weight"].clone())
            or learn(model, *a, **k)
        ),
    )
    spec = spec_of(method)
    run(tmp_path, "a", spec)
    encoder = pretrained_encoder(tmp_path / "a" / spec.folder / "checkpoint" / "encoder.zip", spec.settings["part"])
    assert th.equal(started[0], encoder.state_dict()["convolutions.1.weight"])


@pytest.mark.parametrize("at", [2, 20], ids=["in pre-training", "online"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_numbers(tmp_path, at):
    spec = spec_of(updates=5, evaluations=3, transitions=30)
    whole = run(tmp_path, "whole", spec)
    with pytest.raises(Cut):
        run(tmp_path, "cut", spec, at)
    assert run(tmp_path, "cut", spec) == whole
    agents = [
        load_checkpoint(MetricDQN, tmp_path / name / spec.folder / "checkpoint" / "agent", "cpu")
        for name in ("whole", "cut")
    ]
    for name, value in agents[0].policy.state_dict().items():
        assert th.equal(value, agents[1].policy.state_dict()[name]), name
    assert agents[0].episodes == agents[1].episodes


def test_without_pretraining_nothing_is_collected_but_pictures_and_episodes_are_kept(tmp_path):
    spec = spec_of("no-pretraining")
    folder = CutMonitor(tmp_path / "a", spec, 10**9)
    outcome = SUITE.under(nav2d.Protocol(5, 1)).train(spec, folder, "cpu")
    assert [path.name for path in sorted(folder.pictures.iterdir())] == [
        "1_attention.png",
        "2_corridor.png",
        "replay.json",
    ]
    assert not (tmp_path / "a" / spec.folder / "checkpoint" / "encoder.zip").exists()
    assert SUITE.rescore(spec.task, 1, outcome.outcomes)["score"] == outcome.score


def test_settings_that_cannot_be_trained_with_are_refused():
    with pytest.raises(UserError, match="part must be"):
        spec_of(part="phi")
    with pytest.raises(UserError, match="updates must be at least 1"):
        spec_of(updates=0)


def test_presets_set_what_psi_and_phi_learn_with():
    paper = make_spec(SUITE, "epsilon-0.5", "phi", "paper", 1, {"size": 10, "num_obstacles": 3, "base_weight": 0.5})
    metric = nav2d.make_encoder(paper, "cpu").representation.metric
    assert metric.base_weight == 0.5
    assert metric.interaction_rate == pytest.approx(10)  # 1e-3 beside phi's 1e-4
    with pytest.raises(UserError, match="base_weight"):
        spec_of(**{"metric_settings.base_weight": 0.5})  # one name for one thing
