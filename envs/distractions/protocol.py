"""What distracting environments have in common: a sampler of observations, and the stream of their randomness."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from bisimgym.envs.checks import integer


@runtime_checkable
class Redistractable(Protocol):
    """Shows one clean state under as many distractions as asked for.

    Environments with noise on states and with distracting pixels offer it alike, so that measures of distraction, such
    as :func:`bisimgym.benchmarks.measures.denoising.denoising_factor`, need not know which one they see. Through
    wrappers it is found with ``env.get_wrapper_attr("redistract")``.
    """

    def clean_state(self) -> Any:
        """Return a snapshot of the current state without its distraction, which can be pickled and outlives steps."""

    def redistract(self, clean_state: Any, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return independent observations of one clean state, each under a fresh distraction.

        Neither the environment's state nor its random streams change.

        Args:
            clean_state: of :meth:`clean_state`, from this environment or an equal one.
            count: how many, at least 1.
            rng: draws the distractions.

        Returns:
            ``[count, *observation_space.shape]`` of the dtype of ``observation_space``.
        """


def distraction_generator(seed: int | None, stream: int) -> np.random.Generator:
    """Return the random stream of a distraction: a child of an environment's seed, apart from the task's own stream.

    The task's trajectory is then the same with and without the distraction.

    Args:
        seed: of ``reset``; None takes fresh entropy, as Gymnasium does.
        stream: one number for each kind of distraction. It should be large: small ones are the children that
            ``SeedSequence(seed).spawn`` may have given to the task.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))


def require_clean(env: gym.Env, wrapper: str, setting: str) -> None:
    """Raise ``ValueError`` if an environment distracts its observations already, where ``setting`` would do it."""
    if env.has_wrapper_attr("redistract"):
        raise ValueError(
            f"{wrapper} needs a clean environment, but {env} distracts its observations already: wrap the environment "
            f"inside, or set the {setting} there"
        )


def check_count(count: int) -> None:
    """Raise ``ValueError`` unless ``count`` is a number of observations that :class:`Redistractable` can draw."""
    integer("count", count, 1)
