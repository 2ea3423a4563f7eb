"""What every registered id must do. New environments are covered without new code."""

import copy
import functools
import inspect
import json
import os
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from sweeps import (
    MODES,
    NAMED_TASKS,
    QUICK,
    SLOW,
    assert_same,
    for_array_tasks,
    for_every_class,
    for_every_id,
    make,
    make_vec,
    masked,
)


@for_every_id
def test_gymnasium_checker_is_clean(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(env_id, render_mode="rgb_array").unwrapped)


@for_every_id
def test_sb3_checker_is_clean(env_id):
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Advice about SB3's own CNN, which small grids are not meant for.
        warnings.filterwarnings("ignore", message=".*minimal resolution for an image is 36x36")
        sb3_check_env(make(env_id).unwrapped)  # wrappers hide compute_reward


@for_every_id
def test_same_seed_same_episode(env_id):
    one, two = make(env_id), make(env_id)
    one.action_space.seed(0)
    for seed in (0, 1):
        assert_same(one.reset(seed=seed), two.reset(seed=seed))
        for _ in range(12 if env_id in SLOW else 150):
            action = one.action_space.sample()
            a, b = one.step(action), two.step(action)
            assert_same(a[0], b[0])
            assert a[1:4] == b[1:4]
            assert_same(a[4], b[4])
            if a[2] or a[3]:
                assert_same(one.reset(), two.reset())


@for_every_id
def test_vector_equals_single(env_id):
    for mode in [AutoresetMode.SAME_STEP] if env_id in NAMED_TASKS else MODES:
        check_vector_equals_single(env_id, mode)


def check_vector_equals_single(env_id, mode):
    # Observations of LQR are matrix products in float32, losses of pruning sums in the order that a batch asks for;
    # everything else is equal to the last bit.
    equal = functools.partial(assert_same, tolerance=1e-6 if "LQR" in env_id or "Pruning" in env_id else 0.0)
    # Where a step is slow, just beyond the first ending.
    count, steps = (2, 12) if env_id in QUICK else (2, 23) if env_id in SLOW else (4, 210)
    native = make_vec(env_id, num_envs=count, autoreset_mode=mode.value)
    single = SyncVectorEnv([lambda: make(env_id)] * count, autoreset_mode=mode)
    assert native.metadata["autoreset_mode"] == mode
    assert native.single_observation_space == single.single_observation_space
    native.action_space.seed(1)
    observation_a, info_a = native.reset(seed=11)
    observation_b, info_b = single.reset(seed=11)
    equal(observation_a, observation_b)
    equal(masked(info_a), masked(info_b))
    ended = np.zeros(count, dtype=bool)
    endings = 0
    for _ in range(steps):
        if mode is AutoresetMode.DISABLED and ended.any():
            a, b = (envs.reset(options={"reset_mask": ended.copy()}) for envs in (native, single))
            equal(a[0], b[0])
            equal(masked(a[1]), masked(b[1]))
        action = native.action_space.sample()
        a, b = native.step(action), single.step(action)
        equal(a[:4], b[:4])
        final_a, final_b = a[4].pop("final_obs", None), b[4].pop("final_obs", None)
        assert (final_a is None) == (final_b is None)
        if final_a is not None:
            for x, y in zip(final_a, final_b, strict=True):
                equal(x, y)
        equal(masked(a[4]), masked(b[4]))
        ended = a[2] | a[3]
        endings += ended.sum()
    assert endings >= count


@for_every_class
def test_default_autoreset_is_same_step(env_id):
    assert make_vec(env_id, num_envs=2).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    with pytest.raises(ValueError, match="autoreset_mode must be one of .*'Never'"):
        make_vec(env_id, num_envs=2, autoreset_mode="Never")


@for_every_class
def test_disabled_autoreset_refuses_to_step_an_ended_episode(env_id):
    envs = make_vec(env_id, num_envs=3, autoreset_mode="Disabled")
    envs.reset(seed=0)
    envs.action_space.seed(0)
    with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
        for _ in range(10_000):
            envs.step(envs.action_space.sample())


@for_every_class
def test_observations_are_not_overwritten_by_later_steps(env_id):
    envs = make_vec(env_id, num_envs=3)
    first, _ = envs.reset(seed=0)
    kept = copy.deepcopy(first)
    for _ in range(5):
        envs.step(envs.action_space.sample())
    assert_same(first, kept)


@for_every_id
def test_spec_survives_json(env_id):
    env = make(env_id)
    text = env.spec.to_json()
    assert json.loads(text)["id"] == env_id
    assert_same(gym.make(EnvSpec.from_json(text)).reset(seed=5), env.reset(seed=5))


