"""The jumping task from pixels, plain and with colored obstacles: tasks, oracle and environments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from bisimgym.envs import drawing
from bisimgym.envs.array_task import ArrayTask, BatchedEnv
from bisimgym.envs.batched_vector import TaskVectorEnv
from bisimgym.envs.checks import choice, integer
from bisimgym.envs.finite_mdp import FiniteMDP, enumerate_deterministic
from bisimgym.envs.jumping import dynamics
from bisimgym.envs.jumping.dynamics import COLORS, GREEN, RED, SCREEN, WHITE, JumpingState
from bisimgym.envs.jumping.grids import split_tasks
from bisimgym.envs.seeds import first_uniforms


def jumping_mdp(obstacle_position: int, floor_height: int, color: str = "white", skip_air: bool = False) -> FiniteMDP:
    """Return every reachable state of one task as a deterministic :class:`FiniteMDP`.

    States are (x, height, phase, touched), the start first and one absorbing, reward-free terminal state last. The
    floor height moves the image only, never the dynamics. With ``skip_air`` a jump is one step, and all states but
    the last are on the ground.

    Raises:
        ValueError: for a task outside the class's range or an unknown color.
    """
    _check_task(obstacle_position, floor_height)
    choice("color", color, COLORS)
    start = dynamics.initial_state(obstacle_position, floor_height, COLORS.index(color))

    def key(state: JumpingState, i: int) -> tuple[int, int, int, bool]:
        return int(state.x[i]), int(state.height[i]), int(state.phase[i]), bool(state.touched[i])

    def name(state_key: tuple[int, int, int, bool]) -> str:
        x, height, phase, touched = state_key
        return f"x={x} h={height} {('ground', 'up', 'down')[phase]}" + (" touched" if touched else "")

    return enumerate_deterministic(start, _dynamics(skip_air), key, name, num_actions=2)


def _dynamics(skip_air: bool) -> Callable[[JumpingState, np.ndarray], tuple[JumpingState, np.ndarray, np.ndarray]]:
    return dynamics.transition_to_ground if skip_air else dynamics.transition


def jumping_union(tasks: Sequence[tuple[int, int] | tuple[int, int, str]]) -> FiniteMDP:
    """Return several tasks side by side as one process.

    Args:
        tasks: (obstacle position, floor height), or with a color as third, each task once. Part k of the process is
            task k, and ``offsets[k]`` its start state.

    Raises:
        ValueError: for no tasks, one twice, one outside the class's range, or an unknown color.
    """
    different = len({(*task, "white")[:3] for task in tasks})
    if not len(tasks) or different != len(tasks):
        raise ValueError(f"tasks must be at least one, and each once; got {len(tasks)}, {different} different")
    return FiniteMDP.union({f"({', '.join(map(str, task))})": jumping_mdp(*task) for task in tasks})


@functools.cache
def _returns(obstacle_position: int, color: int, skip_air: bool, limit: int) -> tuple[float, float]:
    """Return the oracle's return and the expected one of uniformly random actions, undiscounted, in so many steps."""
    mdp = jumping_mdp(obstacle_position, 0, COLORS[color], skip_air)
    uniform = np.full((mdp.num_states, mdp.num_actions), 1 / mdp.num_actions)
    oracle, random = (mdp.policy_returns(p, limit)[0] for p in (mdp.optimal_policy(discount=1.0), uniform))
    return float(oracle), float(random)


