import numpy as np
import pytest
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv

from bisimgym.baselines.learners import METRIC_LOSSES
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import load_suite, noisy_states
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("noisy-states")
#: Two environments, and episodes of ten actions.
SMALL = noisy_states.Protocol(num_envs=2, evaluation_episodes=2, anchors=10, episode_steps=80)
QUICK = SUITE.under(SMALL)


def spec_of(method="mico", task="cartpole-swingup-noise", **variant):
    settings = {"episodes": 3, "evaluate_every": 1, "batch_size": 8, "learning_starts": 10, **variant}
    return make_spec(SUITE, task, method, "smoke", 1, settings)


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


def test_every_method_trains_and_is_scored(folder_of, rows_of):
    for method in SUITE.methods:
        spec = spec_of(method, episodes=1)
        folder = folder_of(spec)
        outcome = QUICK.train(spec, folder, "cpu")
        assert set(outcome.scores) == {"shifted", "denoising"}
        assert outcome.score == np.mean(outcome.outcomes["return"])
        assert QUICK.rescore(spec.task, 1, outcome.outcomes)["score"] == outcome.score
        assert [row["transitions"] for row in rows_of(folder)] == [20]


def test_a_killed_run_goes_on_to_the_same_numbers(check_resumed):
    check_resumed(QUICK, spec_of("self-prediction", episodes=2, learning_rate=1e-2), at=20)


def test_a_damaged_checkpoint_is_named(folder_of):
    spec = spec_of()
    folder = folder_of(spec)
    folder.checkpoint.mkdir()
    (folder.checkpoint / "model.zip").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is damaged"):
        QUICK.train(spec, folder, "cpu")


def test_outcomes_of_another_task_are_refused():
    with pytest.raises(ValueError, match="shifted_return"):
        SUITE.rescore("cartpole-swingup-noise", 1, {"return": [1.0] * 10})


def test_outside_agents_are_scored():
    class Zero:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return np.zeros((len(observation), 1), dtype=np.float32), None

    outcome = QUICK.evaluate(Zero(), "cartpole-swingup-noise", 1)
    assert outcome.scores["shifted"] == outcome.score  # it does not look
    with pytest.raises(ValueError, match=r"actions of shape \(2, 1\)"):
        QUICK.evaluate(
            type("Bad", (Zero,), {"predict": lambda *a, **k: (np.zeros(2), None)})(), "cartpole-swingup-clean", 1
        )


class Listener:
    """Remembers the mean of the noise that it is shown, and does what that is."""

    def __init__(self):
        self.means = []

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        mean = observation[:, -32:].mean(axis=1)
        self.means.append(float(mean.mean()))
        return np.clip(mean, -1, 1)[:, None].astype(np.float32), None


def test_the_noise_is_shifted_in_the_second_half_of_an_evaluation():
    agent = Listener()
    outcome = QUICK.evaluate(agent, "cartpole-swingup-noise", 1)
    assert np.mean(agent.means[:10]) == pytest.approx(0, abs=0.15)
    assert np.mean(agent.means[10:]) == pytest.approx(noisy_states.SHIFTED_MEAN, abs=0.15)
    assert outcome.scores["shifted"] == np.mean(outcome.outcomes["shifted_return"])
    assert outcome.score == np.mean(outcome.outcomes["return"]) != outcome.scores["shifted"]


def test_rounds_have_seeds_of_their_own_and_updates_are_two_per_step(folder_of, rows_of, monkeypatch):
    trained, scored = [], []
    seed, returns = DummyVecEnv.seed, noisy_states.episode_returns
    monkeypatch.setattr(DummyVecEnv, "seed", lambda envs, value: trained.append(value) or seed(envs, value))

    def recorded(agent, task, run, start, *sizes, **arguments):
        scored.append(start)
        return returns(agent, task, run, start, *sizes, **arguments)

    monkeypatch.setattr(noisy_states, "episode_returns", recorded)
    spec = spec_of("sac", "cartpole-swingup-clean", learning_starts=1)
    folder = folder_of(spec)
    QUICK.train(spec, folder, "cpu")
    rounds = [value for value in trained if value >= 1_000_000]  # others are SB3's own
    assert len(set(rounds)) == len(rounds) == 3
    used = {value + i for value in rounds for i in range(SMALL.num_envs)}
    assert len(used) == 6
    assert not used & {start + i for start in scored for i in range(SMALL.evaluation_episodes)}
    updates = [row["updates"] for row in rows_of(folder)]
    assert np.diff(updates).tolist() == [20, 20]  # 10 steps of all environments each


def test_learners_are_what_their_methods_say():
    env = DummyVecEnv([lambda: noisy_states.make_env("cartpole-swingup-noise", 1)] * 2)
    weights = []
    for name, method in SUITE.methods.items():
        model = noisy_states.make_learner(spec_of(name), "cpu", env)
        settings = model.representation_settings
        assert model.metric is METRIC_LOSSES.get(name)
        assert (settings["self_prediction"] > 0) == (name not in ("sac", "sac-layernorm", "mico", "ambs")), name
        assert (settings["reward_prediction"] > 0) == (name in ("deepmdp", "dbc", "robust-dbc")), name
        assert model.norm == method.settings["norm"]
        assert model.seed == 1
        weights.append(next(model.policy.encoder.parameters()))
    other = noisy_states.make_learner(make_spec(SUITE, "cartpole-swingup-noise", "simsr", "smoke", 2, {}), "cpu", env)
    assert not th.equal(next(other.policy.encoder.parameters()), weights[-1])
