import gymnasium as gym
import numpy as np
import pytest

import bisimgym  # noqa: F401
from bisimgym.wrappers import Demonstrations, collect_demonstrations


def test_the_oracle_is_recorded_to_the_end_of_every_episode():
    envs = gym.make_vec("bisimgym/JumpingTask-v0", num_envs=3, autoreset_mode="Disabled")
    data = collect_demonstrations(envs, {"obstacle_position": [20, 30, 45], "floor_height": [10, 11, 12]})
    assert data.observations.shape == (168, 60, 60, 2)
    assert data.lengths.tolist() == [56] * 3
    for part, position in zip(data.slices(), (20, 30, 45), strict=True):
        assert np.flatnonzero(data.actions[part]).tolist() == [position - 14]
        assert data.rewards[part].sum() == 156
        assert (data.observations[part][0, :, :, 0] == 0).all()
    assert data.aligned.all()


def test_episodes_of_different_lengths():
    class Sloppy(gym.vector.VectorWrapper):
        """Walks on in the second environment: it collides long before the others exit."""

        def optimal_action(self):
            return self.env.unwrapped.optimal_action() * np.array([1, 0, 1])

        @property
        def unwrapped(self):
            return self

    envs = Sloppy(gym.make_vec("bisimgym/JumpingTask-v0", num_envs=3, autoreset_mode="Disabled"))
    data = collect_demonstrations(envs, {"obstacle_position": [20, 30, 45], "floor_height": [10, 11, 12]})
    assert data.lengths.tolist() == [56, 26, 56]
    assert data.rewards[data.slices()[1]].tolist() == [1] * 25 + [-1]


def test_environments_that_reset_by_themselves_are_refused():
    with pytest.raises(ValueError, match="autoreset_mode='Disabled'"):
        collect_demonstrations(gym.make_vec("bisimgym/JumpingTask-v0", num_envs=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations": np.zeros((4, 2, 2, 1))}, "must be uint8"),
        ({"actions": np.zeros(3, dtype=int)}, "4 entries"),
        ({"lengths": np.array([3, 3])}, "sum to 4, got a sum of 6"),
        ({"aligned": np.array([True])}, "aligned must have 2 entries"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, message):
    arrays = {
        "observations": np.zeros((4, 2, 2, 1), dtype=np.uint8),
        "actions": np.zeros(4, dtype=int),
        "rewards": np.zeros(4),
        "lengths": np.array([1, 3]),
    }
    with pytest.raises(ValueError, match=message):
        Demonstrations(**{**arrays, **change})
