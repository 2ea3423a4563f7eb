"""The environment, on robosuite: few and short episodes, since every step takes ten milliseconds."""

import functools
import json
import pickle
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import bisimgym  # noqa: F401
from bisimgym.envs.manipulation import ManipulationEnv, simulator

pytestmark = pytest.mark.skipif(not simulator.is_installed(), reason=f"needs robosuite: {simulator.INSTALL}")
DOOR, PEG = "bisimgym/ManipulationDoor-v0", "bisimgym/ManipulationTwoArmPegInHole-v0"
both = pytest.mark.parametrize("env_id", [DOOR, PEG])
SMALL = {"image_size": 24, "horizon": 5}


@functools.cache
def made(env_id=DOOR, **arguments):
    """Return an environment that tests share; each resets it."""
    arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
    return gym.make(env_id, **arguments).unwrapped


def actions(env, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def rollout(env, seed=0, count=4):
    """Return observations, rewards and the simulator's positions of an episode's first steps."""
    observations, rewards, positions = [env.reset(seed=seed)[0]], [], []
    for action in actions(env, count):
        observation, reward, *_ = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        positions.append(env.simulator.sim.data.qpos.copy())
    return np.array(observations), rewards, np.array(positions)


@both
def test_checkers_are_clean(env_id):
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    for arguments in ({}, {"observation": "state"}):
        env = made(env_id, **SMALL, render_mode="rgb_array", **arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message=".*minimal resolution for an image is 36x36")
            warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is -?infinity")
            warnings.filterwarnings("ignore", message=".*render method without")
            check_env(env, skip_render_check=True)
            sb3_check_env(env)


def test_spaces():
    for env_id, actuators, states in ((DOOR, 7, 64), (PEG, 12, 109)):
        env = made(env_id, observation="state")
        assert env.action_space.shape == (actuators,)
        assert env.reset(seed=0)[0].shape == env.observation_space.shape == (states,)
    default = made(DOOR)
    assert default.observation_space == gym.spaces.Box(0, 255, (128, 128, 9), np.uint8)
    assert default.horizon == 500


def test_the_door_pays_by_hand():
    env = made(DOOR, observation="state")
    env.reset(seed=3)
    simulation = env.simulator.sim
    reach = np.linalg.norm(env.simulator._gripper_to_handle)
    _, reward, *_, info = env.step(np.zeros(7))
    turned = simulation.data.qpos[env.simulator.handle_qpos_addr]
    now = np.linalg.norm(env.simulator._gripper_to_handle)
    assert abs(now - reach) < 0.01
    np.testing.assert_allclose(reward, 0.25 * (1 - np.tanh(10 * now)) + abs(0.25 * turned / (np.pi / 2)), rtol=1e-9)
    assert not info["is_success"]
    simulation.data.qpos[env.simulator.hinge_qpos_addr] = 0.5  # opened by 29 degrees
    _, reward, terminated, _, info = env.step(np.zeros(7))
    assert (reward, terminated, info["is_success"]) == (1.0, False, True)


def test_the_peg_pays_by_hand():
    env = made(PEG, observation="state")
    env.reset(seed=3)
    _, reward, *_, info = env.step(np.zeros(12))
    data, task = env.simulator.sim.data, env.simulator
    peg, hole = data.body_xpos[task.peg_body_id], data.body_xpos[task.hole_body_id]
    axis = data.body_xmat[task.peg_body_id].reshape(3, 3)[:, 2]
    plate = data.body_xmat[task.hole_body_id].reshape(3, 3)
    to_center = hole + 0.1 * plate[:, 0] - peg
    along = to_center @ axis
    beside = np.linalg.norm(to_center - along * axis)
    parts = [1 - np.tanh(np.linalg.norm(peg - hole)), 1 - np.tanh(beside), 1 - np.tanh(abs(along))]
    np.testing.assert_allclose(reward, (sum(parts) + abs(plate[:, 2] @ axis)) / 5, rtol=1e-9)
    assert not info["is_success"]


def test_episodes_are_truncated_at_500_steps_and_doing_nothing_pays_what_it_did():
    env = made(DOOR, observation="state")
    env.reset(seed=0)
    total, ended, steps = 0.0, False, 0
    while not ended:
        _, reward, terminated, truncated, _ = env.step(np.zeros(7))
        assert 0 <= reward <= 1
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    assert (steps, terminated, truncated) == (500, False, True)
    assert 1.5 < total < 3.5  # 1.97 to 2.91 in four episodes that were played apart from this package
    with pytest.raises(gym.error.ResetNeeded, match="the episode has ended"):
        env.step(np.zeros(7))


def test_the_peg_task_pays_for_nothing():
    env = made(PEG, observation="state")
    env.reset(seed=0)
    rewards = [env.step(np.zeros(12))[1] for _ in range(20)]
    assert 240 < 25 * sum(rewards) < 265  # 248.9 to 259.0 of 500 steps, and nothing moves
    env.reset(seed=0)
    rewards = [env.step(action)[1] for action in actions(env, 20)]
    assert 200 < 25 * sum(rewards) < 265


@both
def test_what_is_seen_changes_nothing_of_what_happens(env_id):
    states = rollout(made(env_id, observation="state"))
    looks = [
        rollout(made(env_id, **SMALL, randomize=randomize, split=split))
        for randomize, split in (((), "train"), (("color", "light", "camera"), "train"), (("light",), "test"))
    ]
    for look in looks:
        assert look[1] == states[1]
        np.testing.assert_array_equal(look[2], states[2])
    assert len({look[0].tobytes() for look in looks}) == 3


def test_each_kind_changes_images_and_leaves_the_draws_of_the_others():
    images = {kinds: made(DOOR, **SMALL, randomize=kinds).reset(seed=1)[0] for kinds in [(), ("color",), ("light",)]}
    images["camera",] = made(DOOR, **SMALL, randomize=("camera",)).reset(seed=1)[0]
    assert len({image.tobytes() for image in images.values()}) == 4
    alone, both_kinds = (made(DOOR, **SMALL, randomize=kinds) for kinds in (("color",), ("color", "camera")))
    alone.reset(seed=1)
    both_kinds.reset(seed=1)
    for name in ("geom_rgba", "mat_specular"):
        one, two = (getattr(env._scene._model, name) for env in (alone, both_kinds))
        np.testing.assert_array_equal(one, two)


def test_a_look_stays_for_an_episode_and_seeds_move_looks_and_placements():
    env = made(DOOR, **SMALL)
    env.reset(seed=0)
    colors = env._scene._model.geom_rgba.copy()
    door = env.simulator.sim.model.body("Door_main").pos.copy()
    env.step(np.zeros(7))
    np.testing.assert_array_equal(env._scene._model.geom_rgba, colors)
    env.reset(seed=1)
    assert (env._scene._model.geom_rgba != colors).any()
    assert (env.simulator.sim.model.body("Door_main").pos != door).any()
    np.testing.assert_array_equal(
        env._scene._model.body("Door_main").pos, env.simulator.sim.model.body("Door_main").pos
    )


def test_one_seed_is_one_episode_whatever_was_before_and_in_every_process():
    env = made(DOOR, **SMALL)
    first = rollout(env, seed=7)
    rollout(env, seed=8)
    again = rollout(env, seed=7)
    code = (
        "import sys, numpy as np, gymnasium as gym, bisimgym\n"
        f"env = gym.make({DOOR!r}, **{SMALL}).unwrapped\n"
        "seen = [env.reset(seed=7)[0]]\n"
        "for action in np.random.default_rng(0).uniform(-1, 1, (4, 7)).astype(np.float32):\n"
        "    seen.append(env.step(action)[0])\n"
        "sys.stdout.buffer.write(np.array(seen).tobytes())\n"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert first[0].tobytes() == again[0].tobytes() == elsewhere
    assert first[1] == again[1]


def test_vectors_equal_single_environments():
    made.cache_clear()  # each holds 2.6 GB of address space, and a fork needs as much as its parent
    envs = gym.make_vec(DOOR, num_envs=2, autoreset_mode="SameStep", **SMALL)
    observation, _ = envs.reset(seed=7)
    np.testing.assert_array_equal(observation[0], made(DOOR, **SMALL).reset(seed=7)[0])
    for row, seed in enumerate((7, 8)):
        env = made(DOOR, **SMALL)
        np.testing.assert_array_equal(observation[row], env.reset(seed=seed)[0])
    action = actions(env, 1)[0]
    stepped, rewards, *_ = envs.step(np.stack([action, action]))
    found, reward, *_ = env.step(action)
    np.testing.assert_array_equal(stepped[1], found)
    assert rewards[1] == reward
    envs.close()


def test_pickles_go_on():
    env = made(DOOR, **SMALL)
    env.reset(seed=2)
    taken = actions(env, 4)
    for action in taken[:3]:
        env.step(action)
    twin = pickle.loads(pickle.dumps(env))
    one, two = env.step(taken[3]), twin.step(taken[3])
    np.testing.assert_array_equal(one[0], two[0])
    assert one[1:] == two[1:]
    np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])  # the generator goes on too


def test_specs_survive_json():
    env = gym.make(DOOR, randomize=["camera"], **SMALL)
    text = env.spec.to_json()
    assert json.loads(text)["id"] == DOOR
    twin = gym.make(EnvSpec.from_json(text))
    np.testing.assert_array_equal(env.reset(seed=5)[0], twin.reset(seed=5)[0])


def test_misuse_is_named():
    env = ManipulationEnv(observation="state", horizon=2)
    for call in (lambda: env.step(np.zeros(7)), env.render):
        with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) before (step|render)\(\)"):
            call()
    with pytest.raises(ValueError, match="takes no options"):
        env.reset(options={"goal": 1})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not in Box"):
        env.step(np.full(7, 1.5))
