"""States of dm_control: observations that are drawn again equal those that were seen, bit for bit."""

import gymnasium as gym
import numpy as np
import pytest
from episodes import assert_same

import bisimgym  # noqa: F401
from bisimgym.wrappers.offline import collect, convert, load

pytest.importorskip("dm_control")

SMALL = {"size": 16, "num_videos": 2}
TASK = "bisimgym/DistractingControl-v0"


def replayed(data, env_kwargs, count):
    """Yield rows of the first episodes of the first stream, and what an environment shows before and after them."""
    env = gym.make(data.info["env_id"], **env_kwargs)
    row = 0
    for episode in range(data.num_episodes):
        if data.columns.per_episode["seed"][episode] != data.info["seed"]:
            return
        seen, _ = env.reset(seed=data.info["seed"] if episode == 0 else None)
        for _ in range(data.lengths[episode]):
            after, reward, *_ = env.step(data.actions[row])
            yield row, seen, after, reward
            seen, row = after, row + 1
            if row == count:
                return


@pytest.mark.parametrize(
    "env_kwargs",
    [
        {"domain": "cartpole", "task": "swingup", "preset": "dcs-hard-dynamic", "action_repeat": 125},
        {"domain": "reacher", "task": "easy", "preset": "dcs-medium-static", "action_repeat": 125},
        {"domain": "cheetah", "task": "run", "preset": "pse-2video", "frame_stack": 1, "action_repeat": 125},
        {"domain": "walker", "task": "walk", "preset": "color-hard", "distraction_seed": 3, "action_repeat": 125},
        {"domain": "ball_in_cup", "task": "catch", "frame_stack": 2, "action_repeat": 125},
    ],
    ids=lambda kwargs: kwargs["domain"],
)
def test_images_are_drawn_again_bit_for_bit(env_kwargs):
    env_kwargs = {**SMALL, **env_kwargs}
    d = collect(TASK, "random", 40, num_envs=2, seed=7, env_kwargs=env_kwargs)
    assert d.form.name == "states"
    count = 12
    batch = d.sample(np.arange(count))
    lines = list(replayed(d, env_kwargs, count))
    assert len(lines) == count
    assert (d.episode[:count] > 0).any()  # a second episode, whose distractions follow from its number
    for row, before, after, reward in lines:
        np.testing.assert_array_equal(batch.observations[row], before, err_msg=str(row))
        np.testing.assert_array_equal(batch.next_observations[row], after, err_msg=str(row))
        assert reward == d.rewards[row]
    shuffled = np.random.default_rng(0).permutation(count)
    np.testing.assert_array_equal(d.observations(shuffled), batch.observations[shuffled])


def test_other_settings_show_what_their_environment_would(tmp_path):
    recorded = {**SMALL, "domain": "cartpole", "task": "swingup", "action_repeat": 100, "preset": "clean"}
    d = collect(TASK, "random", 30, num_envs=2, env_kwargs=recorded, dataset=tmp_path / "d")
    other = {"preset": "dcs-hard-dynamic", "size": 20, "frame_stack": 2}
    shown = load(tmp_path / "d", env_kwargs=other)
    assert shown.observation_space.shape == (20, 20, 6)
    batch = shown.sample(np.arange(12))
    for row, before, after, _ in replayed(d, {**recorded, **other}, 12):
        np.testing.assert_array_equal(batch.observations[row], before)
        np.testing.assert_array_equal(batch.next_observations[row], after)
    arrays = convert(tmp_path / "d", tmp_path / "arrays", "arrays", env_kwargs=other)
    np.testing.assert_array_equal(arrays.observations(np.arange(12)), batch.observations)
    with pytest.raises(ValueError, match=r"env_kwargs \['action_repeat'\] are part of the data"):
        load(tmp_path / "d", env_kwargs={"action_repeat": 8})


def test_noisy_states():
    env_kwargs = {"domain": "cartpole", "task": "swingup", "observation": "state", "noise_dimensions": 3}
    env_kwargs |= {"random_projection": True, "action_repeat": 100}
    d = collect(TASK, "random", 30, num_envs=2, env_kwargs=env_kwargs)
    batch = d.sample(np.arange(12))
    for row, before, after, _ in replayed(d, env_kwargs, 12):
        np.testing.assert_array_equal(batch.observations[row], before)
        np.testing.assert_array_equal(batch.next_observations[row], after)


def test_an_agent_that_sees_images_gives_the_data_of_one_that_does_not():
    class Still:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            assert observation.shape[1:] == (16, 16, 9)
            return np.zeros((len(observation), 1)), None

    env_kwargs = {**SMALL, "domain": "cartpole", "task": "swingup", "action_repeat": 100}
    seen = collect(TASK, Still(), 20, num_envs=2, env_kwargs=env_kwargs, form="arrays")
    kept = collect(TASK, Still(), 20, num_envs=2, env_kwargs=env_kwargs)
    np.testing.assert_array_equal(seen.observations(np.arange(20)), kept.observations(np.arange(20)))


def test_workers_draw_ahead(tmp_path):
    env_kwargs = {**SMALL, "domain": "cartpole", "task": "swingup", "action_repeat": 100}
    d = collect(TASK, "random", 30, num_envs=2, env_kwargs=env_kwargs, dataset=tmp_path / "d")
    here = list(d.batches(8, np.random.default_rng(0)))
    ahead = list(d.batches(8, np.random.default_rng(0), workers=1))
    assert [len(batch.rewards) for batch in ahead] == [len(batch.rewards) for batch in here]
    for one, other in zip(here, ahead, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_task_that_changes_its_model_within_an_episode_is_refused(monkeypatch):
    from bisimgym.envs.distracting_control.states import StatesForm

    form = StatesForm.__new__(StatesForm)
    form._models = {0: np.zeros(3)}
    envs = type("Envs", (), {"call": lambda self, name: ((np.zeros(2), np.ones(3), np.zeros(1)),)})()
    envs.unwrapped = envs
    with pytest.raises(ValueError, match='use form="arrays"'):
        form.record(envs, None, np.array([0]))


def test_minari_and_back(tmp_path, monkeypatch):
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    env_kwargs = {**SMALL, "domain": "reacher", "task": "easy", "action_repeat": 100}
    d = collect(TASK, "random", 30, num_envs=2, env_kwargs=env_kwargs, dataset=tmp_path / "states")
    images = convert(tmp_path / "states", "reacher-v0", "minari")
    np.testing.assert_array_equal(images.observations(np.arange(30)), d.observations(np.arange(30)))
    assert_same(convert("reacher-v0", tmp_path / "back", "states").columns, d.columns)
