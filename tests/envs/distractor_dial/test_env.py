"""The distractor dial: dynamics, pictures, rewards, oracle, and what episodes with other dials share."""

import itertools

import gymnasium as gym
import numpy as np
import pytest

import bisimgym  # noqa: F401
from bisimgym.envs.distractor_dial import Dials, dial_mdp
from bisimgym.envs.distractor_dial.process import PHASES, oracle, pictures, returns
from bisimgym.envs.seeds import uniform_at, uniforms

DIAL = "bisimgym/DistractorDial-v0"
KINDS = list(itertools.product((False, True), (False, True)))
kinds = pytest.mark.parametrize(("controllable", "predictable"), KINDS)


def number(env, info):
    """Return the number of the state that an info tells."""
    row, column = info["position"]
    return (row * env.unwrapped.task.dials.size + column) * PHASES + info["phase"]


class TestDynamics:
    @kinds
    def test_what_happens_is_what_the_arrays_say(self, controllable, predictable):
        env = gym.make(DIAL, controllable=controllable, predictable=predictable, correlation=0.4, size=4)
        mdp = env.unwrapped.mdp()
        assert mdp.num_states == 16 * PHASES
        assert mdp.deterministic == predictable
        rng = np.random.default_rng(0)
        seen = set()
        for seed in range(8):
            observation, info = env.reset(seed=seed)
            state, truncated = number(env, info), False
            assert mdp.state_names[state] == f"{tuple(info['position'].tolist())} {info['phase']}"
            assert info["position"].tolist() != [3, 3]
            while not truncated:
                np.testing.assert_array_equal(observation, pictures(4, 1.0)[state])
                action = int(rng.integers(5))
                observation, reward, terminated, truncated, info = env.step(action)
                assert reward == pytest.approx(mdp.reward[state, action], abs=1e-15)
                assert not terminated
                before, state = state, number(env, info)
                if predictable:
                    assert state == mdp.transition[before, action]
                else:
                    assert mdp.transition[before, action, state] > 0
                seen.add((before % PHASES, state % PHASES, action == 4))
        moved = {(before, after) for before, after, stayed in seen if stayed or not controllable}
        expected = PHASES if predictable else PHASES**2
        assert len(moved) == expected if not controllable else PHASES <= len(moved) <= expected
        assert all(before == after for before, after, stayed in seen if controllable and not stayed)

    def test_an_unpredictable_distractor_is_uniform_and_forgets(self):
        envs = gym.make_vec(DIAL, num_envs=4000, predictable=False, autoreset_mode="Disabled")
        _, info = envs.reset(seed=0)
        before = info["phase"]
        for _ in range(2):
            after = envs.step(np.full(4000, 4))[4]["phase"]
            counts = np.bincount(before * PHASES + after, minlength=PHASES**2)
            expected = 4000 / PHASES**2
            assert np.square(counts - expected).sum() / expected < 120  # chi square of 63 degrees: 1e-5 beyond
            before = after

    def test_agent_and_start_are_the_same_under_all_dials(self):
        paths = []
        for controllable, predictable in KINDS:
            envs = gym.make_vec(
                DIAL, num_envs=6, controllable=controllable, predictable=predictable, correlation=0.3, strength=0.5
            )
            _, info = envs.reset(seed=3)
            envs.action_space.seed(0)
            path = [info["phase"], info["position"]]
            path += [envs.step(envs.action_space.sample())[4]["position"] for _ in range(30)]
            paths.append(np.concatenate([np.ravel(part) for part in path]))
        for path in paths[1:]:
            np.testing.assert_array_equal(path, paths[0])

    def test_numbers_of_a_stream_by_their_places(self):
        seeds = np.array([3, 2**63 + 5, 11], dtype=np.uint64)
        stream = uniforms(seeds, 9)
        np.testing.assert_array_equal(uniform_at(seeds, np.array([8, 0, 4])), stream[[0, 1, 2], [8, 0, 4]])

    def test_the_default_length_and_another(self):
        for given, length in (({}, 50), ({"episode_length": 7}, 7)):
            env = gym.make(DIAL, **given)
            env.reset(seed=0)
            ends = [env.step(0)[3] for _ in range(length)]
            assert ends == [False] * (length - 1) + [True]


class TestPictures:
    @pytest.mark.parametrize("size", [3, 5, 12])
    def test_no_two_states_look_alike(self, size):
        for strength in (1.0, 0.01):
            table = pictures(size, strength)
            assert table.shape == (size * size * PHASES, 2 * size, 2 * size, 3)
            assert len({picture.tobytes() for picture in table}) == len(table)

    def test_strength_is_brightness_alone(self):
        full, half, none = (pictures(4, strength) for strength in (1.0, 0.5, 0.0))
        stripes = (full == 255).all(axis=-1)
        assert set(np.unique(full)) == {0, 255}
        assert (half[stripes] == 128).all()
        np.testing.assert_array_equal(half[~stripes], full[~stripes])
        assert (none[stripes] == 0).all()
        assert len({picture.tobytes() for picture in none}) == 16

    def test_strength_changes_nothing_else(self):
        one, other = (gym.make(DIAL, strength=strength, predictable=False, correlation=0.5) for strength in (0.0, 1.0))
        one.reset(seed=2)
        other.reset(seed=2)
        for action in np.random.default_rng(0).integers(5, size=50):
            a, b = one.step(action), other.step(action)
            assert (a[0] != b[0]).any()
            assert a[1:4] == b[1:4]
            assert a[4]["phase"] == b[4]["phase"]
        assert one.unwrapped.mdp() is other.unwrapped.mdp()


