import os
import signal

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("dm_control")

import bisimgym  # noqa: F401
from bisimgym.envs.distracting_control import DistractingControlVectorEnv

FAST = {"observation": "state", "action_repeat": 125}


# Images of one task will do: what holds for every id is tested with the registry.
@pytest.mark.parametrize(
    "arguments",
    [{"size": 16, "action_repeat": 125, "preset": "dcs-hard-dynamic"}, FAST | {"noise_dimensions": 2}],
    ids=["images", "states"],
)
def test_make_vec_equals_single_environments(arguments):
    env_id = "bisimgym/DistractingReacherEasy-v0"
    envs = gym.make_vec(env_id, num_envs=3, **arguments)
    singles = [gym.make(env_id, **arguments) for _ in range(3)]
    observations, _ = envs.reset(seed=np.int64(4))
    for i, single in enumerate(singles):
        np.testing.assert_array_equal(single.reset(seed=4 + i)[0], observations[i])
    singles[0].action_space.seed(0)
    for _ in range(10):
        action = singles[0].action_space.sample()
        observations, rewards, _, truncated, infos = envs.step(np.stack([action] * 3))
        for i, single in enumerate(singles):
            observation, reward, _, ended, _ = single.step(action)
            assert (reward, ended) == (rewards[i], truncated[i])
            if ended:
                np.testing.assert_array_equal(observation, infos["final_obs"][i])
                observation, _ = single.reset()
            np.testing.assert_array_equal(observation, observations[i])
    envs.close()


def test_autoreset_mode_and_images():
    mode = gym.vector.AutoresetMode.DISABLED
    envs = DistractingControlVectorEnv(2, "rgb_array", autoreset_mode="Disabled", preset="clean", **FAST)
    assert envs.metadata["autoreset_mode"] is mode
    envs.reset(seed=[3, 3])
    one, two = envs.render()
    assert one.shape == (240, 240, 3)
    np.testing.assert_array_equal(one, two)
    envs.close()


def test_a_spawned_process_is_as_good():
    envs = DistractingControlVectorEnv(1, context="spawn", **FAST)
    forked = DistractingControlVectorEnv(1, **FAST)
    np.testing.assert_array_equal(envs.reset(seed=0)[0], forked.reset(seed=0)[0])
    envs.close()
    forked.close()


@pytest.mark.parametrize("command", ["reset", "step", "get_attr"])
def test_a_process_that_dies_is_an_error_and_ends_the_others(command):
    envs = DistractingControlVectorEnv(3, **FAST)
    envs.reset(seed=0)
    os.kill(envs.processes[1].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"a process .* died.*exit codes \[-?\d+, -9, -?\d+\]"):
        {
            "reset": envs.reset,
            "step": lambda: envs.step(envs.action_space.sample()),
            "get_attr": lambda: envs.get_attr("settings"),
        }[command]()
    assert envs.closed
    assert not any(process.is_alive() for process in envs.processes)


def test_errors_of_a_process_are_raised():
    envs = DistractingControlVectorEnv(2, **FAST)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="is not in Box"):
        envs.step(np.full((2, 1), 9.0, np.float32))
    envs.close()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_envs": 0}, ValueError, "num_envs must be an integer of at least 1, got 0"),
        ({"render_mode": "human"}, ValueError, r"render_mode must be one of \['rgb_array'\], got 'human'"),
        ({"num_workers": 2}, TypeError, r"unexpected keyword arguments \['num_workers'\].*'preset'"),
        ({"size": 0}, ValueError, "size must be an integer of at least 1"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        DistractingControlVectorEnv(**arguments)
