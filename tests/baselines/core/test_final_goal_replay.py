"""Copies of episodes toward where they ended, as in the double DQN of recursive state similarity."""

import numpy as np
import pytest
from gymnasium import spaces

from bisimgym.baselines.core.final_goal_replay import FinalGoalReplayBuffer

SPACE = spaces.Dict(
    {
        "observation": spaces.Box(0, 255, (2, 4, 4), np.uint8),
        "achieved_goal": spaces.Box(0, 3, (2,), np.int64),
        "desired_goal": spaces.Box(0, 3, (2,), np.int64),
    }
)


class Rewards:
    """What the replay asks of the training environment."""

    def env_method(self, name, achieved, desired, infos, indices):
        assert name == "compute_reward"
        return [np.where((achieved == desired).all(axis=-1), 0.0, -1.0)]


def replay(size=40, n_envs=1, **arguments):
    return FinalGoalReplayBuffer(
        size, SPACE, spaces.Discrete(4), env=Rewards(), n_envs=n_envs, device="cpu", **arguments
    )


def observation(cells, goals):
    images = np.zeros((len(cells), 2, 4, 4), np.uint8)
    for image, (row, column) in zip(images, cells, strict=True):
        image[1, row, column] = 255
    return {"observation": images, "achieved_goal": np.array(cells), "desired_goal": np.array(goals)}


def play(buffer, paths, goal=(3, 3)):
    """Add one episode of each environment: all paths as long as one another; cut off by time unless at the goal."""
    goals = [goal] * len(paths)
    steps = len(paths[0]) - 1
    for t in range(steps):
        before, after = [path[t] for path in paths], [path[t + 1] for path in paths]
        reached = np.array([cell == goal for cell in after])
        done = reached | (t == steps - 1)
        infos = [{"TimeLimit.truncated": bool(d and not r)} for d, r in zip(done, reached, strict=True)]
        action = np.full((len(paths), 1), t % 4)
        reward = np.where(reached, 0.0, -1.0)
        buffer.add(observation(before, goals), observation(after, goals), action, reward, done, infos)


def entries(buffer):
    """Return every entry as (cell, next cell, goal, reward, done), sorted."""
    batch = buffer.sample(10_000)
    columns = (batch.observations["achieved_goal"], batch.next_observations["achieved_goal"])
    goals = batch.observations["desired_goal"]
    assert (goals == batch.next_observations["desired_goal"]).all()
    rows = zip(*columns, goals, batch.rewards.flatten(), batch.dones.flatten(), strict=True)
    return sorted((*(tuple(map(int, part)) for part in row[:3]), float(row[3]), float(row[4])) for row in rows)


def test_a_copy_stops_at_the_first_visit_of_where_the_episode_ended():
    buffer = replay()
    a, b, c, goal = (0, 0), (0, 1), (1, 1), (3, 3)
    play(buffer, [[a, b, c, b]])
    originals = [(a, b, goal, -1, 0), (b, c, goal, -1, 0), (c, b, goal, -1, 0)]
    assert entries(buffer) == sorted([*originals, (a, b, b, 0, 1)])
    assert buffer.num_entries == (3, 1)


def test_an_episode_that_ends_where_it_began_has_no_copy():
    buffer = replay()
    play(buffer, [[(0, 0), (0, 1), (0, 0)]])
    assert buffer.num_entries == (2, 0)


def test_a_successful_episode_is_there_twice():
    buffer = replay()
    a, b, goal = (3, 1), (3, 2), (3, 3)
    play(buffer, [[a, b, goal]])
    once = [(a, b, goal, -1, 0), (b, goal, goal, 0, 1)]
    assert entries(buffer) == sorted(once + once)


def test_originals_are_sampled_before_the_episode_ends_and_batches_are_as_large_as_can_be():
    buffer = replay()
    goals = [(3, 3)]
    buffer.add(
        observation([(0, 0)], goals),
        observation([(0, 1)], goals),
        np.array([[1]]),
        np.array([-1.0]),
        np.array([False]),
        [{}],
    )
    batch = buffer.sample(16)
    assert batch.rewards.shape == (1, 1)
    assert batch.dones.item() == 0


def test_copies_fall_with_the_transitions_they_are_of():
    buffer = replay(size=6)
    play(buffer, [[(0, 0), (0, 1), (0, 2), (0, 3)]])
    assert buffer.num_entries == (3, 3)
    play(buffer, [[(1, 0), (1, 1), (1, 2), (1, 3)]])
    assert buffer.num_entries == (6, 6)
    goals = [(3, 3)]
    buffer.add(
        observation([(2, 0)], goals),
        observation([(2, 1)], goals),
        np.array([[1]]),
        np.array([-1.0]),
        np.array([False]),
        [{}],
    )
    assert buffer.num_entries == (6, 3)  # the first episode is damaged: its other originals stay, its copies go
    buffer.reset()
    assert buffer.num_entries == (0, 0)


def test_environments_side_by_side():
    buffer = replay(n_envs=2)
    play(buffer, [[(0, 0), (0, 1), (0, 2)], [(2, 2), (2, 1), (2, 2)]])
    assert buffer.num_entries == (4, 2)
    assert {entry[2] for entry in entries(buffer)} == {(3, 3), (0, 2)}


@pytest.mark.parametrize("size", [4, 16])
def test_batches_are_uniform_and_hold_nothing_twice(size):
    np.random.seed(0)  # noqa: NPY002
    buffer = replay(size=60)
    for row in range(4):
        play(buffer, [[(row, column) for column in (0, 1, 2, 3)]])
    counts: dict[tuple, int] = {}
    for _ in range(2000):
        batch = buffer.sample(size)
        cells, goals = batch.observations["achieved_goal"], batch.observations["desired_goal"]
        drawn = [(*map(int, cell), *map(int, goal)) for cell, goal in zip(cells, goals, strict=True)]
        assert len(drawn) == size
        for entry in drawn:
            counts[entry] = counts.get(entry, 0) + 1
    # 12 originals and 12 copies; those of the successful last row are equal in pairs.
    assert sum(buffer.num_entries) == 24
    assert len(counts) == 21
    expected = {entry: (2 if entry[0] == 3 else 1) * 2000 * size / 24 for entry in counts}
    assert all(abs(counts[entry] - mean) < 5 * np.sqrt(mean) for entry, mean in expected.items())


def test_goals_cannot_be_chosen_otherwise():
    with pytest.raises(ValueError, match="goal_selection_strategy"):
        replay(goal_selection_strategy="future")