class TestRewards:
    @kinds
    @pytest.mark.parametrize("correlation", [0.0, 0.25, 0.7, 1.0])
    def test_the_correlation_is_the_one_asked_for(self, controllable, predictable, correlation):
        mdp = dial_mdp(Dials(controllable, predictable, correlation, 3))
        lit = np.isin(np.arange(mdp.num_states) % PHASES, [0, 1, 4, 5])
        reward = mdp.reward[:, 0]
        assert (mdp.reward == reward[:, None]).all()
        assert np.corrcoef(reward, lit)[0, 1] == pytest.approx(correlation, abs=1e-12)
        assert reward.min() == 0
        assert reward.max() == pytest.approx(1)

    def test_without_correlation_only_the_goal_counts(self):
        mdp = dial_mdp(Dials())
        assert Dials().weight == 0
        np.testing.assert_array_equal(mdp.reward[:, 0], np.arange(200) >= 192)
        assert Dials(correlation=1).weight == 1


class TestOracle:
    def test_an_irrelevant_or_uncontrollable_distractor_leaves_the_shortest_way(self):
        for controllable, correlation in ((False, 0.0), (True, 0.0), (False, 0.5)):
            env = gym.make(DIAL, controllable=controllable, correlation=correlation)
            _, info = env.reset(seed=1)
            steps = int(np.sum(4 - info["position"]))
            for _ in range(steps):
                assert info["position"].tolist() != [4, 4]
                info = env.step(env.unwrapped.optimal_action())[4]
            assert info["position"].tolist() == [4, 4]
            if correlation == 0:
                assert env.unwrapped.optimal_return() == 50 - steps

    def test_a_controllable_relevant_distractor_is_switched_on(self):
        env = gym.make(DIAL, controllable=True, correlation=1.0)
        _, info = next(env.reset(seed=s) for s in range(99) if env.reset(seed=s)[1]["phase"] == 6)
        while info["phase"] not in (0, 4):  # one action leads to the light, and takes two steps
            action = env.unwrapped.optimal_action()
            assert action == 4
            info = env.step(action)[4]
        assert env.unwrapped.optimal_return() == 48
        assert env.unwrapped.optimal_action() == 0  # away, or on the spot: the light stays

    @kinds
    def test_it_is_the_best_policy_of_any_that_may_depend_on_time(self, controllable, predictable):
        dials = Dials(controllable, predictable, 0.6, 3)
        mdp, values = dial_mdp(dials), np.zeros(9 * PHASES)
        for steps in range(1, 13):
            quality = mdp.reward + mdp.next_values(values)
            values = quality.max(axis=1)
            np.testing.assert_allclose(returns(dials, steps, steps)[0], values, atol=1e-12)
        best = oracle(dials, 12)
        assert best.shape == (12, 9 * PHASES)
        np.testing.assert_allclose(quality[np.arange(9 * PHASES), best[-1]], values, atol=1e-12)

    def test_returns_of_random_distractors_hold_on_average(self):
        envs = gym.make_vec(
            DIAL, num_envs=3000, controllable=True, predictable=False, correlation=0.8, autoreset_mode="Disabled"
        )
        for act, promised in (
            (envs.unwrapped.optimal_action, envs.unwrapped.optimal_return),
            (envs.action_space.sample, envs.unwrapped.random_return),
        ):
            envs.reset(seed=5)
            envs.action_space.seed(5)
            difference = -promised()
            for _ in range(50):
                difference += envs.step(act())[1]
            assert abs(difference.mean()) < 4.5 * difference.std() / np.sqrt(3000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"controllable": 1}, "controllable must be True or False, got 1"),
        ({"predictable": "no"}, "predictable must be True or False, got 'no'"),
        ({"correlation": -0.1}, r"correlation must be a number in \[0, 1\], got -0.1"),
        ({"strength": 2}, r"strength must be a number in \[0, 1\], got 2"),
        ({"strength": None}, r"strength must be a number in \[0, 1\], got None"),
        ({"size": 2}, "size must be an integer from 3 to 12, got 2"),
        ({"episode_length": 0}, "episode_length must be an integer from 1 to 1000, got 0"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    for make in (gym.make, gym.make_vec):
        with pytest.raises(ValueError, match=message):
            make(DIAL, **arguments)


def test_unknown_reset_options():
    with pytest.raises(ValueError, match=r"unknown reset options \['phase'\]"):
        gym.make(DIAL).reset(options={"phase": 3})
