"""Hindsight in a frame replay is that of SB3."""

import pickle

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from replays import ACTION, IMAGE, STORAGES, assert_equal, dict_episodes, nav2d_goals, roll_out, sample
from stable_baselines3 import HerReplayBuffer

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.core.frame_replay import (
    HerFrameReplayBuffer,
)


def hindsight(env, buffer_size=60, buffer_class=HerFrameReplayBuffer, **arguments):
    """Return a replay for hindsight on an environment."""
    arguments = {"env": env, "device": "cpu", "n_envs": env.num_envs, **arguments}
    return buffer_class(buffer_size, env.observation_space, env.action_space, **arguments)


@pytest.mark.parametrize("storage_device", STORAGES)
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
def test_hindsight_equals_sb3(strategy, n_envs, storage_device):
    env = nav2d_goals(n_envs)
    common = {"goal_selection_strategy": strategy, "copy_info_dict": strategy == "final"}
    theirs = hindsight(env, 60 * n_envs, HerReplayBuffer, **common)
    ours = hindsight(env, 60 * n_envs, storage_device=storage_device, **common)
    ends = limits = 0
    for step, done in enumerate(roll_out(env, 250, theirs, ours)):
        ends += done.sum()
        limits += theirs.timeouts[theirs.pos - 1].sum()
        if ends and step % 3 == 0:
            assert_equal(sample(ours, step), sample(theirs, step))
    assert 0 < limits < ends  # both kinds of ends were met
    assert ours.infos.shape == (theirs.infos.shape if strategy == "final" else (0, n_envs))

    for buffer in (ours, theirs):
        with pytest.warns(UserWarning, match="last trajectory"):
            buffer.truncate_last_trajectory()
    assert_equal(sample(ours, 0), sample(theirs, 0))
    for _ in roll_out(env, 40, theirs, ours, seed=1):  # new episodes, and the last ones never ended
        assert_equal(sample(ours, 1), sample(theirs, 1))

    loaded = pickle.loads(pickle.dumps(ours))
    loaded.set_env(env)
    assert_equal(sample(loaded, 2), sample(theirs, 2))


def test_hindsight_starts_again_after_reset():
    env = nav2d_goals(1)
    reset, fresh = hindsight(env), hindsight(env)
    for _ in roll_out(env, 100, reset):
        pass
    reset.reset()
    with pytest.raises(RuntimeError, match="before the end of the first episode"):
        reset.sample(1)
    for _ in roll_out(env, 100, reset, fresh, seed=3):
        pass
    assert_equal(sample(reset, 0), sample(fresh, 0))


def test_recomputed_dones_cut_the_bootstrap_where_the_new_goal_is_reached():
    env = nav2d_goals(2)
    common = {"goal_selection_strategy": "final", "n_sampled_goal": 1}
    as_sb3, cut = (hindsight(env, 400, recompute_dones=recompute, **common) for recompute in (False, True))
    for _ in roll_out(env, 300, as_sb3, cut):
        pass
    kept, recomputed = sample(as_sb3, 0, 512), sample(cut, 0, 512)
    assert_equal(recomputed._replace(dones=kept.dones), kept)  # nothing else differs
    reached = (recomputed.next_observations["achieved_goal"] == recomputed.next_observations["desired_goal"]).all(1)
    np.testing.assert_array_equal(recomputed.dones[:, 0], reached.float())
    # In SB3's, transitions that reach a new goal and bootstrap all the same.
    assert int((reached & (kept.dones[:, 0] == 0)).sum()) > 20


def test_goals_stay_in_numpy_because_environments_compute_rewards_there():
    goal = spaces.Box(-1, 1, (30,), np.float32)
    space = spaces.Dict(observation=IMAGE, achieved_goal=goal, desired_goal=goal)
    ours = HerFrameReplayBuffer(60, space, ACTION, env=None, device="cpu", storage_device="device")
    for transition in dict_episodes(space, 1, 30, np.random.default_rng(0)):
        ours.add(*transition)
    assert isinstance(ours.next_observations["observation"][3, 0], th.Tensor)
    assert isinstance(ours.next_observations["achieved_goal"][3, 0], np.ndarray)


def test_rewards_that_are_not_one_for_each_transition_are_refused():
    env = nav2d_goals(1)
    ours = hindsight(env)
    for _ in roll_out(env, 50, ours):
        pass
    env.env_method = lambda *args, **kwargs: [np.float64(-1)]
    with pytest.raises(ValueError, match="gave 1 reward for 12 relabeled transitions"):
        ours.sample(15)
