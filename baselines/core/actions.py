"""Actions as the models of a representation take them."""

from __future__ import annotations

import numpy as np
import torch as th
from gymnasium import spaces
from torch.nn import functional as F


def action_dim(space: spaces.Space) -> int:
    """Return how many numbers an action is for the models: of a finite space, as many as there are actions.

    Raises:
        ValueError: for a space that is neither ``Box`` nor ``Discrete``.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box):
        return int(np.prod(space.shape))
    raise ValueError(f"action_space must be Box or Discrete, got {space}")


def action_features(space: spaces.Space, actions: th.Tensor) -> th.Tensor:
    """Return ``float[B, action_dim(space)]``, one-hot for a finite space, from actions as a replay holds them."""
    if isinstance(space, spaces.Discrete):
        return F.one_hot(actions.reshape(-1).long(), int(space.n)).float()
    return actions.reshape(len(actions), -1).float()
