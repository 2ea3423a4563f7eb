from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from PIL import Image

from bisimgym.baselines.core import placement
from bisimgym.baselines.learners import SAC_LEARNERS
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.distracting import envs, learning, pictures
from bisimgym.benchmarks.suites.distracting import suite as distracting
from bisimgym.benchmarks.suites.distracting.pictures import saliency, seen
from bisimgym.benchmarks.suites.distracting.settings import PARTS

SUITE = load_suite("distracting")
#: Episodes of five actions.
SMALL = envs.Protocol(episodes=2, curve_episodes=1, anchors=4, positives=2, episode_steps=40, size=20)
QUICK = SUITE.under(SMALL)
PSE = "cartpole-swingup-pse-2video"


@pytest.fixture(scope="module", autouse=True)
def videos(tmp_path_factory):
    """Videos that need no drawing: thirty of each split, two frames of one color."""
    root = tmp_path_factory.mktemp("videos")
    for split, shade in (("train", 60), ("test", 160)):
        for number in range(30):
            folder = root / split / f"{split}{number}"
            folder.mkdir(parents=True)
            for frame in range(2):
                Image.new("RGB", (4, 4), (shade, 3 * number, 90 * frame)).save(folder / f"{frame}.png")
    SMALL_SETTINGS["backgrounds"] = str(root)
    return str(root)


#: Of all runs here; the videos are added once they are made.
SMALL_SETTINGS = {"episodes": 2, "size": 20, "channels": 2, "hidden": 8, "batch_size": 4, "learning_starts": 3}


def spec_of(method="sac", task=PSE, **variant):
    return make_spec(QUICK, task, method, "smoke", 1, {**SMALL_SETTINGS, **variant})


class Watcher:
    """Does nothing, and remembers what it saw."""

    def __init__(self):
        self.seen = []

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        self.seen.append(observation)
        return np.zeros((len(observation), 1), dtype=np.float32), None


def test_tasks_are_seven_times_fourteen_settings_and_transfer():
    assert len(SUITE.tasks) == 7 * 14 + 2 * 3 + 2 * 3
    transfers = [task for task, parts in PARTS.items() if parts.source]
    assert transfers == [
        f"walker-walk-to-{goal}-{setting}"
        for goal in ("run", "stand")
        for setting in ("clean", "pse-2video", "natural-video")
    ]
    for task in SUITE.tasks:
        name, setting = envs.split_task(task)
        assert f"{name}-{setting}" in SUITE.tasks
        assert (f"{name}-{setting}" == task) == (task not in transfers)
        learned, scored = (envs.env_arguments(task, held_out) for held_out in (False, True))
        assert (learned == scored) == (not envs.distracts(task)) == (setting in ("clean", "natural-noise"))
        assert learned.get("split", "train") == "train"
        assert scored.get("split", "train") == ("test" if envs.distracts(task) else "train")
    assert envs.steps_per_episode("walker-walk-clean") == 500
    assert envs.steps_per_episode(PSE) == 125
    assert envs.steps_per_episode("cartpole-balance-clean") == 125
    assert envs.make_env("cartpole-balance-clean", False, SMALL, size=20).unwrapped.action_repeat == 8


def test_scores_are_of_thirty_unseen_videos(videos):
    protocol = envs.Protocol(episodes=30, episode_steps=8)
    agent = Watcher()
    outcome = distracting.evaluate(agent, PSE, 1, protocol, images={"size": 20, "backgrounds": videos})
    assert sorted(outcome.outcomes["video"]) == sorted(f"test{number}" for number in range(30))
    assert len(agent.seen) == 60
    assert agent.seen[0].shape == (1, 20, 20, 9)
    assert len({image.tobytes() for image in agent.seen[:30]}) == 30
    assert outcome.score == np.mean(outcome.outcomes["return"])
    assert outcome.scores["trained"] == np.mean(outcome.outcomes["trained_return"])
    assert outcome.scores["gap"] == outcome.scores["trained"] - outcome.score
    assert outcome.scores["normalized"] == (outcome.score - 130.3) / (1000 - 130.3)
    repeated = {**outcome.outcomes, "video": ["test0"] * 30}
    with pytest.raises(ValueError, match="are of 30 different videos"):
        SUITE.under(protocol).rescore(PSE, 1, repeated)