class JumpingTask(ArrayTask[JumpingState]):
    """The array task behind both environments: which tasks are drawn, and the functions above as methods."""

    render_fps = 15
    takes_tensors = True

    def __init__(
        self,
        obstacle_position: int | None,
        floor_height: int | None,
        grid: str | None,
        split: str | None,
        grid_seed: int | None,
        skip_air: bool,
        colors: Sequence[int],
    ):
        self.skip_air = bool(skip_air)
        self.colors = tuple(colors)
        self.channels = 1 if self.colors == (WHITE,) else 3
        if obstacle_position is None and floor_height is None:
            tasks = split_tasks("all" if grid is None else grid, "train" if split is None else split, grid_seed)
        elif obstacle_position is None or floor_height is None:
            raise ValueError(
                "a fixed task needs both obstacle_position and floor_height, got "
                f"obstacle_position={obstacle_position}, floor_height={floor_height}"
            )
        else:
            if (grid, split, grid_seed) != (None, None, None):
                raise ValueError(
                    "give either a fixed task (obstacle_position and floor_height) or a grid (grid, split, grid_seed), "
                    f"not both: got grid={grid!r}, split={split!r}, grid_seed={grid_seed!r}"
                )
            _check_task(obstacle_position, floor_height)
            tasks = ((int(obstacle_position), int(floor_height)),)
        #: ``int64[K, 3]``: obstacle position, floor height and color of every task that an episode can draw.
        self.tasks = np.array([(p, f, c) for c in self.colors for p, f in tasks], dtype=np.int64)
        self.observation_space = spaces.Box(0, 255, (SCREEN, SCREEN, 2 * self.channels), np.uint8)
        self.action_space = spaces.Discrete(2)

    def initial(self, seeds: np.ndarray, options: Mapping[str, Any]) -> JumpingState:
        options = dict(options)
        fixed = {key: options.pop(key, None) for key in ("obstacle_position", "floor_height", "color")}
        if options:
            raise ValueError(
                f"unknown reset options {sorted(options)}: known are obstacle_position, floor_height"
                + (" and color" if self.channels > 1 else "")
            )
        drawn = self.tasks[(first_uniforms(seeds) * len(self.tasks)).astype(np.int64)]
        if (fixed["obstacle_position"] is None) != (fixed["floor_height"] is None):
            raise ValueError("reset options need both obstacle_position and floor_height, or neither")
        if fixed["obstacle_position"] is not None:
            _check_task(fixed["obstacle_position"], fixed["floor_height"])
            drawn[:, 0], drawn[:, 1] = fixed["obstacle_position"], fixed["floor_height"]
        if fixed["color"] is not None:
            drawn[:, 2] = self._color_option(fixed["color"])
        return dynamics.initial_state(drawn[:, 0], drawn[:, 1], drawn[:, 2])

    def _color_option(self, value: Any) -> np.ndarray:
        names = np.atleast_1d(np.asarray(value, dtype=object))
        known = [COLORS[c] for c in ((RED, GREEN) if self.channels > 1 else (WHITE,))]
        for name in names:
            choice("options['color']", name, known)
        return np.array([COLORS.index(name) for name in names])

    def transition(self, state: JumpingState, action: np.ndarray):
        next_state, reward, terminated = _dynamics(self.skip_air)(state, action)
        return next_state, reward, terminated, next_state.x < 0  # it is never truncated

    def observe(self, state: JumpingState) -> np.ndarray:
        return dynamics.observe(state, self.channels)

    def reset_info(self, state: JumpingState) -> dict[str, np.ndarray]:
        info = {"obstacle_position": state.obstacle_position.copy(), "floor_height": state.floor_height.copy()}
        if self.channels > 1:
            info["color"] = np.array(COLORS, dtype=object)[state.color]
        return info

    def final_info(self, state: JumpingState) -> dict[str, np.ndarray]:
        exited = (state.x >= dynamics.EXIT_X) & ~dynamics.overlaps(state.x, state.height, state.obstacle_position)
        return {"is_success": exited & ((state.color != GREEN) | state.touched_on_floor)}

    def optimal_action(self, state: JumpingState) -> np.ndarray:
        return dynamics.optimal_action(state)

    def optimal_return(self, state: JumpingState, limit: int | None = None) -> np.ndarray:
        return self._start_returns(state, limit)[:, 0]

    def random_return(self, state: JumpingState, limit: int | None = None) -> np.ndarray:
        return self._start_returns(state, limit)[:, 1]

    def _start_returns(self, state: JumpingState, limit: int | None) -> np.ndarray:
        steps = dynamics.EXIT_X if limit is None else min(limit, dynamics.EXIT_X)  # every step moves one pixel or more
        tasks = zip(state.obstacle_position.tolist(), state.color.tolist(), strict=True)
        return np.array([_returns(position, color, self.skip_air, steps) for position, color in tasks])

    def frame(self, state: JumpingState, index: int) -> np.ndarray:
        return draw(state, index)

    def caption(self, state: JumpingState, index: int) -> str:
        color = f", {COLORS[state.color[index]]}" if self.channels > 1 else ""
        return f"Jumping task: obstacle at {state.obstacle_position[index]}, floor {state.floor_height[index]}{color}"


