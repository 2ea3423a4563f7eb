"""Environments of all ids, small and short, and which tests sweep over which of them."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import bisimgym  # noqa: F401
from bisimgym.envs import IDS
from bisimgym.envs.manipulation import simulator

NO_ROBOSUITE = pytest.mark.skipif(not simulator.is_installed(), reason=f"needs robosuite: {simulator.INSTALL}")
MODES = list(AutoresetMode)
#: Ids that differ from another in the task of dm_control alone: what needs no task is tested without them.
NAMED_TASKS = {env_id for env_id in IDS if "Distracting" in env_id} - {"bisimgym/DistractingControl-v0"}
#: Arguments that make episodes short and pictures small where a step takes milliseconds. One id has the time limit of
#: dm_control, a thousand control steps.
QUICK: dict[str, dict] = {
    "bisimgym/DistractingControl-v0": {"action_repeat": 100, "size": 32, "num_videos": 2},
    **{env_id: {"action_repeat": 2, "size": 32, "num_videos": 2, "max_episode_steps": 10} for env_id in NAMED_TASKS},
    "bisimgym/Manipulation-v0": {"image_size": 16, "horizon": 6},
}
#: Arguments that make episodes short and pictures small where each takes a millisecond.
SHORT = {"bisimgym/HighwayDriving-v0": {"episode_frames": 64, "size": 8, "cameras": 3, "walkers": 2}}
#: Arguments that leave the oracle fewer plans to enumerate, where a step takes a millisecond.
FEW_PLANS = {"bisimgym/ChannelPruning-v0": {"minimum_ratio": 0.5}}
#: Where a step takes a millisecond, steps are few.
SLOW = {**QUICK, **SHORT, **FEW_PLANS}


def sweep(*, without=()):
    """Mark a test of every id; single tasks of robosuite, which take minutes, have tests of their own."""
    ids = [env_id for env_id in IDS if "Manipulation" not in env_id or env_id == "bisimgym/Manipulation-v0"]
    marks = {"bisimgym/Manipulation-v0": NO_ROBOSUITE}
    params = [pytest.param(env_id, marks=marks.get(env_id, ())) for env_id in ids if env_id not in without]
    return pytest.mark.parametrize("env_id", params)


for_every_id = sweep()
for_every_class = sweep(without=NAMED_TASKS)
#: No oracle is known for tasks of simulators, and their vectors are processes, which cannot be pickled.
for_array_tasks = sweep(without=QUICK)


def make(env_id, **arguments):
    return gym.make(env_id, **{**SLOW.get(env_id, {}), **arguments})


def make_vec(env_id, **arguments):
    return gym.make_vec(env_id, **{**SLOW.get(env_id, {}), **arguments})


def assert_same(one, two, where="", tolerance=0.0):
    """Compare nested infos and arrays, exactly without a tolerance."""
    if isinstance(one, dict):
        assert isinstance(two, dict), where
        assert one.keys() == two.keys(), where
        for key in one:
            assert_same(one[key], two[key], f"{where}.{key}", tolerance)
    elif isinstance(one, tuple):
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}[{i}]", tolerance)
    else:
        if tolerance:
            np.testing.assert_allclose(one, two, tolerance, tolerance, err_msg=where)
        else:
            np.testing.assert_array_equal(one, two, where)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype, where


def masked(infos):
    """Return infos with what the masks leave out removed."""
    result = {}
    for key, value in infos.items():
        if key.startswith("_"):
            result[key] = value
        elif isinstance(value, dict):
            result[key] = masked(value)
        else:
            result[key] = [v for v, given in zip(value, infos[f"_{key}"], strict=True) if given]
    return result