def test_a_method_trains_and_is_scored(folder_of, rows_of):
    spec = spec_of("drq-rap", episodes=1)
    folder = folder_of(spec)
    outcome = QUICK.train(spec, folder, "cpu")
    assert set(outcome.scores) == {"trained", "gap", "normalized", "denoising"}
    scores = QUICK.rescore(PSE, 1, outcome.outcomes)
    assert scores["score"] == outcome.score
    assert {name: outcome.scores[name] for name in scores if name != "score"} == {
        name: value for name, value in scores.items() if name != "score"
    }
    (row,) = rows_of(folder)
    assert (row["control_steps"], row["updates"]) == (40, 2)
    assert (folder.pictures / "1_saliency.png").stat().st_size > 1000


def test_a_killed_run_goes_on_to_the_same_numbers(check_resumed, monkeypatch):
    monkeypatch.setattr(pictures, "figures_of", lambda *arguments: {})
    rows = check_resumed(QUICK, spec_of("drq-pse", pairs=1, learning_rate=1e-2), at=40)
    assert [row["control_steps"] for row in rows] == [40, 80]
    assert set(rows[-1]) == {"control_steps", "score", "trained", "gap", "normalized", "denoising", "updates"}


def test_pse_has_a_first_agent_whose_episodes_it_is_aligned_to(folder_of):
    spec = spec_of("drq-pse", pairs=2)
    one, other = learning.two_looks(spec, SMALL)
    seen = [env.reset(seed=5)[1]["background"] for env in (one, other)]
    assert len(set(seen)) == 2
    assert set(seen) <= {"train0", "train1"}
    folder = folder_of(spec)
    stage = learning.first_stage(spec)
    first = learning.trained_first(stage, folder, "cpu", SMALL)
    assert type(first) is SAC_LEARNERS["drq"]
    assert first.num_timesteps == 10
    again = learning.trained_first(stage, folder, "cpu", SMALL)  # from its checkpoint: nothing is trained twice
    assert again._n_updates == first._n_updates > 0
    before = first.policy.state_dict()
    assert all(th.equal(value, before[name]) for name, value in again.policy.state_dict().items())


def test_looks_for_pse_where_there_are_no_two_videos():
    for setting in ("clean", "natural-noise", "natural-image"):
        task = f"cartpole-swingup-{setting}"
        one, other = (env.reset(seed=5)[0] for env in learning.two_looks(spec_of(task=task), SMALL))
        assert (one != other).any() == (setting == "natural-noise")


def test_transfer_keeps_the_convolutions_of_another_task(folder_of, monkeypatch):
    monkeypatch.setattr(pictures, "figures_of", lambda *arguments: {})
    spec = spec_of("dbc", "walker-walk-to-run-pse-2video", learning_rate=1e-2, episodes=1)
    stage = learning.first_stage(spec)
    assert (stage.task, stage.settings) == ("walker-walk-pse-2video", spec.settings)
    assert learning.first_stage(stage) is None
    folder = folder_of(spec)
    assert set(QUICK.train(spec, folder, "cpu").outcomes) == {"return", "trained_return", "video"}
    first = learning.trained_first(stage, folder, "cpu", SMALL)
    model = learning.learner_from(spec, folder, Path(folder.checkpoint, "agent"), "cpu", SMALL)
    assert (first.num_timesteps, model.num_timesteps) == (20, 20)
    assert model._n_updates > 0
    taught = first.policy.encoder.state_dict()
    for encoder in (model.policy.encoder, model.policy.encoder_target):  # whose copies move by rounding
        same = {name for name, value in encoder.state_dict().items() if th.allclose(value, taught[name], atol=1e-6)}
        assert same == {name for name in taught if name.startswith("convolutions.")}
    of_pse = learning.first_stage(spec_of("drq-pse", "walker-walk-to-run-pse-2video"))
    before = learning.first_stage(of_pse)  # the convolutions come from PSE, and its pairs from another agent yet
    assert (of_pse.settings["learner"], before.settings["learner"]) == ("drq-pse", "drq")
    assert of_pse.task == before.task == "walker-walk-pse-2video"


