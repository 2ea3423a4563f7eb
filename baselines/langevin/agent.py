"""A trained model as an online agent of ``bisimgym/MarkovSignal-v0``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch as th

from bisimgym.baselines.langevin.model import NeuralLangevinDynamics


class SignalState(NamedTuple):
    """What an agent remembers of N episodes.

    Attributes:
        hidden: ``float32[N, H]``, GRU states.
        latent: ``float32[N, S]``, latent states: positions, and momenta if there are any.
    """

    hidden: np.ndarray
    latent: np.ndarray


class SignalAgent:
    """Guesses hidden states one frame at a time, along the paths that ``encode`` gives without noise.

    An agent of the protocol of Stable-Baselines3. It keeps nothing between calls: what it remembers is the ``state``
    that ``predict`` takes and returns.

    Args:
        model: trained.
        labeller: maps positions ``float32[N, d]`` to guesses ``int[N]``.
    """

    def __init__(self, model: NeuralLangevinDynamics, labeller: Callable[[np.ndarray], np.ndarray]):
        self.model, self.labeller = model, labeller

    def predict(
        self,
        observation: np.ndarray,
        state: SignalState | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, SignalState]:
        """Return ``int64[N]`` guesses and what to remember.

        Args:
            observation: ``float32[N, D]``, one frame per environment.
            state: what the last call returned, or None at the start.
            episode_start: ``bool[N]``, rows that begin an episode (all if ``state`` is None).
            deterministic: has no influence; the agent draws nothing.

        Raises:
            ValueError: for observations of another shape, or a state of another number of environments.
        """
        frames = np.asarray(observation, dtype=np.float32)
        dim = self.model.settings["data_dim"]
        if frames.ndim != 2 or frames.shape[1] != dim:
            raise ValueError(f"observation must be [N, {dim}], one frame per environment, got {frames.shape}")
        num = len(frames)
        if state is None:
            sizes = self.model.settings["hidden"], self.model.dynamics.state_dim
            state = SignalState(*(np.zeros((num, size), dtype=np.float32) for size in sizes))
            episode_start = np.ones(num, dtype=bool)
        elif len(state.latent) != num:
            raise ValueError(f"state is of {len(state.latent)} environments, but there are {num} observations")
        begins = np.zeros(num, dtype=bool) if episode_start is None else np.asarray(episode_start, dtype=bool)
        tensors = (th.as_tensor(array, device=self.model.device) for array in (frames, *state, begins))
        following = SignalState(*(tensor.cpu().numpy() for tensor in self.model.online_step(*tensors)))
        guesses = np.asarray(self.labeller(following.latent[:, : self.model.latent_dim]))
        return guesses.astype(np.int64), following
