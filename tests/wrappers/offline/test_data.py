"""Batches: each transition once per epoch, in an order that can be gone on with; images copied once."""

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces

import bisimgym  # noqa: F401
from bisimgym.wrappers.offline import collect
from bisimgym.wrappers.offline.episodes import columns_to_episodes
from bisimgym.wrappers.offline.spaces import space_from_json, space_to_json

NAV2D = "bisimgym/Nav2D-v0"


@pytest.fixture(scope="module")
def data():
    return collect(NAV2D, "epsilon-greedy", 1000, num_envs=4, epsilon=0.5)


def test_an_epoch_has_each_transition_once(data):
    batches = list(data.batches(128, np.random.default_rng(3)))
    order = np.random.default_rng(3).permutation(len(data))
    assert [len(batch.actions) for batch in batches] == [128] * (len(data) // 128) + [len(data) % 128]
    np.testing.assert_array_equal(np.concatenate([batch.actions for batch in batches]), data.actions[order])
    whole = data.sample(order)
    np.testing.assert_array_equal(np.concatenate([batch.observations for batch in batches]), whole.observations)
    assert len(list(data.batches(128, drop_last=True))) == len(data) // 128
    in_order = np.concatenate([batch.actions for batch in data.batches(100)])
    np.testing.assert_array_equal(in_order, data.actions)


def test_an_epoch_goes_on_where_it_was(data):
    whole = list(data.batches(64, np.random.default_rng(5)))
    rest = list(data.batches(64, np.random.default_rng(5), first=3))
    assert len(rest) == len(whole) - 3
    for one, other in zip(whole[3:], rest, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_batches(data):
    rows = np.array([3, 3, len(data) - 1, 0])
    batch = data.sample(rows)
    assert batch.observations.dtype == np.uint8
    assert batch.actions.dtype == np.int64
    assert batch.rewards.dtype == np.float32
    assert batch.terminated.dtype == batch.truncated.dtype == np.bool_
    np.testing.assert_array_equal(batch.dones, batch.terminated)
    np.testing.assert_array_equal(batch.observations, data.observations(rows))
    np.testing.assert_array_equal(batch.next_observations, data.next_observations(rows))
    inside = np.flatnonzero(data.episode[1:] == data.episode[:-1])
    np.testing.assert_array_equal(data.next_observations(inside), data.observations(inside + 1))
    drawn = data.draw(32, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.actions, data.actions[np.random.default_rng(0).integers(len(data), size=32)])


def test_images_are_copied_once():
    """Both images of a batch lie in one fresh array."""
    data = collect("bisimgym/JumpingTask-v0", "random", 300, num_envs=2)
    batch = data.sample(np.arange(7))
    assert batch.observations.base is batch.next_observations.base
    assert batch.observations.base.nbytes == 2 * batch.observations.nbytes
    assert not np.shares_memory(batch.observations, data.columns.observations[""])


def test_rows_outside_are_refused(data):
    for rows in ([-1], [len(data)], [[0]]):
        with pytest.raises(IndexError, match=r"rows must be int\[K\] in \[0,"):
            data.sample(np.array(rows))
    with pytest.raises(ValueError, match="batch_size must be"):
        data.batches(0)
    with pytest.raises(ValueError, match="workers=2 need a data set on disk"):
        data.batches(8, workers=2)


def test_other_spaces_are_refused(data):
    data.require_spaces(data.observation_space, data.action_space)
    with pytest.raises(ValueError, match="has other observation spaces: .* there, Box.* here"):
        data.require_spaces(spaces.Box(0, 1, (3,)), data.action_space)
    with pytest.raises(ValueError, match="has other action spaces"):
        data.require_spaces(data.observation_space, spaces.Discrete(5))


def test_tensors_share_memory(data):
    th = pytest.importorskip("torch")
    from bisimgym.wrappers.offline.torch_batches import to_torch

    batch = data.sample(np.arange(5))
    tensors = to_torch(batch)
    assert tensors.observations.dtype == th.uint8
    assert tensors.rewards.dtype == th.float32
    batch.observations[0, 0, 0, 0] = 7
    np.testing.assert_array_equal(tensors.observations.numpy(), batch.observations)
    goals = collect("bisimgym/Nav2DGoal-v0", "random", 100, num_envs=2).sample(np.arange(5))
    assert to_torch(goals).next_observations["desired_goal"].shape == (5, 2)


class TestEpisodes:
    def test_episodes_must_be_whole(self, data):
        columns = data.columns
        last = int(columns.ends[0]) - 1
        with pytest.raises(ValueError, match="terminated or truncated at its last step and nowhere before"):
            terminated = columns.terminated.copy()
            terminated[last - 1] = True
            dataclasses.replace(columns, terminated=terminated)
        with pytest.raises(ValueError, match=r"column observations.cell must have \d+ rows, got"):
            dataclasses.replace(columns, rewards=columns.rewards[:-1])

    def test_columns_by_name(self, data):
        again = columns_to_episodes(dict(data.columns.columns()))
        assert len(again) == len(data)
        assert list(dict(again.columns())) == list(dict(data.columns.columns()))

    def test_parts_are_all_episodes(self, data):
        ranges = list(data.columns.parts(120))
        assert ranges[0][0] == 0
        assert ranges[-1][1] == data.num_episodes
        assert [a for a, _ in ranges[1:]] == [b for _, b in ranges[:-1]]
        assert sum(len(data.columns.slice(a, b)) for a, b in ranges) == len(data)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-np.inf, np.inf, (3,), np.float32),
        spaces.Box(np.array([0.1, -2], np.float32), np.array([1, 3], np.float32)),
        spaces.Box(0, 255, (4, 4, 3), np.uint8),
        spaces.Box(-3.4e38, 3.4e38, (2,), np.float32),
        spaces.Discrete(4, start=2),
        spaces.MultiDiscrete([3, 4]),
        spaces.MultiBinary((2, 3)),
        spaces.Dict({"b": spaces.Discrete(3), "a": spaces.Box(0, 1, (2,))}),
    ],
)
def test_spaces_as_json(space):
    import json

    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space


def test_spaces_that_are_not_held():
    for space in (spaces.Text(3), spaces.Tuple([spaces.Discrete(2)]), spaces.Dict({"a": spaces.Dict()})):
        with pytest.raises(ValueError, match="data sets hold Box"):
            space_to_json(space)
