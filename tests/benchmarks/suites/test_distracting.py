import gymnasium as gym
import numpy as np
import pytest
import torch as th
from PIL import Image

from bisimgym.baselines.core import frame_replay
from bisimgym.baselines.learners import SAC_LEARNERS
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.distracting import envs, learning, pictures
from bisimgym.benchmarks.suites.distracting import suite as distracting
from bisimgym.benchmarks.suites.distracting.pictures import saliency, seen

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


def test_tasks_are_six_times_ten_settings():
    assert len(SUITE.tasks) == 60
    for task in SUITE.tasks:
        name, setting = envs.split_task(task)
        assert f"{name}-{setting}" == task
        learned, scored = (envs.env_arguments(task, held_out) for held_out in (False, True))
        assert (learned == scored) == (setting == "clean")
        assert learned.get("split", "train") == "train"
        assert scored.get("split", "train") == ("train" if setting == "clean" else "test")
    assert envs.steps_per_episode("walker-walk-clean") == 500
    assert envs.steps_per_episode(PSE) == 125


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
    first = learning.trained_first(spec, folder, "cpu", SMALL)
    assert type(first) is SAC_LEARNERS["drq"]
    assert first.num_timesteps == 10
    again = learning.trained_first(spec, folder, "cpu", SMALL)  # from its checkpoint: nothing is trained twice
    assert again._n_updates == first._n_updates > 0
    before = first.policy.state_dict()
    assert all(th.equal(value, before[name]) for name, value in again.policy.state_dict().items())


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
    losses = {"mico", "dbc", "robust-dbc", "rap", "ambs", "simsr", "curl", "drq-mico", "drq-rap"}
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
    monkeypatch.setattr(frame_replay, "free_memory", lambda: 1000)
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
