"""The driving suite: tasks, agents that do not learn, one that does, and what is refused."""

import gymnasium as gym
import numpy as np
import pytest

from bisimgym.baselines.learners import SAC_LEARNERS
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.driving import envs
from bisimgym.benchmarks.suites.driving import suite as driving
from bisimgym.benchmarks.suites.driving.settings import DISTRIBUTIONS, FIXED

SUITE = load_suite("driving")
#: Episodes of eight actions at most.
SMALL = envs.Protocol(episodes=3, curve_episodes=2, episode_frames=64, size=20, cameras=1, num_envs=2)
QUICK = SUITE.under(SMALL)
TINY = {"size": 4, "cameras": 1}


def spec_of(method="sac", task="weather", **variant):
    small = {"actions": 12, "evaluate_every": 6, "channels": 2, "hidden": 8, "batch_size": 4, "learning_starts": 3}
    return make_spec(QUICK, task, method, "smoke", 1, {} if method in FIXED else {**small, **variant})


def test_agents_are_scored_where_they_did_not_learn():
    weather = DISTRIBUTIONS["weather"]
    assert weather.learned["weather_presets"] == ["ClearNoon"]
    assert "ClearNoon" not in weather.scored["weather_presets"]
    assert len(weather.scored["weather_presets"]) == 5
    for held_out, name in ((False, "train"), (True, "test")):
        assert envs.env_arguments("traffic", held_out).get("split", "train") == name
    for task in SUITE.tasks:
        assert envs.env_arguments(task, False) != envs.env_arguments(task, True)
        for held_out in (False, True):
            gym.make(envs.ENV_ID, **{**envs.env_arguments(task, held_out), **TINY})


@pytest.mark.parametrize("task", SUITE.tasks)
def test_anchors_are_what_nothing_and_the_oracle_earn(task):
    held_out = gym.make_vec(envs.ENV_ID, num_envs=64, **{**envs.env_arguments(task, True), **TINY}).unwrapped
    idle = np.array(envs.play_unseen("zero", held_out, 11)["return"])
    for earned, anchor in ((idle, SUITE.anchors(task)[0]), (held_out.optimal_return(), SUITE.anchors(task)[1])):
        assert abs(earned.mean() - anchor) < 4.5 * earned.std() / 8


def test_agents_that_look_at_nothing_earn_what_they_earn_in_environments():
    class Idle:
        def predict(self, observation, **_):
            return np.zeros((len(observation), 2)), None

    arguments = {**envs.env_arguments("traffic", True, SMALL), **TINY}
    made = gym.make_vec(envs.ENV_ID, num_envs=3, autoreset_mode="Disabled", **arguments)
    assert envs.play(Idle(), made, 5) == envs.play_unseen("zero", made, 5)


@pytest.mark.parametrize("method", FIXED)
def test_agents_that_do_not_learn(method, folder_of, rows_of):
    spec = spec_of(method)
    folder = folder_of(spec)
    outcome = QUICK.train(spec, folder, "cpu")
    assert QUICK.rescore("weather", 1, outcome.outcomes)["score"] == outcome.score
    assert len(set(outcome.outcomes["return"])) == 3
    assert set(outcome.outcomes["weather"]) <= set(DISTRIBUTIONS["weather"].scored["weather_presets"])
    assert outcome.scores["gap"] == outcome.scores["trained"] - outcome.score
    assert outcome.scores["normalized"] == (outcome.score - 151.7) / (1173.2 - 151.7)
    assert [row["actions"] for row in rows_of(folder)] == [0]
    assert set(outcome.scores) == set(SUITE.measures)
    if method == "oracle":
        assert outcome.scores["finished"] == 1
        assert outcome.score > 30


def test_a_killed_run_goes_on_to_the_same_numbers(check_resumed):
    rows = check_resumed(QUICK, spec_of("drq"), at=6)
    assert [row["actions"] for row in rows] == [6, 12]
    assert set(rows[-1]) == {"actions", "score", *SUITE.measures, "updates"}


@pytest.mark.parametrize("method", [name for name in SUITE.methods if name not in FIXED])
def test_every_method_can_be_made(method):
    spec, env = make_spec(SUITE, "weather", method, "smoke", 1), gym.make("Pendulum-v1")
    env.observation_space = gym.spaces.Box(0, 255, (20, 60, 9), np.uint8)
    model = driving.make_learner(spec, "cpu", env)
    assert type(model) is SAC_LEARNERS[spec.settings["learner"]]
    assert model.replay_buffer.buffer_size == spec.settings["actions"]


def test_the_paper_preset_has_the_network_of_the_thesis():
    spec = make_spec(SUITE, "weather", "rap", "paper", 1, {"actions": 10})
    env = gym.make("Pendulum-v1")
    env.observation_space = gym.spaces.Box(0, 255, (84, 420, 9), np.uint8)
    model = driving.make_learner(spec, "cpu", env)
    encoder = model.policy.encoder
    assert (encoder.linear.in_features, encoder.linear.out_features) == (64 * 100, 100)
    assert [layer.kernel_size[0] for layer in encoder.convolutions if hasattr(layer, "kernel_size")] == [5, 3, 3, 3]
    assert (model.batch_size, model.learning_rate) == (128, 1e-3)


def test_outside_agents_see_stacks_of_three_images():
    class Outside:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            assert observation.shape == (3, 20, 20, 9)
            return np.full((len(observation), 2), 5.0), state  # beyond the space: clipped

    assert QUICK.evaluate(Outside(), "slow-weather", 1).scores["distance"] > 20
    assert QUICK.training_envs("traffic", 1).single_observation_space.shape == (20, 20, 9)

    class Wrong(Outside):
        def predict(self, *args, **kwargs):
            return np.zeros(3), None

    with pytest.raises(ValueError, match=r"finite actions of shape \(3, 2\)"):
        QUICK.evaluate(Wrong(), "weather", 1)
    with pytest.raises(ValueError, match="outcomes of weather are 30 entries"):
        SUITE.rescore("weather", 1, {"return": [1.0]})


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"backend": "carla"}, "backend must be 'standin', got 'carla': a server of CARLA drives one car"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"learner": "dreamer"}, "unknown learner 'dreamer'"),
        ({"size": 10}, "too small for architecture"),
        ({"architecture": "wide"}, "architecture must be one of"),
        ({"cameras": 4}, "cameras must be 1, 3 or 5"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_training(variant, message):
    with pytest.raises(UserError, match=message):
        spec_of(**variant)
