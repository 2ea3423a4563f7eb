"""Replays and data sets on the device: what they hold, draw and refuse, and that learners learn the same from them."""

import copy
import functools
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from replays import ACTION, IMAGE, MIXED, assert_equal, dict_episodes, episodes
from stable_baselines3.common.buffers import ReplayBuffer

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.core import placement
from bisimgym.baselines.core.frame_replay import DictFrameReplayBuffer, FrameReplayBuffer
from bisimgym.baselines.mico import MICoDQN
from bisimgym.baselines.offline import OfflineRepresentation
from bisimgym.baselines.transitions import Transitions
from bisimgym.wrappers.offline import collect


def filled(kind=FrameReplayBuffer, space=IMAGE, made=episodes, seed=0, as_tensors=False, **arguments):
    np.random.seed(seed)  # noqa: NPY002  (the replay's own stream is seeded from it)
    replay = kind(40, space, ACTION, device="cpu", n_envs=2, storage_device="device", **arguments)
    for now, after, *rest in made(
        space, 2, 50, np.random.default_rng(0), **({} if made is dict_episodes else {"stack": 1})
    ):
        if as_tensors:
            now, after = (_tensors(part) for part in (now, after))
            rest = [*(th.from_numpy(np.asarray(part)) for part in rest[:2]), *rest[2:]]
        replay.add(now, after, *rest)
    return replay


def _tensors(observations):
    if isinstance(observations, dict):
        return {key: th.from_numpy(value) for key, value in observations.items()}
    return th.from_numpy(observations)


def test_batches_follow_from_the_seed_and_take_nothing_from_the_global_stream():
    one, two, other = filled(), filled(), filled(seed=1)
    before = np.random.get_state()[2]  # noqa: NPY002
    first = one.sample(64)
    assert np.random.get_state()[2] == before  # noqa: NPY002
    assert_equal(first, two.sample(64))
    assert not th.equal(first.rewards, one.sample(64).rewards)
    assert not th.equal(first.rewards, other.sample(64).rewards)


def test_every_place_is_drawn():
    steps, envs = filled().draw(2000)
    assert set(steps.tolist()) == set(range(20))
    assert set(envs.tolist()) == {0, 1}


def test_a_pickle_draws_on():
    replay = filled()
    replay.sample(8)
    loaded = pickle.loads(pickle.dumps(replay))
    loaded.device = th.device("cpu")
    for _ in range(2):
        assert_equal(loaded.sample(32), replay.sample(32))


@pytest.mark.parametrize("as_tensors", [False, True])
@pytest.mark.parametrize(
    ("kind", "space", "made"),
    [
        (FrameReplayBuffer, IMAGE, episodes),
        (FrameReplayBuffer, spaces.Box(-1, 1, (7,), np.float32), episodes),
        (DictFrameReplayBuffer, MIXED, dict_episodes),
    ],
    ids=["image", "state", "dictionary"],
)
def test_observations_may_come_from_either_side(kind, space, made, as_tensors):
    """Written as arrays or as tensors, all places hold the same."""
    expected, found = filled(kind, space, made), filled(kind, space, made, as_tensors=as_tensors)
    steps, envs = (part.ravel() for part in th.meshgrid(th.arange(20), th.arange(2), indexing="ij"))
    assert_equal(found.sample_at(steps, envs), expected.sample_at(steps, envs))


def test_stacks_of_tensors_equal_those_of_arrays():
    space = spaces.Box(0, 255, (3, 6, 6), np.uint8)
    made = functools.partial(episodes, axis=0, padding="different", outside_reset=0.1)
    replays = [FrameReplayBuffer(30, space, ACTION, device="cpu", storage_device="device", frame_stack=3) for _ in "12"]
    for now, after, *rest in made(space, 1, 45, np.random.default_rng(0), stack=3):
        replays[0].add(now, after, *rest)
        replays[1].add(th.from_numpy(now), th.from_numpy(after), *rest)
    steps = th.arange(30)
    assert_equal(*(replay.sample_at(steps, th.zeros_like(steps)) for replay in replays))


def test_auto_takes_a_device_with_room(monkeypatch):
    monkeypatch.setattr(placement, "free_gpu_memory", lambda device: 1000)
    gpu, host = th.device("cuda"), th.device("cpu")
    placed = placement.is_placed_on_device
    assert placed("auto", gpu, 500)
    assert not placed("auto", gpu, 501)
    assert placed("device", gpu, 501)
    assert not placed("cpu", gpu, 1)
    assert not placed("auto", host, 1)
    with pytest.raises(MemoryError, match="a data set of 10 transitions needs 2.0 KiB of cuda memory.*: take 4"):
        placement.check_fits("data set of", 10, {gpu: 2048}, "take {most}")


def learner(**settings):
    env = gym.make("bisimgym/MarkovSignal-v0", episode_length=20)
    return MICoDQN("MlpPolicy", env, buffer_size=50, learning_starts=20, seed=0, device="cpu", **settings)


def test_learners_put_their_replay_where_they_are_asked_to(tmp_path):
    assert type(learner().replay_buffer) is ReplayBuffer
    model = learner(replay_device="device").learn(30)
    assert model.replay_buffer.on_device
    model.save(tmp_path / "model")
    assert MICoDQN.load(tmp_path / "model", device="cpu").replay_device == "device"
    with pytest.raises(ValueError, match="is for replays that store each observation once, got ReplayBuffer"):
        learner(replay_device="device", replay_buffer_class=ReplayBuffer)
    with pytest.raises(ValueError, match='replay_device must be "auto"'):
        learner(replay_device="gpu")


def transitions(count=50):
    rng = np.random.default_rng(0)
    states, after = rng.random((2, count, 4), np.float32)
    return Transitions(states, rng.integers(3, size=count), rng.random(count), after, rng.random(count) < 0.1)


def fitted(data, observation_space, action_space, place):
    settings = {"features_dim": 8, "seed": 1, "device": "cpu", "replay_device": place}
    model = OfflineRepresentation(observation_space, action_space, "mico", **settings)
    losses = [model.fit(data, updates, 16)["metric_loss"] for updates in (3, 4)]
    return losses, model.encoders.state_dict()


@pytest.mark.parametrize("kind", ["arrays", "data set", "replay"])
def test_offline_learning_is_the_same_wherever_the_data_live(kind):
    space, actions = spaces.Box(-1, 1, (4,), np.float32), spaces.Discrete(3)
    here = there = transitions()
    if kind == "data set":
        arguments = {"size": 5, "num_obstacles": 2, "min_goal_distance": 3}
        here = there = collect("bisimgym/Nav2D-v0", "random", 60, num_envs=4, seed=0, env_kwargs=arguments)
        space, actions = here.observation_space, here.action_space
    if kind == "replay":
        here, there = (FrameReplayBuffer(60, space, actions, device="cpu", storage_device=s) for s in ("cpu", "device"))
        for now, action, reward, after, done in zip(*transitions(), strict=True):
            for replay in (here, there):
                step = now[None], after[None], np.array([action]), np.array([reward]), np.array([done]), [{}]
                replay.add(*copy.deepcopy(step))
    expected, weights = fitted(here, space, actions, "cpu")
    found, weights_there = fitted(there, space, actions, "device")
    assert found == expected
    assert all(th.equal(weights[name], weights_there[name]) for name in weights)


def test_data_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(placement, "free_memory", lambda: 100)
    with pytest.raises(MemoryError, match='a data set of 50 transitions needs .*set replay_device="cpu", or take at'):
        fitted(transitions(), spaces.Box(-1, 1, (4,), np.float32), spaces.Discrete(3), "device")
