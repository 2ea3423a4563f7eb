"""Every sample equals that of SB3's buffers, in half the memory."""

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import DQN, SAC, HerReplayBuffer
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.preprocessing import get_obs_shape
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.baselines.core.frame_replay import (
    DictFrameReplayBuffer,
    FrameReplayBuffer,
    HerFrameReplayBuffer,
    free_gpu_memory,
)
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

IMAGE = spaces.Box(0, 255, (3, 5, 5), np.uint8)
ACTION = spaces.Discrete(4)
STORAGES = ("cpu", "device")


def episodes(space, n_envs, steps, rng, *, stack=1, axis=0, padding="repeat", end=0.2, outside_reset=0.0):
    """Yield arguments of ``add``: made-up episodes of each environment, ended by termination or a time limit."""
    shape, dtype = list(get_obs_shape(space)), np.dtype(space.dtype)
    shape[axis] //= stack

    def frame():
        if dtype.kind == "f":
            return rng.normal(size=shape).astype(dtype)
        return rng.integers(0, 2 if isinstance(space, spaces.MultiBinary) else 5, shape, dtype=dtype)

    def first():
        frames = [frame() for _ in range(stack)]
        if padding == "repeat":
            frames = [frames[-1]] * stack
        if padding == "zeros":
            frames[:-1] = [np.zeros_like(frames[0])] * (stack - 1)
        return frames

    histories = [first() for _ in range(n_envs)]

    def observations(of):
        return np.stack([np.concatenate(history, axis) for history in of])

    for _ in range(steps):
        next_histories = [[*history[1:], frame()] for history in histories]
        done = rng.random(n_envs) < end
        limit = done & (rng.random(n_envs) < 0.5)
        infos = [{"TimeLimit.truncated": bool(t)} for t in limit]
        actions, rewards = rng.integers(0, 4, n_envs), rng.normal(size=n_envs)
        yield observations(histories), observations(next_histories), actions, rewards, done, infos
        resets = done | (rng.random(n_envs) < outside_reset)
        histories = [first() if reset else h for h, reset in zip(next_histories, resets, strict=True)]


def dict_episodes(space, n_envs, steps, rng, **how):
    parts = {key: episodes(part, n_envs, steps, rng, **how) for key, part in space.spaces.items()}
    for rows in zip(*parts.values(), strict=True):
        now, after = ({key: row[i] for key, row in zip(parts, rows, strict=True)} for i in (0, 1))
        yield now, after, *rows[0][2:]


def both(buffer_size, space, n_envs=1, **arguments):
    """Return our buffer, made with these arguments, and SB3's."""
    is_dict = isinstance(space, spaces.Dict)
    ours = DictFrameReplayBuffer if is_dict else FrameReplayBuffer
    theirs = DictReplayBuffer if is_dict else ReplayBuffer
    return (
        ours(buffer_size, space, ACTION, device="cpu", n_envs=n_envs, **arguments),
        theirs(buffer_size, space, ACTION, "cpu", n_envs),
    )


def add_to_both(ours, theirs, transitions):
    """Add transitions to two buffers and compare a sample after each."""
    for step, transition in enumerate(transitions):
        for buffer in (theirs, ours):
            buffer.add(*copy.deepcopy(transition))
        assert ours.size() == theirs.size()
        assert_equal(sample(ours, step), sample(theirs, step))


def sample(buffer, seed, batch_size=64, env=None):
    np.random.seed(seed)  # noqa: NPY002  (the stream that SB3 samples from)
    return buffer.sample(batch_size, env)


def assert_equal(ours, theirs):
    for name, mine, expected in zip(ours._fields, ours, theirs, strict=True):
        pairs = [(mine, expected)]
        if isinstance(expected, dict):
            assert list(mine) == list(expected)
            pairs = [(mine[key], expected[key]) for key in expected]
        for a, b in pairs:
            if b is None:  # discounts, which only n-step buffers fill
                assert a is None
                continue
            assert a.dtype == b.dtype, name
            assert a.shape == b.shape, name
            assert a.numpy().tobytes() == b.numpy().tobytes(), name


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
    add_to_both(*buffers, episodes(space, n_envs, 90, np.random.default_rng(n_envs), outside_reset=0.05))


