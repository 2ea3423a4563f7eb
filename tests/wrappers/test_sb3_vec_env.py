import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import bisimgym  # noqa: F401
from bisimgym.envs.array_task import ArrayTask
from bisimgym.envs.batched_vector import BatchedVectorEnv
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

PLAIN = "bisimgym/JumpingTask-v0"


def test_it_equals_sb3s_own_vectorization():
    native = SB3VecEnv(gym.make_vec(PLAIN, num_envs=3, grid="wide"))
    own = DummyVecEnv([lambda: gym.make(PLAIN, grid="wide")] * 3)
    for envs in (native, own):
        envs.seed(4)
    np.testing.assert_array_equal(native.reset(), own.reset())
    assert native.reset_infos == own.reset_infos
    rng = np.random.default_rng(0)
    endings = 0
    for _ in range(150):
        actions = rng.integers(2, size=3)
        a, b = native.step(actions), own.step(actions)
        for x, y in zip(a[:3], b[:3], strict=True):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
        for one, two in zip(a[3], b[3], strict=True):
            assert one.keys() == two.keys()
            for key in one:
                np.testing.assert_array_equal(one[key], two[key])
        assert native.reset_infos == own.reset_infos
        endings += a[2].sum()
    assert endings > 5


@dataclasses.dataclass
class ClockState:
    count: np.ndarray


class Clock(ArrayTask[ClockState]):
    """Counts to five and is cut off there; ends by itself at three if the action is 1."""

    observation_space = spaces.Box(0, 10, (1,), np.float32)
    action_space = spaces.Discrete(2)
    render_fps = 1

    def initial(self, seeds, options):
        return ClockState(np.zeros(len(seeds)))

    def transition(self, state, action):
        count = state.count + 1
        return ClockState(count), np.ones(len(count)), (count == 3) & (action == 1), count == 5

    def observe(self, state):
        return state.count[:, None].astype(np.float32)

    def reset_info(self, state):
        return {}

    def final_info(self, state):
        return {}


def test_time_limits_are_kept_apart_from_termination():
    envs = SB3VecEnv(BatchedVectorEnv(Clock(), num_envs=2))
    envs.reset()
    for step in range(1, 6):
        observation, _, done, infos = envs.step(np.array([0, int(step == 3)]))
        if step == 3:
            assert done.tolist() == [False, True]
            assert infos[1]["TimeLimit.truncated"] is False
            assert infos[1]["terminal_observation"].tolist() == [3]
            assert observation[1].tolist() == [0]
    assert done.tolist() == [True, False]
    assert infos[0]["TimeLimit.truncated"] is True
    assert infos[0]["terminal_observation"].tolist() == [5]


def test_every_step_of_an_episode_is_counted():
    """Gymnasium before 1.4 took the step after an episode's end for a reset and left it out."""
    envs = gym.wrappers.vector.RecordEpisodeStatistics(BatchedVectorEnv(Clock(), num_envs=2))
    envs.reset()
    ended = []
    for _ in range(15):
        episodes = envs.step(np.zeros(2, dtype=int))[-1].get("episode")
        if episodes is not None:
            ended += [(episodes["r"].tolist(), episodes["l"].tolist())]
    assert ended == [([5, 5], [5, 5])] * 3


def test_gymnasiums_episode_statistics_reach_sb3():
    envs = gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(PLAIN, num_envs=2, grid="wide"))
    adapted = SB3VecEnv(envs)
    adapted.reset()
    for _ in range(60):
        _, _, done, infos = adapted.step(np.array([0, 0]))
        for i in np.flatnonzero(done):
            assert infos[i]["episode"]["r"] + 2 == infos[i]["episode"]["l"]
            assert "episode" not in adapted.reset_infos[i]
        assert not any("episode" in infos[i] for i in np.flatnonzero(~done))


