"""Replays: what an agent did, drawn as the environment draws it; written, sealed, checked."""

import json

import gymnasium as gym
import numpy as np
import pytest
from forged import IMAGES, copy, reseal

import bisimgym  # noqa: F401
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running.run_folder import find_runs, read_run
from bisimgym.benchmarks.running.runner import evaluate_agent
from bisimgym.benchmarks.suites import jumping, load_suite, replays, small_images
from bisimgym.benchmarks.suites.held_out_layouts import held_out_seeds, solved_layouts

LAYOUT = small_images._LAYOUTS["nav2d-8x8"]


class Jumper:
    """Jumps 14 pixels before the obstacles of the replayed tasks but for some, at which it never jumps."""

    def __init__(self, colors=1, never=()):
        self.at = np.tile(np.repeat(replays.POSITIONS, len(replays.FLOORS)), colors) - 14
        self.at[list(never)] = -1
        self.step = 0

    def predict(self, observation, **_):
        self.step += 1
        return (self.at == self.step - 1).astype(int), None


class Greedy:
    """Goes along the longer way to the goal, through walls if there are any; its seed never matters."""

    def predict(self, observation, **_):
        agent, goal = observation["observation"][..., 1], observation["desired_goal"]
        row, column = (np.array(at) for at in zip(*(np.argwhere(one)[0] for one in agent), strict=True))
        down, right = goal[:, 0] - row, goal[:, 1] - column
        vertical = np.abs(down) >= np.abs(right)
        return np.where(vertical, np.where(down > 0, 0, 2), np.where(right > 0, 1, 3)), None


def painted(replay, episode, step):
    """Return by kind, and of the agent, which units a page paints at a step."""
    planes = {kind: np.zeros((replay.height, replay.width), bool) for kind in (*replays.KINDS, "agent")}
    for kind, x, y, width, height in [*episode.shapes, ("agent", *episode.path[step], *replay.agent)]:
        planes[kind][max(y, 0) : y + height, x : x + width] = True
    return planes


def test_jumping_episodes_are_drawn_as_the_environment_draws_them():
    replay = jumping.replay(Jumper(never=(4,)), "wide", 1)
    assert [one.solved for one in replay.episodes] == [i != 4 for i in range(9)]
    assert replay.episodes[0].title == "obstacle 20, floor 10, training"
    assert replay.episodes[4].title == "obstacle 33, floor 15, unseen"
    assert replay.episodes[4].path[-1][0] == 33 - 4, "it ran into the obstacle"
    one = replay.episodes[5]
    env = gym.make("bisimgym/JumpingTask-v0", obstacle_position=33, floor_height=20).unwrapped
    frame = env.reset()[0][..., 1]
    for step, action in enumerate([*one.taken, None]):
        planes = painted(replay, one, step)
        inside = np.s_[1:-1, 1:-1]  # the outline is not painted
        assert ((frame > 0) == planes["wall"] | planes["agent"])[inside].all(), step
        if action is not None:
            frame = env.step(action)[0][..., 1]


def test_colored_obstacles_have_their_kinds_and_touching_green_ones_counts():
    replay = jumping.replay(Jumper(colors=2, never=range(9, 18)), "colors", 1)
    assert [one.shapes[1][0] for one in replay.episodes] == ["red"] * 9 + ["green"] * 9
    assert all(one.solved for one in replay.episodes)


def test_nav2d_episodes_are_those_of_the_scored_layouts():
    replay = small_images.replay(Greedy(), "nav2d-8x8", 1)
    solved = [one.solved for one in replay.episodes]
    assert solved == solved_layouts(Greedy(), LAYOUT, 9).tolist()
    assert {True, False} == set(solved)
    envs = gym.make_vec("bisimgym/Nav2DGoal-v0", num_envs=9, **LAYOUT)
    observation = envs.reset(seed=held_out_seeds(9))[0]
    for one, image, goal in zip(replay.episodes, observation["observation"], observation["desired_goal"], strict=True):
        planes = painted(replay, one, 0)
        np.testing.assert_array_equal(planes["wall"], image[..., 0] > 0)
        np.testing.assert_array_equal(planes["agent"], image[..., 1] > 0)
        assert one.shapes[-1] == ("goal", goal[1], goal[0], 1, 1)
        assert one.solved == (one.path[-1] == (goal[1], goal[0]))
        assert len(one.taken) == len(one.path) - 1 <= 30
        assert (np.abs(np.diff(one.path, axis=0)).sum(axis=1) <= 1).all()


