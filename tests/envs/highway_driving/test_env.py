"""Highway driving as an environment."""

import hashlib
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import bisimgym  # noqa: F401
from bisimgym.envs.highway_driving.weather import PRESETS

ID = "bisimgym/HighwayDriving-v0"
TINY = {"size": 8, "cameras": 1, "walkers": 0}


def make(**arguments):
    return gym.make(ID, **{**TINY, **arguments})


def trajectory(env, seed, steps=6, actions=None):
    """Return rewards and ends of some steps with one sequence of actions."""
    rng = np.random.default_rng(5)
    env.reset(seed=seed)
    found = []
    for _ in range(steps):
        action = np.array([0.3, 0.1]) * rng.uniform(-1, 1, 2)
        _, reward, *ended, _ = env.step(action.astype(np.float32))
        found.append((reward, *ended))
    return found


def test_registered_spaces():
    env = gym.make(ID)
    assert env.observation_space == gym.spaces.Box(0, 255, (84, 420, 3), np.uint8)
    assert env.action_space == gym.spaces.Box(-1, 1, (2,), np.float32)
    observation, info = env.reset(seed=0)
    assert info["weather"] in PRESETS
    assert observation in env.observation_space


def test_weather_changes_images_and_nothing_else():
    kinds = [{"weather": "fixed", "weather_presets": [name]} for name in PRESETS] + [{"weather": "slow"}, {}]
    envs = [make(**kind) for kind in kinds]
    images = {env.reset(seed=3)[0].tobytes() for env in envs}
    assert len(images) >= 7  # the default shows one of the six
    assert len({tuple(trajectory(env, 3)) for env in envs}) == 1


def test_an_image_is_the_same_in_another_process():
    code = (
        "import gymnasium, bisimgym, hashlib, numpy as np; env = gymnasium.make("
        "'bisimgym/HighwayDriving-v0', weather='slow'); env.reset(seed=4);"
        "print(hashlib.sha256(env.step(np.array([0.5, 0.01], np.float32))[0].tobytes()).hexdigest())"
    )
    env = gym.make(ID, weather="slow")
    env.reset(seed=4)
    observation = env.step(np.array([0.5, 0.01], np.float32))[0]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == hashlib.sha256(observation.tobytes()).hexdigest()


def test_frames_are_stacked_oldest_first():
    stacked, single = make(frame_stack=3), make()
    first = single.reset(seed=1)[0]
    np.testing.assert_array_equal(stacked.reset(seed=1)[0], np.tile(first, 3))
    action = np.array([1.0, 0.0], np.float32)
    seen = [first] + [single.step(action)[0] for _ in range(3)]
    for _ in range(3):
        observation = stacked.step(action)[0]
    np.testing.assert_array_equal(observation, np.concatenate(seen[1:], axis=-1))


def test_rewards_of_an_action_are_sums_or_means():
    rewards = {form: trajectory(make(reward=form, frames_per_action=8), 2, 1)[0][0] for form in ("secant", "dbc-0.9.6")}
    assert rewards["secant"] == pytest.approx(8 * rewards["dbc-0.9.6"])
    assert 5 < rewards["secant"] < 7  # 15 m/s for 0.4 s


def test_time_limits_truncate_and_leaving_the_road_terminates():
    env = make(episode_frames=20, frames_per_action=8, vehicles=0, max_curvature=0.0)
    env.reset(seed=0)
    action = np.zeros(2, np.float32)
    assert env.step(action)[2:4] == env.step(action)[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step(action)  # four frames are left
    assert (terminated, truncated) == (False, True)
    assert info["ending"] == "time-limit"
    assert info["is_success"]
    assert info["distance"] == pytest.approx(15 * 20 * 0.05, rel=0.05)
    assert reward == pytest.approx(info["distance"] / 5, rel=0.05)
    env = make(vehicles=0)
    env.reset(seed=0)
    ended = False
    while not ended:
        *_, ended, truncated, info = env.step(np.array([0.5, -1.0], np.float32))
    assert (info["ending"], info["is_success"], info["steer"], truncated) == ("off-road", False, 1.0, False)


def test_without_rules_only_time_ends_an_episode_and_brakes_are_counted():
    env = make(endings=[], episode_frames=160)
    env.reset(seed=0)
    steps, ended = 0, False
    while not ended:
        *_, terminated, truncated, info = env.step(np.array([-1.0, -0.5], np.float32))
        steps, ended = steps + 1, terminated or truncated
    assert (steps, truncated, info["brake"], info["steer"]) == (20, True, 1.0, 0.5)


def test_standing_is_stuck():
    env = make(vehicles=0, max_curvature=0.0)
    env.reset(seed=0)
    ended, steps = False, 0
    while not ended:
        *_, ended, _, info = env.step(np.array([-1.0, 0.0], np.float32))
        steps += 1
    assert (info["ending"], steps) == ("stuck", 13)  # frame 100


def test_traffic_that_training_has_and_traffic_that_it_has_not():
    def layouts(count=60, **arguments):
        envs = gym.make_vec(ID, num_envs=count, **TINY, **arguments)
        envs.reset(seed=0)
        return {tuple(row) for row in envs.state.others_s}, len(np.unique(envs.state.weather_seed))

    train, weathers = layouts(traffic_seeds=4)
    assert (len(train), weathers) == (4, 60)
    again, _ = layouts(traffic_seeds=4, split="train")
    assert again == train
    test, _ = layouts(traffic_seeds=4, split="test")
    assert len(test) == 60
    assert not test & train
    assert len(layouts()[0]) == 60


def test_the_oracle_beats_chance_and_doing_nothing():
    envs = gym.make_vec(ID, num_envs=8, **TINY)
    envs.reset(seed=0)
    optimal, chance = envs.unwrapped.optimal_return(), envs.unwrapped.random_return()
    assert (optimal > 600).all()
    assert (chance < 200).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "gta"}, r"backend must be one of \['standin', 'carla'\], got 'gta'"),
        ({"reward": "fast"}, "reward must be one of .*'fast'"),
        ({"endings": ["late"]}, "an entry of endings must be one of .*'late'"),
        ({"endings": "stuck"}, "endings must be a list of some of .* got 'stuck'"),
        ({"endings": ["stuck", "stuck"]}, "endings must have no entry twice"),
        ({"weather": "sunny"}, "weather must be one of .*'sunny'"),
        ({"weather": "fixed", "weather_presets": ["ClearNoon", "WetSunset"]}, "of weather='fixed' must be one preset"),
        ({"weather_presets": []}, "must be one preset or more"),
        ({"weather": "slow", "weather_presets": ["ClearNoon"]}, "must be none: sun and storm move"),
        ({"vehicles": 41}, "vehicles must be an integer from 0 to 40, got 41"),
        ({"cameras": 2}, "cameras must be 1, 3 or 5"),
        ({"max_curvature": 0.1}, r"max_curvature must be a number in \[0, 0.002\]"),
        ({"split": "test"}, "split='test' holds traffic out, and needs .*traffic_seeds"),
        ({"traffic_seeds": 0}, "traffic_seeds must be an integer from 1"),
        ({"size": 3}, "size must be an integer from 4"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        gym.make(ID, **arguments)


def test_reset_has_no_options():
    with pytest.raises(ValueError, match="unknown reset options"):
        make().reset(options={"lane": 1})
