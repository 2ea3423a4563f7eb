"""Noise on the flat observations of any environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from bisimgym.envs.distractions.noise import ObservationNoise
from bisimgym.envs.distractions.protocol import check_count, distraction_generator, require_clean

#: Child of the seed of ``reset`` that draws the noise.
_NOISE_STREAM = 0x6E6F6973


class _NoisyObservation(gym.Wrapper, RecordConstructorArgs):
    """Shows flat observations by the law of an :class:`ObservationNoise`."""

    def __init__(self, env: gym.Env, noise: ObservationNoise):
        gym.Wrapper.__init__(self, env)
        self.noise = noise
        size = noise.output_size(_flat_size(env, type(self).__name__))
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self._rng: np.random.Generator | None = None
        self._clean: np.ndarray | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None or self._rng is None:
            self._rng = distraction_generator(seed, _NOISE_STREAM)
        return self._distract(observation), self._informed(info)

    def step(self, action):
        if self._rng is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._distract(observation), reward, terminated, truncated, self._informed(info)

    def clean_state(self) -> np.ndarray:
        """Return the current observation without noise, as the wrapped environment gave it: ``float[d]``."""
        if self._clean is None:
            raise gym.error.ResetNeeded("call reset() before clean_state()")
        return self._clean.copy()

    def redistract(self, clean_state: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``float32[count, m]``: observations of one clean state, each with noise of its own.

        Args:
            clean_state: ``float[d]``, of :meth:`clean_state`.
            count: at least 1.
            rng: draws the noise.

        Raises:
            ValueError: for a state of another shape or a count below 1.
        """
        check_count(count)
        clean, shape = np.asarray(clean_state), self.env.observation_space.shape
        if clean.shape != shape:
            raise ValueError(f"clean_state must have shape {shape}, got {clean.shape}")
        return self.noise.apply(np.broadcast_to(clean, (count, *shape)), rng)

    def _distract(self, observation: np.ndarray) -> np.ndarray:
        assert self._rng is not None
        self._clean = np.array(observation)  # a copy: some environments write each observation into the same memory
        return self.noise.apply(self._clean, self._rng)

    def _informed(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "clean_observation": self.clean_state()}


class GaussianNoise(_NoisyObservation):
    """Appends independent Gaussian entries to flat observations: ``o = [s ; n]``, n ~ N(mean, std^2 I).

    The noise is fresh at every reset and step. It comes from a stream of its own that follows from ``reset(seed=)``, so
    that states, rewards and endings are those of the wrapped environment, bit for bit. Observations are
    ``float32[d + dimensions]``; ``info["clean_observation"]`` is s, ``float[d]``, at every reset and step. The wrapper
    is a :class:`~bisimgym.envs.distractions.protocol.Redistractable`.

    Source: Luo, Ni, Bacon, Precup and Si (2025), the study of metric learning under noise, arXiv 2506.00563,
    whose settings are 2, 16, 32, 64 and 128 dimensions with ``std`` 1, and ``std`` 0.2, 1, 2, 4 and 8 with 32.

    Args:
        env: with flat observations (a ``Box`` of one axis).
        dimensions: number of noise entries, at least 0; with 0 the observations are the clean ones, as float32.
        std: standard deviation of each.
        mean: of each.

    Raises:
        ValueError: for other observations, an environment that is distracted already, or a number out of range.

    Example:
        Out of distribution, the environment for evaluation has another mean or scale:

        >>> import gymnasium as gym
        >>> from bisimgym.wrappers import GaussianNoise
        >>> env = GaussianNoise(gym.make("CartPole-v1"), dimensions=32)
        >>> shifted = GaussianNoise(gym.make("CartPole-v1"), dimensions=32, mean=1.0)
    """

    def __init__(self, env: gym.Env, dimensions: int = 32, std: float = 1.0, mean: float = 0.0):
        noise = ObservationNoise(dimensions, std, mean)
        RecordConstructorArgs.__init__(self, dimensions=noise.dimensions, std=noise.std, mean=noise.mean)
        super().__init__(env, noise)


class RandomProjection(_NoisyObservation):
    """Mixes flat observations with Gaussian noise by a random matrix: ``o = A [s ; n]``, n ~ N(mean, std^2 I).

    It draws the noise itself: wrap the clean environment, not a :class:`GaussianNoise`. The noise is fresh at every
    reset and step, and seeded as there; A has entries from N(0, 1) and depends on ``projection_seed`` and the sizes
    alone, so that all environments of a run share it (see
    :func:`~bisimgym.envs.distractions.noise.random_projection_matrix`). Observations are ``float32[rows]``;
    ``info["clean_observation"]`` is s, ``float[d]``. ``noise.projection`` is A.

    Source: as of :class:`GaussianNoise`; its matrix is square.

    Args:
        env: with flat observations (a ``Box`` of one axis) of d entries.
        dimensions, std, mean: of the noise, as in :class:`GaussianNoise`.
        rows: size of the observation, at least d + dimensions (default: that number).
        projection_seed: of A, at least 0.

    Raises:
        ValueError: for other observations, an environment that is distracted already, or a number out of range.

    Example:
        Out of distribution by the mean and the scale of the noise under the same matrix, or by another matrix:

        >>> import gymnasium as gym
        >>> from bisimgym.wrappers import RandomProjection
        >>> def make(**law):
        ...     return RandomProjection(gym.make("CartPole-v1"), **law)
        >>> training, same_law = make(projection_seed=3), make(projection_seed=3)
        >>> shifted, scaled = make(projection_seed=3, mean=1.0), make(projection_seed=3, std=4.0)
        >>> other_matrix = make(projection_seed=4)
    """

    def __init__(
        self,
        env: gym.Env,
        dimensions: int = 32,
        std: float = 1.0,
        mean: float = 0.0,
        rows: int | None = None,
        projection_seed: int = 0,
    ):
        size = _flat_size(env, type(self).__name__)
        noise = ObservationNoise(dimensions, std, mean).projected(size, rows, projection_seed)
        RecordConstructorArgs.__init__(
            self,
            dimensions=noise.dimensions,
            std=noise.std,
            mean=noise.mean,
            rows=None if rows is None else int(rows),
            projection_seed=int(projection_seed),
        )
        super().__init__(env, noise)


def _flat_size(env: gym.Env, wrapper: str) -> int:
    """Return the number of entries of the observations, or raise ``ValueError`` if they cannot be wrapped."""
    space = env.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"{wrapper} needs flat observations, a Box of one axis, got {space}: wrap the environment in "
            "gymnasium.wrappers.FlattenObservation first"
        )
    require_clean(env, wrapper, "distraction")
    return space.shape[0]
