"""The distractor dial: a small grid seen through pictures with one distractor, of a kind that one chooses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from bisimgym.envs import drawing
from bisimgym.envs.array_task import ArrayTask, BatchedEnv
from bisimgym.envs.batched_vector import TaskVectorEnv
from bisimgym.envs.checks import fraction, integer
from bisimgym.envs.distractor_dial import process
from bisimgym.envs.distractor_dial.process import CELL, PHASES, STAY, Dials
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.nav2d.layouts import places
from bisimgym.envs.seeds import uniform_at, uniforms

MAX_EPISODE_LENGTH = 1000


@dataclass(frozen=True)
class DialState:
    """N episodes.

    Attributes:
        start: ``int64[N]``, the state number of the start.
        cell, phase: ``int64[N]``, where the agent is, and the distractor.
        step: ``int64[N]``.
        seed: ``uint64[N]``, of the episode.
    """

    start: np.ndarray
    cell: np.ndarray
    phase: np.ndarray
    step: np.ndarray
    seed: np.ndarray


class DistractorDialTask(ArrayTask[DialState]):
    """The array task behind both environments."""

    render_fps = 8
    informs_every_step = True

    def __init__(self, dials: Dials, strength: float, episode_length: int):
        self.dials = dials
        self.strength = fraction("strength", strength)
        self.episode_length = integer("episode_length", episode_length, 1, MAX_EPISODE_LENGTH)
        self.observation_space = spaces.Box(0, 255, process.pictures(dials.size, self.strength).shape[1:], np.uint8)
        self.action_space = spaces.Discrete(STAY + 1)

    def initial(self, seeds: np.ndarray, options: Mapping[str, Any]) -> DialState:
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}: the distractor dial has none")
        places_but_goal = self.dials.size**2 - 1
        cell, phase = (uniforms(seeds, 2) * [places_but_goal, PHASES]).astype(np.int64).T
        return DialState(cell * PHASES + phase, cell, phase, np.zeros_like(cell), seeds)

    def transition(self, state: DialState, action: np.ndarray):
        reward = process.reward_of(self.dials, state.cell, state.phase)
        phase = (state.phase + 1) % PHASES
        if not self.dials.predictable:  # numbers 0 and 1 of the episode's stream are its start
            phase = (uniform_at(state.seed, state.step + 2) * PHASES).astype(np.int64)
        next_state = dataclasses.replace(
            state,
            cell=process.next_cell(self.dials.size, state.cell, action),
            phase=np.where(process.moves_on(self.dials, action), phase, state.phase),
            step=state.step + 1,
        )
        return next_state, reward, np.zeros(len(action), dtype=bool), next_state.step >= self.episode_length

    def observe(self, state: DialState) -> np.ndarray:
        return process.pictures(self.dials.size, self.strength)[state.cell * PHASES + state.phase]

    def reset_info(self, state: DialState) -> dict[str, np.ndarray]:
        return {"position": places(self.dials.size)[state.cell], "phase": state.phase}

    final_info = reset_info

    def optimal_action(self, state: DialState) -> np.ndarray:
        left = np.maximum(self.episode_length - state.step, 1)  # 1: of what follows the end
        return process.oracle(self.dials, self.episode_length)[left - 1, state.cell * PHASES + state.phase]

    def optimal_return(self, state: DialState, limit: int | None = None) -> np.ndarray:
        return self._returns(limit)[0][state.start]

    def random_return(self, state: DialState, limit: int | None = None) -> np.ndarray:
        return self._returns(limit)[1][state.start]

    def _returns(self, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
        steps = self.episode_length if limit is None else min(limit, self.episode_length)
        return process.returns(self.dials, self.episode_length, steps)

    def frame(self, state: DialState, index: int) -> np.ndarray:
        return draw(self.dials.size, self.strength, int(state.cell[index]), int(state.phase[index]))

    def caption(self, state: DialState, index: int) -> str:
        lit = "lit" if process.is_lit(state.phase[index]) else "dark"
        return f"Distractor dial: step {state.step[index]}, distractor {lit}"


_GROUND, _STRIPE, _AGENT, _GOAL = (24, 28, 48), (128, 135, 168), (250, 206, 92), (90, 150, 230)
_LIT, _DARK = (250, 238, 190), (60, 66, 96)


def draw(size: int, strength: float, cell: int, phase: int, width: int = 480) -> np.ndarray:
    """Return an image of a state for people, ``uint8[P, P, 3]``, P about ``width``.

    Stripes are as bright as ``strength`` has them; the agent is a disc, the goal a ring, and the dot in the corner
    tells the light of the distractor also where its stripes are not seen.
    """
    scale = width // (size * CELL)
    side = size * CELL
    across = np.add.outer(np.arange(side), np.arange(side))
    striped = ((across + phase) % PHASES < PHASES // 2)[..., None]
    colors = np.array(_GROUND) + striped * strength * (np.array(_STRIPE) - _GROUND)
    image = drawing.enlarge(colors.astype(np.uint8), scale)

    def disc(place: int, color: drawing.Color, radius: float) -> None:
        y, x = (places(size)[place] + 0.5) * scale * CELL
        drawing.disc(image, x, y, radius * scale * CELL, color)

    for color, radius in ((_GOAL, 0.45), (_GROUND, 0.3)):
        disc(size**2 - 1, color, radius)
    disc(cell, _AGENT, 0.28)
    drawing.disc(image, 0.5 * scale, 0.5 * scale, 0.35 * scale, _LIT if process.is_lit(np.array(phase)) else _DARK)
    return image


class DistractorDialEnv(BatchedEnv):
    """Go to a goal past a distractor that is controllable or not, relevant or not, predictable or not.

    ## Description
    An agent moves on a grid of 5 x 5 cells. Stripes behind it, the distractor, have eight phases; in phases 0, 1, 4 and
    5 the distractor is lit. What the stripes do and whether they matter are dials. A state is a cell and a phase: 200,
    few enough to solve every metric exactly.

    | | predictable | not predictable |
    | --- | --- | --- |
    | not controllable | every step leads to the next phase | every step leads to any phase, alike |
    | controllable | staying leads to the next phase, moves to none | staying leads to any phase, alike |

    What is known of the metrics of ``mdp()``, with a discount g:

    * With ``correlation=0`` the distractor is irrelevant, controllable or not, predictable or not: bisimulation,
      on-policy bisimulation of random actions, MICo of random actions and the policy similarity metric of the optimal
      policy are those of the bare grid, in which phases do not occur.
    * With ``correlation=1`` the grid is irrelevant: bisimulation and MICo of random actions are those of phases.
    * A distractor that is not controllable changes no optimal action: with any ``correlation`` below 1 the policy
      similarity metric of the optimal policy is that of the grid.
    * ``strength`` changes pixels, and no metric.
    * Phases z and z + 4 behave alike under all dials, though their stripes are opposite.
    * Bisimulation of two phases z and z' in the same cell is as follows, where w is the distractor's share of the
      reward, and D(k) is 1 if just one of the phases z + k and z' + k is lit, else 0; it is 0 if D never is 1:

    | | predictable | not predictable |
    | --- | --- | --- |
    | not controllable | w (D(0) + g D(1) + ... + g^7 D(7)) / (1 - g^8) | w D(0) |
    | controllable | w g^k / (1 - g) with the first k at which D(k) = 1 | w D(0) / (1 - g) |

    ## Action space
    ``Discrete(5)``: 0 = down, 1 = right, 2 = up, 3 = left, 4 = stay. A move off the grid leaves the agent where it is.

    ## Observation space
    ``Box(0, 255, (10, 10, 3), uint8)``, RGB, row 0 on top, two pixels along each side of a cell: the agent red, the
    goal green, stripes gray, of brightness ``255 * strength``, rounded, where they are light and black elsewhere.
    States look different unless the stripes are black too: the distractor of ``strength=0`` is there and is not seen.

    ## Reward
    (1 - w) if the agent acts on the goal, and w if it acts while the distractor is lit: 0, 1 - w, w or 1. The weight w
    makes the correlation of reward and light, over all states taken alike, the one that was asked for.

    ## Start and end
    The agent starts in any cell but the goal, the lower right one, and the distractor in any phase, alike. Nothing
    terminates; the episode is truncated after ``episode_length`` steps. Actions and seed alone determine where the
    agent is: episodes with other dials are paired. ``reset`` and every step report ``position`` (row, column) and
    ``phase``.

    ## Arguments
    * ``controllable``: whether the agent moves the distractor on (default False).
    * ``predictable``: whether its next phase is certain (default True).
    * ``correlation``: of the distractor's light with the reward, 0 (default) to 1: 0 is irrelevant.
    * ``strength``: brightness of the stripes, 0 to 1 (default).
    * ``size``: cells per side, 3 to 12 (default 5).
    * ``episode_length``: steps, 1 to 1000 (default 50). The oracle plays for it, also under a lower time limit.
    * ``render_mode``: "rgb_array" or "human".

    Vector environments also take ``num_envs`` and ``autoreset_mode`` ("SameStep", the default, "NextStep" or
    "Disabled").

    ## Source
    Ours. That distractors differ in being controllable and in being relevant to reward is after Wang et al. (2022),
    "Denoised MDPs: Learning World Models Better Than the World Itself". Theirs are several at once.

    ## Version history
    * v0: first version.
    """

    task: DistractorDialTask

    def __init__(
        self,
        controllable: bool = False,
        predictable: bool = True,
        correlation: float = 0.0,
        strength: float = 1.0,
        size: int = 5,
        episode_length: int = 50,
        render_mode: str | None = None,
    ):
        dials = Dials(controllable, predictable, correlation, size)
        super().__init__(DistractorDialTask(dials, strength, episode_length), render_mode)

    def mdp(self) -> FiniteMDP:
        """Return the process as arrays, without the end of episodes (see :func:`dial_mdp`)."""
        return process.dial_mdp(self.task.dials)


class DistractorDialVectorEnv(TaskVectorEnv, of=DistractorDialEnv):
    pass
