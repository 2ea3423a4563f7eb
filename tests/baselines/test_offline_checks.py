"""What learners from stored data say of data that are not sound, and of arguments out of range."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer

from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.baselines.mico import MICoDQN, MICoSAC
from bisimgym.baselines.offline import OfflineRepresentation
from bisimgym.baselines.transitions import Transitions
from bisimgym.wrappers.offline.replay import train_offline

SPACE, ACTIONS = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)


def transitions(**changed):
    rng = np.random.default_rng(0)
    observations, next_observations = rng.uniform(-1, 1, (2, 20, 3)).astype(np.float32)
    made = Transitions(
        observations, rng.integers(2, size=20), rng.normal(size=20), next_observations, np.zeros(20, bool)
    )
    return made._replace(**changed)


def replay(bad_row=7):
    buffer = ReplayBuffer(50, SPACE, ACTIONS, "cpu")
    for row in range(50):
        reward = np.array([np.nan if row == bad_row else 0.0])
        buffer.add(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 1)), reward, np.array([False]), [{}])
    return buffer


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": np.full(20, np.nan)}, "the environment gave rewards that are not finite"),
        ({"rewards": np.array([1.0] * 20, dtype=object)}, r"rewards must be numbers .* got \|O"),
        ({"rewards": np.array(["1"] * 20)}, "rewards must be numbers"),
        ({"observations": np.zeros((20, 3), ">f4")}, "observations must be numbers in this machine's order of bytes"),
        ({"dones": np.full(20, np.nan)}, "dones that are not finite"),
        ({"dones": np.full(20, 2)}, r"dones must be bool\[N\], or 0 and 1"),
    ],
)
def test_transitions_that_are_no_numbers_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        OfflineRepresentation(SPACE, ACTIONS, "mico", device="cpu").fit(transitions(**changed), 1)


def test_the_replay_is_blamed_and_not_the_learning_rate():
    with pytest.raises(ValueError, match="the environment gave a reward that is not finite, nan"):
        OfflineRepresentation(SPACE, ACTIONS, "mico", device="cpu").fit(replay(), 50, 8)


def test_a_sound_replay_is_not_blamed():
    learner = OfflineRepresentation(SPACE, ACTIONS, "mico", metric_settings={"beta": float("nan")}, device="cpu")
    with pytest.raises(DivergedError, match="metric_loss is nan at update 0"):
        learner.fit(replay(bad_row=-1), 5, 8)


def test_training_from_a_replay_ends_with_a_look_at_the_losses():
    model = MICoDQN("MlpPolicy", "CartPole-v1", learning_starts=8, batch_size=8, buffer_size=50, seed=1, device="cpu")
    for row in range(50):
        reward = np.array([np.nan if row == 7 else 0.0])
        observation = np.zeros((1, 4), np.float32)
        model.replay_buffer.add(observation, observation, np.zeros((1, 1)), reward, np.array([False]), [{}])
    with pytest.raises(ValueError, match="a reward that is not finite"):
        train_offline(model, 200)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"discount": 1.0}, "discount must be a number"),
        ({"discount": "a"}, "discount must be a number"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number"),
        ({"encoder_tau": 0}, "encoder_tau must be a number"),
        ({"seed": 2**70}, "seed must be an integer"),
        ({"features_dim": 0}, "features_dim must be an integer of at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        OfflineRepresentation(SPACE, ACTIONS, "mico", device="cpu", **arguments)


def test_a_file_of_another_class_is_refused(tmp_path):
    MICoSAC("MlpPolicy", "Pendulum-v1", buffer_size=10, device="cpu").save(tmp_path / "sac.zip")
    with pytest.raises(ValueError, match=r"sac.zip was not saved by OfflineRepresentation"):
        OfflineRepresentation.load(tmp_path / "sac.zip")
    learner = OfflineRepresentation(SPACE, ACTIONS, "mico", device="cpu")
    learner.save(tmp_path / "ours.zip")
    assert th.equal(
        *(
            next(iter(m.encoders.parameters()))
            for m in (learner, OfflineRepresentation.load(tmp_path / "ours.zip", "cpu"))
        )
    )
