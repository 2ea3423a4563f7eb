import functools
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FlattenObservation, TimeLimit

from bisimgym.envs.distractions.protocol import Redistractable
from bisimgym.wrappers import GaussianNoise, RandomProjection

WRAPPERS = [GaussianNoise, RandomProjection]
both = pytest.mark.parametrize("wrapper", WRAPPERS)


def pendulum():
    return gym.make("Pendulum-v1", max_episode_steps=20)


def roll_out(env, steps=30, seed=7):
    """Return observations, infos and rewards, over the end of an episode."""
    env.action_space.seed(0)
    observation, info = env.reset(seed=seed)
    observations, infos, rewards = [observation], [info], []
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        rewards.append(float(reward))
        if terminated or truncated:
            observation, info = env.reset()
        observations.append(observation)
        infos.append(info)
    return np.stack(observations), infos, rewards


@both
def test_the_trajectory_is_that_of_the_clean_environment_bit_for_bit(wrapper):
    clean, _, rewards = roll_out(pendulum())
    for dimensions in (0, 5):
        observations, infos, noisy_rewards = roll_out(wrapper(pendulum(), dimensions=dimensions))
        assert noisy_rewards == rewards
        assert observations.shape == (31, 3 + dimensions)
        np.testing.assert_array_equal([info["clean_observation"] for info in infos], clean)


def test_noise_is_appended_fresh_at_every_step_and_reset():
    observations, infos, _ = roll_out(GaussianNoise(pendulum(), dimensions=5, std=3.0, mean=50.0))
    np.testing.assert_array_equal(observations[:, :3], [info["clean_observation"] for info in infos])
    assert len(np.unique(observations[:, 3:])) == 31 * 5
    assert 48 < observations[:, 3:].mean() < 52
    assert 2 < observations[:, 3:].std() < 4


def test_a_projection_can_be_inverted():
    env = RandomProjection(pendulum(), dimensions=5, std=2.0, rows=11, projection_seed=4)
    observations, infos, _ = roll_out(env)
    assert observations.shape == (31, 11)
    joint = observations.astype(np.float64) @ np.linalg.pinv(env.noise.projection).T
    np.testing.assert_allclose(joint[:, :3], [info["clean_observation"] for info in infos], atol=1e-4)
    np.testing.assert_allclose(joint[:, 3:].std(), 2, atol=0.5)