def _check_task(obstacle_position: Any, floor_height: Any) -> None:
    for name, value, allowed in (
        ("obstacle_position", obstacle_position, dynamics.POSITION_RANGE),
        ("floor_height", floor_height, dynamics.FLOOR_RANGE),
    ):
        for item in np.ravel(value).tolist():
            integer(name, item, allowed[0], allowed[-1])


_SKY, _EARTH, _TURF = (24, 28, 48), (54, 46, 62), (150, 142, 176)
_AGENT, _EXIT = (250, 206, 92), (90, 150, 230)
_OBSTACLE = {WHITE: (176, 182, 198), RED: (226, 86, 86), GREEN: (88, 186, 104)}


def draw(state: JumpingState, index: int, scale: int = 8) -> np.ndarray:
    """Return an image of one state for people, ``uint8[60 * scale, 60 * scale, 3]`` (the agent sees other colors)."""
    floor, height = int(state.floor_height[index]), int(state.height[index])
    x, position = int(state.x[index]), int(state.obstacle_position[index])
    image = drawing.canvas(SCREEN, SCREEN, _SKY)
    drawing.rectangle(image, 0, 0, SCREEN, floor + 1, _EARTH)
    drawing.rectangle(image, SCREEN - 1, floor, 1, SCREEN - floor, _EXIT)
    drawing.rectangle(image, x, floor + height, dynamics.AGENT_WIDTH, dynamics.AGENT_HEIGHT, _AGENT)
    drawing.rectangle(
        image, position, floor, dynamics.OBSTACLE_WIDTH, dynamics.OBSTACLE_HEIGHT, _OBSTACLE[int(state.color[index])]
    )
    drawing.rectangle(image, 0, floor, SCREEN, 1, _TURF)
    return drawing.enlarge(image, scale)


