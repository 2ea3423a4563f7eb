"""Minari data sets: Minari reads ours, we read those of other tools, and nothing changes on the way."""

import gymnasium as gym
import numpy as np
import pytest
from episodes import assert_same

import bisimgym  # noqa: F401
from bisimgym.wrappers.offline import DamagedDataError, collect, convert, load

minari = pytest.importorskip("minari")
pytest.importorskip("pyarrow")
buffers = pytest.importorskip("minari.data_collector.episode_buffer")

NAV2D = "bisimgym/Nav2D-v0"
NAME = "nav2d/epsilon-50-v0"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


@pytest.fixture
def pair(root, tmp_path):
    """One collection in two forms."""
    arguments = {"num_envs": 3, "epsilon": 0.5, "part_steps": 250, "env_kwargs": {"goal_visible": False}}
    written = collect(NAV2D, "epsilon-greedy", 600, dataset=NAME, form="minari", **arguments)
    return written, collect(NAV2D, "epsilon-greedy", 600, dataset=tmp_path / "compact", **arguments)


def test_minari_reads_it(pair):
    _, compact = pair
    read = minari.load_dataset(NAME)
    assert NAME in minari.list_local_datasets()
    assert (read.total_episodes, read.total_steps) == (compact.num_episodes, len(compact))
    for number, episode in enumerate(read.iterate_episodes()):
        first, length = compact.starts[number], compact.lengths[number]
        batch = compact.sample(first + np.arange(length))
        assert episode.observations.dtype == np.uint8
        np.testing.assert_array_equal(episode.observations[:-1], batch.observations)
        np.testing.assert_array_equal(episode.observations[1:], batch.next_observations)
        np.testing.assert_array_equal(episode.actions, batch.actions)
        np.testing.assert_array_equal(episode.rewards, batch.rewards)
        np.testing.assert_array_equal(episode.terminations, batch.terminated)
        np.testing.assert_array_equal(episode.truncations, batch.truncated)
    assert not read.storage.jpeg_encoding
    env = read.recover_environment()
    assert env.unwrapped.task.goal_visible is False
    seeds = [m.get("seed") for m in read.storage.get_episode_metadata(range(compact.num_episodes))]
    assert [seed for seed in seeds if seed is not None] == sorted(set(compact.columns.per_episode["seed"].tolist()))


