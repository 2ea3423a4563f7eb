"""Who acts while data are collected: an oracle, chance, a mix of a policy and chance, or any agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from bisimgym.envs.checks import fraction
from bisimgym.envs.seeds import uniforms

NAMES = ("oracle", "random", "epsilon-greedy")
#: Child of a stream's seed, so that exploration shares no numbers with the environment.
_EXPLORATION = 1


class Agent(Protocol):
    """The agent protocol: models of Stable-Baselines3 follow it as they are."""

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False):
        """Return a batch of actions and the next recurrent state."""


class Actor(Protocol):
    """One policy at work in N streams, step by step."""

    def act(self, envs: VectorEnv, observations: Any, starts: np.ndarray, step: int) -> np.ndarray:
        """Return N actions; ``starts`` is ``bool[N]``, which streams begin an episode; ``step`` counts from 0."""


@dataclass(frozen=True)
class Policy:
    """A checked policy.

    Attributes:
        name: as shown in the data set's information.
        needs_observations: whether it looks at observations at all.
        begin: from the seeds of N streams, ``int64[N]``, to the policy at work there.
    """

    name: str
    needs_observations: bool
    begin: Callable[[np.ndarray], Actor]


def make_policy(
    policy: str | Agent, epsilon: float | None, action_space: spaces.Space, has_oracle: bool, deterministic: bool
) -> Policy:
    """Return a policy that is checked against the environment.

    Args:
        policy: one of :data:`NAMES`, or an agent.
        epsilon: probability of a uniformly random action in its place; ``None`` is 0, and 0.1 for "epsilon-greedy",
            which is the oracle otherwise. Random actions are uniform over all, the best one included.
        deterministic: what agents are asked for.

    Raises:
        ValueError: for an unknown policy, an epsilon that does not go with it, or no oracle.
    """
    if not isinstance(policy, str):
        if not callable(getattr(policy, "predict", None)):
            raise ValueError(f"policy must be one of {list(NAMES)} or have predict(), got {policy!r}")
        agent = policy
        name = f"{type(agent).__module__}.{type(agent).__qualname__}"
        base: Callable[[np.ndarray], Actor] = lambda seeds: _AgentActor(agent, deterministic)  # noqa: E731
    elif policy == "random":
        if epsilon is not None:
            raise ValueError(f'epsilon is not for policy "random", which acts at random always, got {epsilon!r}')
        return Policy("random", False, lambda seeds: _Random(seeds, action_space))
    elif policy in NAMES:
        if policy == "oracle" and epsilon:
            raise ValueError(f'policy "oracle" has no epsilon, got {epsilon!r}: use "epsilon-greedy"')
        if not has_oracle:
            raise ValueError(
                f'policy "{policy}" needs an oracle, which this environment lacks: use "random" or an agent'
            )
        name, base = policy, lambda seeds: _Oracle(action_space)
        epsilon = 0.1 if epsilon is None and policy == "epsilon-greedy" else epsilon
    else:
        raise ValueError(f"unknown policy {policy!r}: choose from {', '.join(NAMES)}, or give an agent")
    share = fraction("epsilon", epsilon or 0.0)
    needs = not isinstance(policy, str)
    if share == 0:
        return Policy(name, needs, base)
    return Policy(name, needs, lambda seeds: _Mixture(base(seeds), share, _Random(seeds, action_space, extra=1)))


class _Random:
    """Uniform actions: each stream has random numbers of its own, whatever runs beside it."""

    def __init__(self, seeds: np.ndarray, space: spaces.Space, extra: int = 0):
        _check_bounded(space)
        self._space, self._extra = space, extra
        self._count = int(np.prod(space.shape or (), dtype=int))
        states = [np.random.SeedSequence([int(seed), _EXPLORATION]).generate_state(1, np.uint64)[0] for seed in seeds]
        self._streams = np.array(states, dtype=np.uint64)

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``float64[N, extra]`` uniform numbers and N actions."""
        each = self._extra + self._count
        numbers = uniforms(self._streams, each, step * each)
        return numbers[:, : self._extra], _uniform_action(self._space, numbers[:, self._extra :])

    def act(self, envs: VectorEnv, observations: Any, starts: np.ndarray, step: int) -> np.ndarray:
        return self.draw(step)[1]


class _Oracle:
    def __init__(self, space: spaces.Space):
        self._space = space

    def act(self, envs: VectorEnv, observations: Any, starts: np.ndarray, step: int) -> np.ndarray:
        inside: Any = envs.unwrapped
        # Vectors that hold environments have ``call``; native ones answer themselves.
        actions = inside.call("optimal_action") if hasattr(inside, "call") else inside.optimal_action()
        return np.asarray(actions, dtype=self._space.dtype)


class _AgentActor:
    def __init__(self, agent: Agent, deterministic: bool):
        self._agent, self._deterministic, self._state = agent, deterministic, None

    def act(self, envs: VectorEnv, observations: Any, starts: np.ndarray, step: int) -> np.ndarray:
        answer = self._agent.predict(
            observations, state=self._state, episode_start=starts, deterministic=self._deterministic
        )
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ValueError(f"the agent's predict must return (actions, state), got {answer!r}")
        action, self._state = answer
        given, space = np.asarray(action), envs.action_space
        if given.dtype.kind in "biuf" and given.shape == space.shape:
            actions = given.astype(space.dtype)
            exact = np.issubdtype(space.dtype, np.floating) or np.array_equal(given, actions)
            if exact and space.contains(actions):
                return actions
        raise ValueError(f"the agent gave actions {action!r}, which are not in {space}")


class _Mixture:
    def __init__(self, greedy: Actor, epsilon: float, chance: _Random):
        self._greedy, self._epsilon, self._chance = greedy, epsilon, chance

    def act(self, envs: VectorEnv, observations: Any, starts: np.ndarray, step: int) -> np.ndarray:
        coin, random = self._chance.draw(step)
        best = self._greedy.act(envs, observations, starts, step)
        explores = coin[:, 0] < self._epsilon
        return np.where(explores.reshape(-1, *[1] * (best.ndim - 1)), random, best)


def _check_bounded(space: spaces.Space) -> None:
    known = isinstance(space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))
    if not known and not (isinstance(space, spaces.Box) and space.is_bounded()):
        raise ValueError(f"random actions need a finite action space or a bounded Box, got {space}")


def _uniform_action(space: Any, numbers: np.ndarray) -> np.ndarray:
    """Return actions ``[N, *shape]`` from ``float64[N, size]`` uniform in [0, 1)."""
    values = numbers.reshape(-1, *space.shape)
    if isinstance(space, spaces.Discrete):
        return (space.start + (values * space.n)).astype(space.dtype)
    if isinstance(space, spaces.MultiDiscrete):
        return (space.start + values * space.nvec).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return (values * 2).astype(space.dtype)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if np.issubdtype(space.dtype, np.integer):
        return np.floor(low + values * (high - low + 1)).astype(space.dtype)
    return np.clip((low + values * (high - low)).astype(space.dtype), space.low, space.high)
