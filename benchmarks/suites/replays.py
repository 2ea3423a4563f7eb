"""Episodes of grid tasks as small JSON, which pages replay: shapes that stay, and where the agent was at every step."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bisimgym.benchmarks.suites.checks import discrete_actions
from bisimgym.envs.files import atomic_write

#: The file of a run's folder ``pictures``.
REPLAY = "replay.json"
#: What shapes can be: pages know how to paint these.
KINDS = ("wall", "goal", "red", "green")
#: Obstacle positions and floor heights of the tasks of the jumping grid that are replayed.
POSITIONS, FLOORS = (20, 33, 45), (10, 15, 20)
#: Most units of each side, episodes of a file, shapes and steps of an episode, actions, and bytes of the file.
SIDE, EPISODES, SHAPES, STEPS, ACTIONS, BYTES = 256, 24, 256, 1000, 16, 64 * 1024


@dataclass(frozen=True)
class Episode:
    """One episode; places are (x, y) of upper left corners, y downwards.

    Attributes:
        title: which task it is.
        solved: how it ended.
        shapes: (kind, x, y, width, height) of what stays where it is.
        path: where the agent was: at the start and after every step.
        taken: the number of the action of every step.
    """

    title: str
    solved: bool
    shapes: Sequence[tuple[str, int, int, int, int]]
    path: Sequence[tuple[int, int]]
    taken: Sequence[int]


@dataclass(frozen=True)
class Replay:
    """Episodes of one size: ``width`` x ``height`` units, and an agent of ``agent`` = (width, height) units.

    Attributes:
        actions: their names, by number.
    """

    width: int
    height: int
    agent: tuple[int, int]
    actions: Sequence[str]
    episodes: Sequence[Episode]


def write_replay(replay: Replay, folder: Path) -> None:
    """Write a replay into the folder of a run's pictures, which is made."""
    folder.mkdir(exist_ok=True)
    with atomic_write(folder / REPLAY) as temporary:
        temporary.write_text(json.dumps(asdict(replay), separators=(",", ":")) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Played:
    """What an agent did in one episode: places, actions, and whether it ended in success."""

    path: Sequence[tuple[int, int]]
    taken: Sequence[int]
    solved: bool


def play(agent: Any, envs: Any, place: Callable[[Any], np.ndarray], **reset: Any) -> list[Played]:
    """Let an agent play one episode in each environment.

    Args:
        agent: follows the agent protocol.
        envs: vector environments of an array task with discrete actions, whose episodes end, and which start over with
            the step after the last ("NextStep").
        place: ``place(state)`` is where agents are, ``int[N, 2]``.
        reset: arguments of the first reset.
    """
    observation, _ = envs.reset(**reset)
    count = envs.num_envs
    paths = [[_pair(where)] for where in place(envs.unwrapped.state)]
    taken: list[list[int]] = [[] for _ in paths]
    playing, solved = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    state, episode_start = None, np.ones(count, dtype=bool)
    while playing.any():
        action, state = agent.predict(observation, state=state, episode_start=episode_start, deterministic=True)
        action = discrete_actions(action, count, int(envs.single_action_space.n))
        observation, _, terminated, truncated, infos = envs.step(action)
        where = place(envs.unwrapped.state)
        for i in np.flatnonzero(playing):
            paths[i].append(_pair(where[i]))
            taken[i].append(int(action[i]))
        episode_start = terminated | truncated
        ended = playing & episode_start
        if ended.any():
            solved[ended] = infos["is_success"][ended]
            playing &= ~ended
    return [Played(path, acts, bool(won)) for path, acts, won in zip(paths, taken, solved, strict=True)]


def _pair(place: np.ndarray) -> tuple[int, int]:
    return int(place[0]), int(place[1])


def jumping_replay(agent: Any, colors: Sequence[str | None], seen: Collection[tuple[int, int]], env_id: str) -> Replay:
    """Return what an agent does in nine tasks of each color, spread over the jumping grid.

    Args:
        agent: follows the agent protocol.
        colors: of obstacles; None where there are none.
        seen: (position, floor) of the tasks that it was trained on.
        env_id: of the environment.
    """
    import gymnasium as gym

    from bisimgym.envs.jumping import dynamics

    tasks = [(position, floor, color) for color in colors for position in POSITIONS for floor in FLOORS]
    positions, floors, drawn = zip(*tasks, strict=True)
    options = {"obstacle_position": np.array(positions), "floor_height": np.array(floors)}
    if any(drawn):
        options["color"] = np.array(drawn, dtype=object)

    def place(state: dynamics.JumpingState) -> np.ndarray:
        above = dynamics.SCREEN - dynamics.AGENT_HEIGHT - state.floor_height
        return np.stack([state.x, above - state.height], axis=1)

    played = play(agent, gym.make_vec(env_id, num_envs=len(tasks), autoreset_mode="NextStep"), place, options=options)
    episodes = []
    for (position, floor, color), one in zip(tasks, played, strict=True):
        ground = dynamics.SCREEN - 1 - floor
        top, high = ground + 1 - dynamics.OBSTACLE_HEIGHT, dynamics.OBSTACLE_HEIGHT - 1
        shapes = [
            ("wall", 0, ground, dynamics.SCREEN, 1),
            (color or "wall", position, top, dynamics.OBSTACLE_WIDTH, high),
        ]
        kind = "training" if (position, floor) in seen else "unseen"
        words = f"{color} obstacle" if color else "obstacle"
        title = f"{words} {position}, floor {floor}, {kind}"
        episodes.append(Episode(title, one.solved, shapes, one.path, one.taken))
    size = dynamics.AGENT_WIDTH, dynamics.AGENT_HEIGHT
    return Replay(dynamics.SCREEN, dynamics.SCREEN, size, ("right", "jump"), episodes)


def nav2d_replay(agent: Any, layout: Mapping[str, Any], seeds: Sequence[int]) -> Replay:
    """Return what an agent does in layouts of ``Nav2DGoal`` that have never been trained on.

    Args:
        agent: follows the agent protocol.
        layout: arguments of the environment.
        seeds: of the layouts.
    """
    import gymnasium as gym

    envs: Any = gym.make_vec("bisimgym/Nav2DGoal-v0", num_envs=len(seeds), autoreset_mode="NextStep", **layout)
    envs.reset(seed=list(seeds))
    size, starts = envs.unwrapped.task.size, envs.unwrapped.state

    def place(state: Any) -> np.ndarray:
        return np.stack([state.cell % size, state.cell // size], axis=1)

    played = play(agent, envs, place, seed=list(seeds))
    episodes = []
    for i, one in enumerate(played):
        walls = [("wall", int(cell % size), int(cell // size), 1, 1) for cell in np.flatnonzero(starts.obstacles[i])]
        goal = ("goal", int(starts.goal[i] % size), int(starts.goal[i] // size), 1, 1)
        episodes.append(Episode(f"unseen layout {i + 1}", one.solved, [*walls, goal], one.path, one.taken))
    return Replay(size, size, (1, 1), ("down", "right", "up", "left"), episodes)
