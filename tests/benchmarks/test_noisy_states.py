import numpy as np
import pytest

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.run_folder import RunFolder
from bisimgym.benchmarks.suites import load_suite, noisy_states
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("noisy-states")


@pytest.fixture
def small(monkeypatch):
    """Two environments, two evaluation episodes of 20 actions."""
    monkeypatch.setattr(noisy_states, "NUM_ENVS", 2)
    monkeypatch.setattr(noisy_states, "EVALUATION_EPISODES", 2)
    monkeypatch.setattr(noisy_states, "ANCHORS", 10)
    arguments = noisy_states.env_arguments
    monkeypatch.setattr(
        noisy_states, "env_arguments", lambda task, seed: {**arguments(task, seed), "action_repeat": 50}
    )
    monkeypatch.setattr(noisy_states, "steps_per_episode", lambda task: 20)


def spec_of(method="mico", task="cartpole-swingup-noise", **variant):
    settings = {"episodes": 3, "evaluate_every": 1, "batch_size": 8, "learning_starts": 20, **variant}
    return make_spec(SUITE, task, method, "smoke", 1, settings)


class Killed(Exception):
    pass


def test_tasks_are_domains_times_noises():
    assert len(SUITE.tasks) == 18
    for task in SUITE.tasks:
        env = noisy_states.make_env(task, 3)
        clean = sum(np.prod(s.shape, dtype=int) for s in env.unwrapped.environment.observation_spec().values())
        expected = clean + (0 if task.endswith("-clean") else 32)
        assert env.observation_space.shape == (expected,)
        assert noisy_states.steps_per_episode(task) == -(-1000 // env.unwrapped.action_repeat)


def test_environments_of_a_run_share_the_projection_and_not_their_start():
    task = "cartpole-swingup-projection"
    one, two, other = (noisy_states.make_env(task, seed).unwrapped for seed in (1, 1, 2))
    for env, seed in ((one, 5), (two, 5), (other, 5)):
        env.reset(seed=seed)
    np.testing.assert_array_equal(one._noise.projection, two._noise.projection)
    assert (one._noise.projection != other._noise.projection).any()


def test_every_method_trains_and_is_scored(small, tmp_path):
    for method in SUITE.methods:
        spec = spec_of(method, learning_rate=1e-3)
        folder = RunFolder(tmp_path, spec)
        folder.path.mkdir(parents=True)
        outcome = SUITE.train(spec, folder, "cpu")
        assert set(outcome.scores) == {"shifted", "denoising"}
        assert 0 <= outcome.score <= 1000
        assert SUITE.rescore(spec.task, 1, outcome.outcomes)["score"] == outcome.score
        rows = folder.resume_curve("transitions", 10**9)
        assert [row["transitions"] for row in rows] == [40, 80, 120]


def test_a_killed_run_goes_on_to_the_same_numbers(small, tmp_path, monkeypatch):
    spec = spec_of("self-prediction", learning_rate=1e-2)
    whole = RunFolder(tmp_path / "whole", spec)
    whole.path.mkdir(parents=True)
    expected = SUITE.train(spec, whole, "cpu")

    parted = RunFolder(tmp_path / "parted", spec)
    parted.path.mkdir(parents=True)
    progress = parted.progress

    def kill(done, total):
        if done == 80:
            raise Killed
        progress(done, total)

    monkeypatch.setattr(parted, "progress", kill)
    with pytest.raises(Killed):
        SUITE.train(spec, parted, "cpu")
    monkeypatch.setattr(parted, "progress", progress)
    assert SUITE.train(spec, parted, "cpu") == expected
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in folder.resume_curve("transitions", 10**9)]
        for folder in (whole, parted)
    ]
    assert rows[0] == rows[1]


def test_a_damaged_checkpoint_is_named(small, tmp_path):
    spec = spec_of()
    folder = RunFolder(tmp_path, spec)
    folder.checkpoint.mkdir(parents=True)
    (folder.checkpoint / "model.zip").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is damaged"):
        SUITE.train(spec, folder, "cpu")


def test_outcomes_of_another_task_are_refused():
    with pytest.raises(ValueError, match="shifted_return"):
        SUITE.rescore("cartpole-swingup-noise", 1, {"return": [1.0] * 10})


def test_outside_agents_are_scored(small):
    class Zero:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return np.zeros((len(observation), 1), dtype=np.float32), None

    outcome = SUITE.evaluate(Zero(), "cartpole-swingup-noise", 1)
    assert outcome.scores["shifted"] == outcome.score  # it does not look
    with pytest.raises(ValueError, match=r"actions of shape \(2, 1\)"):
        SUITE.evaluate(
            type("Bad", (Zero,), {"predict": lambda *a, **k: (np.zeros(2), None)})(), "cartpole-swingup-clean", 1
        )