def test_environments_that_are_objects_of_their_own():
    envs = gym.vector.SyncVectorEnv([lambda: gym.make(PLAIN)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    adapted = SB3VecEnv(envs)
    adapted.reset()
    assert adapted.env_method("optimal_return", indices=[1]) == [156]
    assert adapted.get_attr("render_mode") == [None, None]


def test_options_and_attributes_reach_the_environments():
    envs = SB3VecEnv(gym.make_vec(PLAIN, num_envs=2, render_mode="rgb_array"))
    envs.set_options([{"obstacle_position": p, "floor_height": 10} for p in (20, 40)])
    envs.reset()
    assert [info["obstacle_position"] for info in envs.reset_infos] == [20, 40]
    assert envs.env_method("optimal_return") == [156, 156]
    assert envs.env_method("optimal_action", indices=[1]) == [0]
    assert envs.get_attr("num_envs") == [2, 2]
    assert envs.env_is_wrapped(gym.Wrapper) == [False, False]
    assert len(envs.get_images()) == 2
    assert envs.render().ndim == 3
    with pytest.raises(ValueError, match="leave out indices"):
        envs.set_attr("note", 1, indices=[0])


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_other_autoreset_modes_are_refused(mode):
    with pytest.raises(ValueError, match=f"SameStep', got '{mode.value}'"):
        SB3VecEnv(gym.make_vec(PLAIN, num_envs=2, autoreset_mode=mode))


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", PLAIN])
def test_the_form_that_the_message_names_works_for_every_environment(env_id):
    with pytest.raises(ValueError, match=r'sync", vector_kwargs=\{"autoreset_mode": "SameStep"\}'):
        SB3VecEnv(gym.vector.SyncVectorEnv([lambda: gym.make(env_id)]))
    envs = gym.make_vec(env_id, num_envs=2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"})
    SB3VecEnv(envs).reset()


def test_sb3_logs_episodes_through_its_monitor_only():
    bare = SB3VecEnv(gym.make_vec(PLAIN, num_envs=4))
    for envs, logged in ((bare, False), (VecMonitor(bare), True)):
        model = PPO("CnnPolicy", envs, n_steps=64, batch_size=256, n_epochs=1, device="cpu", seed=0)
        model.learn(256)
        assert bool(model.ep_info_buffer) is logged


@pytest.mark.parametrize("env_id", [PLAIN, "bisimgym/JumpingTaskColors-v0"])
def test_stock_ppo_and_dqn_run(env_id, tmp_path):
    envs = VecMonitor(SB3VecEnv(gym.make_vec(env_id, num_envs=4)))
    ppo = PPO("CnnPolicy", envs, n_steps=32, batch_size=64, n_epochs=1, device="cpu", seed=0)
    ppo.learn(256)
    assert ppo.ep_info_buffer
    assert -2 < ppo.ep_info_buffer[0]["r"] < 260
    dqn = DQN("CnnPolicy", envs, buffer_size=500, learning_starts=100, device="cpu", seed=0)
    dqn.learn(300)
    dqn.save(tmp_path / "dqn")
    assert DQN.load(tmp_path / "dqn").predict(envs.reset())[0].shape == (4,)


def test_hindsight_replay_gets_a_reward_for_every_goal_it_asks_about():
    from stable_baselines3 import DQN, HerReplayBuffer

    from bisimgym.baselines.core.extractors import DictExtractor

    envs = SB3VecEnv(gym.make_vec("bisimgym/Nav2DGoal-v0", num_envs=3, max_episode_steps=10))
    achieved, desired = np.zeros((7, 2)), np.zeros((7, 2))
    desired[3] = 5
    (rewards,) = envs.env_method("compute_reward", achieved, desired, {}, indices=[1])
    assert rewards.tolist() == [0, 0, 0, -1, 0, 0, 0]
    model = DQN(
        "MultiInputPolicy",
        envs,
        replay_buffer_class=HerReplayBuffer,
        learning_starts=60,
        batch_size=8,
        buffer_size=300,
        policy_kwargs={"features_extractor_class": DictExtractor},
    )
    model.learn(90)
    batch = model.replay_buffer.sample(200)
    achieved, desired = (batch.next_observations[key] for key in ("achieved_goal", "desired_goal"))
    assert (batch.rewards[:, 0] == -1.0 + (achieved == desired).all(dim=1).float()).all()
    assert (batch.rewards == 0).any()


def test_a_bad_seed_is_refused_at_once_and_changes_nothing():
    envs = SB3VecEnv(gym.make_vec("bisimgym/JumpingTask-v0", num_envs=2))
    first = (envs.seed(1), envs.reset())[1]
    with pytest.raises(ValueError, match="seed must be an integer of at least 0, got -1"):
        envs.seed(-1)
    envs.seed(1)
    np.testing.assert_array_equal(envs.reset(), first)