def test_the_factor_of_noise_is_that_of_what_is_learned_under(folder_of, monkeypatch):
    monkeypatch.setattr(pictures, "figures_of", lambda *arguments: {})
    outcome = QUICK.train(spec_of(task="cartpole-swingup-natural-noise", episodes=1), folder_of(spec_of()), "cpu")
    assert set(outcome.scores) == {"normalized", "denoising"}
    assert set(outcome.outcomes) == {"trained_return"}


def test_a_learner_has_published_settings_in_the_sizes_of_its_preset():
    env = gym.make("bisimgym/DistractingControl-v0", size=20)
    model = learning.make_learner(spec_of("ambs", ent_coef_beta1=0.6), "cpu", env)
    assert model.learning_rate == 5e-4
    assert (model.batch_size, model.ent_coef_beta1, model.augmentation.keywords) == (4, 0.6, {"pad": 1})
    assert model.policy.critic.qf0[0].out_features == 8
    assert model.replay_buffer.memory[0] < 2 * 125 * 1.2 * 20 * 20 * 3  # each frame once
    paper = make_spec(SUITE, PSE, "drq-rap", "paper", 1)
    assert paper.settings["batch_size"] is paper.settings["hidden"] is None


@pytest.mark.parametrize("method", SUITE.methods)
def test_every_method_can_be_made(method):
    spec, env = make_spec(SUITE, PSE, method, "smoke", 1), gym.make("Pendulum-v1")
    env.observation_space = gym.spaces.Box(0, 255, (24, 24, 9), np.uint8)
    model = learning.make_learner(spec, "cpu", env)
    assert type(model) is SAC_LEARNERS[spec.settings["learner"]]
    losses = {"mico", "dbc", "robust-dbc", "rap", "ambs", "simsr", "curl", "slac", "drq-mico", "drq-rap"}
    assert (model.representation.metric is not None) == (method in losses)


def test_saliency_finds_the_pixels_that_the_value_hangs_on():
    env = envs.make_env("cartpole-swingup-clean", False, SMALL, size=20)
    model = learning.make_learner(spec_of(hidden=64), "cpu", env)
    weight = model.policy.encoder.convolutions[0].weight
    weight.data[:, :3] = 0  # the oldest frame is not looked at
    observations = seen(model, env, 0, 2)
    found = saliency(model, observations)
    assert found.shape == (2, 20, 20)
    assert (found.max(axis=(1, 2)) == 1).all()
    blind = observations.copy()
    blind[..., :3] = 0
    other = saliency(model, blind)
    np.testing.assert_allclose(found, other, atol=1e-6)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"size": 16}, "size must be at least 20, what the encoder takes, got 16 pixels"),
        ({"backgrounds": "/nowhere"}, "images of .* cannot be made: .*no folder /nowhere"),
        ({"renderer": "sketch"}, "images of .* cannot be made: .*renderer"),
        ({"supersampling": 0}, "supersampling must be at least 1, got 0"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"learner": "dreamer"}, "unknown learner 'dreamer'"),
        ({"encoder_optimizer": "own"}, "encoder_optimizer must be one of"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_training(variant, message):
    with pytest.raises(UserError, match=message):
        spec_of(**variant)


def test_a_missing_renderer_and_a_replay_that_does_not_fit_are_named(monkeypatch):
    from bisimgym.envs.rendering import probe

    def missing():
        raise probe.OpenGLUnavailable("no OpenGL backend works")

    with monkeypatch.context() as patch:
        patch.setattr(probe, "require", missing)
        with pytest.raises(UserError, match="cannot be made: no OpenGL backend works"):
            spec_of(renderer="opengl")
    monkeypatch.setattr(placement, "free_memory", lambda: 1000)
    with pytest.raises(UserError, match="replay of sac does not fit: .* set buffer_size to at most"):
        spec_of()


def test_outside_agents_are_told_what_is_wrong():
    class Bad(Watcher):
        def predict(self, *args, **kwargs):
            return np.zeros(2), None

    with pytest.raises(ValueError, match=r"finite actions of shape \(1, 1\)"):
        QUICK.evaluate(Bad(), "cartpole-swingup-clean", 1)
    with pytest.raises(ValueError, match="trained_return"):
        SUITE.rescore("walker-walk-clean", 1, {"return": [1.0] * 30})