def test_the_registered_task_is_replayed_too():
    replay = load_suite("nav2d").replay(Greedy(), "0.9", 1)
    assert (replay.width, len(replay.episodes)) == (20, 9)


def test_runs_of_outside_agents_hold_a_sealed_replay(tmp_path):
    evaluate_agent(Greedy(), load_suite("small-images"), "nav2d-8x8", "greedy", tmp_path)
    (run,) = find_runs([tmp_path])
    assert run.replay["width"] == 8
    file = run.path / "pictures" / replays.REPLAY
    assert file.stat().st_size < 10_000
    file.write_text(file.read_text().replace("true", "false"))
    with pytest.raises(UserError, match=r"replay.json was changed"):
        read_run(run.path)


def test_trained_runs_hold_one(trained):
    out, _ = trained
    (run,) = find_runs([out])
    assert len(run.replay["episodes"]) == 9
    assert run.result["peak_memory"] > 10_000_000


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"width": 0}, "width must be an integer from 1 to 256, got 0"),
        ({"height": 1.5}, "height must be an integer"),
        ({"extra": 1}, "a replay must be an object of width, height, agent, actions, episodes"),
        ({"agent": [1]}, "agent must be a list of 2 integers"),
        ({"actions": ["<b>"]}, "the name of an action must be 1 to 64 letters"),
        ({"episodes": []}, "episodes must not be empty"),
        ({"episodes": [{}] * 25}, "episodes must be a list of at most 24 entries"),
        ({"episodes": [{}]}, "an episode must be an object of title"),
        ({"title": "\u202e"}, "printable"),
        ({"solved": 1}, "solved must be true or false"),
        ({"shapes": [["cloud", 0, 0, 1, 1]]}, "a shape must begin with wall, goal, red, green"),
        ({"shapes": [["wall", 0, 0, 1, 10**6]]}, "a number of a shape must be an integer from 1 to 256"),
        ({"shapes": [[["wall"]]]}, "a shape must begin with"),
        ({"path": [[0, 0]]}, "a path of 1 places does not go with 1 actions"),
        ({"path": [[0, 0], [0, 999]]}, "a number of a place must be an integer from -256 to 256"),
        ({"taken": [2]}, "an action must be an integer from 0 to 1, got 2"),
        ({"taken": [0] * 2000}, "taken must be a list of at most 1001 entries"),
        ({"title": "x" * 70_000}, "more than 65536 bytes"),
    ],
)
def test_what_cannot_be_played_is_refused_though_it_is_sealed(tmp_path, change, expected):
    path = copy(IMAGES, tmp_path / "x")
    shapes = [["wall", 0, 0, 1, 1]]
    episode = {"title": "one", "solved": True, "shapes": shapes, "path": [[0, 0], [1, 0]], "taken": [1]}
    replay = {"width": 8, "height": 8, "agent": [1, 1], "actions": ["a", "b"], "episodes": [episode]}
    file = path / "pictures" / replays.REPLAY
    file.parent.mkdir()
    file.write_text(json.dumps(replay))
    reseal(path)
    assert read_run(path).replay == replay
    target = episode if set(change) <= set(episode) else replay
    target.update(change)
    file.write_text(json.dumps(replay))
    reseal(path)
    with pytest.raises(UserError) as told:
        read_run(path)
    assert expected in str(told.value)


def test_a_folder_that_lost_its_replay_still_has_its_numbers(tmp_path):
    evaluate_agent(Greedy(), load_suite("small-images"), "nav2d-8x8", "greedy", tmp_path)
    (run,) = find_runs([tmp_path])
    (run.path / "pictures" / replays.REPLAY).unlink()
    assert read_run(run.path).replay is None