class JumpingTaskEnv(BatchedEnv):
    """Jump over an obstacle at the one right moment, seen from pixels.

    ## Description
    An agent (5 x 10 pixels) walks to the right on a floor and must jump over an obstacle (9 x 10 pixels). A jump takes
    32 steps, rises to 16 pixels and clears the obstacle only when it starts exactly 14 pixels before it. Tasks differ
    in where the obstacle stands and how high the floor is. The floor height changes every pixel and no optimal action;
    states of two tasks behave alike when the agent is equally far from the obstacle.

    ## Action space
    ``Discrete(2)``: 0 = right, 1 = jump. Every step moves one pixel to the right; actions in the air are ignored.

    ## Observation space
    ``Box(0, 255, (60, 60, 2), uint8)``, top row first. Channel 0 is the previous frame (black at the first step),
    channel 1 the current one. Agent, outline and floor are 255, the obstacle 128, the background 0.

    ## Reward
    +1 per step; +101 on the step that reaches the exit (x = 56); -1 on the step that touches the obstacle.
    The best return is 156 on every task.

    ## Start and end
    The agent starts on the floor at x = 0. The episode terminates at the exit (``info["is_success"]`` is True) or when
    the agent touches the obstacle (False). It is never truncated: x grows with every step.

    ## Arguments
    * ``obstacle_position`` (14 to 47) and ``floor_height`` (0 to 40), pixels: one fixed task; or
    * ``grid``: "wide", "narrow", "random" or "all" (default), and ``split``: "train" (default), "validation", "test" or
      "all": every episode draws one of these tasks uniformly. ``grid_seed`` seeds the random grid (default 1).
    * ``skip_air``: True makes a jump one step, with the rewards of its steps in the air added up. The policies are the
      same and so are their returns; discounts count decisions then.
    * ``render_mode``: "rgb_array" or "human".

    ``reset(options={"obstacle_position": p, "floor_height": f})`` plays one task once. ``reset`` reports the task in
    its info. Vector environments also take ``num_envs`` and ``autoreset_mode`` ("SameStep", the default, "NextStep" or
    "Disabled"), and options may hold one value per sub-environment.

    ## Source
    Agarwal et al. (2021), section 5 and appendix G. The frames are 0 / 128 / 255 where the paper's are 0 / 0.5 / 1, and
    row 0 is the top of the image.

    ## Version history
    * v0: first version.
    """

    task: JumpingTask

    def __init__(
        self,
        obstacle_position: int | None = None,
        floor_height: int | None = None,
        grid: str | None = None,
        split: str | None = None,
        grid_seed: int | None = None,
        skip_air: bool = False,
        render_mode: str | None = None,
    ):
        task = JumpingTask(obstacle_position, floor_height, grid, split, grid_seed, skip_air, colors=[WHITE])
        super().__init__(task, render_mode)

    def mdp(self) -> FiniteMDP:
        """Return the current task as arrays (see :func:`jumping_mdp`)."""
        self._require_reset("mdp")
        state = self.state
        position, floor, color = (int(a[0]) for a in (state.obstacle_position, state.floor_height, state.color))
        return jumping_mdp(position, floor, COLORS[color], self.task.skip_air)


class JumpingTaskVectorEnv(TaskVectorEnv, of=JumpingTaskEnv):
    pass


class JumpingTaskColorsEnv(JumpingTaskEnv):
    """The jumping task with red obstacles to jump over and green ones to walk into.

    ## Description
    As ``JumpingTask``, in color. A red obstacle must be jumped over. A green obstacle does not end the episode: walking
    into it from the floor is worth +100, once. The same image in another color asks for another behavior.

    ## Action space
    ``Discrete(2)``: 0 = right, 1 = jump.

    ## Observation space
    ``Box(0, 255, (60, 60, 6), uint8)``, top row first: channels 0 to 2 are the previous RGB frame (black at the first
    step), 3 to 5 the current one. Agent, outline and floor are white; the obstacle is (128, 0, 0) or (0, 128, 0).

    ## Reward
    Red: as ``JumpingTask``; the best return is 156. Green: +1 per step, +101 on the exit step; the step of the first
    touch gives -1, and +100 with it if the agent is on the floor. The best return is 254.

    ## Start and end
    As ``JumpingTask``, but touching a green obstacle does not terminate. ``info["is_success"]`` at the end: the exit
    was reached, and a green obstacle was walked into from the floor.

    ## Arguments
    Those of ``JumpingTask``, and ``color``: "red", "green" or "both" (default: every episode draws one). ``color`` is
    also a reset option.

    ## Source
    Agarwal et al. (2021), section 5.3 and appendix G.2. The paper's code stacks frames on a fifth axis, which feeds
    rows to the convolution as a batch; here the two RGB frames are six channels.

    ## Version history
    * v0: first version.
    """

    def __init__(
        self,
        obstacle_position: int | None = None,
        floor_height: int | None = None,
        grid: str | None = None,
        split: str | None = None,
        grid_seed: int | None = None,
        skip_air: bool = False,
        color: str = "both",
        render_mode: str | None = None,
    ):
        task = JumpingTask(obstacle_position, floor_height, grid, split, grid_seed, skip_air, _colors(color))
        BatchedEnv.__init__(self, task, render_mode)


class JumpingTaskColorsVectorEnv(TaskVectorEnv, of=JumpingTaskColorsEnv):
    pass


def _colors(color: str) -> tuple[int, ...]:
    known = {"red": (RED,), "green": (GREEN,), "both": (RED, GREEN)}
    return known[choice("color", color, known)]
