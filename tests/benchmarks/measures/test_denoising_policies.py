"""Observations that the denoising factor is measured at: which policy acts, and what is refused."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation, TimeLimit, TransformObservation
from noise_envs import SIZE, Fresh, identity

from bisimgym.benchmarks.measures.denoising import denoising_factor
from bisimgym.wrappers import GaussianNoise


class TestPolicies:
    def test_random_actions_leave_the_environment_s_space_alone(self):
        env = Fresh()
        env.action_space = gym.spaces.Discrete(3, seed=11)
        denoising_factor(identity, GaussianNoise(env), episodes=1)
        assert set(env.actions) == {0, 1, 2}
        expected = gym.spaces.Discrete(3, seed=11)
        assert [env.action_space.sample() for _ in range(20)] == [expected.sample() for _ in range(20)]

    def test_a_function_sees_each_observation(self):
        env = Fresh(length=5)
        shapes = []

        def policy(observation):
            shapes.append(observation.shape)
            return 1

        denoising_factor(identity, GaussianNoise(env, 3), policy=policy, episodes=2)
        assert env.actions == [1] * 10
        assert shapes == [(SIZE + 3,)] * 10

    def test_agents_are_asked_as_stable_baselines_does(self):
        calls = []

        class Agent:
            def predict(self, observation, state=None, episode_start=None, deterministic=False):
                calls.append((observation.shape, state, episode_start.tolist(), deterministic))
                return np.array([2]), 0 if state is None else state + 1

        env = Fresh(length=3)
        denoising_factor(identity, GaussianNoise(env, 3), policy=Agent(), episodes=2)
        assert env.actions == [2] * 6
        episode = [((1, 20), None, [True], True), ((1, 20), 0, [False], True), ((1, 20), 1, [False], True)]
        assert calls == episode * 2

    def test_a_model_of_stable_baselines(self):
        from stable_baselines3 import PPO

        env = GaussianNoise(gym.make("Pendulum-v1", max_episode_steps=20), 4)
        model = PPO("MlpPolicy", env, n_steps=2, batch_size=2, seed=0)

        def encoder(observations):
            return model.policy.extract_features(model.policy.obs_to_tensor(observations)[0])

        result = denoising_factor(encoder, env, policy=model, episodes=2)
        assert result.anchors == 40
        assert -1 < result.value < 1

    def test_anything_else_is_refused(self):
        with pytest.raises(ValueError, match=r"policy must be None, a function .*got 3"):
            denoising_factor(identity, GaussianNoise(Fresh()), policy=3)


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"episodes": 0}, "episodes must be an integer of at least 1, got 0"),
            ({"positives": 0}, "positives must be"),
            ({"negatives": 1.5}, "negatives must be an integer of at least 1, got 1.5"),
            ({"max_anchors": 1}, "max_anchors must be an integer of at least 2, got 1"),
            ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
            ({"block": True}, "block must be"),
        ],
    )
    def test_numbers_out_of_range(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            denoising_factor(identity, GaussianNoise(Fresh()), **arguments)

    def test_an_environment_without_a_sampler(self):
        with pytest.raises(ValueError, match=r"cannot draw other observations of its state.*Redistractable"):
            denoising_factor(identity, TimeLimit(Fresh(), 5))

    def test_a_vector_environment(self):
        envs = gym.vector.SyncVectorEnv([lambda: GaussianNoise(Fresh())])
        with pytest.raises(ValueError, match="env must be one Gymnasium environment, not a vector"):
            denoising_factor(identity, envs)

    def test_wrappers_that_change_what_the_sampler_does_not(self):
        noisy = GaussianNoise(Fresh())
        scaled = TransformObservation(noisy, lambda o: 2 * o, noisy.observation_space)
        with pytest.raises(ValueError, match=r"because TransformObservation changes them after the distraction"):
            denoising_factor(identity, TimeLimit(scaled, 5))
        with pytest.raises(ValueError, match=r"wrappers change Box.* to Box.*put such wrappers below the distraction"):
            denoising_factor(identity, FrameStackObservation(noisy, 3))

    def test_a_single_anchor(self):
        with pytest.raises(ValueError, match="needs at least 2 anchors, but 1 episodes gave 1"):
            denoising_factor(identity, GaussianNoise(Fresh(length=1)), episodes=1)

    @pytest.mark.parametrize(
        ("encoder", "message"),
        [
            (lambda o: o[:, 0], r"to float\[100, D\], got shape \(100,\)"),
            (lambda o: o[1:], r"to float\[100, D\], got shape \(99, 49\)"),
            (lambda o: o[:, :0], r"got shape \(100, 0\)"),
            (lambda o: o[:, None], r"got shape \(100, 1, 49\)"),
            (lambda o: o[:, : 2 + (len(o) > 100)], r"to float\[1600, 2\], got shape \(1600, 3\)"),
            (lambda o: np.where(o > 3, np.nan, o), r"encoder returned \d+ of \d+ numbers that are not finite"),
            (7, "encoder must be a function of a batch of observations or have a method embed, got 7"),
        ],
    )
    def test_an_encoder_of_another_kind(self, encoder, message):
        with pytest.raises(ValueError, match=message):
            denoising_factor(encoder, GaussianNoise(Fresh()), episodes=1)

    def test_a_sampler_of_another_shape(self):
        class Wrong(GaussianNoise):
            def redistract(self, clean_state, count, rng):
                return super().redistract(clean_state, count + 1, rng)

        with pytest.raises(
            ValueError, match=r"redistract of .* must return an array of shape \(16, 49\), got \(17, 49\)"
        ):
            denoising_factor(identity, Wrong(Fresh()), episodes=1)
