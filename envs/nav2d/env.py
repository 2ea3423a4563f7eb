"""Nav2D: find the way to a goal among random obstacles, seen as a small image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from bisimgym.envs.array_task import ArrayTask, BatchedEnv
from bisimgym.envs.arrays import cast, like, namespace, row_numbers
from bisimgym.envs.batched_vector import TaskVectorEnv
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.nav2d.drawing import draw
from bisimgym.envs.nav2d.layouts import (
    MOVES,
    LayoutRules,
    Layouts,
    check_rules,
    destinations,
    draw_layouts,
    free_moves,
    neighbors,
    places,
)

STEP_REWARD, GOAL_REWARD = -1.0, 0.0
PRESENT = 255
#: The registered time limit.
MAX_EPISODE_STEPS = 50


@dataclass(frozen=True)
class Nav2DState:
    """N episodes. Cells are numbered row by row; see :class:`~bisimgym.envs.nav2d.layouts.Layouts`."""

    obstacles: np.ndarray
    distance: np.ndarray
    start: np.ndarray
    goal: np.ndarray
    cell: np.ndarray
    step: np.ndarray


def initial_state(layouts: Layouts) -> Nav2DState:
    """Return the start states of layouts."""
    return Nav2DState(**vars(layouts), cell=layouts.start, step=np.zeros_like(layouts.start))


def transition(state: Nav2DState, action: np.ndarray, size: int) -> tuple[Nav2DState, np.ndarray, np.ndarray]:
    """Return the next state, ``float64[N]`` reward and ``bool[N]``: whether the goal is reached.

    Args:
        action: ``int[N]``: 0 down, 1 right, 2 up, 3 left. A move off the grid or into an obstacle changes nothing.
    """
    xp = namespace(state.cell)
    wanted = like(neighbors(size), state.cell)[state.cell, action]
    blocked = state.obstacles[row_numbers(wanted), wanted] != 0
    cell = xp.where(blocked, state.cell, wanted)
    reached = cell == state.goal
    reward = xp.where(reached, GOAL_REWARD, STEP_REWARD)
    return dataclasses.replace(state, cell=cell, step=state.step + 1), reward, reached


def optimal_action(state: Nav2DState, size: int) -> np.ndarray:
    """Return ``int64[N]``: the lowest-numbered action that brings the goal one step nearer (0 on the goal)."""
    around = like(neighbors(size), state.cell)[state.cell]
    rows = row_numbers(around)
    nearer = state.distance[rows[:, None], around] < state.distance[rows, state.cell][:, None]
    return cast(nearer, "uint8").argmax(axis=1)


def observe(state: Nav2DState, size: int, goal_visible: bool, goal_channel: bool = True) -> np.ndarray:
    """Return ``uint8[N, size, size, 3]`` (2 without ``goal_channel``): obstacles, agent and goal, each 0 or 255.

    The memory is channel first and shown as a transposed view, so that the obstacles are copied in one piece.
    """
    xp = namespace(state.cell)
    (n, cells), channels = state.obstacles.shape, 3 if goal_channel else 2
    planes = xp.empty((n, channels, cells), dtype=xp.uint8, device=state.cell.device)
    planes[:, 0] = state.obstacles
    planes[:, 1:] = 0
    flat = planes.reshape(-1)
    plane = row_numbers(state.cell) * (channels * cells) + cells
    flat[plane + state.cell] = PRESENT
    if goal_visible and goal_channel:
        flat[plane + cells + state.goal] = PRESENT
    return planes.reshape(n, channels, size, size).swapaxes(1, 3).swapaxes(1, 2)


def successor_observations(observations: np.ndarray) -> np.ndarray:
    """Return what each action leads to, ``uint8[N, 4, size, size, 3]``: the true one-step model of Nav2D.

    It works on observations alone: obstacles and goal stay, the agent moves.

    Args:
        observations: ``uint8[N, size, size, 3]`` of :class:`Nav2DEnv`, with or without a visible goal.

    Raises:
        ValueError: if they are not images of that shape with one agent each.
    """
    observations = np.asarray(observations)
    if observations.ndim != 4 or observations.shape[1] != observations.shape[2] or observations.shape[3] != 3:
        raise ValueError(f"observations must be uint8[N, size, size, 3], got shape {observations.shape}")
    n, size = observations.shape[:2]
    agent = observations[..., 1].reshape(n, -1) > 0
    if (agent.sum(axis=1) != 1).any():
        raise ValueError("every observation must hold one agent: one cell of channel 1 that is not 0")
    next_state = destinations(observations[..., 0].reshape(n, -1), agent.argmax(axis=1)[:, None], size)[:, 0]
    result = np.repeat(observations[:, None], len(MOVES), axis=1)
    result[..., 1] = 0
    row, column = np.divmod(next_state, size)
    result[np.arange(n)[:, None], np.arange(len(MOVES)), row, column, 1] = PRESENT
    return result


def nav2d_mdp(obstacles: np.ndarray, goal: tuple[int, int]) -> FiniteMDP:
    """Return a layout as a deterministic :class:`FiniteMDP`, without the step limit.

    States are the free cells row by row, named ``"(row, column)"``; the goal is terminal. Entering it earns 0, every
    other step -1.

    Args:
        obstacles: ``bool[size, size]``.
        goal: row and column of a free cell.

    Raises:
        ValueError: if the grid is not square or the goal is not a free cell.
    """
    obstacles = np.asarray(obstacles, dtype=bool)
    if obstacles.ndim != 2 or obstacles.shape[0] != obstacles.shape[1]:
        raise ValueError(f"obstacles must be bool[size, size], got shape {obstacles.shape}")
    size = len(obstacles)
    if not all(0 <= i < size for i in goal) or obstacles[goal]:
        raise ValueError(f"goal must be a free cell of the {size} x {size} grid, got {goal}")
    free, next_state = free_moves(obstacles.ravel())
    end = int(np.searchsorted(free, goal[0] * size + goal[1]))
    next_state[end] = end
    reward = np.where(next_state == end, GOAL_REWARD, STEP_REWARD)
    terminal = np.arange(len(free)) == end
    return FiniteMDP(next_state, reward, terminal, tuple(f"({c // size}, {c % size})" for c in free))


class Nav2DTask(ArrayTask[Nav2DState]):
    """The array task behind the Nav2D environments."""

    render_fps = 8
    draws_ahead = True
    informs_every_step = True
    takes_tensors = True

    def __init__(self, rules: LayoutRules, goal_visible: bool, goal_conditioned: bool = False):
        check_rules(rules)
        if not isinstance(goal_visible, bool):
            raise ValueError(f"goal_visible must be True or False, got {goal_visible!r}")
        self.rules = rules
        self.size = rules.size
        self.goal_visible = goal_visible
        self.goal_conditioned = goal_conditioned
        image = spaces.Box(0, PRESENT, (self.size, self.size, 2 if goal_conditioned else 3), np.uint8)
        self.observation_space: spaces.Space = image
        if goal_conditioned:
            place = spaces.Box(0, self.size - 1, (2,), np.int64)
            self.observation_space = spaces.Dict(observation=image, achieved_goal=place, desired_goal=place)
        self.action_space = spaces.Discrete(len(MOVES))

    def initial(self, seeds: np.ndarray, options: Mapping[str, Any]) -> Nav2DState:
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}: Nav2D has none")
        return initial_state(draw_layouts(self.rules, seeds))

    def transition(self, state: Nav2DState, action: np.ndarray):
        next_state, reward, reached = transition(state, action, self.size)
        return next_state, reward, reached, next_state.step < 0  # only a time limit truncates

    def observe(self, state: Nav2DState) -> Any:
        image = observe(state, self.size, self.goal_visible, not self.goal_conditioned)
        if not self.goal_conditioned:
            return image
        table = like(places(self.size), state.cell)
        return {"observation": image, "achieved_goal": table[state.cell], "desired_goal": table[state.goal]}

    def reset_info(self, state: Nav2DState) -> dict[str, np.ndarray]:
        return {"position": places(self.size)[state.cell], "goal": places(self.size)[state.goal]}

    def final_info(self, state: Nav2DState) -> dict[str, np.ndarray]:
        return {"is_success": state.cell == state.goal, "position": like(places(self.size), state.cell)[state.cell]}

    def optimal_action(self, state: Nav2DState) -> np.ndarray:
        return optimal_action(state, self.size)

    def optimal_return(self, state: Nav2DState, limit: int | None = None) -> np.ndarray:
        steps = state.distance[np.arange(len(state.start)), state.start].astype(np.float64)
        return 1 - steps if limit is None else np.where(steps <= limit, 1 - steps, -float(limit))

    def random_return(self, state: Nav2DState, limit: int | None = None) -> np.ndarray:
        n = len(state.start)
        if limit is None:
            return np.array([self._unlimited_random_return(state, i) for i in range(n)])
        rows = np.arange(n)
        next_state = destinations(state.obstacles, np.arange(self.size**2)[None], self.size)
        reward = np.where(next_state == state.goal[:, None, None], GOAL_REWARD, STEP_REWARD)
        values = np.zeros((n, self.size**2))
        for _ in range(limit):
            values = (reward + values[rows[:, None, None], next_state]).mean(axis=2)
            values[rows, state.goal] = 0  # the episode is over there
        return values[rows, state.start]

    def _unlimited_random_return(self, state: Nav2DState, index: int) -> float:
        obstacles = state.obstacles[index].reshape(self.size, self.size) > 0
        mdp = nav2d_mdp(obstacles, divmod(int(state.goal[index]), self.size))
        start = int((~obstacles.ravel()[: int(state.start[index])]).sum())  # states are the free cells
        return mdp.unlimited_return(np.full(mdp.reward.shape, 1 / mdp.num_actions), start)

    def frame(self, state: Nav2DState, index: int) -> np.ndarray:
        return draw(state, index, self.size)

    def caption(self, state: Nav2DState, index: int) -> str:
        left = int(state.distance[index, state.cell[index]])
        return f"Nav2D: step {state.step[index]}, {left} from the goal"


class Nav2DEnv(BatchedEnv):
    """Find the way to a goal among random obstacles, seen as a small image.

    ## Description
    An agent moves on a grid of 20 x 20 cells. Every episode draws 15 blocks of 2 x 2 cells, which may overlap and reach
    over the border, a start, and a goal at least 10 steps away (L1); layouts without a way are drawn again. Which
    obstacles matter depends on where the agent can go: two states are alike if what can be reached from them is.

    ## Action space
    ``Discrete(4)``: 0 = down, 1 = right, 2 = up, 3 = left. A move off the grid or into an obstacle leaves the agent
    where it is and costs a step.

    ## Observation space
    ``Box(0, 255, (20, 20, 3), uint8)``, row 0 on top, 255 where something is and 0 elsewhere: channel 0 obstacles,
    channel 1 the agent, channel 2 the goal (all 0 if ``goal_visible`` is False). The paper's networks see -1 and +1:
    map with ``x / 255 * 2 - 1``.

    ## Reward
    0 on the step that enters the goal, -1 on every other. The best return is 1 - d for a goal d steps away; failure is
    -50.

    ## Start and end
    Terminates on the goal (``info["is_success"]`` is True), also on the last step, which is truncated as well.
    Truncated after 50 steps (False).
    ``reset`` reports ``position`` and ``goal``, (row, column) each, and every step ``position`` and ``is_success``.

    ## Arguments
    * ``size``: cells per side, 4 to 60 (default 20).
    * ``num_obstacles``: blocks (default 15), and ``obstacle_size``: cells per side of a block (default 2).
    * ``min_goal_distance``: least L1 distance of start and goal, cells (default 10).
    * ``goal_visible``: whether channel 2 shows the goal (default True).
    * ``max_episode_steps``: time limit, -1 for none (default: 50 with ``gym.make``, which keeps it in a wrapper as for
      all environments, and in vector environments; none in this class, called directly). ``optimal_return`` and
      ``random_return`` are those of the limit in force.
    * ``render_mode``: "rgb_array" or "human".

    Vector environments also take ``num_envs`` and ``autoreset_mode`` ("SameStep", the default, "NextStep" or
    "Disabled"). Settings under which hardly any layout has a way are refused.

    ## Source
    Black, Chuck and Niekum, "Learning Interaction-Based Representations for Reinforcement Learning Using Recursive
    State Similarity Metrics", section V-A; number and shape of obstacles, the least distance and solvability are those
    of the authors' code. The frames are 0 and 255 where the paper's are -1 and +1, and channel last.

    ## Version history
    * v0: first version.
    """

    task: Nav2DTask
    offline_form = "bisimgym.envs.nav2d.data:CompactForm"

    def __init__(
        self,
        size: int = 20,
        num_obstacles: int = 15,
        obstacle_size: int = 2,
        min_goal_distance: int = 10,
        goal_visible: bool = True,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ):
        rules = LayoutRules(size, num_obstacles, obstacle_size, min_goal_distance)
        super().__init__(Nav2DTask(rules, goal_visible), render_mode, max_episode_steps)

    def mdp(self) -> FiniteMDP:
        """Return the current layout as arrays (see :func:`nav2d_mdp`)."""
        self._require_reset("mdp")
        size = self.task.size
        return nav2d_mdp(self.state.obstacles[0].reshape(size, size) > 0, divmod(int(self.state.goal[0]), size))


class Nav2DVectorEnv(TaskVectorEnv, of=Nav2DEnv, max_episode_steps=MAX_EPISODE_STEPS):
    pass


class Nav2DCorridorEnv(Nav2DEnv):
    """Nav2D in a corridor: obstacles that cannot be reached surround a free way.

    ## Description
    Rows 10 and 11 of a 20 x 20 grid are a free corridor between two walls (rows 9 and 12); the 15 random blocks remain
    above and below, where the agent never gets. Two layouts that differ only there behave alike in every state, though
    most of their pixels may differ.

    ## Action space
    ``Discrete(4)``: 0 = down, 1 = right, 2 = up, 3 = left, as in ``Nav2D``.

    ## Observation space
    ``Box(0, 255, (20, 20, 3), uint8)``, as in ``Nav2D``: obstacles, agent and goal.

    ## Reward
    As in ``Nav2D``: 0 on the step that enters the goal, -1 on every other.

    ## Start and end
    The agent starts at row 11, column 10. The goal is one of the corridor's cells at least 10 steps away, drawn
    uniformly. The end is as in ``Nav2D``: on the goal, or after 50 steps.

    ## Arguments
    ``goal_visible``, ``max_episode_steps`` and ``render_mode``, as in ``Nav2D``.

    ## Source
    The setting of Figure 5 of the paper behind ``Nav2D``, as in the authors' code. That the goal lies in the corridor
    is ours; the paper's figure does not need one.

    ## Version history
    * v0: first version.
    """

    def __init__(self, goal_visible: bool = True, max_episode_steps: int | None = None, render_mode: str | None = None):
        BatchedEnv.__init__(self, Nav2DTask(LayoutRules(corridor=True), goal_visible), render_mode, max_episode_steps)


class Nav2DCorridorVectorEnv(TaskVectorEnv, of=Nav2DCorridorEnv, max_episode_steps=MAX_EPISODE_STEPS):
    pass


def _reward_of_goals(achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any = None) -> Any:
    """Return ``float64[...]`` (a float for single goals): 0 where goals, ``int[..., 2]`` each, are equal, else -1."""
    achieved_goal, desired_goal = np.asarray(achieved_goal), np.asarray(desired_goal)
    if achieved_goal.shape != desired_goal.shape or achieved_goal.shape[-1:] != (2,):
        raise ValueError(f"goals must both be int[..., 2], got shapes {achieved_goal.shape} and {desired_goal.shape}")
    reward = np.where((achieved_goal == desired_goal).all(axis=-1), GOAL_REWARD, STEP_REWARD)
    return float(reward) if reward.ndim == 0 else reward


class Nav2DGoalEnv(Nav2DEnv):
    """Nav2D with its goal apart, for hindsight experience replay.

    ## Description
    The task of ``Nav2D``; the observation is a dictionary in which the goal stands beside the image, so that replay can
    put another in its place. ``compute_reward`` gives the reward for any goal, vectorized.

    ## Action space
    ``Discrete(4)``: 0 = down, 1 = right, 2 = up, 3 = left, as in ``Nav2D``.

    ## Observation space
    ``Dict``:

    * ``observation``: ``Box(0, 255, (20, 20, 2), uint8)``, channel 0 obstacles, channel 1 the agent.
    * ``achieved_goal``: ``Box(0, 19, (2,), int64)``, row and column of the agent.
    * ``desired_goal``: ``Box(0, 19, (2,), int64)``, row and column of the goal.

    ## Reward
    As in ``Nav2D``: 0 on the step that enters the goal, -1 on every other;
    ``compute_reward(achieved_goal, desired_goal, info)`` is the same for any goals of shape ``[..., 2]``.

    ## Start and end
    As in ``Nav2D``.

    ## Arguments
    Those of ``Nav2D`` but ``goal_visible``.

    ## Source
    As ``Nav2D``. The authors relabel the goal channel of stored images, which is equivalent.

    ## Version history
    * v0: first version.
    """

    compute_reward = staticmethod(_reward_of_goals)

    def __init__(
        self,
        size: int = 20,
        num_obstacles: int = 15,
        obstacle_size: int = 2,
        min_goal_distance: int = 10,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ):
        rules = LayoutRules(size, num_obstacles, obstacle_size, min_goal_distance)
        BatchedEnv.__init__(self, Nav2DTask(rules, True, goal_conditioned=True), render_mode, max_episode_steps)


class Nav2DGoalVectorEnv(TaskVectorEnv, of=Nav2DGoalEnv, max_episode_steps=MAX_EPISODE_STEPS):
    compute_reward = staticmethod(_reward_of_goals)