@both
def test_seeds_fix_the_noise_and_differ(wrapper):
    first, second, other = (roll_out(wrapper(pendulum()), seed=seed)[0] for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    assert not np.isin(first[:, 3:], other[:, 3:]).any()


@both
def test_without_a_seed_the_stream_goes_on(wrapper):
    env = wrapper(pendulum())
    first = env.reset(seed=7)[0]
    assert not np.isin(env.reset()[0][3:], first).any()
    np.testing.assert_array_equal(env.reset(seed=7)[0], first)
    # Never seeded: two environments differ.
    assert not np.isin(wrapper(pendulum()).reset()[0], wrapper(pendulum()).reset()[0]).any()


def test_the_matrix_follows_from_its_own_seed():
    def matrix(**arguments):
        env = RandomProjection(pendulum(), **arguments)
        env.reset(seed=np.random.default_rng().integers(1000).item())
        return env.noise.projection

    shared = matrix(projection_seed=3)
    assert shared.shape == (35, 35)
    np.testing.assert_array_equal(shared, matrix(projection_seed=3, mean=5.0, std=8.0))
    assert not np.isin(shared, matrix(projection_seed=4)).any()


@pytest.mark.filterwarnings("ignore:.*Box:UserWarning", "ignore:.*unwrapped version:UserWarning")
@both
def test_gymnasium_s_checker_passes(wrapper):
    env = wrapper(pendulum())
    assert env.observation_space == gym.spaces.Box(-np.inf, np.inf, (35,), np.float32)
    check_env(env, skip_render_check=True)


@both
def test_the_sampler_draws_the_law_of_the_observations(wrapper):
    env = wrapper(pendulum(), dimensions=4, std=2.0, mean=3.0)
    env.reset(seed=0)
    assert isinstance(env, Redistractable)
    state = env.clean_state()
    env.step(env.action_space.sample())
    draws = env.redistract(state, 50_000, np.random.default_rng(0))
    assert draws.shape == (50_000, 7)
    assert draws.dtype == np.float32
    if wrapper is RandomProjection:
        draws = draws @ np.linalg.inv(env.noise.projection).T
    np.testing.assert_allclose(draws[:, :3], np.broadcast_to(state, (50_000, 3)), atol=1e-4)
    np.testing.assert_allclose(draws[:, 3:].mean(axis=0), 3, atol=0.05)
    np.testing.assert_allclose(np.cov(draws[:, 3:].T), 4 * np.eye(4), atol=0.15)


@both
def test_the_sampler_leaves_the_environment_alone(wrapper):
    expected = roll_out(wrapper(pendulum()))[0]
    env = wrapper(pendulum())
    env.action_space.seed(0)
    observations = [env.reset(seed=7)[0]]
    for _ in range(10):
        env.redistract(env.clean_state(), 3, np.random.default_rng(0))
        observations.append(env.step(env.action_space.sample())[0])
    np.testing.assert_array_equal(observations, expected[:11])


def test_a_clean_state_outlives_the_environment_s_memory():
    class Reused(gym.Env):
        observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        action_space = gym.spaces.Discrete(1)
        memory = np.zeros(1)

        def reset(self, *, seed=None, options=None):
            self.memory[:] = 0
            return self.memory, {}

        def step(self, action):
            self.memory += 1
            return self.memory, 0.0, False, False, {}

    env = GaussianNoise(Reused(), dimensions=0)
    _, info = env.reset()
    state = env.clean_state()
    info["clean_observation"][:] = 9
    assert env.clean_state() == 0
    env.step(0)
    assert state == 0
    assert env.clean_state() == 1


@both
def test_the_sampler_refuses_states_of_another_shape(wrapper):
    env = wrapper(pendulum())
    with pytest.raises(gym.error.ResetNeeded, match="clean_state"):
        env.clean_state()
    with pytest.raises(ValueError, match=r"clean_state must have shape \(3,\), got \(4,\)"):
        env.redistract(np.zeros(4), 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="count must be"):
        env.redistract(np.zeros(3), 0, np.random.default_rng(0))


@both
def test_steps_before_a_reset_are_refused(wrapper):
    with pytest.raises(gym.error.ResetNeeded):
        wrapper(pendulum().unwrapped).step(np.zeros(1))


@pytest.mark.parametrize(
    ("wrapper", "arguments"),
    [
        (GaussianNoise, {"dimensions": np.int64(4), "std": np.float32(2), "mean": 1}),
        (RandomProjection, {"dimensions": 4, "std": 2.0, "rows": np.int64(9), "projection_seed": np.int64(5)}),
    ],
)
def test_the_spec_survives_json_and_the_environment_pickling(wrapper, arguments):
    env = wrapper(pendulum(), **arguments)
    expected = roll_out(env)[0]
    spec = EnvSpec.from_json(json.dumps(json.loads(env.spec.to_json())))
    np.testing.assert_array_equal(roll_out(gym.make(spec))[0], expected)
    np.testing.assert_array_equal(roll_out(pickle.loads(pickle.dumps(env)))[0], expected)
    # Halfway through an episode a pickled environment goes on as the original does.
    env.reset(seed=1)
    again = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(again.step(np.ones(1))[0], env.step(np.ones(1))[0])


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments(mode):
    wrapper = functools.partial(RandomProjection, dimensions=4, projection_seed=2)
    envs = gym.make_vec("Pendulum-v1", num_envs=2, vectorization_mode=mode, wrappers=[wrapper])
    try:
        assert envs.observation_space.shape == (2, 7)
        observations, infos = envs.reset(seed=10)
        states = envs.call("clean_state")
    finally:
        envs.close()
    for i in range(2):
        observation, info = wrapper(pendulum()).reset(seed=10 + i)
        np.testing.assert_array_equal(observations[i], observation)
        np.testing.assert_array_equal(infos["clean_observation"][i], info["clean_observation"])
        np.testing.assert_array_equal(states[i], info["clean_observation"])


@both
def test_the_sampler_is_found_through_wrappers(wrapper):
    env = TimeLimit(wrapper(pendulum()), 5)
    env.reset(seed=0)
    state = env.get_wrapper_attr("clean_state")()
    assert env.get_wrapper_attr("redistract")(state, 3, np.random.default_rng(0)).shape == (3, 35)


@both
def test_observations_that_are_not_flat_are_refused(wrapper):
    class Images(gym.ObservationWrapper):
        observation_space = gym.spaces.Box(0, 1, (2, 2))

        def observation(self, observation):
            return np.ones((2, 2), np.float32)

    with pytest.raises(ValueError, match=rf"{wrapper.__name__} needs flat observations.*FlattenObservation"):
        wrapper(Images(pendulum()))
    with pytest.raises(ValueError, match="needs flat observations"):
        wrapper(gym.make("FrozenLake-v1"))
    assert wrapper(FlattenObservation(gym.make("FrozenLake-v1"))).reset(seed=0)[0].shape == (16 + 32,)


@both
def test_noise_upon_noise_is_refused(wrapper):
    for inner in WRAPPERS:
        with pytest.raises(ValueError, match=f"{wrapper.__name__} needs a clean environment.*distracts"):
            wrapper(TimeLimit(inner(pendulum()), 5))


@pytest.mark.parametrize(
    ("wrapper", "arguments", "message"),
    [
        (GaussianNoise, {"dimensions": -1}, "dimensions must be"),
        (GaussianNoise, {"std": float("nan")}, "std must be"),
        (RandomProjection, {"mean": float("inf")}, "mean must be"),
        (RandomProjection, {"rows": 34}, "rows must be an integer of at least 35"),
        (RandomProjection, {"projection_seed": -1}, "seed of the projection must be an integer of at least 0"),
    ],
)
def test_arguments_out_of_range_are_named(wrapper, arguments, message):
    with pytest.raises(ValueError, match=message):
        wrapper(pendulum(), **arguments)