def test_we_read_it(pair):
    written, compact = pair
    rows = np.random.default_rng(0).permutation(len(compact))
    for a, b in zip(written.sample(rows), compact.sample(rows), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert written.info == compact.info
    np.testing.assert_array_equal(written.lengths, compact.lengths)


def test_there_and_back(pair, tmp_path):
    _, compact = pair
    assert_same(convert(NAME, tmp_path / "back", "compact").columns, compact.columns)
    again = convert(tmp_path / "back", "nav2d/again-v0", "minari")
    assert_same(again.columns, load(NAME).columns)
    mapped = convert(NAME, tmp_path / "arrays", "arrays")
    assert_same(mapped.columns, again.columns)


@pytest.mark.parametrize(
    ("env_id", "kwargs"), [("bisimgym/Nav2DGoal-v0", {}), ("bisimgym/LQRDistractors-v0", {}), ("CartPole-v1", {})]
)
def test_other_spaces(root, env_id, kwargs):
    kept = collect(env_id, "random", 200, num_envs=2, env_kwargs=kwargs, form="arrays")
    written = collect(env_id, "random", 200, num_envs=2, env_kwargs=kwargs, dataset="other-v0", form="minari")
    rows = np.arange(len(kept))
    for a, b in zip(written.sample(rows), kept.sample(rows), strict=True):
        np.testing.assert_equal(a, b)
    np.testing.assert_array_equal(written.columns.per_episode["seed"], kept.columns.per_episode["seed"])
    read = minari.load_dataset("other-v0")
    np.testing.assert_equal(read[0].observations, kept.all_observations(0, 1))


@pytest.mark.parametrize("data_format", ["arrow", "parquet", "hdf5"])
@pytest.mark.parametrize("env_id", [NAV2D, "CartPole-v1", "bisimgym/Nav2DGoal-v0"])
def test_a_data_set_made_with_minari_alone(root, data_format, env_id):
    if data_format == "hdf5":
        pytest.importorskip("h5py")
    env = gym.make(env_id)
    env.action_space.seed(0)
    made = []
    for seed in range(3):
        observations, actions, rewards, terminations, truncations = [env.reset(seed=seed)[0]], [], [], [], []
        while not (terminations and (terminations[-1] or truncations[-1])):
            actions.append(env.action_space.sample())
            observation, reward, terminated, truncated, _ = env.step(actions[-1])
            observations.append(observation)
            rewards.append(reward)
            terminations.append(terminated)
            truncations.append(truncated)
            if seed == 2 and len(actions) == 5:  # cut off by the tool, which does not say so
                break
        if isinstance(observations[0], dict):
            observations = {key: np.stack([o[key] for o in observations]) for key in observations[0]}
        made.append(
            buffers.EpisodeBuffer(
                id=seed,
                seed=seed,
                observations=observations,
                actions=actions,
                rewards=rewards,
                terminations=terminations,
                truncations=truncations,
            )
        )
    with pytest.warns(UserWarning, match="is set to None"):
        minari.create_dataset_from_buffers("other-v0", made, env=env, data_format=data_format, jpeg_encoding=False)
    d = load("other-v0")
    d.require_spaces(env.observation_space, env.action_space)
    assert d.lengths.tolist() == [len(episode.rewards) for episode in made]
    rows = np.arange(len(d))
    batch = d.sample(rows)
    np.testing.assert_array_equal(batch.actions, np.concatenate([episode.actions for episode in made]))
    np.testing.assert_array_equal(batch.terminated, np.concatenate([episode.terminations for episode in made]))
    assert batch.truncated[-1]
    for key in batch.observations if isinstance(batch.observations, dict) else [None]:
        of = [e.observations if key is None else e.observations[key] for e in made]
        before, after = (b if key is None else b[key] for b in (batch.observations, batch.next_observations))
        np.testing.assert_array_equal(before, np.concatenate([o[:-1] for o in of]))
        np.testing.assert_array_equal(after, np.concatenate([o[1:] for o in of]))


class _Bits(gym.Env):
    observation_space = gym.spaces.MultiBinary((2, 3))
    action_space = gym.spaces.MultiDiscrete([3, 4])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bits = self.np_random.integers(0, 2, (2, 3), dtype=np.int8)
        return self.bits, {}

    def step(self, action):
        self.bits = 1 - self.bits
        return self.bits, float(action[1]), False, False, {}


@pytest.fixture
def bits():
    """An environment of someone else, registered as a class, of other kinds of spaces."""
    gym.register("Bits-v0", _Bits, max_episode_steps=5)
    yield "Bits-v0"
    del gym.registry["Bits-v0"]


def test_an_environment_of_someone_else(root, bits):
    d = collect(bits, "random", 40, num_envs=2, dataset="bits-v0", form="minari")
    assert d.lengths.tolist() == [5] * 8
    np.testing.assert_array_equal(d.rewards, d.actions[:, 1])
    assert set(map(tuple, d.actions)) <= {(a, b) for a in range(3) for b in range(4)}
    assert len({tuple(action) for action in d.actions}) > 8
    assert d.truncated.sum() == 8
    assert not d.terminated.any()
    batch = d.sample(np.arange(40))
    np.testing.assert_array_equal(batch.next_observations, 1 - batch.observations)
    assert minari.load_dataset("bits-v0").total_steps == 40


def test_a_killed_collection_goes_on(root):
    class Killed(BaseException):
        pass

    def kill(done, total):
        if done > 500:
            raise Killed

    arguments = {"num_envs": 2, "part_steps": 200, "form": "minari"}
    with pytest.raises(Killed):
        collect(NAV2D, "random", 1000, dataset="killed-v0", progress=kill, **arguments)
    assert "killed-v0" not in minari.list_local_datasets()
    with pytest.raises(FileNotFoundError, match="is not finished"):
        load("killed-v0")
    again = collect(NAV2D, "random", 1000, dataset="killed-v0", **arguments)
    whole = collect(NAV2D, "random", 1000, dataset="whole-v0", **arguments)
    assert_same(again.columns, whole.columns)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "metadata"])
def test_damage_is_refused(pair, root, damage):
    episode = root / NAME / "data" / "3"
    path = episode / "part-0.arrow"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "remove":
        path.unlink()
    else:
        (root / NAME / "data" / "metadata.json").write_text("{")
    with pytest.raises(DamagedDataError, match="epsilon-50-v0") as error:
        load(NAME)
    assert "\n" not in str(error.value)
    if damage in ("cut", "remove"):
        with pytest.raises(DamagedDataError, match="episode 3 cannot be read"):
            load(NAME, verify=False)


def test_names(root, pair):
    with pytest.raises(FileExistsError, match="exists"):
        collect(NAV2D, "random", 10, dataset=NAME, form="minari")
    for name in ("nav2d", "nav 2d-v0", "../x-v0", "a-v"):
        with pytest.raises(ValueError, match="is no id of a Minari data set"):
            collect(NAV2D, "random", 10, dataset=name, form="minari")
    with pytest.raises(FileNotFoundError, match="neither here nor among Minari's"):
        load("missing-v0")
    assert load(root / NAME).num_episodes == load(root / NAME / "data").num_episodes