@for_array_tasks
def test_pickling(env_id):
    envs = make_vec(env_id, num_envs=3)
    envs.reset(seed=0)
    twin = pickle.loads(pickle.dumps(envs))
    for _ in range(20 if env_id in SLOW else 100):
        action = envs.action_space.sample()
        assert_same(envs.step(action)[0], twin.step(action)[0])


@for_every_class
def test_rgb_array(env_id):
    env = make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert frame.dtype == np.uint8
    assert frame.ndim == 3
    assert frame.shape[2] == 3
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 2
    env.action_space.seed(0)
    for _ in range(5):
        if any(env.step(env.action_space.sample())[2:4]):
            break
    assert (env.render() != frame).any()
    envs = make_vec(env_id, num_envs=2, render_mode="rgb_array")
    envs.reset(seed=0)
    np.testing.assert_array_equal(envs.render()[0], frame)


@for_every_class
def test_human_window_shows_the_frame(env_id, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame

    env = make(env_id, render_mode="human").unwrapped
    env.metadata["render_fps"] = 1000
    picture = make(env_id, render_mode="rgb_array").unwrapped
    for one in (env, picture):
        one.reset(seed=0)
        one.step(one.action_space.sample() * 0)
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    np.testing.assert_array_equal(shown, picture.render())
    assert pygame.display.get_caption()[0] != "pygame window"
    pickle.dumps(env)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    env.render()  # the user closes the window: the episode goes on without it
    env.step(env.action_space.sample() * 0)
    assert pygame.display.get_surface() is None
    env.close()


@for_every_class
def test_an_ended_episode_must_be_reset(env_id):
    env = make(env_id).unwrapped
    env.reset(seed=0)
    env.action_space.seed(0)
    while not any(env.step(env.action_space.sample())[2:4]):
        pass
    with pytest.raises(gym.error.ResetNeeded, match="the episode has ended"):
        env.step(env.action_space.sample())
    env.reset()
    env.step(env.action_space.sample())


@for_array_tasks
def test_the_oracle_gets_the_optimal_return(env_id):
    envs = make_vec(env_id, num_envs=20, autoreset_mode="Disabled")
    envs.reset(seed=3)
    promised = envs.unwrapped.optimal_return()
    np.testing.assert_allclose(_returns(envs, envs.unwrapped.optimal_action), promised, rtol=1e-5)


@for_array_tasks
def test_random_actions_get_the_random_return_on_average(env_id):
    envs = make_vec(env_id, num_envs=200 if env_id in SLOW else 500, autoreset_mode="Disabled")
    envs.reset(seed=4)
    envs.action_space.seed(4)
    expected = envs.unwrapped.random_return()
    assert (expected < envs.unwrapped.optimal_return()).any()
    difference = _returns(envs, envs.action_space.sample) - expected
    assert abs(difference.mean()) < 4.5 * difference.std() / np.sqrt(len(difference)) + 1e-9


def _returns(envs, act):
    """Return ``float64[N]``: what each sub-environment's current episode earns until its end."""
    total, ended = np.zeros(envs.num_envs), np.zeros(envs.num_envs, dtype=bool)
    while not ended.all():
        _, reward, terminated, truncated, _ = envs.step(act())
        total += reward * ~ended
        ended |= terminated | truncated
        again = terminated | truncated
        if again.any() and not ended.all():
            envs.reset(options={"reset_mask": again})
    return total


@for_array_tasks
def test_methods_before_reset_say_so(env_id):
    for env in (make(env_id).unwrapped, make_vec(env_id, num_envs=2)):
        for name in ("optimal_action", "optimal_return", "random_return"):
            with pytest.raises(gym.error.ResetNeeded, match=name):
                getattr(env, name)()


@for_every_class
def test_unknown_arguments_are_errors(env_id):
    with pytest.raises(TypeError, match="surprise"):
        make(env_id, surprise=1)
    for wrong in (0, 2.0):
        with pytest.raises(ValueError, match="num_envs must be an integer of at least 1"):
            make_vec(env_id, num_envs=wrong)


@for_every_class
def test_vector_environments_take_the_arguments_of_one(env_id):
    single = inspect.signature(type(make(env_id).unwrapped)).parameters
    vector = inspect.signature(type(make_vec(env_id, num_envs=1).unwrapped)).parameters
    assert single.keys() <= vector.keys()
    assert vector["num_envs"].default == 1
    assert "autoreset_mode" in vector


@for_every_class
def test_native_vectors_take_what_gym_make_takes(env_id):
    env = make(env_id, max_episode_steps=3, disable_env_checker=True)
    envs = make_vec(env_id, num_envs=2, max_episode_steps=3, disable_env_checker=True, autoreset_mode="NextStep")
    env.reset(seed=0)
    envs.reset(seed=0)
    env.action_space.seed(0)  # a car can leave the road in so few steps
    for step in range(1, 4):
        action = env.action_space.sample()
        *_, reward, terminated, truncated, info = env.step(action)
        *_, rewards, ended, cut, infos = envs.step(np.stack([action, action]))
        assert (terminated, truncated) == (ended[0], cut[0]) == (False, step == 3)
        np.testing.assert_allclose(reward, rewards[0])
        assert set(info) <= set(infos)
    if env_id not in QUICK:
        for name in ("optimal_return", "random_return"):
            one, many = (getattr(e.unwrapped, name)() for e in (env, envs))
            np.testing.assert_allclose(one, many[0])
    *_, cut, infos = envs.step(np.stack([action, action]))  # starts anew, and counts from there
    assert not cut.any()
    envs.close()


@for_array_tasks
def test_returns_are_those_of_the_time_limit_in_force(env_id):
    count = 80 if env_id in SLOW else 200
    for limit in (1, 7):
        envs = make_vec(env_id, num_envs=count, max_episode_steps=limit, autoreset_mode="Disabled")
        envs.reset(seed=3)
        promised = envs.unwrapped.optimal_return()
        np.testing.assert_allclose(_returns(envs, envs.unwrapped.optimal_action), promised, rtol=1e-5)
        envs.reset(seed=4)
        envs.action_space.seed(4)
        difference = -envs.unwrapped.random_return() + _returns(envs, envs.action_space.sample)
        assert abs(difference.mean()) < 4.5 * difference.std() / np.sqrt(count) + 1e-9
        one = gym.wrappers.TimeLimit(make(env_id).unwrapped, limit)  # by hand, and so not in any spec
        one.reset(seed=3)
        np.testing.assert_allclose(one.unwrapped.optimal_return(), promised[0])


@for_every_class
def test_options_that_are_no_mapping_are_one_error(env_id):
    with_vectors = [make(env_id), make_vec(env_id, num_envs=2)]
    for env in with_vectors:
        for wrong in ("goal", [], 3, [("a", 1)], {1: 2}):
            with pytest.raises(ValueError, match="options of reset must be a dictionary from names to values, or None"):
                env.reset(options=wrong)
        env.reset(seed=0, options={})
        env.close()


@for_every_class
def test_actions_of_any_real_type_for_one_and_for_many(env_id):
    env, envs = make(env_id).unwrapped, make_vec(env_id, num_envs=2)
    env.reset(seed=0)
    envs.reset(seed=0)
    action = np.zeros(env.action_space.shape)
    for given in (action, action.tolist(), *(action.astype(t) for t in (np.float16, np.float32, np.int8, np.uint64))):
        (_, reward, *ended, _), many = env.step(given), envs.step([given, given])[1]
        np.testing.assert_allclose(reward, many[0], rtol=1e-6)
        if any(ended):
            env.reset()
    for wrong in (
        action + 0.5 if envs.action_space.dtype == np.int64 else action + 1.5,
        action * np.nan,
        "up",
        None,
        action[None],
    ):
        with pytest.raises(ValueError, match="is not in (Discrete|Box)"):
            env.step(wrong)
        with pytest.raises(ValueError, match="is not in (MultiDiscrete|Box)"):
            envs.step([wrong, wrong])
    with pytest.raises(ValueError, match="is not in (MultiDiscrete|Box)"):
        envs.step([action] * 3)
    envs.close()


@for_every_id
def test_docstring_is_the_task_page(env_id):
    env = make(env_id).unwrapped
    for section in ("Description", "Action space", "Observation space", "Reward", "Start and end", "Arguments"):
        assert f"## {section}" in type(env).__doc__


@pytest.mark.parametrize(
    ("env_id", "arguments"),
    [("bisimgym/JumpingTask-v0", {}), ("bisimgym/DistractingCartpoleSwingup-v0", {"observation": "state"})],
)
def test_a_bad_seed_is_refused_and_a_vector_goes_on(env_id, arguments):
    envs = gym.make_vec(env_id, num_envs=2, **arguments)
    first, _ = envs.reset(seed=1)
    for seed in (-1, 1.5, [1, -2], [1]):
        with pytest.raises(ValueError, match="seed must be an integer"):
            envs.reset(seed=seed)
    again, _ = envs.reset(seed=1)
    np.testing.assert_array_equal(first, again)
    envs.close()
