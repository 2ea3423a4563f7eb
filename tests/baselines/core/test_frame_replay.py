"""Every sample equals that of SB3's buffers, in half the memory."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from replays import IMAGE, MIXED, STORAGES, add_to_both, assert_equal, both, dict_episodes, episodes, sample
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.core.frame_replay import FrameReplayBuffer
from bisimgym.baselines.core.frame_store import FrameView

SPACES = {
    "image": IMAGE,
    "channels last": spaces.Box(0, 255, (5, 5, 3), np.uint8),
    "vector": spaces.Box(-np.inf, np.inf, (7,), np.float32),
    "float64": spaces.Box(-np.inf, np.inf, (3, 2), np.float64),
    "discrete": spaces.Discrete(5),
    "binary": spaces.MultiBinary(6),
}


@pytest.mark.parametrize("storage_device", STORAGES)
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_samples_equal_sb3_while_the_ring_wraps_around(space, n_envs, storage_device):
    buffers = both(17 * n_envs + 1, space, n_envs, storage_device=storage_device)
    transitions = episodes(space, n_envs, 90, np.random.default_rng(n_envs), outside_reset=0.05)
    assert add_to_both(*buffers, transitions) == 91 - buffers[0].buffer_size


def test_observations_are_compared_byte_by_byte():
    space = spaces.Box(-np.inf, np.inf, (20,), np.float32)
    odd = [np.nan, 0.0, -0.0, np.nan, np.inf, -0.0, 0.0, 1.0]
    rest = (np.zeros(1, int), np.zeros(1), np.zeros(1, bool), [{}])
    steps = [[np.full((1, 20), odd[j % 8], np.float32) for j in (i, i + 1 + i // 8)] for i in range(20)]
    assert add_to_both(*both(8, space), [(*step, *rest) for step in steps]) == 20 - 7


STACKS = {
    "channels first": (spaces.Box(0, 255, (6, 8, 8), np.uint8), 3, 0, None),
    "channels last": (spaces.Box(0, 255, (8, 8, 6), np.uint8), 3, 2, None),
    "leading axis": (spaces.Box(-1, 1, (4, 5, 7), np.float32), 4, 0, None),
    "last axis of a vector list": (spaces.Box(-1, 1, (5, 4), np.float32), 2, 1, -1),
}


@pytest.mark.parametrize("storage_device", STORAGES)
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("padding", ["repeat", "zeros", "different"])
@pytest.mark.parametrize(("space", "stack", "axis", "stack_axis"), STACKS.values(), ids=STACKS)
def test_stacks_equal_sb3(space, stack, axis, stack_axis, padding, n_envs, storage_device):
    stacks = {"frame_stack": stack, "stack_axis": stack_axis, "storage_device": storage_device}
    how = {"stack": stack, "axis": axis, "padding": padding, "outside_reset": 0.05}
    transitions = episodes(space, n_envs, 70, np.random.default_rng(0), **how)
    assert add_to_both(*both(11 * n_envs, space, n_envs, **stacks), transitions) == 70 - 10


@pytest.mark.parametrize("storage_device", STORAGES)
@pytest.mark.parametrize("n_envs", [1, 3])
def test_dictionaries_equal_sb3(n_envs, storage_device):
    ours, theirs = both(13 * n_envs, MIXED, n_envs, storage_device=storage_device)
    assert not isinstance(ours.observations["place"], FrameView)  # smaller than its row numbers
    assert add_to_both(ours, theirs, dict_episodes(MIXED, n_envs, 60, np.random.default_rng(0))) == 60 - 12


def test_a_stack_inside_a_dictionary():
    space = spaces.Dict(image=spaces.Box(0, 255, (6, 8, 8), np.uint8))
    transitions = dict_episodes(space, 1, 60, np.random.default_rng(0), stack=3)
    assert add_to_both(*both(13, space, frame_stack={"image": 3}), transitions) == 60 - 12


@settings(max_examples=60, deadline=None)
@given(
    num_steps=st.integers(2, 7),
    n_envs=st.integers(1, 3),
    stack=st.integers(1, 3),
    padding=st.sampled_from(["repeat", "zeros", "different"]),
    end=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_slot_is_exact_and_no_row_leaks(num_steps, n_envs, stack, padding, end, seed):
    space = spaces.Box(0, 255, (stack, 2, 2), np.uint8)
    ours, theirs = both(num_steps * n_envs, space, n_envs, frame_stack=stack, stack_axis=0)
    store = ours.observations._store
    rng = np.random.default_rng(seed)
    for transition in episodes(space, n_envs, 4 * num_steps, rng, stack=stack, padding=padding, end=end):
        for buffer in (theirs, ours):
            buffer.add(*copy.deepcopy(transition))
        live = slice(0, ours.size())
        np.testing.assert_array_equal(ours.observations[live], theirs.observations[live])
        np.testing.assert_array_equal(ours.next_observations[live], theirs.next_observations[live])
        used = np.unique(store.rows[live][store.rows[live] >= store._ring_rows])
        assert len(used) + len(store._side_free) == store._side_used
        assert store._side_used <= min(len(store._side), stack * num_steps * n_envs)


def test_extend_and_reset():
    ours, theirs = both(20, IMAGE)
    for seed in (0, 1, 2):
        made = list(zip(*episodes(IMAGE, 1, 33, np.random.default_rng(seed)), strict=True))
        for buffer in (theirs, ours):
            buffer.extend(*copy.deepcopy(made))
        assert_equal(sample(ours, seed), sample(theirs, seed))
        for buffer in (theirs, ours):
            buffer.reset()
        assert ours.size() == theirs.size() == 0


def test_views_look_like_the_arrays_that_they_stand_for():
    ours, theirs = both(20, IMAGE)
    add_to_both(ours, theirs, episodes(IMAGE, 1, 33, np.random.default_rng(0)))
    for name in ("observations", "next_observations"):
        view, array = getattr(ours, name), getattr(theirs, name)
        for key in (
            3,
            (3, 0),
            slice(5, 5),
            np.array([1, 5]),
            (slice(2, 9), 0),
            (np.array([[1, 2]]), np.array([[0, 0]])),
        ):
            np.testing.assert_array_equal(view[key], array[key])
        with pytest.raises(IndexError, match="index by step and environment"):
            view[3, 0, 1]


def test_normalized_samples_equal_sb3():
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
    env.reset()
    for _ in range(20):
        env.step(np.ones((1, 1)))
    space, action = env.observation_space, env.action_space
    buffers = [ReplayBuffer(30, space, action, "cpu")]
    buffers += [FrameReplayBuffer(30, space, action, device="cpu", storage_device=storage) for storage in STORAGES]
    for observations, after, _, *rest in episodes(space, 1, 70, np.random.default_rng(0)):
        for buffer in buffers:
            buffer.add(observations, after, np.zeros((1, 1)), *rest)
    for ours in buffers[1:]:
        assert_equal(sample(ours, 0, env=env), sample(buffers[0], 0, env=env))


@pytest.mark.parametrize("storage_device", STORAGES)
def test_a_pickle_goes_on_like_the_original(storage_device):
    space = STACKS["channels first"][0]
    ours, theirs = both(30, space, 2, frame_stack=3, storage_device=storage_device)
    transitions = list(episodes(space, 2, 80, np.random.default_rng(0), stack=3))
    for first, last in ((0, 5), (5, 41), (41, 42), (42, 80)):
        add_to_both(ours, theirs, transitions[first:last])
        ours = pickle.loads(pickle.dumps(ours))
        ours.device = th.device("cpu")
        assert_equal(sample(ours, 0), sample(theirs, 0))


def test_a_pickle_holds_no_frames_that_were_never_written():
    ours, theirs = both(100_000, IMAGE)
    for transition in episodes(IMAGE, 1, 50, np.random.default_rng(0)):
        ours.add(*transition)
    # Rows, actions, rewards, dones, timeouts; SB3's has 150 bytes of zeros on top for each transition.
    assert len(pickle.dumps(ours)) < 3e6 < len(pickle.dumps(theirs)) / 5


def test_the_side_store_doubles_with_short_episodes():
    ours, _ = both(100, IMAGE, storage_device="device")
    host, device = ours.memory
    beside = 100 * (2 * 4 + 8 + 3 * 4)  # row numbers, actions, rewards and flags
    assert device == (101 + 3) * 75 + beside
    for transition in episodes(IMAGE, 1, 300, np.random.default_rng(0), end=1.0):
        ours.add(*transition)
    assert ours.memory == (host, (101 + 192) * 75 + beside)  # 100 episodes' ends: 3 rows, doubled


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimize_memory_usage": True}, "must stay False"),
        ({"storage_device": "cuda"}, 'storage_device must be "auto", "cpu" .* or "device", got'),
        ({"frame_stack": 0}, "frame_stack must be an integer of at least 1, got 0"),
        ({"frame_stack": 2}, "frame_stack=2 does not divide axis 0"),
        ({"frame_stack": 3, "stack_axis": 3}, "stack_axis must be an axis"),
        ({"frame_stack": {"image": 3}}, "must be numbers"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        both(100, IMAGE, **arguments)


@pytest.mark.parametrize("arguments", [{"frame_stack": 3}, {"frame_stack": {"other": 3}}, {"stack_axis": 0}])
def test_dictionaries_take_mappings(arguments):
    with pytest.raises(ValueError, match=r"must map some of its keys \['image', 'place'"):
        both(100, MIXED, **arguments)


def test_observations_that_are_no_stacks_are_refused_and_change_nothing():
    space = spaces.Box(0, 255, (3, 6, 6), np.uint8)
    ours, _ = both(20, space, frame_stack=3)
    good = list(episodes(space, 1, 10, np.random.default_rng(0), stack=3))
    bad = next(episodes(space, 1, 1, np.random.default_rng(1)))
    for transition in good[:5]:
        ours.add(*transition)
    with pytest.raises(ValueError, match="frame_stack=3: the older 2 of the 3 frames.*Set frame_stack=1"):
        ours.add(*bad)
    assert ours.size() == 5
    for transition in good[5:]:
        ours.add(*transition)
    np.testing.assert_array_equal(ours.observations[:10], np.stack([t[0] for t in good]))
    np.testing.assert_array_equal(ours.next_observations[:10], np.stack([t[1] for t in good]))


def test_slots_are_written_in_order():
    ours, _ = both(20, IMAGE)
    with pytest.raises(ValueError, match="the next at 0, got 4"):
        ours.observations[4] = np.zeros((1, *IMAGE.shape))
    with pytest.raises(ValueError, match="before the next observations"):
        ours.next_observations[0] = np.zeros((1, *IMAGE.shape))