def test_observations_are_compared_byte_by_byte():
    space = spaces.Box(-np.inf, np.inf, (20,), np.float32)
    odd = [np.nan, 0.0, -0.0, np.nan, np.inf, -0.0, 0.0, 1.0]
    rest = (np.zeros(1, int), np.zeros(1), np.zeros(1, bool), [{}])
    steps = [[np.full((1, 20), odd[j % 8], np.float32) for j in (i, i + 1 + i // 8)] for i in range(20)]
    add_to_both(*both(8, space), [(*step, *rest) for step in steps])


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
    add_to_both(*both(11 * n_envs, space, n_envs, **stacks), transitions)


MIXED = spaces.Dict(
    image=spaces.Box(0, 255, (6, 8, 8), np.uint8),
    place=spaces.Box(0, 9, (2,), np.int64),
    task=spaces.Discrete(5),
    signal=spaces.Box(-1, 1, (40,), np.float32),
)


@pytest.mark.parametrize("storage_device", STORAGES)
@pytest.mark.parametrize("n_envs", [1, 3])
def test_dictionaries_equal_sb3(n_envs, storage_device):
    ours, theirs = both(13 * n_envs, MIXED, n_envs, storage_device=storage_device)
    assert isinstance(ours.observations["place"], np.ndarray)  # smaller than its row numbers
    add_to_both(ours, theirs, dict_episodes(MIXED, n_envs, 60, np.random.default_rng(0)))


def test_a_stack_inside_a_dictionary():
    space = spaces.Dict(image=spaces.Box(0, 255, (6, 8, 8), np.uint8))
    transitions = dict_episodes(space, 1, 60, np.random.default_rng(0), stack=3)
    add_to_both(*both(13, space, frame_stack={"image": 3}), transitions)


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


# ------------------------------------------------------------------------------------------------------------ hindsight


def nav2d_goals(n_envs, **task):
    task = {"size": 6, "num_obstacles": 2, "min_goal_distance": 1, "max_episode_steps": 12, **task}
    return VecTransposeImage(DummyVecEnv([lambda: gym.make("bisimgym/Nav2DGoal-v0", **task)] * n_envs))


def hindsight(env, buffer_size=60, buffer_class=HerFrameReplayBuffer, **arguments):
    """Return a replay for hindsight on an environment."""
    arguments = {"env": env, "device": "cpu", "n_envs": env.num_envs, **arguments}
    return buffer_class(buffer_size, env.observation_space, env.action_space, **arguments)


def roll_out(env, steps, *buffers, seed=0):
    """Fill buffers with random steps as SB3's algorithms do; yield after each."""
    rng = np.random.default_rng(seed)
    env.seed(seed)
    now = env.reset()
    for _ in range(steps):
        action = rng.integers(0, env.action_space.n, env.num_envs)
        env.step_async(action)
        arrived, reward, done, infos = env.step_wait()
        after = copy.deepcopy(arrived)
        for i in np.flatnonzero(done):
            last = infos[i]["terminal_observation"]
            if isinstance(after, dict):
                for key in after:
                    after[key][i] = last[key]
            else:
                after[i] = last
        for buffer in buffers:
            buffer.add(copy.deepcopy(now), copy.deepcopy(after), action, reward, done, infos)
        now = arrived
        yield done


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


# ----------------------------------------------------------------------------------------------------------- algorithms


def parameters(model):
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def assert_same_parameters(one, other):
    assert one.keys() == other.keys()
    assert all(th.equal(one[name], other[name]) for name in one)


DQN_SETTINGS = {
    "buffer_size": 150,  # wraps around
    "learning_starts": 60,
    "batch_size": 16,
    "train_freq": 4,
    "target_update_interval": 50,
    "policy_kwargs": {"net_arch": [16]},
    "seed": 0,
    "device": "cpu",
}


@pytest.mark.parametrize("storage_device", STORAGES)
@pytest.mark.parametrize(
    ("env_id", "n_envs", "stack"),
    [("bisimgym/JumpingTask-v0", 1, 2), ("bisimgym/JumpingTask-v0", 3, 1), ("bisimgym/Nav2D-v0", 2, 1)],
)
def test_dqn_learns_the_same_parameters(env_id, n_envs, stack, storage_device):
    def learned(**replay):
        envs = SB3VecEnv(gym.make_vec(env_id, num_envs=n_envs))
        model = DQN("MlpPolicy", envs, **DQN_SETTINGS, **replay)
        model.learn(300)
        model.learn(100)  # environments start again in the middle of episodes
        return parameters(model)

    arguments = {"frame_stack": stack, "storage_device": storage_device}
    ours = learned(replay_buffer_class=FrameReplayBuffer, replay_buffer_kwargs=arguments)
    assert_same_parameters(ours, learned())


class FlattenDict(BaseFeaturesExtractor):
    """All entries in one vector: SB3's own network for images needs 36 x 36 pixels."""

    def __init__(self, space):
        super().__init__(space, sum(spaces.flatdim(part) for part in space.values()))

    def forward(self, observations):
        return th.cat([value.flatten(1) for value in observations.values()], dim=1)


@pytest.mark.parametrize("storage_device", STORAGES)
def test_dqn_with_hindsight_learns_the_same_parameters(storage_device):
    def learned(replay_class, **arguments):
        model = DQN(
            "MultiInputPolicy",
            nav2d_goals(2),
            **DQN_SETTINGS | {"policy_kwargs": {"net_arch": [16], "features_extractor_class": FlattenDict}},
            replay_buffer_class=replay_class,
            replay_buffer_kwargs={"goal_selection_strategy": "final", "n_sampled_goal": 1, **arguments},
        )
        return parameters(model.learn(400))

    assert_same_parameters(learned(HerFrameReplayBuffer, storage_device=storage_device), learned(HerReplayBuffer))


def test_sac_learns_the_same_parameters():
    def learned(**replay):
        common = {"batch_size": 16, "train_freq": 4, "policy_kwargs": {"net_arch": [16]}, "seed": 0, "device": "cpu"}
        model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=250, learning_starts=150, **common, **replay)
        return parameters(model.learn(450))

    assert_same_parameters(learned(replay_buffer_class=FrameReplayBuffer), learned())


@pytest.mark.parametrize("storage_device", STORAGES)
def test_a_saved_replay_goes_on(tmp_path, storage_device):
    replay = {"replay_buffer_class": FrameReplayBuffer, "replay_buffer_kwargs": {"storage_device": storage_device}}
    envs = SB3VecEnv(gym.make_vec("bisimgym/JumpingTask-v0", num_envs=2))
    model = DQN("MlpPolicy", envs, **DQN_SETTINGS, **replay).learn(200)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = []
    for _ in range(2):
        envs = SB3VecEnv(gym.make_vec("bisimgym/JumpingTask-v0", num_envs=2))
        again = DQN.load(tmp_path / "model", envs, device="cpu")
        again.load_replay_buffer(tmp_path / "replay")
        assert again.replay_buffer.size() == model.replay_buffer.size() == 75
        assert_equal(sample(again.replay_buffer, 0), sample(model.replay_buffer, 0))
        again.set_random_seed(1)
        loaded.append(parameters(again.learn(100, reset_num_timesteps=False)))
    assert_same_parameters(*loaded)


# --------------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("env_id", "arguments", "most"),
    [
        ("bisimgym/Nav2D-v0", {}, 0.55),
        ("bisimgym/Nav2DGoal-v0", {}, 0.55),
        ("bisimgym/JumpingTask-v0", {}, 0.55),
        ("bisimgym/JumpingTask-v0", {"frame_stack": 2}, 0.30),
    ],
)
def test_an_image_transition_takes_little_memory(env_id, arguments, most):
    env = VecTransposeImage(SB3VecEnv(gym.make_vec(env_id, num_envs=4)))
    ours, theirs = both(2_000, env.observation_space, env.num_envs, **arguments)
    ends = sum(int(done.sum()) for done in roll_out(env, 1_100, theirs, ours))
    assert ends > 50
    assert_equal(sample(ours, 0, 256), sample(theirs, 0, 256))
    held = list(vars(theirs).values())
    for entry in (theirs.observations, theirs.next_observations):
        held += entry.values() if isinstance(entry, dict) else []
    assert sum(ours.memory) <= most * sum(array.nbytes for array in held if isinstance(array, np.ndarray))


@pytest.mark.parametrize("storage_device", STORAGES)
@pytest.mark.parametrize("stack", [1, 3])
def test_a_replay_that_does_not_fit_is_refused(monkeypatch, stack, storage_device):
    def available(num_bytes):
        memory = psutil.virtual_memory()._replace(available=num_bytes)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    arguments = {"device": "cpu", "storage_device": storage_device, "frame_stack": stack}
    # A row for each step, rows for the ends of 201 episodes, and row numbers.
    need = (10_000 + stack + 201 * stack) * 75 // stack + 10_000 * 4 * (stack + 1)
    available(need - 1)
    with pytest.raises(MemoryError, match=r"10000 transitions needs .* of host memory, but .* are available: set buf"):
        FrameReplayBuffer(10_000, IMAGE, ACTION, **arguments)
    available(need)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # SB3's buffer would not fit, and its warning does not appear
        FrameReplayBuffer(10_000, IMAGE, ACTION, **arguments)
    with pytest.warns(UserWarning, match="enough memory"):
        ReplayBuffer(10_000, IMAGE, ACTION, "cpu")


def test_memory_of_a_gpu_counts_what_torch_keeps_for_reuse(monkeypatch):
    monkeypatch.setattr(th.cuda, "mem_get_info", lambda device: (1_000_000, 9_000_000))
    monkeypatch.setattr(th.cuda, "memory_reserved", lambda device: 500_000)
    monkeypatch.setattr(th.cuda, "memory_allocated", lambda device: 300_000)
    assert free_gpu_memory("cuda:0") == 1_200_000


def test_the_side_store_doubles_with_short_episodes():
    ours, _ = both(100, IMAGE, storage_device="device")
    host, device = ours.memory
    assert device == (101 + 3) * 75
    for transition in episodes(IMAGE, 1, 300, np.random.default_rng(0), end=1.0):
        ours.add(*transition)
    assert ours.memory == (host, (101 + 192) * 75)  # 100 episodes' ends: 3 rows, doubled


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimize_memory_usage": True}, "must stay False"),
        ({"storage_device": "cuda"}, 'storage_device must be "cpu" or "device"'),
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
