"""Markov signals: episodes, arguments and images."""

import dataclasses
import functools
import itertools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils import seeding

from bisimgym.envs.markov_signal import env as ms
from bisimgym.envs.markov_signal.hmm import draw_signals, signal_law

CYCLE = np.roll(np.eye(4), 1, axis=1)


def many(num_envs, *arguments, **more):
    return ms.MarkovSignalVectorEnv(num_envs, *arguments, **more)


class TestEpisodes:
    def test_rewards_ending_and_the_last_observation(self):
        env = ms.MarkovSignalEnv(episode_length=50)
        observation, info = env.reset(seed=4)
        seed = seeding.np_random(4)[0].bit_generator.random_raw()
        signals, hidden = draw_signals(env.law, np.array([seed], dtype=np.uint64), 51)
        assert info == {}
        assert observation.dtype == np.float32
        rng, right = np.random.default_rng(0), 0
        for t in range(50):
            np.testing.assert_array_equal(observation, signals[0, t])
            guess = int(rng.integers(3))
            observation, reward, terminated, truncated, info = env.step(guess)
            assert reward == (guess == hidden[0, t])
            right += reward
            assert not terminated
            assert truncated == (t == 49)
            assert info == ({"accuracy": right / 50} if truncated else {})
        np.testing.assert_array_equal(observation, signals[0, 50])

    def test_oracle_and_random_returns(self):
        envs = many(3, transition_matrix=CYCLE, episode_length=20, autoreset_mode="Disabled")
        envs.reset(seed=0)
        np.testing.assert_array_equal(envs.optimal_return(), 20)
        np.testing.assert_array_equal(envs.random_return(), 5)
        for _ in range(20):
            _, reward, *_, infos = envs.step(envs.optimal_action())
            assert (reward == 1).all()
        np.testing.assert_array_equal(infos["accuracy"], 1.0)

    def test_staggered_episodes_go_on_undisturbed(self):
        envs = many(3, episode_length=10, autoreset_mode="NextStep")
        envs.reset(seed=0)
        for _ in range(4):
            envs.step(np.zeros(3, dtype=int))
        envs.reset(options={"reset_mask": np.array([False, True, False])})
        ended = np.zeros(3, dtype=int)
        for _ in range(26):
            *_, truncated, _ = envs.step(np.zeros(3, dtype=int))
            ended += truncated
        assert ended.tolist() == [2, 2, 2]

    def test_a_step_copies_no_signals(self):
        envs = many(4)
        envs.reset(seed=0)
        signals, hidden = envs.state.signals, envs.state.hidden
        envs.step(np.zeros(4, dtype=int))
        assert envs.state.signals is signals
        assert envs.state.hidden is hidden

    def test_a_fixed_first_state(self):
        for k in range(3):
            envs = many(50, initial_state=k)
            envs.reset(seed=0)
            assert (envs.optimal_action() == k).all()
            assert (envs.law.initial == np.eye(3)[k]).all()

    def test_the_hidden_process(self):
        env = ms.MarkovSignalEnv("skewed")
        mdp = env.mdp()
        assert (mdp.num_states, mdp.num_actions, mdp.terminal.any()) == (3, 3, False)
        np.testing.assert_allclose(mdp.optimal_values(discount=0.9), 10, atol=1e-6)
        np.testing.assert_allclose(mdp.policy_values(np.full((3, 3), 1 / 3), discount=0.9), 10 / 3, atol=1e-6)
        np.testing.assert_array_equal(mdp.transition[:, 2], env.law.transition_matrix)


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"experiment": "both"}, r"experiment must be one of \['uniform', 'skewed'\] .*, got 'both'"),
            ({"experiment": "uniform", "transition_matrix": CYCLE}, "experiment or transition_matrix, not both"),
            ({"transition_matrix": "P"}, "must be a square matrix of numbers"),
            ({"transition_matrix": [[1.0], [0.5, 0.5]]}, "must be a square matrix of numbers"),
            ({"transition_matrix": [[1.0]]}, r"n x n with n from 2 to 20, got shape \(1, 1\)"),
            ({"transition_matrix": np.full((21, 21), 1 / 21)}, r"from 2 to 20, got shape \(21, 21\)"),
            ({"transition_matrix": np.full((2, 3), 1 / 3)}, r"got shape \(2, 3\)"),
            ({"transition_matrix": [[1.5, -0.5], [0.5, 0.5]]}, r"must be probabilities, got -0.5 at \[0, 1\]"),
            ({"transition_matrix": [[np.nan, 1], [0.5, 0.5]]}, r"got nan at \[0, 0\]"),
            (
                {"transition_matrix": [[0.5, 0.5], [0.5, 0.49]]},
                r"transition_matrix\[1\] sums to 0.99: divide rows by their sums",
            ),
            (
                {"transition_matrix": [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]]},
                r"irreducible .*, but state 0 cannot reach \[2\]; state 1 cannot reach \[2\]: give",
            ),
            ({"dimension": 2}, r"dimension must be an integer from 3 to 1000 .*, got 2"),
            ({"dimension": 15.0}, "dimension must be an integer"),
            ({"dimension": True}, "dimension must be an integer"),
            ({"separation": -1}, r"separation must be a number in \[0, 1000\], got -1"),
            ({"separation": np.inf}, r"separation must be a number in \[0, 1000\], got inf"),
            ({"separation": "wide"}, r"separation must be a number in \[0, 1000\], got 'wide'"),
            ({"emission_seed": -1}, "emission_seed must be an integer from 0"),
            ({"initial_state": 3}, "initial_state must be an integer from 0 to 2, or None .*, got 3"),
            ({"episode_length": 0}, "episode_length must be an integer from 1 to 100000, got 0"),
        ],
    )
    def test_say_what_is_wrong(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            ms.MarkovSignalEnv(**arguments)
        with pytest.raises(ValueError, match=message):
            many(2, **arguments)

    def test_reset_options(self):
        with pytest.raises(ValueError, match=r"unknown reset options \['state'\]: this task has none"):
            ms.MarkovSignalEnv().reset(options={"state": 1})


class TestImages:
    @pytest.mark.parametrize(
        "arguments", [{}, {"dimension": 300}, {"transition_matrix": np.full((20, 20), 0.05), "dimension": 20}]
    )
    def test_every_length_and_size(self, arguments):
        env = ms.MarkovSignalEnv(**arguments, episode_length=130, render_mode="rgb_array")
        env.reset(seed=0)
        frames = [env.render()]
        for _ in range(130):
            env.step(0)
            frames.append(env.render())
        assert {f.shape for f in frames} == {(360, 640, 3)}
        assert {f.dtype for f in frames} == {np.dtype(np.uint8)}
        assert all((a != b).any() for a, b in itertools.pairwise(frames))

    def test_the_state_to_be_guessed_is_not_shown(self):
        env = ms.MarkovSignalEnv(render_mode="rgb_array")
        env.reset(seed=0)
        for _ in range(3):
            env.step(0)
        hidden = env.state.hidden.copy()
        hidden[:, 3:] = (hidden[:, 3:] + 1) % 3
        other = ms.SignalState(env.state.signals, hidden, env.state.guesses, env.state.step)
        np.testing.assert_array_equal(ms.draw(env.law, other, 0), env.render())

    def test_caption(self):
        env = ms.MarkovSignalEnv(episode_length=8, render_mode="rgb_array")
        env.reset(seed=0)
        assert env.task.caption(env.state, 0) == "Markov signal: guess 0 of 8"
        env.step(env.optimal_action())
        env.step((env.optimal_action() + 1) % 3)
        assert env.task.caption(env.state, 0) == "Markov signal: guess 2 of 8, 50.0% right"


@pytest.mark.parametrize("vector", [False, True])
def test_accuracy_counts_the_guesses_made_under_a_time_limit(vector):
    make = functools.partial(gym.make_vec, num_envs=1, autoreset_mode="Disabled") if vector else gym.make
    env = make("bisimgym/MarkovSignal-v0", max_episode_steps=4)
    env.reset(seed=0)
    for step in range(4):
        action = env.unwrapped.optimal_action()
        info = env.step(action if step else (action + 1) % 3)[4]
    assert np.all(info["accuracy"] == 0.75)


def test_chains_of_any_float_type():
    for dtype in (np.float16, np.float32):
        law = signal_law(transition_matrix=np.full((3, 3), 1 / 3).astype(dtype))
        np.testing.assert_allclose(law.transition_matrix, 1 / 3, rtol=1e-15)
        np.testing.assert_allclose(law.stationary, 1 / 3, rtol=1e-15)
    given = dataclasses.replace(law, initial=np.full(3, 1 / 3, np.float32), means=law.means.astype(np.float32))
    np.testing.assert_allclose(given.initial, 1 / 3, rtol=1e-15)
    assert given.means.dtype == np.float64
    with pytest.raises(ValueError, match="initial: every row must sum to one"):
        dataclasses.replace(law, initial=[1, 0.5, 0])
