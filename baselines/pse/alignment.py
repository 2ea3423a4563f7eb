"""Alignment of representations by a behavioral metric between demonstrations: which metric, which loss, how strong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from torch import nn

from bisimgym.baselines.metrics import policy_cost, reward_cost, trajectory_similarity
from bisimgym.baselines.pse.losses import Coupling, contrastive_metric_loss, coupling, metric_regression_loss
from bisimgym.wrappers.demonstrations import Demonstrations


@dataclass(frozen=True)
class Alignment:
    """How the representations of two demonstrated trajectories are pulled together.

    Attributes:
        metric: "psm" (policy similarity) or "pi-bisimulation" (rewards along the demonstrations).
        loss: "contrastive" (on a 64-unit projection, CME) or "l2" (on the representation itself).
        weight: the factor of the loss (the paper's alpha).
        temperature: of the contrastive logits.
        beta: bandwidth of the similarity that weights the contrastive terms.
        weighted: whether those weights are used (Equation 4 of the paper); False is plain InfoNCE, which is what the
            launch commands of the authors' code run.
        discount: of the metric.
        epsilon: how often the policies that "psm" compares take another action than the demonstrated one, all others
            alike (section 5.4 of the paper; imitation goes on to learn the demonstrated actions). In [0, 0.5]: with two
            actions, policies of 0.5 behave alike everywhere.
    """

    metric: str = "psm"
    loss: str = "contrastive"
    weight: float = 5.0
    temperature: float = 0.5
    beta: float = 0.01
    weighted: bool = True
    discount: float = 0.999
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in (("metric", ("psm", "pi-bisimulation")), ("loss", ("contrastive", "l2"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"alignment {name} must be one of {list(allowed)}, got {getattr(self, name)!r}")
        for name in ("weight", "temperature", "beta"):
            if not getattr(self, name) > 0:
                raise ValueError(f"alignment {name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.discount <= 1:
            raise ValueError(f"alignment discount must be in [0, 1], got {self.discount}")
        if not 0 <= self.epsilon <= 0.5:
            raise ValueError(f"alignment epsilon must be in [0, 0.5], got {self.epsilon}")
        if self.epsilon and self.metric != "psm":
            raise ValueError(f"alignment epsilon is for the metric 'psm', which compares policies, got {self.metric!r}")

    def distance(self, demonstrations: Demonstrations, x: slice, y: slice) -> np.ndarray:
        """Return the metric between two trajectories, ``float64[n, m]``."""
        if self.metric == "psm":
            others = max(int(demonstrations.actions.max()), 1)
            # The total variation of two policies that each take their own action with probability 1 - epsilon.
            variation = abs(1 - self.epsilon - self.epsilon / others)
            cost = variation * policy_cost(demonstrations.actions[x], demonstrations.actions[y])
        else:
            cost = reward_cost(demonstrations.rewards[x], demonstrations.rewards[y])
        return trajectory_similarity(cost, self.discount)

    def targets(
        self, demonstrations: Demonstrations, slices: Sequence[slice], device: th.device
    ) -> dict[tuple[int, int], Any]:
        """Return, for every ordered pair of trajectories, what the loss compares their representations with."""
        targets: dict[tuple[int, int], Any] = {}
        for i, x in enumerate(slices):
            for j in range(i):
                distance = self.distance(demonstrations, x, slices[j])
                tensor = th.from_numpy(distance.astype(np.float32)).to(device)
                if self.loss == "l2":
                    targets[i, j], targets[j, i] = tensor, tensor.T
                else:
                    one = coupling(tensor, self.beta, self.weighted)
                    targets[i, j], targets[j, i] = one, Coupling(*one[2:], *one[:2])
        return targets

    def loss_of(self, x: th.Tensor, y: th.Tensor, target: Any, projection: nn.Module | None) -> th.Tensor:
        """Return the weighted loss of two trajectories' representations, ``float[n, 256]`` and ``float[m, 256]``."""
        if self.loss == "l2":
            return self.weight * metric_regression_loss(x, y, target)
        assert projection is not None, "the contrastive loss compares projections"
        return self.weight * contrastive_metric_loss(projection(x), projection(y), target, self.temperature)
